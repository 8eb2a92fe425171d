"""Compiled twins of `reference.ista_update` and its kin, for any penalty: a pass before its proximal map, one after.

Blocks are summed in the arrays' precision, and added up in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt.kernels.pool import each_row
from cscopt.kernels.reference import Regularizer, Sums
from cscopt.kernels.scalars import BLOCK, compiled, dot, square


def ista_update(x: Any, ascent: Any, levels: Regularizer, step_size: Any) -> tuple[Any, Sums]:
    """Twin of `reference.ista_update`; `x` and `ascent` are updated in place."""
    violation = levels.violation(ascent)
    maps, g, step = _maps(x), _maps(ascent), _parameter(step_size, x)
    each_row(len(maps), maps.shape[1], lambda r, m: _ascend(maps[r, m], g[r, m], step[r]))
    new, sums = _maps(_own(levels.prox(ascent, step), ascent)), np.zeros((*maps.shape[:2], 1))
    each_row(len(maps), maps.shape[1], lambda r, m: _settle_ista(maps[r, m], new[r, m], sums[r, m]))
    return x, {"l1": levels.value(x), **_totals(sums, ("change",)), "violation": violation}


def fista_update(
    x: Any, point: Any, ascent: Any, levels: Regularizer, step_size: Any, momentum: Any
) -> tuple[Any, Any, Sums]:
    """Twin of `reference.fista_update`; `x`, `point` and `ascent` are updated in place."""
    violation = levels.violation(ascent)
    maps, points, g = _maps(x), _maps(point), _maps(ascent)
    step, beta = _parameter(step_size, x), _parameter(momentum, x)
    each_row(len(maps), maps.shape[1], lambda r, m: _ascend(points[r, m], g[r, m], step[r]))
    new, sums = _maps(_own(levels.prox(ascent, step), ascent)), np.zeros((*maps.shape[:2], 2))
    each_row(
        len(maps), maps.shape[1], lambda r, m: _settle_fista(maps[r, m], points[r, m], new[r, m], beta[r], sums[r, m])
    )
    totals = _totals(sums, ("change", "turn"))
    return x, point, {"l1": levels.value(x), **totals, "violation": violation}


def admm_update(v: Any, shift: Any, levels: Regularizer, penalty: Any, relaxation: float) -> tuple[Any, Any, Sums]:
    """Twin of `reference.admm_update`; `v` and `shift` are updated in place."""
    violation = levels.violation(shift)
    maps, x, rho = _maps(v), _maps(shift), _parameter(penalty, v)
    alpha = rho.dtype.type(relaxation)
    old, sums = _maps(_own(levels.prox(v, 1 / rho), v)), np.zeros((*maps.shape[:2], 5))
    each_row(len(maps), maps.shape[1], lambda r, m: _relax(maps[r, m], old[r, m], x[r, m], alpha))
    y = _own(levels.prox(v, 1 / rho), v)
    ahead = _maps(y)
    each_row(
        len(maps), maps.shape[1], lambda r, m: _settle_admm(maps[r, m], old[r, m], x[r, m], ahead[r, m], sums[r, m])
    )
    totals = _totals(sums, ("primal", "dual", "x", "y", "u"))
    return v, y, {**totals, "violation": violation}


@compiled
def _ascend(x: Any, g: Any, step: Any) -> None:
    """g ← x + step · g."""
    for j in range(x.shape[0]):
        point, ascent = x[j], g[j]
        for i in range(point.size):
            ascent[i] = point[i] + step * ascent[i]


@compiled
def _settle_ista(x: Any, new: Any, sums: Any) -> None:
    """x ← new; sums (maps, 1): ‖new − x‖²."""
    for j in range(x.shape[0]):
        for b in range(0, x.shape[1], BLOCK):
            sums[j, 0] += _ista_block(x[j, b : b + BLOCK], new[j, b : b + BLOCK])


@compiled
def _ista_block(x: Any, new: Any) -> Any:
    change = _zero(x)
    for i in range(x.size):
        change += square(new[i] - x[i])
        x[i] = new[i]
    return change


@compiled
def _settle_fista(x: Any, point: Any, new: Any, beta: Any, sums: Any) -> None:
    """x ← new and point ← new + β (new − x); sums (maps, 2): ‖new − point‖², Re⟨point − new, new − x⟩."""
    for j in range(x.shape[0]):
        for b in range(0, x.shape[1], BLOCK):
            e = b + BLOCK
            change, turn = _fista_block(x[j, b:e], point[j, b:e], new[j, b:e], beta)
            sums[j, 0] += change
            sums[j, 1] += turn


@compiled
def _fista_block(x: Any, point: Any, new: Any, beta: Any) -> Any:
    change = _zero(x)
    turn = _zero(x)
    for i in range(x.size):
        here = new[i]
        step = here - x[i]
        change += square(here - point[i])
        turn += dot(point[i] - here, step)
        x[i] = here
        point[i] = here + beta * step
    return change, turn


@compiled
def _relax(v: Any, old: Any, shift: Any, alpha: Any) -> None:
    """shift ← x and v ← v + α (x − y) with x = y + change, change = y − v + shift, y = `old`."""
    for j in range(v.shape[0]):
        after, before, x = v[j], old[j], shift[j]
        for i in range(after.size):
            change = before[i] - after[i] + x[i]
            x[i] = before[i] + change
            after[i] += alpha * change


@compiled
def _settle_admm(v: Any, old: Any, x: Any, y: Any, sums: Any) -> None:
    """y ← 2y − v; sums (maps, 5): ‖x − y‖², ‖y − old‖², ‖x‖², ‖y‖², ‖v − y‖²."""
    for j in range(v.shape[0]):
        for b in range(0, v.shape[1], BLOCK):
            e = b + BLOCK
            primal, dual, xs, ys, us = _admm_block(v[j, b:e], old[j, b:e], x[j, b:e], y[j, b:e])
            sums[j, 0] += primal
            sums[j, 1] += dual
            sums[j, 2] += xs
            sums[j, 3] += ys
            sums[j, 4] += us


@compiled
def _admm_block(v: Any, old: Any, x: Any, y: Any) -> Any:
    primal = _zero(v)
    dual = _zero(v)
    xs = _zero(v)
    ys = _zero(v)
    us = _zero(v)
    for i in range(v.size):
        kept = y[i]
        primal += square(x[i] - kept)
        dual += square(kept - old[i])
        xs += square(x[i])
        ys += square(kept)
        us += square(v[i] - kept)
        y[i] = kept + kept - v[i]
    return primal, dual, xs, ys, us


@compiled
def _zero(values: Any) -> Any:
    """0 in the precision of the values' squares."""
    return square(values[0]) - square(values[0])


def _own(result: Any, argument: Any) -> Any:
    """What a proximal map returned, contiguous, and copied if it is its argument's memory."""
    return result.copy() if np.may_share_memory(result, argument) else np.ascontiguousarray(result)


def _maps(codes: Any) -> Any:
    return codes.reshape((*codes.shape[:2], -1))


def _parameter(values: Any, like: Any) -> Any:
    return np.asarray(values).astype(like.real.dtype)


def _totals(sums: Any, names: tuple[str, ...]) -> Sums:
    return {name: sums[..., k].sum(axis=1) for k, name in enumerate(names)}
