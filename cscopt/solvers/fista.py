"""FISTA: accelerated proximal gradient with adaptive restart; serves every problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from cscopt import checks
from cscopt.backend import Array, namespace, per_item
from cscopt.certificate import Certificate, compare, dual_value
from cscopt.kernels.reference import Sums
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver, copy, start
from cscopt.solvers.descent import backtrack, step_sizes, trusted
from cscopt.solvers.mark import mark


@dataclass(frozen=True)
class FISTAState:
    """Codes x, extrapolated point z, spectra of D x and D z, Σ Λ|x|, step sizes, t, best dual value, mark."""

    x: Array
    z: Array
    x_spectrum: Array
    z_spectrum: Array
    l1: Array
    steps: Array
    t: Array
    dual: Array
    mark: Array
    iteration: int = 0


@dataclass(frozen=True)
class FISTA(Solver):
    """Fast iterative soft thresholding.

    x⁺ = S_{sΛ}(z − s ∇f(z)), t⁺ = (1 + √(1 + 4t²))/2, z⁺ = x⁺ + (t − 1)/t⁺ (x⁺ − x), with
    s = 1/‖W A D‖².

    Parameters
    ----------
    restart : bool, default True
        Forget the momentum (t = 1, from the next iteration on) whenever it points uphill,
        ⟨z − x⁺, x⁺ − x⟩ > 0.

    Source: Beck and Teboulle 2009, eq. 4.1 to 4.3; O'Donoghue and Candès 2015, section 3.2.
    """

    restart: bool = True
    name: ClassVar[str] = "fista"
    states: ClassVar[type] = FISTAState
    arrays: ClassVar[int] = 3

    def __post_init__(self) -> None:
        checks.flag(self.restart, "restart")

    def init(self, problem: CSCProblem, x0: Array | None = None) -> FISTAState:
        x = start(problem, x0)
        spectrum = problem.system.synthesize(x)
        l1 = problem.items_sum(problem.kernels.weighted_l1(x, problem.levels))
        xp = namespace(l1)
        ones, zeros = xp.ones_like(l1), xp.zeros_like(l1)
        return FISTAState(x, copy(x), spectrum, copy(spectrum), l1, step_sizes(problem), ones, zeros, mark(problem))

    def step(self, problem: CSCProblem, state: FISTAState) -> FISTAState:
        xp = namespace(state.t)
        t = (1 + xp.sqrt(1 + 4 * state.t**2)) / 2
        momentum = problem.per_row((state.t - 1) / t)
        beta = per_item(momentum, state.z_spectrum.ndim)

        def sweep(x: Array, z: Array, descent: Array, steps: Array) -> tuple[Array, Array, Array, Sums]:
            filters, steps = problem.system.filters, problem.per_row(steps)
            return problem.kernels.fista_sweep(x, z, descent, filters, problem.levels, steps, momentum)

        if trusted(problem, state.steps):
            steps = state.steps
            descent, norm_sq, overlap = problem.datafit.descend(state.z_spectrum)
            x, z, spectrum, sums = sweep(state.x, state.z, descent, steps)
        else:
            descent, norm_sq, overlap = problem.datafit.descend(copy(state.z_spectrum))
            (x, z, spectrum, sums), steps = backtrack(
                problem,
                lambda steps: sweep(copy(state.x), copy(state.z), copy(descent), steps),
                lambda trial: (
                    _codes_spectrum(copy(state.x_spectrum), trial[2], beta),
                    problem.items_sum(trial[3]["change"]),
                ),
                state.z_spectrum,
                state.steps,
            )
        if self.restart:
            t = xp.where(problem.items_sum(sums["turn"]) > 0, xp.ones_like(t), t)
        dual = dual_value(norm_sq, overlap, problem.items_max(sums["violation"]))
        return replace(
            state,
            x=x,
            z=z,
            x_spectrum=_codes_spectrum(state.x_spectrum, spectrum, beta),
            z_spectrum=spectrum,
            l1=problem.items_sum(sums["l1"]),
            steps=steps,
            t=t,
            dual=xp.maximum(state.dual, dual),
            iteration=state.iteration + 1,
        )

    def rows(self, problem: CSCProblem, state: FISTAState) -> Array:
        return state.x

    def certificate(self, problem: CSCProblem, state: FISTAState) -> Certificate:
        norm_sq, _ = problem.datafit.measures(problem.datafit.residual(state.x_spectrum))
        return compare(norm_sq / 2 + state.l1, state.dual)


def _codes_spectrum(before: Array, spectrum: Array, beta: Array) -> Array:
    """D x⁺ from D z⁺ = D x⁺ + β (D x⁺ − D x), in place of D x = `before`."""
    before *= beta
    before += spectrum
    before /= 1 + beta
    return before
