"""Which namespace and device an array lives on; threads; optional imports with a helpful error."""

from __future__ import annotations

import functools
import importlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

Array: TypeAlias = Any
"""An array of NumPy, CuPy, torch or any other array-API library."""

_threads: int | None = None


def namespace(*arrays: Array) -> Any:
    """Array-API namespace shared by all arrays (None is ignored).

    Raises
    ------
    TypeError
        If the arrays belong to different libraries, or one is no array at all.
    """
    given = [a for a in arrays if a is not None]
    if given and all(isinstance(a, np.ndarray) for a in given):  # NumPy keeps the standard: asking would take longest
        return np
    try:
        return array_api_compat.array_namespace(*given)
    except TypeError as error:
        kinds = ", ".join(sorted({f"{type(a).__module__}.{type(a).__qualname__}" for a in given}))
        raise TypeError(f"the arrays must all come from one array library; got {kinds}") from error


def device(array: Array) -> Any:
    """Device an array lives on, as its library names it."""
    return array_api_compat.device(array)


def is_numpy(array: Array) -> bool:
    """Whether the array is a `numpy.ndarray`."""
    return isinstance(array, np.ndarray)


def is_cupy(array: Array) -> bool:
    """Whether the array is a `cupy.ndarray`."""
    return bool(array_api_compat.is_cupy_array(array))


def is_torch(array: Array) -> bool:
    """Whether the array is a `torch.Tensor`."""
    return bool(array_api_compat.is_torch_array(array))


def is_array(value: Any) -> bool:
    """Whether a value is an array of some array-API library."""
    return bool(array_api_compat.is_array_api_obj(value))


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """Copy an array of any library, on any device, to NumPy: the only way back, and explicit."""
    if is_torch(array):
        return np.asarray(array.detach().cpu().resolve_conj().numpy())
    if is_cupy(array):
        return np.asarray(array.get())
    if hasattr(array, "__dlpack__") and not is_numpy(array):
        return np.array(np.from_dlpack(array))
    return np.asarray(array)


def asarray_like(values: Any, like: Array, dtype: Any = None) -> Array:
    """Values (a number, a NumPy array, or an array beside `like`) on the library and device of `like`.

    Raises
    ------
    TypeError, ValueError
        If `values` is an array of another library (other than NumPy) or on another device.
    """
    xp = namespace(like)
    if isinstance(values, np.generic) and not is_numpy(like):
        values = values.item()
    if is_array(values) and not is_numpy(values):
        namespace(values, like)
        if device(values) != device(like):
            raise ValueError(f"the arrays must be on one device; got {device(values)} and {device(like)}")
        return values if dtype is None or values.dtype == dtype else xp.astype(values, dtype)
    return xp.asarray(np.ascontiguousarray(values) if is_numpy(values) else values, dtype=dtype, device=device(like))


def is_complex(array: Array) -> bool:
    """Whether an array's dtype is complex."""
    return bool(namespace(array).isdtype(array.dtype, "complex floating"))


def real_dtype(array: Array) -> Any:
    """Real dtype of the same precision as a floating or complex array."""
    xp = namespace(array)
    single = array.dtype in (xp.float32, xp.complex64)
    return xp.float32 if single else xp.float64


def per_item(values: Array, ndim: int) -> Array:
    """Reshape a vector of one number an item to `(items, 1, ..., 1)` with `ndim` axes."""
    return namespace(values).reshape(values, (values.shape[0],) + (1,) * (ndim - 1))


def of_rows(items: Array, array: Array) -> Array:
    """One number an item, for an array with any number of rows an item, in its precision."""
    xp = namespace(items)
    values = xp.repeat(xp.astype(items, real_dtype(array), copy=False), array.shape[0] // items.shape[0])
    return per_item(values, array.ndim)


def squares(array: Array, batch: int) -> Array:
    """‖a‖² of each item, (batch,), in float64."""
    xp = namespace(array)
    return xp.sum(xp.reshape(xp.abs(array) ** 2, (batch, -1)), axis=1, dtype=xp.float64)


def free_memory(array: Array) -> int | None:
    """Bytes free where an array lives; None where that cannot be told."""
    if is_cupy(array):
        import cupy

        return int(cupy.cuda.runtime.memGetInfo()[0]) + int(cupy.get_default_memory_pool().free_bytes())
    if is_torch(array) and array.device.type != "cpu":
        return None
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    return found[0] if found else None


def require(module: str, extra: str | None, purpose: str) -> ModuleType:
    """Import an optional package, or say in one sentence how to get it.

    Raises
    ------
    ImportError
        If the package is absent; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        how = f"pip install 'cscopt[{extra}]'" if extra else f"pip install {package}"
        raise ImportError(f"{purpose} needs {package}, which is not installed: {how}") from error


def get_threads() -> int:
    """Threads used by the compiled kernels and the FFT alike.

    Taken from `set_threads`, else from the environment variable ``CSCOPT_NUM_THREADS``, else the
    number of processors this process may use, of which a container's quota (Linux control groups) may leave fewer.
    """
    if _threads is not None:
        return _threads
    text = os.environ.get("CSCOPT_NUM_THREADS")
    if text:
        if not text.isdigit() or int(text) < 1:
            raise ValueError(f"CSCOPT_NUM_THREADS must be a positive integer; got {text!r}")
        return int(text)
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return math.ceil(min(count, _quota()))


@functools.cache
def _quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors' worth of time that the container may use, by version 2 or 1 of control groups."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((root / name).read_text() for name in names).split()
            if float(quota) > 0:  # "max" and -1: no quota
                return float(quota) / float(period)
        except (OSError, ValueError):
            continue
    return math.inf


def set_threads(count: int | None) -> None:
    """Set the threads of the kernels and the FFT; None returns to the default.

    Raises
    ------
    ValueError
        If `count` is not a positive integer.
    """
    global _threads
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise ValueError(f"the number of threads must be a positive integer; got {count!r}")
    _threads = count


def cache_folder() -> Path:
    """Folder for FFTW wisdom: ``CSCOPT_CACHE_DIR``, else the platform's cache folder."""
    given = os.environ.get("CSCOPT_CACHE_DIR")
    if given:
        return Path(given)
    from platformdirs import user_cache_path

    return user_cache_path("cscopt", appauthor=False)


def listing(names: Sequence[str]) -> str:
    """Names as a person lists them: 'a, b or c'."""
    *first, last = [str(n) for n in names]
    return f"{', '.join(first)} or {last}" if first else last
