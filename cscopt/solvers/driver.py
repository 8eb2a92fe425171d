"""`solve`: the one loop of all solvers. It records, certifies, stops, calls back, and resumes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, namespace, to_numpy
from cscopt.certificate import Certificate, certify_rows, compare
from cscopt.problem import CSCProblem
from cscopt.solvers.admm import ADMM
from cscopt.solvers.auto import choose
from cscopt.solvers.base import Solver, copy, copy_state, join_states, take_state
from cscopt.solvers.fista import FISTA
from cscopt.solvers.history import History
from cscopt.solvers.ista import ISTA

SOLVERS: dict[str, type[Solver]] = {cls.name: cls for cls in (ISTA, FISTA, ADMM)}
STATUSES = ("converged", "precision", "max_iter", "stopped")
_PATIENCE = 50


@dataclass(frozen=True)
class Iterate:
    """What a callback sees: numbers at once, arrays (copies) when asked for."""

    iteration: int
    seconds: float
    objective: float
    gap: float
    run: _Run

    @property
    def codes(self) -> Array:
        r"""Codes so far, (batch, maps, \*code space)."""
        return self.run.codes()

    @property
    def state(self) -> Any:
        """State of the solver, to resume from."""
        return copy_state(self.run.joint_state())

    @property
    def reconstruction(self) -> Array:
        """Σ d_m * x_m so far."""
        return self.run.problem.synthesis.apply(self.codes)


@dataclass(frozen=True)
class Solution:
    r"""The answer of `solve`.

    Attributes
    ----------
    codes : array, (batch, maps, \*code space)
    objective : float
        Objective, summed over the batch.
    gap : float
        Relative duality gap, the largest of the batch: the objective of these codes against the best lower bound
        found. They are at most this share above the optimum.
    status : {"converged", "precision", "max_iter", "stopped"}
        The least good of the batch. "precision": the arithmetic can do no better.
    iterations : int
    seconds : float
    history : History
    state : object
        What `solve(..., state=)` resumes from.
    objectives, gaps : ndarray, (batch,)
    statuses : list of str
    problem : CSCProblem
    solver : Solver
    """

    codes: Array
    objective: float
    gap: float
    status: str
    iterations: int
    seconds: float
    history: History
    state: Any
    objectives: np.ndarray[Any, Any]
    gaps: np.ndarray[Any, Any]
    statuses: list[str]
    problem: CSCProblem
    solver: Solver

    @cached_property
    def reconstruction(self) -> Array:
        r"""Σ_m d_m * x_m, (batch, channel, \*space); without A and W."""
        return self.problem.synthesis.apply(self.codes)

    @property
    def nonzeros(self) -> int:
        """Number of non-zero coefficients."""
        xp = namespace(self.codes)
        return int(xp.sum(xp.astype(self.codes != 0, xp.int64)))

    def __repr__(self) -> str:
        return (
            f"Solution({self.status}, objective={self.objective:.6g}, gap={self.gap:.2g}, "
            f"iterations={self.iterations}, seconds={self.seconds:.3g})"
        )


def solve(
    problem: CSCProblem,
    method: str | Solver = "auto",
    *,
    tol: float = 1e-3,
    max_iter: int = 1000,
    x0: Array | None = None,
    state: Any = None,
    callback: Callable[[Iterate], bool | None] | None = None,
    progress: bool = False,
    check_every: int | None = None,
) -> Solution:
    r"""Solve a convolutional sparse coding problem to a certified accuracy.

    minimise over x:  ½‖W(y − A Σ_m d_m * x_m)‖² + g(x)

    Parameters
    ----------
    problem : CSCProblem
    method : {"auto", "admm", "fista", "ista"} or Solver, default "auto"
        "auto" is ADMM, or FISTA where there is a forward operator.
    tol : float, default 1e-3
        Relative duality gap, gap / objective, to stop at, for each item; 0 runs `max_iter` iterations.
    max_iter : int, default 1000
        Iterations of this call.
    x0 : array, optional
        Codes to start from; zero if absent.
    state : object, optional
        State of an earlier solution of the same problem and solver, to go on from.
    callback : callable, optional
        Called with an `Iterate` at every recorded iteration; returning True stops.
    progress : bool, default False
        Show a progress bar.
    check_every : int, optional
        Iterations between two looks at the gap, each of which adds a row to the history. By default 10, or as many
        as keep the looks below a tenth of the run (ADMM with a mask or boundary: 20).

    Returns
    -------
    Solution
        Interrupting with Ctrl-C ends the iteration at hand and returns what was reached, with
        status "stopped"; a second Ctrl-C raises.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the solver cannot serve the problem.
    """
    if not isinstance(problem, CSCProblem):
        raise TypeError(f"problem must be a CSCProblem; got {type(problem).__name__}")
    solver = _solver(method, problem)
    if not 0 <= checks.real_number(tol, "tol") < float("inf"):
        raise ValueError(f"tol must be finite and not negative; got {tol}")
    checks.count(max_iter, "max_iter")
    every = solver.look_every(problem) if check_every is None else checks.count(check_every, "check_every", 1)
    if x0 is not None and state is not None:
        raise ValueError("x0 and state must not both be given")
    solver.check(problem)
    _check_memory(problem, solver)
    run = _Run(problem, solver, float(tol), x0, state)
    with _progress_bar(progress, max_iter) as show, _deferred_interrupt() as interrupted:
        status = "max_iter"
        for count in range(max_iter + 1):
            last = count == max_iter
            stopped = interrupted()
            if last or count % every == 0:
                row = run.look(count)
                show(count, row["gap"])
                stopped = stopped or (callback is not None and _stops(callback, run, row))
            if stopped:
                status = "stopped"
            if last or stopped or not run.active:
                break
            run.step()
        run.finish(status)
    return run.solution()


class _Run:
    """The state of one call of `solve`: the items still running, and those that are done."""

    def __init__(self, problem: CSCProblem, solver: Solver, tol: float, x0: Array | None, state: Any) -> None:
        self.problem, self.solver, self.tol = problem, solver, tol
        self.began = time.perf_counter()
        self.running = problem
        self.state = solver.init(problem, x0) if state is None else _checked(state, solver.init(problem, None))
        self.active = list(range(problem.batch))
        self.done: list[tuple[list[int], Any, Array]] = []
        self.objectives = np.zeros(problem.batch)
        self.gaps = np.full(problem.batch, np.inf)
        self.duals = np.full(problem.batch, -np.inf)
        self.statuses = ["running"] * problem.batch
        self.iterations = 0
        self.marks = np.full(problem.batch, np.inf)
        self.looks = 0
        self.history = History()

    def step(self) -> None:
        """One iteration of the items still running."""
        self.state = self.solver.step(self.running, self.state)
        self.iterations += 1

    def look(self, count: int) -> dict[str, float]:
        """Certify, record, and take out the items that are done."""
        report = self.solver.report(self.running, self.state)
        if count == 0:  # from scratch: no step has given a dual point yet
            certificate = certify_rows(self.running, self.solver.rows(self.running, self.state))
        else:
            certificate = self.solver.certificate(self.running, self.state)
        self._certify(certificate, self.active)
        self._retire()
        row = {
            "iteration": float(count),
            "seconds": time.perf_counter() - self.began,
            "objective": float(self.objectives.sum()),
            "gap": float(self.gaps.max()),
            **report,
        }
        self.history.append(row)
        return row

    def finish(self, status: str) -> None:
        """Certify and put away whatever still runs."""
        if self.active:
            rows = self.solver.rows(self.running, self.state)
            self._certify(certify_rows(self.running, rows), self.active)
            late = self.tol > 0
            statuses = ["converged" if late and self.gaps[i] <= self.tol else status for i in self.active]
            self._put_away(list(range(len(self.active))), statuses)

    def codes(self) -> Array:
        """Copy of the codes of all items."""
        parts = [codes for _, _, codes in self.done]
        order = [i for items, _, _ in self.done for i in items]
        if self.active:
            parts.append(self._codes_of(self.running, self.state))
            order += self.active
        if len(parts) == 1:
            return copy(parts[0])
        xp = namespace(parts[0])
        return xp.take(xp.concat(parts, axis=0), self._inverse(order), axis=0)

    def joint_state(self) -> Any:
        """The state of all items."""
        states = [state for _, state, _ in self.done]
        order = [i for items, _, _ in self.done for i in items]
        if self.active:
            states.append(self.state)
            order += self.active
        return states[0] if len(states) == 1 else join_states(states, self._inverse(order))

    def solution(self) -> Solution:
        """The answer, once every item is put away."""
        return Solution(
            codes=self.codes() if len(self.done) > 1 else self.done[0][2],
            objective=float(self.objectives.sum()),
            gap=float(self.gaps.max()),
            status=max(self.statuses, key=STATUSES.index),
            iterations=self.iterations,
            seconds=time.perf_counter() - self.began,
            history=self.history,
            state=self.joint_state(),
            objectives=self.objectives,
            gaps=self.gaps,
            statuses=self.statuses,
            problem=self.problem,
            solver=self.solver,
        )

    def _certify(self, certificate: Certificate, items: list[int]) -> None:
        """Note objectives and gaps; the best lower bound so far counts."""
        objectives = to_numpy(certificate.objective)
        self.duals[items] = np.maximum(self.duals[items], to_numpy(certificate.dual))
        self.objectives[items] = objectives
        self.gaps[items] = compare(objectives, self.duals[items]).gap

    def _retire(self) -> None:
        """Put away the items whose gap, computed from their codes alone, is small enough or stuck."""
        gaps = self.gaps[self.active]
        stuck = np.zeros(len(gaps), dtype=bool)
        self.looks += 1
        if self.looks % _PATIENCE == 0:
            stuck = (gaps > 0.9 * self.marks[self.active]) & (gaps <= self._rounding_floor())
            self.marks[self.active] = gaps
        if self.tol == 0:
            return
        candidates = [k for k in range(len(gaps)) if gaps[k] <= self.tol or stuck[k]]
        if not candidates:
            return
        problem, state = self._taken(candidates)
        items = [self.active[k] for k in candidates]
        self._certify(certify_rows(problem, self.solver.rows(problem, state)), items)
        good = {k: self.gaps[self.active[k]] <= self.tol for k in candidates}
        out = [k for k in candidates if good[k] or stuck[k]]
        if out:
            self._put_away(out, ["converged" if good[k] else "precision" for k in out])

    def _rounding_floor(self) -> np.ndarray[Any, Any]:
        """Relative gap below which rounding may hide further progress."""
        xp = namespace(self.problem.signal)
        eps = float(xp.finfo(self.problem.real).eps)
        energy = to_numpy(self.running.datafit.energy)
        objective = np.maximum(self.objectives[self.active], np.finfo(float).tiny)
        return np.asarray(np.minimum(30 * eps * np.maximum(1.0, energy / objective), 1e-3))

    def _taken(self, positions: list[int]) -> tuple[CSCProblem, Any]:
        if len(positions) == len(self.active):
            return self.running, self.state
        xp = namespace(self.problem.signal)
        items = xp.asarray(positions, dtype=xp.int64, device=self.problem.signal.device)
        return self.running.take(items), take_state(self.state, items, len(self.active))

    def _put_away(self, positions: list[int], statuses: list[str]) -> None:
        items = [self.active[k] for k in positions]
        for item, status in zip(items, statuses, strict=True):
            self.statuses[item] = status
        problem, state = self._taken(positions)
        self.done.append((items, state, self._codes_of(problem, state)))
        rest = [k for k in range(len(self.active)) if k not in set(positions)]
        if rest:
            self.running, self.state = self._taken(rest)
        else:
            self.state = None
        self.active = [self.active[k] for k in rest]

    def _codes_of(self, problem: CSCProblem, state: Any) -> Array:
        return copy(problem.synthesis.crop(self.solver.rows(problem, state)))

    def _inverse(self, order: list[int]) -> Array:
        xp = namespace(self.problem.signal)
        return xp.asarray(np.argsort(order).tolist(), dtype=xp.int64, device=self.problem.signal.device)


def _solver(method: str | Solver, problem: CSCProblem) -> Solver:
    if isinstance(method, Solver):
        return method
    name = checks.choice(method, "method", ("auto", *SOLVERS))
    return choose(problem) if name == "auto" else SOLVERS[name]()


def _check_memory(problem: CSCProblem, solver: Solver) -> None:
    one = problem.synthesis.maps_bytes(problem.batch, problem.code_like)
    less = [name for name, cls in SOLVERS.items() if cls.arrays < solver.arrays]
    instead = f"{less[0]!r} needs {SOLVERS[less[0]].arrays * one / 2**30:.1f} GiB" if less else "code it in tiles"
    checks.memory(solver.arrays * one, problem.signal, f"{solver.name} on codes of {problem.codes_shape}", instead)


def _checked(state: Any, fresh: Any) -> Any:
    """A copy of a given state, after comparing it with a fresh one of this problem."""
    if type(state) is not type(fresh):
        raise TypeError(f"state must be a {type(fresh).__name__}; got {type(state).__name__}")
    for name, wanted in vars(fresh).items():
        given = getattr(state, name)
        shapes = getattr(given, "shape", None), getattr(wanted, "shape", None)
        kinds = getattr(given, "dtype", None), getattr(wanted, "dtype", None)
        if shapes[0] != shapes[1] or kinds[0] != kinds[1]:
            raise ValueError(
                f"state is of another problem: its {name} is {kinds[0]} {shapes[0]}, not {kinds[1]} {shapes[1]}"
            )
    if not np.allclose(to_numpy(state.mark), to_numpy(fresh.mark), rtol=1e-5, atol=0):
        raise ValueError("state is of another problem: its signal, filters, λ or weights differ")
    return copy_state(state)


def _stops(callback: Callable[[Iterate], bool | None], run: _Run, row: dict[str, float]) -> bool:
    iterate = Iterate(int(row["iteration"]), row["seconds"], row["objective"], row["gap"], run)
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
def _progress_bar(wanted: bool, total: int) -> Iterator[Callable[[int, float], None]]:
    if not wanted:
        yield lambda count, gap: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="it") as bar:

        def show(count: int, gap: float) -> None:
            bar.set_postfix_str(f"gap={gap:.1e}", refresh=False)
            bar.update(count - bar.n)

        yield show
