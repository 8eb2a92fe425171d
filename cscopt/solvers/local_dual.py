r"""A dual point that is scaled where it must be: θ = s(p) r instead of r divided by the worst violation of all.

Correlations of s r with an atom are those of r times s about the atom, up to how s varies over its support. So s is
one where no atom near violates its bound, and 1/v where one does by a factor v, made smooth. What is left is measured
by a pass over all filters, and divided out. The gap is then about the sum of what each place lacks, where the usual
scaling (`certificate.dual_value`) charges the whole image for its worst place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_MARGIN = 2
"""Cells over which the scale changes, on either side of a violator's support."""


def local_scale(violation: Any, cell: int, touched: tuple[tuple[int, int], ...], extents: tuple[int, ...]) -> Any:
    r"""s at each pixel, (groups, \*extents), from the worst violation of each cell.

    Parameters
    ----------
    violation : ndarray, (groups, \*cells)
        max |⟨d(· − p), r⟩| / Λ over the coefficients at the places p of a cell; 0 where it may be counted as 1.
    cell : int
        Side of the cells in pixels.
    touched : tuple of (int, int)
        First pixel, from p, of those that an atom p may touch along each axis, and their number.
    extents : tuple of int
        Pixels along each axis, on a circular grid.
    """
    excess = np.maximum(violation - 1, 0)
    for axis, (n, (begin, k)) in enumerate(zip(extents, touched, strict=True), start=1):
        if n == 1:
            continue
        behind = -(-(k - 1) // cell)
        width = behind + 4 * _MARGIN + 1
        centred = np.roll(excess, behind // 2 + begin // cell, axis=axis)
        window = width + (behind % 2)
        excess = _running_max(centred, window, axis)
        excess = sum(np.roll(excess, shift, axis) for shift in range(-_MARGIN, _MARGIN + 1)) / (2 * _MARGIN + 1)
        excess = np.take(excess, np.arange(n) // cell, axis=axis)
    return 1 / (1 + excess)


def _running_max(values: Any, window: int, axis: int) -> Any:
    """Maximum of `window` neighbours on a circle, about each (SciPy's is no faster, and takes long to import)."""
    reach = 1
    while reach < window:
        step = min(reach, window - reach)
        values = np.maximum(values, np.roll(values, step, axis))
        reach += step
    return np.roll(values, -((window - 1) // 2), axis)
