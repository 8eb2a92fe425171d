"""ADMM's step for a general operator A: the image near v that explains the data, by conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cscopt import fft
from cscopt.backend import Array, asarray_like, is_complex, namespace, per_item
from cscopt.datafit import LeastSquares
from cscopt.problem import CSCProblem

_PROBES, _LEAST, _SIGMA, _ENOUGH, _STEPS = 4, 0.03, 2.0, 1 / 3, 8
"""Probes of A's response; the share of its mean below which none counts; σ over its geometric mean; how much a step
brings the residual down; and conjugate gradients in one at most."""


@dataclass(frozen=True)
class Fitted:
    """An image w on the grid, W A w, AᴴWᴴW A w on the grid, and roughly what AᴴWᴴW A is at each frequency."""

    image: Array
    data: Array
    normal: Array
    response: Array


def fitted_at(problem: CSCProblem, image: Array, diagonal: Array) -> Fitted:
    """From an image w on the grid, (rows, channels, *grid), and A's `response`.

    Step by step W A w keeps the rounding of all that w has been; here it is that of w itself.
    """
    data = problem.datafit.observed(image)
    return Fitted(image, data, problem.datafit.explained(data), diagonal)


def response(fit: LeastSquares, like: Array) -> Array:
    """The diagonal of AᴴWᴴW A in the frequency domain, as probes with a flat spectrum and random phases see it.

    For a convolution it is exact; what A mixes is noise, whose mean is zero (Bekas, Kokiopoulou and Saad 2007).
    """
    xp, grid, rng = namespace(like), fit.synthesis.grid, np.random.default_rng(0)
    total: Any = 0.0
    for _ in range(_PROBES):
        noise = rng.standard_normal(like.shape)
        if is_complex(like):
            noise = noise + 1j * rng.standard_normal(like.shape)
        spectrum = fft.forward(asarray_like(noise, like, like.dtype), grid)
        spectrum = spectrum / xp.abs(spectrum)
        probe = fft.inverse(spectrum, grid, fit.synthesis.real)
        seen = fft.forward(fit.explained(fit.observed(probe)), grid)
        total = total + xp.real(xp.conj(spectrum) * seen)
    return xp.clip(total / _PROBES, min=0.0)


def first_sigma(problem: CSCProblem, diagonal: Array) -> Array:
    """Twice the geometric mean of A's response where the filters are: near the fastest σ where that was measured."""
    xp = namespace(diagonal)
    axes = tuple(range(1, diagonal.ndim))
    weight = xp.sum(problem.synthesis.gram[0], axis=0)[None, None, ...]
    whole = xp.sum(xp.broadcast_to(weight, diagonal.shape), axis=axes)
    mean = xp.sum(weight * diagonal, axis=axes) / whole
    floor = per_item(_LEAST * xp.where(mean > 0, mean, xp.ones_like(mean)), diagonal.ndim)
    found = _SIGMA * xp.exp(xp.sum(weight * xp.log(xp.maximum(diagonal, floor)), axis=axes) / whole)
    return problem.items_max(xp.astype(found, xp.float64))


def refined(problem: CSCProblem, fitted: Fitted, v: Array, sigma: Array) -> Fitted:
    """Nearer to argmin over w of ½‖W(A w − y)‖² + σ/2 ‖w − v‖², by steps of preconditioned conjugate gradients.

    w is already near, as v moves little from one iteration to the next, and where A is near to a convolution one step
    is enough: they end when the residual, in the preconditioner's norm, is a third of what it was.
    """
    fit, shift = problem.datafit, per_item(sigma, v.ndim)
    w, data, normal = fitted.image, fitted.data, fitted.normal
    xp = namespace(w)

    def preconditioned(residual: Array) -> tuple[Array, Array]:
        spectrum = fft.forward(residual, fit.synthesis.grid) / (fitted.response + shift)
        z = fft.inverse(spectrum, fit.synthesis.grid, fit.synthesis.real)
        return z, _dot(problem, residual, z)

    residual = fit.explained_target - normal - shift * (w - v)
    p, size = preconditioned(residual)
    enough = _ENOUGH**2 * size
    for _ in range(_STEPS):
        seen = fit.observed(p)
        back = fit.explained(seen)
        length = _ratio(size, _dot(problem, p, back + shift * p))
        step = per_item(problem.per_row(length), w.ndim)
        w, normal = w + step * p, normal + step * back
        data = data + per_item(xp.astype(length, problem.real), data.ndim) * seen
        residual = residual - step * (back + shift * p)
        z, new = preconditioned(residual)
        if not bool(xp.any(new > enough)):
            break
        p = z + per_item(problem.per_row(_ratio(new, size)), w.ndim) * p
        size = new
    return replace(fitted, image=w, data=data, normal=normal)


def _ratio(a: Array, b: Array) -> Array:
    """A / b, and 0 where b is."""
    xp = namespace(a)
    return xp.where(b > 0, a, xp.zeros_like(a)) / xp.where(b > 0, b, xp.ones_like(b))


def _dot(problem: CSCProblem, a: Array, b: Array) -> Array:
    """Re⟨a, b⟩ of the rows of each item, in float64."""
    xp = namespace(a)
    product = xp.real(xp.conj(a) * b) if is_complex(a) else a * b
    return problem.items_sum(xp.sum(product, axis=tuple(range(1, a.ndim)), dtype=xp.float64))
