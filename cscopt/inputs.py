"""Checks of what a problem is made of: signal, weights, and the adjoint of a forward operator."""

from __future__ import annotations

from cscopt import checks
from cscopt.backend import Array, device, is_array, is_complex, namespace, real_dtype
from cscopt.linop import LinearOperator, dot_test


def checked_signal(signal: Array) -> Array:
    """The signal y, integers as float32, if it is one."""
    if not is_array(signal) or type(signal).__name__ == "MaskedArray":
        raise TypeError(f"signal must be a plain array (use mask= for weights); got {type(signal).__name__}")
    xp = namespace(signal)
    if xp.isdtype(signal.dtype, ("integral", "bool")):
        signal = xp.astype(signal, xp.float32)
    checks.floating(signal, "signal")
    if signal.ndim < 2 or 0 in signal.shape:
        raise ValueError(f"signal must be (batch, channel, *space) and not empty; got shape {tuple(signal.shape)}")
    checks.finite(signal, "signal")
    return signal


def checked_mask(mask: Array, signal: Array) -> Array:
    """Weights W that broadcast against the signal, with its axes, library and precision."""
    if not is_array(mask):
        raise TypeError(f"mask must be an array; got {type(mask).__name__}")
    weights = checks.alongside(mask, signal, "mask")
    xp = namespace(weights)
    if bool(xp.any(weights < 0)):
        raise ValueError(f"mask must not be negative; its least entry is {float(xp.min(weights)):g}")
    if not bool(xp.all(xp.any(weights > 0, axis=tuple(range(1, weights.ndim))))):
        raise ValueError("mask must not be zero everywhere (in any item)")
    return weights


def check_adjoint(forward: LinearOperator, signal: Array) -> None:
    """Two dot tests on the data and what the adjoint makes of them, so that a wrong adjoint never runs."""
    xp = namespace(signal)
    if forward.norm is not None and not 0 < forward.norm < float("inf"):
        raise ValueError(f"forward.norm must be positive and finite, or None; got {forward.norm}")
    back = forward.adjoint(signal[:1, ...])
    if tuple(back.shape) != (1, *forward.input_shape):
        raise ValueError(f"forward.adjoint must give (1, *{forward.input_shape}) for one item; got {back.shape}")
    ahead = forward.apply(back)
    if tuple(ahead.shape) != (1, *forward.output_shape):
        raise ValueError(f"forward.apply must give (1, *{forward.output_shape}) for one item; got {ahead.shape}")
    n = 1
    for extent in back.shape:
        n *= extent
    ramp = xp.cos(xp.astype(xp.arange(n, device=device(back)), real_dtype(back)) * 1.234)
    probe = xp.reshape(ramp, back.shape)
    if is_complex(back):
        probe = xp.astype(probe, back.dtype)
    data = signal[:1, ...]
    if not bool(xp.any(data != 0)):
        data = xp.ones_like(data)
    mismatch = max(dot_test(forward, probe, data), dot_test(forward, forward.adjoint(data), data))
    if not mismatch < 1e-3:
        raise ValueError(f"forward.adjoint must be the adjoint of forward.apply; the dot test is off by {mismatch:.1e}")
