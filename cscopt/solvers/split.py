"""The splitting of the data in ADMM: A D x as a variable w of its own, for weights, boundaries and fits."""

from __future__ import annotations

from dataclasses import dataclass

from cscopt import fft
from cscopt.backend import Array, per_item
from cscopt.problem import CSCProblem


@dataclass(frozen=True)
class Split:
    """v = A D x + u after relaxation, on the grid, of which w = prox(v); and σ of each item."""

    v: Array
    sigma: Array


def first_split(problem: CSCProblem, spectrum: Array, warm: bool) -> Split:
    """The splitting at the spectrum of A D x. For least squares σ = max W², the curvature of the data term.

    The multiplier is the (sub)gradient there; zero for least squares that are not begun from codes (`warm`).
    """
    fit = problem.datafit
    v = fft.inverse(spectrum, problem.synthesis.grid, problem.synthesis.real)
    sigma = fit.weight_norm**2 if fit.quadratic else fit.first_sigma
    if not fit.quadratic:
        v = v - fit.weight * fit.descent(spectrum) / per_item(problem.per_row(sigma), v.ndim)
    elif warm:
        weight, weighted = fit.on_grid
        v = v - (weighted - weight * v) / per_item(problem.per_row(sigma), v.ndim)
    return Split(v, sigma)


def split_step(
    problem: CSCProblem, split: Split, spectrum: Array, rho: Array, relaxation: float
) -> tuple[Array, Split]:
    """The quadratic step of ADMM where A D x is split too: its correction, and the new splitting.

    With K = A D, x⁺ = z + Kᴴ c with c = (K Kᴴ + ρ/σ)⁻¹ (z₀ − K z) and z₀ = 2 w − v, and K x⁺ = z₀ − (ρ/σ) c.
    """
    synthesis, fit, v = problem.synthesis, problem.datafit, split.v
    sigma = problem.per_row(split.sigma)
    w = fit.prox(v, sigma)
    ahead = 2 * w - v
    correction = problem.system.solve_gram(fft.forward(ahead, synthesis.grid) - spectrum, rho / sigma)
    shift = fft.inverse(correction, synthesis.grid, synthesis.real)
    image = ahead - per_item(rho / sigma, v.ndim) * shift
    return correction, Split(v + relaxation * (image - w), split.sigma)


def dual_point(problem: CSCProblem, split: Split) -> Array:
    """The multiplier of A D x = w as a dual point of a `SplitFit`."""
    sigma = problem.per_row(split.sigma)
    return problem.datafit.multiplier(split.v, problem.datafit.prox(split.v, sigma), sigma)
