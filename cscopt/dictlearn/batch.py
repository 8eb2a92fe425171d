"""Batch learning: code all images, then minimise over the filters at those codes, and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cscopt import checks
from cscopt.backend import is_numpy
from cscopt.dictlearn.coding import codes_of
from cscopt.dictlearn.data import Sample
from cscopt.dictlearn.engine import Engine, Step, averaged, measured
from cscopt.dictlearn.masked import MaskedMoments
from cscopt.dictlearn.moments import moments
from cscopt.dictlearn.state import LearnState, codes_kept, codes_recalled, codes_without
from cscopt.dictlearn.update import minimise
from cscopt.solvers import ISTA, Solution, solve


@dataclass(frozen=True, eq=False)
class Batch(Engine):
    r"""Alternating minimisation, whose objective never rises.

    minimise over d in the set and x_k:  Σ_k ½‖W(y_k − Σ_m d_m * x_mk)‖² + λ Σ_m ‖x_mk‖₁

    A step (here an epoch) codes every image, from the codes it had, and then lowers the quadratic in the filters
    by accelerated projected gradient. What the codes say of the filters is a few small arrays (`Moments`), so that this
    costs nothing beside the coding.

    Parameters
    ----------
    lam, method, tol, max_iter, nonnegative, boundary
        See `Coder`.
    constraint : Constraint
        What filters may be.
    updates : int, default 100
        Iterations of `minimise` in a step, at most.

    Notes
    -----
    Garcia-Cardona and Wohlberg 2018 (Convolutional dictionary learning: A comparative review), section III; the
    accelerated update is FISTA; Moreau and Gramfort 2020 for the moments.
    """

    updates: int = 100
    name: ClassVar[str] = "batch"
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.count(self.updates, "updates", 1)

    def check(self, samples: Sequence[Sample]) -> None:
        weighted = self.boundary == "none" or any(sample.mask is not None for sample in samples)
        if weighted and not all(is_numpy(sample.image) for sample in samples):
            raise TypeError("masks and boundary='none' need NumPy images in the batch engine; use the online one")

    def _step(self, state: LearnState, samples: Sequence[Sample]) -> Step:
        masked = self.boundary == "none" or any(sample.mask is not None for sample in samples)
        total: Any = MaskedMoments(state.filters.shape) if masked else None
        memory: dict[str, Any] = {}
        rows = []
        for sample in samples:
            solution = self._coded(state, sample)
            rows.append(measured(solution))
            sparse, codes = solution.sparse_codes, codes_of(solution)
            problem = self.problem(sample.image, state.filters, sample.mask)  # without the spectra of the filters
            del solution  # and what its solver keeps
            memory |= codes_kept(sample.number, sparse, sample.image)
            if masked:
                total.add(problem, sparse)
            else:
                found = moments(problem, codes)
                total = found if total is None else total.plus(found)
                del found
            del problem, codes  # before those of the next image
        moved, _ = minimise(total, state.filters, self.constraint, self.updates)
        return Step(moved, memory, *averaged(rows))

    def _coded(self, state: LearnState, sample: Sample) -> Solution:
        """Codes of an image, none worse than those it had."""
        problem = self.problem(sample.image, state.filters, sample.mask)
        before = codes_recalled(state.memory, sample.number, sample.image)
        found = self.code(problem, before)
        if before is not None and found.objective > found.history["objective"][0]:
            keeper = found.solver if found.solver.sparse else ISTA()  # whose codes are those it is given
            del found  # its maps, before those of the other
            found = solve(problem, keeper, max_iter=0, x0=before)
        return found

    def revived(self, state: LearnState, atoms: Any, filters: Any) -> LearnState:
        new = state.filters.copy()
        new[atoms] = filters
        return replace(state, filters=new, memory=codes_without(state.memory, atoms, len(new)))
