"""What all benchmarks share: interleaved timing, the machine, and the result as table and JSON."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import cscopt
from cscopt import ConvDictionary, CSCProblem, datasets, lowpass, wisdom

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # so that `learned` is the package, not the benchmark of that name


def alternate(contenders: Mapping[str, Callable[[], Any]], rounds: int, burst: int = 4) -> dict[str, float]:
    """Median seconds of a call of each contender.

    They take turns, so that the machine's drift hits all alike; in a turn each is called `burst`
    times and the first call, which finds the caches full of another's data, is not counted.
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        call()
    for _ in range(rounds):
        for name, call in contenders.items():
            for k in range(burst):
                began = time.perf_counter()
                call()
                if k:
                    samples[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in samples.items()}


def first_below(values: Any, seconds: Any, goal: float) -> float:
    """Seconds at the first value at most the goal; infinity if there is none."""
    return next((s for v, s in zip(values, seconds, strict=True) if v <= goal), float("inf"))


def camera_problem(side: int, name: str, lam: float, dtype: Any = np.float32) -> CSCProblem:
    """A top-left crop of scikit-image's camera without its low-pass part, and one of SPORCO's dictionaries."""
    from sporco.util import convdicts

    high = lowpass.split(datasets.picture("camera").astype(dtype)[None, None])[1][..., :side, :side]
    bank = ConvDictionary.from_sporco(convdicts()[name].astype(dtype)).normalized()
    return CSCProblem(np.ascontiguousarray(high), bank, lam)


def stepper(problem: CSCProblem, solver: Any) -> Callable[[], None]:
    """One iteration a call."""
    state = solver.init(problem)

    def step() -> None:
        nonlocal state
        state = solver.step(problem, state)

    return step


def machine() -> dict[str, Any]:
    """Processor, threads and versions."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    versions = {}
    for package in ("numpy", "numba", "pyfftw", "sporco"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    return {
        "processor": model,
        "threads": cscopt.get_threads(),
        "fft": wisdom.library(),
        "python": platform.python_version(),
        "cscopt": cscopt.__version__,
        **versions,
    }


def describe() -> str:
    """The machine in one line."""
    return ", ".join(f"{name} {value}" for name, value in machine().items())


def in_fresh_process(script: str, case: Mapping[str, Any]) -> dict[str, Any]:
    """What a benchmark prints when called with `--one` and a case, in a process of its own."""
    command = [sys.executable, script, "--one", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_mib() -> float:
    """Peak resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget_peak() -> None:
    """Begin to measure the peak of resident memory anew (Linux), so that `peak_since` tells what comes."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_since() -> float:
    """Peak resident memory since `forget_peak`, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def draw_bars(path: str | None, groups: Mapping[str, Mapping[str, float]], label: str) -> None:
    """Bars of a few contenders, a panel for each case."""
    if not path:
        return
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(groups), figsize=(4 * len(groups), 3), layout="constrained", squeeze=False)
    for axes, (title, values) in zip(panels[0], groups.items(), strict=True):
        reached = {name: value for name, value in values.items() if math.isfinite(value)}
        axes.barh(list(reached), list(reached.values()), color="tab:blue")
        axes.bar_label(axes.containers[0], fmt="%.3g", padding=3)
        axes.set(xscale="log", title=title)
        axes.tick_params(axis="x", which="both", bottom=False, labelbottom=False)  # the bars have their numbers
        axes.margins(x=0.2)
        axes.invert_yaxis()
    figure.supxlabel(f"{label}, logarithmic", fontsize="medium")
    figure.savefig(path, dpi=150)
    print(f"written: {path}")


def keep(path: str | None, results: Any) -> None:
    """Write results beside the machine they come from, as JSON; what was not reached (infinite) is null."""
    if path:
        kept = {"machine": machine(), "results": _finite(results)}
        Path(path).write_text(json.dumps(kept, indent=1, allow_nan=False) + "\n")
        print(f"written: {path}")


def _finite(value: Any) -> Any:
    """The same with None for infinities, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and math.isinf(value) else value
