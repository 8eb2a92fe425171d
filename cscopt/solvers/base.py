"""What a solver is: a frozen record of options with `init`, `step`, and a view of the codes so far."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar

from cscopt import checks
from cscopt.backend import Array, asarray_like, is_array, is_complex, is_cupy, is_numpy, is_torch, namespace
from cscopt.certificate import Certificate, certify_rows
from cscopt.codes import SparseCodes
from cscopt.problem import CSCProblem
from cscopt.stationarity import kkt_residual


class Solver:
    """Base of the solvers.

    A state is a frozen dataclass whose arrays all have the batch (or batch · groups) as first axis.
    `step` may consume the state it is given.
    """

    name: ClassVar[str]
    """The word that names the solver in `solve`."""

    arrays: ClassVar[int]
    """Arrays of all maps that a solve holds at most at once, beside the spectra of the filters."""

    states: ClassVar[type]
    """The class of its states."""

    sparse: ClassVar[bool] = False
    """Whether states keep codes as a list of non-zeros."""

    sums: ClassVar[bool] = False
    """Whether the solver serves sums of penalties."""

    def check(self, problem: CSCProblem) -> None:
        """Raise if the solver cannot serve this problem; by default, any fit but least squares."""
        if not problem.datafit.quadratic:
            raise ValueError(f"{self.name} serves least squares alone, not fit={problem.fit.name!r}")

    def arrays_for(self, problem: CSCProblem) -> int:
        """`arrays`, and what this problem adds: levels by place, sweeps in stages, or spectra for a quadratic part."""
        if problem.fused:
            return self.arrays + (0 if problem.levels.weight is None else 2)
        return self.arrays + (10 if problem.penalty.curved else 7)

    def init(self, problem: CSCProblem, x0: Any = None) -> Any:
        """First state, from zero codes or from x0 (batch, maps, *code space)."""
        raise TypeError(f"{type(self).__name__} does not define init")

    def step(self, problem: CSCProblem, state: Any) -> Any:
        """One iteration."""
        raise TypeError(f"{type(self).__name__} does not define step")

    def rows(self, problem: CSCProblem, state: Any) -> Array:
        """The codes of a state on the grid, (rows, maps, *grid)."""
        raise TypeError(f"{type(self).__name__} does not define rows")

    def look_every(self, problem: CSCProblem) -> int:
        """Iterations between two looks at the gap that keep their cost below a tenth of the run."""
        return 10

    def sharpen(self, problem: CSCProblem, state: Any, tol: float) -> Any:
        """A state with a better dual point, if that may bring its gap down to tol; by default the state as it is."""
        return state

    def renew(self, problem: CSCProblem, state: Any, tol: float) -> Any:
        """A state from which it may converge faster, every `look_every` iterations; by default the state as it is."""
        return state

    def certificate(self, problem: CSCProblem, state: Any) -> Certificate:
        """Certificate of a state of an ℓ1 problem, from scratch unless the solver knows a cheaper way."""
        return self.certify(problem, state)

    def certify(self, problem: CSCProblem, state: Any) -> Certificate:
        """Certificate of a state from its codes alone."""
        return certify_rows(problem, self.rows(problem, state))

    def kkt_residual(self, problem: CSCProblem, state: Any) -> Array:
        """`cscopt.kkt_residual` of a state's codes, with the multipliers that the solver knows, (batch,)."""
        return kkt_residual(problem, self.codes(problem, state))

    def codes(self, problem: CSCProblem, state: Any) -> Array:
        r"""Codes of a state, (batch, maps, \*code space), an array of their own."""
        return copy(problem.synthesis.crop(self.rows(problem, state)))

    def sparse_codes(self, problem: CSCProblem, state: Any) -> SparseCodes:
        """Codes of a state as a list of non-zeros."""
        return SparseCodes.from_dense(problem.synthesis.crop(self.rows(problem, state)))

    def report(self, problem: CSCProblem, state: Any) -> dict[str, float]:
        """What the solver adds to a row of the history."""
        return {}


def reconstruct(problem: CSCProblem, solver: Solver, state: Any) -> Array:
    """Σ d_m * x_m of a state."""
    if solver.sparse:
        return problem.synthesis.apply_sparse(solver.sparse_codes(problem, state))
    return problem.synthesis.apply(solver.codes(problem, state))


def start(problem: CSCProblem, x0: Any) -> Array:
    """Starting codes on the grid: zero, or a copy of x0 (its positive part for non-negative codes)."""
    xp = namespace(problem.signal)
    if isinstance(x0, SparseCodes):
        x0 = asarray_like(checked_codes(problem, x0).to_dense(), problem.signal, problem.code_dtype)
    if x0 is None:
        synthesis = problem.synthesis
        shape = (problem.batch * synthesis.groups, synthesis.n_filters, *synthesis.grid)
        return xp.zeros(shape, dtype=problem.code_dtype, device=problem.signal.device)
    rows = problem.embed(x0)
    if problem.penalty.nonnegative:
        rows = xp.where(rows > 0, rows, xp.zeros_like(rows))
    return copy(rows)


def checked_codes(problem: CSCProblem, codes: SparseCodes) -> SparseCodes:
    """Sparse codes that fit the problem.

    Raises
    ------
    TypeError, ValueError
        If shape, kind or values do not.
    """
    if codes.shape != problem.codes_shape:
        raise ValueError(f"codes must have shape {problem.codes_shape}; got {codes.shape}")
    checks.finite(codes.values, "codes")
    if is_complex(codes.values) and not is_complex(problem.code_like):
        raise TypeError(f"codes must be real here; got {codes.values.dtype}")
    return codes


def copy(array: Array) -> Array:
    """A copy in C order, which the fused kernels need to work in place."""
    if is_torch(array):
        return array.contiguous().clone()
    if is_numpy(array) or is_cupy(array):
        return array.copy(order="C")
    return namespace(array).asarray(array, copy=True)


def copy_state(state: Any) -> Any:
    """A state that shares no array with the one given."""
    return map_arrays(lambda array: array if isinstance(array, tuple) else copy(array), state)


def take_state(state: Any, items: Array, batch: int) -> Any:
    """The state of some items of a batch."""

    def take(array: Any) -> Any:
        if isinstance(array, tuple):
            return tuple(array[int(i)] for i in items)
        xp, rows = namespace(array), array.shape[0] // batch
        index = xp.reshape(items[:, None] * rows + xp.arange(rows, device=array.device)[None, :], (-1,))
        return xp.take(array, index, axis=0)

    return map_arrays(take, state)


def join_states(states: list[Any], order: Array) -> Any:
    """One state from states of disjoint items; item i of the result is item order[i] of the joint list."""

    def join(*arrays: Any) -> Any:
        if isinstance(arrays[0], tuple):
            joined: tuple[Any, ...] = sum(arrays, ())
            return tuple(joined[int(i)] for i in order)
        xp = namespace(*arrays)
        joint = xp.concat(list(arrays), axis=0)
        return take_state(joint, order, order.shape[0])

    return map_arrays(join, *states)


def map_arrays(function: Any, *trees: Any) -> Any:
    """Apply to all arrays of states of one kind, and to tuples of one entry an item; the rest is the last state's."""
    first = trees[0]
    if is_array(first) or isinstance(first, tuple):
        return function(*trees)
    if is_dataclass(first) and not isinstance(first, type):
        values = {f.name: map_arrays(function, *(getattr(t, f.name) for t in trees)) for f in fields(first)}
        return replace(first, **values)
    return trees[-1]
