"""FFTW's plans: kept between processes, and forgotten for a while; and which FFT library there is."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from cscopt.backend import cache_folder

_loaded = False


def library() -> str:
    """FFT library that serves NumPy arrays: 'pyfftw', or 'scipy' where pyFFTW has no wheel."""
    try:
        import pyfftw  # noqa: F401
    except ImportError:
        return "scipy"
    return "pyfftw"


def _file() -> Any:
    import pyfftw

    version = pyfftw.fftw_version if hasattr(pyfftw, "fftw_version") else "fftw"
    return cache_folder() / f"wisdom-{version.replace(os.sep, '-')}.json"


def load() -> None:
    """Plans measured by earlier processes; a missing, unreadable or foreign file only costs time."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    import pyfftw

    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, IndexError):
        parts = json.loads(_file().read_text())
        pyfftw.import_wisdom(tuple(str(part).encode() for part in parts))


def save() -> None:
    """Keep the plans for the next process; a read-only or full disk only costs that one time.

    What other processes have kept meanwhile is added to the file, but not taken over: a length is planned one way in a
    process, so that its results repeat bit by bit.
    """
    import pyfftw

    temporary = None
    try:
        target = _file()
        parts = [part.decode() for part in pyfftw.export_wisdom()]
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
    import pyfftw

    known = pyfftw.export_wisdom()
    pyfftw.forget_wisdom()
    try:
        yield
    finally:
        pyfftw.forget_wisdom()
        pyfftw.import_wisdom(known)
