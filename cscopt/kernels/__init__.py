"""The hot loops: `for_array` picks the fused twin for an array, `reference` says what each does."""

from __future__ import annotations

from types import ModuleType

from cscopt.backend import Array, is_cupy, is_numpy
from cscopt.kernels import reference
from cscopt.kernels.reference import FilterSpectrum, Levels, Regularizer

__all__ = ["FilterSpectrum", "Levels", "Regularizer", "for_array", "reference"]


def for_array(array: Array) -> ModuleType:
    """Module of kernels for an array: Numba for NumPy, CUDA for CuPy, the reference for others."""
    if is_numpy(array):
        from cscopt.kernels import numba

        return numba
    if is_cupy(array):
        from cscopt.kernels import cupy

        return cupy
    return reference
