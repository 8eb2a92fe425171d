"""Online learning: code a few images, move the filters, forget the codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from cscopt import checks
from cscopt.dictlearn.coding import codes_of, filter_gradient
from cscopt.dictlearn.data import Sample, bounded
from cscopt.dictlearn.engine import Engine, Step, averaged, measured
from cscopt.dictlearn.moments import Moments, moments
from cscopt.dictlearn.state import LearnState, codes_kept, codes_recalled, codes_without
from cscopt.dictlearn.update import minimise

_LARGEST = 1e150


@dataclass(frozen=True, eq=False)
class Online(Engine):
    r"""Online dictionary learning, by a surrogate or by stochastic gradient.

    minimise over d in the set:  E_y min over x  ½‖W(y − Σ_m d_m * x_m)‖² + λ Σ_m ‖x_m‖₁

    Parameters
    ----------
    lam, method, tol, max_iter, nonnegative, boundary
        See `Coder`: how an image is coded.
    constraint : Constraint
        What filters may be.
    batch_size : int, default 1
        Images of a step, whose mean counts: those of a last step of fewer weigh more. It may change between runs that
        continue one another.
    update : {"surrogate", "gradient"}, default "surrogate"
        - surrogate: d minimises the mean of all quadratics ½‖y − D x‖² seen so far, at the codes they had then, older
          ones forgotten. It has no step size. Without masks, on a circular or zero boundary.
        - gradient: d ← P(d − a/(b + t) · g), g the mean over the images of the gradient, at step t. Each image's
          gradient is a sum over its pixels, so that pictures of mixed size weigh by their pixels.
    step_size : (float, float), default (10, 20)
        (a, b) of the gradient's step, in the units of 1/‖x_m‖².
    forgetting : float, default 20
        p ≥ 0: at step t what is known of earlier images weighs (1 − 1/t)^p, so that about the last t/p images count.
        (20 was better than 0 to 5 on natural pictures.)
    updates : int, default 20
        Iterations of `minimise` in a step, at most.
    warm : bool, default False
        Begin with the codes that an image had in the epoch before, which are all kept.

    Notes
    -----
    Liu, Garcia-Cardona, Wohlberg and Yin 2018 (First- and second-order methods for online convolutional dictionary
    learning), algorithms 1 and 2, the surrogate's quadratic kept in the spatial domain (Moreau and Gramfort 2020),
    where its size does not depend on the images'; Mairal, Bach, Ponce and Sapiro 2010.
    """

    batch_size: int = 1
    update: str = "surrogate"
    step_size: tuple[float, float] = (10.0, 20.0)
    forgetting: float = 20.0
    updates: int = 20
    warm: bool = False
    name: ClassVar[str] = "online"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.count(self.batch_size, "batch_size", 1)
        checks.choice(self.update, "update", ("surrogate", "gradient"))
        checks.pair(self.step_size, "step_size")
        checks.not_negative(self.forgetting, "forgetting")
        checks.count(self.updates, "updates", 1)
        checks.flag(self.warm, "warm")
        if self.update == "surrogate" and self.boundary == "none":
            raise ValueError("boundary must not be 'none' for update='surrogate'; use update='gradient'")

    @property
    def images_a_step(self) -> int:
        return self.batch_size

    def check(self, samples: Sequence[Sample]) -> None:
        if self.update == "surrogate" and any(sample.mask is not None for sample in samples):
            raise ValueError("masks need update='gradient', or the batch engine")
        if self.update == "gradient":
            for sample in samples:  # gradients are of the images' squares, and squared again by the projection
                bounded(sample.image, f"image {sample.number}", _LARGEST)

    def _step(self, state: LearnState, samples: Sequence[Sample]) -> Step:
        memory = dict(state.memory) if self.warm else {}
        share, rows = 1 / len(samples), []
        keep = (1 - 1 / (state.step + 1)) ** self.forgetting if state.step else 0.0
        total: Any = 0.0 if self.update == "gradient" else _recalled(state.memory, state.filters.shape)
        for k, sample in enumerate(samples):
            row, codes, term = self._seen(state, sample)  # no image's maps outlive its turn
            rows.append(row)
            memory |= codes
            total = total + term if self.update == "gradient" else total.plus(term, 1.0 if k else keep, share)
            del term
        if self.update == "gradient":
            a, b = self.step_size
            moved = self.constraint.project(state.filters - a / (b + state.step) * (share * total))
        else:
            moved, _ = minimise(total, state.filters, self.constraint, self.updates)
            memory |= _kept(total)
        return Step(moved, memory, *averaged(rows))

    def _seen(self, state: LearnState, sample: Sample) -> tuple[tuple[float, float, Any], dict[str, Any], Any]:
        """What an image's codes tell: their measures, they themselves if they are kept, their gradient or moments."""
        problem = self.problem(sample.image, state.filters, sample.mask)
        solution = self.code(problem, codes_recalled(state.memory, sample.number, sample.image))
        row = measured(solution)
        kept = codes_kept(sample.number, solution.sparse_codes, sample.image) if self.warm else {}
        if self.update == "gradient":
            return row, kept, filter_gradient(solution)
        codes = codes_of(solution)
        del solution  # what else its solver keeps
        return row, kept, moments(problem, codes)

    def revived(self, state: LearnState, atoms: Any, filters: Any) -> LearnState:
        new = state.filters.copy()
        new[atoms] = filters
        memory = codes_without(state.memory, atoms, len(new))
        if self.update == "surrogate":
            memory |= _kept(_recalled(memory, state.filters.shape).without(atoms))
        return replace(state, filters=new, memory=memory)


def _recalled(memory: Any, shape: tuple[int, ...]) -> Moments:
    if "codes" not in memory:
        return Moments.zero(shape)
    return Moments(memory["codes"], memory["data"], float(memory["energy"][0]))


def _kept(total: Moments) -> dict[str, Any]:
    return {"codes": total.codes, "data": total.data, "energy": np.array([total.energy])}
