"""The two constraint forms, found along a path of λ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cscopt import checks
from cscopt.backend import Array
from cscopt.certificate import rounding
from cscopt.codes import SparseCodes
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver
from cscopt.solvers.bracket import Assess, Assessment, bracket
from cscopt.solvers.measures import measured, value_of
from cscopt.solvers.solution import Solution


@dataclass(frozen=True)
class ConstrainedSolution:
    """Codes that meet a constraint, with a bound of how good they are.

    Attributes
    ----------
    codes, sparse_codes, reconstruction
        As of a `Solution`.
    solution : Solution
        Of the penalised problem with the λ found, whose codes these are.
    objective : float
        Of the constrained problem, at these codes.
    gap : float
        Relative duality gap of the constrained problem.
    scale : float
        What λ was multiplied by: the Lagrange multiplier, if the penalty's own λ was 1.
    solves : int
        Penalised problems solved on the way.
    status : str
        "converged" if the gap is at most what was asked; else as for `Solution`.
    """

    solution: Solution
    objective: float
    gap: float
    scale: float
    solves: int
    status: str

    @property
    def codes(self) -> Array:
        r"""Codes, (1, maps, \*code space)."""
        return self.solution.codes

    @property
    def sparse_codes(self) -> SparseCodes:
        """Codes as a list of non-zeros (NumPy)."""
        return self.solution.sparse_codes

    @property
    def reconstruction(self) -> Array:
        r"""Σ_m d_m * x_m, (1, channel, \*space); without A and W."""
        return self.solution.reconstruction

    def __repr__(self) -> str:
        return (
            f"ConstrainedSolution({self.status}, objective={self.objective:.6g}, gap={self.gap:.2g}, "
            f"scale={self.scale:.4g}, solves={self.solves})"
        )


def minimise_l1(
    problem: CSCProblem, epsilon: float, *, method: str | Solver = "auto", tol: float = 1e-3, **options: Any
) -> ConstrainedSolution:
    r"""Minimise g(x) subject to ‖W(y − A D x)‖ ≤ ε; for g = ‖x‖₁ basis pursuit denoising (Chen, Donoho, Saunders 1998).

    Codes of the penalised problem with t g in place of g solve it, for the t at which the residual's norm is ε; that
    norm rises with t, and t is found by bracketing. The gap is that of the dual, max ⟨Wy, θ⟩ − ε ‖θ‖ subject to
    |DᴴAᴴWᴴ θ| ≤ Λ, at a multiple of the residual. Near λ_max no rounded t may reach it: codes are then scaled, so that
    the residual's norm is ε. SPORCO's ``ConvMinL1InL2Ball``; with ε = σ √n for noise of standard
    deviation σ in n data it is the discrepancy principle (Morozov 1966).

    Parameters
    ----------
    problem : CSCProblem
        One item, with an `L1` penalty.
    epsilon : float
        ε > 0.
    method, **options
        Passed to `solve`; with x0 the first problem begins.
    tol : float, default 1e-3
        Relative duality gap of the constrained problem to reach.

    Raises
    ------
    ValueError
        If ε is so small that no λ above 1e-5 of λ_max reaches it, or none whose problem `max_iter` iterations solve.
    """
    epsilon = checks.positive_number(epsilon, "epsilon")

    def assess(solution: Solution, scale: float) -> Assessment:
        found = measured(solution)
        norm, value = math.sqrt(found.norm_sq), value_of(solution)
        dual = max(0.0, found.overlap - epsilon * norm) / (scale * max(found.worst, 1e-300))
        slack = math.log(norm / epsilon) if norm > 0 else -math.inf
        doubt = _log_error(_distance(solution), norm)
        return Assessment(slack, doubt, value / scale, dual, value, found.factor(epsilon))

    return _found(problem, assess, "epsilon", epsilon, method, tol, options)


def l1_ball(
    problem: CSCProblem, gamma: float, *, method: str | Solver = "auto", tol: float = 1e-3, **options: Any
) -> ConstrainedSolution:
    r"""Minimise ½‖W(y − A D x)‖² subject to g(x) ≤ γ; for g = ‖x‖₁ the lasso in its first form (Tibshirani 1996).

    Found as in `minimise_l1`, from the g of the penalised problem's codes, which falls as t rises. The gap is that of
    the dual, max ½‖Wy‖² − ½‖Wy − θ‖² − γ max |DᴴAᴴWᴴ θ| / Λ. SPORCO's ``ConvBPDNProjL1``.

    Parameters
    ----------
    problem : CSCProblem
        One item, with an `L1` penalty: with λ = 1, g is ‖x‖₁.
    gamma : float
        γ > 0.
    method, tol, **options
        As in `minimise_l1`.

    Raises
    ------
    ValueError
        As in `minimise_l1`; so γ must be below what g is of codes that explain the signal almost wholly.
    """
    gamma = checks.positive_number(gamma, "gamma")

    def assess(solution: Solution, scale: float) -> Assessment:
        found = measured(solution)
        norm_sq = found.norm_sq
        value = value_of(solution) / scale
        share = max(0.0, found.overlap - gamma * scale * found.worst) / norm_sq if norm_sq > 0 else 0.0
        dual, apart = share * share * norm_sq / 2, _distance(solution)
        doubt = _log_error(apart * (math.sqrt(norm_sq) + apart), value * scale)
        return Assessment(math.log(value / gamma) if value > 0 else -math.inf, doubt, norm_sq / 2, dual, norm_sq / 2)

    return _found(problem, assess, "gamma", gamma, method, tol, options)


def _distance(solution: Solution) -> float:
    """Bound of ‖W A D (x − x*)‖: half its square is at most P(x) − P(x*), which the gap bounds."""
    rounded = float(rounding(solution.problem, solution.objectives)[0])
    gap = math.inf if solution.gap is None else max(0.0, solution.gap) + rounded
    return math.sqrt(2 * gap * solution.objective) if solution.objective > 0 else 0.0


def _log_error(error: float, size: float) -> float:
    """How far log(size) may be off where size may be too large by so much."""
    return -math.log1p(-error / size) if error < size else math.inf


def _found(
    problem: CSCProblem, assess: Assess, name: str, level: float, method: str | Solver, tol: float, options: Any
) -> ConstrainedSolution:
    best, search = bracket(problem, assess, name, level, method, tol, options)
    if search.gap <= tol:
        status = "converged"
    elif search.stopped:
        status = "stopped"
    else:
        status = best.status if best.status != "converged" else "max_iter"
    return ConstrainedSolution(best, search.objective, max(0.0, search.gap), search.scale, search.solves, status)
