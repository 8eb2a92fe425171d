"""What all penalties share: λ in its three forms, and what a solver asks of a penalty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from cscopt import checks
from cscopt.backend import Array, asarray_like, is_array, is_complex, is_numpy, namespace, real_dtype, to_numpy

Self = TypeVar("Self", bound="Penalty")


@dataclass(frozen=True, eq=False)
class Penalty:
    r"""A penalty g on the codes, with a level λ. Its parts work on codes (batch, maps, \*space), item by item.

    Attributes
    ----------
    lam : float or array
        λ in the units of the signal: a number; one per filter, (M,), or (C·M,) where each channel is coded on its own;
        or a map over the codes, (M, \*space) or (batch, M, \*space).
    convex : bool
        Whether g is convex, so that `dual` bounds the optimum from below, and answers have a duality gap.
    curved : bool
        Whether g has a quadratic part, which solvers take as smooth: `pull` is its gradient, and `prox` is of the rest.
    """

    lam: Any
    convex: ClassVar[bool] = True
    curved: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._check_lam()

    @property
    def nonnegative(self) -> bool:
        """Whether codes must be non-negative."""
        return False

    @property
    def head(self) -> Penalty:
        """The part with a proximal map; the penalty itself, unless it is a sum."""
        return self

    @property
    def tail(self) -> tuple[Penalty, ...]:
        """The other parts of a sum."""
        return ()

    def __add__(self, other: Penalty) -> Penalty:
        if not isinstance(other, Penalty):
            return NotImplemented
        from cscopt.penalties.sums import Sum

        parts = [p.parts if isinstance(p, Sum) else (p,) for p in (self, other)]
        return Sum(parts=parts[0] + parts[1])

    def __radd__(self, other: Any) -> Penalty:
        return self if isinstance(other, int) and other == 0 else NotImplemented  # where ``sum`` begins

    def bound(self: Self, synthesis: Any) -> Self:
        """The penalty of the codes of one `Synthesis`; itself, where it does not need to know."""
        return self

    def value(self, codes: Array) -> Array:
        """g(x) of each item, (batch,), in float64."""
        raise TypeError(f"{type(self).__name__} does not define value")

    def prox(self, v: Array, step_size: float | Array = 1.0) -> Array:
        """argmin over x of ½‖x − v‖² + step_size · g(x); the step size may be an array that broadcasts."""
        raise TypeError(f"{type(self).__name__} does not define prox")

    def pull(self, codes: Array) -> Array:
        """Gradient of the quadratic part of g, in the codes' shape."""
        raise TypeError(f"{type(self).__name__} has no quadratic part")

    def zero_violation(self, correlations: Array) -> Array:
        """max |c| / Λ of each item: where g is an ℓ1 norm near zero, codes are zero exactly where it is ≤ 1."""
        xp = namespace(correlations)
        ratio = xp.abs(correlations) / self.resolve(tuple(correlations.shape), correlations)
        return xp.astype(xp.max(ratio, axis=over_items(ratio)), xp.float64)

    def dual(self, correlations: Array, norm_sq: Array, overlap: Array) -> Array:
        """A lower bound of the optimum of each item, (batch,), from c = DᴴAᴴWᴴ r, ‖r‖² and ⟨W y, r⟩.

        It is the best found of s ⟨W y, r⟩ − ½ s² ‖r‖² − g*(s c) over s ≥ 0, where g* is the conjugate of g.
        """
        raise TypeError(f"{type(self).__name__} has no certificate")

    def feasible(self, correlations: Array) -> list[tuple[Array, Array]]:
        """Scales 0 ≤ s ≤ 1 of each item for which g*(s c) is finite, each with that value, (batch,).

        By default 1 / max(1, `zero_violation`), for penalties whose g* is 0 where that is ≤ 1, and infinite elsewhere.
        """
        worst = self.zero_violation(correlations)
        xp = namespace(worst)
        return [(1 / xp.maximum(xp.ones_like(worst), worst), xp.zeros_like(worst))]

    def resolve(self, shape: tuple[int, ...], like: Array) -> Array:
        r"""λ as an array that broadcasts against codes of `shape` = (batch, maps, \*space).

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

    def repeated(self: Self, n_filters: int, groups: int) -> Self:
        """The penalty for `groups` channels that are coded on their own: one λ per filter serves them all."""
        if groups == 1 or not (is_array(self.lam) and tuple(self.lam.shape) == (n_filters,)):
            return self
        return replace(self, lam=namespace(self.lam).tile(self.lam, (groups,)))

    def take(self: Self, items: Array, ndim: int) -> Self:
        """The penalty of some items of a batch of codes with `ndim` axes."""
        if not (is_array(self.lam) and self.lam.ndim == ndim):
            return self
        if is_numpy(self.lam):  # beside a signal of another library, too
            items = to_numpy(items)
        return replace(self, lam=namespace(self.lam).take(self.lam, items, axis=0))

    def _check_lam(self, zero: bool = False) -> None:
        wanted = "not be negative anywhere" if zero else "be positive everywhere"
        if is_array(self.lam) and self.lam.ndim > 0:
            xp = namespace(self.lam)
            if 0 in self.lam.shape:
                raise ValueError(f"lam must not be empty; got shape {tuple(self.lam.shape)}")
            if not xp.isdtype(self.lam.dtype, ("real floating", "integral")):
                raise TypeError(f"lam must be real; got an array of {self.lam.dtype}")
            if xp.isdtype(self.lam.dtype, "real floating"):
                checks.finite(self.lam, "lam")
            if not bool(xp.all(self.lam >= 0 if zero else self.lam > 0)):
                raise ValueError(f"lam must {wanted}; its least entry is {float(xp.min(self.lam)):g}")
            return
        if isinstance(self.lam, list | tuple):
            raise TypeError("lam must be a number or an array; got a " + type(self.lam).__name__)
        if not (zero and checks.real_number(self.lam, "lam") == 0):
            positive_number(self.lam, "lam")


def positive_number(value: Any, name: str) -> float:
    """A finite number above zero, and not its text."""
    if isinstance(value, str | bytes):
        raise TypeError(f"{name} must be a real number; got {value!r:.60}")
    return checks.positive_number(value, name)


def over_items(x: Array) -> tuple[int, ...]:
    """All axes but the batch."""
    return tuple(range(1, x.ndim))


def total(x: Array) -> Array:
    """Sum of each item, in float64."""
    xp = namespace(x)
    return xp.sum(x, axis=over_items(x), dtype=xp.float64)


def unless_negative(values: Array, codes: Array) -> Array:
    """Values of each item, infinite where one of its codes is negative."""
    xp = namespace(codes)
    return xp.where(xp.any(codes < 0, axis=over_items(codes)), xp.full_like(values, float("inf")), values)


def squared(x: Array) -> Array:
    """|x|², entry by entry."""
    return namespace(x).real(namespace(x).conj(x) * x) if is_complex(x) else x * x


def scaled_dual(scale: Array, norm_sq: Array, overlap: Array) -> Array:
    """s ⟨W y, r⟩ − ½ s² ‖r‖²."""
    return scale * overlap - scale * scale * norm_sq / 2


def best_scale(norm_sq: Array, overlap: Array) -> Array:
    """The s ≥ 0 that is best without constraint, ⟨W y, r⟩ / ‖r‖²; 0 where r is."""
    xp = namespace(norm_sq)
    positive = norm_sq > 0
    scale = overlap / xp.where(positive, norm_sq, xp.ones_like(norm_sq))
    return xp.where(positive & (scale > 0), scale, xp.zeros_like(scale))
