"""Atoms that no image uses, replaced by what the others explain worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cscopt.backend import to_numpy
from cscopt.dictlearn.data import Sample
from cscopt.dictlearn.engine import Engine
from cscopt.dictlearn.state import LearnState

_FROM = 4


def revive(
    engine: Engine, state: LearnState, samples: Sequence[Sample], share: float, seed: Sequence[int]
) -> LearnState:
    """Replace atoms whose usage is below a share of the mean by the pieces of largest residual of a few images."""
    dead = np.flatnonzero(state.usage < share * state.usage.mean())
    if share <= 0 or len(dead) == 0:
        return state
    random = np.random.default_rng(list(seed))
    chosen = random.permutation(len(samples))[:_FROM]
    pieces: list[Any] = []
    for k, number in enumerate(chosen):
        wanted = len(dead[k :: len(chosen)])
        if wanted:
            pieces += _worst(engine, state, samples[number], wanted, random)
    filters = engine.constraint.on_sphere.project(np.stack(pieces).astype(np.float64))
    useful = np.any(filters.reshape(len(filters), -1), axis=1)
    return engine.revived(state, dead[: len(filters)][useful], filters[useful])


def _worst(engine: Engine, state: LearnState, sample: Sample, wanted: int, random: np.random.Generator) -> list[Any]:
    """Pieces of an image's residual, the largest first, that do not overlap as long as there are any."""
    from scipy.ndimage import uniform_filter

    solution = engine.code(engine.problem(sample.image, state.filters, sample.mask))
    left = to_numpy(sample.image) - to_numpy(solution.reconstruction)[0]
    if sample.mask is not None:
        left = left * to_numpy(sample.mask)
    support, channels = state.filters.shape[2:], state.filters.shape[1]
    found: list[Any] = []
    power = np.sum(np.abs(left).astype(np.float64) ** 2, axis=0)
    local = uniform_filter(power, support, mode="constant", origin=tuple(-(k // 2) for k in support))
    valid = local[tuple(slice(0, n - k + 1) for n, k in zip(power.shape, support, strict=True))].copy()
    for _ in range(wanted):
        if valid.max() <= 0:
            return [*found, *random.standard_normal((wanted - len(found), channels, *support))]
        corner = np.unravel_index(np.argmax(valid), valid.shape)
        box = tuple(slice(c, c + k) for c, k in zip(corner, support, strict=True))
        patch = left[(slice(None), *box)]
        if channels == 1:
            patch = patch[np.argmax(np.sum(np.abs(patch) ** 2, axis=tuple(range(1, patch.ndim))))][None]
        real, imag = np.real(patch), np.imag(patch)
        found.append(real if np.sum(real**2) >= np.sum(imag**2) else imag)
        valid[tuple(slice(max(0, c - k + 1), c + k) for c, k in zip(corner, support, strict=True))] = 0
    return found
