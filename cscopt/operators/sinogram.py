"""What is done with sinograms beside projecting: filtered back-projection, photon noise, and its weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, asarray_like
from cscopt.operators.ct import CT
from cscopt.operators.host import on_host


def fbp(sinogram: Array, operator: CT, filter: str = "ram-lak", cutoff: float = 1.0) -> Array:  # noqa: A002
    r"""Filtered back-projection of parallel-beam data, x(p) = Σ_θ Δθ (h ∗ y_θ)(⟨p, u_θ⟩).

    h is the band-limited ramp, h(0) = 1/(4τ²), h(nτ) = −1/(nπτ)² for odd n, else 0, with τ the width of a detector;
    between detectors is interpolated linearly. Δθ is the mean of the gaps to both neighbours on the half circle, each
    at most twice the median gap, so that a missing wedge is not filled.

    Parameters
    ----------
    sinogram : array, (batch, 1, angle, detector)
        Of any library and device; it is computed in the CPU's memory.
    operator : CT
        For its geometry.
    filter : {"ram-lak", "shepp-logan", "cosine", "hamming", "hann"}, default "ram-lak"
        The ramp, or the ramp times a window that ends at the cutoff.
    cutoff : float, default 1
        Frequency above which all is zero, as a share (0, 1] of Nyquist's 1/(2τ).

    Returns
    -------
    images : array, (batch, 1, H, W), of the sinogram's library and dtype

    Raises
    ------
    TypeError, ValueError
        If rays are not parallel, or an argument is out of range.

    Source: Kak and Slaney 1988, chapter 3, eq. 61 (ramp); windows as in scikit-image's ``iradon``.
    """
    if not isinstance(operator, CT):
        raise TypeError(f"operator must be a CT; got {type(operator).__name__}")
    if operator.distances:
        raise ValueError("operator must have parallel rays: fbp does not serve a fan beam")
    rows = on_host(sinogram, "sinogram", operator.output_shape)
    filtered = _filtered(rows[:, 0].astype(np.float64), operator.detector_size, filter, cutoff)
    height, width, n = *operator.input_shape[1:], operator.output_shape[2]
    right = (np.arange(width) - (width - 1) / 2) * operator.pixel_size
    up = ((height - 1) / 2 - np.arange(height))[:, None] * operator.pixel_size
    places = (np.arange(n) - (n - 1) / 2) * operator.detector_size
    images = np.zeros((len(rows), 1, height, width))
    for k, (theta, weight) in enumerate(zip(operator.angles, _angle_weights(operator.angles), strict=True)):
        at = right * math.cos(theta) + up * math.sin(theta)
        for image, lines in zip(images, filtered, strict=True):
            image[0] += weight * np.interp(at, places, lines[k], 0.0, 0.0)
    return asarray_like(images, sinogram, sinogram.dtype)


def transmission_noise(sinogram: Array, photons: float = 4096, rng: Any = None, zero_count: float = 0.1) -> Array:
    r"""Line integrals y as a detector that counts photons sees them: −ln(N / N₀) with N ~ Poisson(N₀ e^{−y}).

    y has no unit, and may be negative; N₀ = `photons` are sent to each pixel at each angle; `zero_count`
    stands for N = 0; rng is a seed or a Generator. The counts of the result are N₀ e^{−result}.

    Source: Leuschner, Schmidt, Otero Baguer and Maass 2021, section "Methods" (Beer and Lambert's law).
    """
    lines = on_host(sinogram, "sinogram")
    sent, least = checks.positive_number(photons, "photons"), checks.positive_number(zero_count, "zero_count")
    with np.errstate(over="ignore"):
        mean = sent * np.exp(-lines.astype(np.float64))
    if mean.size and not mean.max() < 2.0**62:
        raise ValueError(f"sinogram must not be so negative that no one can count; its least entry is {lines.min():g}")
    counts = np.random.default_rng(rng).poisson(mean)
    return asarray_like(-np.log(np.where(counts == 0, least, counts) / sent), sinogram, sinogram.dtype)


def transmission_weights(data: Array) -> Array:
    """W = √(N / N₀) = e^{−y/2} of data y = −ln(N / N₀), whose variance is about 1/N, as ``CSCProblem(mask=)``.

    Data so negative that a weight is infinite are refused.

    Source: Sauer and Bouman 1993 (quadratic approximation of the Poisson likelihood).
    """
    lines = on_host(data, "data")
    with np.errstate(over="ignore"):
        weights = np.exp(-lines / 2)
    if not np.isfinite(weights).all():
        raise ValueError(f"data must not be so negative that weights are infinite; its least entry is {lines.min():g}")
    return asarray_like(weights, data, data.dtype)


def _angle_weights(angles: Any) -> Any:
    turned = np.mod(angles, math.pi)
    order = np.argsort(turned)
    gaps = np.diff(turned[order], append=turned.min() + math.pi)
    apart = gaps[gaps > 1e-6 * math.pi / len(angles)]  # equal angles, or opposite ones, share their weight
    gaps = np.minimum(gaps, 2 * np.median(apart))
    return ((gaps + np.roll(gaps, 1)) / 2)[np.argsort(order)]


def _filtered(rows: Any, width: float, name: str, cutoff: float) -> Any:
    """h ∗ y along the last axis, zero outside, with the window on the spectrum."""
    checks.choice(name, "filter", tuple(_WINDOWS))
    if not 0 < checks.real_number(cutoff, "cutoff") <= 1:
        raise ValueError(f"cutoff must be above 0 and at most 1; got {cutoff}")
    n = rows.shape[-1]
    length = 2 ** math.ceil(math.log2(2 * n))
    ramp, odd = np.zeros(length), np.arange(1, n, 2)
    ramp[0], ramp[odd], ramp[-odd] = 1 / (4 * width**2), *(-1 / (math.pi * odd * width) ** 2,) * 2
    share = np.arange(length // 2 + 1) / (length / 2) / cutoff
    response = np.fft.rfft(ramp).real * np.where(share <= 1, _WINDOWS[name](share), 0.0)
    return width * np.fft.irfft(np.fft.rfft(rows, length) * response, length)[..., :n]


_WINDOWS: dict[str, Callable[[Any], Any]] = {
    "ram-lak": np.ones_like,
    "shepp-logan": lambda u: np.sinc(u / 2),
    "cosine": lambda u: np.cos(math.pi * u / 2),
    "hamming": lambda u: 0.54 + 0.46 * np.cos(math.pi * u),
    "hann": lambda u: 0.5 + 0.5 * np.cos(math.pi * u),
}
