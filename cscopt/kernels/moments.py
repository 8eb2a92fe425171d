"""Compiled loops over the non-zeros of codes for dictionary learning: correlations with an image, and with codes.

The layout is that of `atoms`: flat images, a place q or −1 − q where an atom wraps around, space padded to three axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt.kernels.pool import shared_out
from cscopt.kernels.scalars import compiled, dot
from cscopt.kernels.sites import Sites


def patches(sites: Sites, image: Any, keys: Any, values: Any) -> Any:
    r"""Σ_p Re(conj(x_m(p)) image(p + t)) for t in the support, summed over groups: (maps, channels, \*support).

    Parameters
    ----------
    sites : Sites
    image : ndarray
        Flat, as `Sites.subtract` has it.
    keys, values : ndarray, (n,)
        Non-zeros, by sorted key.
    """
    q, m = np.divmod(keys, sites.maps)
    places = sites.places(q)

    def work(begin: int, end: int) -> list[Any]:
        out = np.zeros((sites.maps, sites.taps))
        _patches(begin, end, image, places, m, values, sites.extents, sites.support, sites.width, out)
        return [out]

    total = sum(shared_out(work, len(keys)), np.zeros((sites.maps, sites.taps)))
    return total.reshape((sites.maps, sites.support[0], *sites.reach))


def pairs(sites: Sites, keys: Any, values: Any) -> Any:
    """Σ_p Re(conj(x_m(p)) x_n(p + δ)) for all m, n and |δ| < support, δ modulo 2k − 1: (maps, maps, *three axes)."""
    lags = tuple(2 * k - 1 for k in sites.reach)
    total = np.zeros((sites.maps, sites.maps, *lags))  # the one array of this size
    q, m = np.divmod(keys, sites.maps)
    counts = np.bincount(m, minlength=sites.maps)
    starts = np.cumsum(counts) - counts
    lines = np.searchsorted(q, np.arange(sites.groups * sites.pixels // sites.extents[2] + 1) * sites.extents[2])
    columns = q % sites.extents[2]

    def work(begin: int, end: int) -> list[Any]:
        first, last = np.searchsorted(starts, (begin, end))  # a thread writes the rows of its maps
        _pairs(first, last, q, m, values, lines, columns, sites.extents, sites.reach, total)
        return []

    shared_out(work, len(keys))
    for one in range(sites.maps):
        both = total[one, one:] + _mirrored(total[one:, one])
        both[:, 0, 0] = total[one, one:, 0, 0]
        total[one, one:], total[one:, one] = both, _mirrored(both)
    return total


def _mirrored(lags: Any) -> Any:
    """Of arrays (maps, *three axes) of lags, those at −δ."""
    return np.roll(np.flip(lags, (1, 2, 3)), 1, (1, 2, 3))


@compiled
def _patches(
    begin: Any, end: Any, image: Any, places: Any, maps: Any, values: Any, extents: Any, support: Any, width: Any,
    out: Any,
) -> None:  # fmt: skip
    for n in range(begin, end):
        q, row, value, k = places[n], out[maps[n]], values[n], 0
        wraps = q < 0
        if wraps:
            q = -1 - q
        a2, line = q % extents[2], q // extents[2]
        a1, a0 = line % extents[1], (line // extents[1]) % extents[0]
        group = line - a0 * extents[1] - a1
        for c in range(support[0]):
            for i in range(support[1]):
                for j in range(support[2]):
                    r0, r1 = (a0 + i) % extents[0], (a1 + j) % extents[1]
                    start = (group + (c * extents[0] + r0) * extents[1] + r1) * extents[2]
                    if wraps:
                        for b in range(width):
                            row[k + b] += dot(value, image[start + (a2 + b) % extents[2]])
                    else:
                        for b in range(width):
                            row[k + b] += dot(value, image[start + a2 + b])
                    k += width


@compiled
def _pairs(
    first_map: Any, last_map: Any, q: Any, maps: Any, values: Any, lines: Any, columns: Any, extents: Any, reach: Any,
    out: Any,
) -> None:  # fmt: skip
    """Pairs of maps from `first_map` on whose line offset (δ0, δ1) is not before (0, 0); the caller mirrors others."""
    for n in range(len(q)):
        if maps[n] < first_map or maps[n] >= last_map:
            continue
        value, mine = values[n], out[maps[n]]
        a2, line = columns[n], q[n] // extents[2]
        a1, a0 = line % extents[1], (line // extents[1]) % extents[0]
        group = line - a0 * extents[1] - a1
        for i in range(reach[0]):
            for j in range(-reach[1] + 1 if i > 0 else 0, reach[1]):
                other = group + (a0 + i) % extents[0] * extents[1] + (a1 + j) % extents[1]
                first, last = lines[other], lines[other + 1]
                if first == last:
                    continue
                low, high = a2 - reach[2] + 1, a2 + reach[2] - 1
                turn = low // extents[2]
                while turn * extents[2] <= high:
                    shift = turn * extents[2]
                    k = first + np.searchsorted(columns[first:last], low - shift)
                    while k < last and columns[k] + shift <= high:
                        mine[maps[k], i, j, columns[k] + shift - a2] += dot(value, values[k])
                        k += 1
                    turn += 1
