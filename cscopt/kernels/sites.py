"""Where atoms lie on a grid: the keys of coefficients, the bands that threads share, and D x of a sparse code."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from cscopt.kernels import atoms
from cscopt.kernels.pool import shared_out

_BAND = 16
_LINE = 64  # bytes of the cache
_SPACED = 512


def three(shape: tuple[int, ...], fill: int = 1) -> tuple[int, ...]:
    """A shape padded in front to three axes."""
    return (fill,) * (3 - len(shape)) + tuple(shape)


class Sites:
    r"""The atoms d_m(· − p) of filters on a circular grid.

    A coefficient's key is (group · pixels + p) · maps + m, so that sorted keys lie in raster order.

    Parameters
    ----------
    filters : ndarray, (maps, channels, \*support)
        Real.
    grid : tuple of int
    groups : int
        Images that are coded on their own, each with all filters.

    Attributes
    ----------
    reach : tuple of int
        The support, padded to three axes.
    touched : tuple of (int, int)
        Along each axis, where the box of pixels that an atom may touch begins, from its coefficient, and its length.
    """

    def __init__(self, filters: Any, grid: tuple[int, ...], groups: int) -> None:
        self.maps, self.groups, self.grid, self.extents = len(filters), groups, tuple(grid), three(grid)
        self.filters = np.ascontiguousarray(filters).reshape(-1)
        self.taps = self.filters.size // self.maps
        reach = three(filters.shape[2:])
        self.reach = reach
        self.support, self.width = (filters.shape[1], *reach[:2]), reach[2]
        self.pixels = math.prod(grid)
        self.touched = tuple((0, k) for k in reach)
        self.banded = axis = 3 - len(grid)
        count = max(1, self.extents[axis] // max(reach[axis] - 1, _BAND))
        count = count if count == 1 else count // 2 * 2
        self.colors = 1 if count == 1 else 2
        edges = np.arange(count) * self.extents[axis] // count * math.prod(self.extents[axis + 1 :])
        every = (np.arange(groups)[:, None] * self.pixels + edges).reshape(-1)
        self.edges = np.append(every, groups * self.pixels)

    @property
    def shape(self) -> tuple[Any, ...]:
        """The last arguments of the loops over atoms."""
        return (*self.extents, self.extents[2]), self.support, self.width

    def spaced(self, itemsize: int) -> tuple[Any, ...]:
        """`shape` for images with a gap after each line, where lines are long.

        Lines are an odd number of cache lines apart then: at a power of two an atom's would all want the same places.
        """
        n, unit = self.extents[2], max(1, _LINE // itemsize)
        distance = (-(-n // unit) | 1) * unit if n * itemsize >= _SPACED else n
        return (*self.extents, distance), self.support, self.width

    @cached_property
    def norms_sq(self) -> Any:
        """‖d_m‖² of each atom that `first` tells."""
        return (self.filters.reshape(-1, self.taps) ** 2).sum(axis=1)

    def places(self, q: Any, distance: int | None = None) -> Any:
        """Where atoms begin: q, or −1 − q for one that wraps; `distance` between lines is the grid's if absent."""
        places = self.coordinates(q)[1:]
        fits = [a + k <= n for a, k, n in zip(places, self.reach, self.extents, strict=True)]
        q = q if distance is None else q // self.extents[2] * distance + places[2]
        return np.where(fits[0] & fits[1] & fits[2], q, -1 - q)

    def coordinates(self, q: Any) -> tuple[Any, Any, Any, Any]:
        """Group and place along each axis."""
        line = q // self.extents[2]
        plane = line // self.extents[1]
        return plane // self.extents[0], plane % self.extents[0], line % self.extents[1], q % self.extents[2]

    def first(self, q: Any, m: Any) -> Any:
        """Index of the first tap of the atoms of filters m at q."""
        return m * self.taps

    def bands(self, q: Any) -> Any:
        """Where in sorted places each band begins: bands two apart touch no common pixel."""
        return np.searchsorted(q, self.edges).astype(np.int64)

    def subtract(self, image: Any, weight: Any, keys: Any, values: Any) -> None:
        """image −= weight · D x, for a flat image and sorted keys."""
        q, m = np.divmod(keys, self.maps)
        bands, places, first = self.bands(q), self.places(q), self.first(q, m)
        for color in range(self.colors):
            mine = range(color, len(bands) - 1, self.colors)

            def work(begin: int, end: int, mine: range = mine) -> list[Any]:
                for b in mine[begin:end]:
                    atoms.subtract(
                        bands[b], bands[b + 1], image, weight, self.filters, places, first, values, *self.shape
                    )
                return []

            shared_out(work, len(mine))

    def correlations(self, image: Any, keys: Any) -> Any:
        """⟨d_m(· − p), image⟩ of each coefficient, for a flat image."""
        q, m = np.divmod(keys, self.maps)
        places, first, out = self.places(q), self.first(q, m), np.empty(len(keys), image.dtype)

        def work(begin: int, end: int) -> list[Any]:
            atoms.correlations(begin, end, image, self.filters, places, first, out, *self.shape)
            return []

        shared_out(work, len(keys))
        return out

    def curvatures(self, weight: Any, keys: Any) -> Any:
        """‖W d_m(· − p)‖² of each coefficient, for a flat image W² or None."""
        if weight is None:
            q, m = np.divmod(keys, self.maps)
            return self.norms_sq[self.first(q, m) // self.taps]
        squared = object.__new__(type(self))
        squared.__dict__.update(self.__dict__, filters=self.filters**2)
        return squared.correlations(weight, keys)
