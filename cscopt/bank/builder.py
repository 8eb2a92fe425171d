"""Building a bank: what is missing of a spec is learned in parallel, here or on a cluster."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from cscopt import checks
from cscopt.backend import get_threads, require
from cscopt.bank.clock import Clock
from cscopt.bank.data import Samples
from cscopt.bank.lock import held
from cscopt.bank.spec import Case, Spec, choose
from cscopt.bank.store import Bank
from cscopt.bank.work import WORK, follow, sweep, task

DEATHS = 3
"""How often workers may die (killed, out of memory) at a dictionary before it is given up; as often as with dask."""

_LOOK = 0.5  # seconds between two looks at what runs

_CACHED = 65.0  # seconds that NFS may show an old folder, 60 by default


def build(
    spec: Spec | str | Path,
    folder: str | Path,
    *,
    cases: Iterable[str] = (),
    workers: int | None = None,
    cluster: str | None = None,
    checkpoint_seconds: float | None = None,
    progress: bool = False,
) -> Bank:
    """Learn the dictionaries of a spec that a bank has not got.

    Stop it as you like, by Ctrl-C or ``kill -9``: the next build goes on from the states that were saved. Scripts
    that call this need ``if __name__ == "__main__":``, for workers import them.

    Parameters
    ----------
    spec : Spec, or path of a YAML file
    folder : path
        The bank; made if absent.
    cases : iterable of str
        A part of the spec; see `choose`.
    workers : int, optional
        Processes on this computer, by default as many as `get_threads` tells; they share the threads.
    cluster : str, optional
        Address of a dask.distributed scheduler that gets the tasks instead. It and its workers need this version of
        cscopt, and the workers the data and the bank at the same paths; start them with one thread each, for a process
        learns one dictionary at a time.
    checkpoint_seconds : float, optional
        Time between two saved states of a learner (0: after each step); by default a second, or up to a minute where
        writing would take more than a twentieth of the time. A worker that is killed loses at most so much and the
        step that runs. One that is stopped by Ctrl-C, or whose builder is killed, loses nothing, unless a step takes
        more than 10 seconds.
    progress : bool, default False
        Show a bar with the time left, and print a line for each dictionary.

    Returns
    -------
    Bank
        With all there is in the folder.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If the spec, its data or a file of the bank are not good: one sentence, before any work.
    BlockingIOError
        If another process builds this bank.
    OSError
        If a worker cannot write, at once; if dictionaries failed for another reason, or workers died at one of them
        again and again, after the others are built.
    """
    spec = spec if isinstance(spec, Spec) else Spec.read(spec)
    workers = get_threads() if workers is None else checks.count(workers, "workers", 1)
    if checkpoint_seconds is not None:
        checkpoint_seconds = checks.not_negative(checkpoint_seconds, "checkpoint_seconds")
    wanted = choose(spec.cases(Samples.of(spec.data, spec.holdout)), cases)
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"a bank is a folder; {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    began = time.time()
    with held(folder / WORK / "lock"):
        missing = _missing(wanted, folder)
        with closing(Clock(folder, missing, len(wanted) - len(missing), progress)) as clock:
            failed, deaths = dict[str, str](), Counter[str]()
            while missing:
                some = _next(missing, deaths)
                with _cluster(cluster) if cluster else _pool(workers) as (executor, threads, clock.count):
                    died = _run(executor, some, folder, threads, checkpoint_seconds, clock, failed)
                if died:
                    deaths.update(_begun(_missing(some, folder), folder))
                    gone = [name for name, times in deaths.items() if times == DEATHS]
                    failed |= dict.fromkeys(gone, f"workers died {DEATHS} times at it (killed, or out of memory)")
                else:
                    done = [case for case in some if case.name not in failed]
                    unseen = _unseen(done, folder, _CACHED if cluster else 0.0)
                    failed |= dict.fromkeys(unseen, f"learned, but not in {folder}: do the workers see another folder?")
                missing = [case for case in _missing(wanted, folder) if case.name not in failed]
        if failed:
            raise ChildProcessError(f"{len(failed)} of {len(wanted)} dictionaries failed: {_reasons(failed)}")
        sweep(folder, began)
    return Bank.open(folder)


def _reasons(failed: Mapping[str, str]) -> str:
    """Each reason once, after the names of those that failed for it."""
    names: dict[str, list[str]] = {}
    for name, reason in failed.items():
        names.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(some)}: {reason}" for reason, some in names.items())


def _next(missing: Sequence[Case], deaths: Mapping[str, int]) -> Sequence[Case]:
    """Cases at which the fewest workers died, the last time one alone, so that it alone is given up."""
    least = min(deaths[case.name] for case in missing)
    some = [case for case in missing if deaths[case.name] == least]
    return some[:1] if least == DEATHS - 1 else some


def _unseen(cases: Sequence[Case], folder: Path, seconds: float) -> set[str]:
    """Names of the cases whose files do not appear; what other computers write may take so long to show."""
    end, names = time.monotonic() + seconds, {case.name for case in cases}
    while True:
        unseen = names & {case.name for case in _missing(cases, folder)}
        if not unseen or time.monotonic() >= end:
            return unseen
        time.sleep(_LOOK)


def _begun(cases: Sequence[Case], folder: Path) -> list[str]:
    """Names of the cases that were begun and not finished; of all, if none was."""
    names = [case.name for case in cases]
    return [name for name in names if (folder / WORK / f"{name}.lock").exists()] or names


def _missing(wanted: Sequence[Case], folder: Path) -> list[Case]:
    """Cases without a file, the longest first, so that no long one is left for the end."""
    there = {entry.name for entry in Bank.open(folder)}
    return sorted((case for case in wanted if case.name not in there), key=lambda case: -case.work)


def _run(
    executor: Executor,
    cases: Sequence[Case],
    folder: Path,
    threads: int,
    checkpoint_seconds: float | None,
    clock: Clock,
    failed: dict[str, str],
) -> bool:
    """Work through the cases; whether the workers died. Other failures are added to `failed`."""
    pending = {executor.submit(task, case, str(folder), threads, checkpoint_seconds): case for case in cases}
    while pending:
        done, _ = wait(pending, timeout=_LOOK, return_when=FIRST_COMPLETED)
        for future in done:
            case = pending.pop(future)
            if future.cancelled():
                raise ConnectionError("the cluster cancelled a task: its scheduler went away; build again to go on")
            error = future.exception()
            if isinstance(error, BrokenExecutor):
                return True
            if isinstance(error, OSError):
                raise error
            if error is None:
                clock.finished(case, future.result(), pending.values())
            else:
                failed[case.name] = str(error)
                clock.failed(case, error)
        clock.show(pending.values())
    return False


@contextmanager
def _pool(workers: int) -> Iterator[tuple[Executor, int, Callable[[], int]]]:
    """Processes of this computer, the threads of each, and their number; they end with the block or this process."""
    threads = max(1, get_threads() // workers)
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(workers, context, follow, (reader,))
    with _environment("OMP_NUM_THREADS", str(threads)):
        try:
            yield executor, threads, lambda: workers
            executor.shutdown()
        finally:
            writer.close()
            executor.shutdown(cancel_futures=True)
            reader.close()


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor, int, Callable[[], int]]]:
    """Workers of a dask.distributed scheduler."""
    distributed = require("distributed", "cluster", "--cluster")
    with distributed.Client(address, timeout=20) as client:
        _check_versions(client)
        executor = client.get_executor(pure=False)

        def count() -> int:
            with suppress(OSError):  # where the scheduler goes away, tasks tell
                return len(client.nthreads())
            return 1

        try:
            yield executor, 1, count
        finally:
            executor.shutdown(wait=False)


def _check_versions(client: Any) -> None:
    """Refuse a scheduler, or workers that are there already, without cscopt or with another version of it."""
    ask = "__import__('cscopt').__version__"  # what is asked must be known where cscopt is not
    try:
        found = {"the scheduler": client.run_on_scheduler(eval, ask), **client.run(eval, ask)}
    except ImportError as error:
        raise ValueError("--cluster: there is no cscopt where the scheduler or a worker runs") from error
    ours = import_module("cscopt").__version__  # a plain import would be one of all that is above banks
    for place, theirs in found.items():
        if theirs != ours:
            raise ValueError(f"--cluster: {place} has cscopt {theirs}, this process {ours}")


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable for the processes that start within the block, unless it is set."""
    absent = name not in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if absent:
            os.environ.pop(name, None)
