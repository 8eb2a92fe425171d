"""Penalties that are not convex: proximal maps to descend with, and no certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cscopt import checks
from cscopt.backend import Array, is_array, namespace
from cscopt.kernels.reference import soft_threshold
from cscopt.penalties.base import Penalty, over_items, positive_number, total, unless_negative


@dataclass(frozen=True, eq=False)
class L0(Penalty):
    r"""g(x) = Σ Λ [x ≠ 0], and with `nonnegative` also x ≥ 0. Not convex: solvers find a stationary point, with no gap.

    Parameters
    ----------
    lam : float or array
        Λ > 0, as in `L1`, but in squared units of the signal.
    nonnegative : bool, default False
        Whether codes must be non-negative (real codes only).

    Notes
    -----
    The proximal map is the hard threshold: v where |v| > √(2tΛ), else 0 (Blumensath and Davies 2008, eq. 2.2); with
    `nonnegative`, where v is more than that.
    """

    nonnegative: bool = False
    convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.flag(self.nonnegative, "nonnegative")

    def value(self, codes: Array) -> Array:
        """g(x) of each item, (batch,), in float64."""
        lam = self.resolve(tuple(codes.shape), codes)
        xp = namespace(codes)
        values = total(xp.where(codes != 0, xp.broadcast_to(lam, codes.shape), xp.zeros_like(lam)))
        return unless_negative(values, codes) if self.nonnegative else values

    def zero_violation(self, correlations: Array) -> Array:
        """max |c|² / 2Λ of each item, over ‖W A d‖²: no atom alone is worth its Λ where it is less."""
        xp = namespace(correlations)
        size = xp.clip(correlations, min=0) if self.nonnegative else xp.abs(correlations)
        gain = size * size / (2 * self.resolve(tuple(correlations.shape), correlations))
        return xp.astype(xp.max(gain, axis=over_items(gain)), xp.float64)

    def prox(self, v: Array, step_size: float | Array = 1.0) -> Array:
        """argmin over x of ½‖x − v‖² + step_size · g(x)."""
        xp = namespace(v)
        threshold = xp.sqrt(2 * step_size * self.resolve(tuple(v.shape), v))
        size = v if self.nonnegative else xp.abs(v)
        return xp.where(size > threshold, v, xp.zeros_like(v))


@dataclass(frozen=True, eq=False)
class L1MinusL2(Penalty):
    r"""g(x) = λ (‖x‖₁ − ‖x‖₂) of each item. Not convex: solvers find a stationary point, without a duality gap.

    Parameters
    ----------
    lam : float
        λ > 0, one number.

    Notes
    -----
    The proximal map with t = step · λ: where ‖v‖_∞ > t, z (‖z‖₂ + t)/‖z‖₂ with z = S_t(v); else v at one place where
    |v| is largest, and zero elsewhere (Lou and Yan 2018, lemma 1).
    """

    convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if is_array(self.lam) and self.lam.ndim > 0:
            raise TypeError("lam must be one number for L1MinusL2")
        positive_number(self.lam, "lam")

    def value(self, codes: Array) -> Array:
        """g(x) of each item, (batch,), in float64."""
        xp = namespace(codes)
        size = xp.abs(codes)
        return float(self.lam) * (total(size) - xp.sqrt(total(size * size)))

    def prox(self, v: Array, step_size: float | Array = 1.0) -> Array:
        """argmin over x of ½‖x − v‖² + step_size · g(x)."""
        xp = namespace(v)
        threshold = step_size * self.resolve(tuple(v.shape), v)
        z = soft_threshold(v, threshold)
        norm = xp.sqrt(xp.sum(xp.abs(z) ** 2, axis=over_items(z), keepdims=True))
        many = z * (1 + threshold / xp.where(norm > 0, norm, xp.ones_like(norm)))
        return xp.where(norm > 0, many, self._largest(v))

    def _largest(self, v: Array) -> Array:
        """v at the first place where |v| is largest, and zero elsewhere."""
        xp = namespace(v)
        flat = xp.reshape(xp.abs(v), (v.shape[0], -1))
        place = xp.argmax(flat, axis=1)
        here = xp.arange(flat.shape[1], device=v.device)[None, :] == place[:, None]
        return xp.where(xp.reshape(here, v.shape), v, xp.zeros_like(v))
