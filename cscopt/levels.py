"""A penalty as the sweeps see it, on rows of the grid: levels of ℓ1 for the fused kernels, or its proximal map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cscopt.backend import Array, asarray_like, device, is_complex, namespace, per_item, real_dtype, to_numpy
from cscopt.kernels import Levels, Regularizer
from cscopt.lowpass import laplacian
from cscopt.penalties import L0, L1, ElasticNet, GradientL1, GroupL1, Penalty, TotalVariation
from cscopt.penalties.differences import Differences
from cscopt.penalties.gradient import Smoothness
from cscopt.synthesis import Synthesis, pad


@dataclass(frozen=True)
class OnGrid:
    """Any penalty on rows (rows, maps, *grid), zero outside the code box; serves the sweeps in stages.

    Where codes have copies (`Mirror`), rows are held to copies that are equal: with c of them, ½ c |x − mean|² + s g(x)
    is what the proximal map minimises, so that g must be a sum over positions.
    """

    penalty: Penalty
    synthesis: Synthesis

    def prox(self, v: Array, scale: Array) -> Array:
        """Proximal map of scale · g, for a scale a row (the same for all rows of an item)."""
        codes, copies = self.synthesis.gather(v), self.synthesis.copies
        step = namespace(codes).astype(scale[:: self.synthesis.groups], real_dtype(codes), copy=False)
        step = per_item(step, codes.ndim)
        if copies is not None:
            codes, step = codes / copies, step / copies
        return self.synthesis.embed(self.penalty.prox(codes, step))

    def value(self, x: Array) -> Array:
        """g(x), shared evenly between the rows of an item."""
        groups = self.synthesis.groups
        values = self.penalty.value(self.synthesis.crop(x))
        return namespace(values).repeat(values / groups, groups)

    def pull(self, x: Array) -> Array | None:
        """Gradient of the quadratic part of g, if there is one."""
        if not self.penalty.curved:
            return None
        return self.synthesis.embed(self.penalty.pull(self.synthesis.crop(x)))

    def violation(self, ascent: Array) -> Array:
        """Infinity: sweeps find no lower bound; `Penalty.dual` does."""
        xp = namespace(ascent)
        return xp.full((ascent.shape[0],), float("inf"), dtype=xp.float64, device=device(ascent))


@dataclass(frozen=True)
class Curved(OnGrid):
    """A penalty with a quadratic part ½⟨x, Q x⟩, Q diagonal in the frequency domain.

    Attributes
    ----------
    bend : array, (rows, maps)
        Q̂ of each row and map is this times the eigenvalues of the Laplacian.
    peak : array, (batch,)
        ‖Q‖ of each item.
    free : array, (batch, channels, channels), or None
        Orthogonal projection on the channels' means that some map without λ can make; None if there is no such map.
    """

    bend: Array
    peak: Array
    free: Array | None

    @cached_property
    def laplacian(self) -> Array:
        """Eigenvalues of ∇ᴴ∇, (*frequencies)."""
        return laplacian(self.synthesis.like, self.synthesis.grid)

    def eigenvalues(self) -> Array:
        """Q̂, (rows, maps, *frequencies)."""
        bend = namespace(self.bend).reshape(self.bend, (*self.bend.shape, *(1 for _ in self.synthesis.grid)))
        return bend * self.laplacian


def regularizer(penalty: Penalty, synthesis: Synthesis, batch: int, like: Array) -> Regularizer:
    """What the sweeps take for a penalty, the head of it if it is a sum; `like` is a code array."""
    mirrored = synthesis.mirror is not None
    for part in (penalty.head, *penalty.tail):
        smooth = isinstance(part, GradientL1 | Smoothness)
        if mirrored and not isinstance(part, L0 | L1 | ElasticNet | GroupL1 | TotalVariation):
            kinds = "L0, L1, ElasticNet, GroupL1 and TotalVariation"
            name = "GradientL1" if smooth else type(part).__name__
            raise ValueError(f"boundary='symmetric' serves the penalties {kinds}; got {name}")
        if smooth and synthesis.boundary != "circular":
            raise ValueError(f"boundary must be 'circular' for GradientL1; got {synthesis.boundary!r}")
    for part in penalty.tail:
        if not isinstance(part, Differences):
            part.resolve((batch, *synthesis.codes_shape), like)  # which raises where λ does not fit
    penalty = penalty.head
    if isinstance(penalty, L1) and not mirrored and not (penalty.parts and is_complex(like)):
        return _levels(penalty, synthesis, batch, like)
    lam = penalty.resolve((batch, *synthesis.codes_shape), like)
    if isinstance(penalty, GradientL1):
        return _curved(penalty, synthesis, batch, like, lam)
    return OnGrid(penalty, synthesis)


def levels_of_codes(penalty: Penalty, synthesis: Synthesis, batch: int, like: Array) -> Levels | None:
    """Λ of codes that have copies on the grid; None for a penalty that is not ℓ1 entry by entry."""
    if not isinstance(penalty, L1) or (penalty.parts and is_complex(like)):
        return None
    return _levels(penalty, synthesis, batch, like)


def _levels(penalty: L1, synthesis: Synthesis, batch: int, like: Array) -> Levels:
    """Λ split into a level for each row and map and a weight map, with a wall outside the code box.

    The wall is a huge finite weight: it forbids codes there, and fast arithmetic needs no
    infinity.
    """
    xp, codes_shape = namespace(like), (batch, *synthesis.codes_shape)
    options = {"dtype": real_dtype(like), "device": device(like)}
    lam = penalty.resolve(codes_shape, like)
    rows, maps, spatial = batch * synthesis.groups, synthesis.n_filters, len(synthesis.grid)
    boxed = synthesis.mirror is None and synthesis.code_space != synthesis.grid
    weight = None
    if lam.ndim == 0 or tuple(lam.shape[1:]) == (1,) * spatial:
        every = xp.broadcast_to(xp.reshape(lam, (1, -1)), codes_shape[:2])
        level = xp.reshape(every, (rows, maps))
        if boxed:
            weight = xp.ones((1, 1, *synthesis.code_space), **options)
    else:
        level = xp.ones((rows, maps), **options)
        weight = lam if lam.ndim == len(codes_shape) else lam[None, ...]
        if synthesis.groups > 1:
            weight = xp.broadcast_to(weight, codes_shape)
        weight = xp.reshape(weight, (-1, maps, *synthesis.code_space))
    if weight is not None and boxed:
        weight = _walled(weight, synthesis.grid)
    for part in (level, weight):
        if part is not None and not bool(xp.all((part > 0) & xp.isfinite(part))):
            raise ValueError(f"lam must be positive and finite in {like.dtype}, the signal's precision")
    return Levels(level, weight, penalty.nonnegative)


def _curved(penalty: GradientL1, synthesis: Synthesis, batch: int, like: Array, lam: Array) -> Curved:
    """Refuse a map that has neither λ nor μ w somewhere."""
    xp, maps, ndim = namespace(like), synthesis.codes_shape[0], 2 + len(synthesis.grid)
    positive = to_numpy(lam > 0)
    positive = positive.reshape((1,) * (ndim - positive.ndim) + positive.shape)
    bend = penalty.curvature(xp.zeros((1, maps, *(1 for _ in synthesis.grid)), dtype=like.dtype, device=device(like)))
    alone = np.flatnonzero((to_numpy(bend).reshape(-1) == 0) & ~positive.all(axis=(0, *range(2, ndim))))
    if len(alone):
        raise ValueError(
            f"lam must be positive where weights is 0; map {alone[0]} has neither, and would explain everything"
        )
    rows = xp.reshape(bend, (synthesis.groups, synthesis.n_filters))
    peak = xp.max(bend) * xp.max(laplacian(like, synthesis.grid))
    penalised = np.broadcast_to(positive.any(axis=tuple(range(2, ndim))), (batch, maps))
    free = _free_means(synthesis, ~penalised)
    return Curved(
        penalty,
        synthesis,
        bend=xp.tile(rows, (batch, 1)),
        peak=xp.broadcast_to(peak, (batch,)),
        free=None if free is None else asarray_like(free, like, real_dtype(like)),
    )


def _free_means(synthesis: Synthesis, unpenalised: Any) -> Any:
    """`Curved.free`, from which maps (batch, maps) have no λ anywhere."""
    if not unpenalised.any():
        return None
    values = synthesis.filters.values
    size = to_numpy(namespace(values).max(namespace(values).abs(values), axis=tuple(range(2, values.ndim))))
    means = to_numpy(values[(slice(None), slice(None), *(0 for _ in synthesis.grid))]).real.astype(np.float64)
    means[np.abs(means) <= 1e-6 * size] = 0  # a filter without a mean, but for rounding
    if synthesis.groups > 1:  # maps are channel-major, and each makes its own channel
        means = np.kron(np.eye(synthesis.groups), means)
    span = np.where(unpenalised[:, :, None], means, 0)
    square = np.swapaxes(span, 1, 2) @ span
    return np.linalg.pinv(square, rcond=1e-9, hermitian=True) @ square


def _walled(weight: Array, grid: tuple[int, ...]) -> Array:
    """A weight map on the code box laid on the grid, with the wall around it."""
    xp, corner = namespace(weight), (0,) * len(grid)
    outside = 1 - pad(xp.ones_like(weight), grid, corner)
    return pad(weight, grid, corner) + outside * float(xp.finfo(weight.dtype).max) ** 0.5
