"""Solvers and the loop that runs them."""

from cscopt.kernels.reference import admm_step, fista_step, ista_step, soft_threshold
from cscopt.solvers.admm import ADMM
from cscopt.solvers.base import Solver
from cscopt.solvers.constrained import ConstrainedSolution, l1_ball, minimise_l1
from cscopt.solvers.debias import debias
from cscopt.solvers.driver import SOLVERS, solve
from cscopt.solvers.fista import FISTA
from cscopt.solvers.history import History
from cscopt.solvers.ista import ISTA
from cscopt.solvers.path import path
from cscopt.solvers.primal_dual import PrimalDual
from cscopt.solvers.run import Iterate
from cscopt.solvers.solution import Solution
from cscopt.solvers.working_set import WorkingSet

__all__ = [
    "ADMM",
    "FISTA",
    "ISTA",
    "SOLVERS",
    "ConstrainedSolution",
    "History",
    "Iterate",
    "PrimalDual",
    "Solution",
    "Solver",
    "WorkingSet",
    "admm_step",
    "debias",
    "fista_step",
    "ista_step",
    "l1_ball",
    "minimise_l1",
    "path",
    "soft_threshold",
    "solve",
]
