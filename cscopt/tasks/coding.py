"""Sparse codes of one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cscopt import checks
from cscopt.backend import Array, is_array, namespace
from cscopt.dictionary import ConvDictionary
from cscopt.penalties import L1
from cscopt.problem import CSCProblem
from cscopt.solvers import Solution, Solver, solve


def code(
    image: Array,
    filters: Array | ConvDictionary | str | Path,
    lam: float | Array = 0.05,
    method: str | Solver = "auto",
    *,
    channel_axis: int | None = None,
    nonnegative: bool = False,
    mask: Array | None = None,
    boundary: str = "circular",
    **options: Any,
) -> Solution:
    r"""Code one image: minimise ½‖W(y − Σ_m d_m * x_m)‖² + Σ Λ|x|.

    Parameters
    ----------
    image : array, (\*space), or with a channel axis
        Such as (H, W), or (H, W, 3) with ``channel_axis=-1``. Values are used as they are.
    filters : array (M, \*support) or (M, C, \*support), ConvDictionary, or name or path of one
    lam : float or array, default 0.05
        λ in the units of the image; see `L1`.
    method : str or Solver, default "auto"
        See `solve`.
    channel_axis : int, optional
        Axis of the channels; a bare image has none.
    nonnegative, mask, boundary
        See `L1` and `CSCProblem`. The mask has the image's shape, with the channel axis or without.
    **options
        Passed to `solve`: tol, max_iter, x0, callback, progress, ...

    Returns
    -------
    Solution
        In the library's axes: ``codes`` (1, maps, \*space), ``reconstruction`` (1, channel, \*space).

    Raises
    ------
    TypeError, ValueError
        One sentence naming the argument that does not fit.
    """
    spatial = spatial_axes(image, channel_axis)
    dictionary = dictionary_for(filters, spatial)
    problem = CSCProblem(
        standard(image, channel_axis, spatial),
        dictionary,
        L1(lam, nonnegative),
        mask=None if mask is None else _standard_mask(mask, channel_axis, spatial),
        boundary=boundary,
    )
    return solve(problem, method, **options)


def _standard_mask(mask: Any, channel_axis: int | None, spatial: int) -> Array:
    checks.an_array(mask, "mask")
    return standard(mask, channel_axis, spatial)


def spatial_axes(image: Any, channel_axis: int | None) -> int:
    """Number of spatial axes of a bare image, after checking that it is one."""
    checks.an_array(image, "image")
    if channel_axis is not None and checks.count(channel_axis, "channel_axis", -image.ndim) >= image.ndim:
        raise ValueError(f"channel_axis must be an axis of the image; got {channel_axis} for {image.ndim} axes")
    if image.ndim == (channel_axis is not None) or 0 in image.shape:
        raise ValueError(f"image must have pixels along some spatial axis; got shape {tuple(image.shape)}")
    return int(image.ndim) - (channel_axis is not None)


def dictionary_for(filters: Any, spatial: int) -> ConvDictionary:
    """A dictionary, or the one that a name, a path or an array means, for images of so many spatial axes."""
    if isinstance(filters, str | Path):
        filters = ConvDictionary.load(filters)
    if isinstance(filters, ConvDictionary):
        if len(filters.support) != spatial:
            raise ValueError(
                f"image must have {len(filters.support)} spatial axes, as the filters have, and a channel axis only "
                f"where channel_axis names it; it has {spatial}"
            )
        return filters
    if not is_array(filters):
        raise TypeError(f"filters must be an array, a ConvDictionary or its name; got {type(filters).__name__}")
    if filters.ndim == spatial + 1:
        return ConvDictionary(filters[:, None, ...])
    if filters.ndim == spatial + 2:
        return ConvDictionary(filters)
    raise ValueError(
        f"filters must be (M, *support) or (M, C, *support) with {spatial} support axes, as the image has spatial "
        f"axes; got shape {tuple(filters.shape)}"
    )


def standard(image: Array, channel_axis: int | None, spatial: int) -> Array:
    """(1, channel, *space) in native byte order; one channel for an array that has none."""
    image = checks.native(image)
    if channel_axis is None or image.ndim == spatial:
        return image[None, None, ...]
    return namespace(image).moveaxis(image, channel_axis, 0)[None, ...]
