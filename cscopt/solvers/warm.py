"""Multipliers at given codes, so that a method that splits begins with these codes, and near an optimum stays there."""

from __future__ import annotations

from typing import Any

from cscopt import kernels
from cscopt.backend import Array, namespace, per_item
from cscopt.kernels import Levels, Regularizer
from cscopt.problem import CSCProblem

_STEPS = 2


def multiplier(problem: CSCProblem, y: Array, spectrum: Array, rho: Array, others: Array | None = None) -> Array:
    """u = q/ρ with q a subgradient of g near codes y on the grid, and near minus the gradient of f there.

    At the optimum q is that gradient, less what other terms of a sum take. u ← (y + u) − prox_{g/ρ}(y + u) is a
    subgradient at the proximal point, which goes to y: for ℓ1 and |y| ≥ 2Λ/ρ at once.

    Parameters
    ----------
    spectrum : array
        Of A D y.
    rho : array, (rows,)
    others : array, optional
        Σ_k K_kᴴ q_k of other terms, on the grid.
    """
    fit, xp = problem.datafit, namespace(y)
    ascent = fit.ascent(fit.residual(spectrum) if fit.quadratic else fit.descent(spectrum))
    q = kernels.for_array(ascent).analyze(ascent, problem.system.filters)
    q = q if others is None else q - others
    if problem.penalty.curved:
        q = q - problem.levels.pull(y)
    u = xp.astype(q, y.dtype, copy=False)
    del q
    u /= per_item(rho, u.ndim)  # here and below in place: each array is as large as all maps
    if not isinstance(problem.levels, Levels):
        _moved(u, y, problem.levels, rho, kernels.reference)
        return u
    for m in range(u.shape[1]):  # a map at a time, for its proximal map depends on no other
        part = slice(m, m + 1)
        _moved(u[:, part, ...], y[:, part, ...], problem.levels.of_maps(part), rho, kernels.for_array(y))
    return u


def _moved(u: Array, y: Array, levels: Regularizer, rho: Array, kernel: Any) -> None:
    """u to a subgradient of g/ρ near y, in place."""
    for _ in range(_STEPS):
        u += y
        u -= kernel.proximal(u, levels, 1 / rho)[0]
