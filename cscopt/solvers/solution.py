"""Solution: the answer of `solve`, with its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cscopt.backend import Array, namespace, to_numpy
from cscopt.codes import SparseCodes
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver, reconstruct
from cscopt.solvers.history import History

STATUSES = ("converged", "precision", "max_iter", "stopped")
"""What an item can end as, from best to worst."""


@dataclass(frozen=True)
class Solution:
    r"""The answer of `solve`.

    Attributes
    ----------
    codes : array, (batch, maps, \*code space)
        Made when first asked for; a solver of sparse codes keeps `sparse_codes`.
    sparse_codes : SparseCodes
        The non-zeros alone, as NumPy arrays.
    objective : float
        Objective, summed over the batch.
    gap : float or None
        Relative duality gap, the largest of the batch: the objective of these codes against the best lower bound
        found. They are at most this share above the optimum. None for a penalty without a certificate.
    status : {"converged", "precision", "max_iter", "stopped"}
        The least good of the batch. "precision": the arithmetic can do no better. "stopped": by the callback, or by
        Ctrl-C, even in an iteration that reached the gap.
    iterations : int
    seconds : float
    history : History
    state : object
        What `solve(..., state=)` resumes from.
    objectives, gaps : ndarray, (batch,); gaps None where `gap` is
    statuses : list of str
    problem : CSCProblem
    solver : Solver
    reason : str
        Why this solver.
    """

    objective: float
    gap: float | None
    status: str
    iterations: int
    seconds: float
    history: History
    state: Any
    objectives: np.ndarray[Any, Any]
    gaps: np.ndarray[Any, Any] | None
    statuses: list[str]
    problem: CSCProblem
    solver: Solver
    reason: str

    @cached_property
    def codes(self) -> Array:
        r"""Codes, (batch, maps, \*code space)."""
        return self.solver.codes(self.problem, self.state)

    @cached_property
    def sparse_codes(self) -> SparseCodes:
        """Codes as a list of non-zeros (NumPy)."""
        return self.solver.sparse_codes(self.problem, self.state)

    @cached_property
    def reconstruction(self) -> Array:
        r"""Σ_m d_m * x_m, (batch, channel, \*space); without A and W."""
        return reconstruct(self.problem, self.solver, self.state)

    @property
    def nonzeros(self) -> int:
        """Number of non-zero coefficients."""
        if self.solver.sparse:
            return len(self.sparse_codes)
        xp = namespace(self.codes)
        return int(xp.sum(xp.astype(self.codes != 0, xp.int64)))

    @property
    def kkt_residual(self) -> float:
        """How far these codes are from a stationary point, the largest of the batch; see `cscopt.kkt_residual`."""
        return float(to_numpy(self.solver.kkt_residual(self.problem, self.state)).max())

    def __repr__(self) -> str:
        measure = f"kkt_residual={self.kkt_residual:.2g}" if self.gap is None else f"gap={self.gap:.2g}"
        return (
            f"Solution({self.solver.name}, {self.status}, objective={self.objective:.6g}, {measure}, "
            f"iterations={self.iterations}, seconds={self.seconds:.3g})"
        )
