"""What ISTA and FISTA share: step sizes, checked by backtracking where no tight bound vouches for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from cscopt.backend import Array, namespace
from cscopt.problem import CSCProblem

Trial = TypeVar("Trial")
_LOOSE = 2.0
"""From how many times the guess of ‖W A D‖² a bound is not used."""


def step_sizes(problem: CSCProblem) -> Array:
    """First step sizes: 1 / ‖W A D‖² of each item, or its estimate, `CSCProblem.curvature`.

    The estimate is taken where A's norm is unknown, and where the bound ‖W‖ ‖A‖ ‖D‖ is loose: filters without a mean,
    say, and an A that is largest for the mean. What `trusted` does not vouch for is checked, by `backtrack`.
    """
    bound = problem.lipschitz
    if bound is not None and (problem.forward is None or problem.datafit.spectral):
        return 1 / bound
    guess = problem.curvature
    if problem.penalty.curved:
        guess = guess + problem.levels.peak
    if bound is None:
        return 1 / guess
    return 1 / namespace(bound).where(bound > _LOOSE * guess, guess, bound)


def trusted(problem: CSCProblem, steps: Array) -> bool:
    """Whether steps are so short that every one of them descends."""
    bound = problem.lipschitz
    if bound is None:
        return False
    if problem.forward is None or problem.datafit.spectral:
        return True
    return not bool(namespace(steps).any(steps * bound > 1 + 1e-5))


def backtrack(
    problem: CSCProblem,
    attempt: Callable[[Array], Trial],
    spectra: Callable[[Trial], tuple[Array, Array]],
    spectrum: Array,
    steps: Array,
) -> tuple[Trial, Array]:
    r"""Shorten steps until the quadratic bound holds: ‖W A D (x⁺ − z)‖² ≤ ‖x⁺ − z‖² / step.

    A penalty's quadratic part counts with its norm.

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
    floor = xp.zeros_like(steps) if problem.lipschitz is None else xp.astype(1 / problem.lipschitz, steps.dtype)
    while True:
        trial = attempt(steps)
        after, change = spectra(trial)
        moved: Any = fit.project(after - spectrum)
        curvature = fit.dot(moved, moved)
        eps = float(xp.finfo(steps.dtype).eps)
        noise = (16 * eps) ** 2 * fit.energy  # differences of spectra are no better than this
        if problem.penalty.curved:
            curvature = curvature + problem.levels.peak * change
        fails = curvature - noise > (1 + 100 * eps) * change / xp.astype(steps, xp.float64)
        fails = fails & (steps > floor)
        if not bool(xp.any(fails)):
            return trial, steps
        steps = xp.where(fails, xp.maximum(steps / 2, floor), steps)
