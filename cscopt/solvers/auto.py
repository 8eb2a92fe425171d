"""`method="auto"`: the solver that was fastest in measurement on problems of this kind."""

from __future__ import annotations

from cscopt.problem import CSCProblem
from cscopt.solvers.admm import ADMM
from cscopt.solvers.base import Solver
from cscopt.solvers.fista import FISTA


def choose(problem: CSCProblem) -> Solver:
    """ADMM, whose quadratic step is exact; FISTA where a forward operator rules that out."""
    return ADMM() if problem.forward is None else FISTA()
