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
from cscopt.kernels.reference import FilterSpectrum, Levels
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
    known : FilterSpectrum, optional
        Those of the filters on some grid, which a tile may have as well.

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
        known: FilterSpectrum | None = None,
    ) -> None:
        self.grid, self.dtype, self.cell = grid, np.dtype(dtype), cell
        self.axes = _cheapest(grid, [self._cuts(n, k) for n, k in zip(grid, filters.shape[2:], strict=True)])
        self.tile = tuple(axis.length for axis in self.axes)
        self.spectra = known.values if known is not None and known.grid == self.tile else self._transformed(filters)
        self.bank = self.spectra.reshape((*self.spectra.shape[:2], -1))
        self.extents = three(grid)
        self.origins = list(itertools.product(*(range(0, n, a.step) for n, a in zip(grid, self.axes, strict=True))))
        maps = len(filters)
        self.count = fft.divisor(maps, _CHUNK // math.prod(self.tile))
        self.chunks = maps // self.count

    def _cuts(self, n: int, k: int) -> list[Axis]:
        """Ways to cut an axis of n pixels worth a thought, for a support of k."""
        return cuts(n, k, self.cell)

    def _transformed(self, filters: Any) -> Any:
        if math.prod(self.tile) > _MANY:
            needed = math.prod(filters.shape[:2]) * math.prod(self.tile) * 2 * self.dtype.itemsize
            what = f"spectra of {len(filters)} filters on {'×'.join(str(n) for n in self.tile)} pixels"
            checks.memory(needed, filters, what, "use fewer filters")
        return fft.forward(np.asarray(filters, self.dtype), self.tile, singly=True)

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
                self._settle(maps, origin)
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

    def _settle(self, maps: Any, origin: tuple[int, ...]) -> None:
        """What correlations of the tile that begins at `origin` still need."""

    def _valid(self, origin: tuple[int, ...]) -> tuple[int, ...]:
        steps = three(tuple(axis.step for axis in self.axes))
        return tuple(min(s, n - o) for s, n, o in zip(steps, self.extents, origin, strict=True))

    def _cell(self, n: int) -> int:
        return min(self.cell, n)


def _cheapest(grid: tuple[int, ...], ways: list[list[Axis]]) -> tuple[Axis, ...]:
    """The cheapest tiles: few transformed pixels for those that are kept, few at a time, and fast lengths."""

    def cost(axes: tuple[Axis, ...]) -> float:
        pixels = math.prod(axis.length for axis in axes)
        tiles = math.prod(-(-n // axis.step) for n, axis in zip(grid, axes, strict=True))
        each = (1 + _DOUBLING * max(0.0, math.log2(pixels / _CACHED))) * max(1.0, pixels / _MANY)
        last = axes[-1].length
        return tiles * pixels * each * (1 + _LINE / last) * (_ODD if last % 2 else 1.0)

    return min(itertools.product(*ways), key=cost)


def cuts(n: int, k: int, cell: int, seam: int = 0, least: int = 0) -> list[Axis]:
    """Tiles worth a thought for an axis: whole, or ever longer ones that transform fewer pixels in all.

    Parameters
    ----------
    n, k : int
        Pixels, and the support.
    cell : int
        What steps are multiples of.
    seam : int
        How much more than k − 1 pixels of a tile are lost; a whole axis, which is circular if this is 0, loses this.
    least : int
        Pixels that the first and the last of several tiles must have.
    """
    fits = seam > 0 or fft.fast_length(n) == n
    if n <= _SHORT and not seam and fits:
        return [Axis(n, n)]
    lost, found, fewest = k - 1 + seam, [], math.inf
    for length in _lengths(lost + cell, n + lost):
        step = (length - lost) // cell * cell
        total = -(-n // step) * length
        if total < fewest and (step >= n or min(step, n - (n - 1) // step * step) >= least):
            found.append(Axis(length, min(step, n)))
            fewest = total
    if fits:
        found.append(Axis(fft.fast_length(n + seam), n))
    return found


def _lengths(least: int, enough: int) -> list[int]:
    """Lengths from `least` up to the first that is `enough`: multiples of 4 with no prime factor above 5."""
    most = 4 * 2 ** max(0, math.ceil(math.log2(enough / 4)))
    powers = ([p**e for e in range(most.bit_length()) if 4 * p**e <= most] for p in (2, 3, 5))
    every = sorted(length for a, b, c in itertools.product(*powers) if least <= (length := 4 * a * b * c) <= most)
    return [length for place, length in enumerate(every) if place == 0 or every[place - 1] < enough]
