"""What all engines share: they code images and move filters, a step at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cscopt import fft
from cscopt.backend import Array
from cscopt.dictionary import ConvDictionary
from cscopt.dictlearn.coding import Coder, counted
from cscopt.dictlearn.constraint import Constraint
from cscopt.dictlearn.data import Sample, samples_of
from cscopt.dictlearn.state import LearnState
from cscopt.solvers import Solution


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

    Examples
    --------
    A stream of images, without `learn`::

        engine = Online(lam=0.1)
        state = engine.init(initial_filters(first_images, 32, (8, 8)))
        for image in stream:
            state = engine.step(state, [image])
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
        return LearnState.first(self._admitted(np.asarray(filters, np.float64)))

    def step(
        self, state: LearnState, images: Sequence[Array], masks: Sequence[Array | None] | None = None
    ) -> LearnState:
        r"""The state after one step on some images (channel, \*space), weighted by masks; its usage adds up.

        Raises
        ------
        TypeError, ValueError
            If images or masks do not fit the filters, or the engine.
        """
        began = time.perf_counter()
        with fft.estimated():
            samples = samples_of(images, masks, ConvDictionary(state.filters))
            self.check(samples)
            new, row = self.advanced(self.taken_up(state), samples, fresh=False)
        seconds = state.seconds + time.perf_counter() - began
        history = new.recorded(**row, seconds=seconds)
        return replace(new, seconds=seconds, history=history, so_far=state.so_far)  # no part of an epoch

    def taken_up(self, state: LearnState) -> LearnState:
        """A state of any engine as one of this: its filters, where they are not in the set already, projected onto it.

        Raises
        ------
        ValueError
            If the projection leaves nothing of a filter.
        """
        admitted = self._admitted(state.filters)
        if np.allclose(admitted, state.filters, rtol=0, atol=1e-6):  # bits that are right stay: one run goes on exactly
            return state
        return replace(state, filters=admitted)

    def advanced(
        self, state: LearnState, samples: Sequence[Sample], fresh: bool
    ) -> tuple[LearnState, dict[str, float]]:
        """The state after a step, and a row of the history; `fresh` begins a new count of usage and objective."""
        found = self._step(state, samples)
        used = found.usage if fresh else state.usage + found.usage
        so_far = found.objective * len(samples) + (0.0 if fresh else state.so_far)
        new = replace(state, filters=found.filters, memory=found.memory, usage=used, so_far=so_far, step=state.step + 1)
        return new, {"step": float(new.step), "objective": found.objective, "nonzeros": found.nonzeros}

    def _admitted(self, filters: Any) -> Any:
        self.constraint.check(filters.shape[2:])
        projected = self.constraint.project(filters)
        vanished = np.flatnonzero(~np.any(projected.reshape(len(filters), -1), axis=1))
        if len(vanished):
            raise ValueError(f"filter {vanished[0]} is zero, or nothing of it is left by {self.constraint}")
        return projected

    def check(self, samples: Sequence[Sample]) -> None:
        """Refuse images or masks that the engine cannot serve."""

    def _step(self, state: LearnState, samples: Sequence[Sample]) -> Step:
        """One step on some images."""
        raise TypeError(f"{type(self).__name__} does not define _step")

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
