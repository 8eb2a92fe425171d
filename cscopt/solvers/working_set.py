"""Working-set solver: coordinate descent on the few coefficients that are not zero, in the spatial domain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cscopt import checks
from cscopt.absorbed import absorbed, absorbed_support
from cscopt.atomwise import keys_of
from cscopt.backend import Array, is_numpy
from cscopt.certificate import Certificate, compare
from cscopt.codes import SparseCodes
from cscopt.penalties import L1
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver, checked_codes
from cscopt.solvers.mark import mark

if TYPE_CHECKING:
    from cscopt.solvers.active import ActiveSet, Item

_INNER = 0.1
_MARGIN = 0.1
_MOST_MARGIN = 0.2
_MOST_SWEEPS = 32


@dataclass(frozen=True)
class WorkingSetState:
    """An active set for each item, with W²(y − D x), objective, best dual value, and what is amiss (`Look`)."""

    sets: tuple[ActiveSet, ...]
    residual: Array
    objective: Array
    dual: Array
    excess: Array
    cells: tuple[Any, ...]
    mark: Array
    iteration: int = 0
    sweeps: int = 0


@dataclass(frozen=True)
class WorkingSet(Solver):
    """Coordinate descent on a growing and shrinking set of coefficients.

    An iteration sweeps over the set, x_j ← S_λ(h_j x_j + ⟨d_j, r⟩)/h_j with h_j = ‖W d_j‖², touching only the pixels
    under one atom, with momentum between sweeps; then drops zeros, recomputes r = W²(y − D x), and correlates it with
    all filters, tile by tile: that gives the certificate, and of each small cell the worst violator of
    |⟨d_j, r⟩| ≤ λ, to be added. Time and memory follow the number of coefficients that are not zero, and the size of
    the image, not of the maps. It serves NumPy arrays, with all boundaries, without a forward operator or with a `Blur`
    (circular, or "none") behind a circular synthesis, which the filters absorb.

    Parameters
    ----------
    sweeps : int, default 8
        Sweeps over the set in the first iteration; each later one may do one more, up to 32.

    Source: Massias, Gramfort and Salmon 2018 (Celer), section 3; Moreau, Oudre and Vayatis 2018 (DICOD), section 2;
    momentum with restart: O'Donoghue and Candès 2015, section 3.2.
    """

    sweeps: int = 8
    name: ClassVar[str] = "working-set"
    states: ClassVar[type] = WorkingSetState
    arrays: ClassVar[int] = 0
    sparse: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.count(self.sweeps, "sweeps", 1)

    def check(self, problem: CSCProblem) -> None:
        super().check(problem)
        if problem.code_levels is None:
            parts = isinstance(problem.penalty, L1)
            what = "moduli of complex codes, not parts=True" if parts else "the L1 penalty alone"
            raise ValueError(f"working-set serves {what}")
        if not is_numpy(problem.signal):
            raise TypeError("working-set serves NumPy arrays only")
        if problem.forward is not None and absorbed_support(problem) is None:
            raise ValueError(
                "working-set serves no forward= but a Blur of boundary 'circular' or 'none', for a problem of "
                "boundary='circular' where kernel and filter together fit into the image; no real codes of complex data"
            )

    def arrays_for(self, problem: CSCProblem) -> int:
        levels = problem.code_levels
        by_place = levels is not None and levels.weight is not None and levels.weight.shape[1] > 1
        return self.arrays + (2 if by_place else 0)  # whatever the boundary

    def init(self, problem: CSCProblem, x0: Any = None) -> WorkingSetState:
        sets = active_sets(problem, None if x0 is None else _sparse(problem, x0))
        zeros, synthesis = np.zeros(problem.batch), absorbed(problem).synthesis
        shape = (problem.batch * synthesis.groups, synthesis.image_channels, *synthesis.sites.grid)
        residual = np.zeros(shape, problem.code_dtype)
        state = WorkingSetState(tuple(sets), residual, zeros, zeros, zeros, (None,) * problem.batch, mark(problem))
        return self._looked(problem, state, sets)

    def step(self, problem: CSCProblem, state: WorkingSetState) -> WorkingSetState:
        rounds = min(self.sweeps + state.iteration, max(self.sweeps, _MOST_SWEEPS))
        sets, sweeps = [], 0
        for item, residual in enumerate(_by_item(problem, state.residual)):
            excess = max(float(state.excess[item]), 64 * float(np.finfo(problem.real).eps))
            tolerance = _INNER * excess
            active, done = item_of(problem, item).descend(state.sets[item], residual, rounds, tolerance)
            sets.append(active)
            sweeps = max(sweeps, done)
        state = replace(state, iteration=state.iteration + 1, sweeps=state.sweeps + sweeps)
        return self._looked(problem, state, sets)

    def _looked(self, problem: CSCProblem, state: WorkingSetState, sets: list[ActiveSet]) -> WorkingSetState:
        """The state of these sets, after a pass over all filters."""
        looks, residuals, found = [], [], []
        for item, active in enumerate(sets):
            part = item_of(problem, item)
            residual = part.residual(active)
            margin = min(_MARGIN * float(state.excess[item]), _MOST_MARGIN)
            look, active = part.look(active, residual, 1 + margin)
            looks.append(look)
            residuals.append(residual)
            found.append(active)
        return replace(
            state,
            sets=tuple(found),
            residual=np.stack(residuals).reshape(state.residual.shape),
            objective=np.array([look.objective for look in looks]),
            dual=np.maximum(state.dual, [look.dual for look in looks]),
            excess=np.array([look.excess for look in looks]),
            cells=tuple(look.cells for look in looks),
        )

    def sharpen(self, problem: CSCProblem, state: WorkingSetState, tol: float) -> WorkingSetState:
        dual = state.dual.copy()
        for item, residual in enumerate(_by_item(problem, state.residual)):
            least = (1 - tol) * state.objective[item]
            if dual[item] < least <= state.objective[item] / (1 + state.excess[item]):
                dual[item] = max(dual[item], item_of(problem, item).local_dual(residual, state.cells[item]))
        return replace(state, dual=dual)

    def look_every(self, problem: CSCProblem) -> int:
        return 1

    def certificate(self, problem: CSCProblem, state: WorkingSetState) -> Certificate:
        return compare(state.objective, state.dual)

    def certify(self, problem: CSCProblem, state: WorkingSetState) -> Certificate:
        return self.certificate(problem, state)  # every state is seen from its codes alone

    def sparse_codes(self, problem: CSCProblem, state: WorkingSetState) -> SparseCodes:
        return listed(problem, state.sets)

    def codes(self, problem: CSCProblem, state: WorkingSetState) -> Array:
        whole = problem.synthesis.maps_bytes(problem.batch, problem.code_like)
        checks.memory(whole, problem.signal, "dense codes", "use sparse_codes")
        return self.sparse_codes(problem, state).to_dense()

    def report(self, problem: CSCProblem, state: WorkingSetState) -> dict[str, float]:
        return {"nonzeros": float(sum(len(s.keys) for s in state.sets)), "sweeps": float(state.sweeps)}


def item_of(problem: CSCProblem, item: int) -> Item:
    """One item of a problem."""
    from cscopt.solvers.active import Item  # compiled loops are imported where they are used

    return Item(absorbed(problem), item)


def listed(problem: CSCProblem, sets: Sequence[ActiveSet]) -> SparseCodes:
    """Active sets of all items as sparse codes."""
    synthesis = absorbed(problem).synthesis
    index, values = [], []
    for item, active in enumerate(sets):
        q, m = np.divmod(active.keys, synthesis.n_filters)
        group, p = np.divmod(q, synthesis.sites.pixels)
        place = np.ravel_multi_index(np.unravel_index(p, synthesis.sites.grid), synthesis.code_space)
        row = (item * synthesis.groups + group) * synthesis.n_filters + m
        flat = row * math.prod(synthesis.code_space) + place
        order = np.argsort(flat)
        index.append(flat[order])
        values.append(active.values[order])
    return SparseCodes(np.concatenate(index), np.concatenate(values), problem.codes_shape)


def active_sets(problem: CSCProblem, codes: SparseCodes | None) -> list[ActiveSet]:
    """Active sets of the items of sparse codes; empty ones for None."""
    return [_first(problem, codes, item) for item in range(problem.batch)]


def _by_item(problem: CSCProblem, residual: Array) -> Array:
    return residual.reshape((problem.batch, -1))


def _sparse(problem: CSCProblem, x0: Any) -> SparseCodes:
    """Codes to start from, dense or sparse, as a list."""
    if isinstance(x0, SparseCodes):
        return checked_codes(problem, x0)
    problem.embed(x0)  # which checks it
    return SparseCodes.from_dense(np.asarray(x0, problem.code_dtype))


def _first(problem: CSCProblem, x0: SparseCodes | None, item: int) -> ActiveSet:
    """The active set of an item of x0."""
    from cscopt.solvers.active import ActiveSet

    synthesis, dtype = absorbed(problem).synthesis, problem.code_dtype
    none = np.empty(0, np.int64)
    if x0 is None:
        return ActiveSet(none, np.empty(0, dtype), none)
    size = math.prod(problem.codes_shape[1:])
    begin, end = np.searchsorted(x0.index, [item * size, (item + 1) * size])
    values = x0.values[begin:end].astype(dtype)
    kept = values > 0 if problem.penalty.nonnegative else values != 0
    keys = keys_of(synthesis, x0.index[begin:end][kept] - item * size)
    order = np.argsort(keys)
    return ActiveSet(keys[order], values[kept][order], none)
