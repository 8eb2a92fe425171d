"""Bicubic resampling as MATLAB's ``imresize`` does it, as a linear operator with an exact adjoint."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, asarray_like, device, namespace
from cscopt.linop import LinearOperator


class Bicubic(LinearOperator):
    r"""Bicubic resampling of the last two axes, antialiased when it shrinks: x ↦ R_v x R_hᵀ.

    Each row of R holds Keys' cubic kernel (a = −1/2), stretched by 1/scale where the image shrinks,
    sampled at the pixels around u = i/scale + (1 − 1/scale)/2 (pixels counted from 1), and divided by
    its sum; beyond the border the image is mirrored. Nothing is rounded.

    Parameters
    ----------
    input_shape : tuple of int
        (channel, H, W).
    scale : float, optional
        Factor of magnification; the output has ⌈scale · n⌉ pixels along an axis of n.
    size : tuple of int, optional
        Output (height, width) instead of `scale`; each axis then has its own factor.
    antialias : bool, default True
        Stretch the kernel where the image shrinks.

    Raises
    ------
    TypeError, ValueError
        If neither or both of `scale` and `size` are given, or one is out of range.

    Source: Keys 1981, eq. 15; MATLAB's ``imresize(…, "bicubic")``.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        scale: float | None = None,
        size: tuple[int, int] | None = None,
        antialias: bool = True,
    ) -> None:
        if len(input_shape) != 3 or min(input_shape) < 1:
            raise ValueError(f"input_shape must be (channel, H, W); got {tuple(input_shape)}")
        if (scale is None) == (size is None):
            raise ValueError("give either scale or size")
        space = tuple(input_shape[1:])
        if scale is not None:
            if not 0 < checks.real_number(scale, "scale") < math.inf:
                raise ValueError(f"scale must be positive and finite; got {scale}")
            factors = (float(scale), float(scale))
            extents = tuple(math.ceil(scale * n - 1e-9) for n in space)
        else:
            assert size is not None
            extents = tuple(checks.count(n, "size", 1) for n in size)
            factors = (extents[0] / space[0], extents[1] / space[1])
        self._matrices = [
            _matrix(n, out, factor, antialias) for n, out, factor in zip(space, extents, factors, strict=True)
        ]
        self._cast: dict[Any, tuple[Array, Array]] = {}
        super().__init__(tuple(input_shape), (input_shape[0], *extents))

    @cached_property
    def _exact_norm(self) -> float:
        return math.prod(_spectral_norm(matrix) for matrix in self._matrices)

    @property
    def norm(self) -> float:
        """‖R_v‖ ‖R_h‖, exact."""
        return self._exact_norm

    def apply(self, x: Array) -> Array:
        """R_v x R_hᵀ of a batch (batch, channel, H, W)."""
        self._fits(x, self.input_shape)
        vertical, horizontal = self._matrices_like(x)
        xp = namespace(x)
        return xp.matmul(xp.matmul(vertical, x), xp.matrix_transpose(horizontal))

    def adjoint(self, y: Array) -> Array:
        """R_vᵀ y R_h of a batch (batch, channel, h, w)."""
        self._fits(y, self.output_shape)
        vertical, horizontal = self._matrices_like(y)
        xp = namespace(y)
        return xp.matmul(xp.matmul(xp.matrix_transpose(vertical), y), horizontal)

    def _fits(self, array: Array, shape: tuple[int, ...]) -> None:
        checks.floating(array, "image")
        if tuple(array.shape[1:]) != shape:
            raise ValueError(f"image must be (batch, *{shape}); got {tuple(array.shape)}")

    def _matrices_like(self, array: Array) -> tuple[Array, Array]:
        key = (namespace(array).__name__, array.dtype, device(array))
        if key not in self._cast:
            vertical, horizontal = (asarray_like(m, array, array.dtype) for m in self._matrices)
            self._cast[key] = (vertical, horizontal)
        return self._cast[key]


def _cubic(x: Any) -> Any:
    """Keys' cubic convolution kernel with a = −1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _matrix(n: int, out: int, scale: float, antialias: bool) -> Any:
    """The (out, n) matrix of one axis, float64."""
    shrink = min(scale, 1.0) if antialias else 1.0
    width = 4 / shrink
    centre = np.arange(1, out + 1) / scale + 0.5 * (1 - 1 / scale)
    taps = math.ceil(width) + 2
    position = np.floor(centre - width / 2)[:, None] + np.arange(taps)
    weight = _cubic(shrink * (centre[:, None] - position))
    weight /= weight.sum(axis=1, keepdims=True)
    column = (position.astype(int) - 1) % (2 * n)
    column = np.where(column < n, column, 2 * n - 1 - column)
    matrix = np.zeros((out, n))
    np.add.at(matrix, (np.arange(out)[:, None], column), weight)
    return matrix


def _spectral_norm(matrix: Any) -> float:
    """Largest singular value, from the banded Gram matrix of the shorter side."""
    from scipy.linalg import eigvals_banded

    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    n = len(gram)
    rows, columns = np.nonzero(np.triu(gram))
    reach = int((columns - rows).max())
    band = np.zeros((reach + 1, n))
    for k in range(reach + 1):
        band[k, : n - k] = np.diagonal(gram, k)
    return math.sqrt(float(eigvals_banded(band, lower=True, select="i", select_range=(n - 1, n - 1))[0]))
