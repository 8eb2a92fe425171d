"""A primal-dual method for sums of penalties, and for fits with any forward operator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from cscopt import checks
from cscopt.backend import Array, namespace, of_rows, per_item, squares
from cscopt.certificate import Certificate, certify_sum, uncertified
from cscopt.penalties.differences import Differences
from cscopt.problem import CSCProblem
from cscopt.solvers.balance import balance, beginning, weight
from cscopt.solvers.base import Solver, map_arrays, start
from cscopt.solvers.mark import mark
from cscopt.solvers.metric import Metric
from cscopt.solvers.restart import chosen, is_due
from cscopt.solvers.terms import (
    Near,
    Point,
    Tail,
    change,
    first_point,
    fit_multiplier,
    folded,
    guessed_norm_sq,
    known_norm,
    proximal,
    quadratic,
)
from cscopt.stationarity import stationarity, stationary_bound

_WEIGHED, _BALANCED = (20, 40, 80, 160), range(10, 101, 10)
"""Iterations after which ρ and σ are chosen anew, with a fit that is split off, and without."""

_SLOW, _GROWTH, _MOST = 0.9, 2.0, 4.0
"""Where the penalty is not convex: ρ is multiplied by the second while the KKT residual of a look is more than the
first of the last one's, up to the third times ‖W A D‖². (From twice that on ADMM descends, if slowly.)"""


@dataclass(frozen=True)
class PrimalDualState:
    """A point, ρ, σ and a bound of ‖A‖² of each item; for restarts the sum of points, how many, and the gap then.

    `dual` is the best dual value that was reported; of a penalty that is not convex `gap` is the last KKT residual.
    """

    point: Point
    rho: Array
    sigma: Array
    bound: Array
    total: Point | None
    count: Array
    gap: Array
    dual: Array
    mark: Array
    metric: Metric
    iteration: int = 0


