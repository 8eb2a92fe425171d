"""ADMM with over-relaxation and residual balancing: one array of maps, exact solves per frequency."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from cscopt import checks, fft
from cscopt.backend import Array, namespace, per_item
from cscopt.certificate import Certificate, certify_spectrum, compare, dual_value
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver, mark, start

_ADAPTED = 100
_BALANCE = 2.0


@dataclass(frozen=True)
class ADMMState:
    """v = x + u after relaxation, the spectrum of D z at z = 2 S(v) − v, ρ, and norms for balancing.

    `data` is the same array for the splitting of D x, on the grid, where there is one.
    """

    v: Array
    spectrum: Array
    data: Array | None
    rho: Array
    primal: Array
    dual_change: Array
    dual: Array
    mark: Array
    iteration: int = 0


@dataclass(frozen=True)
class ADMM(Solver):
    """Alternating direction method of multipliers on the splitting x = y.

    x⁺ = argmin ½‖Dx − s‖² + ρ/2 ‖x − z‖² with z = y − u, in closed form per frequency:
    x⁺ = z + Dᴴ(D Dᴴ + ρ)⁻¹(s − D z). Then v = α x⁺ + (1 − α) y + u, y = S_{Λ/ρ}(v), u = v − y. With
    weights W or a boundary other than circular, D x is split too (mask decoupling). A forward
    operator is not served.

    Parameters
    ----------
    rho : float, optional
        Penalty parameter to start from; chosen from the data if absent.
    relaxation : float, default 1.8
        Over-relaxation α, between 0 and 2.
    adaptive : bool, default True
        In the first 100 iterations, change ρ so that the relative primal residual is twice the dual
        one. (That ratio was the fastest over eight pictures and dictionaries; later it grows by
        itself, and following it would spoil the convergence.)
    period : int, default 10
        Iterations between two looks at the balance.

    Source: Boyd et al. 2011, section 3.4; Wohlberg 2016 (Efficient Algorithms for CSC), section III,
    and 2017 (ADMM penalty parameter selection by residual balancing), eq. 21 to 27; Heide, Heidrich
    and Wetzstein 2015 for the mask.
    """

    rho: float | None = None
    relaxation: float = 1.8
    adaptive: bool = True
    period: int = 10
    name: ClassVar[str] = "admm"
    arrays: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.rho is not None:
            checks.positive_number(self.rho, "rho")
        if not 0 < checks.real_number(self.relaxation, "relaxation") < 2:
            raise ValueError(f"relaxation must lie between 0 and 2; got {self.relaxation}")
        checks.count(self.period, "period", 1)

    def check(self, problem: CSCProblem) -> None:
        if problem.forward is not None and not problem.datafit.spectral:
            raise ValueError(
                "admm cannot serve this problem with forward=, which is not diagonal in the frequency domain; "
                "use 'fista' or 'ista'"
            )
        if not problem.penalty.convex:
            raise ValueError("admm needs a convex penalty; use 'fista' or 'ista'")

    def init(self, problem: CSCProblem, x0: Array | None = None) -> ADMMState:
        v = start(problem, x0)
        spectrum = problem.system.synthesize(v)
        xp = namespace(v)
        zero = xp.zeros_like(problem.datafit.energy)
        rho = xp.full_like(zero, 1.0) * (self.rho if self.rho is not None else self._first_rho(problem))
        data = None
        if not problem.datafit.spectral:
            data = fft.inverse(spectrum, problem.synthesis.grid, problem.synthesis.real)
        return ADMMState(v, spectrum, data, rho, zero, zero, zero, mark(problem))

    def _first_rho(self, problem: CSCProblem) -> Array:
        """¾ √(mean eigenvalue of D Dᴴ · mean ‖d_m‖²) (λ/λ_max)^⅓: near the fastest ρ where that was measured."""
        synthesis = problem.synthesis
        xp = namespace(problem.signal)
        norm_sq = namespace(problem.dictionary.filters).mean(problem.dictionary.norms() ** 2)
        density = float(norm_sq) * math.sqrt(synthesis.n_filters / synthesis.image_channels)
        ratio = xp.clip(problem.zero_violation, 1.0, 1e6)
        return 0.75 * density / ratio ** (1 / 3)

    def step(self, problem: CSCProblem, state: ADMMState) -> ADMMState:
        if self.adaptive and 0 < state.iteration <= _ADAPTED and state.iteration % self.period == 0:
            state = self._balance(problem, state)
        system, fit = problem.system, problem.datafit
        rho = problem.per_row(state.rho)
        if state.data is None:
            correction, data = system.solve_gram(fit.target - state.spectrum, rho), None
        else:
            correction, data = self._split_step(problem, state.data, state.spectrum, rho)
        v, spectrum, sums = problem.kernels.admm_sweep(
            state.v, correction, system.filters, problem.levels, rho, self.relaxation
        )
        dual = state.dual
        if state.data is None:  # the residual of x is ρ · correction, so its analysis is already done
            norm_sq, overlap = fit.measures(correction)
            worst = problem.items_max(sums["violation"])
            found = dual_value(state.rho**2 * norm_sq, state.rho * overlap, state.rho * worst)
            dual = namespace(dual).maximum(dual, found)
        primal, change = _relative_residuals({k: problem.items_sum(s) for k, s in sums.items()})
        return replace(
            state,
            v=v,
            spectrum=spectrum,
            data=data,
            primal=primal,
            dual_change=change,
            dual=dual,
            iteration=state.iteration + 1,
        )

    def _split_step(self, problem: CSCProblem, data: Array, spectrum: Array, rho: Array) -> tuple[Array, Array]:
        """The quadratic step where D x is split too: its correction, and the new `data`.

        The split of D x has the penalty σ = max W², the curvature of the data term, so that
        x⁺ = z + Dᴴ c with c = (D Dᴴ + ρ/σ)⁻¹ (z₀ − D z), and D x⁺ = z₀ − (ρ/σ) c.
        """
        synthesis, fit = problem.synthesis, problem.datafit
        sigma = problem.per_row(fit.weight_norm**2)
        split = fit.prox(data, sigma)
        ahead = 2 * split - data
        correction = synthesis.solve_gram(fft.forward(ahead, synthesis.grid) - spectrum, rho / sigma)
        shift = fft.inverse(correction, synthesis.grid, synthesis.real)
        image = ahead - per_item(rho / sigma, data.ndim) * shift
        return correction, data + self.relaxation * (image - split)

    def look_every(self, problem: CSCProblem) -> int:
        return 10 if problem.datafit.spectral else 20

    def _balance(self, problem: CSCProblem, state: ADMMState) -> ADMMState:
        """Change ρ where the residuals are out of balance, keeping y and the multiplier ρ u."""
        xp = namespace(state.rho)
        ratio = state.primal / xp.where(state.dual_change > 0, state.dual_change, xp.ones_like(state.rho))
        usable = (state.primal > 0) & (state.dual_change > 0)
        factor = xp.clip(xp.sqrt(xp.where(usable, ratio / _BALANCE, xp.ones_like(ratio))), 0.5, 2.0)
        factor = xp.where((factor > 1.2) | (factor < 1 / 1.2), factor, xp.ones_like(factor))
        if not bool(xp.any(factor != 1)):
            return state
        y = self.rows(problem, state)
        kept = per_item(problem.per_row(1 / factor), y.ndim)
        v = y + kept * (state.v - y)
        spectrum = problem.system.synthesize(2 * y - v)
        return replace(state, v=v, spectrum=spectrum, rho=state.rho * factor)

    def rows(self, problem: CSCProblem, state: ADMMState) -> Array:
        return self._proximal(problem, state)[0]

    def _proximal(self, problem: CSCProblem, state: ADMMState) -> tuple[Array, Array]:
        """y = S(v), and Σ Λ|y| of each row."""
        return problem.kernels.proximal(state.v, problem.levels, 1 / problem.per_row(state.rho))

    def certificate(self, problem: CSCProblem, state: ADMMState) -> Certificate:
        y, l1 = self._proximal(problem, state)
        spectrum, l1 = problem.system.synthesize(y), problem.items_sum(l1)
        if state.data is not None:
            return certify_spectrum(problem, spectrum, l1)
        norm_sq, _ = problem.datafit.measures(problem.datafit.residual(spectrum))
        return compare(norm_sq / 2 + l1, state.dual)

    def report(self, problem: CSCProblem, state: ADMMState) -> dict[str, float]:
        xp = namespace(state.rho)
        return {
            "rho": float(xp.mean(state.rho)),
            "primal_residual": float(xp.max(state.primal)),
            "dual_residual": float(xp.max(state.dual_change)),
        }


def _relative_residuals(sums: dict[str, Array]) -> tuple[Array, Array]:
    """‖x − y‖ / max(‖x‖, ‖y‖) and ‖y⁺ − y‖ / ‖u‖ of each item."""
    xp = namespace(sums["x"])

    def ratio(part: Array, whole: Array) -> Array:
        positive = whole > 0
        return xp.where(positive, xp.sqrt(part / xp.where(positive, whole, xp.ones_like(whole))), xp.zeros_like(part))

    return ratio(sums["primal"], xp.maximum(sums["x"], sums["y"])), ratio(sums["dual"], sums["u"])
