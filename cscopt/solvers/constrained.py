"""The two constraint forms, found along a path of λ."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cscopt import checks
from cscopt.backend import namespace
from cscopt.certificate import check_problem
from cscopt.codes import SparseCodes
from cscopt.penalties import L1
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver
from cscopt.solvers.driver import solve
from cscopt.solvers.ista import ISTA
from cscopt.solvers.measures import measured, value_of
from cscopt.solvers.path import codes_of, largest_level, rescaled
from cscopt.solvers.solution import Solution

_LEAST = 1e-5
"""Share of λ_max below which no λ is tried."""

_STEP, _MOST, _CAP, _FINEST = 1.2, 60, 50.0, 1e-13
"""First steps in log t, the penalised problems that are solved at most, what stands for an infinite slack, and the
smallest gap that is asked of a problem."""


@dataclass(frozen=True)
class ConstrainedSolution:
    """Codes that meet a constraint, with a bound of how good they are.

    Attributes
    ----------
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
        Passed to `solve`.
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
        return Assessment(slack, value / scale, dual, value, found.factor(epsilon))

    return _bracket(problem, assess, "epsilon", epsilon, method, tol, options)


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
    """
    gamma = checks.positive_number(gamma, "gamma")

    def assess(solution: Solution, scale: float) -> Assessment:
        found = measured(solution)
        norm_sq = found.norm_sq
        value = value_of(solution) / scale
        share = max(0.0, found.overlap - gamma * scale * found.worst) / norm_sq if norm_sq > 0 else 0.0
        dual = share * share * norm_sq / 2
        return Assessment(math.log(value / gamma) if value > 0 else -math.inf, norm_sq / 2, dual, norm_sq / 2)

    return _bracket(problem, assess, "gamma", gamma, method, tol, options)


class Assessment(NamedTuple):
    """What a solution of the penalised problem is for the constrained one.

    Attributes
    ----------
    slack : float
        Not positive where the constraint is met.
    objective, dual : float
        Of the constrained problem.
    part : float
        What `objective` is of the penalised problem's objective.
    factor : float or None
        What codes are multiplied by to meet the constraint with equality, and the objective with them.
    """

    slack: float
    objective: float
    dual: float
    part: float
    factor: float | None = None


class Scaled(NamedTuple):
    """A solution whose codes, times a factor, meet the constraint."""

    solution: Solution
    scale: float
    factor: float
    objective: float

    def solved(self) -> Solution:
        """The solution of the same penalised problem that has these codes."""
        old, codes = self.solution, codes_of(self.solution)
        if old.solver.sparse:
            codes = SparseCodes(codes.index, self.factor * codes.values, codes.shape)
        else:
            codes = self.factor * codes
        new = solve(old.problem, old.solver if old.solver.sparse else ISTA(), x0=codes, max_iter=0)
        reason = f"{old.reason}; then scaled to meet the constraint"
        return replace(new, iterations=old.iterations, seconds=old.seconds, history=old.history, reason=reason)


Assess = Callable[[Solution, float], Assessment]


class _Over(Exception):  # noqa: N818 - not an error
    """The gap is small enough."""


class _Search:
    """Penalised problems solved on the way to a constrained one: the best codes that meet it, and the best bound."""

    def __init__(self, problem: CSCProblem, assess: Assess, method: str | Solver, tol: float, options: Any) -> None:
        self.problem, self.assess, self.method, self.options = problem, assess, method, options
        self.inner, self.tol, self.share = 0.1 * tol, tol, 1.0
        self.best: Solution | None = None
        self.near: Scaled | None = None
        self.objective, self.dual, self.scale = math.inf, 0.0, 0.0
        self.start: Any = None
        worst = float(problem.zero_violation[0])
        self.top = math.log(worst) + 64 * float(namespace(problem.signal).finfo(problem.real).eps) if worst > 0 else 0.0
        self.seen: dict[float, float] = {}
        self.solves = 0
        self.last: Solution | None = None

    def at(self, t: float, share: float = 1.0) -> float:
        """Slack at log t, from codes whose gap is `share` of the one that is asked at most."""
        scale = math.exp(t)
        problem, inner = rescaled(self.problem, scale), max(self.inner * share, _FINEST)
        solution = solve(problem, self.method, x0=self.start, tol=inner, **self.options)
        slack, objective, dual, part, factor = self.assess(solution, scale)
        self.dual = max(self.dual, dual)
        if part > 0:
            self.share = min(1.0, part / solution.objective)
        if slack <= 0 and objective < self.objective:
            self.best, self.objective, self.scale = solution, objective, scale
        if factor is not None and (self.near is None or factor * objective < self.near.objective):
            self.near = Scaled(solution, scale, factor, factor * objective)
        self.start, self.solves = codes_of(solution), self.solves + 1
        self.last = solution
        self.seen[t] = max(-_CAP, min(_CAP, slack))
        return self.seen[t]

    def within(self, t: float) -> float:
        """Slack at log t inside a bracket, ever more exact, until the gap is small enough.

        A gap counts by what it is of the part that the constrained problem is about, which may be small.
        """
        if t in self.seen:
            return self.seen[t]
        self.inner = max(self.inner / 2, _FINEST)
        slack = self.at(t, self.share)
        if self.over:
            raise _Over
        return slack

    def refine(self, t: float, feasible: float) -> None:
        """Near the t that was found, ten times as exactly each time; `feasible` is the sign of where it is met."""
        while self.inner > _FINEST and not self.nearly:
            self.inner = max(self.inner / 10, _FINEST)
            slack = self.at(t, self.share)
            if self.over:
                return
            t += feasible * (3 * max(slack, 0.0) + 0.05 * self.tol * min(1.0, max(self.top - t, _FINEST)))

    @property
    def gap(self) -> float:
        if self.best is None:
            return math.inf
        return (self.objective - self.dual) / self.objective if self.objective > 0 else 0.0

    @property
    def nearly(self) -> bool:
        """Whether scaled codes have a gap that is small enough."""
        return self.near is not None and self.near.objective - self.dual <= self.tol * self.near.objective

    def scale_best(self) -> None:
        """Take scaled codes where others are not good enough, and they are."""
        if self.gap > self.tol and self.near is not None and self.nearly:
            self.best, self.objective, self.scale = self.near.solved(), self.near.objective, self.near.scale

    @property
    def over(self) -> bool:
        stopped = self.last is not None and self.last.status == "stopped"  # by the user
        return self.gap <= self.tol or self.solves >= _MOST or stopped


def _bracket(
    problem: CSCProblem, assess: Assess, name: str, level: float, method: str | Solver, tol: float, options: Any
) -> ConstrainedSolution:
    """Bracket the t where the slack is zero, then Brent's method in log t, until the gap is small enough."""
    check_problem(problem)
    if problem.batch != 1 or not isinstance(problem.penalty, L1) or not problem.datafit.quadratic:
        raise ValueError("problem must have one item, least squares and an L1 penalty")
    search = _Search(problem, assess, method, checks.positive_number(tol, "tol"), options)
    top = search.top
    high = low = (top, search.at(top))
    while not search.over and (low[1] > 0) == (high[1] > 0) and low[0] > top + math.log(_LEAST):
        high, low = low, (low[0] - _STEP, search.at(low[0] - _STEP))
    apart = (low[1] > 0) != (high[1] > 0)
    if not search.over and apart:
        from scipy.optimize import brentq  # slow to import

        with contextlib.suppress(_Over):
            root = brentq(search.within, low[0], high[0], xtol=1e-4 * tol)  # near λ_max a little changes much
            search.refine(root, 1.0 if high[1] <= 0 else -1.0)
    search.scale_best()
    if search.best is None or not (search.over or apart):
        raise ValueError(_not_reached(search, name, level, low[1] > 0))
    status = search.best.status if search.best.status != "converged" else "max_iter"
    if search.gap <= tol:
        status = "converged"
    gap = max(0.0, search.gap)
    return ConstrainedSolution(search.best, search.objective, gap, search.scale, search.solves, status)


def _not_reached(search: _Search, name: str, level: float, above: bool) -> str:
    """Why: because no λ does, as far as the answers are exact, or because they are not."""
    direction, last = "larger" if above else "smaller", search.last
    if last is not None and last.status in ("max_iter", "stopped"):
        return (
            f"{name} = {level:g} was not reached: the last of {search.solves} problems, at "
            f"λ = {largest_level(last.problem):.3g}, stopped after {last.iterations} iterations of {last.solver.name} "
            f"with a gap of {last.gap:.1e}; give it more (max_iter), or a {direction} {name}"
        )
    return f"{name} must be {direction}: {level:g} is not reached by any λ above {_LEAST:g} of the largest"
