"""Debiasing: the coefficients that a solver found, at the values that fit the data best."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import is_numpy
from cscopt.codes import SparseCodes
from cscopt.penalties import L1
from cscopt.solvers.solution import Solution
from cscopt.solvers.working_set import active_sets, item_of, listed


def debias(solution: Solution, tol: float = 1e-6, max_iter: int = 500) -> SparseCodes:
    r"""Least squares on the support: argmin ½‖W(y − D x)‖² over x that are zero where the solution is.

    The ℓ1 norm shrinks what it keeps; this takes the shrinkage back. Signs are free. Solved by
    conjugate gradients on D_Sᴴ W² D_S x = D_Sᴴ W² y, from the solution's own values.

    Parameters
    ----------
    solution : Solution
        Of a problem on NumPy arrays without a forward operator, by any solver.
    tol : float, default 1e-6
        ‖residual of the normal equations‖ / ‖right side‖ to stop at.
    max_iter : int, default 500
        Iterations of conjugate gradients for each item. Where they do not reach `tol`, a warning says what is left.

    Returns
    -------
    SparseCodes

    Raises
    ------
    TypeError, ValueError
        If the problem has a forward operator, another fit than least squares, another penalty than L1, or
        lives on other arrays.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    if not isinstance(solution, Solution):
        raise TypeError(f"solution must be a Solution; got {type(solution).__name__}")
    checks.positive_number(tol, "tol")
    checks.count(max_iter, "max_iter")
    problem = solution.problem
    if problem.forward is not None or not is_numpy(problem.signal):
        raise ValueError("debias serves problems on NumPy arrays without forward=")
    if not problem.datafit.quadratic:
        raise ValueError(f"debias serves least squares alone; the fit of the solution is {problem.fit.name!r}")
    if problem.code_levels is None:
        kind = type(problem.penalty).__name__
        kind += "(parts=True)" if isinstance(problem.penalty, L1) else ""
        raise ValueError(f"debias serves the L1 penalty alone; that of the solution is {kind}")
    found = []
    for k, active in enumerate(active_sets(problem, solution.sparse_codes)):
        item, keys = item_of(problem, k), active.keys

        def normal(x: Any, item: Any = item, keys: Any = keys) -> Any:
            image = np.zeros_like(item.target)
            item.sites.subtract(image, item.weight, keys, np.asarray(-x, image.dtype))
            return item.sites.correlations(image, keys)

        values = active.values
        if len(keys):
            operator = LinearOperator((len(keys),) * 2, normal, dtype=values.dtype)
            right = item.sites.correlations(item.target, keys)
            values, missed = cg(operator, right, values, rtol=tol, maxiter=max_iter)
            if missed:
                left = np.linalg.norm(operator @ values - right) / np.linalg.norm(right)
                warnings.warn(f"item {k}: {left:.1e} left after {max_iter} iterations, tol={tol:g}", stacklevel=2)
        found.append(replace(active, values=values.astype(active.values.dtype)))
    return listed(problem, found)
