"""The threads that share out map-by-map work; what they call holds no interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cscopt.backend import get_threads

_pools: dict[int, ThreadPoolExecutor] = {}


def shared_out(work: Callable[[int, int], list[Any]], total: int) -> list[Any]:
    """Run `work` on contiguous shares of range(total), one a thread; results in order."""
    threads = max(1, min(get_threads(), total))
    bounds = [total * t // threads for t in range(threads + 1)]
    if threads == 1:
        return work(0, total)
    pool = _pools.get(threads)
    if pool is None:
        pool = _pools.setdefault(threads, ThreadPoolExecutor(threads - 1, "cscopt"))
    others = [pool.submit(work, bounds[t], bounds[t + 1]) for t in range(1, threads)]
    try:
        first = work(bounds[0], bounds[1])
    finally:
        results = [other.result() for other in others]
    return first + [item for result in results for item in result]


def each_row(rows: int, count: int, work: Callable[[int, slice], None]) -> None:
    """`work` on each row and spans of its `count` maps, shared out to threads."""

    def share(begin: int, end: int) -> list[Any]:
        for row in range(begin // count, -(-end // count)):
            work(row, slice(max(begin - row * count, 0), min(end - row * count, count)))
        return []

    shared_out(share, rows * count)


def each_chunk(rows: int, size: int, chunk: int, work: Callable[[int, int, int], None]) -> None:
    """`work` on each row and ranges of `chunk` of its `size` pixels, shared out to threads."""
    chunks = -(-size // chunk)

    def share(begin: int, end: int) -> list[Any]:
        for index in range(begin, end):
            row, first = index // chunks, index % chunks * chunk
            work(row, first, min(first + chunk, size))
        return []

    shared_out(share, rows * chunks)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)
