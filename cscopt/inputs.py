"""Checks of what a problem is made of: signal, weights, penalty, and a forward operator with its adjoint."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, asarray_like, is_array, is_complex, is_torch, namespace, real_dtype
from cscopt.linop import LinearOperator, inner, mismatch
from cscopt.penalties import L1, Penalty

_EXACT, _NEARLY = 1e-3, 1e-2
"""How far dot tests may be off: on data, and on noise, of which ASTRA's CUDA projectors are not quite transposes."""


def checked_signal(signal: Array) -> Array:
    """The signal y, integers as float32 and in native byte order, if it is one."""
    if not is_array(signal) or type(signal).__name__ == "MaskedArray":
        raise TypeError(f"signal must be a plain array (use mask= for weights); got {type(signal).__name__}")
    xp = namespace(signal)
    if xp.isdtype(signal.dtype, ("integral", "bool")):
        signal = xp.astype(signal, xp.float32)
    signal = checks.floating(signal, "signal")
    if signal.ndim < 2 or 0 in signal.shape:
        raise ValueError(f"signal must be (batch, channel, *space) and not empty; got shape {tuple(signal.shape)}")
    checks.finite(signal, "signal")
    return signal


def checked_mask(mask: Array, signal: Array, name: str = "mask") -> Array:
    """Weights W that broadcast against the signal, with its axes, library and precision."""
    checks.an_array(mask, name)
    weights = checks.alongside(mask, signal, name)
    xp = namespace(weights)
    if bool(xp.any(weights < 0)):
        raise ValueError(f"{name} must not be negative; its least entry is {float(xp.min(weights)):g}")
    if not bool(xp.all(xp.any(weights > 0, axis=tuple(range(1, weights.ndim))))):
        raise ValueError(f"{name} must not be zero everywhere (in any item)")
    return weights


def as_penalty(penalty: Any, signal: Array) -> Penalty:
    """A penalty whose levels are finite in the signal's precision; a number λ stands for ``L1(λ)``."""
    penalty = penalty if isinstance(penalty, Penalty) else L1(penalty)
    limits = namespace(signal).finfo(real_dtype(signal))
    for part in (penalty.head, *penalty.tail):
        for name in ("lam", "mu"):
            level = getattr(part, name, None)
            most = 0.0 if level is None else float(namespace(level).max(level) if is_array(level) else level)
            if most > float(limits.max):
                allowed = f"positive and finite in float{limits.bits}, the signal's precision"
                raise ValueError(f"{name} must be {allowed}; got {level!r:.60}")
    return penalty


def codes_are_real(real_codes: bool | None, penalty: Penalty, signal: Array) -> bool:
    """Whether codes are real: as asked for, else where the signal is, or the penalty is non-negative."""
    if real_codes is None:
        return penalty.nonnegative or not is_complex(signal)
    checks.flag(real_codes, "real_codes")
    if penalty.nonnegative and not real_codes:
        raise ValueError("real_codes must not be False for a non-negative penalty")
    return real_codes


def image_shape(signal: Array, forward: LinearOperator | None, spatial: int) -> tuple[int, ...]:
    r"""Shape (channel, \*space) of the images that A takes, or without an A of the signal, for so many spatial axes."""
    if not isinstance(forward, LinearOperator | None):
        raise TypeError(
            "forward must be a LinearOperator (a subclass, a FunctionOperator of two functions, or from_scipy's); "
            f"got {type(forward).__name__}"
        )
    if forward is not None and tuple(signal.shape[1:]) != forward.output_shape:
        raise ValueError(
            f"signal must have the shape that forward gives, (batch, *{forward.output_shape}); "
            f"got {tuple(signal.shape)}"
        )
    shape = tuple(signal.shape[1:]) if forward is None else forward.input_shape
    if len(shape) != spatial + 1:
        axes = "(batch, channel, *space)" if forward is None else "A's images as (channel, *space)"
        raise ValueError(
            f"signal must be {axes} with {spatial} spatial axes, as the filters have; "
            f"got shape {tuple(signal.shape) if forward is None else shape}"
        )
    return shape


