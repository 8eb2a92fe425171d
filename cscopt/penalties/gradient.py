"""ℓ1 with a quadratic of the maps' gradients: smooth maps, or one that takes the low-pass part without any ℓ1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from cscopt import fft
from cscopt.backend import Array, asarray_like, is_array, is_complex, namespace, per_item, real_dtype, to_numpy
from cscopt.kernels.entrywise import shrinkage, weighted_l1
from cscopt.kernels.reference import soft_threshold
from cscopt.lowpass import laplacian
from cscopt.penalties.base import Penalty, over_items, positive_number, squared, total
from cscopt.penalties.differences import Differences
from cscopt.penalties.l1 import L1


@dataclass(frozen=True, eq=False)
class GradientL1(Penalty):
    r"""g(x) = Σ Λ|x| + μ/2 Σ_m w_m Σ_i ‖G_i x_m‖², with G_i the circular first difference along axis i.

    SPORCO's ``ConvBPDNGradReg``, and with ``fit="l1"`` its ``ConvL1L1Grd``. Served by ADMM, whose quadratic step is
    exact, ISTA and FISTA, on a circular boundary; in a `Sum` by the primal-dual method, with Λ > 0 everywhere, or 0
    everywhere beside a penalty with a proximal map: ``GroupL1(0, λ) + GradientL1(0, μ)``.

    Parameters
    ----------
    lam : float or array
        Λ ≥ 0, as in `L1`. It may be 0 for filters whose w is positive, such as an impulse that takes the low-pass part
        of the image (`ConvDictionary.with_impulse`).
    mu : float
        μ > 0.
    weights : array (M,) or (C·M,), optional
        w ≥ 0 of each filter; 1 if absent.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range; with `CSCProblem`, if a filter has neither λ nor w: it would explain everything
        at no cost.

    Notes
    -----
    The quadratic is ½⟨x, Q x⟩ with Q diagonal in the Fourier domain, Q̂_m = μ w_m Σ_i 4 sin²(ω_i/2). The conjugate is
    the least of ½⟨c − b, Q⁺(c − b)⟩ over |b| ≤ Λ with c − b in the range of Q: its mean over each map is zero, and it
    is zero where w_m is.

    Source: Wohlberg 2016 (Convolutional sparse representations as an image model for impulse noise restoration), eq. 4
    and 5.
    """

    mu: float = 1.0
    weights: Any = None
    curved: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._check_lam(zero=True)
        object.__setattr__(self, "mu", positive_number(self.mu, "mu"))
        if self.weights is None:
            return
        if not is_array(self.weights) or self.weights.ndim != 1 or 0 in self.weights.shape:
            raise TypeError("weights must be an array of one number a filter")
        xp = namespace(self.weights)
        if not xp.isdtype(self.weights.dtype, ("real floating", "integral")):
            raise TypeError(f"weights must be real; got an array of {self.weights.dtype}")
        if not bool(xp.all((self.weights >= 0) & (self.weights < float("inf")))):
            raise ValueError("weights must be finite and not negative")

    def repeated(self, n_filters: int, groups: int) -> GradientL1:
        """With λ and weights for all channels."""
        new = super().repeated(n_filters, groups)
        if self.weights is None:
            return new
        count = int(self.weights.shape[0])
        if count not in (n_filters, n_filters * groups):
            raise ValueError(f"weights must have one number for each of {n_filters} filters; got {count}")
        return (
            new
            if count == n_filters * groups
            else replace(new, weights=namespace(self.weights).tile(self.weights, (groups,)))
        )

    def value(self, codes: Array) -> Array:
        """g(x) of each item, (batch,), in float64."""
        xp = namespace(codes)
        lam = self.resolve(tuple(codes.shape), codes)
        values = weighted_l1(codes, lam)
        for axis in range(2, codes.ndim):
            step = squared(codes - xp.roll(codes, 1, axis=axis))
            values = values + total(self.curvature(codes) * step) / 2
        return values

    def prox(self, v: Array, step_size: float | Array = 1.0) -> Array:
        """S_{step_size·Λ}(v), the proximal map of the ℓ1 norm alone: solvers take the quadratic as smooth."""
        return shrinkage(v, self.resolve(tuple(v.shape), v), step_size)

    def pull(self, codes: Array) -> Array:
        """Q x, the gradient of the quadratic."""
        xp = namespace(codes)
        second = 2 * (codes.ndim - 2) * codes
        for axis in range(2, codes.ndim):
            second = second - xp.roll(codes, 1, axis=axis) - xp.roll(codes, -1, axis=axis)
        return self.curvature(codes) * second

    def curvature(self, codes: Array) -> Array:
        """μ w_m of each map, (maps, 1, ..., 1)."""
        xp, dtype = namespace(codes), real_dtype(codes)
        if self.weights is None:
            weights = xp.ones((codes.shape[1],), dtype=dtype, device=codes.device)
        else:
            weights = asarray_like(self.weights, codes, dtype)
        return xp.reshape(self.mu * weights, (-1,) + (1,) * (codes.ndim - 2))

    def apart(self, n_filters: int, groups: int) -> tuple[Penalty, ...]:
        """The ℓ1 norm, if there is one, and the quadratic, for a sum."""
        lam, level = to_numpy(self.lam) if is_array(self.lam) else self.lam, self.mu
        if np.any(lam == 0) and np.any(lam != 0):
            raise ValueError("lam of GradientL1 must be positive everywhere, or 0 everywhere, in a sum of penalties")
        if self.weights is not None:
            weights = np.resize(to_numpy(self.weights), (groups, n_filters))
            if (weights != weights[:1]).any():
                raise ValueError(f"weights must be of shape ({n_filters},), for every channel, in a sum of penalties")
            level = self.mu * weights[0]
        return (*((L1(self.lam),) if np.any(lam != 0) else ()), Smoothness(level))

    def zero_violation(self, correlations: Array) -> Array:
        """max |c| / Λ of each item, of coefficients that have a Λ; where all have one, codes are zero if it is ≤ 1."""
        xp = namespace(correlations)
        lam = self.resolve(tuple(correlations.shape), correlations)
        ratio = xp.abs(correlations) / xp.where(lam > 0, lam, xp.full_like(lam, float("inf")))
        return xp.astype(xp.max(ratio, axis=over_items(ratio)), xp.float64)

    def limit(self, correlations: Array) -> Array:
        """The largest s ≤ 1 of each item for which g*(s c) is finite, for c of zero mean on maps without λ."""
        xp = namespace(correlations)
        lam = xp.broadcast_to(self.resolve(tuple(correlations.shape), correlations), correlations.shape)
        size, mean = xp.abs(correlations), xp.abs(_mean(correlations))
        bound = _mean(lam)
        by_mean = mean / xp.where(bound > 0, bound, xp.full_like(bound, float("inf")))
        by_place = size / xp.where(lam > 0, lam, xp.ones_like(lam))  # where w = 0, every λ is positive
        worst = xp.where(self.curvature(correlations) > 0, xp.broadcast_to(by_mean, size.shape), by_place)
        worst = xp.astype(xp.max(worst, axis=over_items(worst)), xp.float64)
        return 1 / xp.maximum(xp.ones_like(worst), worst)

    def conjugate(self, correlations: Array, pull: Array) -> Array:
        """An upper bound of g*(c) of each item, exact where c is a gradient of the data term at the optimum.

        From the b that is nearest to c − Q x, moved so that c − b has zero mean: b + τ (Λ u − b) with |u| = 1.
        """
        xp, bend = namespace(correlations), self.curvature(correlations)
        lam = xp.broadcast_to(self.resolve(tuple(correlations.shape), correlations), correlations.shape)
        beyond = soft_threshold(correlations - pull, lam)
        inside = correlations - pull - beyond
        rest = _centred(pull + beyond, inside, lam)
        rest = xp.where(bend > 0, rest, xp.zeros_like(rest))
        grid, real = tuple(rest.shape[2:]), not is_complex(rest)
        eigenvalues = bend * laplacian(rest, grid)
        bent = eigenvalues > 0
        inverse = xp.where(bent, 1 / xp.where(bent, eigenvalues, xp.ones_like(eigenvalues)), xp.zeros_like(eigenvalues))
        solution = fft.inverse(fft.forward(rest, grid) * inverse, grid, real)
        product = rest * solution if real else xp.real(xp.conj(rest) * solution)
        return total(product) / 2


@dataclass(frozen=True, eq=False)
class Smoothness(Differences):
    r"""The quadratic of `GradientL1` in a sum: g(x) = ½ Σ_m λ_m Σ_i ‖G_i x_m‖², with λ a number or (M,)."""

    def __post_init__(self) -> None:
        self._check_lam(zero=True)

    def repeated(self, n_filters: int, groups: int) -> Smoothness:
        """The penalty as it is: λ is per filter, for every channel."""
        return self

    @property
    def head(self) -> Penalty:
        raise ValueError("lam of GradientL1 must be positive in a sum without another penalty with a proximal map")

    @property
    def weights(self) -> Array:
        """√λ of each filter, (M,)."""
        like, maps = self._bound.like, self._bound.n_filters
        return asarray_like(np.sqrt(np.broadcast_to(self.lam, (maps,))), like, real_dtype(like))

    def shrink(self, v: Array, scale: Array) -> Array:
        return v / (1 + per_item(scale, v.ndim))

    def feasible_dual(self, q: Array) -> Array:
        return q

    def subgradient(self, v: Array) -> Array:
        return v

    def amount(self, v: Array) -> Array:
        rows = total(squared(v)) / 2
        return namespace(rows).sum(namespace(rows).reshape(rows, (-1, self._bound.groups)), axis=1)

    def conjugate(self, q: Array) -> Array:
        return self.amount(q)


def _mean(maps: Array) -> Array:
    """The mean of each map, with its axes kept."""
    return namespace(maps).mean(maps, axis=tuple(range(2, maps.ndim)), keepdims=True)


def _centred(rest: Array, inside: Array, lam: Array) -> Array:
    """rest + b − b⁺ with zero mean, for the b⁺ = b + τ (Λ u − b) that makes it so; maps without λ stay as they are.

    |d + τ m| = τ L fixes τ between 0 and 1, with d, m and L the means of rest, b and Λ, and u = (d + τ m) / (τ L).
    """
    xp = namespace(rest)
    d, m, bound = _mean(rest), _mean(inside), _mean(lam)
    square = xp.abs(d) ** 2
    room = bound**2 - xp.abs(m) ** 2
    room = xp.where(room > 0, room, xp.zeros_like(room))
    along = xp.real(xp.conj(d) * m) if is_complex(d) else d * m
    root = xp.sqrt(along**2 + room * square)
    outward = along > 0  # each form from the sum in which nothing cancels
    over, under = xp.where(outward, root + along, square), xp.where(outward, room, root - along)
    share = xp.where(under > 0, over / xp.where(under > 0, under, xp.ones_like(under)), xp.zeros_like(over))
    share = xp.clip(share, 0.0, 1.0)
    bound = xp.where(bound > 0, bound, xp.full_like(bound, float("inf")))
    return rest + share * inside - lam * ((d + share * m) / bound)
