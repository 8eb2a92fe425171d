"""Fused GPU twins of `reference`: cuFFT, and one CUDA kernel for each solver's update of the coefficients.

A sweep works through the maps in pieces of `_PIECE` bytes, so beside the solver's own maps it needs a bounded
workspace, however large the problem. Nothing waits for the device: sums stay there. State arrays are updated in
place (a state that is not C-contiguous is copied first, and the copy returned). cuFFT plans come from CuPy's own
cache, one for each thread and device, keyed by shape and dtype.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cupy
import numpy as np
from cupyx.scipy import fft

from cscopt.kernels.reference import FilterSpectrum, Levels, Sums

_PIECE = 1 << 27
_THREADS = 256
_PER_THREAD = 8
_OPTIONS = ("-std=c++17",)
_TYPES = {"f": "float", "d": "double", "F": "Complex<float>", "D": "Complex<double>"}


def synthesize(codes: Any, filters: FilterSpectrum) -> Any:
    """Spectrum of Σ_m d_m * x_m."""
    bank = _Bank(filters, codes.dtype)
    planes, out = _planes(cupy.ascontiguousarray(codes)), bank.image(len(codes))
    for piece in bank.pieces(len(codes)):
        bank.gather(planes[piece.span], piece, out, overwrite=False)
    return out


def analyze(image: Any, filters: FilterSpectrum) -> Any:
    """Correlations with all filters, (rows, maps, *grid)."""
    bank = _Bank(filters, _code_dtype(image, filters))
    codes = cupy.empty((len(image), bank.maps, *bank.grid), bank.dtype)
    planes, image = _planes(codes), bank.prepared(image)
    for piece in bank.pieces(len(image)):
        cupy.multiply(bank.spread(image, piece), bank.scale, out=planes[piece.span])
    return codes


def violation(image: Any, filters: FilterSpectrum, levels: Levels) -> Any:
    """Largest |Dᴴ image| / Λ of each row, without storing all maps."""
    bank = _Bank(filters, _code_dtype(image, filters))
    kernel = _Pointwise("violation", (len(image), bank.maps, *bank.grid), bank.dtype, levels, ("violation",))
    image = bank.prepared(image)
    for piece in bank.pieces(len(image)):
        kernel(piece, bank.spread(image, piece), bank.scale)
    return kernel.totals()["violation"]


def ista_sweep(x: Any, residual: Any, filters: FilterSpectrum, levels: Levels, step_size: Any) -> tuple[Any, Any, Sums]:
    """Twin of `reference.ista_sweep`; `x` is updated in place."""
    x, bank, step = cupy.ascontiguousarray(x), _Bank(filters, x.dtype), _parameter(step_size, x)
    kernel = _Pointwise("ista", x.shape, x.dtype, levels, ("l1", "change", "violation"))

    def update(piece: _Piece, gradient: Any) -> None:
        kernel(piece, x, gradient, step, bank.scale)

    return x, bank.sweep(residual, update), kernel.totals()


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
    x, point, bank = cupy.ascontiguousarray(x), cupy.ascontiguousarray(point), _Bank(filters, x.dtype)
    step, beta = _parameter(step_size, x), _parameter(momentum, x)
    kernel = _Pointwise("fista", x.shape, x.dtype, levels, ("l1", "change", "turn", "violation"))

    def update(piece: _Piece, gradient: Any) -> None:
        kernel(piece, x, point, gradient, step, beta, bank.scale)

    return x, point, bank.sweep(residual, update), kernel.totals()


def admm_sweep(
    v: Any,
    correction: Any,
    filters: FilterSpectrum,
    levels: Levels,
    penalty: Any,
    relaxation: float,
) -> tuple[Any, Any, Sums]:
    """Twin of `reference.admm_sweep`; `v` is updated in place."""
    v, bank, rho = cupy.ascontiguousarray(v), _Bank(filters, v.dtype), _parameter(penalty, v)
    alpha, names = _real(v.dtype).type(relaxation), ("primal", "dual", "x", "y", "u", "violation")
    kernel = _Pointwise("admm", v.shape, v.dtype, levels, names)

    def update(piece: _Piece, shift: Any) -> None:
        kernel(piece, v, shift, rho, alpha, bank.scale)

    return v, bank.sweep(correction, update), kernel.totals()


def proximal(v: Any, levels: Levels, scale: Any) -> tuple[Any, Any]:
    """y = S_{scale·Λ}(v) for a scale a row, and Σ Λ|y| of each row."""
    v = cupy.ascontiguousarray(v)
    y = cupy.empty(v.shape, v.dtype)
    kernel = _Pointwise("proximal", v.shape, v.dtype, levels, ("l1",))
    kernel(_Piece(0, *v.shape[:2]), v, y, _parameter(scale, v))
    return y, kernel.totals()["l1"]


def weighted_l1(x: Any, levels: Levels) -> Any:
    """Σ Λ|x| of each row, summed in float64."""
    x = cupy.ascontiguousarray(x)
    kernel = _Pointwise("weighted_l1", x.shape, x.dtype, levels, ("l1",))
    kernel(_Piece(0, *x.shape[:2]), x)
    return kernel.totals()["l1"]


class _Piece(NamedTuple):
    """Planes handled together: whole rows, or some maps of one row, counted from plane `first`."""

    first: int
    rows: int
    maps: int

    @property
    def span(self) -> slice:
        return slice(self.first, self.first + self.rows * self.maps)


class _Bank:
    """Filters in the precision of the codes, and the two transforms they define on a piece of the maps."""

    def __init__(self, filters: FilterSpectrum, dtype: Any) -> None:
        self.grid, self.real, self.dtype = tuple(filters.grid), filters.real, np.dtype(dtype)
        self.spectral = np.result_type(dtype, np.complex64)
        self.values = cupy.ascontiguousarray(filters.values, dtype=self.spectral)
        self.maps, self.channels, *shape = self.values.shape
        self.frequency_shape, self.frequencies = tuple(shape), math.prod(shape)
        self.axes = tuple(range(1, len(self.grid) + 1))
        self.scale = _real(dtype).type(1 / math.prod(self.grid))

    def image(self, rows: int) -> Any:
        """Room for the spectrum of an image."""
        return cupy.empty((rows, self.channels, *self.frequency_shape), self.spectral)

    def prepared(self, image: Any) -> Any:
        """An image's spectrum as the kernels read it."""
        return cupy.ascontiguousarray(image, dtype=self.spectral)

    def pieces(self, rows: int) -> Iterator[_Piece]:
        """All planes of `rows` rows in pieces of at most `_PIECE` bytes (one plane at least)."""
        fit = max(1, _PIECE // (math.prod(self.grid) * self.dtype.itemsize))
        if fit >= self.maps:
            step = fit // self.maps
            for row in range(0, rows, step):
                yield _Piece(row * self.maps, min(step, rows - row), self.maps)
            return
        step = math.ceil(self.maps / math.ceil(self.maps / fit))
        for row in range(rows):
            for first in range(0, self.maps, step):
                yield _Piece(row * self.maps + first, 1, min(step, self.maps - first))

    def sweep(self, image: Any, update: Callable[[_Piece, Any], None]) -> Any:
        """Pass every piece through analysis, `update` (in place) and synthesis; an image's spectrum."""
        image, out = self.prepared(image), self.image(len(image))
        for piece in self.pieces(len(image)):
            maps = self.spread(image, piece)
            update(piece, maps)
            self.gather(maps, piece, out, overwrite=True)
        return out

    def spread(self, image: Any, piece: _Piece) -> Any:
        """Correlate: maps of a piece, (planes, *grid), too large by the factor 1 / `scale`."""
        planes, segments = piece.rows * piece.maps, _blocks(self.frequencies, _PER_THREAD)
        spectrum = cupy.empty((planes, *self.frequency_shape), self.spectral)
        _kernel("spread", self.spectral)(
            (planes * segments,),
            (_THREADS,),
            (self.values, image, spectrum, *self._sizes(piece), np.uint32(segments)),
        )
        options = {"s": self.grid, "axes": self.axes, "norm": "forward", "overwrite_x": True}
        return _dense(fft.irfftn(spectrum, **options) if self.real else fft.ifftn(spectrum, **options))

    def gather(self, maps: Any, piece: _Piece, out: Any, overwrite: bool) -> None:
        """Add what a piece's maps contribute to an image's spectrum; `overwrite` lets `maps` be destroyed."""
        transform = fft.rfftn if self.real else fft.fftn
        spectrum = _dense(transform(maps, axes=self.axes, overwrite_x=overwrite))
        blocks = piece.rows * self.channels * _blocks(self.frequencies, 1)
        arguments = (self.values, spectrum, out, *self._sizes(piece))
        _kernel("gather", self.spectral)((blocks,), (_THREADS,), arguments)

    def _sizes(self, piece: _Piece) -> tuple[Any, ...]:
        sizes = (piece.first, piece.rows, piece.maps, self.maps, self.channels)
        return (*(np.uint32(n) for n in sizes), np.int64(self.frequencies))


class _Pointwise:
    """A pointwise kernel over maps of one shape; it keeps the sums of all its launches.

    `names` are its sums in the kernel's order; ``violation``, a maximum, comes last.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dtype: Any, levels: Levels, names: tuple[str, ...]) -> None:
        self.kernel, self.names = _kernel(name, dtype), names
        self.rows, self.maps, *grid = shape
        self.pixels = math.prod(grid)
        self.segments = _blocks(self.pixels, _PER_THREAD)
        real, weight = _real(dtype), levels.weight
        level = cupy.broadcast_to(levels.level, (self.rows, self.maps))
        self.levels: tuple[Any, ...] = (cupy.ascontiguousarray(level, dtype=real), np.uint64(0), *_steps(0, 0))
        if weight is not None:
            kept = cupy.ascontiguousarray(cupy.broadcast_to(weight, (*weight.shape[:2], *grid)), dtype=real)
            row_step = 0 if len(kept) == 1 else kept.shape[1] * self.pixels
            self.levels = (self.levels[0], kept, *_steps(row_step, 0 if kept.shape[1] == 1 else self.pixels))
        self.nonnegative = np.int32(levels.nonnegative)
        self.partial = cupy.empty((len(names), self.rows * self.maps * self.segments), np.float64)

    def __call__(self, piece: _Piece, *arguments: Any) -> None:
        """Launch on the planes of a piece."""
        place = (np.uint32(piece.first), np.uint32(self.maps), np.int64(self.pixels), np.uint32(self.segments))
        sums = (self.nonnegative, self.partial, np.int64(self.partial.shape[1]))
        grid = (piece.rows * piece.maps * self.segments,)
        self.kernel(grid, (_THREADS,), (*arguments, *place, *self.levels, *sums))

    def totals(self) -> Sums:
        """The sums of each row, (rows,) in float64."""
        totals = cupy.empty((len(self.names), self.rows), np.float64)
        sums = len(self.names) - ("violation" in self.names)
        parts = np.int64(self.maps * self.segments)
        _kernel("total")(
            (totals.size,), (_THREADS,), (self.partial, totals, np.uint32(self.rows), parts, np.int32(sums))
        )
        return {name: totals[k] for k, name in enumerate(self.names)}


@functools.cache
def _kernel(name: str, dtype: Any = None) -> Any:
    """A kernel of `pointwise.cuh`, compiled at its first use; CuPy keeps the binary on disk."""
    expression = name if dtype is None else f"{name}<{_TYPES[np.dtype(dtype).char]}>"
    module = cupy.RawModule(code=_source(), options=_OPTIONS, name_expressions=(expression,))
    return module.get_function(expression)


@functools.cache
def _source() -> str:
    return Path(__file__).with_name("pointwise.cuh").read_text(encoding="utf-8")


def _blocks(length: int, per_thread: int) -> int:
    """Blocks for `length` elements."""
    return math.ceil(length / (_THREADS * per_thread))


def _steps(row: int, column: int) -> tuple[Any, Any]:
    return np.int64(row), np.int64(column)


def _planes(codes: Any) -> Any:
    return codes.reshape((-1, *codes.shape[2:]))


def _dense(array: Any) -> Any:
    """The array itself, C-contiguous: CuPy's transforms may return turned axes where N-D plans are switched off."""
    return cupy.ascontiguousarray(array)


def _code_dtype(image: Any, filters: FilterSpectrum) -> Any:
    return _real(image.dtype) if filters.real else image.dtype


def _real(dtype: Any) -> Any:
    return np.dtype(np.dtype(dtype).char.lower())


def _parameter(values: Any, like: Any) -> Any:
    return cupy.ascontiguousarray(values, dtype=_real(like.dtype))
