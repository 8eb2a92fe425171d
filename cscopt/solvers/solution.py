"""Solution: the answer of `solve`, with its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cscopt.backend import Array, namespace
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver
from cscopt.solvers.history import History

STATUSES = ("converged", "precision", "max_iter", "stopped")
"""What an item can end as, from best to worst."""


@dataclass(frozen=True)
class Solution:
    r"""The answer of `solve`.

    Attributes
    ----------
    codes : array, (batch, maps, \*code space)
    objective : float
        Objective, summed over the batch.
    gap : float
        Relative duality gap, the largest of the batch: the objective of these codes against the best lower bound
        found. They are at most this share above the optimum.
    status : {"converged", "precision", "max_iter", "stopped"}
        The least good of the batch. "precision": the arithmetic can do no better.
    iterations : int
    seconds : float
    history : History
    state : object
        What `solve(..., state=)` resumes from.
    objectives, gaps : ndarray, (batch,)
    statuses : list of str
    problem : CSCProblem
    solver : Solver
    """

    codes: Array
    objective: float
    gap: float
    status: str
    iterations: int
    seconds: float
    history: History
    state: Any
    objectives: np.ndarray[Any, Any]
    gaps: np.ndarray[Any, Any]
    statuses: list[str]
    problem: CSCProblem
    solver: Solver

    @cached_property
    def reconstruction(self) -> Array:
        r"""Σ_m d_m * x_m, (batch, channel, \*space); without A and W."""
        return self.problem.synthesis.apply(self.codes)

    @property
    def nonzeros(self) -> int:
        """Number of non-zero coefficients."""
        xp = namespace(self.codes)
        return int(xp.sum(xp.astype(self.codes != 0, xp.int64)))

    def __repr__(self) -> str:
        return (
            f"Solution({self.status}, objective={self.objective:.6g}, gap={self.gap:.2g}, "
            f"iterations={self.iterations}, seconds={self.seconds:.3g})"
        )
