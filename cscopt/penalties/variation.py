"""Total variation of the maps or of the reconstruction, which the primal-dual method splits off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cscopt import checks
from cscopt.backend import Array, asarray_like, is_array, namespace, per_item, real_dtype, to_numpy
from cscopt.penalties.differences import Differences

KINDS = ("maps", "joint maps", "reconstruction")


@dataclass(frozen=True, eq=False)
class TotalVariation(Differences):
    r"""Isotropic total variation, to be added to a penalty with a proximal map: ``L1(0.05) + TotalVariation(0.01)``.

    With ∇ the differences x_p − x_{p−1} along each axis (around the edge for a circular boundary, else inside alone):

    - "maps": Σ_m λ_m Σ_p |∇x_m|₂, each map on its own (SPORCO's ``ConvBPDNScalarTV``);
    - "joint maps": Σ_p √(Σ_m λ_m² |∇x_m|²), jumps of all maps of a channel together (``ConvBPDNVectorTV``);
    - "reconstruction": Σ_p |∇ Σ_m λ_m d_m * x_m|₂, over all channels together and without A (``ConvBPDNRecTV``).

    Parameters
    ----------
    lam : float or array
        λ > 0, or one per filter, (M,), not negative and not all zero (λ of SPORCO's terms times its ``TVWeight``).
    of : {"maps", "joint maps", "reconstruction"}, default "maps"

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range; with `CSCProblem`, if `lam` is an array of another shape, or nothing is added.

    Source: Wohlberg 2017 (Convolutional sparse coding with overlapping group norms / total variation), section 3;
    Rudin, Osher and Fatemi 1992; Chambolle 2004 for the dual ball.
    """

    of: str = "maps"

    def __post_init__(self) -> None:
        self._check_lam(zero=is_array(self.lam) and self.lam.ndim > 0)
        checks.choice(self.of, "of", KINDS)
        if is_array(self.lam) and not to_numpy(self.lam).any():
            raise ValueError("lam must not be zero everywhere")

    def repeated(self, n_filters: int, groups: int) -> TotalVariation:
        """The penalty as it is: λ is per filter, for every channel."""
        if is_array(self.lam) and self.lam.ndim > 0 and tuple(self.lam.shape) != (n_filters,):
            raise ValueError(
                f"lam of TotalVariation must be a number or of shape ({n_filters},); got {tuple(self.lam.shape)}"
            )
        return self

    @property
    def of_image(self) -> bool:
        """Whether ∇ acts on the reconstruction."""
        return self.of == "reconstruction"

    @property
    def level(self) -> float:
        """The root mean square of λ, radius of the dual balls."""
        if not is_array(self.lam):
            return float(self.lam)
        levels = to_numpy(self.lam).astype(np.float64)
        return float(levels.max() * math.sqrt(np.mean((levels / levels.max()) ** 2)))

    @property
    def weights(self) -> Array | None:
        """λ / `level` of each filter, (M,); None where all are one number."""
        if not (is_array(self.lam) and self.lam.ndim > 0):
            return None
        like = self._bound.like
        return asarray_like(self.lam, like, real_dtype(like)) / self.level

    def shrink(self, v: Array, scale: Array) -> Array:
        """Proximal map of scale · h at differences v, for a scale a row."""
        xp, inside = namespace(v), self._inside
        size, radius = self._size(v), per_item(scale, v.ndim) * self.level
        share = xp.where(size > radius, 1 - radius / xp.where(size > 0, size, xp.ones_like(size)), xp.zeros_like(size))
        return share * v if inside is None else xp.where(inside, share * v, v)

    def feasible_dual(self, q: Array) -> Array:
        """The point of the dual ball, |q| ≤ `level`, that q is up to rounding: 0 at differences that do not count."""
        xp, inside = namespace(q), self._inside
        size = self._size(q)
        kept = q * (self.level / xp.where(size > self.level, size, xp.full_like(size, self.level)))
        return kept if inside is None else xp.where(inside, kept, xp.zeros_like(kept))

    def subgradient(self, v: Array) -> Array:
        """λ v / |v|, and 0 where v is: a point of the dual ball."""
        xp, size = namespace(v), self._size(v)
        return self.feasible_dual(v * (self.level / xp.where(size > 0, size, xp.ones_like(size))))

    def amount(self, v: Array) -> Array:
        """h(v) of each item, in float64."""
        xp, size = namespace(v), self._size(v)
        rows = self.level * xp.sum(size, axis=tuple(range(1, size.ndim)), dtype=xp.float64)
        if self.of_image:
            return rows[:: self._bound.groups]
        return xp.sum(xp.reshape(rows, (-1, self._bound.groups)), axis=1)

    def conjugate(self, q: Array) -> float:
        """0, as of any norm in its dual ball."""
        return 0.0

    @property
    def _inside(self) -> Array | None:
        """Which differences count, (1, axes, 1, *grid): those between pixels of the code or image box; None for all."""
        synthesis = self._bound
        if synthesis.boundary == "circular":
            return None
        corner, box = (0,) * len(synthesis.grid), synthesis.code_space
        if self.of_image:
            corner, box = synthesis.offset, synthesis.space
        elif synthesis.mirror is not None:  # jumps between mirror images are zero, or those of codes again
            corner = synthesis.mirror.before
        xp, ndim, device = namespace(synthesis.like), len(synthesis.grid), synthesis.like.device
        ranges = []
        for axis, n in enumerate(synthesis.grid):
            index = xp.reshape(xp.arange(n, device=device), (1,) * axis + (-1,) + (1,) * (ndim - axis - 1))
            last = corner[axis] + box[axis]
            ranges.append([(index >= corner[axis] + own) & (index < last) for own in (0, 1)])
        every = xp.ones(synthesis.grid, dtype=xp.bool, device=device)
        masks = []
        for own in range(ndim):
            mask = every
            for axis in range(ndim):
                mask = mask & ranges[axis][1 if axis == own else 0]
            masks.append(mask)
        return xp.reshape(xp.stack(masks), (1, ndim, 1, *synthesis.grid))

    def _size(self, v: Array) -> Array:
        """|v| of each group, (rows, 1, maps or 1, *grid)."""
        xp, inside = namespace(v), self._inside
        squares = xp.abs(v) ** 2
        if inside is not None:
            squares = xp.where(inside, squares, xp.zeros_like(squares))
        if self.of == "maps":
            return xp.sqrt(xp.sum(squares, axis=1, keepdims=True))
        total = xp.sum(squares, axis=(1, 2), keepdims=True)
        groups = self._bound.groups
        if self.of_image and groups > 1:
            total = xp.sum(xp.reshape(total, (-1, groups, *total.shape[1:])), axis=1)
            total = xp.repeat(total, groups, axis=0)
        return xp.sqrt(total)
