"""On a GPU: one iteration against a cuFFT pair of the maps, peak memory, and time to 1e-4 against SCICO's.

python benchmarks/gpu.py [--json FILE] [--plot FILE] [--small]

The pair is one FFT and inverse FFT of all maps by CuPy, in pieces as large as ours or all at once, whichever is
faster. Times are medians of events on the stream. `--small` runs everything on tiny problems, to test the script.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np
import rivals
from common import camera_problem, describe, draw_bars, first_below, keep, stepper
from cupyx.scipy import fft

from cscopt import ADMM, FISTA, ISTA, ConvDictionary, CSCProblem, solve

SHAPES = ((512, 64, 8, "float32"), (512, 64, 1, "float32"), (256, 32, 1, "float32"), (256, 64, 8, "complex64"))
TO_ACCURACY = ((256, "G:8x8x32", 0.05), (256, "G:8x8x32", 0.01), (512, "G:12x12x72", 0.05))
ACCURACY = 1e-4
PIECE = 1 << 27


def random_problem(side: int, filters: int, batch: int, dtype: str) -> CSCProblem:
    """Noise coded by random filters: an iteration costs the same as on a picture."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((batch, 1, side, side)).astype(dtype)
    if dtype.startswith("c"):
        signal = signal + 1j * rng.standard_normal(signal.shape).astype("float32")
    bank = rng.standard_normal((filters, 1, 12, 12)).astype("float32")
    return CSCProblem(cupy.asarray(signal), ConvDictionary(bank).normalized(), 1.0)


def milliseconds(call: Callable[[], Any], rounds: int = 15, burst: int = 5) -> float:
    """Median time of a call on the device; `burst` calls are queued at once, so that launching is hidden."""
    for _ in range(3):
        call()
    samples = []
    for _ in range(rounds):
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        for _ in range(burst):
            call()
        stop.record()
        stop.synchronize()
        samples.append(cupy.cuda.get_elapsed_time(start, stop) / burst)
    return statistics.median(samples)


def pair(side: int, planes: int, dtype: str, piece: int) -> float:
    """Milliseconds of a forward and an inverse transform of `planes` maps, `piece` bytes at a time."""
    maps = cupy.zeros((planes, side, side), dtype)
    step = max(1, min(planes, piece // (side * side * maps.itemsize)))
    forward, inverse = (fft.fftn, fft.ifftn) if dtype.startswith("c") else (fft.rfftn, fft.irfftn)

    def call() -> None:
        for first in range(0, planes, step):
            part = maps[first : first + step]
            inverse(forward(part, axes=(1, 2)), s=(side, side), axes=(1, 2), norm="forward", overwrite_x=True)

    return milliseconds(call)


def iteration(side: int, filters: int, batch: int, dtype: str) -> dict[str, Any]:
    """Milliseconds of an iteration of each solver, those of the pair, and peak memory in arrays of all maps."""
    pool = cupy.get_default_memory_pool()
    found: dict[str, Any] = {"case": [side, filters, batch, dtype]}
    found["pair"] = min(pair(side, filters * batch, dtype, size) for size in (PIECE, 1 << 40))
    maps = batch * filters * math.prod((side, side)) * np.dtype(dtype).itemsize
    problem = random_problem(side, filters, batch, dtype)
    for name, solver in (("admm", ADMM(adaptive=False)), ("fista", FISTA()), ("ista", ISTA())):
        pool.free_all_blocks()
        before = pool.total_bytes()
        found[name] = milliseconds(stepper(problem, solver))
        found[f"{name} arrays"] = (pool.total_bytes() - before) / maps
    return found


def to_accuracy(side: int, name: str, lam: float) -> dict[str, Any]:
    """Seconds of each solver on the GPU, and of SCICO's ADMM if it is installed, to 1e-4 above the optimum."""
    exact = solve(camera_problem(side, name, lam, np.float64), "working-set", tol=1e-8, max_iter=3000).objective
    goal, seconds = exact * (1 + ACCURACY), {}
    cpu = camera_problem(side, name, lam)
    gpu = CSCProblem(cupy.asarray(cpu.signal), cpu.dictionary, lam)
    contenders = {"admm": (gpu, "admm"), "fista": (gpu, "fista"), "working-set on the CPU": (cpu, "working-set")}
    for label, (problem, method) in contenders.items():
        runs = []
        for _ in range(4):
            options = {"tol": 1e-12, "max_iter": 3000, "check_every": 10 if problem is gpu else 1}
            solution = solve(problem, method, callback=lambda it: it.objective <= goal, **options)
            runs.append(first_below(solution.history["objective"], solution.history["seconds"], goal))
        seconds[label] = statistics.median(runs[1:])
    if importlib.util.find_spec("scico"):
        seconds["SCICO's ADMM"] = rivals.scico_admm(gpu, goal)
    else:
        print("SCICO is not installed here: not compared")
    return {"case": [side, name, lam], "optimum": exact, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--plot", help="file for the picture: milliseconds of an iteration")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    card = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(f"{card}, CuPy {cupy.__version__}; {describe()}")
    shapes = [(64, 4, 2, d) for *_, d in SHAPES[-2:]] if arguments.small else SHAPES
    accuracies = [(64, "G:8x8x32", 0.05)] if arguments.small else TO_ACCURACY
    results: dict[str, Any] = {"card": card, "iterations": [], "accuracy": []}
    for shape in shapes:
        found = iteration(*shape)
        results["iterations"].append(found)
        print(f"{found['case']}: cuFFT pair {found['pair']:.3f} ms")
        for name in ("admm", "fista", "ista"):
            ratio, arrays = found[name] / found["pair"], found[f"{name} arrays"]
            print(f"{name:>8}{found[name]:9.3f} ms{ratio:7.2f} × the pair, {arrays:.2f} arrays of the maps", flush=True)
    for case in accuracies:
        found = to_accuracy(*case)
        results["accuracy"].append(found)
        print(f"{found['case']} to {ACCURACY} above {found['optimum']:.7g}")
        for name, seconds in found["seconds"].items():
            print(f"{name:>24}{seconds:9.4f} s", flush=True)
    keep(arguments.json, results)
    names = ("pair", "admm", "fista", "ista")
    panels = {"{}²×{}×{} {}".format(*f["case"]): {n: f[n] for n in names} for f in results["iterations"]}
    draw_bars(arguments.plot, panels, "ms an iteration")


if __name__ == "__main__":
    main()
