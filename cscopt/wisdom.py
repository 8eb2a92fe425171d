"""FFTW: how it is loaded; its plans, kept between processes and forgotten for a while."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from cscopt.backend import cache_folder

_INTERFACES = "pyfftw.interfaces"
_lock = threading.Lock()
_loaded = False


def pyfftw() -> Any:
    """The package pyFFTW, whose `interfaces` are loaded when somebody asks for them.

    They imitate SciPy's fftpack and dask, and import these: half a second and more before the first transform.
    """
    with _lock:
        if "pyfftw" not in sys.modules:
            with contextlib.suppress(ImportError):
                _import_without_interfaces()
        return importlib.import_module("pyfftw")


def _import_without_interfaces() -> None:
    stub = sys.modules[_INTERFACES] = ModuleType(_INTERFACES)
    try:
        package = importlib.import_module("pyfftw")
    finally:
        del sys.modules[_INTERFACES]
    if vars(package).get("interfaces") is stub:
        del package.interfaces
        vars(package).setdefault("__getattr__", _interfaces)


def _interfaces(name: str) -> Any:
    """What pyFFTW has only once it is asked for."""
    if name == "interfaces":
        return importlib.import_module(_INTERFACES)
    raise AttributeError(f"module 'pyfftw' has no attribute {name!r}", name=name)


def library() -> str:
    """FFT library that serves NumPy arrays: 'pyfftw', or 'scipy' where pyFFTW has no wheel."""
    try:
        pyfftw()
    except ImportError:
        return "scipy"
    return "pyfftw"


def _file() -> Any:
    package = pyfftw()
    version = package.fftw_version if hasattr(package, "fftw_version") else "fftw"
    return cache_folder() / f"wisdom-{version.replace(os.sep, '-')}.json"


def load() -> None:
    """Plans measured by earlier processes; a missing, unreadable or foreign file only costs time."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, IndexError):
        parts = json.loads(_file().read_text())
        pyfftw().import_wisdom(tuple(str(part).encode() for part in parts))


def save() -> None:
    """Keep the plans for the next process; a read-only or full disk only costs that one time.

    What other processes have kept meanwhile is added to the file, but not taken over: a length is planned one way in a
    process, so that its results repeat bit by bit.
    """
    temporary = None
    try:
        target = _file()
        parts = [part.decode() for part in pyfftw().export_wisdom()]
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            parts = [_union(*pair) for pair in zip(parts, json.loads(target.read_text()), strict=True)]
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".wisdom-")
        with os.fdopen(handle, "w") as file:
            json.dump(parts, file)
        os.replace(temporary, target)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _union(ours: str, theirs: str) -> str:
    """Our wisdom with the entries, a line each, that only theirs has; ours alone if theirs is of another FFTW."""
    first, second = ours.rstrip().splitlines(), theirs.rstrip().splitlines()
    if not first or not second or first[0] != second[0]:
        return ours
    known = set(first)
    return "\n".join([*first[:-1], *(line for line in second[1:-1] if line not in known), first[-1], ""])


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """A block in which FFTW knows no plans, for those made by estimate: where it knows a better one, it takes that."""
    if library() == "scipy":
        yield
        return
    package = pyfftw()
    known = package.export_wisdom()
    package.forget_wisdom()
    try:
        yield
    finally:
        package.forget_wisdom()
        package.import_wisdom(known)
