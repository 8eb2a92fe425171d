"""Sampling of pixels, and mixing of channels: the two forward models that work pixel by pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, namespace, real_dtype
from cscopt.linop import LinearOperator
from cscopt.operators.held import Held


class Mask(LinearOperator):
    r"""x ↦ m ∘ x: weights that broadcast against an image (channel, \*space).

    Where nothing else happens between picture and data, ``CSCProblem(mask=)`` says the same, and more solvers serve it.

    Attributes
    ----------
    norm : float
        max |m|, exact.
    """

    def __init__(self, input_shape: tuple[int, ...], mask: Any) -> None:
        input_shape, values = checks.extents(input_shape, "input_shape"), checks.numbers(mask, "mask", False)
        if not np.isfinite(values).all():
            raise ValueError("mask must be finite")
        padded = (1,) * (len(input_shape) - values.ndim) + values.shape
        if len(padded) > len(input_shape) or any(m not in (1, n) for m, n in zip(padded, input_shape, strict=True)):
            raise ValueError(f"mask must broadcast against the image {input_shape}; got shape {values.shape}")
        if not values.any():
            raise ValueError("mask must not be zero everywhere")
        self._mask = Held(values)
        super().__init__(input_shape, input_shape, float(np.abs(values).max()))

    def apply(self, x: Array) -> Array:
        """m ∘ x."""
        x = checks.batch_of(x, self.input_shape, "image")
        return self._mask.like(x, real_dtype(x)) * x

    def adjoint(self, y: Array) -> Array:
        """m ∘ y."""
        return self.apply(y)


class ChannelMix(LinearOperator):
    r"""x ↦ T x over the channels: image (channel, \*space) to (rows of T, \*space), complex where T or x is.

    Parameters
    ----------
    input_shape : tuple of int
    matrix : array, (channels out, channels in)
        T, for instance ``[[0.299, 0.587, 0.114]]`` from colour to grey (ITU-R BT.601).

    Attributes
    ----------
    norm : float
        Largest singular value of T, exact.
    """

    def __init__(self, input_shape: tuple[int, ...], matrix: Any) -> None:
        input_shape, values = checks.extents(input_shape, "input_shape"), checks.numbers(matrix, "matrix")
        if values.ndim != 2 or values.shape[1] != input_shape[0]:
            raise ValueError(f"matrix must have {input_shape[0]} columns, one a channel; got shape {values.shape}")
        if not np.isfinite(values).all() or not values.any():
            raise ValueError("matrix must be finite and not zero everywhere")
        self._matrix, self._turned = Held(values), Held(np.ascontiguousarray(values.conj().T))
        super().__init__(input_shape, (len(values), *input_shape[1:]), float(np.linalg.norm(values, 2)))

    def apply(self, x: Array) -> Array:
        """T x."""
        x = checks.batch_of(x, self.input_shape, "image")
        return _mixed(self._matrix, x)

    def adjoint(self, y: Array) -> Array:
        """Tᴴ y."""
        y = checks.batch_of(y, self.output_shape, "data")
        return _mixed(self._turned, y)


def missing_pixels(shape: tuple[int, ...], share: float, rng: Any = None) -> Any:
    """A random mask (ndarray of bool) in which round(share · pixels) pixels are missing (False)."""
    if not 0 <= checks.real_number(share, "share") < 1:
        raise ValueError(f"share must be at least 0 and below 1; got {share}")
    shape = checks.extents(shape, "shape")
    mask = np.ones(math.prod(shape), dtype=bool)
    mask[np.random.default_rng(rng).permutation(mask.size)[: round(share * mask.size)]] = False
    return mask.reshape(shape)


def _mixed(matrix: Held, x: Array) -> Array:
    xp = namespace(x)
    dtype = xp.result_type(x.dtype, xp.complex64) if np.iscomplexobj(matrix.values) else x.dtype
    product = xp.tensordot(matrix.like(x, dtype), xp.astype(x, dtype, copy=False), axes=((1,), (1,)))
    return xp.moveaxis(product, 0, 1)
