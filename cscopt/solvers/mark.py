"""Numbers by which a state knows its problem: what it says of another one would be wrong, bounds included."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from cscopt.backend import Array, asarray_like, device, is_array, is_complex, namespace, to_numpy
from cscopt.problem import CSCProblem

_EXACT = 2
"""Columns that are compared by their ratio alone."""


def mark(problem: CSCProblem) -> Array:
    """Numbers of each item, (batch, 12): ‖Wy‖², max |DᴴAᴴWᴴWy| / Λ, and the size and one projection of all else.

    Else are the data, filters, weights, penalty and fit; a projection is ⟨a, w⟩ / ‖a‖ with w_ij… = cos i cos j … .
    """
    xp, energy = namespace(problem.signal), problem.datafit.energy
    columns = [energy, problem.zero_violation, *_traits(problem.signal, 1)]
    for shared in (problem.dictionary.filters, problem.mask, problem.penalty, (problem.fit, problem.boundary)):
        sizes = [_traits(asarray_like(leaf, problem.signal), 0) for leaf in _leaves(shared)]
        for column in zip(*sizes, strict=True):
            columns.append(sum((k * part for k, part in enumerate(column, 1)), xp.zeros_like(energy)))
    return xp.stack(columns, axis=1)


def same(given: Array, fresh: Array, eps: float) -> bool:
    """Whether two marks are of one problem, but for rounding in a precision of so much."""
    first, second, near = to_numpy(given), to_numpy(fresh), min(1e-5, eps**0.5)
    exact = np.allclose(first[:, :_EXACT], second[:, :_EXACT], rtol=near, atol=0)
    return exact and np.allclose(first[:, _EXACT:], second[:, _EXACT:], rtol=near, atol=near)


def _traits(array: Array, lead: int) -> tuple[Array, Array]:
    """log ‖a‖ and ⟨a, w⟩ / ‖a‖ over all axes after the first `lead`, in float64."""
    xp = namespace(array)
    if not xp.isdtype(array.dtype, ("real floating", "complex floating")):
        array = xp.astype(array, xp.float64)
    projected = array
    while projected.ndim > lead:
        n = projected.shape[-1]
        wave = xp.cos(xp.arange(n, dtype=xp.float64, device=device(array)) + 1)
        projected = xp.matmul(projected, xp.astype(wave, array.dtype))
    if is_complex(array):
        projected = xp.real(projected) + 3 * xp.imag(projected)
    size, axes = xp.abs(array), tuple(range(lead, array.ndim))
    peak = xp.max(size, axis=axes, keepdims=True)
    size = size / xp.where(peak > 0, peak, xp.ones_like(peak))
    square = xp.sum(size * size, axis=axes, dtype=xp.float64) * xp.reshape(peak, peak.shape[:lead]) ** 2
    norm = xp.sqrt(xp.where(square > 0, square, xp.ones_like(square)))
    return xp.log(norm), xp.astype(projected, xp.float64) / norm


def _leaves(tree: Any) -> Iterator[Any]:
    """Numbers and arrays of a record, and a number for its kind and for each word."""
    if is_array(tree):
        yield tree
    elif isinstance(tree, int | float):
        yield np.asarray(float(tree))
    elif isinstance(tree, str):
        yield np.asarray(1 + zlib.crc32(tree.encode()) / 2**32)
    elif isinstance(tree, tuple):
        for part in tree:
            yield from _leaves(part)
    elif is_dataclass(tree):
        yield from _leaves(type(tree).__name__)
        for field in fields(tree):
            yield from _leaves(getattr(tree, field.name))
    elif tree is None:
        yield np.asarray(0.0)
