"""Compiled twins of `GroupL1`'s proximal map and value: a group at a time, while its coefficients are in cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cscopt.kernels.entrywise import levels_of
from cscopt.kernels.pool import shared_out
from cscopt.kernels.scalars import BLOCK, block_of, compiled, shrink, size, square, weight_at

_CHUNK = 8 * BLOCK


def prox(v: Any, lam: Any, labels: Any, mu: float, step: Any) -> Any:
    r"""S_{tΛ}(v), then (1 − tμ/‖·‖₂)₊ of each group; v is (batch, maps, \*space), t is `step` of each item, (batch,).

    `lam` broadcasts against v, and `labels` (maps,) are 0 to the number of groups less one.
    """
    out = np.empty(v.shape, v.dtype)
    source, target, group = _flat(v), _flat(out), _Groups(lam, labels, v)
    steps = np.asarray(step).astype(group.level.dtype)

    def work(item: int, begin: int, end: int) -> None:
        _prox(
            source[item], target[item], *group.of(item), group.order, group.starts,
            steps[item], steps[item] * steps.dtype.type(mu), begin, end,
        )  # fmt: skip

    _each(source, work)
    return out


def value(codes: Any, lam: Any, labels: Any, mu: float) -> Any:
    """Σ Λ|x| + μ Σ_g ‖x_g‖₂ of each item, in float64."""
    source, group = _flat(codes), _Groups(lam, labels, codes)
    blocks = -(-source.shape[2] // BLOCK)
    sums, one = np.zeros((len(source), blocks, 2)), group.level.dtype.type(1)

    def work(item: int, begin: int, end: int) -> None:
        _value(source[item], *group.of(item), group.order, group.starts, one, begin, end, sums[item])

    _each(source, work)
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
    v: Any, out: Any, level: Any, weight: Any, order: Any, starts: Any, step: Any, radius: Any, begin: int, end: int
) -> None:
    norms = np.empty(BLOCK, level.dtype)
    for b in range(begin, end, BLOCK):
        e = min(b + BLOCK, end)
        for g in range(starts.size - 1):
            share = norms[: e - b]
            share[:] = radius - radius
            for k in range(starts[g], starts[g + 1]):
                m = order[k]
                _shrink(v[m, b:e], out[m, b:e], level[m] * step, block_of(weight, m, b), radius / radius, share)
            _shares(share, radius)
            for k in range(starts[g], starts[g + 1]):
                _scale(out[order[k], b:e], share)


@compiled
def _shrink(v: Any, out: Any, t: Any, weight: Any, one: Any, norms: Any) -> None:
    """out ← S_t(v), with its squares added to the norms."""
    for i in range(v.size):
        kept = shrink(v[i], t * weight_at(weight, i, one), None)
        out[i] = kept
        norms[i] += square(kept)


@compiled
def _shares(norms: Any, radius: Any) -> None:
    """‖·‖² ← (1 − radius/‖·‖)₊."""
    for i in range(norms.size):
        norm = np.sqrt(norms[i])
        norms[i] = max(norm - radius, radius - radius) / max(norm, radius)


@compiled
def _scale(out: Any, share: Any) -> None:
    for i in range(out.size):
        out[i] *= share[i]


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


def _each(maps: Any, work: Callable[[int, int, int], None]) -> None:
    """`work` on each item and ranges of its pixels, shared out to threads."""
    pixels = maps.shape[2]
    chunks = -(-pixels // _CHUNK)

    def share(begin: int, end: int) -> list[Any]:
        for index in range(begin, end):
            item, chunk = divmod(index, chunks)
            work(item, chunk * _CHUNK, min((chunk + 1) * _CHUNK, pixels))
        return []

    shared_out(share, len(maps) * chunks)


def _flat(codes: Any) -> Any:
    return np.ascontiguousarray(codes).reshape((*codes.shape[:2], -1))
