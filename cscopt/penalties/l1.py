"""The ℓ1 norm, weighted; non-negative; of complex codes by modulus or by parts."""

from __future__ import annotations

from dataclasses import dataclass

from cscopt import checks
from cscopt.backend import Array, is_complex, namespace
from cscopt.kernels.entrywise import shrinkage, weighted_l1
from cscopt.penalties.base import Penalty, best_scale, over_items, scaled_dual, unless_negative


@dataclass(frozen=True, eq=False)
class L1(Penalty):
    r"""The weighted ℓ1 norm g(x) = Σ Λ|x|, and with `nonnegative` also x ≥ 0.

    Parameters
    ----------
    lam : float or array
        Λ in the units of the signal: a positive number; one per filter, (M,), or (C·M,) where each
        channel is coded on its own; or a map over the codes, (M, \*space) or (batch, M, \*space).
    nonnegative : bool, default False
        Whether codes must be non-negative (real codes only).
    parts : bool, default False
        Take |Re x| + |Im x| in place of the modulus of complex codes.

    Raises
    ------
    ValueError
        If `lam` is not finite and positive everywhere. (A filter with λ = 0 and no other penalty would explain
        everything; `GradientL1` has one.)

    Notes
    -----
    The proximal map is the soft threshold S_t(v) = sign(v) max(|v| − t, 0), and max(v − t, 0) with
    `nonnegative` (Beck and Teboulle 2009, eq. 2.6). The modulus is thresholded where codes are
    complex, or real and imaginary part each with `parts`. Dual constraint: |Dᴴ Aᴴ Wᴴ θ| ≤ Λ entry by entry.
    """

    nonnegative: bool = False
    parts: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.flag(self.nonnegative, "nonnegative")
        checks.flag(self.parts, "parts")

    def value(self, codes: Array) -> Array:
        """g(x) of each item, (batch,), in float64."""
        xp = namespace(codes)
        lam = self.resolve(tuple(codes.shape), codes)
        parts = (xp.real(codes), xp.imag(codes)) if self.parts and is_complex(codes) else (codes,)
        values = sum(weighted_l1(part, lam) for part in parts)
        return unless_negative(values, codes) if self.nonnegative else values

    def prox(self, v: Array, step_size: float | Array = 1.0) -> Array:
        """argmin over x of ½‖x − v‖² + step_size · g(x)."""
        lam = self.resolve(tuple(v.shape), v)
        if self.parts and is_complex(v):
            xp = namespace(v)
            return shrinkage(xp.real(v), lam, step_size) + 1j * shrinkage(xp.imag(v), lam, step_size)
        return shrinkage(v, lam, step_size, self.nonnegative)

    def dual(self, correlations: Array, norm_sq: Array, overlap: Array) -> Array:
        """The best feasible multiple of r: |s c| ≤ Λ."""
        xp, free = namespace(norm_sq), best_scale(norm_sq, overlap)
        worst = self.zero_violation(correlations)
        return scaled_dual(free / xp.maximum(xp.ones_like(free), free * worst), norm_sq, overlap)

    def zero_violation(self, correlations: Array) -> Array:
        """max |c| / Λ of each item; the positive part alone for non-negative codes, the larger part with `parts`."""
        xp = namespace(correlations)
        size = correlations if self.nonnegative else xp.abs(correlations)
        if self.parts and is_complex(correlations):
            size = xp.maximum(xp.abs(xp.real(correlations)), xp.abs(xp.imag(correlations)))
        worst = xp.max(size / self.resolve(tuple(correlations.shape), correlations), axis=over_items(correlations))
        return xp.astype(xp.where(worst > 0, worst, xp.zeros_like(worst)), xp.float64)
