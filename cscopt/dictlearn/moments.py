"""Second moments of codes: all that the data say about the filters, whatever the number of images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import starmap
from typing import Any

import numpy as np

from cscopt import fft
from cscopt.backend import Array, is_complex, namespace, to_numpy
from cscopt.codes import SparseCodes
from cscopt.problem import CSCProblem
from cscopt.solvers.working_set import active_sets

_PAIR = 1e-8
_PIXEL = 1.5e-9
_AT_A_TIME = 2
"""Maps that one is correlated with at a time, so that there is no array of all products."""


class Quadratic:
    """½⟨d, A d⟩ − ⟨b, d⟩ + ½ ‖W y‖² of the filters d, with b as `data` and ‖W y‖² as `energy`."""

    data: Any
    energy: float

    def apply(self, filters: Any) -> Any:
        """A d."""
        raise TypeError(f"{type(self).__name__} does not define apply")

    def value(self, filters: Any, applied: Any = None) -> float:
        """The quadratic at d; `applied` is A d, where it is known."""
        applied = self.apply(filters) if applied is None else applied
        return float(np.sum(filters * (applied / 2 - self.data)) + self.energy / 2)


@dataclass(frozen=True)
class Moments(Quadratic):
    r"""½ ‖y − Σ_m d_m * x_m‖² as a quadratic of the filters, ½⟨d, A d⟩ − ⟨b, d⟩ + ½ ‖y‖².

    A[m, n, δ] = Σ_p Re(conj(x_m(p)) x_n(p + δ)) and b[m, c, t] = Σ_p Re(conj(x_m(p)) y_c(p + t)), so that
    (A d)_m(t) = Σ_n Σ_s A[m, n, t − s] d_n(s). Sums of moments are the moments of all images together.

    Parameters
    ----------
    codes : ndarray, (M, M, \*lags)
        A, with 2k − 1 lags an axis for a support of k, negative lags from the end.
    data : ndarray, (M, C, \*support)
        b.
    energy : float
        ‖y‖².

    Notes
    -----
    Moreau and Gramfort 2020 (DiCoDiLe), section 4: φ and ψ there. As surrogate of an online learner: Mairal et al.
    2010.
    """

    codes: Any
    data: Any
    energy: float

    @classmethod
    def zero(cls, shape: tuple[int, ...]) -> Moments:
        r"""Of no image, for filters of a shape (M, C, \*support)."""
        lags = tuple(2 * k - 1 for k in shape[2:])
        return cls(np.zeros((shape[0], shape[0], *lags)), np.zeros(shape), 0.0)

    def plus(self, other: Moments, keep: float = 1.0, share: float = 1.0) -> Moments:
        """keep · self + share · other."""
        codes = share * other.codes
        for row, mine in zip(codes, self.codes, strict=True):  # for each array is large
            row += keep * mine
        return Moments(
            codes,
            keep * self.data + share * other.data,
            keep * self.energy + share * other.energy,
        )

    def without(self, atoms: Any) -> Moments:
        """The moments with nothing known of some filters."""
        codes, data = self.codes.copy(), self.data.copy()
        codes[atoms], codes[:, atoms], data[atoms] = 0, 0, 0
        return Moments(codes, data, self.energy)

    @cached_property
    def spectrum(self) -> Any:
        r"""Spectrum of A, (\*frequencies, M, M)."""
        maps, lags = len(self.codes), self.codes.shape[2:]
        spectrum = np.empty((*lags[:-1], lags[-1] // 2 + 1, maps, maps), np.complex128)
        for m, row in enumerate(self.codes):
            spectrum[..., m, :] = np.moveaxis(np.fft.rfftn(row, axes=tuple(range(1, row.ndim))), 0, -1)
        return spectrum

    @property
    def scales(self) -> Any:
        """Curvature of each filter, ‖x_m‖², (M,)."""
        m = np.arange(len(self.codes))
        return self.codes[(m, m) + (0,) * (self.codes.ndim - 2)]

    def curvature(self, scales: Any) -> float:
        """About the largest eigenvalue of S^(−½) A S^(−½), S = diag(scales), by power iteration at each frequency."""
        roots = 1 / np.sqrt(scales)[:, None]
        matrices = self.spectrum.reshape((-1, len(scales), len(scales)))
        vectors, largest = np.random.default_rng(0).standard_normal((*matrices.shape[:2], 1)) + 0j, 0.0
        for _ in range(10):
            vectors = roots * (matrices @ (roots * vectors))
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            largest = float(norms.max())
            vectors = vectors / np.where(norms > 0, norms, 1)
        return largest

    def apply(self, filters: Any) -> Any:
        """A d."""
        support = filters.shape[2:]
        lags, axes = self.codes.shape[2:], tuple(range(2, filters.ndim))
        spectra = np.moveaxis(np.fft.rfftn(filters, lags, axes), (0, 1), (-2, -1))
        product = np.moveaxis(self.spectrum @ spectra, (-2, -1), (0, 1))
        whole = np.fft.irfftn(product, lags, axes)
        return whole[(slice(None), slice(None), *(slice(0, k) for k in support))]


def moments(problem: CSCProblem, codes: SparseCodes | Array) -> Moments:
    """Moments of codes of one problem (no mask, no forward operator, and a circular or zero boundary)."""
    energy = float(namespace(problem.datafit.energy).sum(problem.datafit.energy))
    if not isinstance(codes, SparseCodes):
        return _dense(problem, codes, energy)
    reach = problem.synthesis.n_filters * np.prod([2.0 * k - 1 for k in problem.dictionary.support])
    near = len(codes) * codes.density * reach  # pairs of non-zeros within reach of each other
    if _PAIR * near < _PIXEL * problem.synthesis.n_filters * np.prod([float(n) for n in codes.shape]):
        return _sparse(problem, codes, energy)
    return _dense(problem, codes.to_dense(), energy)


def _sparse(problem: CSCProblem, codes: SparseCodes, energy: float) -> Moments:
    from cscopt.kernels import moments as kernels

    sites, support = problem.synthesis.sites, problem.dictionary.support
    target = problem.datafit.on_grid[1]
    shape = (problem.dictionary.n_filters, problem.dictionary.channels, *support)
    square = (*shape[:1] * 2, *(2 * k - 1 for k in support))

    def of_item(item: int, active: Any) -> Moments:
        rows = slice(item * problem.synthesis.groups, (item + 1) * problem.synthesis.groups)
        image = np.ascontiguousarray(target[rows], active.values.dtype).reshape(-1)
        pairs = kernels.pairs(sites, active.keys, active.values).reshape(square)
        return Moments(pairs, kernels.patches(sites, image, active.keys, active.values).reshape(shape), 0.0)

    found = reduce(Moments.plus, starmap(of_item, enumerate(active_sets(problem, codes))))
    return Moments(found.codes, found.data, energy)


def _dense(problem: CSCProblem, codes: Array, energy: float) -> Moments:
    """By FFT, one filter against itself and those after it, a few at a time: A[n, m, δ] is A[m, n, −δ]."""
    synthesis, support = problem.synthesis, problem.dictionary.support
    n_filters, space = synthesis.n_filters, tuple(range(1, len(support) + 1))
    rows = namespace(problem.signal).reshape(codes, (-1, n_filters, *synthesis.code_space))
    spectra = fft.forward(rows, synthesis.grid, True)
    del rows, codes
    target = problem.datafit.ascent_at_zero
    none, back = (0,) * len(support), tuple(1 - k for k in support)
    found = Moments.zero((n_filters, problem.dictionary.channels, *support))
    for m in range(n_filters):
        one = spectra[:, m : m + 1, ...]
        found.data[m] = _correlated(problem, one, target, none)
        for first in range(m, n_filters, _AT_A_TIME):
            some = slice(first, first + _AT_A_TIME)
            lags = _correlated(problem, one, spectra[:, some, ...], back)
            found.codes[m, some] = np.roll(lags, back, space)
            found.codes[some, m] = np.roll(np.flip(lags, space), back, space)
    return Moments(found.codes, found.data, energy)


def _correlated(problem: CSCProblem, one: Any, others: Any, least: tuple[int, ...]) -> Any:
    """Σ_p Re(conj(one(p)) other(p + t)), summed over rows, for t from `least` to the support: (others, *lags)."""
    synthesis, xp = problem.synthesis, namespace(others)
    image = fft.inverse(xp.sum(xp.conj(one) * others, axis=0), synthesis.grid, synthesis.real, True)
    ranges = zip(least, problem.dictionary.support, synthesis.grid, strict=True)
    whole: tuple[Any, ...] = (slice(None), *np.ix_(*(np.arange(low, k) % n for low, k, n in ranges)))
    return to_numpy(xp.real(image) if is_complex(image) else image)[whole].astype(np.float64)
