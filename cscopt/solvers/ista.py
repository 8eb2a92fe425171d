"""ISTA: the proximal gradient method; monotone, slow, and the one that unrolled networks imitate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from cscopt.backend import Array, namespace
from cscopt.certificate import Certificate, compare, dual_value
from cscopt.problem import CSCProblem
from cscopt.solvers.base import Solver, copy, start
from cscopt.solvers.descent import backtrack, step_sizes, trusted
from cscopt.solvers.mark import mark


@dataclass(frozen=True)
class ISTAState:
    """Codes x, the spectrum of D x, Σ Λ|x|, step sizes, the best dual value so far, and the problem's mark."""

    x: Array
    spectrum: Array
    l1: Array
    steps: Array
    dual: Array
    mark: Array
    iteration: int = 0


@dataclass(frozen=True)
class ISTA(Solver):
    """Iterative soft thresholding, x⁺ = S_{sΛ}(x − s ∇f(x)) with s = 1/‖W A D‖².

    Source: Daubechies, Defrise and De Mol 2004; Beck and Teboulle 2009, eq. 3.1.
    """

    name: ClassVar[str] = "ista"
    states: ClassVar[type] = ISTAState
    arrays: ClassVar[int] = 2

    def init(self, problem: CSCProblem, x0: Array | None = None) -> ISTAState:
        x = start(problem, x0)
        l1 = problem.items_sum(problem.kernels.weighted_l1(x, problem.levels))
        steps = step_sizes(problem)
        return ISTAState(x, problem.system.synthesize(x), l1, steps, namespace(l1).zeros_like(l1), mark(problem))

    def step(self, problem: CSCProblem, state: ISTAState) -> ISTAState:
        fit, filters, levels = problem.datafit, problem.system.filters, problem.levels
        sweep, steps = problem.kernels.ista_sweep, state.steps
        if trusted(problem, steps):
            descent, norm_sq, overlap = fit.descend(state.spectrum)
            x, spectrum, sums = sweep(state.x, descent, filters, levels, problem.per_row(steps))
        else:
            descent, norm_sq, overlap = fit.descend(copy(state.spectrum))
            (x, spectrum, sums), steps = backtrack(
                problem,
                lambda steps: sweep(copy(state.x), copy(descent), filters, levels, problem.per_row(steps)),
                lambda trial: (trial[1], problem.items_sum(trial[2]["change"])),
                state.spectrum,
                state.steps,
            )
        dual = dual_value(norm_sq, overlap, problem.items_max(sums["violation"]))
        return replace(
            state,
            x=x,
            spectrum=spectrum,
            l1=problem.items_sum(sums["l1"]),
            steps=steps,
            dual=namespace(dual).maximum(state.dual, dual),
            iteration=state.iteration + 1,
        )

    def rows(self, problem: CSCProblem, state: ISTAState) -> Array:
        return state.x

    def certificate(self, problem: CSCProblem, state: ISTAState) -> Certificate:
        norm_sq, _ = problem.datafit.measures(problem.datafit.residual(state.spectrum))
        return compare(norm_sq / 2 + state.l1, state.dual)
