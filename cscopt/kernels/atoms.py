"""Compiled loops over single atoms d_m(· − p): what a sparse code does to an image, one support at a time.

An item's image is flat, (groups or channels, *grid) in C order, and a coefficient is a filter, by the index of its
first tap, with a place q of that image, or −1 − q where the atom wraps around the grid. Space is padded to three axes
in front: `extents` are these and the distance from one line to the next in memory. `support` is (channels, K0, K1), and
`width` its last axis. Data go by their address, as in `lines`.
"""

from __future__ import annotations

from typing import Any

from cscopt.kernels.lines import add_at, add_lines, address_of, at, dot_lines
from cscopt.kernels.scalars import BLOCK, compiled, inlined, is_given, ratio, weight_at


@inlined
def correlation(
    filters: int, first: int, image: int, q: int, extents: Any, support: Any, width: int, zero: Any, one: Any
) -> Any:
    """⟨d(· − q), image⟩ for the filter whose taps begin at `first`."""
    total = zero
    if q < 0:
        total = _wrapped_correlation(filters, first, image, -1 - q, extents, support, width, zero, one)
    else:
        for c in range(support[0]):
            for i in range(support[1]):
                start = q + (c * extents[0] + i) * extents[1] * extents[3]
                taps = first + (c * support[1] + i) * support[2] * width
                total += dot_lines(image, start, extents[3], support[2], filters, taps, width, zero, one)
    return total


@inlined
def add(
    value: Any, filters: int, first: int, image: int, q: int, extents: Any, support: Any, width: int, one: Any,
    weight: int, weighted: Any,
) -> None:  # fmt: skip
    """image += value · d(· − q), times the weight if `weighted` is True (and not None)."""
    if q < 0:
        _wrapped_add(value, filters, first, image, -1 - q, extents, support, width, one, weight, weighted)
    else:
        for c in range(support[0]):
            for i in range(support[1]):
                start = q + (c * extents[0] + i) * extents[1] * extents[3]
                taps = first + (c * support[1] + i) * support[2] * width
                add_lines(image, start, extents[3], support[2], filters, taps, width, value, one, weight, weighted)


@compiled
def _wrapped_correlation(
    filters: int, first: int, image: int, q: int, extents: Any, support: Any, width: int, zero: Any, one: Any
) -> Any:
    """`correlation` for an atom that wraps around."""
    a2, line = q % extents[3], q // extents[3]
    a1, a0 = line % extents[1], (line // extents[1]) % extents[0]
    group = line - a0 * extents[1] - a1
    kept = min(width, extents[2] - a2)
    total = zero
    k = first
    for c in range(support[0]):
        for i in range(support[1]):
            for j in range(support[2]):
                row = a0 + i if a0 + i < extents[0] else a0 + i - extents[0]
                column = a1 + j if a1 + j < extents[1] else a1 + j - extents[1]
                start = (group + (c * extents[0] + row) * extents[1] + column) * extents[3]
                for b in range(kept):
                    total += at(filters, k + b, one) * at(image, start + a2 + b, zero)
                for b in range(kept, width):
                    total += at(filters, k + b, one) * at(image, start + a2 + b - extents[2], zero)
                k += width
    return total


@compiled
def _wrapped_add(
    value: Any, filters: int, first: int, image: int, q: int, extents: Any, support: Any, width: int, one: Any,
    weight: int, weighted: Any,
) -> None:  # fmt: skip
    """`add` for an atom that wraps around."""
    a2, line = q % extents[3], q // extents[3]
    a1, a0 = line % extents[1], (line // extents[1]) % extents[0]
    group = line - a0 * extents[1] - a1
    k = first
    for c in range(support[0]):
        for i in range(support[1]):
            for j in range(support[2]):
                row = a0 + i if a0 + i < extents[0] else a0 + i - extents[0]
                column = a1 + j if a1 + j < extents[1] else a1 + j - extents[1]
                start = (group + (c * extents[0] + row) * extents[1] + column) * extents[3] + a2
                for b in range(width):
                    here = start + b if a2 + b < extents[2] else start + b - extents[2]
                    add_at(image, here, value * at(filters, k + b, one), weight, one, weighted)
                k += width


@compiled
def subtract(
    begin: Any,
    end: Any,
    image: Any,
    weight: Any,
    filters: Any,
    places: Any,
    atoms: Any,
    values: Any,
    extents: Any,
    support: Any,
    width: Any,
) -> None:
    """image −= weight · D x for the coefficients begin ... end; weight is an image or None."""
    one = filters.dtype.type(1)
    pixels, taps, weights = address_of(image), address_of(filters), address_of(weight)
    for n in range(begin, end):
        add(
            -values[n], taps, atoms[n], pixels, places[n], extents, support, width, one, weights, is_given(weight)
        )  # fmt: skip


@compiled
def correlations(
    begin: Any,
    end: Any,
    image: Any,
    filters: Any,
    places: Any,
    atoms: Any,
    out: Any,
    extents: Any,
    support: Any,
    width: Any,
) -> None:
    """out = ⟨d(· − q), image⟩ of the coefficients begin ... end."""
    zero, one = image.dtype.type(0), filters.dtype.type(1)
    pixels, taps = address_of(image), address_of(filters)
    for n in range(begin, end):
        out[n] = correlation(taps, atoms[n], pixels, places[n], extents, support, width, zero, one)


@compiled
def inner(a: Any, b: Any, weight: Any) -> Any:
    """Re Σ conj(a) b / weight in float64, where the weight is not zero; weight is None or an array."""
    total = 0.0
    one = a.real.dtype.type(1)
    for start in range(0, a.size, BLOCK):
        part = one - one
        for i in range(start, min(start + BLOCK, a.size)):
            w = weight_at(weight, i, one)
            part += ratio(a[i], b[i], w, weight) if w > 0 else one - one
        total += part
    return total
