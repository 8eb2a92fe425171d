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
from cscopt.dictlearn.data import Sample, fingerprint, samples_of
from cscopt.dictlearn.engine import Engine
from cscopt.dictlearn.keeper import Keeper
from cscopt.dictlearn.session import Session, tell_of_no_codes
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
    validation_masks: Sequence[Array | None] | None = None,
    stop_below: float = 0.0,
    revive_below: float = 1e-3,
    state: LearnState | None = None,
    callback: Callable[[LearnState], bool | None] | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float | None = None,
    task: str | None = None,
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
    validation_masks : sequence of array or None, optional
        Weights of their pixels.
    stop_below : float, default 0
        Stop when an epoch lowers the mean objective (of the validation images, where there are some) by less than
        this share.
    revive_below : float, default 1e-3
        Before an epoch, but the first, replace atoms used less than this share of the mean by what the atoms explain
        worst.
    state : LearnState, optional
        Go on from there, in place of `initial`; `max_epochs` counts the epochs that it has done, too. Filters that are
        not what the engine's constraint allows are projected. An epoch that has begun goes on with the rest of the
        images, or anew where there are none left, or where the engine takes all in a step.
    callback : callable, optional
        Called with the `LearnState` after each step; learning stops where it returns a true value.
    progress : bool, default False
        Show a progress bar.
    checkpoint : path, optional
        File for the state, written again and again and at the end. Where it exists, learning goes on from
        it, to the same filters, as if it had never stopped; on one thread bit for bit.
    checkpoint_seconds : float, optional
        Time between two states that are written (0: after each step); by default a second, or up to a minute where
        writing would take more than a twentieth of the time.
    task : str, optional
        What tells the checkpoint's task from others; a digest of the images, the engine with its options, the filters
        to begin with and the seed if absent.

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
    held_out = [] if validation is None else samples_of(validation, validation_masks, start, "validation")
    engine.check([*samples, *(sample._replace(mask=None) for sample in held_out)])  # which are coded alone
    if checkpoint is not None:
        if not hasattr(random_state, "__index__"):
            raise TypeError(f"random_state must be an integer where there is a checkpoint; got {random_state!r}")
        io.check_target(checkpoint)
    seed = checks.seed(random_state)
    checks.count(max_epochs, "max_epochs", 1)
    checks.real_number(stop_below, "stop_below")
    checks.real_number(revive_below, "revive_below")
    if checkpoint_seconds is not None:
        checkpoint_seconds = checks.not_negative(checkpoint_seconds, "checkpoint_seconds")
    if state is not None:
        state = _taken_up(state, engine, start, len(samples))
    mark = "" if task is None else task
    if checkpoint is not None and task is None:
        given = () if state is None else (state.step, state.filters)
        mark = fingerprint(samples, held_out, engine, start, seed, (revive_below, *given))
    if checkpoint is not None and Path(checkpoint).exists():
        state = _taken_up(LearnState.load(checkpoint, mark), engine, start, len(samples))
    state = engine.init(start.filters) if state is None else state
    session = Session(engine, samples, held_out, seed, max_epochs, stop_below, revive_below)
    state = replace(state, finished=session.settled(state))
    keeper = Keeper(checkpoint, mark, checkpoint_seconds)
    status = "max_epochs"
    try:
        with _bar(progress, session.steps(state)) as show:
            while state.epoch < max_epochs and not state.finished:
                state = session.advance(state)
                show(state)
                if callback is not None and callback(state):
                    status = "stopped"
                    break
                keeper.passes(state)
    finally:  # so that Ctrl-C and errors of the callback lose nothing
        keeper.save(state)
    return Learned(_dictionary(state, samples), "converged" if state.finished else status, state)


@fft.estimated()
def once(
    images: Sequence[Array], engine: Engine, initial: ConvDictionary | Array, state: LearnState | None = None
) -> Learned:
    """One pass over images in their order, after the steps that a state has done; no epoch begins or ends.

    Codes that the state holds are of other images, and are dropped.
    """
    start = _first(initial)
    samples = samples_of(images, None, start)
    engine.check(samples)
    state = engine.init(start.filters) if state is None else engine.taken_up(state)
    state = replace(state, place=0, memory={name: array for name, array in state.memory.items() if "." not in name})
    size = engine.images_a_step or len(samples)
    for first in range(0, len(samples), size):
        began = time.perf_counter()
        new, row = engine.advanced(state, samples[first : first + size], first == 0)
        row["seconds"] = state.seconds + time.perf_counter() - began
        state = replace(new, seconds=row["seconds"], history=new.recorded(**row))
    tell_of_no_codes(engine, state, 5)
    return Learned(_dictionary(state, samples), "max_epochs", state)


def _first(initial: ConvDictionary | Array) -> ConvDictionary:
    return initial if isinstance(initial, ConvDictionary) else ConvDictionary(np.asarray(initial))


def _taken_up(state: Any, engine: Engine, start: ConvDictionary, count: int) -> LearnState:
    """A state as one of this engine and this number of images."""
    if not isinstance(state, LearnState):
        raise TypeError(f"state must be a LearnState; got {type(state).__name__}")
    if state.filters.shape != tuple(start.filters.shape):
        raise ValueError(
            f"state must hold filters of the shape of initial, {tuple(start.filters.shape)}; got {state.filters.shape}"
        )
    if state.place >= count or (state.place and engine.whole):
        state = replace(state, place=0, usage=np.zeros_like(state.usage))  # a part of an epoch tells no atom dead
    return engine.taken_up(state)


def _dictionary(state: LearnState, samples: Sequence[Sample]) -> ConvDictionary:
    image = samples[0].image
    single = real_dtype(image) == namespace(image).float32
    return ConvDictionary(state.filters.astype(np.float32 if single else np.float64))


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
