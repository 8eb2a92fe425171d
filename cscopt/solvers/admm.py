"""ADMM with over-relaxation and residual balancing: one array of maps, exact solves per frequency."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from cscopt import checks
from cscopt.backend import Array, namespace, per_item
from cscopt.certificate import Certificate, certify_point, certify_spectrum, compare, dual_value
from cscopt.kernels import Levels
from cscopt.penalties import L0
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver, copy, start
from cscopt.solvers.curved import ahead, curved_certificate, curved_step
from cscopt.solvers.mark import mark
from cscopt.solvers.normal import fitted_at
from cscopt.solvers.restart import Average, averaged, chosen, due, first_average, forgotten, mean
from cscopt.solvers.split import Split, dual_point, first_split, multiplier_value, split_step
from cscopt.solvers.warm import multiplier

_ADAPTED = 100
_BALANCE = 2.0


@dataclass(frozen=True)
class ADMMState:
    """v = x + u after relaxation, the spectrum of D z at z = 2 S(v) − v, ρ, and norms for balancing.

    `data` is the splitting of D x, where there is one; `average` means of it and of v, for fits with corners. For a
    penalty with a quadratic part `spectrum` is that of z itself.
    """

    v: Array
    spectrum: Array
    data: Split | None
    rho: Array
    primal: Array
    dual_change: Array
    dual: Array
    mark: Array
    iteration: int = 0
    average: Average | None = None


def first_rho(problem: CSCProblem, sigma: Array | None = None) -> Array:
    """¾ √(mean eigenvalue of D Dᴴ · mean ‖d_m‖²) (λ/λ_max)^⅓ max |W Â|²: near the fastest ρ where that was measured.

    Â is that of an A which is folded into D. Where A has another step, σ stands for max |W Â|².
    """
    synthesis, factor = problem.synthesis, problem.system.factor
    xp = namespace(problem.signal)
    if sigma is None:
        sigma = problem.datafit.weight_norm**2 if problem.datafit.quadratic else problem.datafit.first_sigma
        sigma = sigma if factor is None else sigma * xp.max(xp.abs(factor)) ** 2
    norm_sq = namespace(problem.dictionary.filters).mean(problem.dictionary.norms() ** 2)
    density = float(norm_sq) * math.sqrt(synthesis.n_filters / synthesis.image_channels)
    excess = problem.zero_violation / sigma if isinstance(problem.penalty.head, L0) else problem.zero_violation
    return 0.75 * density / xp.clip(excess, 1.0, 1e6) ** (1 / 3) * sigma


@dataclass(frozen=True)
class ADMM(Solver):
    """Alternating direction method of multipliers on the splitting x = y.

    x⁺ = argmin ½‖Dx − s‖² + ρ/2 ‖x − z‖² with z = y − u, in closed form per frequency:
    x⁺ = z + Dᴴ(D Dᴴ + ρ)⁻¹(s − D z). Then v = α x⁺ + (1 − α) y + u, y = S_{Λ/ρ}(v), u = v − y. With
    weights W, a boundary other than circular, or a fit other than least squares, D x is split too
    (mask decoupling): w = prox_{f/σ}(D x + u'), with σ chosen from the data. For such fits it goes on
    from the mean of the iterates where that has the smaller gap. A forward operator A that is diagonal in
    the frequency domain is part of D. For any other, least squares go through w = D x as well: w is brought
    nearer to argmin ½‖W(A w − y)‖² + σ/2 ‖w − (D x + u')‖² by one to eight conjugate gradients, one
    application of A and of Aᴴ each, preconditioned by (h + σ)⁻¹ with h what AᴴWᴴW A is at each frequency.

    Parameters
    ----------
    rho : float, optional
        Penalty parameter to start from; chosen from the data if absent.
    relaxation : float, default 1.8
        Over-relaxation α, between 0 and 2.
    adaptive : bool, default True
        In the first 100 iterations, change ρ so that the relative primal residual is twice the dual
        one. (That ratio was the fastest over eight pictures and dictionaries; later it grows by
        itself, and following it would spoil the convergence.) For fits other than least squares ρ stays: balancing
        it, with σ or without, made the gap slower in measurement.
    period : int, default 10
        Iterations between two looks at the balance.

    Source: Boyd et al. 2011, section 3.4; Wohlberg 2016 (Efficient Algorithms for CSC), section III, and 2017 (ADMM
    penalty parameter selection by residual balancing), eq. 21 to 27; Heide, Heidrich and Wetzstein 2015 for the mask;
    Eckstein and Bertsekas 1992 for steps that are not exact; Applegate et al. 2023 (Faster first-order primal-dual
    methods for linear programming using restarts and sharpness), section 4, for the restarts.
    """

    rho: float | None = None
    relaxation: float = 1.8
    adaptive: bool = True
    period: int = 10
    name: ClassVar[str] = "admm"
    states: ClassVar[type] = ADMMState
    arrays: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.rho is not None:
            checks.positive_number(self.rho, "rho")
        checks.relaxation(self.relaxation)
        checks.flag(self.adaptive, "adaptive")
        checks.count(self.period, "period", 1)

    def check(self, problem: CSCProblem) -> None:
        if not problem.penalty.convex:
            raise ValueError("admm needs a convex penalty")
        if not (problem.datafit.quadratic or problem.datafit.folded):
            raise ValueError(
                f"admm needs forward= to be a convolution on a circular boundary for fit={problem.fit.name!r}"
            )

    def arrays_for(self, problem: CSCProblem) -> int:
        extra = 0 if problem.datafit.quadratic else 3  # the sum of v, and their mean at looks
        return super().arrays_for(problem) + extra + (3 if problem.penalty.curved else 0)  # spectra of the maps

    def init(self, problem: CSCProblem, x0: Array | None = None) -> ADMMState:
        v = start(problem, x0)
        spectrum = problem.system.synthesize(v)
        xp = namespace(v)
        zero = xp.zeros_like(problem.datafit.energy)
        data = None if problem.datafit.spectral else first_split(problem, spectrum, x0 is not None)
        own = None if data is None or data.fitted is None else data.sigma
        rho = zero + (self.rho if self.rho is not None else first_rho(problem, own))
        if x0 is not None:
            u = multiplier(problem, v, spectrum, problem.per_row(rho))
            v -= u  # z, and then v = z + 2 u, in place
            spectrum = ahead(problem, v)
            u *= 2
            v += u
        elif problem.penalty.curved:
            spectrum = ahead(problem, v)
        average = None if data is None or problem.datafit.quadratic else first_average(problem, v, data.v)
        return ADMMState(v, spectrum, data, rho, zero, zero, zero, mark(problem), average=average)

    def step(self, problem: CSCProblem, state: ADMMState) -> ADMMState:
        adaptive = self.adaptive and problem.datafit.quadratic
        if adaptive and 0 < state.iteration <= _ADAPTED and state.iteration % self.period == 0:
            state = self._balance(problem, state)
        v, spectrum, data, sums, found = self._swept(problem, state)
        dual, average = state.dual, state.average
        if average is not None and data is not None:
            average = averaged(average, v, data.v)
        if found is not None:
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
            average=average,
        )

    def _swept(
        self, problem: CSCProblem, state: ADMMState
    ) -> tuple[Array, Array, Split | None, dict[str, Array], Array | None]:
        """v, spectrum and splitting after a sweep, its sums, and a dual value where that costs nothing."""
        system, fit = problem.system, problem.datafit
        rho, data, found = problem.per_row(state.rho), None, None
        if problem.penalty.curved:
            return (*curved_step(problem, state.v, state.spectrum, state.data, rho, self.relaxation), None)
        if state.data is None:
            correction, norm_sq, overlap = fit.correct(state.spectrum, rho)
        else:
            correction, data = split_step(problem, state.data, state.spectrum, rho, self.relaxation)
        v, spectrum, sums = problem.kernels.admm_sweep(
            state.v, correction, system.filters, problem.levels, rho, self.relaxation
        )
        if state.data is None:  # the residual of x is ρ · correction, so its analysis is already done
            worst = problem.items_max(sums["violation"])
            found = dual_value(state.rho**2 * norm_sq, state.rho * overlap, state.rho * worst)
        return v, spectrum, data, sums, found

    def look_every(self, problem: CSCProblem) -> int:
        if not problem.datafit.quadratic:
            return 40
        return 10 if problem.datafit.spectral and not problem.penalty.curved else 20

    def renew(self, problem: CSCProblem, state: ADMMState, tol: float) -> ADMMState:
        """Go on from the mean of the iterates where that pays (fits other than least squares), and from A w itself."""
        if state.data is not None and state.data.fitted is not None:
            fitted = state.data.fitted
            return replace(state, data=replace(state.data, fitted=fitted_at(problem, fitted.image, fitted.response)))
        if state.average is None or state.data is None:
            return state
        xp = namespace(state.rho)
        v, data = mean(problem, state.average)
        y = problem.kernels.proximal(v, problem.levels, 1 / problem.per_row(state.rho))[0]
        spectrum = ahead(problem, 2 * y - v)
        other = replace(state, v=v, spectrum=spectrum, data=replace(state.data, v=data))
        here, there = self.certify(problem, state), self.certify(problem, other)
        gap = xp.minimum(here.gap, there.gap)
        restart = due(state.average, gap, state.iteration, tol)
        taken = restart & (there.gap < here.gap)
        return replace(
            state,
            v=chosen(problem, taken, v, state.v),
            spectrum=chosen(problem, taken, spectrum, state.spectrum),
            data=replace(state.data, v=chosen(problem, taken, data, state.data.v)),
            dual=xp.maximum(state.dual, xp.maximum(here.dual, there.dual)),
            average=forgotten(problem, state.average, restart, gap),
        )

    def _balance(self, problem: CSCProblem, state: ADMMState) -> ADMMState:
        """Change ρ where the residuals are out of balance, keeping y and the multiplier ρ u; v in place."""
        xp = namespace(state.rho)
        ratio = state.primal / xp.where(state.dual_change > 0, state.dual_change, xp.ones_like(state.rho))
        usable = (state.primal > 0) & (state.dual_change > 0)
        factor = xp.clip(xp.sqrt(xp.where(usable, ratio / _BALANCE, xp.ones_like(ratio))), 0.5, 2.0)
        factor = xp.where((factor > 1.2) | (factor < 1 / 1.2), factor, xp.ones_like(factor))
        if not bool(xp.any(factor != 1)):
            return state
        y, v = self._proximal(problem, state)[0], state.v
        if not isinstance(problem.levels, Levels):
            y = copy(y)  # a penalty of one's own may have returned v itself
        v -= y
        v *= per_item(problem.per_row(1 / factor), v.ndim)
        v += y
        y *= 2
        y -= v
        return replace(state, v=v, spectrum=ahead(problem, y), rho=state.rho * factor)

    def rows(self, problem: CSCProblem, state: ADMMState) -> Array:
        y = self._proximal(problem, state)[0]
        if problem.datafit.quadratic or not problem.fit.constrained:
            return y
        shrinkage = problem.datafit.shrinkage(problem.system.synthesize(y))
        return y * per_item(problem.per_row(shrinkage), y.ndim)

    def _proximal(self, problem: CSCProblem, state: ADMMState) -> tuple[Array, Array]:
        """y = S(v), and Σ Λ|y| of each row."""
        return problem.kernels.proximal(state.v, problem.levels, 1 / problem.per_row(state.rho))

    def certificate(self, problem: CSCProblem, state: ADMMState) -> Certificate:
        if not problem.datafit.quadratic:
            return _raised(self.certify(problem, state), state.dual)
        y, l1 = self._proximal(problem, state)
        spectrum, l1 = problem.system.synthesize(y), problem.items_sum(l1)
        if state.data is not None:
            return _raised(certify_spectrum(problem, spectrum, l1), multiplier_value(problem, state.data))
        norm_sq, _ = problem.datafit.measures(problem.datafit.residual(spectrum))
        return compare(norm_sq / 2 + l1, state.dual)

    def certify(self, problem: CSCProblem, state: ADMMState) -> Certificate:
        """From the codes, and where D x is split from its multiplier."""
        if problem.penalty.curved:
            rho = problem.per_row(state.rho)
            return curved_certificate(problem, self.rows(problem, state), state.spectrum, state.data, rho)
        if state.data is None:
            return super().certify(problem, state)
        if problem.datafit.quadratic:
            return _raised(super().certify(problem, state), multiplier_value(problem, state.data))
        y = self.rows(problem, state)
        value = problem.items_sum(problem.kernels.weighted_l1(y, problem.levels))
        return certify_point(problem, problem.system.synthesize(y), value, dual_point(problem, state.data))

    def report(self, problem: CSCProblem, state: ADMMState) -> dict[str, float]:
        xp = namespace(state.rho)
        return {
            "rho": float(xp.mean(state.rho)),
            "primal_residual": float(xp.max(state.primal)),
            "dual_residual": float(xp.max(state.dual_change)),
        }


def _raised(found: Certificate, dual: Array) -> Certificate:
    """The certificate with another dual value where that is larger."""
    return compare(found.objective, namespace(dual).maximum(dual, found.dual))


def _relative_residuals(sums: dict[str, Array]) -> tuple[Array, Array]:
    """‖x − y‖ / max(‖x‖, ‖y‖) and ‖y⁺ − y‖ / ‖u‖ of each item."""
    xp = namespace(sums["x"])

    def ratio(part: Array, whole: Array) -> Array:
        positive = whole > 0
        return xp.where(positive, xp.sqrt(part / xp.where(positive, whole, xp.ones_like(whole))), xp.zeros_like(part))

    return ratio(sums["primal"], xp.maximum(sums["x"], sums["y"])), ratio(sums["dual"], sums["u"])
