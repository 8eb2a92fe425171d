"""A path of λ, each answer the start of the next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from cscopt import checks
from cscopt.backend import is_array, namespace
from cscopt.problem import CSCProblem, check_problem
from cscopt.solvers.base import Solver
from cscopt.solvers.driver import solve
from cscopt.solvers.solution import Solution


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
        Passed to `solve`; with x0 the first begins.

    Returns
    -------
    list of Solution
        In the order of λ, largest first. ``solution.problem.penalty.lam`` is its λ. Ctrl-C, or a callback that returns
        a true value, ends the path with the solution that was reached, whose status is "stopped".

    Raises
    ------
    TypeError, ValueError
        If the problem has no λ to scale, its codes are zero whatever λ is, or an argument is out of range.
    """
    check_problem(problem)
    if not isinstance(lams, Iterable):
        if not 0 < checks.real_number(least, "least") < 1:
            raise ValueError(f"least must lie between 0 and 1; got {least}")
        count, top = checks.count(lams, "lams", 1), problem.lambda_max
        if top == 0:
            raise ValueError("problem's codes are zero whatever λ is, for its lambda_max is 0")
        lams = [top * least ** (k / max(1, count - 1)) for k in range(count)]
    levels = sorted((checks.positive_number(lam, "lams") for lam in lams), reverse=True)
    if "state" in options:
        raise TypeError("state is of one problem of the path; begin with its codes (x0)")
    largest, start, found = largest_level(problem), options.pop("x0", None), []
    if largest == 0:
        raise ValueError("problem's λ must not be zero, for a path of it")
    for lam in levels:
        scaled = rescaled(problem, lam / largest)
        found.append(solve(scaled, method, x0=start, **options))
        if found[-1].status == "stopped":
            break
        start = codes_of(found[-1])
    return found


def rescaled(problem: CSCProblem, scale: float) -> CSCProblem:
    """The problem with its λ multiplied by a positive number, in float64: who divides by it later has the same λ."""
    lam = problem.penalty.lam
    lam = namespace(lam).astype(lam, namespace(lam).float64) if is_array(lam) else float(lam)
    return problem.with_penalty(replace(problem.penalty, lam=lam * scale))


def largest_level(problem: CSCProblem) -> float:
    """The largest entry of λ."""
    if problem.penalty.tail:
        raise TypeError("problem must have one penalty, not a sum, for a path of its λ")
    lam = problem.penalty.lam
    return float(namespace(lam).max(lam)) if is_array(lam) else float(lam)


def codes_of(solution: Solution) -> Any:
    """Codes to start another solution from, as the solver keeps them."""
    return solution.sparse_codes if solution.solver.sparse else solution.codes
