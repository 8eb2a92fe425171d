"""Fused CPU twins of `reference`: each map is filtered, updated and filtered again while in cache.

A sweep reads the filters' spectra, reads and writes the solver's maps once, and keeps no other
array of the maps' size. Maps are shared out to threads in contiguous ranges; the calls inside
(FFTW, Numba) hold no interpreter lock. State arrays are updated in place, and the
spectrum that a sweep gives takes the place of the one it was given.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from cscopt import fft
from cscopt.kernels import pointwise
from cscopt.kernels.pool import each_row, shared_out
from cscopt.kernels.reference import FilterSpectrum, Levels, Sums

_CHUNK = 1 << 15
_SCRATCH = 8
_idle: list[Any] = []
_lock = threading.Lock()

Body = Callable[[int, int, Any], None]
"""`body(row, first map, buffer)` works on the maps `first ...` held in `buffer` (count, pixels)."""


def synthesize(codes: Any, filters: FilterSpectrum) -> Any:
    """Spectrum of Σ_m d_m * x_m."""
    maps = _flat(codes)

    def load(row: int, first: int, buffer: Any) -> None:
        buffer[...] = maps[row, first : first + len(buffer)]

    return _run(filters, len(codes), codes.dtype, load, image=None, output=True)


def analyze(image: Any, filters: FilterSpectrum) -> Any:
    """Correlations with all filters, (rows, maps, *grid)."""
    dtype = _code_dtype(filters, image)
    codes = np.empty((len(image), len(filters.values), *filters.grid), dtype)
    maps, scale = _flat(codes), _scale(filters, dtype)

    def store(row: int, first: int, buffer: Any) -> None:
        np.multiply(buffer, scale, out=maps[row, first : first + len(buffer)])

    _run(filters, len(image), dtype, store, image=image, output=False)
    return codes


def violation(image: Any, filters: FilterSpectrum, levels: Levels) -> Any:
    """Largest |Dᴴ image| / Λ of each row, without storing a map."""
    dtype = _code_dtype(filters, image)
    sums = np.zeros((len(image), len(filters.values), 1))
    lam, scale = _Levels(levels), _scale(filters, dtype)

    def body(row: int, first: int, buffer: Any) -> None:
        span = slice(first, first + len(buffer))
        pointwise.violation(buffer, *lam.at(row, span), scale, lam.sign, sums[row, span])

    _run(filters, len(image), dtype, body, image=image, output=False)
    return sums[..., 0].max(axis=1)


def ista_sweep(x: Any, residual: Any, filters: FilterSpectrum, levels: Levels, step_size: Any) -> tuple[Any, Any, Sums]:
    """Twin of `reference.ista_sweep`; `x` is updated in place."""
    maps, lam, sums = _flat(x), _Levels(levels), np.zeros((*x.shape[:2], 3))
    scale, step = _scale(filters, x.dtype), _parameter(step_size, x)

    def body(row: int, first: int, g: Any) -> None:
        span = slice(first, first + len(g))
        pointwise.ista(maps[row, span], g, *lam.at(row, span), step[row], scale, lam.sign, sums[row, span])

    out = _run(filters, len(x), x.dtype, body, image=residual, output=True)
    return x, out, _totals(sums, ("l1", "change"))


def fista_sweep(
    x: Any,
    point: Any,
    residual: Any,
    filters: FilterSpectrum,
    levels: Levels,
    step_size: Any,
    momentum: Any,
) -> tuple[Any, Any, Any, Sums]:
    """Twin of `reference.fista_sweep`; `x` and `point` are updated in place."""
    maps, points, lam, sums = _flat(x), _flat(point), _Levels(levels), np.zeros((*x.shape[:2], 4))
    scale, step, beta = _scale(filters, x.dtype), _parameter(step_size, x), _parameter(momentum, x)

    def body(row: int, first: int, g: Any) -> None:
        span = slice(first, first + len(g))
        pointwise.fista(
            maps[row, span], points[row, span], g, *lam.at(row, span),
            step[row], beta[row], scale, lam.sign, sums[row, span],
        )  # fmt: skip

    out = _run(filters, len(x), x.dtype, body, image=residual, output=True)
    return x, point, out, _totals(sums, ("l1", "change", "turn"))


def admm_sweep(
    v: Any,
    correction: Any,
    filters: FilterSpectrum,
    levels: Levels,
    penalty: Any,
    relaxation: float,
) -> tuple[Any, Any, Sums]:
    """Twin of `reference.admm_sweep`; `v` is updated in place."""
    maps, lam, sums = _flat(v), _Levels(levels), np.zeros((*v.shape[:2], 6))
    scale, rho = _scale(filters, v.dtype), _parameter(penalty, v)
    alpha = rho.dtype.type(relaxation)

    def body(row: int, first: int, e: Any) -> None:
        span = slice(first, first + len(e))
        pointwise.admm(maps[row, span], e, *lam.at(row, span), rho[row], alpha, scale, lam.sign, sums[row, span])

    out = _run(filters, len(v), v.dtype, body, image=correction, output=True)
    return v, out, _totals(sums, ("primal", "dual", "x", "y", "u"))


def proximal(v: Any, levels: Levels, scale: Any) -> tuple[Any, Any]:
    """y = S_{scale·Λ}(v) for a scale a row, and Σ Λ|y| of each row."""
    y = np.empty(v.shape, v.dtype)
    source, target, lam, sums = _flat(v), _flat(y), _Levels(levels), np.zeros((*v.shape[:2], 1))
    factor = _parameter(scale, v)

    one = factor.dtype.type(1)

    def work(row: int, span: slice) -> None:
        pointwise.proximal(
            source[row, span], target[row, span], *lam.at(row, span), factor[row], one, lam.sign, sums[row, span]
        )

    each_row(len(v), v.shape[1], work)
    return y, sums[..., 0].sum(axis=1)


def weighted_l1(x: Any, levels: Levels) -> Any:
    """Σ Λ|x| of each row, summed in float64."""
    maps, lam, sums = _flat(x), _Levels(levels), np.zeros((*x.shape[:2], 1))
    one = lam.level.dtype.type(1)

    def work(row: int, span: slice) -> None:
        pointwise.weighted_l1(maps[row, span], *lam.at(row, span), one, sums[row, span])

    each_row(len(x), x.shape[1], work)
    return sums[..., 0].sum(axis=1)


class _Levels:
    """λ of a chunk of maps, as the compiled kernels take it."""

    def __init__(self, levels: Levels) -> None:
        self.level = np.ascontiguousarray(levels.level)
        self.weight = None
        if levels.weight is not None:
            self.weight = _flat(np.ascontiguousarray(levels.weight))
        self.sign = True if levels.nonnegative else None

    def at(self, row: int, span: slice) -> tuple[Any, Any]:
        level = self.level[row % len(self.level), span]
        if self.weight is None:
            return level, None
        weight = self.weight[row % len(self.weight)]
        return level, weight if len(weight) == 1 else weight[span]


def _run(filters: FilterSpectrum, rows: int, dtype: Any, body: Body, image: Any, output: bool) -> Any:
    """Pass every map through analysis (where `image` is given), `body`, synthesis (where `output`)."""
    passage = _Passage(filters, rows, dtype, body, image, output)
    started: set[int] = set()
    for row, total in shared_out(passage.share, rows * passage.chunks):
        passage.put(row, total, more=row in started)
        started.add(row)
    return passage.out.reshape((rows, -1, *filters.values.shape[2:])) if output else None


class _Passage:
    """One pass over all maps, in chunks that fit the cache."""

    def __init__(self, filters: FilterSpectrum, rows: int, dtype: Any, body: Body, image: Any, output: bool) -> None:
        self.values = filters.values.reshape((*filters.values.shape[:2], -1))
        maps, channels, frequencies = self.values.shape
        self.grid, self.dtype, self.body, self.output = filters.grid, dtype, body, output
        self.source = None if image is None else np.ascontiguousarray(image).reshape((rows, channels, -1))
        if output and self.source is not None and self.source.dtype == self.values.dtype:
            self.out = self.source
        else:
            self.out = np.empty((rows if output else 0, channels, frequencies), self.values.dtype)
        self.count = _chunk(maps, math.prod(filters.grid))
        self.chunks = maps // self.count

    def share(self, begin: int, end: int) -> list[tuple[int, Any]]:
        """Chunks begin..end of all rows; sums of incomplete rows come back, to be added in order."""
        partial = []
        with fft.workspace(self.count, self.grid, self.dtype) as space:
            while begin < end:
                row = begin // self.chunks
                stop = min(end, (row + 1) * self.chunks)
                whole = stop - begin == self.chunks
                total = self._zero() if self.output else None
                for chunk in range(begin - row * self.chunks, stop - row * self.chunks):
                    self._chunk(row, chunk * self.count, space, total)
                if self.output and whole:
                    self.put(row, total)
                elif self.output:
                    partial.append((row, total))
                begin = stop
        return partial

    def put(self, row: int, total: Any, more: bool = False) -> None:
        """Write the sum of a row, or add to it, once no chunk reads that row any more."""
        if more:
            self.out[row] += total
        else:
            self.out[row] = total
        _keep(total)

    def _zero(self) -> Any:
        total = _scratch(self.values[0])
        total[...] = 0
        return total

    def _chunk(self, row: int, first: int, space: fft.Workspace, total: Any) -> None:
        bank = self.values[first : first + self.count]
        spectrum = space.spectrum.reshape((self.count, -1))
        if self.source is not None:
            pointwise.spread(bank, self.source[row], spectrum)
            space.inverse()
        self.body(row, first, space.signal.reshape((self.count, -1)))
        if self.output:
            space.forward()
            pointwise.gather(bank, spectrum, total)


def _scratch(like: Any) -> Any:
    """An array like another, from those idle if one fits: fresh memory costs more than the sums kept in it."""
    with _lock:
        for k, array in enumerate(_idle):
            if array.shape == like.shape and array.dtype == like.dtype:
                return _idle.pop(k)
    return np.empty_like(like)


def _keep(array: Any) -> None:
    with _lock:
        _idle.append(array)
        del _idle[:-_SCRATCH]


def _chunk(maps: int, pixels: int) -> int:
    """Maps handled together: small maps share the cost of a call."""
    return fft.divisor(maps, _CHUNK // pixels)


def _flat(codes: Any) -> Any:
    return codes.reshape((*codes.shape[:2], -1))


def _code_dtype(filters: FilterSpectrum, image: Any) -> Any:
    return image.real.dtype if filters.real else image.dtype


def _scale(filters: FilterSpectrum, dtype: Any) -> Any:
    return np.empty(0, dtype).real.dtype.type(1 / math.prod(filters.grid))


def _parameter(values: Any, like: Any) -> Any:
    return np.asarray(values).astype(like.real.dtype)


def _totals(sums: Any, names: tuple[str, ...]) -> Sums:
    totals = {name: sums[..., k].sum(axis=1) for k, name in enumerate(names)}
    totals["violation"] = sums[..., len(names)].max(axis=1)
    return totals


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
