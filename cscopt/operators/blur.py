"""Blur: convolution with a point spread function, and kernels to blur with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cscopt import checks, fft
from cscopt.backend import Array, is_complex, namespace
from cscopt.linop import LinearOperator
from cscopt.operators.held import Held

BOUNDARIES = ("circular", "zero", "none")


class Blur(LinearOperator):
    r"""Convolution of each channel with a point spread function h: x ↦ h * x.

    Parameters
    ----------
    input_shape : tuple of int
        (channel, \*space) of the sharp image.
    kernel : array, (\*support)
        Point spread function h; its origin is index k // 2 of each axis. It is used as given: a camera's sums to one.
    boundary : {"circular", "zero", "none"}
        The sharp image wraps around, is zero outside, or nothing is assumed outside it and the blurred image is the
        valid part, of n − k + 1 pixels (which is what a camera records).

    Attributes
    ----------
    norm : float
        max |ĥ| on the grid the convolution is done on; exact for "circular", else an upper bound.
    seen : tuple of slice
        Where in the sharp image the pixels of the data lie: everywhere, but for "none".

    Raises
    ------
    TypeError, ValueError
        If the kernel holds no numbers, is larger than the image, not finite, or zero everywhere.
    """

    def __init__(self, input_shape: tuple[int, ...], kernel: Any, boundary: str = "circular") -> None:
        checks.choice(boundary, "boundary", BOUNDARIES)
        input_shape, taps = checks.extents(input_shape, "input_shape"), checks.numbers(kernel, "kernel")
        space, support = input_shape[1:], taps.shape
        if len(support) != len(space):
            raise ValueError(f"kernel must have {len(space)} axes, as the image has; got shape {support}")
        if any(k > n for k, n in zip(support, space, strict=True)):
            raise ValueError(f"kernel must not be larger than the image; got {support} for an image of {space}")
        if not (np.isfinite(taps).all() and np.any(taps)) or np.iscomplexobj(taps):
            raise ValueError("kernel must be real, finite and not zero everywhere")
        self._space, self._grid = space, space
        self._first = tuple(k // 2 for k in support) if boundary != "none" else tuple(k - 1 for k in support)
        self._convolution = None if boundary == "zero" else (np.array(taps), self._first)
        out = space
        if boundary == "zero":
            self._grid = tuple(fft.fast_length(n + k - 1) for n, k in zip(space, support, strict=True))
        if boundary == "none":
            out = tuple(n - k + 1 for n, k in zip(space, support, strict=True))
        begins = [(k - 1) // 2 if boundary == "none" else 0 for k in support]
        self.seen = tuple(slice(begin, begin + n) for begin, n in zip(begins, out, strict=True))
        self.boundary, self._out = boundary, out
        padded = np.zeros(self._grid)
        padded[tuple(slice(0, k) for k in support)] = taps
        if boundary == "circular":
            padded = np.roll(padded, tuple(-f for f in self._first), axis=tuple(range(len(space))))
            self._first = (0,) * len(space)
        self._half, self._whole = Held(np.fft.rfftn(padded)), Held(np.fft.fftn(padded))
        norm = float(np.abs(self._whole.values).max())
        super().__init__(input_shape, (input_shape[0], *out), norm)

    def apply(self, x: Array) -> Array:
        r"""h * x of images (batch, channel, \*space)."""
        x = checks.batch_of(x, self.input_shape, "image")
        spectrum = fft.forward(x, self._grid)
        blurred = fft.inverse(spectrum * self._factor(x), self._grid, not is_complex(x))
        return blurred[(..., *(slice(f, f + n) for f, n in zip(self._first, self._out, strict=True)))]

    def adjoint(self, y: Array) -> Array:
        r"""Correlation with h, (batch, channel, \*space)."""
        y = checks.batch_of(y, self.output_shape, "data")
        if self._out != self._grid:
            y = _placed(y, self._grid, self._first)
        xp = namespace(y)
        spectrum = fft.forward(y, self._grid)
        back = fft.inverse(spectrum * xp.conj(self._factor(y)), self._grid, not is_complex(y))
        return back[(..., *(slice(0, n) for n in self._space))]

    def response(self, like: Array) -> Array | None:
        """ĥ on the frequencies of an image of `like`'s kind, for the circular boundary; else None."""
        return self._factor(like) if self.boundary == "circular" else None

    @property
    def convolution(self) -> tuple[Any, tuple[int, ...]] | None:
        """The kernel, and the first pixel seen of the full convolution; None for the boundary "zero"."""
        return self._convolution

    def spectrum_of(self, y: Array) -> Array:
        """The plain transform of data."""
        return fft.forward(y, self._grid)

    def _factor(self, like: Array) -> Array:
        held = self._whole if is_complex(like) else self._half
        return held.like(like, namespace(like).result_type(like.dtype, namespace(like).complex64))


