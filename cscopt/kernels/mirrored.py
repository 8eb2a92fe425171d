"""Atoms of a boundary where codes go on as their mirror image: near it they are filters of their own.

A coefficient and its copies beyond the border make one atom, which is cut off at the border: it lies within the box of
a support that is pushed back inside. What it looks like there depends on the coefficient's distance from the border
alone, so that each filter has 2h + 1 forms along an axis, with h half its support; see `Mirror` for the definition.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from cscopt.kernels.reference import FilterSpectrum
from cscopt.kernels.scalars import compiled
from cscopt.kernels.sites import Sites, three
from cscopt.kernels.tiles import Axis, Correlator, cuts


class MirroredSites(Sites):
    r"""`Sites` for atoms of mirrored codes: keys count the pixels of the image, and no atom wraps around."""

    def __init__(self, filters: Any, space: tuple[int, ...], groups: int) -> None:
        super().__init__(filters, space, groups)
        self.half = tuple(k // 2 for k in self.reach)
        forms = [_forms(k) for k in self.reach]
        taps = np.asarray(filters, np.float64).reshape((self.maps, filters.shape[1], *self.reach))
        every = np.einsum("uai,vbj,wck,mnijk->uvwmnabc", *forms, taps, optimize=True)
        self.filters = np.ascontiguousarray(every, filters.dtype).reshape(-1)
        self.touched = tuple((1 - k, 2 * k - 1) for k in self.reach)

    def first(self, q: Any, m: Any) -> Any:
        form = np.zeros_like(q)
        for a, n, h in zip(self.coordinates(q)[1:], self.extents, self.half, strict=True):
            form = form * (2 * h + 1) + np.minimum(a, h) + np.maximum(a - (n - 1 - h), 0)
        return (form * self.maps + m) * self.taps

    def places(self, q: Any, distance: int | None = None) -> Any:
        group, *starts = self._starts(q)
        line = (group * self.extents[0] + starts[0]) * self.extents[1] + starts[1]
        return line * (self.extents[2] if distance is None else distance) + starts[2]

    def bands(self, q: Any) -> Any:
        group, *starts = self._starts(q)
        rows = [start if a == self.banded else np.zeros_like(q) for a, start in enumerate(starts)]
        line = (group * self.extents[0] + rows[0]) * self.extents[1] + rows[1]
        return np.searchsorted(line * self.extents[2] + rows[2], self.edges).astype(np.int64)

    def _starts(self, q: Any) -> tuple[Any, ...]:
        """Group, and where the box of each atom begins."""
        group, *places = self.coordinates(q)
        inside = zip(places, self.half, self.extents, self.reach, strict=True)
        return group, *(np.clip(a - h, 0, n - k) for a, h, n, k in inside)


class MirroredCorrelator(Correlator):
    """`Correlator` for atoms of mirrored codes: tiles at the border reach beyond it, and are folded back."""

    def __init__(self, filters: Any, space: tuple[int, ...], dtype: Any, known: FilterSpectrum | None = None) -> None:
        self.half = three(tuple(k // 2 for k in filters.shape[2:]), 0)
        self.before = three(tuple(k - 1 - k // 2 for k in filters.shape[2:]), 0)
        super().__init__(filters, space, dtype, known=known)

    def _cuts(self, n: int, k: int) -> list[Axis]:
        return cuts(n, k, self.cell, seam=k - 1, least=k // 2)

    def _load(self, image: Any, origin: tuple[int, ...], tile: Any) -> None:
        """The image about a tile, half a support on, so that a coefficient's correlation stands at its place.

        The tile's last `before` pixels are those before its origin.
        """
        begin = tuple(o - h - b for o, h, b in zip(origin, self.half, self.before, strict=True))
        lay(image, begin, self.before, tile)

    def _settle(self, maps: Any, origin: tuple[int, ...]) -> None:
        rest = zip(origin, self._valid(origin), self.extents, self.before, self.half, strict=True)
        for axis, (first, valid, n, before, after) in enumerate(rest, start=1):
            lines = maps.reshape((-1, maps.shape[axis], math.prod(maps.shape[axis + 1 :])))
            fold(lines, valid, before if first == 0 else 0, after if first + valid == n else 0)


def _forms(k: int) -> Any:
    """T (forms, k, k): the atom of a coefficient in its box, of taps d, is T[form] d along an axis."""
    h, n = k // 2, 4 * k
    forms = np.zeros((2 * h + 1, k, k))
    for form, p in enumerate([*range(h), 2 * k, *range(n - h, n)]):
        start = min(max(p - h, 0), n - k)
        copies = {p} | ({-1 - p} if p < k - 1 - h else set()) | ({2 * n - 1 - p} if p >= n - h else set())
        for e, tap in itertools.product(copies, range(k)):
            t = e + tap - h
            if 0 <= t < n:
                forms[form, t - start, tap] += 1
    return forms


@compiled
def lay(image: Any, begin: Any, before: Any, tile: Any) -> None:
    """Cut a tile (channels, T0, T1, T2) out of an image, zero outside it, from `begin` on; turn it by −`before`."""
    for c in range(tile.shape[0]):
        for i in range(tile.shape[1]):
            a = begin[0] + (i + before[0]) % tile.shape[1]
            for j in range(tile.shape[2]):
                b = begin[1] + (j + before[1]) % tile.shape[2]
                inside = 0 <= a < image.shape[1] and 0 <= b < image.shape[2]
                for e in range(tile.shape[3]):
                    at = begin[2] + (e + before[2]) % tile.shape[3]
                    tile[c, i, j, e] = image[c, a, b, at] if inside and 0 <= at < image.shape[3] else 0


@compiled
def fold(maps: Any, n: Any, before: Any, after: Any) -> None:
    """Eᵀ in place along the middle axis: what stands before 0 (at its end) and from n on."""
    last = maps.shape[1] - 1
    for m in range(maps.shape[0]):
        for i in range(before):
            maps[m, i] += maps[m, last - i]
        for i in range(after):
            maps[m, n - 1 - i] += maps[m, n + i]
