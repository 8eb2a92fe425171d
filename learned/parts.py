"""A training state in parts small enough to commit, and whole again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cscopt import checks, io

PART = 15 * 2**20
"""Bytes of a part."""


def split(path: str | Path, size: int = PART) -> list[Path]:
    """Write `path`.00, `path`.01, ... of at most `size` bytes, and `path`.parts, which names them and their checksum.

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
    for old in [_list(path), *path.parent.glob(f"{path.name}.[0-9][0-9]")]:
        old.unlink(missing_ok=True)
    names = [f"{path.name}.{number:02d}" for number in range(len(chunks))]
    for name, chunk in zip(names, chunks, strict=True):
        path.with_name(name).write_bytes(chunk)
    with io.replacing(_list(path)) as temporary:
        temporary.write_text(json.dumps({"parts": names, "sha256": hashlib.sha256(data).hexdigest()}))
    return [path.with_name(name) for name in names]


def exist(path: str | Path) -> bool:
    """Whether a file has been split."""
    return _list(Path(path)).is_file()


def join(path: str | Path) -> None:
    """Write a file from its parts.

    Raises
    ------
    FileNotFoundError, ValueError
        If it was not split, a part is missing, or the whole is not what was split.
    """
    path = Path(path)
    if not exist(path):
        raise FileNotFoundError(f"there are no parts of {path} ({_list(path).name}, {path.name}.00, ...)")
    about = json.loads(_list(path).read_text())
    missing = [name for name in about["parts"] if not path.with_name(name).is_file()]
    if missing:
        raise FileNotFoundError(f"{path} lacks its parts {', '.join(missing)}")
    data = b"".join(path.with_name(name).read_bytes() for name in about["parts"])
    if hashlib.sha256(data).hexdigest() != about["sha256"]:
        raise ValueError(f"the parts of {path} are not those of one split: the checksum differs")
    with io.replacing(path) as temporary:
        temporary.write_bytes(data)


def _list(path: Path) -> Path:
    return path.with_name(f"{path.name}.parts")
