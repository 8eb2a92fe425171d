"""Functions of one coefficient that the loops call, chosen by type when they are compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba import njit, types
from numba.extending import overload

Function = TypeVar("Function", bound=Callable[..., Any])
BLOCK = 512
"""Coefficients that a loop sums in the array's precision before it adds them up in float64."""
OPTIONS: dict[str, Any] = {"fastmath": True, "error_model": "numpy"}


def compiled(function: Function) -> Function:
    """Compile without the interpreter lock, cached on disk where any cache folder can be written."""
    try:
        loop = njit(nogil=True, cache=True, **OPTIONS)(function)
    except RuntimeError:  # Numba found no writable cache folder
        return njit(nogil=True, **OPTIONS)(function)
    file = getattr(loop._cache, "_cache_file", None)
    if file is not None:  # Numba asks whether the function's own file changed; what it calls lies in others
        file._source_stamp = (file._source_stamp, _sources())
    return loop


@cache
def _sources() -> str:
    """A digest of all loops' sources."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def inlined(function: Function) -> Function:
    """Compile into every caller: a call with a dozen arrays costs more than what a short function does."""
    return njit(nogil=True, inline="always", **OPTIONS)(function)


@compiled
def copy(source: Any, target: Any) -> None:
    """target[:] = source along one axis, which Numba compiles for seconds: its error may have to name the shapes."""
    for i in range(target.size):
        target[i] = source[i]


@compiled
def largest(values: Any) -> Any:
    """The largest of some numbers; NumPy's, which knows NaN and axes, takes Numba a second to compile."""
    top = values[0]
    for i in range(1, values.size):
        top = max(top, values[i])
    return top


def shrink(v: Any, t: Any, nonnegative: Any) -> Any:
    """Soft threshold; `nonnegative` is None or True (a type, so that the choice is compiled away)."""


def square(a: Any) -> Any:
    """|a|²."""


def dot(a: Any, b: Any) -> Any:
    """Re(conj(a) b)."""


def ratio(a: Any, b: Any, w: Any, weight: Any) -> Any:
    """Re(conj(a) b) / w: in float64 where there is a weight, for W²r · W²r alone may leave float32's range."""


def size(a: Any, nonnegative: Any) -> Any:
    """What the dual constraint bounds: |a|, or a itself for non-negative codes."""


def weight_at(weight: Any, i: int, one: Any) -> Any:
    """weight[i], or one where there is no weight."""


def block_of(weight: Any, j: int, start: int) -> Any:
    """A block of the weight of map j, or None."""


def is_given(weight: Any) -> Any:
    """None where there is no weight, else True: a type, so that the choice is compiled away."""


def part_of(weight: Any, begin: int, end: int) -> Any:
    """weight[begin:end], or None."""


def line_of(weight: Any, m: int, a: int, b: int, start: int) -> Any:
    """The weights of map m from place (a, b, start) on, or None."""


@overload(shrink, jit_options=OPTIONS, strict=False)
def _shrink_typed(v: Any, t: Any, nonnegative: Any) -> Any:
    if isinstance(v, types.Complex):
        least = np.finfo(v.underlying_float.name).tiny

        def kernel(v: Any, t: Any, nonnegative: Any) -> Any:
            modulus = np.sqrt(v.real * v.real + v.imag * v.imag)
            kept = max(modulus - t, t - t)
            factor = kept / max(modulus, t, least)
            return complex_of(v.real * factor, v.imag * factor, v)
    elif isinstance(nonnegative, types.NoneType):

        def kernel(v: Any, t: Any, nonnegative: Any) -> Any:
            return v - min(max(v, -t), t)
    else:

        def kernel(v: Any, t: Any, nonnegative: Any) -> Any:
            return max(v - t, t - t)

    return kernel


def complex_of(real: Any, imag: Any, like: Any) -> Any:
    """A complex number of the type of `like`."""


@overload(complex_of, jit_options=OPTIONS, strict=False)
def _complex_of_typed(real: Any, imag: Any, like: Any) -> Any:
    kind = like

    def build(real: Any, imag: Any, like: Any) -> Any:
        return kind(complex(real, imag))

    return build


@overload(square, jit_options=OPTIONS, strict=False)
def _square_typed(a: Any) -> Any:
    if isinstance(a, types.Complex):
        return lambda a: a.real * a.real + a.imag * a.imag
    return lambda a: a * a


@overload(dot, jit_options=OPTIONS, strict=False)
def _dot_typed(a: Any, b: Any) -> Any:
    if isinstance(a, types.Complex):
        return lambda a, b: a.real * b.real + a.imag * b.imag
    return lambda a, b: a * b


@overload(ratio, jit_options=OPTIONS, strict=False)
def _ratio_typed(a: Any, b: Any, w: Any, weight: Any) -> Any:
    if isinstance(weight, types.NoneType):
        return lambda a, b, w, weight: dot(a, b)
    if isinstance(a, types.Complex):
        return lambda a, b, w, weight: (
            (np.float64(a.real) * np.float64(b.real) + np.float64(a.imag) * np.float64(b.imag)) / np.float64(w)
        )
    return lambda a, b, w, weight: np.float64(a) * np.float64(b) / np.float64(w)


@overload(size, jit_options=OPTIONS, strict=False)
def _size_typed(a: Any, nonnegative: Any) -> Any:
    if isinstance(a, types.Complex):
        return lambda a, nonnegative: np.sqrt(a.real * a.real + a.imag * a.imag)
    if isinstance(nonnegative, types.NoneType):
        return lambda a, nonnegative: abs(a)
    return lambda a, nonnegative: a


@overload(weight_at, jit_options=OPTIONS, strict=False)
def _weight_typed(weight: Any, i: Any, one: Any) -> Any:
    if isinstance(weight, types.NoneType):
        return lambda weight, i, one: one
    return lambda weight, i, one: weight[i]


@overload(block_of, jit_options=OPTIONS, strict=False)
def _block_of_typed(weight: Any, j: Any, start: Any) -> Any:
    if isinstance(weight, types.NoneType):
        return lambda weight, j, start: None
    return lambda weight, j, start: weight[j % weight.shape[0], start : start + BLOCK]


@overload(line_of, jit_options=OPTIONS, strict=False)
def _line_of_typed(weight: Any, m: Any, a: Any, b: Any, start: Any) -> Any:
    if isinstance(weight, types.NoneType):
        return lambda weight, m, a, b, start: None
    return lambda weight, m, a, b, start: weight[m % weight.shape[0], a, b, start:]


@overload(part_of, jit_options=OPTIONS, strict=False)
def _part_of_typed(weight: Any, begin: Any, end: Any) -> Any:
    if isinstance(weight, types.NoneType):
        return lambda weight, begin, end: None
    return lambda weight, begin, end: weight[begin:end]


@overload(is_given, jit_options=OPTIONS, strict=False)
def _is_given_typed(weight: Any) -> Any:
    if isinstance(weight, types.NoneType):
        return lambda weight: None
    return lambda weight: True
