"""Solvers and the loop that runs them."""

from cscopt.kernels.reference import admm_step, fista_step, ista_step, soft_threshold
from cscopt.solvers.admm import ADMM
from cscopt.solvers.base import Solver
from cscopt.solvers.driver import SOLVERS, Iterate, Solution, solve
from cscopt.solvers.fista import FISTA
from cscopt.solvers.history import History
from cscopt.solvers.ista import ISTA

__all__ = [
    "ADMM",
    "FISTA",
    "ISTA",
    "SOLVERS",
    "History",
    "Iterate",
    "Solution",
    "Solver",
    "admm_step",
    "fista_step",
    "ista_step",
    "soft_threshold",
    "solve",
]
