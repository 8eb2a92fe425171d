"""Compiled loops over the coefficients of a few maps; `reference` says what each computes.

Reductions add blocks in the array's precision and blocks to each other in float64. A largest value
is kept lane by lane, because the compiler vectorises that and not a scalar maximum. No literal
numbers in the loops: they would turn float32 arithmetic into float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt.kernels.scalars import BLOCK, block_of, compiled, dot, largest, shrink, size, square, weight_at


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
        worst[i] = max(worst[i], size(g[i] * scale, nonnegative) / weight_at(weight, i, one))


@compiled
def violation(g: Any, level: Any, weight: Any, scale: Any, nonnegative: Any, sums: Any) -> None:
    """sums (maps, 1): max of |g| / Λ."""
    for j in range(g.shape[0]):
        worst = np.zeros(BLOCK, level.dtype)
        for b in range(0, g.shape[1], BLOCK):
            _violation_block(g[j, b : b + BLOCK], block_of(weight, j, b), scale, nonnegative, worst)
        sums[j, 0] = largest(worst) / level[j]


@compiled
def _ista_block(x: Any, g: Any, t: Any, weight: Any, step: Any, scale: Any, nonnegative: Any, worst: Any) -> Any:
    one = t / t
    l1 = t - t
    change = t - t
    for i in range(x.size):
        w = weight_at(weight, i, one)
        old, gradient = x[i], g[i] * scale
        new = shrink(old - step * gradient, t * w, nonnegative)
        x[i] = new
        g[i] = new
        l1 += w * size(new, None)
        change += square(new - old)
        worst[i] = max(worst[i], size(-gradient, nonnegative) / w)
    return l1, change


@compiled
def ista(x: Any, g: Any, level: Any, weight: Any, step: Any, scale: Any, nonnegative: Any, sums: Any) -> None:
    """x ← S(x − step·scale·g) and g ← x; sums (maps, 3): l1, change, violation."""
    for j in range(x.shape[0]):
        worst = np.zeros(BLOCK, level.dtype)
        for b in range(0, x.shape[1], BLOCK):
            e = b + BLOCK
            l1, change = _ista_block(
                x[j, b:e], g[j, b:e], level[j] * step, block_of(weight, j, b), step, scale, nonnegative, worst
            )
            sums[j, 0] += l1 * level[j]
            sums[j, 1] += change
        sums[j, 2] = largest(worst) / level[j]


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
        w = weight_at(weight, i, one)
        old, point, gradient = x[i], z[i], g[i] * scale
        new = shrink(point - step * gradient, t * w, nonnegative)
        ahead = new + beta * (new - old)
        x[i] = new
        z[i] = ahead
        g[i] = ahead
        l1 += w * size(new, None)
        change += square(new - point)
        turn += dot(point - new, new - old)
        worst[i] = max(worst[i], size(-gradient, nonnegative) / w)
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
        worst = np.zeros(BLOCK, level.dtype)
        for b in range(0, x.shape[1], BLOCK):
            e = b + BLOCK
            l1, change, turn = _fista_block(
                x[j, b:e], z[j, b:e], g[j, b:e], level[j] * step, block_of(weight, j, b),
                step, beta, scale, nonnegative, worst,
            )  # fmt: skip
            sums[j, 0] += l1 * level[j]
            sums[j, 1] += change
            sums[j, 2] += turn
        sums[j, 3] = largest(worst) / level[j]


@compiled
def _admm_block(v: Any, e: Any, t: Any, weight: Any, alpha: Any, scale: Any, nonnegative: Any, worst: Any) -> Any:
    one = t / t
    primal = t - t
    dual = t - t
    xs = t - t
    ys = t - t
    us = t - t
    for i in range(v.size):
        w = weight_at(weight, i, one)
        before, shift = v[i], e[i] * scale
        old = shrink(before, t * w, nonnegative)
        change = old - before + shift
        after = before + alpha * change
        y = shrink(after, t * w, nonnegative)
        v[i] = after
        e[i] = y + y - after
        x = old + change
        primal += square(x - y)
        dual += square(y - old)
        xs += square(x)
        ys += square(y)
        us += square(after - y)
        worst[i] = max(worst[i], size(shift, nonnegative) / w)
    return primal, dual, xs, ys, us


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
    """One ADMM update of v, and e ← 2y − v; sums (maps, 6): primal, dual, x, y, u, violation."""
    for j in range(v.shape[0]):
        worst = np.zeros(BLOCK, level.dtype)
        for b in range(0, v.shape[1], BLOCK):
            end = b + BLOCK
            primal, dual, xs, ys, us = _admm_block(
                v[j, b:end], e[j, b:end], level[j] / rho, block_of(weight, j, b),
                alpha, scale, nonnegative, worst,
            )  # fmt: skip
            sums[j, 0] += primal
            sums[j, 1] += dual
            sums[j, 2] += xs
            sums[j, 3] += ys
            sums[j, 4] += us
        sums[j, 5] = largest(worst) / level[j]


@compiled
def _proximal_block(v: Any, y: Any, t: Any, one: Any, weight: Any, nonnegative: Any) -> Any:
    l1 = t - t
    for i in range(v.size):
        w = weight_at(weight, i, one)
        kept = shrink(v[i], t * w, nonnegative)
        y[i] = kept
        l1 += w * size(kept, None)
    return l1


@compiled
def proximal(v: Any, y: Any, level: Any, weight: Any, scale: Any, one: Any, nonnegative: Any, sums: Any) -> None:
    """y ← S_{scale·Λ}(v); sums (maps, 1): l1; a level may be 0, and the scale."""
    for j in range(v.shape[0]):
        for b in range(0, v.shape[1], BLOCK):
            e = b + BLOCK
            l1 = _proximal_block(v[j, b:e], y[j, b:e], level[j] * scale, one, block_of(weight, j, b), nonnegative)
            sums[j, 0] += l1 * level[j]


@compiled
def _l1_block(x: Any, one: Any, weight: Any) -> Any:
    l1 = one - one
    for i in range(x.size):
        l1 += weight_at(weight, i, one) * size(x[i], None)
    return l1


@compiled
def weighted_l1(x: Any, level: Any, weight: Any, one: Any, sums: Any) -> None:
    """sums (maps, 1): Σ Λ|x|; a level may be 0."""
    for j in range(x.shape[0]):
        for b in range(0, x.shape[1], BLOCK):
            part = _l1_block(x[j, b : b + BLOCK], one, block_of(weight, j, b))
            sums[j, 0] += part * level[j]
