"""What filters may be: unit norm, and zero mean, non-negative, within a window or separable, as projections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cscopt import checks


@dataclass(frozen=True, eq=False)
class Constraint:
    r"""A set of filters with its projection, filter by filter; on more than one channel, all channels together.

    Parameters
    ----------
    norm : {"sphere", "ball"}, default "sphere"
        ‖d‖ = 1 or ‖d‖ ≤ 1.
    zero_mean : bool, default False
        Σ d = 0 in each channel.
    nonnegative : bool, default False
        d ≥ 0.
    window : array of bool (\*support), optional
        d vanishes where it is False.
    separable : bool, default False
        d(a, b) = u(a) v(b) in each channel, for two spatial axes.

    Raises
    ------
    ValueError
        If conditions are combined whose joint projection is not known in closed form: zero mean with non-negative
        (which leaves nothing), separable with a window or non-negative.

    Notes
    -----
    The cone or subspace comes first and the norm after: that is the projection onto both, as scaling leaves a cone. A
    separable filter is the best one of rank one (Eckart and Young 1936); with zero mean u or v has it, and the better
    of the two is taken.
    """

    norm: str = "sphere"
    zero_mean: bool = False
    nonnegative: bool = False
    window: Any = None
    separable: bool = False

    def __post_init__(self) -> None:
        checks.choice(self.norm, "norm", ("sphere", "ball"))
        for name in ("zero_mean", "nonnegative", "separable"):
            checks.flag(getattr(self, name), name)
        if self.zero_mean and self.nonnegative:
            raise ValueError("zero_mean and nonnegative must not both be asked for: only zero is both")
        if self.separable and (self.window is not None or self.nonnegative):
            raise ValueError("separable must not be combined with window or nonnegative")
        if self.window is not None:
            try:
                window = np.asarray(self.window)
            except ValueError as error:  # NumPy's own names no argument
                raise ValueError("window must be an array of bool; its rows differ in length") from error
            if window.dtype != bool or not window.any():
                raise ValueError("window must be an array of bool that is True somewhere")
            if self.zero_mean and window.sum() == 1:
                raise ValueError("window must hold more than one place where filters have zero mean")

    @property
    def on_sphere(self) -> Constraint:
        """The same with ‖d‖ = 1, which is within: what filters begin with, whatever the scale they are made from."""
        return replace(self, norm="sphere")

    def check(self, support: tuple[int, ...]) -> None:
        """Refuse a support that the constraint does not fit."""
        if self.window is not None and np.shape(self.window) != tuple(support):
            raise ValueError(f"window must have the filters' support {tuple(support)}; got {np.shape(self.window)}")
        if self.separable and len(support) != 2:
            raise ValueError(f"separable filters need two spatial axes; got {len(support)}")
        if self.zero_mean and np.prod(support) == 1:
            raise ValueError("filters of one pixel must not be asked for zero mean")

    def project(self, filters: Any) -> Any:
        r"""The nearest filters of the set, (M, C, \*support); a filter that vanishes stays zero."""
        axes = tuple(range(2, filters.ndim))
        if self.separable:
            filters = self._rank_one(filters)
        elif self.window is not None:
            inside = np.asarray(self.window)
            mean = np.sum(filters * inside, axes, keepdims=True) / inside.sum() if self.zero_mean else 0.0
            filters = np.where(inside, filters - mean, 0)
        elif self.zero_mean:
            filters = filters - np.mean(filters, axes, keepdims=True)
        if self.nonnegative:
            filters = self._positive(filters)
        norms = np.sqrt(np.sum(filters * filters, tuple(range(1, filters.ndim)), keepdims=True))
        least = 1.0 if self.norm == "ball" else np.finfo(filters.dtype).tiny
        return filters / np.maximum(norms, least)

    def _positive(self, filters: Any) -> Any:
        """The positive part; on the sphere a filter without one becomes its largest entry, which is the nearest."""
        found = np.maximum(filters, 0)
        if self.norm == "ball":
            return found
        inside = True if self.window is None else np.asarray(self.window)
        flat, given = found.reshape(len(found), -1), filters.reshape(len(filters), -1)
        lost = np.flatnonzero(given.any(axis=1) & ~flat.any(axis=1))
        best = np.argmax(np.where(inside, filters, -np.inf).reshape(given.shape)[lost], axis=1)
        flat[lost, best] = 1
        return flat.reshape(filters.shape)

    def _rank_one(self, filters: Any) -> Any:
        if not self.zero_mean:
            return _leading(filters)[0]
        columns, one = _leading(filters - filters.mean(-2, keepdims=True))
        rows, other = _leading(filters - filters.mean(-1, keepdims=True))
        return np.where((one >= other)[..., None, None], columns, rows)


def _leading(matrices: Any) -> tuple[Any, Any]:
    """The part of rank one that is nearest, and its singular value."""
    u, s, v = np.linalg.svd(matrices, full_matrices=False)
    return u[..., :, :1] * s[..., :1, None] * v[..., :1, :], s[..., 0]
