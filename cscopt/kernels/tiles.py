"""Correlation of an image with all filters, tile by tile (overlap-save), without keeping a map.

A pass holds a few maps of one tile in each thread, and the filters' spectra on a tile: tiles are small whatever the
size of the image, unless the support is large.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cscopt import checks, fft
from cscopt.kernels import cells, pointwise
from cscopt.kernels.pool import shared_out
from cscopt.kernels.reference import Levels
from cscopt.kernels.sites import three

_CHUNK, _SHORT = 1 << 15, 16
_CACHED, _MANY = 1 << 17, 1 << 18
"""Pixels of a tile that caches serve, and beyond which each costs in proportion to their number (memory, too)."""

_DOUBLING, _LINE, _ODD = 0.15, 8, 1.5
"""Cost of a pixel: so much more for each doubling beyond `_CACHED`; as of so many pixels more in each line; and where
lines have an odd length (measured on pictures of 256² to 4096²)."""


class Axis(NamedTuple):
    """How an axis is cut: `length` of a transform, `step` from one tile to the next."""

    length: int
    step: int


class Correlator:
    r"""Filters ready to be correlated with images on a circular grid.

    Parameters
    ----------
    filters : ndarray, (maps, channels, \*support)
        Real.
    grid : tuple of int
    dtype : dtype
        Of images and codes, real or complex.
    cell : int, default 2
        Side of the cells of which `pick` proposes one coefficient each.
    spectra : ndarray, optional
        Those of the filters on the grid, where they are known: a tile may be the whole grid.
    axes : tuple of Axis, optional
        How to cut the grid; the cheapest way if absent. `spectra` are on these tiles then.

    Attributes
    ----------
    tile : tuple of int
    spectra : ndarray, (maps, channels, \*frequencies)
        Those of the filters on a tile.
    """

    def __init__(
        self,
        filters: Any,
        grid: tuple[int, ...],
        dtype: Any,
        cell: int = 2,
        spectra: Any = None,
        axes: tuple[Axis, ...] | None = None,
    ) -> None:
        self.grid, self.dtype, self.cell = grid, np.dtype(dtype), cell
        self.axes = _cut(grid, filters.shape[2:], cell) if axes is None else axes
        self.tile = tuple(axis.length for axis in self.axes)
        if spectra is None or (axes is None and self.tile != tuple(grid)):
            if math.prod(self.tile) > _MANY:
                needed = math.prod(filters.shape[:2]) * math.prod(self.tile) * 2 * self.dtype.itemsize
                tile = "×".join(str(n) for n in self.tile)
                checks.memory(
                    needed, filters, f"spectra of {len(filters)} filters on {tile} pixels", "use fewer filters"
                )
            spectra = fft.forward(np.asarray(filters, self.dtype), self.tile, singly=True)
        self.spectra = spectra
        self.bank = spectra.reshape((*spectra.shape[:2], -1))
        self.extents = three(grid)
        self.origins = list(itertools.product(*(range(0, n, a.step) for n, a in zip(grid, self.axes, strict=True))))
        maps = len(filters)
        self.count = fft.divisor(maps, _CHUNK // math.prod(self.tile))
        self.chunks = maps // self.count

    def worst(self, image: Any, levels: Levels) -> float:
        """max |⟨d_m(· − p), image⟩| / Λ (its positive part if codes are) over an image (groups, channels, *grid)."""
        return self.pick(image, levels, math.inf)[0]

    def pick(self, image: Any, levels: Levels, threshold: float) -> tuple[float, Any, Any]:
        """`worst`, and of each cell the coefficient that comes first by |⟨d, image⟩| / Λ, if that is above `threshold`.

        Coefficients are (group · pixels + p) · maps + m. Third is the largest |⟨d, image⟩| / Λ of each cell, (groups,
        *cells), 0 where it does not exceed the threshold, which must not be negative.
        """
        cells = (len(image), *(-(-n // self._cell(n)) for n in self.extents))
        n_cells = math.prod(cells) if threshold < math.inf else 0
        images = np.ascontiguousarray(image, self.dtype).reshape((*image.shape[:2], *self.extents))
        shares = shared_out(
            lambda begin, end: [self._share(images, levels, threshold, n_cells, begin, end)],
            len(images) * len(self.origins) * self.chunks,
        )
        best, index, worst = shares[0]
        for other, place, high in shares[1:]:
            worst = max(worst, high)
            better = (other > best) | ((other == best) & (place < index))
            best, index = np.where(better, other, best), np.where(better, place, index)
        if not n_cells:
            return float(worst), index, best
        found = best > best.dtype.type(threshold)
        return float(worst), index[found], np.where(found, best, 0).reshape(cells)

    def _share(self, images: Any, levels: Levels, threshold: float, n_cells: int, begin: int, end: int) -> Any:
        real = self.bank.real.dtype
        best, index = np.full(n_cells, threshold, real), np.zeros(n_cells, np.int64)
        worst = np.zeros(1)
        scale = real.type(1 / math.prod(self.tile))
        level = np.ascontiguousarray(levels.level, real)
        weight = None if levels.weight is None else levels.weight.reshape((*levels.weight.shape[:2], *self.extents))
        per_axis = tuple(self._cell(n) for n in self.extents)
        with fft.workspace(self.count, self.tile, self.dtype) as space:
            for group, origin, first, source in self._pieces(images, begin, end):
                pointwise.spread(self.bank[first : first + self.count], source, space.spectrum.reshape(self.count, -1))
                space.inverse()
                maps = space.signal.reshape((self.count, *three(self.tile)))
                self._settle(maps)
                here = None if weight is None else weight[group % len(weight)]
                if here is not None and len(here) > 1:
                    here = here[first : first + self.count]
                cells.pick(
                    maps, origin, self._valid(origin), group, first, len(self.bank),
                    level[group % len(level), first : first + self.count], here, scale, real.type(threshold),
                    True if levels.nonnegative else None, per_axis, self.extents, best, index, worst,
                )  # fmt: skip
        return best, index, worst[0]

    def _pieces(self, images: Any, begin: int, end: int) -> Iterator[tuple[int, tuple[int, ...], int, Any]]:
        """Group, origin, first map, and spectrum of the tile, for a range of all pieces."""
        last = None
        with fft.workspace(images.shape[1], self.tile, self.dtype) as space:
            for piece in range(begin, end):
                tile, chunk = divmod(piece, self.chunks)
                group, place = divmod(tile, len(self.origins))
                origin = three(self.origins[place], 0)
                if tile != last:
                    self._load(images[group], origin, space.signal.reshape((-1, *three(self.tile))))
                    space.forward()
                    last = tile
                yield group, origin, chunk * self.count, space.spectrum.reshape((images.shape[1], -1))

    def _load(self, image: Any, origin: tuple[int, ...], tile: Any) -> None:
        """Write the tile that begins at `origin` of an image."""
        cells.cut(image, origin, tile)

    def _settle(self, maps: Any) -> None:
        """What correlations of a tile still need."""

    def _valid(self, origin: tuple[int, ...]) -> tuple[int, ...]:
        steps = three(tuple(axis.step for axis in self.axes))
        return tuple(min(s, n - o) for s, n, o in zip(steps, self.extents, origin, strict=True))

    def _cell(self, n: int) -> int:
        return min(self.cell, n)


def _cut(grid: tuple[int, ...], support: tuple[int, ...], cell: int) -> tuple[Axis, ...]:
    """The cheapest tiles: few transformed pixels for those that are kept, few at a time, and fast lengths."""
    best, choice = math.inf, None
    for axes in itertools.product(*(_cuts(n, k, cell) for n, k in zip(grid, support, strict=True))):
        pixels = math.prod(axis.length for axis in axes)
        tiles = math.prod(-(-n // axis.step) for n, axis in zip(grid, axes, strict=True))
        cost = tiles * pixels * (1 + _DOUBLING * max(0.0, math.log2(pixels / _CACHED))) * max(1.0, pixels / _MANY)
        cost *= (1 + _LINE / axes[-1].length) * (_ODD if axes[-1].length % 2 else 1.0)
        if cost < best:
            best, choice = cost, axes
    assert choice is not None
    return choice


def _cuts(n: int, k: int, cell: int) -> list[Axis]:
    """Tiles worth a thought for an axis: whole, or ever longer ones that transform fewer pixels in all."""
    if n <= _SHORT and fft.fast_length(n) == n:
        return [Axis(n, n)]
    found, least = [], math.inf
    for length in _lengths(k + cell - 1, n + k - 1):
        step = (length - k + 1) // cell * cell
        total = -(-n // step) * length
        if total < least:
            found.append(Axis(length, min(step, n)))
            least = total
    if fft.fast_length(n) == n:
        found.append(Axis(n, n))
    return found


def _lengths(least: int, enough: int) -> list[int]:
    """Lengths from `least` up to the first that is `enough`: multiples of 4 with no prime factor above 5."""
    most = 4 * 2 ** max(0, math.ceil(math.log2(enough / 4)))
    powers = ([p**e for e in range(most.bit_length()) if 4 * p**e <= most] for p in (2, 3, 5))
    every = sorted(length for a, b, c in itertools.product(*powers) if least <= (length := 4 * a * b * c) <= most)
    return [length for place, length in enumerate(every) if place == 0 or every[place - 1] < enough]
