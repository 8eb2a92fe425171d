"""The ℓ1 norm and its proximal map as penalties ask for them, Λ in any form that broadcasts: compiled for NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cscopt.backend import Array, is_numpy, namespace
from cscopt.kernels.reference import Levels, soft_threshold


def shrinkage(v: Array, lam: Array, step: float | Array, nonnegative: bool = False) -> Array:
    r"""S_{sΛ}(v) for codes (batch, maps, \*space), Λ in their precision, and a step s that broadcasts."""
    steps = per_batch(step, v)
    if steps is None:
        return soft_threshold(v, step * lam, nonnegative)
    from cscopt.kernels import numba

    return numba.proximal(v, levels_of(lam, v, nonnegative), steps)[0]


def weighted_l1(codes: Array, lam: Array) -> Array:
    r"""Σ Λ|x| of each item of codes (batch, maps, \*space), (batch,), in float64."""
    if is_compiled(codes):
        from cscopt.kernels import numba

        return numba.weighted_l1(codes, levels_of(lam, codes))
    xp = namespace(codes)
    return xp.sum(lam * xp.abs(codes), axis=tuple(range(1, codes.ndim)), dtype=xp.float64)


def per_batch(step: float | Array, v: Array) -> Any:
    """A step for each item, (batch,), where the compiled loops take the codes v and that is what it is; else None."""
    shape = np.shape(step) if is_numpy(step) or np.isscalar(step) else None
    if not is_compiled(v) or shape is None or (math.prod(shape) != 1 and shape != (len(v),) + (1,) * (v.ndim - 1)):
        return None
    return np.broadcast_to(np.reshape(step, -1), len(v))


def is_compiled(codes: Array) -> bool:
    r"""Whether the compiled loops take an array: NumPy's, (batch, maps, \*space), of the four dtypes of codes."""
    return is_numpy(codes) and codes.ndim > 2 and codes.dtype.isnative and codes.dtype.char in "fdFD"


def levels_of(lam: Any, like: Any, nonnegative: bool = False) -> Levels:
    """NumPy's Λ as a level of each map and, if it varies by place, weights."""
    lam, space = lam.reshape((1,) * (like.ndim - lam.ndim) + lam.shape), like.shape[2:]
    if lam.shape[2:] == (1,) * len(space):
        return Levels(np.broadcast_to(lam.reshape(lam.shape[:2]), (len(lam), like.shape[1])), None, nonnegative)
    weight = np.broadcast_to(lam, (*lam.shape[:2], *space))
    return Levels(np.ones((1, like.shape[1]), lam.dtype), weight, nonnegative)
