"""How learners code an image, and the gradient of what is left in the filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cscopt import checks, fft
from cscopt.backend import Array, asarray_like, is_complex, is_numpy, namespace, real_dtype, to_numpy
from cscopt.codes import SparseCodes
from cscopt.dictionary import ConvDictionary
from cscopt.penalties import L1
from cscopt.problem import CSCProblem
from cscopt.solvers import SOLVERS, Solution, Solver, solve
from cscopt.solvers.working_set import active_sets


@dataclass(frozen=True, eq=False)
class Coder:
    r"""Codes images by minimise ½‖W(y − Σ d_m * x_m)‖² + Σ λ|x|.

    Parameters
    ----------
    lam : float or array (M,), default 0.1
        λ in the units of the images.
    method : str, default "auto"
        See `cscopt.solve`.
    tol : float, default 1e-2
        Relative duality gap to stop at.
    max_iter : int, default 300
    nonnegative : bool, default False
        Non-negative codes.
    boundary : {"circular", "zero", "none"}, default "circular"
        See `cscopt.Synthesis`.
    """

    lam: Any = 0.1
    method: Any = "auto"
    tol: float = 1e-2
    max_iter: int = 300
    nonnegative: bool = False
    boundary: str = "circular"

    def __post_init__(self) -> None:
        checks.positive(self.lam, "lam")
        if not 0 <= checks.real_number(self.tol, "tol") < 1:
            raise ValueError(f"tol must be at least 0 and below 1; got {self.tol}")
        checks.count(self.max_iter, "max_iter", 1)
        checks.flag(self.nonnegative, "nonnegative")
        checks.choice(self.boundary, "boundary", ("circular", "zero", "none"))
        if not isinstance(self.method, Solver):
            checks.choice(self.method, "method", ("auto", *SOLVERS))

    def problem(self, image: Array, filters: Any, mask: Array | None = None) -> CSCProblem:
        r"""The problem of one image (channel, \*space) and filters of any precision."""
        placed = asarray_like(np.asarray(filters), image, real_dtype(image))
        weights = None if mask is None else mask[None, ...]
        return CSCProblem(
            image[None, ...],
            ConvDictionary(placed),
            L1(self.lam, self.nonnegative),
            mask=weights,
            boundary=self.boundary,
        )

    def code(self, problem: CSCProblem, start: Any = None) -> Solution:
        """Codes of a problem, from codes to start with; Ctrl-C raises."""
        solution = solve(problem, self.method, tol=self.tol, max_iter=self.max_iter, x0=start)
        if solution.status == "stopped":
            raise KeyboardInterrupt
        return solution


def codes_of(solution: Solution) -> SparseCodes | Array:
    """Codes as the solver keeps them: sparse ones on NumPy, or dense ones, without the copy of `Solution.codes`."""
    if solution.solver.sparse:
        return solution.sparse_codes
    problem = solution.problem
    return problem.synthesis.crop(solution.solver.rows(problem, solution.state))


def _rows_of(solution: Solution) -> Array:
    """Codes on the grid: where they lie there already, a crop and another pad would be two arrays more."""
    problem, solver = solution.problem, solution.solver
    return problem.embed(solution.codes) if solver.sparse else solver.rows(problem, solution.state)


def counted(solution: Solution) -> tuple[int, Any]:
    """Number of non-zeros, and Σ|x_m| of each filter, (M,), in float64."""
    n_filters = solution.problem.dictionary.n_filters
    if solution.solver.sparse:
        sparse = solution.sparse_codes
        maps = sparse.index // int(np.prod(sparse.shape[2:])) % n_filters
        return len(sparse), np.bincount(maps, np.abs(sparse.values).astype(np.float64), n_filters)
    codes = to_numpy(codes_of(solution))
    each = [codes[:, m::n_filters] for m in range(n_filters)]  # one by one, for there may be memory for few maps more
    used = [np.abs(maps).sum(dtype=np.float64) for maps in each]
    return sum(int(np.count_nonzero(maps)) for maps in each), np.array(used)


def filter_gradient(solution: Solution) -> Any:
    r"""Gradient of ½‖W(y − Σ d_m * x_m)‖² in the filters at a solution's codes: (M, C, \*support), float64.

    −Σ_p Re(conj(x_m(p)) (W² r)(p + t)), r = y − D x: from the non-zeros alone where the codes are sparse, else by FFT.
    Where a single-channel dictionary codes several channels, they are summed over.

    Source: Liu, Garcia-Cardona, Wohlberg and Yin 2018, eq. 9 and, under a mask, 27.
    """
    problem = solution.problem
    if is_numpy(problem.signal) and solution.solver.sparse:
        return _sparse_gradient(solution)
    synthesis = problem.synthesis
    xp = namespace(problem.signal)
    rows = _rows_of(solution)
    residual = problem.datafit.ascent(problem.datafit.residual(synthesis.synthesize(rows)))
    found = []
    for m in range(synthesis.n_filters):
        spectrum = fft.forward(rows[:, m : m + 1, ...], synthesis.grid)
        image = xp.sum(fft.inverse(xp.conj(spectrum) * residual, synthesis.grid, synthesis.real), axis=0)
        box = image[(slice(None), *(slice(0, k) for k in problem.dictionary.support))]
        found.append(-to_numpy(xp.real(box) if is_complex(box) else box).astype(np.float64))
    return np.stack(found)


def _sparse_gradient(solution: Solution) -> Any:
    from cscopt.kernels import moments as kernels
    from cscopt.solvers.active import Item

    problem = solution.problem
    total = np.zeros(tuple(problem.dictionary.filters.shape))
    for item, active in enumerate(active_sets(problem, solution.sparse_codes)):
        residual = Item(problem, item).residual(active)
        total -= kernels.patches(problem.synthesis.sites, residual, active.keys, active.values).reshape(total.shape)
    return total
