"""`learn`: the one loop of all engines. It shuffles, records, validates, revives, stops, saves and resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cscopt import checks, fft, io
from cscopt.backend import Array, namespace, real_dtype
from cscopt.dictionary import ConvDictionary
from cscopt.dictlearn.data import fingerprint, samples_of
from cscopt.dictlearn.engine import Engine, Sample
from cscopt.dictlearn.revive import revive
from cscopt.dictlearn.state import LearnState


@dataclass(frozen=True)
class Learned:
    r"""What `learn` returns.

    Attributes
    ----------
    dictionary : ConvDictionary
        NumPy filters in the images' precision.
    history : dict of list
        See `LearnState`.
    usage : ndarray, (M,)
        Σ|x_m| over the last epoch.
    snapshots : ndarray, (epochs + 1, M, C, \*support)
        Filters at the beginning and after every epoch.
    seconds : float
        Wall time over all sessions.
    status : {"converged", "max_epochs", "stopped"}
    state : LearnState
        What `learn(..., state=)` goes on from.
    """

    dictionary: ConvDictionary
    status: str
    state: LearnState

    def __repr__(self) -> str:
        return f"Learned({self.dictionary}, {self.status}, {self.state})"

    history = property(lambda self: self.state.history, doc="Columns of numbers, a row for each step.")
    usage = property(lambda self: self.state.usage, doc="Σ|x_m| over the last epoch, (M,).")
    snapshots = property(lambda self: self.state.snapshots, doc="Filters at the beginning and after every epoch.")
    seconds = property(lambda self: self.state.seconds, doc="Wall time over all sessions.")


@fft.estimated()
def learn(
    images: Sequence[Array],
    engine: Engine,
    initial: ConvDictionary | Array,
    *,
    masks: Sequence[Array | None] | None = None,
    max_epochs: int = 10,
    random_state: int | np.random.Generator | None = 0,
    validation: Sequence[Array] | None = None,
    stop_below: float = 0.0,
    revive_below: float = 1e-3,
    state: LearnState | None = None,
    callback: Callable[[LearnState], bool | None] | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
) -> Learned:
    r"""Learn a convolutional dictionary from images.

    Parameters
    ----------
    images : sequence of array, (channel, \*space)
        Of any sizes, of one library and dtype; usually high-passed (`cscopt.lowpass.split`). Values are used as they
        are.
    engine : Online, Batch or Sporco
        How to learn, with its options.
    initial : ConvDictionary or array (M, C, \*support)
        Filters to begin with; see `initial_filters`.
    masks : sequence of array or None, optional
        Weights W ≥ 0 of the pixels of each image, which broadcast against it.
    max_epochs : int, default 10
        Passes over the images, in an order that is new in each (the batch engine: all in each step).
    random_state : int or Generator, default 0
        Of the order of the images, and of revived atoms.
    validation : sequence of array, optional
        Images held out: their mean objective is recorded after every epoch.
    stop_below : float, default 0
        Stop when an epoch lowers the mean objective (of the validation images, where there are some) by less than
        this share.
    revive_below : float, default 1e-3
        Before an epoch, but the first, replace atoms used less than this share of the mean by what the atoms explain
        worst.
    state : LearnState, optional
        Go on from there, in place of `initial`; `max_epochs` counts the epochs that it has done, too.
    callback : callable, optional
        Called with the `LearnState` after each step; learning stops where it returns a true value.
    progress : bool, default False
        Show a progress bar.
    checkpoint : path, optional
        File for the state, written every `checkpoint_seconds` and at the end. Where it exists, learning goes on from
        it, to the same filters, as if it had never stopped; on one thread bit for bit.
    checkpoint_seconds : float, default 60

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, images do not fit the filters, or `checkpoint` belongs to another task.

    Notes
    -----
    minimise over d in the set and x_k:  Σ_k ½‖W_k(y_k − Σ_m d_m * x_mk)‖² + λ Σ_m ‖x_mk‖₁
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be an engine such as Online(lam=0.1); got {type(engine).__name__}")
    start = _first(initial)
    samples = samples_of(images, masks, start)
    held_out = [] if validation is None else samples_of(validation, None, start, "validation")
    engine.check([*samples, *held_out])
    if checkpoint is not None:
        if not hasattr(random_state, "__index__"):
            raise TypeError(f"random_state must be an integer where there is a checkpoint; got {random_state!r}")
        io.check_target(checkpoint)
    seed = checks.seed(random_state)
    checks.count(max_epochs, "max_epochs", 1)
    checks.real_number(stop_below, "stop_below")
    checks.real_number(revive_below, "revive_below")
    if checks.real_number(checkpoint_seconds, "checkpoint_seconds") < 0:
        raise ValueError(f"checkpoint_seconds must not be negative; got {checkpoint_seconds}")
    if state is not None:
        _check_state(state, start)
    mark = ""
    if checkpoint is not None:
        given = () if state is None else (state.step, state.filters)
        mark = fingerprint(samples, held_out, engine, start, seed, (revive_below, *given))
    if checkpoint is not None and Path(checkpoint).exists():
        state = LearnState.load(checkpoint, mark)
    state = engine.init(start.filters) if state is None else state
    session = _Session(engine, samples, held_out, seed, max_epochs, stop_below, revive_below)
    state = replace(state, finished=session.settled(state))
    saved = time.monotonic()
    status = "max_epochs"
    try:
        with _bar(progress, session.steps(state)) as show:
            while state.epoch < max_epochs and not state.finished:
                state = session.advance(state)
                show(state)
                if callback is not None and callback(state):
                    status = "stopped"
                    break
                if checkpoint is not None and time.monotonic() - saved >= checkpoint_seconds:
                    state.save(checkpoint, mark)
                    saved = time.monotonic()
    finally:  # so that Ctrl-C and errors of the callback lose nothing
        if checkpoint is not None:
            state.save(checkpoint, mark)
    return Learned(_dictionary(state, samples), "converged" if state.finished else status, state)


