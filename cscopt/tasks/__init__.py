"""Friendly doors: one call from a bare image, or data, to an answer."""

from cscopt.tasks.coding import code
from cscopt.tasks.imaging import deblur, denoise, inpaint, super_resolve
from cscopt.tasks.medical import reconstruct_ct, reconstruct_mri
from cscopt.tasks.restore import Restoration

__all__ = [
    "Restoration",
    "code",
    "deblur",
    "denoise",
    "inpaint",
    "reconstruct_ct",
    "reconstruct_mri",
    "super_resolve",
]
