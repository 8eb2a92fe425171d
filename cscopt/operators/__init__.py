"""Forward models of imaging: linear operators with exact adjoints."""

from cscopt.operators.blur import Blur, gaussian_kernel, motion_kernel, shake_kernel
from cscopt.operators.ct import CT, LODOPAB_MU_MAX
from cscopt.operators.mask import ChannelMix, Mask, missing_pixels
from cscopt.operators.mri import MRI
from cscopt.operators.resample import Bicubic, Decimate
from cscopt.operators.sampling import (
    cartesian_mask,
    complex_noise,
    low_resolution_mask,
    radial_mask,
    random_mask,
)
from cscopt.operators.sinogram import fbp, transmission_noise, transmission_weights

__all__ = [
    "CT",
    "LODOPAB_MU_MAX",
    "MRI",
    "Bicubic",
    "Blur",
    "ChannelMix",
    "Decimate",
    "Mask",
    "cartesian_mask",
    "complex_noise",
    "fbp",
    "gaussian_kernel",
    "low_resolution_mask",
    "missing_pixels",
    "motion_kernel",
    "radial_mask",
    "random_mask",
    "shake_kernel",
    "transmission_noise",
    "transmission_weights",
]
