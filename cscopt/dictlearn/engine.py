"""What all engines share: they code images and move filters, a step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cscopt.backend import Array
from cscopt.dictlearn.coding import Coder, counted
from cscopt.dictlearn.constraint import Constraint
from cscopt.dictlearn.state import LearnState
from cscopt.solvers import Solution


class Sample(NamedTuple):
    r"""An image (channel, \*space), its number among all, and its weights W."""

    number: int
    image: Array
    mask: Array | None


class Step(NamedTuple):
    """What a step of an engine made.

    Attributes
    ----------
    filters, memory
        See `LearnState`.
    objective, nonzeros : float
        Means over the images, with the filters before the step.
    usage : ndarray, (M,)
        Σ|x_m| over the images.
    """

    filters: Any
    memory: dict[str, Any]
    objective: float
    nonzeros: float
    usage: Any


@dataclass(frozen=True, eq=False)
class Engine(Coder):
    """A learner: options, `init` and `step`. `learn` is the loop around it.

    Parameters
    ----------
    constraint : Constraint
        What filters may be.
    """

    constraint: Constraint = field(default_factory=Constraint)
    name: ClassVar[str] = ""
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.constraint, Constraint):
            raise TypeError(f"constraint must be a Constraint; got {type(self.constraint).__name__}")

    @property
    def images_a_step(self) -> int | None:
        """Images of a step; None for all of them."""
        return None if self.whole else 1

    def init(self, filters: Any) -> LearnState:
        r"""The state before the first step: filters (M, C, \*support) projected onto the constraint.

        Raises
        ------
        ValueError
            If the projection leaves nothing of a filter.
        """
        filters = np.asarray(filters, np.float64)
        self.constraint.check(filters.shape[2:])
        projected = self.constraint.project(filters)
        vanished = np.flatnonzero(~np.any(projected.reshape(len(filters), -1), axis=1))
        if len(vanished):
            raise ValueError(f"initial filter {vanished[0]} is zero, or nothing of it is left by {self.constraint}")
        return LearnState.first(projected)

    def check(self, samples: Sequence[Sample]) -> None:
        """Refuse images or masks that the engine cannot serve."""

    def step(self, state: LearnState, samples: Sequence[Sample]) -> Step:
        """One step on some images."""
        raise TypeError(f"{type(self).__name__} does not define step")

    def revived(self, state: LearnState, atoms: Any, filters: Any) -> LearnState:
        """The state with other filters in the place of some atoms."""
        raise TypeError(f"{type(self).__name__} does not define revived")

    def described(self) -> list[Any]:
        """All options, as what tells one task from another."""
        nested = [f.name for f in fields(Constraint)]
        rest = [(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "constraint"]
        return [self.name, *rest, *((n, getattr(self.constraint, n)) for n in nested)]


def measured(solution: Solution) -> tuple[float, float, Any]:
    """Objective, number of non-zeros, and usage."""
    nonzeros, used = counted(solution)
    return solution.objective, float(nonzeros), used


def averaged(rows: Sequence[tuple[float, float, Any]]) -> tuple[float, float, Any]:
    """Mean objective, mean number of non-zeros, and the sum of usages of what `measured` told of each image."""
    objectives, nonzeros, used = zip(*rows, strict=True)
    return sum(objectives) / len(rows), sum(nonzeros) / len(rows), sum(used)
