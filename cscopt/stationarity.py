"""How far codes are from a stationary point: what tells of penalties that are not convex, which have no certificate."""

from __future__ import annotations

from cscopt.backend import Array, namespace, of_rows, squares
from cscopt.penalties.differences import Differences
from cscopt.problem import CSCProblem, check_problem


def kkt_residual(problem: CSCProblem, codes: Array) -> Array:
    """‖x − prox_{s g}(x − s ∇f(x))‖ / max(‖x‖, s ‖∇f(x)‖) of each item: zero at a stationary point, and only there.

    The step s is 1 for a convex penalty, where it does not matter; else 1 / `stationary_bound`, which the limits of all
    solvers pass.

    Raises
    ------
    TypeError
        If the fit is not least squares, or the penalty is a sum: what they split off has multipliers, which
        'primal-dual' knows; see `Solution.kkt_residual`.
    """
    check_problem(problem)
    if not problem.datafit.quadratic:
        raise TypeError(f"kkt_residual serves least squares alone; the fit is {problem.fit.name!r}")
    if problem.penalty.tail:
        raise TypeError("kkt_residual serves one penalty; of a sum, Solution.kkt_residual of 'primal-dual' tells")
    rows, energy = problem.embed(codes), problem.datafit.energy
    step = namespace(energy).ones_like(energy) if problem.penalty.convex else 1 / stationary_bound(problem)
    return stationarity(problem, rows, step)


def stationarity(
    problem: CSCProblem,
    rows: Array,
    step: Array,
    duals: list[Array] | None = None,
    data: tuple[Array, Array] | None = None,
) -> Array:
    r"""`kkt_residual` of codes on the grid, (rows, maps, \*grid), with the multipliers of what is split off, (batch,).

    With q_k those of the terms h_k(K_k x) of a sum, and q that of the fit, it is the root of
    ‖x − prox_{s g}(x − s (DᴴAᴴq + Σ_k K_kᴴ q_k))‖² + Σ_k ‖K_k x − prox_{s h_k}(K_k x + s q_k)‖²
    + s σ ‖A D x − prox_{f/σ}(A D x + q/σ)‖², over max(‖x‖, s ‖DᴴAᴴq‖). Of least squares DᴴAᴴq is the gradient.

    Parameters
    ----------
    step : array, (batch,)
        s. What passes with one step passes with all shorter ones.
    duals : list of array, optional
        q_k of each term of the penalty's tail, in the shape of K_k x on the grid.
    data : (array, array), optional
        q, and σ of each item, of a fit other than least squares.
    """
    synthesis, fit, batch = problem.synthesis, problem.datafit, problem.batch
    codes, spectrum = synthesis.crop(rows), problem.system.synthesize(rows)
    xp, misses = namespace(codes), namespace(codes).zeros_like(fit.energy)
    if data is None:
        back = fit.gradient(spectrum)
    else:
        q, sigma = data
        back, seen = fit.back(q), fit.predict(spectrum)
        missed = seen - fit.moved(seen + q / of_rows(sigma, q), sigma)
        misses = step * sigma * squares(missed, batch)
    pull = problem.correlations(back)
    own = of_rows(step, codes)
    size = xp.maximum(squares(codes, batch), step**2 * squares(pull, batch))
    for part, q in zip(problem.penalty.tail, duals or [], strict=True):
        if isinstance(part, Differences):
            seen, back = part.apply(rows), synthesis.gather(part.adjoint(q))
            missed = seen - part.shrink(seen + of_rows(step, q) * q, problem.per_row(step))
        else:
            back = synthesis.gather(q)
            missed = codes - part.prox(codes + own * back, own)
        pull, misses = pull + back, misses + squares(missed, batch)
    if problem.penalty.curved:
        pull = pull + problem.penalty.pull(codes)
    misses = misses + squares(codes - problem.penalty.head.prox(codes - own * pull, own), batch)
    return xp.sqrt(misses / xp.where(size > 0, size, xp.ones_like(size)))


def stationary_bound(problem: CSCProblem, sigma: Array | None = None) -> Array:
    """A bound of ‖W A D‖² of each item, or twice its estimate where A's norm is unknown, of codes with their copies.

    A code has `Synthesis.copies` on the grid. For a fit other than least squares it is of σ ‖A D‖².
    """
    bound, weight = problem.lipschitz, problem.datafit.weight_norm**2
    if sigma is not None:
        bound = sigma * (2 * problem.curvature if bound is None else bound / weight)
    elif bound is None:
        bound = 2 * problem.curvature
    copies, xp = problem.synthesis.copies, namespace(weight)
    return xp.astype(bound if copies is None else bound * xp.max(copies), xp.float64)
