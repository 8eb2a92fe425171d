"""Locks between processes: the system lets go of them when their holder dies."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a path within a block; who else holds it is waited for, or named in the error.

    The lock is `flock`'s, which needs no cleaning up after a crash, and works on NFS too, and on Lustre where it is
    mounted with ``flock`` (with ``localflock`` within one computer alone).

    Raises
    ------
    BlockingIOError
        If another process holds it.
    OSError
        On Windows, and where the file system has no locks.
    """
    if os.name != "posix":
        raise OSError("building a bank needs flock, which Windows has not got; its Linux subsystem has")
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BlockingIOError(f"{path.parents[1]} is being built by {_holder(path)}") from None
        except OSError as error:
            told = f"{path.parents[1]} lies on a file system without locks (flock: {error.strerror})"
            raise OSError(f"{told}; build the bank on another, or mount it with them") from error
        file.truncate(0)
        holder = {"process": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        file.write(json.dumps(holder))
        file.flush()
        yield


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError):
        told = json.loads(path.read_text(encoding="utf-8"))
        return f"process {told['process']} on {told['host']} since {told['since']}"
    return "another process"
