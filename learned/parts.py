"""A training state in parts small enough to commit, and whole again."""

from __future__ import annotations

from pathlib import Path

from cscopt import checks, io

PART = 15 * 2**20
"""Bytes of a part."""


def split(path: str | Path, size: int = PART) -> list[Path]:
    """Write `path`.00, `path`.01, ... of at most `size` bytes beside a file; parts of an earlier split go.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is empty or needs more than 100 parts.
    """
    path, size = Path(path), checks.count(size, "size", 1)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    data = path.read_bytes()
    chunks = [data[k : k + size] for k in range(0, len(data), size)]
    if not 1 <= len(chunks) <= 100:
        raise ValueError(f"{path} must give 1 to 100 parts; {len(data)} bytes in parts of {size} give {len(chunks)}")
    written = []
    for number, chunk in enumerate(chunks):
        part = path.with_name(f"{path.name}.{number:02d}")
        with io.replacing(part) as temporary:
            temporary.write_bytes(chunk)
        written.append(part)
    for old in parts(path)[len(chunks) :]:
        old.unlink()
    return written


def parts(path: str | Path) -> list[Path]:
    """Parts of a file that are there, in order."""
    path = Path(path)
    found = []
    while (part := path.with_name(f"{path.name}.{len(found):02d}")).is_file():
        found.append(part)
    return found


def join(path: str | Path) -> None:
    """Write a file from its parts.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    found = parts(path)
    if not found:
        raise FileNotFoundError(f"there are no parts of {path} ({Path(path).name}.00, ...)")
    with io.replacing(path) as temporary:
        temporary.write_bytes(b"".join(part.read_bytes() for part in found))
