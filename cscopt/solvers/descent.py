"""What ISTA and FISTA share: a safe step size, found by backtracking where A's norm is unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from cscopt.backend import Array, namespace, real_dtype
from cscopt.problem import CSCProblem

Trial = TypeVar("Trial")
_POWER_ITERATIONS = 12


def step_sizes(problem: CSCProblem) -> Array:
    """1 / ‖W A D‖² of each item, or a first guess from power iteration where A's norm is unknown."""
    bound = problem.lipschitz
    if bound is None:
        bound = power_iteration(problem) ** 2
    return 1 / bound


def power_iteration(problem: CSCProblem, iterations: int = _POWER_ITERATIONS) -> Array:
    """Estimate of ‖W A D‖ of each item, from below (‖W A‖ by power iteration, times the exact ‖D‖)."""
    fit, synthesis, signal = problem.datafit, problem.synthesis, problem.signal
    xp = namespace(signal)
    shape = (signal.shape[0], synthesis.channels, *synthesis.space)
    count = math.prod(shape[1:])
    ramp = xp.cos(xp.astype(xp.arange(count, device=signal.device), real_dtype(signal)) ** 2 * 0.7)
    image = xp.broadcast_to(xp.reshape(ramp, (1, *shape[1:])), shape)
    image = xp.astype(image, problem.code_dtype)

    def norm(a: Array) -> Array:
        total = xp.sum(xp.abs(a) ** 2, axis=tuple(range(1, a.ndim)))
        return xp.reshape(xp.sqrt(total), (-1,) + (1,) * (a.ndim - 1))

    size = norm(image)
    for _ in range(iterations):
        image = image / xp.where(size > 0, size, xp.ones_like(size))
        image = synthesis.image(fit.ascent(fit.project(synthesis.spectrum(image))))
        size = norm(image)
    tiny = xp.finfo(size.dtype).smallest_normal
    return xp.sqrt(xp.reshape(xp.where(size > 0, size, xp.full_like(size, tiny)), (-1,))) * xp.sqrt(synthesis.norm_sq)


def backtrack(
    problem: CSCProblem,
    attempt: Callable[[Array], Trial],
    spectra: Callable[[Trial], tuple[Array, Array]],
    spectrum: Array,
    steps: Array,
) -> tuple[Trial, Array]:
    r"""Shorten steps until the quadratic bound holds: ‖W A D (x⁺ − z)‖² ≤ ‖x⁺ − z‖² / step.

    Parameters
    ----------
    attempt : callable
        Trial of a step from z with the given step sizes, leaving the state as it was.
    spectra : callable
        From a trial, the spectrum of D x⁺ and ‖x⁺ − z‖² of each item.
    spectrum : array
        Spectrum of D z.
    steps : array, (batch,)
    """
    xp = namespace(steps)
    fit = problem.datafit
    while True:
        trial = attempt(steps)
        after, change = spectra(trial)
        moved: Any = fit.project(after - spectrum)
        curvature = fit.dot(moved, moved)
        eps = float(xp.finfo(steps.dtype).eps)
        noise = (16 * eps) ** 2 * fit.energy  # differences of spectra are no better than this
        fails = curvature - noise > (1 + 100 * eps) * change / xp.astype(steps, xp.float64)
        if not bool(xp.any(fails)):
            return trial, steps
        steps = xp.where(fails, steps / 2, steps)
