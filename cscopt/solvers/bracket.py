"""A penalised problem's λ for which its codes meet a constraint with equality: bracketed, then by Brent's method."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from cscopt import checks
from cscopt.backend import namespace
from cscopt.codes import SparseCodes
from cscopt.penalties import L1
from cscopt.problem import CSCProblem, check_problem
from cscopt.solvers.base import Solver
from cscopt.solvers.driver import MAX_ITER, solve
from cscopt.solvers.history import History
from cscopt.solvers.ista import ISTA
from cscopt.solvers.path import codes_of, largest_level, rescaled
from cscopt.solvers.solution import Solution

_LEAST = 1e-5
"""Share of λ_max below which no λ is tried."""

_STEP, _MOST, _CAP, _LOOSE, _FINEST = 1.2, 60, 50.0, 0.1, 1e-13
"""First steps in log t, the penalised problems that are solved at most, what stands for an infinite slack, and the
largest and smallest gap that is asked of a problem."""


class Assessment(NamedTuple):
    """What a solution of the penalised problem is for the constrained one.

    Attributes
    ----------
    slack : float
        Not positive where the constraint is met.
    doubt : float
        How far the slack may be from that of the optimum for this λ.
    objective, dual : float
        Of the constrained problem.
    part : float
        What `objective` is of the penalised problem's objective.
    factor : float or None
        What codes are multiplied by to meet the constraint with equality, and the objective with them.
    """

    slack: float
    doubt: float
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


class Search:
    """Penalised problems solved on the way to a constrained one: the best codes that meet it, and the best bound."""

    def __init__(self, problem: CSCProblem, assess: Assess, method: str | Solver, tol: float, options: Any) -> None:
        self.problem, self.assess, self.method = problem, assess, method
        self.options = {name: value for name, value in options.items() if name != "x0"}
        self.start: Any = options.get("x0")
        self.inner, self.tol, self.share = 0.1 * tol, tol, 1.0
        self.best: Solution | None = None
        self.near: Scaled | None = None
        self.objective, self.dual, self.scale = math.inf, 0.0, 0.0
        worst = float(problem.zero_violation[0])
        self.top = math.log(worst) + 64 * float(namespace(problem.signal).finfo(problem.real).eps) if worst > 0 else 0.0
        self.seen: dict[float, float] = {}
        self.solves, self.slack = 0, math.nan
        self.last: Solution | None = None

    def at(self, t: float, share: float = 1.0) -> float:
        """Slack at log t, of codes as exact as it takes to know its sign; at most a gap of `share` · `inner`."""
        scale = math.exp(t)
        problem, inner = rescaled(self.problem, scale), max(self.inner * share, _FINEST)
        tol = max(_LOOSE, inner)
        left = self.options.get("max_iter", MAX_ITER)
        options = {**self.options, "x0": self.start}
        solution = solve(problem, self.method, tol=tol, **options)
        while self._keep(solution, scale) and tol > inner and solution.status == "converged" and not self.over:
            tol = max(tol / 10, inner)
            options |= {"x0": None, "state": solution.state, "max_iter": left - solution.iterations}
            solution = _joined(solution, solve(problem, self.method, tol=tol, **options))
        self.start, self.solves, self.last = codes_of(solution), self.solves + 1, solution
        self.seen[t] = max(-_CAP, min(_CAP, self.slack))
        return self.seen[t]

    def _keep(self, solution: Solution, scale: float) -> bool:
        """Keep what of a solution is better than what was known; whether the sign of its slack is in doubt."""
        found = self.assess(solution, scale)
        self.slack = found.slack
        self.dual = max(self.dual, found.dual)
        if found.part > 0:
            self.share = min(1.0, found.part / solution.objective)
        if found.slack <= 0 and found.objective < self.objective:
            self.best, self.objective, self.scale = solution, found.objective, scale
        if found.factor is not None:
            objective = found.factor * found.objective
            if self.near is None or objective < self.near.objective:
                self.near = Scaled(solution, scale, found.factor, objective)
        return abs(found.slack) <= 2 * found.doubt

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
        return self.gap <= self.tol or self.solves >= _MOST or self.stopped

    @property
    def stopped(self) -> bool:
        """Whether the user did."""
        return self.last is not None and self.last.status == "stopped"


def bracket(
    problem: CSCProblem, assess: Assess, name: str, level: float, method: str | Solver, tol: float, options: Any
) -> tuple[Solution, Search]:
    """Codes that meet the constraint, of the t where the slack is zero, and how they were found.

    Steps bracket that t, then Brent's method in log t goes on until the gap is small enough.
    """
    check_problem(problem)
    if "state" in options:
        raise TypeError("state is of one penalised problem, and several are solved; begin with its codes (x0)")
    if problem.batch != 1 or not isinstance(problem.penalty, L1) or not problem.datafit.quadratic:
        raise ValueError("problem must have one item, least squares and an L1 penalty")
    search = Search(problem, assess, method, checks.positive_number(tol, "tol"), options)
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
    return search.best, search


def _joined(before: Solution, after: Solution) -> Solution:
    """A solution that went on from another of the same problem, with what both took."""
    begun = {"iteration": before.iterations, "seconds": before.seconds}
    rows = [{name: value + begun.get(name, 0) for name, value in row.items()} for row in after.history.rows[1:]]
    return replace(
        after,
        iterations=before.iterations + after.iterations,
        seconds=before.seconds + after.seconds,
        history=History(before.history.rows + rows),
    )


def _not_reached(search: Search, name: str, level: float, above: bool) -> str:
    """Why: because no λ does, as far as the answers are exact, or because they are not."""
    direction, last = "larger" if above else "smaller", search.last
    if search.stopped:
        return f"{name} = {level:g} was not reached: the last of {search.solves} problems was stopped"
    if last is not None and last.status == "max_iter":
        return (
            f"{name} = {level:g} was not reached: the last of {search.solves} problems, at "
            f"λ = {largest_level(last.problem):.3g}, stopped after {last.iterations} iterations of {last.solver.name} "
            f"with a gap of {last.gap:.1e}; give it more (max_iter), or a {direction} {name}"
        )
    return f"{name} must be {direction}: {level:g} is not reached by any λ above {_LEAST:g} of the largest"
