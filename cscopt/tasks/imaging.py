"""Restorations of pictures: denoising, inpainting, deblurring, super-resolution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, asarray_like, namespace, to_numpy
from cscopt.operators import Bicubic, Blur
from cscopt.operators.blur import BOUNDARIES
from cscopt.tasks.coding import dictionary_for, spatial_axes, standard
from cscopt.tasks.restore import Restoration, Settings, checked_truth, judged, noise_level, restore

_SHARE = {"inpaint": 0.02, "super_resolve": 0.001}
"""λ / λ_max where neither λ nor the noise is given, near the best on pictures of `Rain12` and `Set5`."""

_OF_NOISE = {"denoise": 2.2, "deblur": 0.3}
"""λ / σ, near the best on pictures of Levin et al. 2009, of noise for σ from 0.05 to 0.1, of blur from 0.003."""


def denoise(
    image: Array,
    *,
    noise: float | None = None,
    lam: float | None = None,
    channel_axis: int | None = None,
    truth: Array | None = None,
    dictionary: Any = "natural-8x8x32",
    beta: float = 3.0,
    method: Any = "auto",
    **options: Any,
) -> Restoration:
    r"""Remove white noise: y = x + n.

    Parameters
    ----------
    image : array, (\*space), or with a channel axis
    noise : float, optional
        Standard deviation σ of the noise; estimated from the image if neither it nor λ is given.
    lam : float, optional
        λ in the units of the image; 2.2 σ if absent. On pictures in [0, 1] that is near the best for σ from 0.05 to
        0.1. At 0.025 1.8 σ is better by 0.3 dB; at 0.2 and 0.4 3 σ is, by 0.3 to 0.9 and 1.3 to 1.9 dB, where a
        Gaussian blur of the right width comes as near to the truth.
    channel_axis : int, optional
        Axis of the channels; a bare image has none.
    truth : array, optional
        What the image should be, for metrics.
    dictionary : str, path, ConvDictionary or array, default "natural-8x8x32"
    beta : float, default 3.0
        Strength of the smooth part that is left as it is (`lowpass.split`); 0: none.
    method, **options
        Passed to `solve`; `tol` is 1e-2 by default.

    Returns
    -------
    Restoration

    Raises
    ------
    TypeError, ValueError
        One sentence naming the argument that does not fit.
    """
    data, _ = _image(image, channel_axis)
    truth = checked_truth(truth, tuple(image.shape))
    settings = Settings(dictionary, beta, _level(data, noise, lam, "denoise"), None, method, options)
    found = restore(data, data, settings)
    return _answer(found, data, channel_axis, truth)


def inpaint(
    image: Array,
    mask: Array,
    *,
    noise: float | None = None,
    lam: float | None = None,
    channel_axis: int | None = None,
    truth: Array | None = None,
    dictionary: Any = "natural-8x8x32",
    beta: float = 1.0,
    method: Any = "auto",
    **options: Any,
) -> Restoration:
    r"""Fill in missing pixels: y = m ∘ x + n.

    The first estimate interpolates linearly between the pixels that are known (`scipy.interpolate`). Known pixels
    are kept as they are if no noise is given.

    Parameters
    ----------
    image : array, (\*space), or with a channel axis
        What is missing may hold anything, NaN as well.
    mask : array
        True (or 1) where the image is known; of the image's shape, with the channel axis or without.
    noise : float, optional
        σ of noise on the known pixels: λ is then the one for which the residual is as large as the noise.
    lam, channel_axis, truth, dictionary, beta, method, **options
        As for `denoise`; without λ and noise, λ is 0.02 of λ_max.
    """
    data, spatial = _image(image, channel_axis, finite=False)
    known = _mask(mask, data, channel_axis, spatial)
    data = namespace(data).where(known, data, namespace(data).zeros_like(data))
    checks.finite(data, "image")
    truth = checked_truth(truth, tuple(image.shape))
    settings = Settings(dictionary, beta, lam, noise, method, options)
    first = asarray_like(_interpolated(to_numpy(data), to_numpy(known)), data, data.dtype)
    weights = namespace(data).astype(known, data.dtype)
    found, solution, level = restore(
        data * weights + first * (1 - weights), first, settings, _SHARE["inpaint"], None, weights
    )
    if noise is None:
        found = namespace(found).where(known, data, found)
    return _answer((found, solution, level), first, channel_axis, truth)


def deblur(
    image: Array,
    kernel: Array,
    *,
    noise: float | None = None,
    lam: float | None = None,
    boundary: str = "none",
    channel_axis: int | None = None,
    truth: Array | None = None,
    dictionary: Any = "natural-8x8x32",
    beta: float = 5.0,
    method: Any = "auto",
    **options: Any,
) -> Restoration:
    r"""Undo a known blur: y = h * x + n.

    Parameters
    ----------
    image : array, (\*space), or with a channel axis
    kernel : array, (\*support)
        Point spread function h; a camera's sums to one. Its origin is index k // 2 of each axis.
    noise : float, optional
        σ of the noise, estimated from the image if neither it nor λ is given.
    lam : float, optional
        λ in the units of the image; 0.3 σ if absent.
    boundary : {"none", "circular", "zero"}
        What the sharp scene is outside the image: unknown, and found as far as the kernel reaches, as behind a camera;
        or it wraps around, which on photographs leaves waves over the whole answer; or zero.
    channel_axis, truth, dictionary, beta, method, **options
        As for `denoise`.
    """
    data, spatial = _image(image, channel_axis)
    checks.choice(boundary, "boundary", BOUNDARIES)
    kernel = checks.numbers(kernel, "kernel")
    if kernel.ndim != spatial:
        raise ValueError(f"kernel must have {spatial} axes, as the image has; got shape {kernel.shape}")
    if any(k > n for k, n in zip(kernel.shape, data.shape[2:], strict=True)):
        raise ValueError(f"kernel must not be larger than the image; got {kernel.shape} for {tuple(data.shape[2:])}")
    grown = [k - 1 if boundary == "none" else 0 for k in kernel.shape]
    shape = tuple(n + g for n, g in zip(data.shape[2:], grown, strict=True))
    operator = Blur((data.shape[1], *shape), kernel, boundary)
    first = data
    if boundary == "none":
        border = [(0, 0), (0, 0), *((s.start, n - s.stop) for s, n in zip(operator.seen, shape, strict=True))]
        first = asarray_like(np.pad(to_numpy(data), border, mode="edge"), data, data.dtype)
    truth = checked_truth(truth, tuple(image.shape))
    settings = Settings(dictionary, beta, _level(data, noise, lam, "deblur"), None, method, options)
    whole, solution, level = restore(data, first, settings, forward=operator)
    return _answer((whole[(..., *operator.seen)], solution, level), data, channel_axis, truth)


def super_resolve(
    image: Array,
    scale: int,
    *,
    noise: float | None = None,
    lam: float | None = None,
    channel_axis: int | None = None,
    truth: Array | None = None,
    dictionary: Any = "natural-8x8x32",
    beta: float = 5.0,
    method: Any = "fista",
    **options: Any,
) -> Restoration:
    r"""Enlarge a picture that bicubic interpolation with antialiasing made small: y = A x + n.

    Parameters
    ----------
    image : array, (H, W), or with a channel axis
    scale : int
        How many times larger the answer is along each axis.
    noise, lam, channel_axis, truth, dictionary, beta, method, **options
        As for `inpaint`, but by default 100 iterations of FISTA, and without λ and noise 0.001 of λ_max. FISTA begins
        from zero and is stopped early: nearer to the optimum, by "admm", pictures are mostly worse, by up to 1 dB, at
        this λ and at larger ones.
    """
    data, spatial = _image(image, channel_axis)
    if spatial != 2:
        raise ValueError(f"image must have two spatial axes; it has {spatial}")
    scale, bank = checks.count(scale, "scale", 1), dictionary_for(dictionary, spatial)
    shape = (data.shape[1], *(scale * n for n in data.shape[2:]))
    settings = Settings(bank, beta, lam, noise, method, {"max_iter": 100, **options})
    codes = math.prod(shape) * bank.n_filters * namespace(data).finfo(data.dtype).bits // (8 * bank.channels)
    what = f"coding an image of {shape[1]} × {shape[2]} with {bank.n_filters} filters"
    checks.memory(codes, data, what, "take a smaller scale or part of the image")
    first = Bicubic(tuple(data.shape[1:]), scale).apply(data)
    truth = checked_truth(truth, tuple(_back(first, channel_axis).shape))
    found = restore(data, first, settings, _SHARE["super_resolve"], Bicubic(shape, 1 / scale))
    return _answer(found, first, channel_axis, truth)


def _level(data: Array, noise: float | None, lam: float | None, task: str) -> float:
    """λ as given, or from the noise."""
    sigma = None if noise is None else checks.positive_number(noise, "noise")
    if lam is not None:
        return lam
    sigma = noise_level(data) if sigma is None else sigma
    if sigma == 0:
        raise ValueError("noise must be given: none is found in the image")
    return _OF_NOISE[task] * sigma


def _image(image: Array, channel_axis: int | None, finite: bool = True) -> tuple[Array, int]:
    """(1, channel, *space), and the number of spatial axes."""
    spatial = spatial_axes(image, channel_axis)
    if not namespace(image).isdtype(image.dtype, "real floating"):
        raise TypeError(f"image must be of real floating point, in the units that λ has; got {image.dtype}")
    if finite:
        checks.finite(image, "image")
    return standard(image, channel_axis, spatial), spatial


def _mask(mask: Array, data: Array, channel_axis: int | None, spatial: int) -> Array:
    """A boolean mask of the shape and device of data (1, channel, *space)."""
    checks.an_array(mask, "mask")
    values = to_numpy(mask)
    if not np.isin(values, (0, 1)).all() or not values.any():
        raise ValueError("mask must hold 0 and 1 alone, and a 1 somewhere")
    xp = namespace(data)
    whole = standard(asarray_like(values, data, xp.bool), channel_axis, spatial)
    if whole.shape[2:] != data.shape[2:] or whole.shape[1] not in (1, data.shape[1]):
        wanted = tuple(_back(data, channel_axis).shape)
        raise ValueError(f"mask must have the image's shape {wanted}; got {tuple(mask.shape)}")
    if not bool(xp.all(xp.any(whole, axis=tuple(range(2, whole.ndim))))):
        raise ValueError("mask must know a pixel of every channel")
    return xp.broadcast_to(whole, data.shape)


def _interpolated(data: Any, known: Any) -> Any:
    """Each channel with its unknown pixels interpolated linearly between known ones, and as the nearest outside."""
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

    filled = data.copy()
    for channel, given in zip(filled[0], known[0], strict=True):
        if given.all():
            continue
        places, wanted = np.argwhere(given), np.argwhere(~given)
        if channel.ndim == 1:
            channel[~given] = np.interp(wanted[:, 0], places[:, 0], channel[given])
            continue
        values = NearestNDInterpolator(places, channel[given])(wanted)
        if np.linalg.matrix_rank(places - places[0]) == channel.ndim:  # else there is no triangle
            linear = LinearNDInterpolator(places, channel[given])(wanted)
            values = np.where(np.isnan(linear), values, linear)
        channel[~given] = values
    return filled


def _answer(
    found: tuple[Array, Any, float], first: Array, channel_axis: int | None, truth: Array | None
) -> Restoration:
    """A restoration in the axes of the image that was given."""
    image, solution, lam = found
    image, first = _back(image, channel_axis), _back(first, channel_axis)
    return Restoration(image, solution, lam, judged(image, first, truth, channel_axis))


def _back(array: Array, channel_axis: int | None) -> Array:
    if channel_axis is None:
        return array[0, 0, ...]
    return namespace(array).moveaxis(array[0, ...], 0, channel_axis)
