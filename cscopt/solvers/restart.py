"""Restarts of ADMM at the mean of its iterates: what makes it converge linearly where the objective has corners."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cscopt.backend import Array, namespace, per_item
from cscopt.problem import CSCProblem

_SUFFICIENT = 0.5
"""Share of the gap at the last restart from which on a new one pays."""

_SHORTEST, _LONGEST = 200, 0.36
"""A mean gets too old after this many iterations, and this share of all."""


@dataclass(frozen=True)
class Average:
    """Sums over the iterations since the last restart, of v and of that of the data; how many; and the gap then."""

    v: Array
    data: Array
    count: Array
    gap: Array


def first_average(problem: CSCProblem, v: Array, data: Array) -> Average:
    """The mean of nothing."""
    xp, zero = namespace(v), namespace(v).zeros_like(problem.datafit.energy)
    return Average(xp.zeros_like(v), xp.zeros_like(data), zero, zero + float("inf"))


def averaged(average: Average, v: Array, data: Array) -> Average:
    """The mean with one iterate more; the sums given are used up."""
    total, total_data = average.v, average.data
    total += v  # in place: one pass over all maps
    total_data += data
    return replace(average, v=total, data=total_data, count=average.count + 1)


def mean(problem: CSCProblem, average: Average) -> tuple[Array, Array]:
    """The means of v and of that of the data; of nothing, zero."""
    xp = namespace(average.count)
    share = problem.per_row(1 / xp.maximum(average.count, xp.ones_like(average.count)))
    return per_item(share, average.v.ndim) * average.v, per_item(share, average.data.ndim) * average.data


def due(average: Average, gap: Array, iteration: int, tol: float) -> Array:
    """Whether each item is to restart, given the smaller gap of iterate and mean."""
    return is_due(average.count, average.gap, gap, iteration, tol)


def is_due(count: Array, last_gap: Array, gap: Array, iteration: int, tol: float) -> Array:
    """Whether a mean of `count` iterates is worth a restart, or too old."""
    old = count > max(_SHORTEST, _LONGEST * iteration)
    return (count > 0) & ((gap < _SUFFICIENT * last_gap) | (gap <= tol) | old)


def forgotten(problem: CSCProblem, average: Average, where: Array, gap: Array) -> Average:
    """The mean of nothing for some items, at their gaps."""
    xp = namespace(gap)
    return Average(
        chosen(problem, where, xp.zeros_like(average.v), average.v),
        chosen(problem, where, xp.zeros_like(average.data), average.data),
        xp.where(where, xp.zeros_like(average.count), average.count),
        xp.where(where, gap, average.gap),
    )


def chosen(problem: CSCProblem, where: Array, new: Array, old: Array) -> Array:
    """The rows of `new` for some items, and of `old` for the others."""
    xp = namespace(where)
    rows = xp.repeat(where, old.shape[0] // problem.batch)
    return xp.where(per_item(rows, old.ndim), new, old)
