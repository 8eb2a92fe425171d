"""Compiled loops over the coefficients of a few maps; `reference` says what each computes.

Reductions add blocks in the array's precision and blocks to each other in float64. A largest value
is kept lane by lane, because the compiler vectorises that and not a scalar maximum. No literal
numbers in the loops: they would turn float32 arithmetic into float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit, types
from numba.extending import overload

Function = TypeVar("Function", bound=Callable[..., Any])
_BLOCK = 512
_OPTIONS: dict[str, Any] = {"fastmath": True, "error_model": "numpy"}


def compiled(function: Function) -> Function:
    """Compile without the interpreter lock, cached on disk where any cache folder can be written."""
    try:
        return njit(nogil=True, cache=True, **_OPTIONS)(function)
    except RuntimeError:  # Numba found no writable cache folder
        return njit(nogil=True, **_OPTIONS)(function)


def _shrink(v: Any, t: Any, nonnegative: Any) -> Any:
    """Soft threshold; `nonnegative` is None or True (a type, so that the choice is compiled away)."""


def _square(a: Any) -> Any:
    """|a|²."""


def _dot(a: Any, b: Any) -> Any:
    """Re(conj(a) b)."""


def _size(a: Any, nonnegative: Any) -> Any:
    """What the dual constraint bounds: |a|, or a itself for non-negative codes."""


def _weight(weight: Any, i: int, one: Any) -> Any:
    """weight[i], or one where there is no weight."""


def _block_of(weight: Any, j: int, start: int) -> Any:
    """A block of the weight of map j, or None."""


@overload(_shrink, jit_options=_OPTIONS, strict=False)
def _shrink_typed(v: Any, t: Any, nonnegative: Any) -> Any:
    if isinstance(v, types.Complex):

        def shrink(v: Any, t: Any, nonnegative: Any) -> Any:
            modulus = np.sqrt(v.real * v.real + v.imag * v.imag)
            kept = max(modulus - t, t - t)
            factor = kept / max(modulus, t)
            return complex_of(v.real * factor, v.imag * factor, v)
    elif isinstance(nonnegative, types.NoneType):

        def shrink(v: Any, t: Any, nonnegative: Any) -> Any:
            return v - min(max(v, -t), t)
    else:

        def shrink(v: Any, t: Any, nonnegative: Any) -> Any:
            return max(v - t, t - t)

    return shrink


def complex_of(real: Any, imag: Any, like: Any) -> Any:
    """A complex number of the type of `like`."""


@overload(complex_of, jit_options=_OPTIONS, strict=False)
def _complex_of_typed(real: Any, imag: Any, like: Any) -> Any:
    kind = like

    def build(real: Any, imag: Any, like: Any) -> Any:
        return kind(complex(real, imag))

    return build


@overload(_square, jit_options=_OPTIONS, strict=False)
def _square_typed(a: Any) -> Any:
    if isinstance(a, types.Complex):
        return lambda a: a.real * a.real + a.imag * a.imag
    return lambda a: a * a


@overload(_dot, jit_options=_OPTIONS, strict=False)
def _dot_typed(a: Any, b: Any) -> Any:
    if isinstance(a, types.Complex):
        return lambda a, b: a.real * b.real + a.imag * b.imag
    return lambda a, b: a * b


@overload(_size, jit_options=_OPTIONS, strict=False)
def _size_typed(a: Any, nonnegative: Any) -> Any:
    if isinstance(a, types.Complex):
        return lambda a, nonnegative: np.sqrt(a.real * a.real + a.imag * a.imag)
    if isinstance(nonnegative, types.NoneType):
        return lambda a, nonnegative: abs(a)
    return lambda a, nonnegative: a


@overload(_weight, jit_options=_OPTIONS, strict=False)
def _weight_typed(weight: Any, i: Any, one: Any) -> Any:
    if isinstance(weight, types.NoneType):
        return lambda weight, i, one: one
    return lambda weight, i, one: weight[i]


@overload(_block_of, jit_options=_OPTIONS, strict=False)
def _block_of_typed(weight: Any, j: Any, start: Any) -> Any:
    if isinstance(weight, types.NoneType):
        return lambda weight, j, start: None
    return lambda weight, j, start: weight[j % weight.shape[0], start : start + _BLOCK]


@compiled
def spread(bank: Any, image: Any, out: Any) -> None:
    """out_k = Σ_c conj(bank_kc) image_c; bank (maps, channels, freq), image (channels, freq)."""
    for k in range(bank.shape[0]):
        first, pixels, target = bank[k, 0], image[0], out[k]
        for i in range(target.size):
            target[i] = first[i].conjugate() * pixels[i]
        for c in range(1, bank.shape[1]):
            other, pixels = bank[k, c], image[c]
            for i in range(target.size):
                target[i] += other[i].conjugate() * pixels[i]


@compiled
def gather(bank: Any, maps: Any, total: Any) -> None:
    """total_c += Σ_k bank_kc maps_k."""
    for k in range(bank.shape[0]):
        source = maps[k]
        for c in range(bank.shape[1]):
            values, target = bank[k, c], total[c]
            for i in range(source.size):
                target[i] += values[i] * source[i]


@compiled
def _violation_block(g: Any, weight: Any, scale: Any, nonnegative: Any, worst: Any) -> None:
    one = scale / scale
    for i in range(g.size):
        worst[i] = max(worst[i], _size(g[i] * scale, nonnegative) / _weight(weight, i, one))


@compiled
def violation(g: Any, level: Any, weight: Any, scale: Any, nonnegative: Any, sums: Any) -> None:
    """sums (maps, 1): max of |g| / Λ."""
    for j in range(g.shape[0]):
        worst = np.zeros(_BLOCK, level.dtype)
        for b in range(0, g.shape[1], _BLOCK):
            _violation_block(g[j, b : b + _BLOCK], _block_of(weight, j, b), scale, nonnegative, worst)
        sums[j, 0] = worst.max() / level[j]


@compiled
def _ista_block(x: Any, g: Any, t: Any, weight: Any, step: Any, scale: Any, nonnegative: Any, worst: Any) -> Any:
    one = t / t
    l1 = t - t
    change = t - t
    for i in range(x.size):
        w = _weight(weight, i, one)
        old, gradient = x[i], g[i] * scale
        new = _shrink(old - step * gradient, t * w, nonnegative)
        x[i] = new
        g[i] = new
        l1 += w * _size(new, None)
        change += _square(new - old)
        worst[i] = max(worst[i], _size(-gradient, nonnegative) / w)
    return l1, change


@compiled
def ista(x: Any, g: Any, level: Any, weight: Any, step: Any, scale: Any, nonnegative: Any, sums: Any) -> None:
    """x ← S(x − step·scale·g) and g ← x; sums (maps, 3): l1, change, violation."""
    for j in range(x.shape[0]):
        worst = np.zeros(_BLOCK, level.dtype)
        for b in range(0, x.shape[1], _BLOCK):
            e = b + _BLOCK
            l1, change = _ista_block(
                x[j, b:e], g[j, b:e], level[j] * step, _block_of(weight, j, b), step, scale, nonnegative, worst
            )
            sums[j, 0] += l1 * level[j]
            sums[j, 1] += change
        sums[j, 2] = worst.max() / level[j]


@compiled
def _fista_block(
    x: Any,
    z: Any,
    g: Any,
    t: Any,
    weight: Any,
    step: Any,
    beta: Any,
    scale: Any,
    nonnegative: Any,
    worst: Any,
) -> Any:
    one = t / t
    l1 = t - t
    change = t - t
    turn = t - t
    for i in range(x.size):
        w = _weight(weight, i, one)
        old, point, gradient = x[i], z[i], g[i] * scale
        new = _shrink(point - step * gradient, t * w, nonnegative)
        ahead = new + beta * (new - old)
        x[i] = new
        z[i] = ahead
        g[i] = ahead
        l1 += w * _size(new, None)
        change += _square(new - point)
        turn += _dot(point - new, new - old)
        worst[i] = max(worst[i], _size(-gradient, nonnegative) / w)
    return l1, change, turn


@compiled
def fista(
    x: Any,
    z: Any,
    g: Any,
    level: Any,
    weight: Any,
    step: Any,
    beta: Any,
    scale: Any,
    nonnegative: Any,
    sums: Any,
) -> None:
    """One FISTA update of x, z, and g ← z; sums (maps, 4): l1, change, turn, violation."""
    for j in range(x.shape[0]):
        worst = np.zeros(_BLOCK, level.dtype)
        for b in range(0, x.shape[1], _BLOCK):
            e = b + _BLOCK
            l1, change, turn = _fista_block(
                x[j, b:e], z[j, b:e], g[j, b:e], level[j] * step, _block_of(weight, j, b),
                step, beta, scale, nonnegative, worst,
            )  # fmt: skip
            sums[j, 0] += l1 * level[j]
            sums[j, 1] += change
            sums[j, 2] += turn
        sums[j, 3] = worst.max() / level[j]


@compiled
def _admm_block(v: Any, e: Any, t: Any, weight: Any, alpha: Any, scale: Any, nonnegative: Any, worst: Any) -> Any:
    one = t / t
    l1 = t - t
    primal = t - t
    dual = t - t
    xs = t - t
    ys = t - t
    us = t - t
    for i in range(v.size):
        w = _weight(weight, i, one)
        before, shift = v[i], e[i] * scale
        old = _shrink(before, t * w, nonnegative)
        change = old - before + shift
        after = before + alpha * change
        y = _shrink(after, t * w, nonnegative)
        v[i] = after
        e[i] = y + y - after
        x = old + change
        l1 += w * _size(y, None)
        primal += _square(x - y)
        dual += _square(y - old)
        xs += _square(x)
        ys += _square(y)
        us += _square(after - y)
        worst[i] = max(worst[i], _size(shift, nonnegative) / w)
    return l1, primal, dual, xs, ys, us


@compiled
def admm(
    v: Any,
    e: Any,
    level: Any,
    weight: Any,
    rho: Any,
    alpha: Any,
    scale: Any,
    nonnegative: Any,
    sums: Any,
) -> None:
    """One ADMM update of v, and e ← 2y − v; sums (maps, 7): l1, primal, dual, x, y, u, violation."""
    for j in range(v.shape[0]):
        worst = np.zeros(_BLOCK, level.dtype)
        for b in range(0, v.shape[1], _BLOCK):
            end = b + _BLOCK
            l1, primal, dual, xs, ys, us = _admm_block(
                v[j, b:end], e[j, b:end], level[j] / rho, _block_of(weight, j, b),
                alpha, scale, nonnegative, worst,
            )  # fmt: skip
            sums[j, 0] += l1 * level[j]
            sums[j, 1] += primal
            sums[j, 2] += dual
            sums[j, 3] += xs
            sums[j, 4] += ys
            sums[j, 5] += us
        sums[j, 6] = worst.max() / level[j]


@compiled
def _proximal_block(v: Any, y: Any, t: Any, weight: Any, nonnegative: Any) -> Any:
    one = t / t
    l1 = t - t
    for i in range(v.size):
        w = _weight(weight, i, one)
        kept = _shrink(v[i], t * w, nonnegative)
        y[i] = kept
        l1 += w * _size(kept, None)
    return l1


@compiled
def proximal(v: Any, y: Any, level: Any, weight: Any, scale: Any, nonnegative: Any, sums: Any) -> None:
    """y ← S_{scale·Λ}(v); sums (maps, 1): l1."""
    for j in range(v.shape[0]):
        for b in range(0, v.shape[1], _BLOCK):
            e = b + _BLOCK
            l1 = _proximal_block(v[j, b:e], y[j, b:e], level[j] * scale, _block_of(weight, j, b), nonnegative)
            sums[j, 0] += l1 * level[j]


@compiled
def _l1_block(x: Any, one: Any, weight: Any) -> Any:
    l1 = one - one
    for i in range(x.size):
        l1 += _weight(weight, i, one) * _size(x[i], None)
    return l1


@compiled
def weighted_l1(x: Any, level: Any, weight: Any, sums: Any) -> None:
    """sums (maps, 1): Σ Λ|x|."""
    for j in range(x.shape[0]):
        for b in range(0, x.shape[1], _BLOCK):
            part = _l1_block(x[j, b : b + _BLOCK], level[j] / level[j], _block_of(weight, j, b))
            sums[j, 0] += part * level[j]
