"""Fourier transforms of every namespace: FFTW (else SciPy) for NumPy, cuFFT for CuPy, torch.fft for torch.

A transform is over the trailing axes, zero-padded to `grid`; real arrays have half spectra.
`forward` is unnormalised and `inverse` carries 1/n, as everywhere else.
FFTW measures which plan is fastest, so that the last bits differ from process to process; where they must not, it
plans by estimate (`estimated`).
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from cscopt import wisdom
from cscopt.backend import Array, get_threads, is_complex, is_numpy, namespace
from cscopt.wisdom import library, pyfftw

_IDLE_KEYS = 8
_PLANNING_SECONDS = 2.0
_KEPT_SECONDS = 0.01
_SHORT = 1 << 20
_AT_A_TIME = 1 << 20
_lock = threading.RLock()
_estimating = 0
_idle: OrderedDict[tuple[Any, ...], list[Workspace]] = OrderedDict()


def frequency_shape(grid: tuple[int, ...], real: bool) -> tuple[int, ...]:
    """Shape of the spectrum of an array on `grid`."""
    return (*grid[:-1], grid[-1] // 2 + 1) if real else tuple(grid)


def forward(x: Array, grid: tuple[int, ...], singly: bool = False) -> Array:
    """Discrete Fourier transform over the last ``len(grid)`` axes, zero-padded to `grid`.

    With `singly`, NumPy arrays go through a buffer of one image, which is kept for the next call, not of many.
    """
    if is_numpy(x):
        return _forward_numpy(x, grid, 1 if singly else _AT_A_TIME)
    xp = namespace(x)
    axes = tuple(range(-len(grid), 0))
    transform = xp.fft.fftn if is_complex(x) else xp.fft.rfftn
    return transform(x, s=tuple(grid), axes=axes)


def inverse(spectrum: Array, grid: tuple[int, ...], real: bool, singly: bool = False) -> Array:
    """Inverse of `forward`: an array on `grid`, real when `real`."""
    if is_numpy(spectrum):
        return _inverse_numpy(spectrum, grid, real, 1 if singly else _AT_A_TIME)
    xp = namespace(spectrum)
    axes = tuple(range(-len(grid), 0))
    transform = xp.fft.irfftn if real else xp.fft.ifftn
    return transform(spectrum, s=tuple(grid), axes=axes)


def fast_length(n: int) -> int:
    """Smallest length of at least n whose FFT is fast (factors 2, 3, 5, 7)."""
    while _without(n, (2, 3, 5, 7)) > 1:
        n += 1
    return n


def _without(n: int, primes: tuple[int, ...]) -> int:
    """n divided by these primes as often as they go."""
    for prime in primes:
        while n % prime == 0:
            n //= prime
    return n


class Workspace:
    """An FFT pair over two buffers of its own, planned once.

    Attributes
    ----------
    signal : ndarray, (count, *grid)
    spectrum : ndarray, (count, *frequencies)

    Notes
    -----
    Both directions are unnormalised, and each may destroy its input. Lengths with a prime factor above 13 go to SciPy,
    which measured 2 to 6 times faster there (171×447, 300×399, 321×481) than FFTW's best plan.
    """

    def __init__(
        self, count: int, grid: tuple[int, ...], dtype: Any, threads: int, effort: str = "FFTW_MEASURE"
    ) -> None:
        real = np.dtype(dtype).kind == "f"
        spectral = np.result_type(dtype, np.complex64)
        shapes = (count, *grid), (count, *frequency_shape(grid, real))
        axes = tuple(range(1, len(grid) + 1))
        if library() == "scipy" or _foreign(grid):
            self.signal = np.zeros(shapes[0], dtype)
            self.spectrum = np.zeros(shapes[1], spectral)
            self.forward, self.inverse = _scipy_pair(self.signal, self.spectrum, axes, real, threads)
            return
        package = pyfftw()
        self.signal = package.zeros_aligned(shapes[0], dtype, n=64)
        self.spectrum = package.zeros_aligned(shapes[1], spectral, n=64)
        flags = (effort, "FFTW_DESTROY_INPUT")
        options = {"axes": axes, "threads": threads, "flags": flags, "planning_timelimit": _PLANNING_SECONDS}
        self._plans = (
            package.FFTW(self.signal, self.spectrum, **options),
            package.FFTW(self.spectrum, self.signal, direction="FFTW_BACKWARD", **options),
        )
        self.forward, self.inverse = self._plans[0].execute, self._plans[1].execute


def _foreign(grid: tuple[int, ...]) -> bool:
    """Whether FFTW has no good plan for a length of the grid."""
    return any(_without(n, (2, 3, 5, 7, 11, 13)) > 1 for n in grid)


@contextlib.contextmanager
def workspace(count: int, grid: tuple[int, ...], dtype: Any, threads: int = 1) -> Iterator[Workspace]:
    """Borrow a planned `Workspace`; safe between threads, planned once per shape."""
    with _lock:
        effort = "FFTW_ESTIMATE" if _estimating else "FFTW_MEASURE"
        key = (count, tuple(grid), np.dtype(dtype).char, threads, effort)
        free = _idle.get(key)
        space = free.pop() if free else None
        if space is None:
            space = _planned(count, tuple(grid), dtype, threads, effort)
    try:
        yield space
    finally:
        with _lock:
            _idle.setdefault(key, []).append(space)
            _idle.move_to_end(key)
            while len(_idle) > _IDLE_KEYS:
                _idle.popitem(last=False)


@contextlib.contextmanager
def estimated() -> Iterator[None]:
    """A block whose transforms have the same bits in every process, and in all threads; FFTW plans them by estimate."""
    global _estimating
    with _lock:
        _estimating += 1
    try:
        yield
    finally:
        with _lock:
            _estimating -= 1


def clear() -> None:
    """Free the idle FFT buffers."""
    with _lock:
        _idle.clear()


def _planned(count: int, grid: tuple[int, ...], dtype: Any, threads: int, effort: str) -> Workspace:
    if library() == "scipy" or _foreign(grid):
        return Workspace(count, grid, dtype, threads, effort)
    if effort == "FFTW_ESTIMATE":
        with wisdom.forgotten():
            return Workspace(count, grid, dtype, threads, effort)
    wisdom.load()
    began = time.perf_counter()
    space = Workspace(count, grid, dtype, threads, effort)
    if time.perf_counter() - began > _KEPT_SECONDS:  # else it was known, or is as soon measured as kept
        wisdom.save()
    return space


def _scipy_pair(signal: Any, spectrum: Any, axes: tuple[int, ...], real: bool, threads: int) -> Any:
    import scipy.fft

    grid = tuple(signal.shape[a] for a in axes)
    to, back = (scipy.fft.rfftn, scipy.fft.irfftn) if real else (scipy.fft.fftn, scipy.fft.ifftn)

    def forward_pass() -> None:
        spectrum[...] = to(signal, axes=axes, workers=threads)

    def inverse_pass() -> None:
        signal[...] = back(spectrum, s=grid, axes=axes, norm="forward", workers=threads)

    return forward_pass, inverse_pass


def _threads_for(count: int, grid: tuple[int, ...]) -> int:
    """One thread where a transform is so short that waiting for others (BLAS's spin) would cost more."""
    return get_threads() if count * math.prod(grid) >= _SHORT else 1


def _forward_numpy(x: Any, grid: tuple[int, ...], at_a_time: int) -> Any:
    lead, space = x.shape[: x.ndim - len(grid)], x.shape[x.ndim - len(grid) :]
    images = x.reshape((-1, *space))
    result = np.empty((len(images), *frequency_shape(grid, x.dtype.kind == "f")), np.result_type(x.dtype, np.complex64))
    inside = (slice(None), *(slice(0, n) for n in space))
    for part, count in _parts(len(images), grid, at_a_time):
        with workspace(count, grid, x.dtype, _threads_for(count, grid)) as buffers:
            if space != tuple(grid):
                buffers.signal[...] = 0
            buffers.signal[inside] = images[part]
            buffers.forward()
            result[part] = buffers.spectrum
    return result.reshape((*lead, *result.shape[1:]))


def _inverse_numpy(spectrum: Any, grid: tuple[int, ...], real: bool, at_a_time: int) -> Any:
    lead = spectrum.shape[: spectrum.ndim - len(grid)]
    dtype = spectrum.real.dtype if real else spectrum.dtype
    spectra = spectrum.reshape((-1, *spectrum.shape[len(lead) :]))
    result = np.empty((len(spectra), *grid), dtype)
    scale = dtype.type(1 / math.prod(grid)) if real else 1 / math.prod(grid)
    for part, count in _parts(len(spectra), grid, at_a_time):
        with workspace(count, grid, dtype, _threads_for(count, grid)) as buffers:
            buffers.spectrum[...] = spectra[part]
            buffers.inverse()
            np.multiply(buffers.signal, scale, out=result[part])
    return result.reshape((*lead, *grid))


def _parts(images: int, grid: tuple[int, ...], at_a_time: int) -> Iterator[tuple[slice, int]]:
    """Images handled at a time, so many pixels or one image: the buffers kept for the next call stay small."""
    count = divisor(images, at_a_time // math.prod(grid))
    for first in range(0, images, count):
        yield slice(first, first + count), count


@functools.cache
def divisor(n: int, most: int) -> int:
    """Largest divisor of n that is at most `most`, and at least 1."""
    return max((k for k in range(1, min(n, most) + 1) if n % k == 0), default=1)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
