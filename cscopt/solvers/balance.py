"""ρ and σ of the primal-dual solver: the first, and how far they are from where its variables are in balance."""

from __future__ import annotations

from cscopt.backend import Array, namespace, squares
from cscopt.problem import CSCProblem
from cscopt.solvers.admm import first_rho
from cscopt.solvers.normal import first_sigma, response
from cscopt.solvers.terms import Point, proximal
from cscopt.stationarity import stationary_bound

_BALANCE = 2.0
"""Relative primal residual over the dual one; see `ADMM`."""


def beginning(problem: CSCProblem, bound: Array, warm: bool) -> Array:
    """The first ρ: that of `ADMM`, in units of ‖A‖² by its bound.

    Where the penalty is not convex, in units of what AᴴWᴴW A is where the filters are: there a ρ that is too large
    keeps all codes at zero, and one that is too small is doubled. From given codes it is ‖W A D‖², at which a proximal
    map keeps what a descent would.
    """
    fit, synthesis, like = problem.datafit, problem.synthesis, problem.code_like
    if problem.penalty.convex:
        return first_rho(problem) * bound
    if warm:
        return stationary_bound(problem, None if fit.quadratic else fit.first_sigma)
    if problem.forward is None:
        return first_rho(problem)
    xp, shape, mean = namespace(like), (problem.batch * synthesis.groups, synthesis.image_channels), bound
    if fit.folded:
        power = xp.abs(problem.system.factor) ** 2
        mean = first_sigma(problem, xp.broadcast_to(power, (*shape, *power.shape[-len(synthesis.grid) :])))
    elif fit.quadratic:
        image = xp.zeros((*shape, *synthesis.grid), dtype=like.dtype, device=like.device)
        mean = first_sigma(problem, response(fit, image))
    return first_rho(problem, mean if fit.quadratic else mean * fit.first_sigma)


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
