"""The low-/high-pass split: sparse codes explain what a smooth background does not."""

from __future__ import annotations

import math

from cscopt import checks, fft
from cscopt.backend import Array, device, is_complex, is_numpy, namespace, real_dtype
from cscopt.mirror import Mirror


def split(image: Array, beta: float = 5.0, padding: int = 16) -> tuple[Array, Array]:
    r"""Split images into a smooth part x_low = (I + β ∇ᴴ∇)⁻¹ image and the rest.

    Solved exactly in the Fourier domain: x̂_low = ŷ / (1 + β Σ_a |1 − e^{−iω_a}|²), with ∇ the
    circular forward differences. It is SPORCO's ``tikhonov_filter``. NumPy images give the same bits in every process.

    Parameters
    ----------
    image : array, (batch, channel, \*space)
    beta : float, default 5.0
        Strength β ≥ 0 of the smoothing, in pixels².
    padding : int, default 16
        Pixels of symmetric extension on every side, cut off again, which keep opposite borders
        apart; 0 is circular.

    Returns
    -------
    low, high : array
        Of the image's shape and dtype; low + high = image.

    Raises
    ------
    ValueError
        If `beta` is negative, or `padding` exceeds the image.
    """
    image = checks.floating(image, "image")
    if image.ndim < 3:
        raise ValueError(f"image must be (batch, channel, *space); got shape {tuple(image.shape)}")
    checks.finite(image, "image")
    beta = checks.real_number(beta, "beta")
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta must be finite and not negative; got {beta}")
    space = tuple(image.shape[2:])
    if checks.count(padding, "padding") > min(space):
        raise ValueError(f"padding must not exceed the image; got {padding} for an image of {space}")
    mirror = Mirror(space, (padding,) * len(space), (padding,) * len(space))
    extended = mirror.extend(image)
    response = 1 / (1 + beta * laplacian(image, tuple(extended.shape[2:])))
    low = mirror.restrict(_filtered(extended, response))
    return low, image - low


def _filtered(image: Array, response: Array) -> Array:
    """The image whose (half) spectrum is the given one's times a response."""
    grid, real = tuple(image.shape[2:]), not is_complex(image)
    if not is_numpy(image):
        return fft.inverse(fft.forward(image, grid) * response, grid, real)
    import scipy.fft  # not FFTW: what it plans, and so the last bits, differs from process to process

    axes = tuple(range(2, image.ndim))
    forward, inverse = (scipy.fft.rfftn, scipy.fft.irfftn) if real else (scipy.fft.fftn, scipy.fft.ifftn)
    spectrum = forward(image, axes=axes)
    spectrum *= response
    return inverse(spectrum, s=grid, axes=axes, overwrite_x=True)


def laplacian(image: Array, grid: tuple[int, ...]) -> Array:
    """Eigenvalues Σ_a |1 − e^{−iω_a}|² = Σ_a 4 sin²(ω_a/2) of ∇ᴴ∇ on the (half) spectrum."""
    xp, dtype = namespace(image), real_dtype(image)
    shape = fft.frequency_shape(grid, not is_complex(image))
    total = xp.zeros(shape, dtype=dtype, device=device(image))
    for axis, (n, frequencies) in enumerate(zip(grid, shape, strict=True)):
        index = xp.arange(frequencies, dtype=dtype, device=device(image))
        values = 4 * xp.sin(index * (math.pi / n)) ** 2
        total = total + xp.reshape(values, tuple(-1 if a == axis else 1 for a in range(len(grid))))
    return total
