"""What ISTA and FISTA share: step sizes, checked by backtracking where no tight bound vouches for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from cscopt.backend import Array, namespace, real_dtype
from cscopt.problem import CSCProblem

Trial = TypeVar("Trial")
_POWER_ITERATIONS = 12
_LOOSE = 2.0
"""From how many times the guess of ‖W A D‖² a bound is not used."""


def step_sizes(problem: CSCProblem) -> Array:
    """First step sizes: 1 / ‖W A D‖² of each item, or the guess of power iteration.

    The guess is taken where A's norm is unknown, and where the bound ‖W‖ ‖A‖ ‖D‖ is loose: filters without a mean, say,
    and an A that is largest for the mean. What `trusted` does not vouch for is checked, by `backtrack`.
    """
    bound = problem.lipschitz
    if bound is not None and (problem.forward is None or problem.datafit.spectral):
        return 1 / bound
    guess = power_iteration(problem)
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


def power_iteration(problem: CSCProblem, iterations: int = _POWER_ITERATIONS) -> Array:
    """Estimate of ‖W A D‖² of each item, by power iteration on D Dᴴ AᴴWᴴW A: of images, without a map."""
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
        back = fit.ascent(fit.project(synthesis.spectrum(image)))
        image = synthesis.image(synthesis.apply_gram(back))
        size = norm(image)
    tiny = xp.finfo(size.dtype).smallest_normal
    return xp.reshape(xp.where(size > 0, size, xp.full_like(size, tiny)), (-1,))


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
