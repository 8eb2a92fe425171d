"""The certificate: a dual feasible point, and the duality gap."""

from __future__ import annotations

from typing import NamedTuple

from cscopt.backend import Array, namespace, per_item
from cscopt.curved_dual import curved_dual
from cscopt.penalties.base import best_scale, scaled_dual, unless_negative
from cscopt.penalties.differences import Differences
from cscopt.problem import CSCProblem, check_problem
from cscopt.stationarity import kkt_residual

_ROUNDING = 1e-13
"""Relative gaps that are negative by no more are rounding, and reported as 0."""


class Certificate(NamedTuple):
    """What is known of some codes, one number an item, in float64.

    Attributes
    ----------
    objective : array, (batch,)
        P(x).
    dual : array, (batch,)
        Value of the dual point, a lower bound of the optimum.
    gap : array, (batch,)
        (P(x) − dual) / P(x), and 0 where P(x) = 0: the relative suboptimality is at most this. For a penalty
        without a certificate it is the KKT residual (`kkt_residual`), and `dual` is −∞.
    """

    objective: Array
    dual: Array
    gap: Array


def dual_value(norm_sq: Array, overlap: Array, violation: Array) -> Array:
    r"""½‖Wy‖² − ½‖Wy − θ‖² at the best feasible θ = s r.

    Given ‖r‖², ⟨Wy, r⟩ and v = max |DᴴAᴴWᴴ r| / Λ. Feasible are 0 ≤ s ≤ 1/v; the best is
    s = ⟨Wy, r⟩ / ‖r‖² clipped to that (Massias, Gramfort and Salmon 2018, eq. 5).
    """
    xp = namespace(norm_sq)
    tiny = xp.full_like(norm_sq, float(xp.finfo(norm_sq.dtype).smallest_normal))  # ⟨Wy, r⟩ = 0 where ‖r‖² = 0
    free = overlap / xp.maximum(norm_sq, tiny)
    scale = xp.minimum(xp.maximum(free, xp.zeros_like(free)), 1 / xp.maximum(violation, tiny))
    return scale * overlap - scale * scale * norm_sq / 2


def compare(objective: Array, dual: Array) -> Certificate:
    """Certificate of objective values with a lower bound of the optimum."""
    xp = namespace(objective)
    finite, zero = xp.isfinite(objective), objective == 0
    gap = (objective - dual) / xp.where(finite & ~zero, objective, xp.ones_like(objective))
    gap = xp.where((gap < 0) & (gap > -_ROUNDING), xp.zeros_like(gap), gap)
    gap = xp.where(finite, gap, xp.full_like(gap, float("inf")))
    return Certificate(objective, dual, xp.where(zero, xp.zeros_like(gap), gap))


def rounding(problem: CSCProblem, objective: Array, items: Array | None = None) -> Array:
    """Relative gap below which rounding may hide what is true, of all items or of some."""
    xp, energy = namespace(objective), problem.datafit.energy
    energy = energy if items is None else xp.take(energy, items, axis=0)
    least = xp.clip(xp.maximum(xp.abs(objective), 1e-9 * energy), min=1e-300)
    size = xp.clip(energy / least, min=1.0)
    return xp.clip(30 * float(xp.finfo(problem.real).eps) * size, max=1e-3)


def settled(certificate: Certificate, floor: Array) -> Certificate:
    """A certificate whose gap is 0 where it is negative by no more than rounding explains."""
    xp, gap = namespace(certificate.gap), certificate.gap
    return certificate._replace(gap=xp.where((gap < 0) & (gap >= -floor), xp.zeros_like(gap), gap))


def certify(problem: CSCProblem, codes: Array) -> Certificate:
    r"""Objective and relative duality gap of any codes (batch, maps, \*code space), from scratch.

    r = W(y − A D x) is the residual, θ = s r the dual point (see `dual_value`), and the gap is
    P(x) − (½‖Wy‖² − ½‖Wy − θ‖²), relative to P(x). Where g has a quadratic part, see `cscopt.curved_dual`.

    For other fits f the dual point is p = −s ∇f(A D x), and the gap is P(x) + f*(−p). Where `L1Fit` has a corner or
    `PoissonFit` its constraint, that is only one of many subgradients: the gap is true but may be far too large, and
    `Solution.gap` has the better p of ADMM's multiplier. Of a penalty that is not convex see `kkt_residual`.
    """
    check_problem(problem)
    found = certify_rows(problem, problem.embed(codes))
    found = settled(found, rounding(problem, found.objective))
    if not (problem.penalty.nonnegative and problem.penalty.convex):
        return found
    return compare(unless_negative(found.objective, codes), found.dual)


def certify_rows(problem: CSCProblem, rows: Array) -> Certificate:
    """`certify` for codes already on the grid, (rows, maps, *grid)."""
    if not problem.penalty.convex:
        return uncertified(problem, rows, kkt_residual(problem, problem.synthesis.crop(rows)))
    if problem.penalty.tail:
        return certify_sum(problem, rows)
    value = problem.items_sum(problem.kernels.weighted_l1(rows, problem.levels))
    spectrum = problem.system.synthesize(rows)
    if problem.penalty.curved:
        fit = problem.datafit
        point = fit.residual(spectrum) if fit.quadratic else fit.descent(spectrum)
        return compare(fit.value(spectrum) + value, curved_dual(problem, problem.synthesis.crop(rows), point))
    return certify_spectrum(problem, spectrum, value)


