"""Compiled twins of `GroupL1`'s proximal map and value: a group at a time, while its coefficients are in cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt.kernels.entrywise import levels_of
from cscopt.kernels.pool import each_chunk
from cscopt.kernels.scalars import BLOCK, block_of, compiled, shrink, size, square, weight_at

_CHUNK = 8 * BLOCK


def prox(v: Any, lam: Any, labels: Any, mu: float, step: Any) -> Any:
    r"""S_{tΛ}(v), then (1 − tμ/‖·‖₂)₊ of each group; v is (batch, maps, \*space), t is `step` of each item, (batch,).

    `lam` broadcasts against v, and `labels` (maps,) are 0 to the number of groups less one.
    """
    out = np.empty(v.shape, v.dtype)
    source, target, group = _flat(v), _flat(out), _Groups(lam, labels, v)
    steps, one = np.asarray(step).astype(group.level.dtype), group.level.dtype.type(1)

    def work(item: int, begin: int, end: int) -> None:
        _prox(
            source[item], target[item], *group.of(item), group.order, group.starts,
            steps[item], steps[item] * one.dtype.type(mu), one, begin, end,
        )  # fmt: skip

    each_chunk(len(source), source.shape[2], _CHUNK, work)
    return out


def value(codes: Any, lam: Any, labels: Any, mu: float) -> Any:
    """Σ Λ|x| + μ Σ_g ‖x_g‖₂ of each item, in float64."""
    source, group = _flat(codes), _Groups(lam, labels, codes)
    blocks = -(-source.shape[2] // BLOCK)
    sums, one = np.zeros((len(source), blocks, 2)), group.level.dtype.type(1)

    def work(item: int, begin: int, end: int) -> None:
        _value(source[item], *group.of(item), group.order, group.starts, one, begin, end, sums[item])

    each_chunk(len(source), source.shape[2], _CHUNK, work)
    total = sums.sum(axis=1)
    return total[:, 0] + mu * total[:, 1]


class _Groups:
    """Λ as a level a map and weights of pixels, and the maps in the order of their groups."""

    def __init__(self, lam: Any, labels: Any, like: Any) -> None:
        levels = levels_of(lam, like)
        self.level = np.ascontiguousarray(levels.level)
        self.weight = None if levels.weight is None else _flat(levels.weight)
        self.order = np.argsort(labels, kind="stable")
        self.starts = np.searchsorted(labels[self.order], np.arange(labels.max() + 2))

    def of(self, item: int) -> tuple[Any, Any]:
        """Level and weight of an item."""
        level = self.level[item % len(self.level)]
        return level, None if self.weight is None else self.weight[item % len(self.weight)]


@compiled
def _prox(
    v: Any, out: Any, level: Any, weight: Any, order: Any, starts: Any, step: Any, radius: Any, one: Any,
    begin: int, end: int,
) -> None:  # fmt: skip
    norms = np.empty(BLOCK, level.dtype)
    for b in range(begin, end, BLOCK):
        e = min(b + BLOCK, end)
        for g in range(starts.size - 1):
            kept = norms[: e - b]
            kept[:] = one - one
            for k in range(starts[g], starts[g + 1]):
                m = order[k]
                _shrink(v[m, b:e], out[m, b:e], level[m] * step, block_of(weight, m, b), one, kept)
            _reduce(kept, radius)
            for k in range(starts[g], starts[g + 1]):
                _scale(out[order[k], b:e], kept)


@compiled
def _shrink(v: Any, out: Any, t: Any, weight: Any, one: Any, norms: Any) -> None:
    """out ← S_t(v), with its squares added to the norms."""
    for i in range(v.size):
        kept = shrink(v[i], t * weight_at(weight, i, one), None)
        out[i] = kept
        norms[i] += square(kept)


@compiled
def _reduce(squares: Any, radius: Any) -> None:
    """‖·‖² ← (1 − radius/‖·‖)₊."""
    least = np.finfo(squares.dtype).tiny
    for i in range(squares.size):
        norm = np.sqrt(squares[i])
        squares[i] = max(norm - radius, radius - radius) / max(norm, radius, least)


@compiled
def _scale(out: Any, factors: Any) -> None:
    for i in range(out.size):
        out[i] *= factors[i]


@compiled
def _value(x: Any, level: Any, weight: Any, order: Any, starts: Any, one: Any, begin: int, end: int, sums: Any) -> None:
    """sums (blocks, 2): Σ Λ|x| and Σ_g ‖x_g‖."""
    norms = np.empty(BLOCK, level.dtype)
    for b in range(begin, end, BLOCK):
        e = min(b + BLOCK, end)
        for g in range(starts.size - 1):
            squares = norms[: e - b]
            squares[:] = one - one
            for k in range(starts[g], starts[g + 1]):
                m = order[k]
                sums[b // BLOCK, 0] += level[m] * _measured(x[m, b:e], block_of(weight, m, b), one, squares)
            sums[b // BLOCK, 1] += _roots(squares)


@compiled
def _measured(x: Any, weight: Any, one: Any, squares: Any) -> Any:
    """Σ w|x|, with |x|² added to the squares."""
    total = one - one
    for i in range(x.size):
        total += weight_at(weight, i, one) * size(x[i], None)
        squares[i] += square(x[i])
    return total


@compiled
def _roots(squares: Any) -> Any:
    total = squares[0] - squares[0]
    for i in range(squares.size):
        total += np.sqrt(squares[i])
    return total


def _flat(codes: Any) -> Any:
    return np.ascontiguousarray(codes).reshape((*codes.shape[:2], -1))
