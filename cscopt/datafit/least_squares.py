"""The least-squares data term ½‖W(y − A D x)‖² seen from the spectrum of D x."""

from __future__ import annotations

import math
from functools import cached_property

from cscopt.backend import Array, is_complex, is_numpy, namespace, per_item, real_dtype
from cscopt.datafit.layout import applied, back_image, back_projected, on_grid, ones, rows_of, taken
from cscopt.linop import LinearOperator
from cscopt.synthesis import Synthesis


class LeastSquares:
    r"""½‖W(y − A D x)‖² of each batch item, for a synthesis D, an operator A and weights W.

    A circular problem without W, and without A or with one that is diagonal there (`LinearOperator.response`), never
    leaves the Fourier domain: `system` is A D, and residuals are spectra. Others pay one FFT pair of the image, which
    is small beside that of the maps, and `system` is D.

    Parameters
    ----------
    signal : array, (batch, \*data shape)
        y.
    synthesis : Synthesis
        D.
    forward : LinearOperator, optional
        A, the identity if absent.
    mask : array, optional
        W, broadcasting against the signal; one if absent.
    system : Synthesis, optional
        A D, if it is known already.
    """

    quadratic = True

    def __init__(
        self,
        signal: Array,
        synthesis: Synthesis,
        forward: LinearOperator | None,
        mask: Array | None,
        system: Synthesis | None = None,
    ) -> None:
        xp = namespace(signal)
        self.signal, self.synthesis, self.forward, self.mask = signal, synthesis, forward, mask
        self.spectral = mask is None and synthesis.boundary == "circular" and synthesis.real != is_complex(signal)
        if self.spectral and forward is not None:
            self.spectral = self.response is not None
        self.folded = self.spectral
        self.system = self.through(synthesis) if system is None else system
        self.target = self._spectrum(signal) if self.spectral else self._weighted(signal)
        peak = xp.ones(signal.shape[0], dtype=real_dtype(signal), device=signal.device)
        if mask is not None:
            whole = xp.broadcast_to(mask, signal.shape)
            peak = xp.max(xp.abs(whole), axis=tuple(range(1, signal.ndim)))
        self.weight_norm = peak

    @cached_property
    def response(self) -> Array | None:
        """A's factor in the frequency domain, where that is what it is."""
        return None if self.forward is None else self.forward.response(self.synthesis.like)

    def through(self, synthesis: Synthesis) -> Synthesis:
        """A D for this A and another D, where this term is spectral; else D."""
        return synthesis.through(self.response) if self.spectral and self.response is not None else synthesis

    def _spectrum(self, signal: Array) -> Array:
        if self.forward is None:
            return self.synthesis.spectrum(signal)
        spectrum = self.forward.spectrum_of(signal)
        return namespace(spectrum).reshape(spectrum, (-1, self.synthesis.image_channels, *spectrum.shape[2:]))

    @cached_property
    def energy(self) -> Array:
        """‖W y‖² of each item, in float64."""
        return self.measures(self.target)[0]

    @property
    def ascent_at_zero(self) -> Array:
        """Spectrum of Aᴴ Wᴴ W y, whose analysis is minus the gradient at zero codes."""
        return self.ascent(self.target)

    def value(self, spectrum: Array) -> Array:
        """½‖W(y − A D x)‖² of each item, in float64, from the spectrum of D x."""
        return self.measures(self.residual(spectrum))[0] / 2

    def gradient(self, spectrum: Array) -> Array:
        """Spectrum whose analysis is the gradient, from the spectrum of D x."""
        return -self.ascent(self.residual(spectrum))

    def residual(self, spectrum: Array) -> Array:
        """W(y − A D x) as this term keeps it, from the spectrum of D x."""
        return self.target - self.ahead(spectrum)

    def ahead(self, spectrum: Array) -> Array:
        """W A D x as this term keeps it, from the spectrum of D x."""
        return spectrum if self.spectral else self.project(spectrum)

    def project(self, spectrum: Array) -> Array:
        """W A D x in the data's space, from the spectrum of D x."""
        return self._weighted(self.predict(spectrum))

    def predict(self, spectrum: Array) -> Array:
        """A D x in the data's space, from the spectrum of D x."""
        return applied(self.forward, self.synthesis.image(spectrum))

    def ascent(self, residual: Array) -> Array:
        """Spectrum of Aᴴ Wᴴ r, whose analysis is minus the gradient."""
        if self.spectral:
            return residual
        return self.back(self._weighted(residual))

    def back(self, data: Array) -> Array:
        """Spectrum of Aᴴ d, whose analysis is DᴴAᴴ d; the adjoint of `predict`."""
        return back_projected(self.synthesis, self.forward, data)

    def observed(self, rows: Array) -> Array:
        """W A w of an image w on the grid, (rows, channels, *grid)."""
        return self._weighted(applied(self.forward, self.synthesis.cropped(rows)))

    def explained(self, data: Array) -> Array:
        """AᴴWᴴ d on the grid; the adjoint of `observed`."""
        return on_grid(self.synthesis, back_image(self.synthesis, self.forward, self._weighted(data)))

    @cached_property
    def explained_target(self) -> Array:
        """AᴴWᴴ W y on the grid."""
        return self.explained(self.target)

    def descend(self, spectrum: Array) -> tuple[Array, Array, Array]:
        """Spectrum whose analysis is the gradient, and `measures` of r; the spectrum of D x may be overwritten."""
        if self.spectral and is_numpy(spectrum):
            from cscopt.kernels import spectra

            slope, sums = spectra.descend(spectrum, self.target, self._counts)
            return slope, *map(self._of_items, sums)
        residual = self.residual(spectrum)
        return -self.ascent(residual), *self.measures(residual)

    def correct(self, spectrum: Array, shift: Array) -> tuple[Array, Array, Array]:
        """c = (A D DᴴAᴴ + shift)⁻¹ r and its `measures`, where this term is spectral; shift is (rows,).

        The spectrum of A D x may be overwritten.
        """
        if is_numpy(spectrum):
            from cscopt.kernels import spectra

            found, sums = spectra.correct(spectrum, self.target, self.system.gram, shift, self._counts)
            return found, *map(self._of_items, sums)
        found = self.system.solve_gram(self.residual(spectrum), shift)
        return found, *self.measures(found)

    def measures(self, residual: Array) -> tuple[Array, Array]:
        """‖r‖² and Re⟨W y, r⟩ of each item, in float64."""
        return self.dot(residual, residual), self.dot(self.target, residual)

    def dot(self, a: Array, b: Array) -> Array:
        """Re⟨a, b⟩ of each item, in float64, by Parseval where residuals are spectra."""
        xp = namespace(a)
        product = xp.real(xp.conj(a) * b) if is_complex(a) else a * b
        if self.spectral and self.synthesis.real:
            product = product * self._counts
        total = xp.sum(product, axis=tuple(range(1, product.ndim)), dtype=xp.float64)
        return self._of_items(total) if self.spectral else total

    def _of_items(self, sums: Array) -> Array:
        """Sums over spectra, one a row, as inner products of images, one an item."""
        sums, groups = sums / math.prod(self.synthesis.grid), self.synthesis.groups
        return namespace(sums).sum(namespace(sums).reshape(sums, (-1, groups)), axis=1) if groups > 1 else sums

    def reach(self, point: Array) -> Array:
        """How far a dual point of each item may be scaled: 1, every point is one."""
        return namespace(self.energy).ones_like(self.energy)

    @cached_property
    def _counts(self) -> Array:
        """How often each frequency counts along the last axis: once, and inside a half spectrum twice."""
        n, xp = self.synthesis.grid[-1], namespace(self.signal)
        length = n // 2 + 1 if self.synthesis.real else n
        one = xp.ones(length, dtype=real_dtype(self.signal), device=self.signal.device)
        if not self.synthesis.real:
            return one
        index = xp.arange(length, device=self.signal.device)
        return xp.where((index == 0) | (2 * index == n), one, 2 * one)

    def _weighted(self, data: Array) -> Array:
        return data if self.mask is None else self.mask * data

    def prox(self, image: Array, rho: Array) -> Array:
        """argmin over w of ½‖W(w − y)‖² + ρ/2 ‖w − image‖², on the grid (rows, channels, *grid), without A."""
        weight, weighted = self.on_grid
        rho = per_item(rho, image.ndim)
        return (weighted + rho * image) / (weight + rho)

    @cached_property
    def on_grid(self) -> tuple[Array, Array]:
        """W² and W² y laid on the grid, where W = 0 outside the image."""
        weight, weighted = self._weights()
        return on_grid(self.synthesis, weight), on_grid(self.synthesis, weighted)

    @cached_property
    def on_sites(self) -> tuple[Array, Array]:
        """W² and W² y where `Synthesis.sites` has its pixels: on the grid, or the image itself for mirrored codes."""
        if self.synthesis.mirror is None:
            return self.on_grid
        weight, weighted = self._weights()
        return rows_of(self.synthesis, weight), rows_of(self.synthesis, weighted)

    def _weights(self) -> tuple[Array, Array]:
        """W² and W² y in the data's space."""
        signal = self.signal
        weight = ones(signal) if self.mask is None else ones(signal) * self.mask**2
        image = namespace(signal).real(signal) if self.synthesis.real and is_complex(signal) else signal
        return weight, weight * image

    def moved(self, data: Array, sigma: Array) -> Array:
        """argmin over u of ½‖W(u − y)‖² + σ/2 ‖u − data‖² in the data's space, with σ for each item."""
        square = 1.0 if self.mask is None else self.mask**2
        sigma = per_item(namespace(sigma).astype(sigma, real_dtype(data), copy=False), data.ndim)
        return (square * self.signal + sigma * data) / (square + sigma)

    def slope(self, data: Array) -> Array:
        """WᴴW(u − y), the derivative at u = `data`."""
        return self._weighted(self._weighted(data - self.signal))

    def multiplier(self, data: Array, moved: Array, sigma: Array) -> Array:
        """The dual point θ = W(y − u) of u = `moved`: −Wᴴ θ is the derivative of the data term there."""
        return self._weighted(self.signal - moved)

    def take(self, items: Array) -> LeastSquares:
        """The data term of some items of the batch."""
        mask = taken(self.mask, items)
        forward = None if self.forward is None else self.forward.take(items)
        system = self.system if forward is self.forward else None
        return LeastSquares(taken(self.signal, items), self.synthesis, forward, mask, system)