def gaussian_kernel(sigma: float, ndim: int = 2) -> Any:
    """A Gaussian of standard deviation σ pixels, cut at 4 σ, of sum one."""
    if not 0 < checks.real_number(sigma, "sigma") < math.inf:
        raise ValueError(f"sigma must be positive and finite; got {sigma}")
    checks.count(ndim, "ndim", 1)
    reach = math.ceil(4 * sigma)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = line
    for _ in range(ndim - 1):
        kernel = kernel[..., None] * line
    return kernel / kernel.sum()


def motion_kernel(length: float, angle: float) -> Any:
    """A straight movement by `length` pixels in a direction `angle` (radians, from the horizontal), of sum one."""
    if not 0 < checks.real_number(length, "length") < math.inf:
        raise ValueError(f"length must be positive and finite; got {length}")
    checks.real_number(angle, "angle")
    way = np.linspace(-0.5, 0.5, max(2, math.ceil(16 * length))) * length
    return _exposed(np.stack([-way * math.sin(angle), way * math.cos(angle)], axis=1))


def shake_kernel(size: int = 19, steps: int = 64, rng: Any = None) -> Any:
    """A hand's shake: the path of a camera whose velocity is a damped random walk, fitted into size × size pixels.

    Parameters
    ----------
    size : int, default 19
        Extent of the path in pixels, along its longer axis.
    steps : int, default 64
        Changes of velocity during the exposure.
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    kernel : ndarray, float64
        Of odd shape at most `size`, sum one, with its centre of mass in the middle.

    Source: the model of Boracchi and Foi 2012, section II-B, without their impulses.
    """
    checks.count(size, "size", 3)
    checks.count(steps, "steps", 2)
    generator = np.random.default_rng(rng)
    velocity, path = generator.standard_normal(2), [np.zeros(2)]
    for _ in range(steps):
        velocity = 0.9 * velocity + 0.6 * generator.standard_normal(2) - 0.02 * path[-1]
        path.append(path[-1] + velocity)
    corners = np.array(path)
    corners *= (size - 2) / max(np.ptp(corners, axis=0).max(), 1e-9)
    fine = np.linspace(0, len(corners) - 1, 32 * len(corners))
    return _exposed(np.stack([np.interp(fine, np.arange(len(corners)), c) for c in corners.T], axis=1), size)


def _exposed(path: Any, size: int | None = None) -> Any:
    """Time spent over each pixel along a path (points, 2), shared between the four nearest; centred, of sum one."""
    path = path - path.mean(axis=0)
    reach = math.ceil(np.abs(path).max() - 1e-9) + 1
    kernel = np.zeros((2 * reach + 1,) * 2)
    low = np.floor(path).astype(int)
    share = path - low
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = np.prod(np.where(corner, share, 1 - share), axis=1)
        np.add.at(kernel, tuple((low + corner + reach).T), weight)
    used = np.abs(np.argwhere(kernel > 1e-12 * kernel.max()) - reach).max(axis=0)
    kernel = kernel[tuple(slice(reach - u, reach + u + 1) for u in used)]
    return kernel / kernel.sum()


def _placed(y: Array, grid: tuple[int, ...], first: tuple[int, ...]) -> Array:
    """Zeros on the grid around the data, whose first pixel is at `first`."""
    xp = namespace(y)
    for axis, (n, f) in enumerate(zip(grid, first, strict=True), start=2):
        before, after = list(y.shape), list(y.shape)
        before[axis], after[axis] = f, n - f - y.shape[axis]
        options = {"dtype": y.dtype, "device": y.device}
        y = xp.concat([xp.zeros(tuple(before), **options), y, xp.zeros(tuple(after), **options)], axis=axis)
    return y
