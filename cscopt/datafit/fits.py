"""Data fits f beside least squares: what each pixel costs, its proximal map, and its conjugate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from cscopt import checks
from cscopt.backend import Array, is_complex, listing, namespace
from cscopt.kernels.reference import soft_threshold


@dataclass(frozen=True, eq=False)
class Fit:
    """A data fit f(u) = Σ W φ(u + b, y) of u = A D x to the data y, pixel by pixel; W is 1 without a mask.

    Its parts are functions of arrays of one shape. A dual point is p = W q, with q in the domain of φ*(−q).

    Attributes
    ----------
    name : str
        What stands for it in messages.
    quadratic : bool
        Whether it is least squares, which every solver serves; ADMM and the primal-dual method serve the others.
    smooth : bool
        Whether φ is differentiable inside its domain.
    constrained : bool
        Whether φ is infinite somewhere.
    stiffness : float
        Penalty parameter σ of ADMM's splitting of A D x, for data whose mean modulus is 1. (Near the fastest on a few
        pictures.)
    """

    name: ClassVar[str]
    quadratic: ClassVar[bool] = False
    smooth: ClassVar[bool] = False
    constrained: ClassVar[bool] = False
    stiffness: ClassVar[float] = 1.0

    def check(self, signal: Array) -> None:
        """Raise if the data are of another kind than this fit is for."""

    def offset(self, signal: Array) -> Array | None:
        """b, an array that broadcasts against the signal; None for zero."""
        return None

    def value(self, t: Array, y: Array) -> Array:
        """φ(t, y) of each pixel, ≥ 0 and possibly infinite."""
        raise TypeError(f"{type(self).__name__} does not define value")

    def prox(self, v: Array, y: Array, step_size: Array) -> Array:
        """argmin over t of ½|t − v|² + step_size · φ(t, y) of each pixel; v where the step size is 0."""
        raise TypeError(f"{type(self).__name__} does not define prox")

    def descent(self, t: Array, y: Array) -> Array:
        """Minus the derivative of φ at t, or minus one of its subgradients."""
        raise TypeError(f"{type(self).__name__} does not define descent")

    def project(self, q: Array, t: Array, y: Array) -> Array:
        """The point of the domain of φ*(−q) that q is up to rounding, where −q is a subgradient of φ at t."""
        raise TypeError(f"{type(self).__name__} does not define project")

    def reach(self, q: Array) -> Array:
        """The largest s ≤ 1 of each pixel for which s q is in the domain of φ*(−q)."""
        raise TypeError(f"{type(self).__name__} does not define reach")

    def dual(self, q: Array, y: Array) -> Array:
        """−φ*(−q) = inf over t of φ(t, y) + Re(conj(q) t) of each pixel, for q in its domain."""
        raise TypeError(f"{type(self).__name__} does not define dual")


@dataclass(frozen=True, eq=False)
class L2Fit(Fit):
    """Least squares, f(u) = ½‖W(y − u)‖²: Gaussian noise. See `cscopt.datafit.LeastSquares`."""

    name: ClassVar[str] = "l2"
    quadratic: ClassVar[bool] = True
    smooth: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class L1Fit(Fit):
    """Least absolute deviations, f(u) = ‖W(y − u)‖₁: impulse noise and other outliers (SPORCO's ``ConvL1L1Grd``).

    The modulus is meant where the data are complex. φ(t, y) = |y − t|, its proximal map is y + S_s(v − y), and
    −φ*(−q) = Re(conj(q) y) for |q| ≤ 1.

    Source: Wohlberg 2016 (Convolutional sparse representations as an image model for impulse noise restoration), eq. 5.
    """

    name: ClassVar[str] = "l1"

    def value(self, t: Array, y: Array) -> Array:
        return namespace(t).abs(y - t)

    def prox(self, v: Array, y: Array, step_size: Array) -> Array:
        return y + soft_threshold(v - y, step_size)

    def descent(self, t: Array, y: Array) -> Array:
        xp, size = namespace(t), namespace(t).abs(y - t)
        return (y - t) / xp.where(size > 0, size, xp.ones_like(size))

    def project(self, q: Array, t: Array, y: Array) -> Array:
        xp, size = namespace(q), namespace(q).abs(q)
        return q / xp.where(size > 1, size, xp.ones_like(size))

    def reach(self, q: Array) -> Array:
        return 1 / namespace(q).clip(namespace(q).abs(q), min=1.0)

    def dual(self, q: Array, y: Array) -> Array:
        return namespace(q).real(namespace(q).conj(q) * y) if is_complex(q) else q * y


@dataclass(frozen=True, eq=False)
class PoissonFit(Fit):
    r"""Kullback–Leibler divergence, f(u) = Σ W (t − y + y log(y / t)) with t = u + b ≥ 0: counts y of mean u + b.

    It is the negative log-likelihood Σ (u + b − y log(u + b)) of Poisson noise, less its least value, so that f ≥ 0.
    Codes are held to A D x + b ≥ 0 where W > 0.

    Parameters
    ----------
    background : float or array
        b > 0, in counts; an array broadcasts against the signal (such as the low-pass part of it).

    Raises
    ------
    TypeError, ValueError
        If `background` is not positive and finite; with `CSCProblem`, if the signal is complex or negative.

    Notes
    -----
    The proximal map is the positive root of t² + (s − v) t − s y = 0 (Figueiredo and Bioucas-Dias 2010, eq. 31).
    −φ*(−q) = y log(1 + q) for q > −1, or q = −1 where y = 0.
    """

    background: Any
    name: ClassVar[str] = "poisson"
    smooth: ClassVar[bool] = True
    constrained: ClassVar[bool] = True
    stiffness: ClassVar[float] = 3.0

    def __post_init__(self) -> None:
        checks.positive(self.background, "background")

    def check(self, signal: Array) -> None:
        xp = namespace(signal)
        if is_complex(signal):
            raise TypeError(f"signal must be real counts for PoissonFit; got {signal.dtype}")
        if bool(xp.any(signal < 0)):
            raise ValueError(
                f"signal must not be negative for PoissonFit; its least entry is {float(xp.min(signal)):g}"
            )

    def offset(self, signal: Array) -> Array:
        values = checks.alongside(self.background, signal, "background")
        if not bool(namespace(values).all(values > 0)):
            raise ValueError(f"background must be positive in {signal.dtype}, the signal's precision")
        return values

    def value(self, t: Array, y: Array) -> Array:
        xp = namespace(t)
        one, excess = xp.ones_like(t), t - y
        counted = (t > 0) & (y > 0)
        near = counted & (2 * xp.abs(excess) < y)  # where log(t / y) would lose digits
        share = xp.where(near, excess, xp.zeros_like(t)) / xp.where(near, y, one)
        far = xp.log(xp.where(counted, t, one) / xp.where(counted, y, one))
        cost = excess - y * xp.where(near, xp.log1p(share), far)
        inside = (t > 0) | ((t == 0) & (y == 0))
        return xp.where(inside, cost, xp.full_like(t, float("inf")))

    def prox(self, v: Array, y: Array, step_size: Array) -> Array:
        xp = namespace(v)
        centre, product = v - step_size, step_size * y
        root = xp.sqrt(centre * centre + 4 * product)
        apart = root + xp.abs(centre)  # each root from the sum in which nothing cancels
        other = 2 * product / xp.where(apart > 0, apart, xp.ones_like(apart))
        return xp.where(step_size > 0, xp.where(centre > 0, apart / 2, other), v)

    def descent(self, t: Array, y: Array) -> Array:
        xp = namespace(t)
        return xp.where(t > 0, (y - t) / xp.where(t > 0, t, xp.ones_like(t)), -xp.ones_like(t))

    def project(self, q: Array, t: Array, y: Array) -> Array:
        xp = namespace(q)
        return xp.where((y > 0) & (t > 0), self.descent(t, y), xp.where(q > -1, q, -xp.ones_like(q)))

    def reach(self, q: Array) -> Array:
        return 1 / namespace(q).clip(-q, min=1.0)

    def dual(self, q: Array, y: Array) -> Array:
        xp = namespace(q)
        inside = q > -1
        lowest = xp.full_like(q, math.log(float(xp.finfo(q.dtype).smallest_normal)))
        logarithm = xp.where(inside, xp.log1p(xp.where(inside, q, xp.zeros_like(q))), lowest)
        return xp.where(y > 0, y * logarithm, xp.zeros_like(q))


NAMED: dict[str, Fit] = {fit.name: fit for fit in (L2Fit(), L1Fit())}
"""The fits that need no parameters."""


def resolve(fit: Fit | str) -> Fit:
    """A fit from its name.

    Raises
    ------
    TypeError, ValueError
        If it is neither a name nor a `Fit`.
    """
    if isinstance(fit, Fit):
        return fit
    allowed = listing([*(repr(n) for n in NAMED), "PoissonFit(background)"])
    if isinstance(fit, str) and fit in NAMED:
        return NAMED[fit]
    kind = ValueError if isinstance(fit, str) else TypeError
    raise kind(f"fit must be {allowed}; got {fit!r}")
