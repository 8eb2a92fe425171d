"""Sentences for bad input: each check names the argument, what it was, and what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt.backend import (
    Array,
    asarray_like,
    device,
    free_memory,
    is_array,
    is_numpy,
    listing,
    namespace,
    real_dtype,
    to_numpy,
)


def an_array(value: Any, name: str) -> None:
    """Refuse what is no array."""
    if not is_array(value):
        raise TypeError(f"{name} must be an array; got {type(value).__name__}")


def native(values: Array) -> Array:
    """An array in this machine's byte order, its values unchanged: those of FITS files are not."""
    if not is_numpy(values) or values.dtype.isnative:
        return values
    return values.astype(values.dtype.newbyteorder("="))


def numbers(values: Any, name: str, complex_allowed: bool = True) -> np.ndarray[Any, Any]:
    """A NumPy array of numbers, from an array of any library, or from lists."""
    try:
        found = native(to_numpy(values))
    except ValueError:  # lists of unequal lengths
        found = np.empty(0, dtype=object)
    if found.dtype.kind not in ("biufc" if complex_allowed else "biuf"):
        kind = f"an array of {found.dtype}" if is_array(values) else f"{values!r:.60}"
        raise TypeError(f"{name} must be an array of {'' if complex_allowed else 'real '}numbers; got {kind}")
    return found


def extents(value: Any, name: str) -> tuple[int, ...]:
    """A shape: a tuple of positive integers."""
    if not isinstance(value, tuple | list) or not value:
        raise ValueError(f"{name} must be a tuple of extents; got {value!r:.60}")
    return tuple(count(n, name, 1) for n in value)


def floating(array: Array, name: str, complex_allowed: bool = True) -> Array:
    """An array of float32, float64 (or complex64, complex128), in this machine's byte order."""
    an_array(array, name)
    xp, array = namespace(array), native(array)
    allowed = [xp.float32, xp.float64] + ([xp.complex64, xp.complex128] if complex_allowed else [])
    if array.dtype not in allowed:
        names = ["float32", "float64"] + (["complex64", "complex128"] if complex_allowed else [])
        raise TypeError(f"{name} must be {listing(names)}; got {array.dtype}")
    return array


def batch_of(array: Array, shape: tuple[int, ...], name: str) -> Array:
    """A batch of one or more floating items of a shape, in this machine's byte order."""
    array = floating(array, name)
    if tuple(array.shape[1:]) != shape or array.shape[0] == 0:
        empty = " with an item at least" if 0 in array.shape else ""
        raise ValueError(f"{name} must be (batch, *{shape}){empty}; got {tuple(array.shape)}")
    return array


def finite(array: Array, name: str) -> None:
    """Refuse NaN and infinity."""
    xp = namespace(array)
    if not bool(xp.all(xp.isfinite(array))):
        kind = "NaN" if bool(xp.any(xp.isnan(array))) else "infinity"
        raise ValueError(f"{name} must be finite; it contains {kind}")


def positive_number(value: Any, name: str) -> float:
    """A finite number above zero."""
    number = real_number(value, name)
    if not 0 < number < float("inf"):
        raise ValueError(f"{name} must be positive and finite; got {value!r}")
    return number


def positive(value: Any, name: str) -> None:
    """A finite number above zero, or a real array of them."""
    if not (is_array(value) and value.ndim > 0):
        positive_number(value, name)
        return
    xp = namespace(value)
    if not _is_real(value):
        raise TypeError(f"{name} must be real; got an array of {value.dtype}")
    if xp.isdtype(value.dtype, "real floating"):
        finite(value, name)
    if not bool(xp.all(value > 0)):
        raise ValueError(f"{name} must be positive everywhere; its least entry is {float(xp.min(value)):g}")


def alongside(values: Any, signal: Array, name: str) -> Array:
    """A number, or a real array that broadcasts against the signal: with its axes, library, device and precision."""
    if not is_array(values):
        values = namespace(signal).asarray(float(values), dtype=real_dtype(signal), device=device(signal))
    if not namespace(values).isdtype(values.dtype, ("bool", "integral", "real floating")):
        raise TypeError(f"{name} must be real; got {values.dtype}")
    placed = asarray_like(native(values), signal, real_dtype(signal))
    shape = tuple(values.shape)
    padded = (1,) * (signal.ndim - len(shape)) + shape
    if len(shape) > signal.ndim or any(m not in (1, s) for m, s in zip(padded, signal.shape, strict=True)):
        raise ValueError(f"{name} must broadcast against the signal {tuple(signal.shape)}; got shape {shape}")
    finite(placed, name)
    return namespace(placed).reshape(placed, padded)


def real_number(value: Any, name: str) -> float:
    """A real number, not NaN; or the text of one, for YAML reads 1e-3 as text."""
    try:
        if isinstance(value, bool) or (is_array(value) and not _is_real(value)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        kind = f"an array of shape {tuple(value.shape)}" if is_array(value) and value.ndim else f"{value!r:.60}"
        raise TypeError(f"{name} must be a real number; got {kind}") from None
    if number != number:
        raise ValueError(f"{name} must be a number; got NaN")
    return number


def not_negative(value: Any, name: str) -> float:
    """A real number of at least 0."""
    number = real_number(value, name)
    if number < 0:
        raise ValueError(f"{name} must not be negative; got {value}")
    return number


def _is_real(values: Array) -> bool:
    return bool(namespace(values).isdtype(values.dtype, ("integral", "real floating")))


def count(value: Any, name: str, least: int = 0) -> int:
    """An integer of at least `least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer; got {value!r}")
    number = int(value.__index__())
    if number < least:
        raise ValueError(f"{name} must be at least {least}; got {number}")
    return number


def flag(value: Any, name: str) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False; got {value!r:.60}")


def relaxation(value: Any) -> None:
    """Refuse an over-relaxation that is not between 0 and 2."""
    if not 0 < real_number(value, "relaxation") < 2:
        raise ValueError(f"relaxation must lie between 0 and 2; got {value}")


def pair(value: Any, name: str) -> tuple[float, float]:
    """Two positive numbers."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} must be two positive numbers; got {value!r}")
    return positive_number(value[0], name), positive_number(value[1], name)


def choice(value: Any, name: str, allowed: tuple[str, ...]) -> str:
    """One of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be {listing([repr(a) for a in allowed])}; got {value!r:.60}")
    return str(value)


def memory(needed: float, like: Array, what: str, instead: str) -> None:
    """Refuse work that does not fit into the memory that is free, and say what would."""
    free = free_memory(like)
    if free is not None and needed > free:
        gib = [f"{min(n, 1 << 1000) / 2**30:.4g} GiB" for n in (needed, free)]  # a float holds no larger integer
        raise MemoryError(f"{what} needs {gib[0]}, but {gib[1]} are free; {instead}")


def seed(value: Any) -> int:
    """A seed from an integer, a Generator (which is asked for one), or None (a new one each time)."""
    if isinstance(value, np.random.Generator):
        return int(value.integers(1 << 62))
    if value is None:
        return int(np.random.default_rng().integers(1 << 62))
    return count(value, "random_state")
