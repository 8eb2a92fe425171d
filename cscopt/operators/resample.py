"""Resampling as linear operators: bicubic as MATLAB's ``imresize`` does it, and taking every k-th pixel."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, asarray_like, device, is_numpy, is_torch, namespace
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
        input_shape = checks.extents(input_shape, "input_shape")
        if len(input_shape) != 3:
            raise ValueError(f"input_shape must be (channel, H, W); got {input_shape}")
        if (scale is None) == (size is None):
            raise ValueError("give either scale or size")
        checks.flag(antialias, "antialias")
        space = input_shape[1:]
        if scale is not None:
            factors = (checks.positive_number(scale, "scale"),) * 2
            wanted = tuple(max(1.0, scale * n) for n in space)
        else:
            if not isinstance(size, tuple | list) or len(size) != 2:
                raise ValueError(f"size must be (height, width); got {size!r}")
            wanted = tuple(float(checks.count(n, "size", 1)) for n in size)
            factors = (wanted[0] / space[0], wanted[1] / space[1])
        _check_memory(input_shape[0], wanted, factors if antialias else (1.0, 1.0))
        extents = tuple(math.ceil(n - 1e-9) for n in wanted)
        self._matrices = [
            _matrix(n, out, factor, antialias) for n, out, factor in zip(space, extents, factors, strict=True)
        ]
        self._cast: dict[Any, tuple[Any, Any]] = {}
        super().__init__(input_shape, (input_shape[0], *extents))

    @cached_property
    def _exact_norm(self) -> float:
        return math.prod(_spectral_norm(matrix) for matrix in self._matrices)

    @property
    def norm(self) -> float:
        """‖R_v‖ ‖R_h‖, exact."""
        return self._exact_norm

    def apply(self, x: Array) -> Array:
        """R_v x R_hᵀ of a batch (batch, channel, H, W)."""
        x = checks.batch_of(x, self.input_shape, "image")
        vertical, horizontal = self._matrices_like(x)
        return _times(vertical, horizontal, x)

    def adjoint(self, y: Array) -> Array:
        """R_vᵀ y R_h of a batch (batch, channel, h, w)."""
        y = checks.batch_of(y, self.output_shape, "image")
        vertical, horizontal = self._matrices_like(y)
        return _times(vertical.T, horizontal.T, y)

    def _matrices_like(self, array: Array) -> tuple[Any, Any]:
        """R_v and R_h for an array: sparse for NumPy (no BLAS, whose waiting threads starve ours), else dense."""
        key = (namespace(array).__name__, array.dtype, device(array))
        if key in self._cast:
            return self._cast[key]
        if is_numpy(array):
            pair = tuple(matrix.astype(array.dtype) for matrix in self._matrices)
        else:
            pair = tuple(asarray_like(matrix.toarray(), array, array.dtype) for matrix in self._matrices)
        if not (is_torch(array) and pair[0].is_inference()):  # those would be refused by a later backward pass
            self._cast[key] = pair[0], pair[1]
        return pair[0], pair[1]


class Decimate(LinearOperator):
    r"""Take every k-th pixel of each spatial axis, beginning with `offset`; the adjoint puts zeros between.

    Parameters
    ----------
    input_shape : tuple of int
        (channel, \*space).
    factor : int
        k.
    offset : int, default 0
        First pixel taken, below k.

    Attributes
    ----------
    norm : float
        1.
    """

    def __init__(self, input_shape: tuple[int, ...], factor: int, offset: int = 0) -> None:
        input_shape = checks.extents(input_shape, "input_shape")
        checks.count(factor, "factor", 1)
        if checks.count(offset, "offset") >= min(factor, *input_shape[1:]):
            raise ValueError(f"offset must be below the factor and the image's extents; got {offset}")
        self._taken = (..., *(slice(offset, None, factor) for _ in input_shape[1:]))
        self._factor, self._offset = factor, offset
        kept = tuple(len(range(offset, n, factor)) for n in input_shape[1:])
        super().__init__(input_shape, (input_shape[0], *kept), 1.0)

    def apply(self, x: Array) -> Array:
        """Every k-th pixel of images (batch, *input_shape)."""
        x = checks.batch_of(x, self.input_shape, "image")
        return x[self._taken]

    def adjoint(self, y: Array) -> Array:
        """Images that hold the data at every k-th pixel, and zero elsewhere."""
        y = checks.batch_of(y, self.output_shape, "data")
        xp = namespace(y)
        for axis, n in enumerate(self.input_shape[1:], start=2):
            many = y.shape[axis]
            lead, rest = y.shape[:axis], y.shape[axis + 1 :]
            zeros = {"dtype": y.dtype, "device": device(y)}
            gaps = xp.zeros((*lead, many, self._factor - 1, *rest), **zeros)
            spread = xp.concat([xp.expand_dims(y, axis=axis + 1), gaps], axis=axis + 1)
            line = xp.reshape(spread, (*lead, many * self._factor, *rest))
            before = xp.zeros((*lead, self._offset, *rest), **zeros)
            after = xp.zeros((*lead, max(0, n - self._offset - many * self._factor), *rest), **zeros)
            y = xp.concat([before, line, after], axis=axis)[(*(slice(None),) * axis, slice(0, n), ...)]
        return y


def _check_memory(channels: int, extents: tuple[float, ...], factors: tuple[float, ...]) -> None:
    """Refuse an enlarged image (of float32) that does not fit into memory, or matrices that do not."""
    image = 4.0 * channels * extents[0] * extents[1]
    taps = sum(n * (4 / min(f, 1.0) + 2) for n, f in zip(extents, factors, strict=True))
    what = f"resampling to {extents[0]:.6g} × {extents[1]:.6g} pixels"
    checks.memory(image + 64 * taps, np.empty(0), what, "use a scale or size nearer to the image's")


def _times(left: Any, right: Any, x: Array) -> Array:
    """left x rightᵀ over the last two axes."""
    if hasattr(left, "tocsr"):
        rows = right @ x.reshape((-1, x.shape[-1])).T
        turned = np.moveaxis(rows.reshape((-1, *x.shape[:-1])), (0, -1), (-1, 0))
        columns = left @ turned.reshape((len(turned), -1))
        return np.ascontiguousarray(np.moveaxis(columns.reshape((-1, *turned.shape[1:])), 0, -2))
    xp = namespace(x)
    return xp.matmul(xp.matmul(left, x), xp.matrix_transpose(right))


def _cubic(x: Any) -> Any:
    """Keys' cubic convolution kernel with a = −1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _matrix(n: int, out: int, scale: float, antialias: bool) -> Any:
    """The (out, n) matrix of one axis, sparse, float64."""
    from scipy.sparse import coo_array

    shrink = min(scale, 1.0) if antialias else 1.0
    width = 4 / shrink
    centre = np.arange(1, out + 1) / scale + 0.5 * (1 - 1 / scale)
    taps = math.ceil(width) + 2
    position = np.floor(centre - width / 2)[:, None] + np.arange(taps)
    weight = _cubic(shrink * (centre[:, None] - position))
    weight /= weight.sum(axis=1, keepdims=True)
    column = (position.astype(int) - 1) % (2 * n)
    column = np.where(column < n, column, 2 * n - 1 - column)
    row = np.broadcast_to(np.arange(out)[:, None], column.shape)
    return coo_array((weight.ravel(), (row.ravel(), column.ravel())), shape=(out, n)).tocsr()


def _spectral_norm(matrix: Any) -> float:
    """Largest singular value, from the banded Gram matrix of the shorter side."""
    from scipy.linalg import eigvals_banded

    gram = (matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix).tocoo()
    n = gram.shape[0]
    reach = int((gram.col - gram.row).max())
    band = np.zeros((reach + 1, n))
    above = gram.col >= gram.row
    band[(gram.col - gram.row)[above], gram.row[above]] = gram.data[above]
    return math.sqrt(float(eigvals_banded(band, lower=True, select="i", select_range=(n - 1, n - 1))[0]))
