"""One run of learning: its steps, what comes after the last of an epoch, and when it is at its end."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace

import numpy as np

from cscopt.dictlearn.data import Sample
from cscopt.dictlearn.engine import Engine
from cscopt.dictlearn.revive import revive
from cscopt.dictlearn.state import LearnState


@dataclass(frozen=True)
class Session:
    """Everything of a run that does not change."""

    engine: Engine
    samples: list[Sample]
    held_out: list[Sample]
    seed: int
    max_epochs: int
    stop_below: float
    revive_below: float

    def steps(self, state: LearnState) -> int:
        """Steps in all: those that a state has done, and those to come."""
        count = len(self.samples)
        size = self.engine.images_a_step or count
        whole = self.max_epochs - state.epoch - 1  # beside the epoch that has begun, or begins now
        return state.step + (whole * -(-count // size) + -(-(count - state.place) // size) if whole >= 0 else 0)

    def advance(self, state: LearnState) -> LearnState:
        """One step, and what comes after the last of an epoch."""
        began = time.perf_counter()
        epoch, place, count = state.epoch, state.place, len(self.samples)
        if place == 0 and epoch > 0:
            state = revive(self.engine, state, self.samples, self.revive_below, [self.seed, epoch - 1, 1])
        size = self.engine.images_a_step or count
        order = np.arange(count)
        if size < count:
            order = np.random.default_rng([self.seed, epoch]).permutation(count)
        chosen = [self.samples[k] for k in order[place:][:size]]
        new, row = self.engine.advanced(state, chosen, place == 0)
        ended = place + size >= count
        new = replace(new, place=0 if ended else place + size)
        if ended:
            new, row["held_out"] = self._epoch_ended(new)
        row["seconds"] = state.seconds + time.perf_counter() - began
        new = replace(new, seconds=row["seconds"], history=new.recorded(**row))
        return replace(new, finished=self.settled(new)) if ended else new

    def _epoch_ended(self, state: LearnState) -> tuple[LearnState, float]:
        snapshots = np.concatenate([state.snapshots, np.asarray(state.filters, np.float32)[None]])
        problems = (self.engine.problem(s.image, state.filters, s.mask) for s in self.held_out)
        objectives = [self.engine.code(problem).objective for problem in problems]
        held_out = float(np.mean(objectives)) if objectives else float("nan")
        told = {"objective": state.so_far / len(self.samples), "held_out": held_out}
        tell_of_no_codes(self.engine, state, 6)
        by_epoch = {name: [*state.by_epoch[name], told[name]] for name in told}
        return replace(state, snapshots=snapshots, by_epoch=by_epoch), held_out

    def settled(self, state: LearnState) -> bool:
        """Whether the last epoch gained less than asked for."""
        column = state.by_epoch["held_out" if self.held_out else "objective"]
        if self.stop_below <= 0 or len(column) < 2 or state.place:
            return False
        before, now = column[-2:]
        return before - now < self.stop_below * abs(before)


def tell_of_no_codes(engine: Engine, state: LearnState, depth: int) -> None:
    """Warn where an epoch had none: nothing is learned from it. The caller is `depth` frames up."""
    if not state.usage.any():
        warnings.warn(
            f"no image had a code that is not zero, so that no filter moves: lam={engine.lam!r:.60} is too large for "
            "these images",
            stacklevel=depth,
        )
