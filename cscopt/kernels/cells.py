"""Compiled loops that look through the maps of a tile for the coefficients worth adding, the best of each cell."""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt.kernels.scalars import compiled, line_of, size, weight_at


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
                    target[b : b + many] = line[at : at + many]
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
    """Of each cell, the coefficient of a tile's maps with the largest |map · scale| / Λ above `threshold` so far.

    best and index hold what is known of each cell, worst[0] the largest of all.
    """
    lanes, fold, one = np.empty(valid[2], level.dtype), np.empty(valid[2], level.dtype), level.dtype.type(1)
    cells = ((extents[0] - 1) // cell[0] + 1, (extents[1] - 1) // cell[1] + 1, (extents[2] - 1) // cell[2] + 1)
    for m in range(maps.shape[0]):
        for i in range(0, valid[0], cell[0]):
            for j in range(0, valid[1], cell[1]):
                lanes[:] = 0
                for a in range(i, min(i + cell[0], valid[0])):
                    for b in range(j, min(j + cell[1], valid[1])):
                        _highest(
                            maps[m, a, b, : valid[2]],
                            line_of(weight, m, origin[0] + a, origin[1] + b, origin[2]), nonnegative, lanes,
                        )  # fmt: skip
                factor = scale / level[m]
                least = threshold / factor
                high = _top(lanes, fold)
                worst[0] = max(worst[0], high * factor)
                if high <= least:
                    continue
                for c in range(0, valid[2], cell[2]):
                    end = min(c + cell[2], valid[2])
                    high = lanes[c]
                    for e in range(c + 1, end):
                        high = max(high, lanes[e])
                    at = (group * cells[0] + (origin[0] + i) // cell[0]) * cells[1] + (origin[1] + j) // cell[1]
                    at = at * cells[2] + (origin[2] + c) // cell[2]
                    if high <= least or high * factor <= best[at]:
                        continue
                    best[at] = high * factor
                    high = high - high
                    for a in range(i, min(i + cell[0], valid[0])):
                        for b in range(j, min(j + cell[1], valid[1])):
                            line = line_of(weight, m, origin[0] + a, origin[1] + b, origin[2])
                            for e in range(c, end):
                                v = size(maps[m, a, b, e], nonnegative) / weight_at(line, e, one)
                                if v > high:
                                    high = v
                                    q = ((group * extents[0] + origin[0] + a) * extents[1] + origin[1] + b) * extents[2]
                                    index[at] = (q + origin[2] + e) * n_maps + first + m


@compiled
def _highest(line: Any, weight: Any, nonnegative: Any, lanes: Any) -> None:
    """lanes = max(lanes, |line| / weight), lane by lane, which the compiler vectorises."""
    one = lanes.dtype.type(1)
    for c in range(lanes.size):
        lanes[c] = max(lanes[c], size(line[c], nonnegative) / weight_at(weight, c, one))


@compiled
def _top(lanes: Any, fold: Any) -> Any:
    """The largest of all lanes, by halves, which the compiler vectorises too."""
    fold[:] = lanes
    n = lanes.size
    while n > 1:
        half = (n + 1) // 2
        for c in range(n - half):
            fold[c] = max(fold[c], fold[half + c])
        n = half
    return fold[0]