@dataclass(frozen=True)
class PrimalDual(Solver):
    r"""Primal-dual method for min f(A D x) + g(x) + Σ_k h_k(K_k x), with a quadratic step that is exact per frequency.

    Everything but a quadratic has a dual variable: with v = K x + q/ρ, one iteration is z_k = prox_{h_k/ρ}(v_k) for
    g (K = I) and all h_k, then x⁺ = argmin ½‖A D x − y‖² + ρ/2 Σ_k ‖K_k x − (2 z_k − v_k)‖², then
    v_k ← v_k + α (K_k x⁺ − z_k): ADMM, for operators that are convolutions. A fit that is not least squares in the
    frequency domain has a dual q⁺ = prox_{σf*}(q + σ A D x) of its own, and the quadratic step takes
    ⟨2q⁺ − q, A D x⟩ + σ‖A‖²/2 ‖D(x⁺ − x)‖² for it: the metric of Chambolle and Pock where A is not a convolution, and
    all the rest still exact. Any σ and ρ converge. Where ‖A‖ is unknown it is estimated, and raised whenever a step
    shows that it was too small.

    Where the penalty is not convex, z jumps as long as ρ is small, and few entries ever leave zero where it is large:
    ρ begins as for ℓ1 and grows until the KKT residual falls, without relaxation. Where ρ ends below ‖W A D‖², that is
    at points which a descent with steps 1/ρ would not leave, and such steps are longer than a descent can make. Nothing
    guarantees that it ends; the residual tells.

    Parameters
    ----------
    rho : float, optional
        Penalty parameter to start from; chosen from the data if absent.
    relaxation : float, default 1.8
        Over-relaxation α, between 0 and 2; at most 1 where the penalty is not convex.
    adaptive : bool, default True
        Where the penalty is not convex: let ρ grow.
        Least squares in the frequency domain: balance residuals by ρ in the first 100 iterations, as `ADMM` does. A
        fit that is split off: after 20, 40, 80 and 160 iterations multiply ρ and σ by the ratio of the norms of dual
        and primal variables, (‖q_0‖²/ρ + ‖q_f‖²/σ)^½ / (ρ‖x‖² + σ‖A D x‖²)^½. (In measurement that halved the gap
        of L1 fits; for the other case it was ten times too large with overcomplete filters.)

    Source: Chambolle and Pock 2011, algorithm 1; He and Yuan 2012 for the view as a proximal point method, Condat 2013,
    algorithm 3.2, for its relaxation; Bredies and Sun 2015 (Preconditioned Douglas–Rachford) for a metric of this
    kind; Applegate et al. 2023, sections 3 and 4, for the weight and the restarts at means, which fits other than
    least squares use.
    """

    rho: float | None = None
    relaxation: float = 1.8
    adaptive: bool = True
    name: ClassVar[str] = "primal-dual"
    states: ClassVar[type] = PrimalDualState
    arrays: ClassVar[int] = 10
    sums: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.rho is not None:
            checks.positive_number(self.rho, "rho")
        checks.relaxation(self.relaxation)
        checks.flag(self.adaptive, "adaptive")

    def check(self, problem: CSCProblem) -> None:
        if problem.penalty.curved:
            raise ValueError("primal-dual serves GradientL1 in a sum alone, as L1(lam) + GradientL1(0, mu)")

    def arrays_for(self, problem: CSCProblem) -> int:
        split, axes = 1, len(problem.synthesis.grid)
        for part in problem.penalty.tail:
            if not (isinstance(part, Differences) and part.of_image):
                split += axes if isinstance(part, Differences) else 1
        sums = 2 * split if _restarts(problem) else 0
        return 6 + 4 * split + sums + (0 if problem.fused else 2)

    def init(self, problem: CSCProblem, x0: Array | None = None) -> PrimalDualState:
        fit = problem.datafit
        zero = namespace(fit.energy).zeros_like(fit.energy)
        norm = known_norm(problem)
        bound = zero + (guessed_norm_sq(problem) if norm is None else norm**2)
        rho = zero + (self.rho if self.rho is not None else beginning(problem, bound, x0 is not None))
        point = first_point(problem, start(problem, x0), rho, x0 is not None)
        return PrimalDualState(
            point,
            rho=rho,
            sigma=zero + (fit.weight_norm**2 if fit.quadratic else fit.first_sigma),
            bound=bound,
            total=map_arrays(namespace(zero).zeros_like, point) if _restarts(problem) else None,
            count=zero,
            gap=zero + float("inf"),
            dual=zero,
            mark=mark(problem),
            metric=Metric(problem),
        )

    def step(self, problem: CSCProblem, state: PrimalDualState) -> PrimalDualState:
        point, bound = state.point, state.bound
        near = proximal(problem, point, state.rho, state.sigma)
        while True:
            x, spectra = quadratic(problem, state.metric, point, near, state.rho, state.sigma * bound)
            moved = change(problem, state.metric, point, near, x, spectra)
            raised = _raised(problem, moved, bound)
            if raised is None:
                break
            bound = raised
        relaxation = self.relaxation if problem.penalty.convex else min(self.relaxation, 1.0)
        point, old = map_arrays(lambda old, new: old + relaxation * new, point, moved), near.z
        del moved, spectra, near  # arrays as large as all maps
        state = replace(state, point=point, bound=bound, iteration=state.iteration + 1)
        adaptive = self.adaptive and problem.penalty.convex
        if adaptive and point.data is not None and state.iteration in _WEIGHED:
            state = _scaled(problem, state, weight(problem, state.point, state.rho, state.sigma))
        if adaptive and point.data is None and state.iteration in _BALANCED:
            z = proximal(problem, state.point, state.rho, state.sigma).z
            state = _scaled(problem, state, balance(problem, state.point, z, x, old))
        if state.total is None:
            return state
        total = map_arrays(lambda a, b: a + b, state.total, state.point)
        return replace(state, total=total, count=state.count + 1)

    def look_every(self, problem: CSCProblem) -> int:
        return 20 if problem.datafit.quadratic else 40

    def renew(self, problem: CSCProblem, state: PrimalDualState, tol: float) -> PrimalDualState:
        """Go on from the mean of the points where that pays (fits other than least squares), or with a larger ρ."""
        if self.adaptive and not problem.penalty.convex:
            return self._grown(problem, state)
        if state.total is None:
            return state
        xp = namespace(state.rho)
        share = 1 / xp.maximum(state.count, xp.ones_like(state.count))
        mean = map_arrays(lambda a: of_rows(share, a) * a, state.total)
        here, there = self.certify(problem, state), self.certify(problem, replace(state, point=mean))
        gap = xp.minimum(here.gap, there.gap)
        restart = is_due(state.count, state.gap, gap, state.iteration, tol)
        taken = restart & (there.gap < here.gap)
        return replace(
            state,
            point=map_arrays(lambda new, old: chosen(problem, taken, new, old), mean, state.point),
            total=map_arrays(lambda a: chosen(problem, restart, xp.zeros_like(a), a), state.total),
            count=xp.where(restart, xp.zeros_like(state.count), state.count),
            gap=xp.where(restart, gap, state.gap),
        )

    def _grown(self, problem: CSCProblem, state: PrimalDualState) -> PrimalDualState:
        """With a larger ρ where the KKT residual does not fall, and the multipliers as they are."""
        residual, xp = self.kkt_residual(problem, state), namespace(state.rho)
        factor = xp.clip(_MOST * _bound(problem, state) / state.rho, 1.0, _GROWTH)
        grows = residual > _SLOW * state.gap
        grown = _scaled(problem, state, xp.where(grows, factor, xp.ones_like(factor)))
        return replace(grown, sigma=state.sigma, gap=residual)

    def rows(self, problem: CSCProblem, state: PrimalDualState) -> Array:
        return _feasible(problem, proximal(problem, state.point, state.rho, state.sigma).z)

    def kkt_residual(self, problem: CSCProblem, state: PrimalDualState) -> Array:
        """With step 1/ρ, up to ρ = 4 ‖W A D‖²: the longer it is, the fewer points pass that are no minima.

        Where ρ is above ‖W A D‖² it is that many times as large, as misses get as small as the step.
        """
        near = proximal(problem, state.point, state.rho, state.sigma)
        data = None if problem.datafit.quadratic else (near.q, state.sigma)
        bound, xp = _bound(problem, state), namespace(state.rho)
        rho = xp.minimum(state.rho, _MOST * bound)
        residual = stationarity(problem, _feasible(problem, near.z), 1 / rho, _duals(near, state.rho), data)
        return residual * xp.maximum(rho / bound, xp.ones_like(rho))

    def certify(self, problem: CSCProblem, state: PrimalDualState) -> Certificate:
        """From the codes and the duals; for least squares also from the residual of the next quadratic step."""
        if not problem.penalty.convex:
            return uncertified(problem, self.rows(problem, state), self.kkt_residual(problem, state))
        fit, point = problem.datafit, state.point
        near = proximal(problem, point, state.rho, state.sigma)
        rows, duals = _feasible(problem, near.z), _duals(near, state.rho)
        points = [fit.residual(problem.system.synthesize(rows))] if fit.quadratic else []
        if point.data is not None:
            points.append(fit_multiplier(problem, point.data, state.sigma))
        else:
            _, spectra = quadratic(problem, state.metric, point, near, state.rho, state.sigma)
            points.append(fit.residual(folded(problem, state.metric.block(spectra, 0))))
        return certify_sum(problem, rows, points, duals)

    def report(self, problem: CSCProblem, state: PrimalDualState) -> dict[str, float]:
        return {"rho": float(namespace(state.rho).mean(state.rho))}


