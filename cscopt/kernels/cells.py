"""Compiled loops that look through the maps of a tile for the coefficients worth adding, the best of each cell."""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt.kernels.scalars import compiled, copy, line_of, size, weight_at


@compiled
def cut(image: Any, origin: Any, tile: Any) -> None:
    """Copy a tile out of an image (channels, G0, G1, G2) that wraps around."""
    for c in range(tile.shape[0]):
        for i in range(tile.shape[1]):
            for j in range(tile.shape[2]):
                line = image[c, (origin[0] + i) % image.shape[1], (origin[1] + j) % image.shape[2]]
                target = tile[c, i, j]
                b, at = 0, origin[2] % image.shape[3]
                while b < target.size:
                    many = min(target.size - b, line.size - at)
                    copy(line[at : at + many], target[b : b + many])
                    b, at = b + many, 0


@compiled
def pick(
    maps: Any,
    origin: Any,
    valid: Any,
    group: Any,
    first: Any,
    n_maps: Any,
    level: Any,
    weight: Any,
    scale: Any,
    threshold: Any,
    nonnegative: Any,
    cell: Any,
    extents: Any,
    best: Any,
    index: Any,
    worst: Any,
) -> None:
    """Of each cell, the coefficient of a tile's maps with the largest |map · scale| / Λ, if that exceeds best so far.

    best (`threshold` to begin with) and index hold what is known of each cell, worst[0] the largest of all.
    """
    many = (valid[2] - 1) // cell[2] + 1
    lanes, peaks, fold = np.empty(valid[2], level.dtype), np.empty(many, level.dtype), np.empty(many, level.dtype)
    over = np.zeros((many + 7) // 8 * 8, np.uint8)
    eights = over.view(np.uint64)
    rows = (extents[0] - 1) // cell[0] + 1, (extents[1] - 1) // cell[1] + 1, (extents[2] - 1) // cell[2] + 1
    for m in range(maps.shape[0]):
        factor = scale / level[m]
        for i in range(0, valid[0], cell[0]):
            for j in range(0, valid[1], cell[1]):
                corner = (i, min(i + cell[0], valid[0]), j, min(j + cell[1], valid[1]))
                lanes[:] = 0
                for a in range(corner[0], corner[1]):
                    for b in range(corner[2], corner[3]):
                        line = line_of(weight, m, origin[0] + a, origin[1] + b, origin[2])
                        _highest(maps[m, a, b, : valid[2]], line, nonnegative, lanes)
                _peaks(lanes, cell[2], peaks)
                high = _top(peaks, fold) * factor
                worst[0] = max(worst[0], high)
                if high <= threshold:
                    continue
                at = (group * rows[0] + (origin[0] + i) // cell[0]) * rows[1] + (origin[1] + j) // cell[1]
                at = at * rows[2] + origin[2] // cell[2]
                here = best[at : at + many]
                for c in range(many):
                    over[c] = peaks[c] * factor > here[c]
                for eight in range(eights.size):
                    if eights[eight] == 0:
                        continue
                    for c in range(8 * eight, min(8 * eight + 8, many)):
                        if over[c]:
                            here[c] = peaks[c] * factor
                            span = (c * cell[2], min((c + 1) * cell[2], valid[2]))
                            q = _place(maps[m], weight, m, origin, corner, span, extents, nonnegative, level)
                            index[at + c] = (group * extents[0] * extents[1] * extents[2] + q) * n_maps + first + m


@compiled
def _place(
    tile: Any, weight: Any, m: Any, origin: Any, corner: Any, span: Any, extents: Any, nonnegative: Any, level: Any
) -> Any:
    """The pixel of a cell where |map| / weight is largest."""
    one = level.dtype.type(1)
    high, q = one - one, 0
    for a in range(corner[0], corner[1]):
        for b in range(corner[2], corner[3]):
            line = line_of(weight, m, origin[0] + a, origin[1] + b, origin[2])
            for e in range(span[0], span[1]):
                v = size(tile[a, b, e], nonnegative) / weight_at(line, e, one)
                if v > high:
                    high = v
                    q = ((origin[0] + a) * extents[1] + origin[1] + b) * extents[2] + origin[2] + e
    return q


@compiled
def _highest(line: Any, weight: Any, nonnegative: Any, lanes: Any) -> None:
    """lanes = max(lanes, |line| / weight), lane by lane, which the compiler vectorises."""
    one = lanes.dtype.type(1)
    for c in range(lanes.size):
        lanes[c] = max(lanes[c], size(line[c], nonnegative) / weight_at(weight, c, one))


@compiled
def _peaks(lanes: Any, cell: Any, peaks: Any) -> None:
    """The largest lane of each cell; cells of two, which all are, by vectors."""
    if cell == 2:
        for c in range(lanes.size // 2):
            peaks[c] = max(lanes[2 * c], lanes[2 * c + 1])
        if lanes.size % 2:
            peaks[-1] = lanes[-1]
        return
    for c in range(peaks.size):
        peaks[c] = lanes[c * cell]
        for e in range(c * cell + 1, min((c + 1) * cell, lanes.size)):
            peaks[c] = max(peaks[c], lanes[e])


@compiled
def _top(values: Any, fold: Any) -> Any:
    """The largest of all, by halves, which the compiler vectorises too."""
    copy(values, fold)
    n = values.size
    while n > 1:
        half = (n + 1) // 2
        for c in range(n - half):
            fold[c] = max(fold[c], fold[half + c])
        n = half
    return fold[0]
