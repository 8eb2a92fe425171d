"""A path of λ, each answer the start of the next, and the two constraint forms found along it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from cscopt import checks
from cscopt.backend import is_array, namespace
from cscopt.penalties import L1
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver
from cscopt.solvers.driver import solve
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
    """

    solution: Solution
    objective: float
    gap: float
    scale: float
    solves: int


def path(
    problem: CSCProblem,
    lams: Iterable[float] | int = 10,
    *,
    least: float = 0.01,
    method: str | Solver = "auto",
    **options: Any,
) -> list[Solution]:
    r"""Solve a problem for falling λ, each started from the answer before.

    Parameters
    ----------
    problem : CSCProblem
        Its penalty's λ, if an array, is scaled as a whole.
    lams : iterable of float or int, default 10
        Largest λ of each problem; or how many, spaced evenly in log λ from `lambda_max` to `least` · `lambda_max`.
    least : float, default 0.01
    method, **options
        Passed to `solve`.

    Returns
    -------
    list of Solution
        In the order of λ, largest first. ``solution.problem.penalty.lam`` is its λ.
    """
    if isinstance(lams, int):
        if not 0 < checks.real_number(least, "least") < 1:
            raise ValueError(f"least must lie between 0 and 1; got {least}")
        count, top = checks.count(lams, "lams", 1), problem.lambda_max
        lams = [top * least ** (k / max(1, count - 1)) for k in range(count)]
    levels = sorted((checks.positive_number(lam, "lams") for lam in lams), reverse=True)
    largest, start, found = _largest(problem), None, []
    for lam in levels:
        scaled = rescaled(problem, lam / largest)
        found.append(solve(scaled, method, x0=start, **options))
        start = _start(found[-1])
    return found


def minimise_l1(
    problem: CSCProblem, epsilon: float, *, method: str | Solver = "auto", tol: float = 1e-3, **options: Any
) -> ConstrainedSolution:
    r"""Minimise g(x) subject to ‖W(y − A D x)‖ ≤ ε; for g = ‖x‖₁ basis pursuit denoising (Chen, Donoho, Saunders 1998).

    Codes of the penalised problem with t g in place of g solve it, for the t at which the residual's norm is ε; that
    norm rises with t, and t is found by bracketing. The gap is that of the dual, max ⟨Wy, θ⟩ − ε ‖θ‖ subject to
    |DᴴAᴴWᴴ θ| ≤ Λ, at a multiple of the residual. SPORCO's ``ConvMinL1InL2Ball``; with ε = σ √n for noise of standard
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

    def assess(solution: Solution, scale: float) -> tuple[float, float, float]:
        norm_sq, overlap, worst = _measures(solution)
        norm, value = math.sqrt(norm_sq), max(0.0, solution.objective - norm_sq / 2) / scale
        dual = max(0.0, overlap - epsilon * norm) / (scale * max(worst, 1e-300))
        return math.log(norm / epsilon) if norm > 0 else -math.inf, value, dual

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

    def assess(solution: Solution, scale: float) -> tuple[float, float, float]:
        norm_sq, overlap, worst = _measures(solution)
        value = max(0.0, solution.objective - norm_sq / 2) / scale
        share = max(0.0, overlap - gamma * scale * worst) / norm_sq if norm_sq > 0 else 0.0
        dual = share * share * norm_sq / 2
        return math.log(value / gamma) if value > 0 else -math.inf, norm_sq / 2, dual

    return _bracket(problem, assess, "gamma", gamma, method, tol, options)


Assess = Callable[[Solution, float], tuple[float, float, float]]
"""Slack (not positive where the constraint is met), objective and dual value of a solution at scale t."""


class _Over(Exception):  # noqa: N818 - not an error
    """The gap is small enough."""


class _Search:
    """Penalised problems solved on the way to a constrained one: the best codes that meet it, and the best bound."""

    def __init__(self, problem: CSCProblem, assess: Assess, method: str | Solver, tol: float, options: Any) -> None:
        self.problem, self.assess, self.method, self.options = problem, assess, method, options
        self.inner, self.tol = 0.1 * tol, tol
        self.best: Solution | None = None
        self.objective, self.dual, self.scale = math.inf, 0.0, 0.0
        self.start: Any = None
        self.seen: dict[float, float] = {}
        self.solves = 0
        self.last: Solution | None = None

    def at(self, t: float) -> float:
        """Slack at log t."""
        scale = math.exp(t)
        problem = rescaled(self.problem, scale)
        solution = solve(problem, self.method, x0=self.start, tol=self.inner, **self.options)
        slack, objective, dual = self.assess(solution, scale)
        self.dual = max(self.dual, dual)
        if slack <= 0 and objective < self.objective:
            self.best, self.objective, self.scale = solution, objective, scale
        self.start, self.solves = _start(solution), self.solves + 1
        self.last = solution
        self.seen[t] = max(-_CAP, min(_CAP, slack))
        return self.seen[t]

    def within(self, t: float) -> float:
        """Slack at log t inside a bracket, ever more exact, until the gap is small enough."""
        if t in self.seen:
            return self.seen[t]
        self.inner = max(self.inner / 2, _FINEST)
        slack = self.at(t)
        if self.over:
            raise _Over
        return slack

    def refine(self, t: float, feasible: float) -> None:
        """Near the t that was found, ten times as exactly each time; `feasible` is the sign of where it is met."""
        while self.inner > _FINEST:
            self.inner = max(self.inner / 10, _FINEST)
            slack = self.at(t)
            if self.over:
                return
            t += feasible * (3 * max(slack, 0.0) + 0.05 * self.tol)

    @property
    def gap(self) -> float:
        if self.best is None:
            return math.inf
        return (self.objective - self.dual) / self.objective if self.objective > 0 else 0.0

    @property
    def over(self) -> bool:
        stopped = self.last is not None and self.last.status == "stopped"  # by the user
        return self.gap <= self.tol or self.solves >= _MOST or stopped


def _bracket(
    problem: CSCProblem, assess: Assess, name: str, level: float, method: str | Solver, tol: float, options: Any
) -> ConstrainedSolution:
    """Bracket the t where the slack is zero, then Brent's method in log t, until the gap is small enough."""
    if problem.batch != 1 or not isinstance(problem.penalty, L1) or not problem.datafit.quadratic:
        raise ValueError("problem must have one item, least squares and an L1 penalty")
    search = _Search(problem, assess, method, checks.positive_number(tol, "tol"), options)
    worst = float(problem.zero_violation[0])
    top = math.log(worst) + 1e-6 if worst > 0 else 0.0
    high = low = (top, search.at(top))
    while not search.over and (low[1] > 0) == (high[1] > 0) and low[0] > top + math.log(_LEAST):
        high, low = low, (low[0] - _STEP, search.at(low[0] - _STEP))
    apart = (low[1] > 0) != (high[1] > 0)
    if not search.over and apart:
        from scipy.optimize import brentq  # slow to import

        with contextlib.suppress(_Over):
            root = brentq(search.within, low[0], high[0], xtol=0.1 * tol)
            search.refine(root, 1.0 if high[1] <= 0 else -1.0)
    if search.best is None or not (search.over or apart):
        raise ValueError(_not_reached(search, name, level, low[1] > 0))
    return ConstrainedSolution(search.best, search.objective, max(0.0, search.gap), search.scale, search.solves)


