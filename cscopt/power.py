"""Power iteration: the largest eigenvalue of a normal operator on images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cscopt.backend import Array, namespace, per_item, real_dtype
from cscopt.synthesis import Synthesis

_ITERATIONS = 12


def curvature(fit: Any, synthesis: Synthesis, batch: int) -> Array:
    """Estimate of ‖W A D‖², or ‖A D‖² where the fit is not least squares: of images, so that no map is made.

    Where A is folded into the filters it is known.
    """
    if fit.folded:
        return namespace(fit.weight_norm).ones_like(fit.weight_norm) * fit.system.norm_sq

    def normal(image: Array) -> Array:
        spectrum = synthesis.spectrum(image)
        back = fit.ascent(fit.project(spectrum)) if fit.quadratic else fit.back(fit.predict(spectrum))
        return synthesis.image(synthesis.apply_gram(back))

    return power_iteration(synthesis, batch, normal)


def power_iteration(synthesis: Synthesis, batch: int, normal: Callable[[Array], Array]) -> Array:
    r"""Estimate from below of the largest eigenvalue of an operator on images (batch, channel, \*space), item by item.

    It begins with a chirp, which has all frequencies, so that the same problem gives the same bits.
    """
    xp, like = namespace(synthesis.like), synthesis.like
    shape = (synthesis.channels, *synthesis.space)
    chirp = xp.cos(xp.astype(xp.arange(math.prod(shape), device=like.device), real_dtype(like)) ** 2 * 0.7)
    image = xp.astype(xp.broadcast_to(xp.reshape(chirp, (1, *shape)), (batch, *shape)), like.dtype)

    def norm(a: Array) -> Array:  # of ‖A‖², whose squares may leave single precision
        size = xp.sqrt(xp.sum(xp.astype(xp.abs(a), xp.float64) ** 2, axis=tuple(range(1, a.ndim))))
        return xp.astype(size, real_dtype(like))

    size = norm(image)
    for _ in range(_ITERATIONS):
        image = normal(image / per_item(xp.where(size > 0, size, xp.ones_like(size)), image.ndim))
        size = norm(image)
    return xp.maximum(size, xp.full_like(size, float(xp.finfo(size.dtype).smallest_normal)))
