"""Data terms other than least squares: f(A D x), with A D x as a variable of its own."""

from __future__ import annotations

import math
from copy import copy
from functools import cached_property

from cscopt import fft
from cscopt.backend import Array, is_complex, namespace, per_item, real_dtype
from cscopt.datafit.fits import Fit
from cscopt.datafit.layout import applied, back_projected, on_grid, ones, taken
from cscopt.linop import LinearOperator
from cscopt.synthesis import Synthesis


class SplitFit:
    r"""f(A D x) = Σ W φ(A D x + b, y) of each batch item, for a `Fit`, whose A D x ADMM splits off.

    Images are on the grid, (rows, channels, \*grid), where W = 0 outside the data. A dual point is p = W q, and q is
    what is kept.

    Parameters
    ----------
    fit : Fit
        φ and b.
    signal, synthesis, forward, mask
        y, D, A and W, as in `LeastSquares`. A is a convolution on a circular boundary, so that `system` = A D
        gives data on the grid; `ForwardFit` takes any other.

    Raises
    ------
    TypeError, ValueError
        If the fit does not serve such data or codes.
    """

    spectral, quadratic, folded = False, False, True

    def __init__(
        self, fit: Fit, signal: Array, synthesis: Synthesis, forward: LinearOperator | None, mask: Array | None
    ) -> None:
        fit.check(signal)
        if self.folded and synthesis.real and is_complex(signal):
            raise TypeError(f"real_codes must not be True for complex data with fit={fit.name!r}")
        self.fit, self.signal, self.synthesis, self.forward, self.mask = fit, signal, synthesis, forward, mask
        self.system = self._system()
        self.weight = self._laid(ones(signal) if mask is None else ones(signal) * mask)
        offset = fit.offset(signal)
        self.offset = None if offset is None else self._laid(ones(signal) * offset)
        self.target = self._laid(signal)

    def _system(self) -> Synthesis:
        """A D with A folded into the filters."""
        response = None if self.forward is None else self.forward.response(self.synthesis.like)
        return self.synthesis if response is None else self.synthesis.through(response)

    def _laid(self, data: Array) -> Array:
        """Data laid on the grid."""
        return on_grid(self.synthesis, data)

    @cached_property
    def weight_norm(self) -> Array:
        """The largest weight of each item."""
        return namespace(self.weight).max(self._items(self.weight), axis=1)

    @cached_property
    def energy(self) -> Array:
        """Σ W (|y| + b) of each item, in float64: the size of the terms of f."""
        size = namespace(self.target).abs(self.target)
        return self._sum(self.weight * self._shifted(size))

    @property
    def first_sigma(self) -> Array:
        """Penalty parameter of the splitting to start from: that of the fit, over the mean of |y| + b."""
        xp = namespace(self.weight)
        mean = self.energy / self._sum(self.weight)
        mean = xp.where(mean > 0, mean, xp.ones_like(mean))
        return xp.astype(self.weight_norm, xp.float64) * self.fit.stiffness / mean

    @property
    def ascent_at_zero(self) -> Array:
        """Spectrum of W q, whose analysis is minus a subgradient at zero codes."""
        image = namespace(self.target).zeros_like(self.target)
        return self.ascent(self.fit.descent(self._shifted(image), self.target))

    def predict(self, spectrum: Array) -> Array:
        """A D x on the grid from its spectrum."""
        return fft.inverse(spectrum, self.synthesis.grid, self.synthesis.real)

    def back(self, data: Array) -> Array:
        """Spectrum whose analysis is (A D)ᴴ d; the adjoint of `predict`."""
        return fft.forward(data, self.synthesis.grid)

    def ahead(self, spectrum: Array) -> Array:
        """W A D x on the grid, the dual point whose product with q is ⟨A D x, p⟩, from the spectrum of A D x."""
        return self.weight * self.predict(spectrum)

    def dot(self, a: Array, b: Array) -> Array:
        """Re⟨a, b⟩ of each item, in float64, for images on the grid."""
        return self._sum(namespace(a).real(namespace(a).conj(a) * b) if is_complex(a) else a * b)

    def reach(self, q: Array) -> Array:
        """The largest s ≤ 1 of each item for which s q is a dual point."""
        xp = namespace(q)
        reach = xp.where(self.weight > 0, self.fit.reach(q), xp.ones_like(self.weight))
        return xp.astype(xp.min(self._items(reach), axis=1), xp.float64)

    def value(self, spectrum: Array) -> Array:
        """f(A D x) of each item, in float64, from the spectrum of A D x."""
        xp = namespace(self.weight)
        values = self.fit.value(self._shifted(self.predict(spectrum)), self.target)
        return self._sum(self.weight * xp.where(self.weight > 0, values, xp.zeros_like(values)))

    def gradient(self, spectrum: Array) -> Array:
        """Spectrum whose analysis is the gradient of f(A D x), from the spectrum of A D x."""
        if not self.fit.smooth:
            raise TypeError(f"fit={self.fit.name!r} has no gradient")
        return -self.ascent(self.descent(spectrum))

    def descent(self, spectrum: Array) -> Array:
        """The dual point q that the derivative of f (or a subgradient) gives, from the spectrum of A D x."""
        return self.fit.descent(self._shifted(self.predict(spectrum)), self.target)

    def ascent(self, q: Array) -> Array:
        """Spectrum of p = W q, whose analysis is (A D)ᴴ p."""
        return self.back(self.weight * q)

    def prox(self, image: Array, sigma: Array) -> Array:
        """argmin over w of f(w) + σ/2 ‖w − image‖², with σ for each row."""
        moved = self.fit.prox(self._shifted(image), self.target, self.weight / per_item(sigma, image.ndim))
        return moved if self.offset is None else moved - self.offset

    def moved(self, data: Array, sigma: Array) -> Array:
        """`prox`, with σ for each item."""
        return self.prox(data, self._per_row(sigma))

    def multiplier(self, image: Array, split: Array, sigma: Array) -> Array:
        """The dual point q = σ (split − image) / W, with split = prox(image): −p is a subgradient of f at split."""
        xp = namespace(image)
        seen = self.weight > 0
        q = per_item(sigma, image.ndim) * (split - image) / xp.where(seen, self.weight, xp.ones_like(self.weight))
        return self.fit.project(xp.where(seen, q, xp.zeros_like(q)), self._shifted(split), self.target)

    def dual(self, q: Array, scale: Array) -> Array:
        """−f*(−s p) of each item, in float64, for p = W q and 0 ≤ s ≤ 1 of each item."""
        q = q * per_item(self._per_row(scale), q.ndim)
        values = self.fit.dual(q, self.target)
        return self._sum(self.weight * (values if self.offset is None else values - q * self.offset))

    def shrinkage(self, spectrum: Array) -> Array:
        """The largest τ ≤ 1 of each item for which f(τ A D x) is finite, up to rounding."""
        xp, image = namespace(self.weight), self.predict(spectrum)
        if self.offset is None:
            return xp.ones_like(self.weight_norm)
        size = xp.max(xp.abs(self._items(image)), axis=1)
        margin = per_item(self._per_row(64 * float(xp.finfo(image.dtype).eps) * size), image.ndim)
        most = xp.maximum(self.offset - margin, self.offset / 2)
        below = (self.weight > 0) & (image < -most)
        ratio = xp.where(below, most / xp.where(below, -image, xp.ones_like(image)), xp.ones_like(image))
        return xp.min(self._items(ratio), axis=1)

    def take(self, items: Array) -> SplitFit:
        """The data term of some items of the batch."""
        new = copy(self)
        for derived in ("weight_norm", "energy"):
            new.__dict__.pop(derived, None)
        new.signal, new.mask = taken(self.signal, items), taken(self.mask, items)
        for name in ("weight", "target", "offset"):
            whole = getattr(self, name)
            if whole is not None:
                part = namespace(whole).take(self._items(whole), items, axis=0)
                setattr(new, name, namespace(whole).reshape(part, (-1, *whole.shape[1:])))
        return new

    def _shifted(self, image: Array) -> Array:
        return image if self.offset is None else image + self.offset

    def _items(self, rows: Array) -> Array:
        return namespace(rows).reshape(rows, (self.signal.shape[0], -1))

    def _per_row(self, items: Array) -> Array:
        xp = namespace(items)
        return xp.repeat(xp.astype(items, self.weight.dtype, copy=False), self.synthesis.groups)

    def _sum(self, values: Array) -> Array:
        xp = namespace(values)
        return xp.sum(self._items(values), axis=1, dtype=xp.float64)


