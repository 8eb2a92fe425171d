"""Coordinate descent on the coefficients of a sparse code, band by band, by a team of threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt.kernels.atoms import add, correlation, inner
from cscopt.kernels.lines import address_of
from cscopt.kernels.scalars import compiled, copy, inlined, is_given, largest, part_of, shrink, size
from cscopt.kernels.team import wait

_RISE = 1e-5


@compiled
def descend(
    member: Any,
    team: Any,
    barrier: Any,
    reports: Any,
    bands: Any,
    colors: Any,
    rounds: Any,
    tolerance: Any,
    momentum: Any,
    image: Any,
    image_before: Any,
    values: Any,
    values_before: Any,
    places: Any,
    atoms: Any,
    curvature: Any,
    level: Any,
    nonnegative: Any,
    weight: Any,
    filters: Any,
    extents: Any,
    support: Any,
    width: Any,
) -> Any:
    """Sweeps of coordinate descent with momentum, by one member of a team: z = x + β (x − x before), x⁺ = sweep(z).

    image = W²(y − D x) is kept up to date. Band b holds the coefficients bands[b] ... bands[b + 1]; those of one colour
    (b even, b odd) touch no common pixel, and are shared out evenly. β follows Nesterov's rule up to `momentum`, from
    zero again whenever the objective has risen; a sweep after which it has risen by more than rounding explains is
    taken back, and the last has no momentum: so no overlap of atoms makes it diverge. Ends after `rounds`, or when no
    gradient changes by more than `tolerance` · λ. reports is (team, 2), for the members to tell each other; returns the
    rounds done.
    """
    begin, end = image.size * member // team, image.size * (member + 1) // team
    pixels, pixels_before, weights = image[begin:end], image_before[begin:end], part_of(weight, begin, end)
    begin, end = values.size * member // team, values.size * (member + 1) // team
    codes, codes_before, levels = values[begin:end], values_before[begin:end], level[begin:end]
    clock, height = 1.0, np.inf
    for r in range(rounds):
        if r > 0:
            share = inner(pixels, pixels, weights) / 2
            l1 = share - share  # summed apart from reports: where arrays lie near, such a loop would round otherwise
            for n in range(codes.size):
                l1 += levels[n] * size(codes[n], None)
            reports[member, 0] = share + l1
            wait(barrier, team)
            total = 0.0
            for k in range(team):
                total += reports[k, 0]
            clock = 1.0 if total > height else clock
            if total > (1 + _RISE) * height:
                copy(pixels_before, pixels)
                copy(codes_before, codes)
            else:
                height = total
        later = (1 + np.sqrt(1 + 4 * clock * clock)) / 2
        beta = filters.dtype.type(min((clock - 1) / later, momentum) if r < rounds - 1 else 0.0)
        clock = later
        _extrapolate(pixels, pixels_before, beta)
        _extrapolate(codes, codes_before, beta)
        wait(barrier, team)
        change = filters.dtype.type(0)
        for color in range(colors):
            for b in range(
                _first_band(bands, color, colors, member, team),
                _first_band(bands, color, colors, member + 1, team),
                colors,
            ):
                found = _sweep(
                    bands[b], bands[b + 1], image, values, places, atoms, curvature, level, nonnegative, weight,
                    filters, extents, support, width,
                )  # fmt: skip
                change = max(change, found)
            wait(barrier, team)
        reports[member, 1] = change
        wait(barrier, team)
        if largest(reports[:, 1]) < tolerance:
            return r + 1
    return rounds


@compiled
def _first_band(bands: Any, color: Any, colors: Any, member: Any, team: Any) -> Any:
    """The first band of a colour that is a member's, by number of coefficients: where they are dense differs."""
    total, done = 0, 0
    for b in range(color, bands.size - 1, colors):
        total += bands[b + 1] - bands[b]
    for b in range(color, bands.size - 1, colors):
        size = bands[b + 1] - bands[b]
        if (2 * done + size) * team > 2 * total * member:
            return b
        done += size
    return bands.size - 1


@inlined
def _sweep(
    begin: Any,
    end: Any,
    image: Any,
    values: Any,
    places: Any,
    atoms: Any,
    curvature: Any,
    level: Any,
    nonnegative: Any,
    weight: Any,
    filters: Any,
    extents: Any,
    support: Any,
    width: Any,
) -> Any:
    """Set each of some coefficients to S_λ(h z + ⟨d, image⟩)/h, h = ‖W d‖²; the largest |x⁺ − z| h/λ."""
    most, zero, one = filters.dtype.type(0), image.dtype.type(0), filters.dtype.type(1)
    pixels, taps, weights = address_of(image), address_of(filters), address_of(weight)
    for n in range(begin, end):
        first, q, h, old = atoms[n], places[n], curvature[n], values[n]
        ascent = correlation(taps, first, pixels, q, extents, support, width, zero, one)
        new = shrink(h * old + ascent, level[n], nonnegative) / h
        if new != old:
            values[n] = new
            add(old - new, taps, first, pixels, q, extents, support, width, one, weights, is_given(weight))
            most = max(most, size(new - old, None) * h / level[n])
    return most


@compiled
def _extrapolate(now: Any, before: Any, beta: Any) -> None:
    """now, before = now + β (now − before), now."""
    for i in range(now.size):
        value = now[i]
        now[i] = value + beta * (value - before[i])
        before[i] = value
