"""Penalties of differences of maps or of the reconstruction, which the primal-dual method splits off."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cscopt import fft, kernels
from cscopt.backend import Array, namespace, per_item, real_dtype
from cscopt.kernels import FilterSpectrum
from cscopt.penalties.base import Penalty

if TYPE_CHECKING:
    from cscopt.synthesis import Synthesis


@dataclass(frozen=True, eq=False)
class Differences(Penalty):
    """h(K x), with K x the differences of neighbours in weighted maps, or in their synthesis.

    Attributes
    ----------
    synthesis : Synthesis, optional
        D of the problem that the penalty is part of.
    """

    synthesis: Synthesis | None = field(default=None, repr=False, kw_only=True)

    @property
    def head(self) -> Penalty:
        name = type(self).__name__
        raise ValueError(f"{name} must be added to a penalty with a proximal map: L1(...) + {name}(...)")

    def prox(self, v: Array, step_size: float | Array = 1.0) -> Array:
        raise TypeError(f"{type(self).__name__} has no proximal map in closed form; use 'primal-dual'")

    def bound(self, synthesis: Synthesis) -> Differences:
        """The penalty of the codes of one synthesis D, whose grid, boundary and filters it needs."""
        return replace(self, synthesis=synthesis)

    @property
    def of_image(self) -> bool:
        """Whether differences are those of the reconstruction."""
        return False

    @property
    def weights(self) -> Array | None:
        """What each filter's map is multiplied by before differences are taken, (M,); None for 1."""
        return None

    def shrink(self, v: Array, scale: Array) -> Array:
        """Proximal map of scale · h at differences v, for a scale a row."""
        raise TypeError(f"{type(self).__name__} does not define shrink")

    def feasible_dual(self, q: Array) -> Array:
        """The point where h* is finite that q is up to rounding."""
        raise TypeError(f"{type(self).__name__} does not define feasible_dual")

    def subgradient(self, v: Array) -> Array:
        """A subgradient of h at differences v."""
        raise TypeError(f"{type(self).__name__} does not define subgradient")

    def amount(self, v: Array) -> Array:
        """h(v) of each item, in float64."""
        raise TypeError(f"{type(self).__name__} does not define amount")

    def conjugate(self, q: Array) -> float | Array:
        """h*(q) of each item, where it is finite."""
        raise TypeError(f"{type(self).__name__} does not define conjugate")

    @property
    def filters(self) -> FilterSpectrum:
        """Spectra of w_m d_m."""
        bank, weights = self._bound.filters, self.weights
        return bank if weights is None else bank._replace(values=bank.values * per_item(weights, bank.values.ndim))

    def value(self, codes: Array) -> Array:
        """g(x) of each item, (batch,), in float64."""
        return self.amount(self.apply(self._bound.embed(codes)))

    def apply(self, rows: Array) -> Array:
        """K x: differences of the weighted codes (rows, maps, *grid), or of their synthesis."""
        if not self.of_image:
            return self.difference(self._weighted(rows))
        spectrum = kernels.for_array(rows).synthesize(rows, self.filters)
        return self.difference(fft.inverse(spectrum, self._bound.grid, self._bound.real))

    def adjoint(self, q: Array) -> Array:
        """Kᴴ q on the grid, (rows, maps, *grid)."""
        back = self.divergence(q)
        if not self.of_image:
            return self._weighted(back)
        return kernels.for_array(back).analyze(fft.forward(back, self._bound.grid), self.filters)

    def difference(self, x: Array) -> Array:
        """x[n] − x[n − 1] along each spatial axis, around the grid: (rows, axes, maps or channels, *grid)."""
        xp = namespace(x)
        return xp.stack([x - xp.roll(x, 1, axis=axis) for axis in range(2, x.ndim)], axis=1)

    def divergence(self, q: Array) -> Array:
        """Adjoint of `difference`."""
        xp, parts = namespace(q), [q[:, k, ...] for k in range(q.shape[1])]
        return sum(part - xp.roll(part, -1, axis=2 + k) for k, part in enumerate(parts))

    @property
    def symbol(self) -> Array:
        """|∇|² at each frequency, Σ_i 4 sin²(π k_i / n_i)."""
        synthesis, xp = self._bound, namespace(self._bound.like)
        shape = fft.frequency_shape(synthesis.grid, synthesis.real)
        total: Any = 0.0
        for axis, (n, count) in enumerate(zip(synthesis.grid, shape, strict=True)):
            index = xp.arange(count, dtype=real_dtype(synthesis.like), device=synthesis.like.device)
            part = 4 * xp.sin(math.pi / n * index) ** 2
            total = total + xp.reshape(part, (1,) * axis + (-1,) + (1,) * (len(shape) - axis - 1))
        return total

    @property
    def _bound(self) -> Synthesis:
        if self.synthesis is None:
            raise TypeError(f"{type(self).__name__} has a value as part of a CSCProblem alone; use problem.objective")
        return self.synthesis

    def _weighted(self, rows: Array) -> Array:
        weights = self.weights
        return rows if weights is None else rows * per_item(weights, rows.ndim - 1)
