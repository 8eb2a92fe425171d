"""A `Synthesis` atom by atom, on NumPy arrays: where atoms lie, their correlations with an image, their sum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cscopt import checks

if TYPE_CHECKING:
    from cscopt.codes import SparseCodes
    from cscopt.kernels import FilterSpectrum
    from cscopt.kernels.sites import Sites
    from cscopt.kernels.tiles import Correlator


def sites_of(synthesis: Any, taps: Any) -> Sites:
    """The atoms of filters `taps` one by one: on the grid, or on the image itself for mirrored codes."""
    if synthesis.mirror is None:
        from cscopt.kernels.sites import Sites

        return Sites(taps, synthesis.grid, synthesis.groups)
    from cscopt.kernels.mirrored import MirroredSites

    forms = math.prod(2 * (k // 2) + 1 for k in taps.shape[2:])
    what = f"holding the {forms} forms that each filter has near a symmetric boundary"
    checks.memory(3 * forms * taps.nbytes, taps, what, "use 'admm', 'fista' or 'ista'")
    return MirroredSites(taps, synthesis.space, synthesis.groups)


def correlator_of(synthesis: Any, taps: Any, known: FilterSpectrum | None) -> Correlator:
    """Correlation with all filters, tile by tile; `known` are their spectra on the grid, where they were computed."""
    if synthesis.mirror is None:
        from cscopt.kernels.tiles import Correlator

        return Correlator(taps, synthesis.grid, synthesis.like.dtype, known=known)
    from cscopt.kernels.mirrored import MirroredCorrelator

    return MirroredCorrelator(taps, synthesis.space, synthesis.like.dtype, known)


def keys_of(synthesis: Any, index: Any) -> Any:
    r"""Keys (see `Sites`) of entries of one item's codes (maps, \*code space), by their flat index."""
    row, place = np.divmod(index, math.prod(synthesis.code_space))
    group, m = np.divmod(row, synthesis.n_filters)
    p = np.ravel_multi_index(np.unravel_index(place, synthesis.code_space), synthesis.sites.grid)
    return (group * synthesis.sites.pixels + p) * synthesis.n_filters + m


def image_of(synthesis: Any, codes: SparseCodes) -> Any:
    r"""D x, (batch, C, \*space)."""
    sites = synthesis.sites
    item, index = np.divmod(codes.index, math.prod(synthesis.codes_shape))
    keys = keys_of(synthesis, index)
    images = np.zeros((codes.shape[0], synthesis.channels * sites.pixels), codes.values.dtype)
    for k, image in enumerate(images):
        mine = np.flatnonzero(item == k)
        mine = mine[np.argsort(keys[mine])]
        sites.subtract(image, None, keys[mine], -codes.values[mine])
    if synthesis.mirror is not None:
        return images.reshape((-1, synthesis.channels, *sites.grid))
    return synthesis.cropped(images.reshape((-1, synthesis.image_channels, *sites.grid)))
