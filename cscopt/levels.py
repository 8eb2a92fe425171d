"""A penalty as the sweeps see it, on rows of the grid: levels of ℓ1 for the fused kernels, or its proximal map."""

from __future__ import annotations

from dataclasses import dataclass

from cscopt.backend import Array, device, is_complex, namespace, per_item, real_dtype
from cscopt.kernels import Levels, Regularizer
from cscopt.penalties import L1, ElasticNet, GroupL1, Penalty
from cscopt.synthesis import Synthesis, pad


@dataclass(frozen=True)
class OnGrid:
    """Any penalty on rows (rows, maps, *grid), zero outside the code box; serves the reference's sweeps.

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

    def violation(self, ascent: Array) -> Array:
        """Infinity: sweeps find no lower bound; `Penalty.dual` does."""
        xp = namespace(ascent)
        return xp.full((ascent.shape[0],), float("inf"), dtype=xp.float64, device=device(ascent))


def regularizer(penalty: Penalty, synthesis: Synthesis, batch: int, like: Array) -> Regularizer:
    """What the sweeps take for a penalty, the head of it if it is a sum; `like` is a code array."""
    mirrored = synthesis.mirror is not None
    if mirrored and not isinstance(penalty, L1 | ElasticNet | GroupL1):
        raise ValueError(
            f"boundary='symmetric' serves the penalties L1, ElasticNet and GroupL1; got {type(penalty).__name__}"
        )
    penalty = penalty.head
    if isinstance(penalty, L1) and not mirrored and not (penalty.parts and is_complex(like)):
        return _levels(penalty, synthesis, batch, like)
    penalty.resolve((batch, *synthesis.codes_shape), like)
    return OnGrid(penalty, synthesis)


def _levels(penalty: L1, synthesis: Synthesis, batch: int, like: Array) -> Levels:
    """Λ split into a level for each row and map and a weight map, with a wall outside the code box.

    The wall is a huge finite weight: it forbids codes there, and fast arithmetic needs no
    infinity.
    """
    xp, codes_shape = namespace(like), (batch, *synthesis.codes_shape)
    options = {"dtype": real_dtype(like), "device": device(like)}
    lam = penalty.resolve(codes_shape, like)
    rows, maps, spatial = batch * synthesis.groups, synthesis.n_filters, len(synthesis.grid)
    boxed = synthesis.code_space != synthesis.grid
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


def _walled(weight: Array, grid: tuple[int, ...]) -> Array:
    """A weight map on the code box laid on the grid, with the wall around it."""
    xp, corner = namespace(weight), (0,) * len(grid)
    outside = 1 - pad(xp.ones_like(weight), grid, corner)
    return pad(weight, grid, corner) + outside * float(xp.finfo(weight.dtype).max) ** 0.5
