"""The elastic net: ℓ1 with a quadratic, so that correlated filters share."""

from __future__ import annotations

from dataclasses import dataclass

from cscopt.backend import Array, namespace, per_item, real_dtype
from cscopt.kernels.entrywise import shrinkage, weighted_l1
from cscopt.penalties.base import Penalty, best_scale, positive_number, scaled_dual, squared, total

_SCALES = (1.0, 0.999, 0.99, 0.9, 0.5)


@dataclass(frozen=True, eq=False)
class ElasticNet(Penalty):
    r"""g(x) = Σ Λ|x| + μ/2 ‖x‖₂² (SPORCO's ``ConvElasticNet``).

    Parameters
    ----------
    lam : float or array
        Λ > 0, as in `L1`.
    mu : float
        μ > 0.

    Notes
    -----
    The proximal map is S_{tΛ}(v) / (1 + tμ) (Zou and Hastie 2005; Parikh and Boyd 2014, section 6.5.3). The conjugate
    is Σ max(|c| − Λ, 0)² / (2μ): every multiple of the residual is dual feasible.
    """

    mu: float = 1.0

    def __post_init__(self) -> None:
        self._check_lam()
        object.__setattr__(self, "mu", positive_number(self.mu, "mu"))

    def value(self, codes: Array) -> Array:
        """g(x) of each item, (batch,), in float64."""
        lam = self.resolve(tuple(codes.shape), codes)
        return weighted_l1(codes, lam) + self.mu / 2 * total(squared(codes))

    def prox(self, v: Array, step_size: float | Array = 1.0) -> Array:
        """argmin over x of ½‖x − v‖² + step_size · g(x)."""
        return shrinkage(v, self.resolve(tuple(v.shape), v), step_size) / (1 + step_size * self.mu)

    def dual(self, correlations: Array, norm_sq: Array, overlap: Array) -> Array:
        """The best of some multiples of r."""
        xp, (size, lam) = namespace(correlations), self._sizes(correlations)
        best = xp.zeros_like(norm_sq)
        free = best_scale(norm_sq, overlap)
        starts = xp.minimum(xp.ones_like(free), free)
        for factor in _SCALES:
            scale = factor * starts
            best = xp.maximum(best, scaled_dual(scale, norm_sq, overlap) - self._conjugate(size, lam, scale))
        return best

    def feasible(self, correlations: Array) -> list[tuple[Array, Array]]:
        """Some scales, with g*(s c): every one is finite."""
        xp, (size, lam) = namespace(correlations), self._sizes(correlations)
        one = xp.ones((correlations.shape[0],), dtype=xp.float64, device=correlations.device)
        return [(factor * one, self._conjugate(size, lam, factor * one)) for factor in _SCALES]

    def _sizes(self, correlations: Array) -> tuple[Array, Array]:
        """|c| and Λ."""
        return namespace(correlations).abs(correlations), self.resolve(tuple(correlations.shape), correlations)

    def _conjugate(self, size: Array, lam: Array, scale: Array) -> Array:
        """g*(s c) = Σ max(|s c| − Λ, 0)² / (2μ) of each item."""
        xp = namespace(size)
        excess = per_item(xp.astype(scale, real_dtype(size)), size.ndim) * size - lam
        excess = xp.where(excess > 0, excess, xp.zeros_like(excess))
        return total(excess * excess) / (2 * self.mu)
