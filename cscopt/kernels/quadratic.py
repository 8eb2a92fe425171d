"""Compiled twin of the quadratic step of `cscopt.solvers.curved`, for filters of one channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt.kernels.pool import each_chunk
from cscopt.kernels.scalars import BLOCK, compiled, copy, square

_CHUNK = 4 * BLOCK


def change(filters: Any, z: Any, s: Any, bend: Any, laplacian: Any, rho: Any, sigma: Any) -> tuple[Any, Any]:
    """Spectra of x⁺ − z and of s − K x⁺; `bend` is (rows, maps), the Laplacian's eigenvalues (*frequencies)."""
    moved, residual = np.empty(z.shape, z.dtype), np.empty(s.shape, z.dtype)
    flat = [a.reshape((*a.shape[:2], -1)) for a in (np.ascontiguousarray(z), np.ascontiguousarray(s), moved, residual)]
    bank, real = filters.reshape((len(filters), -1)), z.real.dtype
    bend, rho, sigma = (np.ascontiguousarray(a, real) for a in (bend, rho, sigma))
    eigenvalues = np.ascontiguousarray(laplacian, real).reshape(-1)

    def work(row: int, begin: int, end: int) -> None:
        source, goal, target, rest = (a[row] for a in flat)
        _change(bank, source, goal[0], bend[row], eigenvalues, rho[row], sigma[row], target, rest[0], begin, end)

    each_chunk(len(z), eigenvalues.size, _CHUNK, work)
    return moved, residual


@compiled
def _change(
    bank: Any, z: Any, s: Any, bend: Any, laplacian: Any, rho: Any, sigma: Any, moved: Any, residual: Any,
    begin: int, end: int,
) -> None:  # fmt: skip
    denominators = np.empty(BLOCK, bend.dtype)
    for b in range(begin, end, BLOCK):
        e = min(b + BLOCK, end)
        denominator, rest = denominators[: e - b], residual[b:e]
        denominator[:] = rho / rho
        copy(s[b:e], rest)
        for m in range(z.shape[0]):
            _take(bank[m, b:e], z[m, b:e], bend[m], laplacian[b:e], rho, sigma, denominator, rest)
        for i in range(rest.size):
            rest[i] /= denominator[i]
        for m in range(z.shape[0]):
            _move(bank[m, b:e], z[m, b:e], bend[m], laplacian[b:e], rho, sigma, rest, moved[m, b:e])


@compiled
def _take(d: Any, z: Any, bend: Any, laplacian: Any, rho: Any, sigma: Any, denominator: Any, rest: Any) -> None:
    """rest −= d z', and denominator += σ |d|² / (ρ + Q), for z' = ρ z / (ρ + Q)."""
    for i in range(z.size):
        total = rho + bend * laplacian[i]
        rest[i] -= d[i] * z[i] * (rho / total)
        denominator[i] += square(d[i]) * (sigma / total)


@compiled
def _move(d: Any, z: Any, bend: Any, laplacian: Any, rho: Any, sigma: Any, rest: Any, moved: Any) -> None:
    """z' − z + σ conj(d) r / (ρ + Q)."""
    for i in range(z.size):
        curve = bend * laplacian[i]
        moved[i] = (d[i].conjugate() * rest[i] * sigma - z[i] * curve) / (rho + curve)
