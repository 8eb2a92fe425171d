"""Sums of penalties: one with its proximal map, the others behind a linear operator."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from cscopt.backend import Array
from cscopt.penalties.base import Penalty
from cscopt.penalties.differences import Differences
from cscopt.penalties.gradient import GradientL1
from cscopt.penalties.l1 import L1
from cscopt.penalties.nonconvex import L0


@dataclass(frozen=True, eq=False)
class Sum(Penalty):
    """g(x) = Σ_k g_k(x) of penalties, as ``L1(0.05) + TotalVariation(0.01)`` makes it.

    One part, the `head`, is met by its proximal map, so that codes are sparse as it makes them; the others (`tail`) are
    split off. The head is an `L0` if there is one, as its value jumps; else non-negative where a part is, and else an
    `L1`. There must be at least one part that is not a `TotalVariation`. Only 'primal-dual' serves sums. As part of a
    problem a `GradientL1` is two parts, its ℓ1 norm and its quadratic. An `L0` beside a non-negative part is made
    non-negative, too.

    Parameters
    ----------
    parts : tuple of Penalty

    Raises
    ------
    TypeError, ValueError
        If a part is no penalty, or there is none.
    """

    lam: Any = field(init=False, default=None)
    parts: tuple[Penalty, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.parts, tuple | list) or not self.parts:
            raise ValueError(f"parts must be a tuple of penalties, and not empty; got {self.parts!r:.60}")
        for part in self.parts:
            if not isinstance(part, Penalty):
                raise TypeError(f"a sum is of penalties; got {type(part).__name__}")
        if self.nonnegative:
            parts = tuple(replace(part, nonnegative=True) if isinstance(part, L0) else part for part in self.parts)
            object.__setattr__(self, "parts", parts)

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """Whether all parts are."""
        return all(part.convex for part in self.parts)

    @property
    def head(self) -> Penalty:
        near = [part for part in self.parts if not isinstance(part, Differences)]
        if not near:
            return self.parts[0].head  # which raises
        return max(near, key=lambda part: (isinstance(part, L0), part.nonnegative, isinstance(part, L1)))

    @property
    def tail(self) -> tuple[Penalty, ...]:
        first = [part is self.head for part in self.parts].index(True)
        return self.parts[:first] + self.parts[first + 1 :]

    @property
    def nonnegative(self) -> bool:
        return any(part.nonnegative for part in self.parts)

    def value(self, codes: Array) -> Array:
        """g(x) of each item, (batch,), in float64."""
        return sum(part.value(codes) for part in self.parts)

    def prox(self, v: Array, step_size: float | Array = 1.0) -> Array:
        raise TypeError("a sum of penalties has no proximal map in closed form; use 'primal-dual'")

    def zero_violation(self, correlations: Array) -> Array:
        """That of the head alone: codes are zero where it is ≤ 1, and perhaps elsewhere too."""
        return self.head.zero_violation(correlations)

    def resolve(self, shape: tuple[int, ...], like: Array) -> Array:
        return self.head.resolve(shape, like)

    def repeated(self, n_filters: int, groups: int) -> Sum:
        return replace(self, parts=tuple(part.repeated(n_filters, groups) for part in self.parts))

    def bound(self, synthesis: Any) -> Sum:
        sizes, parts = (synthesis.n_filters, synthesis.groups), list[Penalty]()
        for part in self.parts:
            parts += part.apart(*sizes) if isinstance(part, GradientL1) else (part,)
        return replace(self, parts=tuple(part.bound(synthesis) for part in parts))

    def take(self, items: Array, ndim: int) -> Sum:
        return replace(self, parts=tuple(part.take(items, ndim) for part in self.parts))
