"""One call of `solve` while it lasts: which items still run, what is known of each, and its record."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import numpy as np

from cscopt.backend import Array, is_array, namespace, to_numpy
from cscopt.certificate import Certificate, compare, rounding, settled
from cscopt.codes import SparseCodes
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver, copy_state, join_states, reconstruct, take_state
from cscopt.solvers.history import History
from cscopt.solvers.mark import same
from cscopt.solvers.solution import STATUSES, Solution

_PATIENCE = 50
"""Looks in which a gap must shrink by a tenth, or rounding is held to stop it."""


@dataclass(frozen=True)
class Iterate:
    """What a callback sees: numbers at once, arrays (copies) when asked for, until the callback returns."""

    iteration: int
    seconds: float
    objective: float
    gap: float | None
    run: Run

    @property
    def codes(self) -> Array:
        r"""Codes so far, (batch, maps, \*code space)."""
        return self.run.solver.codes(self.run.problem, self._state())

    @property
    def state(self) -> Any:
        """State of the solver, to resume from."""
        return copy_state(self._state())

    @property
    def reconstruction(self) -> Array:
        """Σ d_m * x_m so far."""
        return reconstruct(self.run.problem, self.run.solver, self._state())

    def _state(self) -> Any:
        if self.run.iterations != self.iteration:
            raise RuntimeError(
                f"the solver is at iteration {self.run.iterations}, and no longer has the arrays of iteration "
                f"{self.iteration}; keep iterate.codes, .state or .reconstruction in the callback, not the iterate"
            )
        return self.run.joint_state()


class Run:
    """The state of one call of `solve`: the items still running, and those that are done."""

    def __init__(self, problem: CSCProblem, solver: Solver, tol: float, x0: Array | None, state: Any) -> None:
        self.problem, self.solver, self.tol = problem, solver, tol
        self.began = time.perf_counter()
        self.running = problem
        self.state = solver.init(problem, x0)
        if state is not None:
            eps = float(namespace(problem.signal).finfo(problem.real).eps)
            self.state = _checked(state, self.state, eps)
        self.duals = self._bound()
        self.active = list(range(problem.batch))
        self.done: list[tuple[list[int], Any]] = []
        self.objectives = np.zeros(problem.batch)
        self.gaps = np.full(problem.batch, np.inf)
        self.statuses = ["running"] * problem.batch
        self.iterations = 0
        self.marks = np.full(problem.batch, np.inf)
        self.looks, self.seen = 0, -1
        self.history = History()
        self.measure = "gap" if problem.penalty.convex else "kkt_residual"

    def step(self) -> None:
        """One iteration of the items still running, and a restart where its number says so, whoever looks when."""
        self.state = self.solver.step(self.running, self.state)
        if self.state.iteration % self.solver.look_every(self.problem) == 0:
            self.state = self.solver.renew(self.running, self.state, self.tol)
        self.iterations += 1

    def look(self, count: int) -> dict[str, float]:
        """Certify, record, and take out the items that are done."""
        self.state = self.solver.sharpen(self.running, self.state, self.tol)
        report = self.solver.report(self.running, self.state)
        if self.looks == 0 or not self.problem.fused:  # from scratch: no step has given a dual point
            certificate = self.solver.certify(self.running, self.state)
        else:
            certificate = self.solver.certificate(self.running, self.state)
        self._certify(certificate, self.active)
        self._retire()
        row = {
            "iteration": float(count),
            "seconds": time.perf_counter() - self.began,
            "objective": float(self.objectives.sum()),
            self.measure: float(self.gaps.max()),
            **report,
        }
        self.history.append(row)
        self.seen = count
        return row

    def finish(self, status: str) -> None:
        """Certify and put away whatever still runs."""
        if self.active:
            self._certify(self.solver.certify(self.running, self.state), self.active)
            late = self.tol > 0
            statuses = ["converged" if late and self.gaps[i] <= self.tol else status for i in self.active]
            self._put_away(list(range(len(self.active))), statuses)

    def handed_to(self, solver: Solver, warm: bool) -> Run:
        """The same run, for another solver to go on with, from the codes so far, or from zero for items not done."""
        codes = self.solver.sparse_codes(self.problem, self.joint_state()) if warm or self.done else None
        if codes is not None and not warm:
            done = ~np.isin(codes.index // math.prod(codes.shape[1:]), self.active)
            codes = SparseCodes(codes.index[done], codes.values[done], codes.shape)
        new = Run(self.problem, solver, self.tol, codes, None)
        new.began, new.iterations, new.history, new.duals = self.began, self.iterations, self.history, self.duals
        new.seen = self.seen
        if self.done:
            new._certify(solver.certify(new.problem, new.state), new.active)
            new._retire()
        return new

    def joint_state(self) -> Any:
        """The state of all items."""
        states = [state for _, state in self.done]
        order = [i for items, _ in self.done for i in items]
        if self.active:
            states.append(self._noted(self.state, self.active))
            order += self.active
        return states[0] if len(states) == 1 else join_states(states, self._inverse(order))

    def solution(self, reason: str, stopped: bool) -> Solution:
        """The answer, once every item is put away; `stopped` by callback or Ctrl-C, even at the last look."""
        return Solution(
            objective=float(self.objectives.sum()),
            gap=float(self.gaps.max()) if self.measure == "gap" else None,
            status="stopped" if stopped else max(self.statuses, key=STATUSES.index),
            iterations=self.iterations,
            seconds=time.perf_counter() - self.began,
            history=self.history,
            state=self.joint_state(),
            objectives=self.objectives,
            gaps=self.gaps if self.measure == "gap" else None,
            statuses=self.statuses,
            problem=self.problem,
            solver=self.solver,
            reason=reason,
        )

    def _certify(self, certificate: Certificate, items: list[int]) -> None:
        """Note objectives and gaps; the best lower bound so far counts."""
        objectives = to_numpy(certificate.objective)
        self.objectives[items] = objectives
        if not self.problem.penalty.convex:
            self.gaps[items] = to_numpy(certificate.gap)
            return
        self.duals[items] = np.maximum(self.duals[items], to_numpy(certificate.dual))
        found = settled(compare(objectives, self.duals[items]), self._floor(items))
        self.gaps[items] = found.gap

    def _bound(self) -> np.ndarray[Any, Any]:
        """The best lower bounds that the state has seen."""
        dual = getattr(self.state, "dual", None)
        return np.full(self.problem.batch, -np.inf) if dual is None else np.array(to_numpy(dual), np.float64)

    def _noted(self, state: Any, items: list[int]) -> Any:
        """A state of some items with their best lower bounds, which whoever goes on from it begins with."""
        if not hasattr(state, "dual"):
            return state
        xp = namespace(state.dual)
        found = xp.asarray(self.duals[items].tolist(), dtype=state.dual.dtype, device=state.dual.device)
        return replace(state, dual=xp.maximum(state.dual, found))

    def _retire(self) -> None:
        """Put away the items whose gap, computed from their codes alone, is small enough or stuck."""
        gaps = self.gaps[self.active]
        stuck = np.zeros(len(gaps), dtype=bool)
        self.looks += 1
        if self.looks % _PATIENCE == 0:
            stuck = (gaps > 0.9 * self.marks[self.active]) & (gaps <= self._floor(self.active))
            self.marks[self.active] = gaps
        if self.tol == 0:
            return
        candidates = [k for k in range(len(gaps)) if gaps[k] <= self.tol or stuck[k]]
        if not candidates:
            return
        problem, state = self._taken(candidates)
        items = [self.active[k] for k in candidates]
        self._certify(self.solver.certify(problem, state), items)
        good = {k: self.gaps[self.active[k]] <= self.tol for k in candidates}
        out = [k for k in candidates if good[k] or stuck[k]]
        if out:
            self._put_away(out, ["converged" if good[k] else "precision" for k in out])

    def _floor(self, items: list[int]) -> np.ndarray[Any, Any]:
        """Relative gaps below which rounding may hide further progress."""
        xp = namespace(self.problem.signal)
        objectives = xp.asarray(self.objectives[items].tolist(), dtype=xp.float64, device=self.problem.signal.device)
        where = xp.asarray(items, dtype=xp.int64, device=self.problem.signal.device)
        return np.asarray(to_numpy(rounding(self.problem, objectives, where)))

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
        _, state = self._taken(positions)
        self.done.append((items, self._noted(state, items)))
        rest = [k for k in range(len(self.active)) if k not in set(positions)]
        if rest:
            self.running, self.state = self._taken(rest)
        else:
            self.state = None
        self.active = [self.active[k] for k in rest]

    def _inverse(self, order: list[int]) -> Array:
        xp = namespace(self.problem.signal)
        return xp.asarray(np.argsort(order).tolist(), dtype=xp.int64, device=self.problem.signal.device)


def _checked(state: Any, fresh: Any, eps: float) -> Any:
    """A copy of a given state, after comparing it with a fresh one of this problem, whose precision is `eps`."""
    if type(state) is not type(fresh):
        raise TypeError(f"state must be a {type(fresh).__name__}; got {type(state).__name__}")
    _compare(state, fresh)
    if not same(state.mark, fresh.mark, eps):
        raise ValueError("state is of another problem: its signal, filters, penalty, fit or weights differ")
    return copy_state(state)


def _compare(state: Any, fresh: Any, where: str = "") -> None:
    """Refuse a state that is not made of the same arrays as a fresh one."""
    for name, wanted in vars(fresh).items():
        given, place = getattr(state, name), where + name
        if is_array(wanted) and is_array(given):
            told = [f"{a.dtype} {tuple(a.shape)}" for a in (given, wanted)]
            if told[0] != told[1]:
                raise ValueError(f"state is of another problem: its {place} is {told[0]}, not {told[1]}")
        elif type(given) is not type(wanted) and any(  # but numbers may be NumPy's or Python's
            v is None or is_array(v) or is_dataclass(v) for v in (given, wanted)
        ):
            told = ["absent" if v is None else f"of type {type(v).__name__}" for v in (given, wanted)]
            raise ValueError(f"state is of another problem: its {place} is {told[0]}, not {told[1]}")
        elif is_dataclass(wanted):
            _compare(given, wanted, f"{place}.")
