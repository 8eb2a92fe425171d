"""`solve`: the one loop of all solvers. It records, certifies, stops, calls back, and resumes."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cscopt import checks
from cscopt.backend import Array, listing
from cscopt.problem import CSCProblem, check_problem
from cscopt.solvers.admm import ADMM
from cscopt.solvers.auto import FIRST, NEAR, SPAN, choose, relief, slow
from cscopt.solvers.base import Solver
from cscopt.solvers.fista import FISTA
from cscopt.solvers.ista import ISTA
from cscopt.solvers.primal_dual import PrimalDual
from cscopt.solvers.run import Iterate, Run
from cscopt.solvers.solution import Solution
from cscopt.solvers.working_set import WorkingSet

SOLVERS: dict[str, type[Solver]] = {cls.name: cls for cls in (ISTA, FISTA, ADMM, PrimalDual, WorkingSet)}

MAX_ITER, _LEFT = 1000, 120
"""Iterations of a call by default, and those that ADMM needs at least where a working set is slow."""


def solve(
    problem: CSCProblem,
    method: str | Solver = "auto",
    *,
    tol: float = 1e-3,
    max_iter: int = MAX_ITER,
    x0: Array | None = None,
    state: Any = None,
    callback: Callable[[Iterate], bool | None] | None = None,
    progress: bool = False,
    check_every: int | None = None,
) -> Solution:
    r"""Solve a convolutional sparse coding problem to a certified accuracy.

    minimise over x:  ½‖W(y − A Σ_m d_m * x_m)‖² + g(x), or with another fit of the data (`CSCProblem`)

    Parameters
    ----------
    problem : CSCProblem
    method : {"auto", "working-set", "admm", "fista", "ista", "primal-dual"} or Solver, default "auto"
        "auto" is the working set where codes will be sparse (L1, NumPy arrays, no `forward` but a blur), else ADMM. A
        working set whose gap is above 3e-3 and fell too slowly from its iteration 10 to 30, 30 to 50 and so on (those
        of a state it goes on from count) leaves the items that are not done to ADMM, from their codes or, with a gap
        above 0.25, from zero (circular boundary, no weights or a blur, `tol` not 0, at least 120 iterations left,
        arrays of all maps fit into memory). The primal-dual method serves sums of penalties, penalties that are not
        convex, and other fits through an operator that is no convolution; and what the working set does not where
        weights or the boundary keep D x from the frequency domain. `Solution.reason` says why.
    tol : float, default 1e-3
        Relative duality gap, gap / objective, to stop at, for each item; 0 runs `max_iter` iterations. For a penalty
        without a certificate it bounds the KKT residual (`cscopt.kkt_residual`).
    max_iter : int, default 1000
        Iterations of this call.
    x0 : array or SparseCodes, optional
        Codes to start from; zero if absent. (Where the penalty is not convex, 'primal-dual' then stays near them.)
    state : object, optional
        State of an earlier solution of the same problem and solver, to go on from.
    callback : callable, optional
        Called with an `Iterate` at every recorded iteration; returning True stops.
    progress : bool, default False
        Show a progress bar.
    check_every : int, optional
        Iterations between two looks at the gap, each of which adds a row to the history. By default 10, or as many
        as keep the looks below a tenth of the run (ADMM with a mask or boundary: 20). Of a working set "auto" looks at
        iterations 10, 30, 50 and so on, too.

    Returns
    -------
    Solution
        Interrupting with Ctrl-C ends the iteration at hand and returns what was reached, with
        status "stopped"; a second Ctrl-C raises.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the solver cannot serve the problem.

    Notes
    -----
    The same problem gives the same bits with as many threads (`cscopt.set_threads`) in one process; in every process on
    such a machine in a block of ``cscopt.fft.estimated()``, without which FFTW measures which plan is fastest.
    """
    check_problem(problem)
    solver, reason = _solver(method, problem, state)
    tol = checks.real_number(tol, "tol")
    if not 0 <= tol < float("inf"):
        raise ValueError(f"tol must be finite and not negative; got {tol}")
    checks.count(max_iter, "max_iter")
    if check_every is not None:
        checks.count(check_every, "check_every", 1)
    if x0 is not None and state is not None:
        raise ValueError("x0 and state must not both be given")
    _check(solver, problem)
    _check_memory(problem, solver)
    run = Run(problem, solver, tol, x0, state)
    other = relief(problem, solver) if method == "auto" and tol > 0 else None
    with _progress_bar(progress, max_iter, run.measure) as show, _deferred_interrupt() as interrupted:
        watch = _Watch(callback, show, interrupted, check_every)
        status = watch.until(max_iter, run) if other is None else watch.until_slow(max_iter, run)
        if other is not None and status == "slow":
            run, reason = run.handed_to(other[0], bool(run.gaps.max() <= NEAR)), other[1]
            status = watch.until(max_iter, run)
        run.finish(status)
    return run.solution(reason, status == "stopped" or interrupted())


@dataclass(frozen=True)
class _Watch:
    """What looks at a run while it lasts."""

    callback: Callable[[Iterate], bool | None] | None
    show: Callable[[int, float], None]
    interrupted: Callable[[], bool]
    check_every: int | None

    def until(self, last: int, run: Run) -> str:
        """Iterate until all items are done, or so many iterations are; the status of those that are not."""
        every = run.solver.look_every(run.problem) if self.check_every is None else self.check_every
        first = run.iterations
        for count in range(first, last + 1):
            stopped = self.interrupted()
            seen = count == run.seen
            if not seen and (count == last or count % every == 0):
                row = run.look(count)
                self.show(count, row[run.measure])
                stopped = stopped or (self.callback is not None and _stops(self.callback, run, row))
            if stopped:
                return "stopped"
            if count == last or not run.active:
                break
            run.step()
        return "max_iter"

    def until_slow(self, last: int, run: Run) -> str:
        """Iterate as `until`, or until the gap falls slowly while iterations are left for another solver: "slow"."""
        before, first = math.nan, run.iterations + (FIRST - run.state.iteration) % SPAN
        for count in range(first, last - _LEFT, SPAN):
            status = self.until(count, run)
            if status == "stopped" or not run.active:
                return status
            gap = float(run.gaps.max())
            if slow(run.running, run.state, before, gap):
                return "slow"
            before = gap
        return self.until(last, run)


def _solver(method: str | Solver, problem: CSCProblem, state: Any) -> tuple[Solver, str]:
    if isinstance(method, Solver):
        return method, "asked for"
    name = checks.choice(method, "method", ("auto", *SOLVERS))
    if name != "auto":
        return SOLVERS[name](), "asked for"
    for kind in SOLVERS.values():
        if isinstance(state, kind.states):
            return kind(), "it goes on from the state given"
    return choose(problem)


def _check(solver: Solver, problem: CSCProblem) -> None:
    """Refuse a problem that the solver cannot serve, and name those that can."""
    refusal = _refusal(solver, problem)
    if refusal is not None:
        able = [repr(name) for name in _able(problem)]
        raise type(refusal)(f"{refusal}; use {listing(able)}" if able else str(refusal))


def _refusal(solver: Solver, problem: CSCProblem) -> Exception | None:
    """What a solver has against a problem."""
    if problem.penalty.tail and not solver.sums:
        return ValueError(f"{solver.name} serves one penalty with a proximal map, not a sum")
    try:
        solver.check(problem)
    except (TypeError, ValueError) as error:
        return error
    return None


def _able(problem: CSCProblem) -> list[str]:
    """Names of the solvers that serve a problem, the simplest last."""
    return [name for name, cls in reversed(SOLVERS.items()) if _refusal(cls(), problem) is None]


def _check_memory(problem: CSCProblem, solver: Solver) -> None:
    one = problem.synthesis.maps_bytes(problem.batch, problem.code_like)
    least, other = min((SOLVERS[name]().arrays_for(problem), name) for name in _able(problem))
    needed, instead = solver.arrays_for(problem), "code it in tiles"
    if least < needed:
        instead = f"{other!r} " + (f"needs {least * one / 2**30:.1f} GiB" if least else "keeps no maps")
    checks.memory(needed * one, problem.signal, f"{solver.name} on codes of {problem.codes_shape}", instead)


def _stops(callback: Callable[[Iterate], bool | None], run: Run, row: dict[str, float]) -> bool:
    iterate = Iterate(int(row["iteration"]), row["seconds"], row["objective"], row.get("gap"), run)
    try:
        return bool(callback(iterate))
    except KeyboardInterrupt:
        return True


@contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait for the end of an iteration, so that the state stays whole; a second one raises."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress_bar(wanted: bool, total: int, measure: str) -> Iterator[Callable[[int, float], None]]:
    if not wanted:
        yield lambda count, value: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="it") as bar:

        def show(count: int, value: float) -> None:
            bar.set_postfix_str(f"{measure}={value:.1e}", refresh=False)
            bar.update(count - bar.n)

        yield show
