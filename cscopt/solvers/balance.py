"""How far ρ and σ of the primal-dual solver are from where its variables, or its residuals, are in balance."""

from __future__ import annotations

from cscopt.backend import Array, namespace
from cscopt.problem import CSCProblem
from cscopt.solvers.terms import Point, proximal, squares

_BALANCE = 2.0
"""Relative primal residual over the dual one; see `ADMM`."""


def weight(problem: CSCProblem, point: Point, rho: Array, sigma: Array) -> Array:
    """The ratio of dual and primal norms of codes and data, by which ρ and σ are off."""
    batch = problem.batch
    z = proximal(problem, point, rho, sigma).z
    primal, dual = rho * squares(z, batch), rho * squares(point.v - z, batch)
    if point.data is not None:
        primal = primal + sigma * squares(point.data.u, batch)
        dual = dual + squares(point.data.q, batch) / sigma
    return _root(dual, primal, 10.0)


def balance(problem: CSCProblem, point: Point, z: Array, x: Array, old: Array) -> Array:
    """The root of the ratio of relative primal and dual residuals, less what it is to be; 1 where it is near.

    From z, the x⁺ of the last step, and the z before it.
    """
    batch = problem.batch
    primal = squares(x - z, batch) * squares(point.v - z, batch)
    xp = namespace(primal)
    dual = squares(z - old, batch) * xp.maximum(squares(x, batch), squares(z, batch))
    factor = xp.sqrt(_root(primal, _BALANCE**2 * dual, 4.0))
    return xp.where((factor > 1.2) | (factor < 1 / 1.2), factor, xp.ones_like(factor))


def _root(above: Array, below: Array, most: float) -> Array:
    """(above / below)^½ between 1/most and most; 1 where one of them is zero."""
    xp, usable = namespace(above), (above > 0) & (below > 0)
    one = xp.ones_like(above)
    return xp.clip(xp.sqrt(xp.where(usable, above, one) / xp.where(usable, below, one)), 1 / most, most)
