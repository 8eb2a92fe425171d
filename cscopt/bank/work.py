"""The task of building one dictionary of a bank: the same on this computer and on a cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from cscopt import dictlearn, io
from cscopt.backend import set_threads
from cscopt.bank.data import Samples
from cscopt.bank.entry import read, write
from cscopt.bank.lock import held
from cscopt.bank.spec import Case
from cscopt.bank.store import files

WORK = ".work"
"""Folder inside a bank for what is not finished: states, locks, progress."""

_BEGUN = re.compile(r"\.tmp\w{5,6}|\.(index|\d+(x\d+)+-lam.*)-\w{8}\.(json|safetensors)")
"""Names of files that safetensors and `io.replacing` begin to write."""

_STOP = threading.Event()
_GRACE = 10.0  # seconds that a step may take to end where the builder has gone

_ALONE = threading.Lock()  # plans of the FFT and the threads' number belong to the process


def task(case: Case, folder: str, threads: int, checkpoint_seconds: float | None) -> float:
    """`learn_case` with so many threads; a process does one at a time."""
    with _ALONE:
        if _STOP.is_set():
            raise InterruptedError("the builder has gone")
        set_threads(threads)
        return learn_case(case, Path(folder), checkpoint_seconds)


def learn_case(case: Case, folder: Path, checkpoint_seconds: float | None) -> float:
    """Learn the dictionary of a case, or go on where it was left, and write it; what is there already is left alone.

    Returns the seconds it took, over all sessions. A second process with the same task waits and then finds
    the work done: a cluster starts one where it takes a worker for dead.

    Raises
    ------
    ValueError
        If the data are not those that the case was made for.
    OSError
        If a file cannot be written; the state of the last checkpoint stays.
    """
    target = folder / f"{case.name}.safetensors"
    state, progress, lock = (folder / WORK / f"{case.name}.{end}" for end in ("safetensors", "json", "lock"))
    with held(lock, wait=True):
        if not target.is_file():
            _learn(case, target, state, progress, checkpoint_seconds)
        _clear(folder, case.name)
    return float(read(target)[0]["wall_seconds"])


def _learn(case: Case, target: Path, state: Path, progress: Path, checkpoint_seconds: float | None) -> None:
    samples = Samples.of(case.data, case.holdout)
    if samples.sha256 != case.data_sha256:
        raise ValueError(f"the data changed while the bank was built, or are others here: {case.data}")
    high = samples.high_passed(case.beta)
    engine = case.learner()
    steps = case.max_epochs * -(-len(high.training) // (engine.images_a_step or len(high.training)))
    learned = dictlearn.learn(
        high.training,
        engine,
        dictlearn.initial_filters(
            high.training, case.n_filters, case.support, engine.constraint, case.seed, case.initial
        ),
        max_epochs=case.max_epochs,
        stop_below=case.stop_below,
        random_state=case.seed,
        validation=high.held_out or None,
        callback=_teller(progress, steps),
        checkpoint=state,
        checkpoint_seconds=checkpoint_seconds,
        task=case.name,  # not a digest of the high-passed images, whose last bits differ from computer to computer
    )
    if learned.status == "stopped":
        raise InterruptedError("the builder has gone; the state is saved")
    told = {
        "name": case.name,
        "lam": repr(case.lam),
        "beta": repr(case.beta),
        "engine": case.engine,
        "engine_options": engine.described(),
        "seed": case.seed,
        "initial": case.initial,
        "max_epochs": case.max_epochs,
        "stop_below": case.stop_below,
        "status": learned.status,
        "steps": int(learned.history["step"][-1]),
        "data": case.data,
        "data_sha256": samples.sha256,
        "images": len(high.training),
        "images_held_out": len(high.held_out),
        "cscopt": import_module("cscopt").__version__,  # a plain import would be one of all that is above banks
    }
    found = {"history": learned.history, "usage": learned.usage, "seconds": learned.seconds}
    write(target, learned.dictionary, found, told)


def _teller(path: Path, steps: int) -> Callable[[Any], bool]:
    """A callback that leaves word of the steps done, for the builder's clock, about once a second.

    It ends learning where the builder has gone.
    """
    last = 0.0

    def tell(state: Any) -> bool:
        nonlocal last
        if time.monotonic() - last > 1:
            last = time.monotonic()
            with io.replacing(path) as temporary:
                temporary.write_text(json.dumps({"part": state.step / steps, "seconds": state.seconds}))
        return _STOP.is_set()

    return tell


def sweep(folder: Path, before: float) -> None:
    """Remove what killed processes had begun to write (`io.replacing` and safetensors) before a time in seconds.

    And their work on dictionaries that are there, unless a process holds its lock.
    """
    for path in (*folder.glob(".*"), *(folder / WORK).glob(".*")):
        with suppress(FileNotFoundError):
            if _BEGUN.fullmatch(path.name) and path.is_file() and path.stat().st_mtime < before:
                path.unlink()
    done = {path.stem for path in (folder / WORK).glob("*.*")} & {path.stem for path in files(folder)}
    for name in done:
        with suppress(BlockingIOError), held(folder / WORK / f"{name}.lock"):
            _clear(folder, name)


def _clear(folder: Path, name: str) -> None:
    """Remove the files of the work on a dictionary, the lock, which is held, last."""
    for end in ("safetensors", "json", "lock"):
        (folder / WORK / f"{name}.{end}").unlink(missing_ok=True)


def follow(builder: Any) -> None:
    """Begin a worker process: end with the builder, whatever kills it, and leave Ctrl-C to it.

    The builder holds the other end of the pipe `builder`, so that it closes with it. A pool whose first worker is gone
    terminates the others, which end in the same way.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_end, daemon=True).start())

    def watch() -> None:
        with suppress(EOFError, OSError):
            builder.recv()
        _end()

    threading.Thread(target=watch, daemon=True).start()


def _end() -> None:
    """End this process after the step that runs, whose state is saved."""
    _STOP.set()
    _ALONE.acquire(timeout=_GRACE)
    os._exit(1)  # files are written beside their place: nothing is left half done