def _not_reached(search: _Search, name: str, level: float, above: bool) -> str:
    """Why: because no λ does, as far as the answers are exact, or because they are not."""
    direction, last = "larger" if above else "smaller", search.last
    if last is not None and last.status in ("max_iter", "stopped"):
        return (
            f"{name} = {level:g} was not reached: the last of {search.solves} problems, at λ = "
            f"{_largest(last.problem):.3g}, stopped after {last.iterations} iterations of {last.solver.name} with a "
            f"gap of {last.gap:.1e}; give it more (max_iter), or a {direction} {name}"
        )
    return f"{name} must be {direction}: {level:g} is not reached by any λ above {_LEAST:g} of the largest"


def rescaled(problem: CSCProblem, scale: float) -> CSCProblem:
    """The problem with its λ multiplied by a positive number."""
    lam = problem.penalty.lam
    return problem.with_penalty(replace(problem.penalty, lam=lam * scale))


def _largest(problem: CSCProblem) -> float:
    if problem.penalty.tail:
        raise TypeError("problem must have one penalty, not a sum, for a path of its λ")
    lam = problem.penalty.lam
    return float(namespace(lam).max(lam)) if is_array(lam) else float(lam)


def _start(solution: Solution) -> Any:
    return solution.sparse_codes if solution.solver.sparse else solution.codes


def _measures(solution: Solution) -> tuple[float, float, float]:
    """‖r‖², ⟨Wy, r⟩ and max |DᴴAᴴWᴴ r| / Λ of the one item of a solution."""
    problem = solution.problem
    spectrum = problem.synthesis.spectrum(solution.reconstruction)
    if problem.system.factor is not None:
        spectrum = spectrum * problem.system.factor
    residual = problem.datafit.residual(spectrum)
    norm_sq, overlap = problem.datafit.measures(residual)
    worst = problem.worst(problem.datafit.ascent(residual))
    return float(norm_sq[0]), float(overlap[0]), float(worst[0])