def check_adjoint(forward: LinearOperator, signal: Array) -> None:
    """Dot tests on the data, what the adjoint makes of them, and noise, so that a wrong adjoint or norm never runs.

    ⟨A x, A x⟩ = ⟨x, Aᴴ A x⟩ and ⟨Aᴴ y, Aᴴ y⟩ = ⟨A Aᴴ y, y⟩ for noise see what independent x and y, nearly orthogonal
    when they are large, do not.
    """
    xp, data = namespace(signal), signal[:1, ...]
    if not bool(xp.any(data != 0)):
        data = xp.ones_like(data)
    back = _of_shape(forward.adjoint(data), forward.input_shape, "adjoint")
    ahead = _of_shape(forward.apply(back), forward.output_shape, "apply")
    if is_complex(ahead) and not is_complex(signal):
        raise TypeError(f"signal must be complex, as the data that forward makes are; got {signal.dtype}")
    if bool(xp.any(forward.apply(xp.zeros_like(back)) != 0)):
        raise ValueError("forward must be linear; what it makes of zero is not zero")
    x, y = _noise(back, 0), _noise(data, 1)
    image, turned = forward.apply(x), forward.adjoint(y)
    smooth = mismatch(back, data, ahead, back)
    rough = max(mismatch(x, image, image, forward.adjoint(image)), mismatch(turned, y, forward.apply(turned), turned))
    if not (smooth < _EXACT and rough < _NEARLY):
        off = max(smooth, rough)
        raise ValueError(f"forward.adjoint must be the adjoint of forward.apply; the dot test is off by {off:.1e}")
    if forward.norm is not None:
        if isinstance(forward.norm, str):
            raise TypeError(f"forward.norm must be a number; got {forward.norm!r:.60}")
        _check_norm(checks.positive_number(forward.norm, "forward.norm"), back, ahead)


def owned(array: Array) -> Array:
    """A copy, so that what is done to the caller's array later is not done to the problem; of torch itself.

    Torch differentiates in it, and refuses to where it was changed.
    """
    return array if is_torch(array) else namespace(array).asarray(array, copy=True)


def check_energy(energy: Array, signal: Array, mask: Array | None) -> None:
    """Squares, and sums of those of spectra, must neither overflow nor vanish, or no objective would mean anything."""
    xp = namespace(signal)
    weighted = signal if mask is None else signal * mask
    info = xp.finfo(real_dtype(signal))
    heaviest = 1.0 if mask is None else float(xp.max(mask)) ** 2
    if not float(info.smallest_normal) <= heaviest <= float(info.max):
        raise ValueError(f"mask must not be so large or small that its squares leave the range of float{info.bits}")
    peaks = xp.max(xp.abs(weighted), axis=tuple(range(1, weighted.ndim)))
    least = math.sqrt(float(info.smallest_normal))
    most = math.sqrt(float(info.max) / 512) / math.prod(weighted.shape[1:])
    if not bool(xp.all(xp.isfinite(energy) & (peaks <= most) & ((peaks >= least) | (peaks == 0)))):
        raise ValueError(
            f"signal must not be so large or small that sums of squares leave the range of float{info.bits}: the peak "
            f"of each item, with the mask, must lie between {least:.1e} and {most:.1e}; scale it, and λ"
        )


def _of_shape(result: Any, shape: tuple[int, ...], name: str) -> Array:
    """What an operator's function gave for one item, if it is an array of the right shape."""
    if not is_array(result):
        raise TypeError(f"forward.{name} must give an array; got {type(result).__name__}")
    if tuple(result.shape) != (1, *shape):
        raise ValueError(f"forward.{name} must give (1, *{shape}) for one item; got {tuple(result.shape)}")
    return result


def _noise(like: Array, seed: int) -> Array:
    """White noise of an array's kind."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(tuple(like.shape))
    if is_complex(like):
        values = values + 1j * rng.standard_normal(tuple(like.shape))
    return asarray_like(values, like, like.dtype)


def _check_norm(norm: float, x: Array, image: Array) -> None:
    """Refuse a norm that is below ‖A x‖ / ‖x‖, beyond rounding: steps would be too long, and iterates diverge."""
    length = math.sqrt(abs(inner(x, x)))
    least = math.sqrt(abs(inner(image, image))) / length if length > 0 else 0.0
    if norm * (1 + 1e-3) < least:
        raise ValueError(
            f"forward.norm must be the largest singular value of A or more, and that is at least {least:.6g}; "
            f"got {norm:.6g}"
        )