def _restarts(problem: CSCProblem) -> bool:
    """Whether means of the points are kept, to go on from."""
    return bool(problem.penalty.convex and not problem.datafit.quadratic)


def _feasible(problem: CSCProblem, z: Array) -> Array:
    """The codes z, shrunk to where the fit is finite."""
    if problem.datafit.quadratic or not problem.fit.constrained:
        return z
    shrinkage = problem.datafit.shrinkage(problem.system.synthesize(z))
    return z * per_item(problem.per_row(shrinkage), z.ndim)


def _bound(problem: CSCProblem, state: PrimalDualState) -> Array:
    """Of ‖W A D‖², or σ ‖A D‖² where the fit is not least squares."""
    return stationary_bound(problem, None if problem.datafit.quadratic else state.sigma)


def _duals(near: Near, rho: Array) -> list[Array]:
    """q of each term of the tail."""
    return [of_rows(rho, v) * (v - z) for _, v, z in near.tail]


def _raised(problem: CSCProblem, moved: Point, bound: Array) -> Array | None:
    """A larger bound of ‖A‖² where the step shows that it must be, ‖A D δ‖² > bound · ‖D δ‖²; None where it holds."""
    if moved.data is None or known_norm(problem) is not None:
        return None
    xp = namespace(bound)
    image = squares(problem.synthesis.image(moved.data.spectrum), problem.batch)
    ratio = squares(moved.data.u, problem.batch) / xp.where(image > 0, image, xp.ones_like(image))
    noise = (16 * float(xp.finfo(problem.real).eps)) ** 2 * problem.datafit.energy
    fails = (image > noise) & (ratio > (1 + 1e-3) * bound)
    return xp.where(fails, 1.1 * ratio, bound) if bool(xp.any(fails)) else None


def _scaled(problem: CSCProblem, state: PrimalDualState, factor: Array) -> PrimalDualState:
    """ρ and σ multiplied, with K x and q of every term kept, and the sum of points forgotten."""
    xp, point = namespace(state.rho), state.point
    near = proximal(problem, point, state.rho, state.sigma)

    def kept(v: Array, z: Array) -> Array:
        return z + of_rows(1 / factor, v) * (v - z)

    tail: Tail | None = None
    for _, v, z in reversed(near.tail):
        tail = Tail(kept(v, z), tail)
    return replace(
        state,
        point=Point(kept(point.v, near.z), tail, point.data),
        rho=state.rho * factor,
        sigma=state.sigma * factor,
        total=None if state.total is None else map_arrays(xp.zeros_like, state.total),
        count=xp.zeros_like(state.count),
    )
