"""The low-/high-pass split: sparse codes explain what a smooth background does not."""

from __future__ import annotations

import math

from cscopt import checks, fft
from cscopt.backend import Array, device, is_complex, namespace, real_dtype
from cscopt.mirror import Mirror


def split(image: Array, beta: float = 5.0, padding: int = 16) -> tuple[Array, Array]:
    r"""Split images into a smooth part x_low = (I + β ∇ᴴ∇)⁻¹ image and the rest.

    Solved exactly in the Fourier domain: x̂_low = ŷ / (1 + β Σ_a |1 − e^{−iω_a}|²), with ∇ the
    circular forward differences. It is SPORCO's ``tikhonov_filter``.

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
    checks.floating(image, "image")
    if image.ndim < 3:
        raise ValueError(f"image must be (batch, channel, *space); got shape {tuple(image.shape)}")
    checks.finite(image, "image")
    if not 0 <= checks.real_number(beta, "beta") < math.inf:
        raise ValueError(f"beta must be finite and not negative; got {beta}")
    space = tuple(image.shape[2:])
    if checks.count(padding, "padding") > min(space):
        raise ValueError(f"padding must not exceed the image; got {padding} for an image of {space}")
    mirror = Mirror(space, (padding,) * len(space), (padding,) * len(space))
    extended = mirror.extend(image)
    grid = tuple(extended.shape[2:])
    response = 1 / (1 + beta * laplacian(image, grid))
    low = fft.inverse(fft.forward(extended, grid) * response, grid, not is_complex(image))
    low = mirror.restrict(low)
    return low, image - low


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