class ForwardFit(SplitFit):
    r"""f(A D x) for any A: it is not folded into the filters, and images are data, (batch, \*data shape)."""

    folded = False

    def _system(self) -> Synthesis:
        return self.synthesis

    def _laid(self, data: Array) -> Array:
        return data

    def predict(self, spectrum: Array) -> Array:
        return applied(self.forward, self.synthesis.image(spectrum))

    def back(self, data: Array) -> Array:
        return back_projected(self.synthesis, self.forward, data)

    def take(self, items: Array) -> SplitFit:
        new = super().take(items)
        new.forward = None if self.forward is None else self.forward.take(items)
        return new

    def _per_row(self, items: Array) -> Array:
        return namespace(items).astype(items, self.weight.dtype, copy=False)


def folds(synthesis: Synthesis, forward: LinearOperator) -> bool:
    """Whether A is a convolution on a circular boundary, by what it says and what it does to a ramp."""
    response = forward.response(synthesis.like)
    if response is None or synthesis.boundary != "circular" or forward.input_shape != forward.output_shape:
        return False
    xp, like = namespace(synthesis.like), synthesis.like
    ramp = xp.arange(math.prod(forward.input_shape), device=like.device)
    ramp = xp.cos(xp.astype(ramp, real_dtype(like)) * 1.234)
    probe = xp.astype(xp.reshape(ramp, (1, *forward.input_shape)), like.dtype, copy=False)
    wanted = forward.apply(probe)
    if synthesis.real and is_complex(wanted):
        return False
    found = synthesis.image(synthesis.spectrum(probe) * response)
    return float(xp.max(xp.abs(wanted - found))) <= 1e-3 * float(xp.max(xp.abs(wanted)))
