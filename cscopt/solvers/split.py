"""The splitting of the image in ADMM: D x as a variable w of its own, for weights, boundaries, fits, operators."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cscopt import fft
from cscopt.backend import Array, per_item
from cscopt.certificate import residual_value
from cscopt.problem import CSCProblem
from cscopt.solvers.normal import Fitted, first_sigma, fitted_at, refined, response


@dataclass(frozen=True)
class Split:
    """v = D x + u after relaxation, on the grid, of which w = prox(v); σ of each item; w, where A makes it costly."""

    v: Array
    sigma: Array
    fitted: Fitted | None = None


def first_split(problem: CSCProblem, spectrum: Array, warm: bool) -> Split:
    """The splitting at the spectrum of D x. For least squares without A σ = max W², the curvature of f.

    The multiplier is the (sub)gradient there; zero for least squares that are not begun from codes (`warm`).
    """
    fit, synthesis = problem.datafit, problem.synthesis
    v = fft.inverse(spectrum, synthesis.grid, synthesis.real)
    if not fit.quadratic:
        sigma = fit.first_sigma
        v = v - fit.weight * fit.descent(spectrum) / per_item(problem.per_row(sigma), v.ndim)
        return Split(v, sigma)
    sigma, fitted = fit.weight_norm**2, None
    if fit.forward is not None:
        fitted = fitted_at(problem, v, response(fit, v))
        sigma = first_sigma(problem, fitted.response)
    if warm:
        slope = fft.inverse(fit.gradient(spectrum), synthesis.grid, synthesis.real)
        v = v + slope / per_item(problem.per_row(sigma), v.ndim)
    return Split(v, sigma, fitted)


def nearest(problem: CSCProblem, split: Split) -> tuple[Array, Fitted | None]:
    """W = prox(v), and what is kept of it where A makes it costly: then only a step towards it is made."""
    sigma = problem.per_row(split.sigma)
    if split.fitted is None:
        return problem.datafit.prox(split.v, sigma), None
    fitted = refined(problem, split.fitted, split.v, sigma)
    return fitted.image, fitted


def split_step(
    problem: CSCProblem, split: Split, spectrum: Array, rho: Array, relaxation: float
) -> tuple[Array, Split]:
    """The quadratic step of ADMM where D x is split too: its correction, and the new splitting.

    x⁺ = z + Dᴴ c with c = (D Dᴴ + ρ/σ)⁻¹ (z₀ − D z) and z₀ = 2 w − v, and D x⁺ = z₀ − (ρ/σ) c.
    """
    synthesis, v = problem.synthesis, split.v
    sigma = problem.per_row(split.sigma)
    w, fitted = nearest(problem, split)
    ahead = 2 * w - v
    correction = problem.system.solve_gram(fft.forward(ahead, synthesis.grid) - spectrum, rho / sigma)
    shift = fft.inverse(correction, synthesis.grid, synthesis.real)
    image = ahead - per_item(rho / sigma, v.ndim) * shift
    return correction, replace(split, v=v + relaxation * (image - w), fitted=fitted)


def dual_point(problem: CSCProblem, split: Split) -> Array:
    """The multiplier of A D x = w as a dual point of a `SplitFit`."""
    sigma = problem.per_row(split.sigma)
    return problem.datafit.multiplier(split.v, problem.datafit.prox(split.v, sigma), sigma)


def multiplier_value(problem: CSCProblem, split: Split) -> Array:
    """Dual value of each item at the multiplier of D x = w, θ = W(y − A w), for least squares."""
    fit = problem.datafit
    kept, sigma = split.fitted, problem.per_row(split.sigma)
    seen = fit.observed(fit.prox(split.v, sigma)) if kept is None else kept.data
    point = fit.target - seen
    return residual_value(problem, point, *fit.measures(point))
