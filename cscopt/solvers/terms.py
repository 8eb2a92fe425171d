"""The variables of the primal-dual solver: of the head of a penalty, of each term of its tail, and of the fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from cscopt import fft, kernels
from cscopt.backend import Array, of_rows, per_item
from cscopt.kernels import Levels
from cscopt.levels import OnGrid
from cscopt.penalties import Penalty
from cscopt.penalties.differences import Differences
from cscopt.power import power_iteration
from cscopt.problem import CSCProblem
from cscopt.solvers.metric import Metric, RightSide
from cscopt.solvers.warm import multiplier


@dataclass(frozen=True)
class Tail:
    """v = K x + q / ρ of one term of a sum, and of those after it."""

    v: Array
    rest: Tail | None


@dataclass(frozen=True)
class Data:
    """u = A D x, the dual q of the fit, and the spectrum of D x."""

    u: Array
    q: Array
    spectrum: Array


@dataclass(frozen=True)
class Point:
    """v = x + q / ρ of the head of the penalty, those of its tail, and the fit's variables where it is split off."""

    v: Array
    tail: Tail | None
    data: Data | None


class Near(NamedTuple):
    """The proximal half of a step: z of the head, (term, v, z) of each of the tail, and q⁺ of the fit."""

    z: Array
    tail: list[tuple[Penalty, Array, Array]]
    q: Any


def first_point(problem: CSCProblem, rows: Array, rho: Array, warm: bool) -> Point:
    """The point at codes. The dual of the fit is the derivative, or a subgradient.

    Those of the penalty are zero, and where codes were given (`warm`) subgradients: of total variations by themselves,
    of the head as `multiplier` finds it.
    """
    fit, tail = problem.datafit, None
    rho, taken = problem.per_row(rho), None
    for part in reversed(problem.penalty.tail):
        v = rows
        if isinstance(part, Differences):
            v = part.apply(rows)
            if warm:
                q = part.subgradient(v)
                back = part.adjoint(q)
                v, taken = v + q / per_item(rho, q.ndim), back if taken is None else taken + back
        tail = Tail(v, tail)
    if fit.spectral and not warm:
        return Point(rows, tail, None)
    spectrum = problem.synthesis.synthesize(rows)
    through = folded(problem, spectrum)
    v = rows + multiplier(problem, rows, through, rho, taken) if warm else rows
    if fit.spectral:
        return Point(v, tail, None)
    u = fit.predict(through)
    q = fit.slope(u) if fit.quadratic else -fit.weight * fit.descent(through)
    return Point(v, tail, Data(u, q, spectrum))


def proximal(problem: CSCProblem, point: Point, rho: Array, sigma: Array) -> Near:
    """z_k = prox_{h_k/ρ}(v_k), and q⁺ = σ (w − prox_{f/σ}(w)) at w = u + q / σ; ρ and σ of each item."""
    rows, found, link = problem.per_row(rho), [], point.tail
    for part in problem.penalty.tail:
        assert link is not None
        prox = part.shrink if isinstance(part, Differences) else OnGrid(part, problem.synthesis).prox
        found.append((part, link.v, prox(link.v, 1 / rows)))
        link = link.rest
    kernel = kernels.for_array(point.v) if isinstance(problem.levels, Levels) else kernels.reference
    z = kernel.proximal(point.v, problem.levels, 1 / rows)[0]
    if point.data is None:
        return Near(z, found, None)
    ahead, moved = _moved(problem, point.data, sigma)
    return Near(z, found, of_rows(sigma, ahead) * (ahead - moved))


def quadratic(
    problem: CSCProblem, metric: Metric, point: Point, near: Near, rho: Array, strength: Array
) -> tuple[Array, Array]:
    """x⁺ = argmin f(A D x) + ρ/2 Σ_k ‖K_k x − (2 z_k − v_k)‖², and the spectra of B x⁺.

    A fit that is split off counts by ⟨2 q⁺ − q, A D x⟩ + `strength`/2 ‖D (x⁺ − x)‖², with `strength` ≥ σ ‖A‖².
    """
    right = RightSide(problem, metric, problem.per_row(rho), 2 * near.z - point.v)
    for place, (part, v, z) in zip(metric.places, near.tail, strict=True):
        right.add_term(part, place, 2 * z - v)
    if point.data is None:
        right.add_target()
    else:
        right.add_data(point.data.spectrum, 2 * near.q - point.data.q, strength)
    return right.solve()


def change(problem: CSCProblem, metric: Metric, point: Point, near: Near, x: Array, spectra: Array) -> Point:
    """What a step without relaxation adds to the point: K_k x⁺ − z_k, and the fit's variables less the old ones."""
    tail: Tail | None = None
    for place, (part, _, z) in reversed(list(zip(metric.places, near.tail, strict=True))):
        if isinstance(part, Differences) and part.of_image:
            synthesis = problem.synthesis
            seen = part.difference(fft.inverse(metric.block(spectra, place), synthesis.grid, synthesis.real))
        else:
            seen = part.apply(x) if isinstance(part, Differences) else x
        tail = Tail(seen - z, tail)
    data, old = None, point.data
    if old is not None:
        spectrum = metric.block(spectra, 0)
        u = problem.datafit.predict(folded(problem, spectrum))
        data = Data(u - old.u, near.q - old.q, spectrum - old.spectrum)
    return Point(x - near.z, tail, data)


def fit_multiplier(problem: CSCProblem, data: Data, sigma: Array) -> Array:
    """The dual of the fit, as its data term keeps dual points."""
    ahead, moved = _moved(problem, data, sigma)
    return problem.datafit.multiplier(ahead, moved, of_rows(sigma, ahead)[(..., *(0,) * (ahead.ndim - 1))])


def _moved(problem: CSCProblem, data: Data, sigma: Array) -> tuple[Array, Array]:
    ahead = data.u + data.q / of_rows(sigma, data.u)
    return ahead, problem.datafit.moved(ahead, sigma)


def folded(problem: CSCProblem, spectrum: Array) -> Array:
    """The spectrum of A D x from that of D x, where A is folded into the filters; else of D x."""
    return spectrum if problem.system.factor is None else spectrum * problem.system.factor


def known_norm(problem: CSCProblem) -> float | None:
    """A bound of ‖A‖ where the fit is split off, 1 where A is folded into the filters; None if unknown."""
    fit, forward = problem.datafit, problem.forward
    if forward is None or fit.folded:
        return 1.0
    return forward.norm


def guessed_norm_sq(problem: CSCProblem) -> Array:
    """An estimate of ‖A‖² of each item, from below."""
    fit, synthesis = problem.datafit, problem.synthesis
    return power_iteration(
        synthesis, problem.batch, lambda a: synthesis.image(fit.back(fit.predict(synthesis.spectrum(a))))
    )
