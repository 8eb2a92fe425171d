"""A team of threads in compiled code: they start once, and then wait for each other at barriers in a microsecond."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cscopt.backend import get_threads
from cscopt.kernels.scalars import compiled

_SPINS = 1000
_NAP = 1
"""Microseconds. Where threads outnumber processors, one that waits must leave its own to the one it waits for. One
that yields instead comes back after a time slice, milliseconds late; one that napped is let in at once."""
_teams: dict[int, ThreadPoolExecutor] = {}
_leader = ThreadPoolExecutor(1, "cscopt-leader")


def together(work: Callable[[int, int, Any], Any], most: int) -> list[Any]:
    """Call `work(member, size, barrier)` in `size` threads at once, at most one a thread and `most`.

    The barrier is what compiled code gives to `wait`. Only one team works at a time: a member that
    waited for a thread that another team holds would wait for ever. So would one whose fellow was taken away by
    Ctrl-C, which Python raises in the main thread, at any moment: that is no member, and only waits.
    """
    size = max(1, min(get_threads(), most))
    if size == 1:
        return [work(0, 1, np.zeros(1, np.int64))]
    return _leader.submit(_lead, work, size).result()


def _lead(work: Callable[[int, int, Any], Any], size: int) -> list[Any]:
    """What `together` does, in the leader's thread."""
    if size not in _teams:
        _teams[size] = _started(size - 1)
    barrier = np.zeros(1, np.int64)
    others = [_teams[size].submit(work, member, size, barrier) for member in range(1, size)]
    first = work(0, size, barrier)
    return [first, *(other.result() for other in others)]


def _started(count: int) -> ThreadPoolExecutor:
    """A pool whose threads all exist, so that none can be missing when a team waits for it."""
    pool = ThreadPoolExecutor(count, "cscopt-team")
    meeting = threading.Barrier(count + 1)
    for _ in range(count):
        pool.submit(meeting.wait)
    meeting.wait()
    return pool


@compiled
def wait(barrier: Any, size: Any) -> None:
    """Return when all `size` members are here. What they wrote before is seen by all after."""
    if size == 1:
        return
    target = (_arrive(barrier) // size + 1) * size
    spins = 0
    while _arrived(barrier) < target:
        spins += 1
        _pause()
        if spins > _SPINS:
            _nap()


@intrinsic
def _arrive(context: Any, barrier: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", _first(context, builder, signature, arguments), ir.IntType(64)(1), "seq_cst")

    return types.int64(barrier), codegen


@intrinsic
def _arrived(context: Any, barrier: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_first(context, builder, signature, arguments), "seq_cst", 8)

    return types.int64(barrier), codegen


@intrinsic
def _pause(context: Any) -> Any:
    """Leave what two hardware threads share to the other one."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if platform.machine() in ("x86_64", "AMD64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _nap(context: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if os.name == "posix":
            number = ir.IntType(32)
            kind = ir.FunctionType(number, [number])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "usleep"), [number(_NAP)])
        return context.get_dummy_value()

    return types.void(), codegen


def _first(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return context.make_array(signature.args[0])(context, builder, arguments[0]).data


def _after_fork() -> None:
    global _leader
    _leader = ThreadPoolExecutor(1, "cscopt-leader")
    _teams.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