@fft.estimated()
def once(
    images: Sequence[Array], engine: Engine, initial: ConvDictionary | Array, state: LearnState | None = None
) -> Learned:
    """One pass over images in their order, after the steps that a state has done; no epoch ends.

    Codes that the state holds are of other images, and are dropped.
    """
    start = _first(initial)
    samples = samples_of(images, None, start)
    engine.check(samples)
    state = engine.init(start.filters) if state is None else state
    state = replace(state, memory={name: array for name, array in state.memory.items() if "." not in name})
    size = engine.images_a_step or len(samples)
    for first in range(0, len(samples), size):
        began = time.perf_counter()
        new, row = stepped(engine, state, samples[first : first + size], first == 0)
        row["seconds"] = state.seconds + time.perf_counter() - began
        state = replace(new, seconds=row["seconds"], history=new.recorded(**row))
    return Learned(_dictionary(state, samples), "max_epochs", state)


def _first(initial: ConvDictionary | Array) -> ConvDictionary:
    return initial if isinstance(initial, ConvDictionary) else ConvDictionary(np.asarray(initial))


def _check_state(state: Any, start: ConvDictionary) -> None:
    if not isinstance(state, LearnState):
        raise TypeError(f"state must be a LearnState; got {type(state).__name__}")
    if state.filters.shape != tuple(start.filters.shape):
        raise ValueError(
            f"state must hold filters of the shape of initial, {tuple(start.filters.shape)}; got {state.filters.shape}"
        )


def stepped(
    engine: Engine, state: LearnState, samples: Sequence[Sample], fresh: bool
) -> tuple[LearnState, dict[str, float]]:
    """The state after a step, and a row of the history; `fresh` begins a new count of usage."""
    found = engine.step(state, samples)
    used = found.usage if fresh else state.usage + found.usage
    new = replace(state, filters=found.filters, memory=found.memory, usage=used, step=state.step + 1)
    return new, {"step": float(new.step), "objective": found.objective, "nonzeros": found.nonzeros}


def _dictionary(state: LearnState, samples: Sequence[Sample]) -> ConvDictionary:
    image = samples[0].image
    single = real_dtype(image) == namespace(image).float32
    return ConvDictionary(state.filters.astype(np.float32 if single else np.float64))


@dataclass(frozen=True)
class _Session:
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
        new, row = stepped(self.engine, state, chosen, place == 0)
        ended = place + size >= count
        begun = state.lengths[-1] if place and state.lengths else 0
        lengths = (*(state.lengths[:-1] if begun else state.lengths), begun + 1)
        new = replace(new, place=0 if ended else place + size, lengths=lengths)
        if ended:
            new, row["held_out"] = self._epoch_ended(new)
        row["seconds"] = state.seconds + time.perf_counter() - began
        new = replace(new, seconds=row["seconds"], history=new.recorded(**row))
        return replace(new, finished=self.settled(new)) if ended else new

    def _epoch_ended(self, state: LearnState) -> tuple[LearnState, float]:
        snapshots = np.concatenate([state.snapshots, np.asarray(state.filters, np.float32)[None]])
        objectives = [self.engine.code(self.engine.problem(s.image, state.filters)).objective for s in self.held_out]
        return replace(state, snapshots=snapshots), float(np.mean(objectives)) if objectives else float("nan")

    def settled(self, state: LearnState) -> bool:
        """Whether the last epoch gained less than asked for."""
        if self.stop_below <= 0 or len(state.lengths) < 2 or state.place:
            return False
        earlier, last = state.lengths[-2:]
        if self.held_out:
            before, now = state.history["held_out"][-last - 1], state.history["held_out"][-1]
        else:
            column = state.history["objective"]
            before, now = float(np.mean(column[-earlier - last : -last])), float(np.mean(column[-last:]))
        return before - now < self.stop_below * abs(before)


@contextmanager
def _bar(wanted: bool, total: int) -> Iterator[Callable[[LearnState], None]]:
    """What shows a state: a progress bar, or nothing."""
    if not wanted:
        yield lambda state: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="step") as bar:

        def show(state: LearnState) -> None:
            bar.set_postfix_str(f"objective={state.history['objective'][-1]:.6g}", refresh=False)
            bar.update(state.step - bar.n)

        yield show
