"""Penalties g on the codes: value and proximal map; their dual constraint is the certificate's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cscopt import checks
from cscopt.backend import Array, asarray_like, is_array, namespace, real_dtype
from cscopt.kernels.reference import soft_threshold


@dataclass(frozen=True, eq=False)
class L1:
    r"""The weighted ℓ1 norm g(x) = Σ Λ|x|, and with `nonnegative` also x ≥ 0.

    Parameters
    ----------
    lam : float or array
        Λ in the units of the signal: a positive number; one per filter, (M,), or (C·M,) where each
        channel is coded on its own; or a map over the codes, (M, \*space) or (batch, M, \*space).
    nonnegative : bool, default False
        Whether codes must be non-negative (real codes only).

    Raises
    ------
    ValueError
        If `lam` is not finite and positive everywhere. (A coefficient with λ = 0 is not penalised
        and has no certificate.)

    Notes
    -----
    The proximal map is the soft threshold S_t(v) = sign(v) max(|v| − t, 0), and max(v − t, 0) with
    `nonnegative` (Beck and Teboulle 2009, eq. 2.6). The modulus is thresholded where codes are
    complex. Dual constraint: |Dᴴ Aᴴ Wᴴ θ| ≤ Λ entry by entry.
    """

    lam: Any
    nonnegative: bool = False

    def __post_init__(self) -> None:
        if is_array(self.lam) and self.lam.ndim > 0:
            xp = namespace(self.lam)
            if not xp.isdtype(self.lam.dtype, ("real floating", "integral")):
                raise TypeError(f"lam must be real; got an array of {self.lam.dtype}")
            if xp.isdtype(self.lam.dtype, "real floating"):
                checks.finite(self.lam, "lam")
            if not bool(xp.all(self.lam > 0)):
                raise ValueError(f"lam must be positive everywhere; its least entry is {float(xp.min(self.lam)):g}")
            return
        if isinstance(self.lam, list | tuple):
            raise TypeError("lam must be a number or an array; got a " + type(self.lam).__name__)
        checks.positive_number(self.lam, "lam")

    def resolve(self, shape: tuple[int, ...], like: Array) -> Array:
        r"""Λ as an array that broadcasts against codes of `shape` = (batch, maps, \*space).

        Raises
        ------
        ValueError
            If `lam` is neither a number, nor (maps,), nor (maps, \*space), nor the shape itself.
        """
        dtype = real_dtype(like)
        if not (is_array(self.lam) and self.lam.ndim > 0):
            return asarray_like(self.lam if is_array(self.lam) else float(self.lam), like, dtype)
        given = tuple(self.lam.shape)
        if given not in (shape[1:2], shape[1:], shape):
            raise ValueError(
                f"lam must be a number, or of shape {shape[1:2]} (one per filter), {shape[1:]} "
                f"(a map) or {shape} (a map for each item); got {given}"
            )
        values = asarray_like(self.lam, like, dtype)
        if len(given) > 1:
            return values
        return namespace(values).reshape(values, given + (1,) * (len(shape) - 2))

    def repeated(self, n_filters: int, groups: int) -> L1:
        """The penalty for `groups` channels that are coded on their own: one λ per filter serves them all."""
        if groups == 1 or not (is_array(self.lam) and tuple(self.lam.shape) == (n_filters,)):
            return self
        return L1(namespace(self.lam).tile(self.lam, (groups,)), self.nonnegative)

    def value(self, codes: Array) -> Array:
        """g(x) of each item, (batch,), in float64."""
        xp = namespace(codes)
        lam = self.resolve(tuple(codes.shape), codes)
        axes = tuple(range(1, codes.ndim))
        total = xp.sum(lam * xp.abs(codes), axis=axes, dtype=xp.float64)
        if self.nonnegative:
            infeasible = xp.any(codes < 0, axis=axes)
            total = xp.where(infeasible, xp.full_like(total, float("inf")), total)
        return total

    def prox(self, v: Array, step_size: float | Array = 1.0) -> Array:
        """argmin over x of ½‖x − v‖² + step_size · g(x)."""
        return soft_threshold(v, step_size * self.resolve(tuple(v.shape), v), self.nonnegative)
