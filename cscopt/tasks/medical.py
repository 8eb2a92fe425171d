"""Reconstructions from undersampled or noisy measurements: MRI and CT."""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, asarray_like, is_array, is_complex, namespace, real_dtype, to_numpy
from cscopt.inputs import checked_mask
from cscopt.linop import LinearOperator
from cscopt.operators import CT, MRI, fbp
from cscopt.tasks.restore import Restoration, Settings, checked_truth, judged, restore

_SHARE = 0.03


def reconstruct_mri(
    data: Array,
    mask: Array,
    sensitivities: Array | None = None,
    *,
    noise: float | None = None,
    lam: float | None = None,
    truth: Array | None = None,
    dictionary: Any = "natural-8x8x32",
    beta: float = 8.0,
    method: Any = "auto",
    **options: Any,
) -> Restoration:
    r"""An image from undersampled k-space: y = M F S x + n.

    The first estimate is zero filling, Aᴴy, with sensitivities over Σ_c |s_c|² where that is above a thousandth of its
    largest, else zero.

    Parameters
    ----------
    data : array, (\*space), or (coil, \*space) with sensitivities; complex
        k-space with its origin in the middle of the array, of an image with its origin in the middle (see `MRI`):
        ``fftshift(fft2(ifftshift(image), norm="ortho"))``. What is not sampled may hold anything finite.
    mask : array, (\*space)
        1 where k-space is sampled.
    sensitivities : array, (coil, \*space), optional
    noise : float, optional
        σ of real and imaginary part of the noise: λ is then the one for which the residual is as large as the noise.
    lam : float, optional
        λ in the units of the image; without it and noise, 0.03 of λ_max.
    truth : array, (\*space), optional
        What the image should be, for metrics of moduli.
    dictionary, beta, method, **options
        As for `denoise`.

    Returns
    -------
    Restoration
        With a complex image.
    """
    if not (is_array(data) and is_complex(data)):
        raise TypeError("data must be a complex array")
    data = checks.floating(data, "data")
    checks.finite(data, "data")
    settings = Settings(dictionary, beta, lam, noise, method, options)
    scanner = MRI(mask, sensitivities)
    shape = scanner.output_shape if sensitivities is not None else scanner.output_shape[1:]
    if tuple(data.shape) != shape:
        raise ValueError(f"data must have shape {shape}, as mask and sensitivities say; got {tuple(data.shape)}")
    batch = data[None, ...] if sensitivities is not None else data[None, None, ...]
    sampled = asarray_like(to_numpy(mask) != 0, data, namespace(data).bool)
    batch = namespace(data).where(sampled, batch, namespace(data).zeros_like(batch))
    count = 2 * int(sampled.sum()) * scanner.output_shape[0]  # σ is that of the real and of the imaginary part
    first = scanner.adjoint(batch)
    if sensitivities is not None:
        power = (np.abs(to_numpy(sensitivities)) ** 2).sum(axis=0)
        seen = power > 1e-3 * power.max()
        first = first * asarray_like(seen / np.where(seen, power, 1), first, real_dtype(first))
    return _reconstructed(batch, first, scanner, settings, truth, count=count)


def reconstruct_ct(
    sinogram: Array,
    operator: LinearOperator,
    first: Array | None = None,
    *,
    weights: Array | None = None,
    noise: float | None = None,
    lam: float | None = None,
    truth: Array | None = None,
    dictionary: Any = "natural-8x8x32",
    beta: float = 5.0,
    method: Any = "auto",
    **options: Any,
) -> Restoration:
    r"""An image from a sinogram: y = A x + n.

    Parameters
    ----------
    sinogram : array, (angles, detectors)
        Line integrals, as `transmission_noise` gives them.
    operator : LinearOperator
        A, such as `operators.ct.CT`.
    first : array, (H, W), optional
        First estimate for the smooth part; by default filtered back-projection with Hann's window, for a parallel
        `CT`.
    weights : array, (angles, detectors), optional
        W, such as the square root of the counts, over its largest; it broadcasts.
    noise, lam, truth, dictionary, beta, method, **options
        As for `reconstruct_mri`.
    """
    if not isinstance(operator, LinearOperator) or len(operator.output_shape) != 3 or len(operator.input_shape) != 3:
        wanted = "a LinearOperator from images (1, H, W) to data (1, angles, detectors)"
        raise TypeError(f"operator must be {wanted}; got {type(operator).__name__}")
    settings = Settings(dictionary, beta, lam, noise, method, options)
    data = _checked(sinogram, operator.output_shape[1:], "sinogram")[None, None, ...]
    mask = None if weights is None else checked_mask(weights, data, "weights")
    if first is None:
        if not isinstance(operator, CT):
            raise ValueError("first must be given where the operator is not a CT")
        first = fbp(data, operator, "hann")[0, 0, ...]
    first = _checked(first, operator.input_shape[1:], "first")
    return _reconstructed(data, first[None, None, ...], operator, settings, truth, mask)


def _reconstructed(
    data: Array,
    first: Array,
    operator: LinearOperator,
    settings: Settings,
    truth: Array | None,
    mask: Any = None,
    count: int | None = None,
) -> Restoration:
    truth = checked_truth(truth, tuple(first.shape[2:]), is_complex(first))
    image, solution, lam = restore(data, first, settings, _SHARE, operator, mask, count)
    image, first = image[0, 0, ...], first[0, 0, ...]
    return Restoration(image, solution, lam, judged(image, first, truth, None, pictures=False))


def _checked(array: Any, shape: tuple[int, ...], name: str) -> Array:
    array = checks.floating(array, name)
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, as the operator says; got {tuple(array.shape)}")
    checks.finite(array, name)
    return array