def uncertified(problem: CSCProblem, rows: Array, residual: Array) -> Certificate:
    """Objective of codes on the grid, and their KKT residual, for a penalty that is not convex."""
    objective = problem.objective(problem.synthesis.crop(rows))
    return Certificate(objective, namespace(objective).full_like(objective, float("-inf")), residual)


def certify_spectrum(problem: CSCProblem, spectrum: Array, value: Array) -> Certificate:
    """`certify` from the spectrum of D x and g(x) of each item."""
    if not problem.datafit.quadratic:
        return certify_point(problem, spectrum, value, problem.datafit.descent(spectrum))
    residual = problem.datafit.residual(spectrum)
    norm_sq, overlap = problem.datafit.measures(residual)
    return compare(norm_sq / 2 + value, residual_value(problem, residual, norm_sq, overlap))


def residual_value(problem: CSCProblem, residual: Array, norm_sq: Array, overlap: Array) -> Array:
    """Dual value of each item at the best multiple of a residual r of least squares, from r, ‖r‖² and ⟨Wy, r⟩."""
    ascent = problem.datafit.ascent(residual)
    if problem.fused:
        return dual_value(norm_sq, overlap, problem.items_max(problem.violation(ascent)))
    return problem.penalty.dual(problem.correlations(ascent), norm_sq, overlap)


def certify_point(problem: CSCProblem, spectrum: Array, value: Array, point: Array) -> Certificate:
    """Certificate of a fit that is split off (`SplitFit`), from the spectrum of A D x, g(x), and a dual point q."""
    return compare(problem.datafit.value(spectrum) + value, point_value(problem, point))


def point_value(problem: CSCProblem, point: Array) -> Array:
    """The best −f*(−s p) − g*(s DᴴAᴴp) of each item over scales s that make p = W q feasible.

    f*(0) ≤ 0 for every `Fit`, so that it is 0 at least.
    """
    ascent = problem.datafit.ascent(point)
    if problem.fused:
        worst = problem.items_max(problem.violation(ascent))
        xp = namespace(worst)
        scales = [(1 / xp.maximum(xp.ones_like(worst), worst), xp.zeros_like(worst))]
    else:
        scales = problem.penalty.feasible(problem.correlations(ascent))
    best = namespace(point).zeros_like(scales[0][1])
    for scale, conjugate in scales:
        best = namespace(best).maximum(best, problem.datafit.dual(point, scale) - conjugate)
    return best


def certify_sum(
    problem: CSCProblem, rows: Array, points: list[Array] | None = None, duals: list[Array] | None = None
) -> Certificate:
    """Certificate of codes on the grid for a sum g + Σ_k h_k(K_k x) of penalties, one that has no `tail` too.

    Of dual points p of the fit (as the data term keeps them; by default that of the codes) and q_k of the tail (by
    default subgradients), taken down to one scale s that makes c = s (DᴴAᴴp − Σ_k K_kᴴ q_k) feasible for g:
    P* ≥ −f*(−s p) − g*(c) − s Σ_k h_k*(q_k), as h_k*(s q_k) ≤ s h_k*(q_k) for s ≤ 1. Of a norm it is 0 in the ball.
    """
    fit, spectrum = problem.datafit, problem.system.synthesize(rows)
    objective = fit.value(spectrum) + problem.penalty.value(problem.synthesis.crop(rows))
    pull, conjugate = _tail(problem, rows, duals)
    xp, best = namespace(objective), namespace(objective).zeros_like(objective)
    for point in points or [fit.residual(spectrum) if fit.quadratic else fit.descent(spectrum)]:
        for scale, own in problem.penalty.head.feasible(problem.correlations(fit.ascent(point)) - pull):
            if fit.quadratic:
                norm_sq, overlap = fit.measures(point)
                scale = xp.minimum(scale, best_scale(norm_sq, overlap))
                value = scaled_dual(scale, norm_sq, overlap)
            else:
                value = fit.dual(point, scale)
            best = xp.maximum(best, value - own - scale * conjugate)
    return compare(objective, best)


def _tail(problem: CSCProblem, rows: Array, duals: list[Array] | None) -> tuple[Array, Array]:
    """Σ_k K_kᴴ q_k in the codes' shape, and Σ_k h_k*(q_k) of each item."""
    xp, synthesis = namespace(rows), problem.synthesis
    pull: Array = xp.zeros(problem.codes_shape, dtype=rows.dtype, device=rows.device)
    conjugate = xp.zeros_like(problem.datafit.energy)
    for k, part in enumerate(problem.penalty.tail):
        if isinstance(part, Differences):
            q = part.subgradient(part.apply(rows)) if duals is None else part.feasible_dual(duals[k])
            pull = pull + synthesis.gather(part.adjoint(q))
            conjugate = conjugate + part.conjugate(q)
        elif duals is not None:
            q = synthesis.gather(duals[k])
            scale, value = part.feasible(q)[0]
            pull = pull + per_item(xp.astype(scale, problem.real), q.ndim) * q
            conjugate = conjugate + value
    return pull, conjugate
