"""Filters that lower a quadratic on a set: accelerated projected gradient, each filter with a scale of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt.dictlearn.constraint import Constraint
from cscopt.dictlearn.moments import Moments


def minimise(
    quadratic: Moments, filters: Any, constraint: Constraint, max_iter: int = 50, tol: float = 1e-6
) -> tuple[Any, float]:
    r"""Lower ½⟨d, A d⟩ − ⟨b, d⟩ over d in the set, from `filters`; never above where it begins.

    d⁺ = P(u − S⁻¹(A u − b) / L) with u the extrapolated point, S the curvatures ‖x_m‖² of the filters, and L, found by
    backtracking, such that A ≤ L S. Momentum restarts where the value rises. (Each filter's scale is one number, so
    that P stays the plain projection on the sphere and the ball.)

    Parameters
    ----------
    quadratic : Moments
    filters : ndarray, (M, C, \*support)
        In the set already; filters without any code stay as they are.
    constraint : Constraint
    max_iter : int, default 50
    tol : float, default 1e-6
        Stop where no filter moves by more than this share of its norm.

    Returns
    -------
    filters : ndarray
    value : float
        Of the quadratic there.

    Source: Beck and Teboulle 2009; O'Donoghue and Candès 2015, section 3.2.
    """
    used = quadratic.scales > 0
    scales = np.where(used, quadratic.scales, 1.0)
    if not used.any():
        return filters, quadratic.value(filters)
    weights = scales[(slice(None),) + (None,) * (filters.ndim - 1)]
    largest = max(quadratic.curvature(scales), 1e-3)
    best, applied = filters, quadratic.apply(filters)
    value = quadratic.value(best, applied)
    point, point_applied, t = best, applied, 1.0
    for _ in range(max_iter):
        slope = point_applied - quadratic.data
        while True:
            found = constraint.project(point - slope / (largest * weights))
            found = np.where(used[(slice(None),) + (None,) * (filters.ndim - 1)], found, filters)
            step, found_applied = found - point, quadratic.apply(found)
            if np.sum(step * (found_applied - point_applied)) <= 1.000001 * largest * np.sum(weights * step * step):
                break
            largest *= 1.5
        new = quadratic.value(found, found_applied)
        if new > value:
            if t == 1.0:
                break
            point, point_applied, t = best, applied, 1.0
            continue
        moved = float(np.max(np.abs(found - best)))
        following = (1 + np.sqrt(1 + 4 * t * t)) / 2
        momentum = (t - 1) / following
        point = found + momentum * (found - best)
        point_applied = found_applied + momentum * (found_applied - applied)
        best, applied, value, t = found, found_applied, new, following
        if moved <= tol:
            break
    return best, value
