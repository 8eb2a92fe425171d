"""Sweeps for penalties that the fused twins do not know: their transforms, and between these the proximal map.

With NumPy arrays all else is one compiled pass before the proximal map and one after, in place.
"""

from __future__ import annotations

from types import ModuleType

from cscopt.backend import Array, is_numpy
from cscopt.kernels import FilterSpectrum, Regularizer, for_array, reference
from cscopt.kernels.reference import Sums, proximal, weighted_l1

__all__ = ["admm_sweep", "admm_update", "fista_sweep", "ista_sweep", "proximal", "weighted_l1"]


def ista_sweep(
    x: Array, residual: Array, filters: FilterSpectrum, levels: Regularizer, step_size: Array
) -> tuple[Array, Array, Sums]:
    """Twin of `reference.ista_sweep`; `x` may be updated in place."""
    new, sums = _updates(x).ista_update(x, _ascent(x, residual, filters, levels), levels, step_size)
    return new, for_array(x).synthesize(new, filters), sums


def fista_sweep(
    x: Array,
    point: Array,
    residual: Array,
    filters: FilterSpectrum,
    levels: Regularizer,
    step_size: Array,
    momentum: Array,
) -> tuple[Array, Array, Array, Sums]:
    """Twin of `reference.fista_sweep`; `x` and `point` may be updated in place."""
    ascent = _ascent(point, residual, filters, levels)
    new, ahead, sums = _updates(x).fista_update(x, point, ascent, levels, step_size, momentum)
    return new, ahead, for_array(x).synthesize(ahead, filters), sums


def admm_sweep(
    v: Array, correction: Array, filters: FilterSpectrum, levels: Regularizer, penalty: Array, relaxation: float
) -> tuple[Array, Array, Sums]:
    """Twin of `reference.admm_sweep`; `v` may be updated in place."""
    twin = for_array(v)
    new, ahead, sums = admm_update(v, twin.analyze(correction, filters), levels, penalty, relaxation)
    return new, twin.synthesize(ahead, filters), sums


def admm_update(
    v: Array, shift: Array, levels: Regularizer, penalty: Array, relaxation: float
) -> tuple[Array, Array, Sums]:
    """Twin of `reference.admm_update`; `v` and `shift` may be updated in place."""
    return _updates(v).admm_update(v, shift, levels, penalty, relaxation)


def _ascent(x: Array, residual: Array, filters: FilterSpectrum, levels: Regularizer) -> Array:
    """Minus the gradient of all that is smooth, at x."""
    ascent, pull = for_array(x).analyze(-residual, filters), levels.pull(x)
    return ascent if pull is None else ascent - pull


def _updates(array: Array) -> ModuleType:
    if not is_numpy(array):
        return reference
    from cscopt.kernels import passes

    return passes
