"""Online dictionary learning against SPORCO's: seconds a step, objective on held-out pictures, peak memory.

python benchmarks/dictlearn.py [--json FILE] [--plot FILE] [--cases 0 1] [--epochs N]

The same pictures in the same order, λ, filters to begin with and number of steps. Pictures: crops of scikit-image's
bundled grey ones, high-passed (β = 5); held out: crops of `camera` and `coins`. Each dictionary's held-out objective is
ours, to a gap of 1e-3. "excess" is how far above the optimum the codes are that a step is made from. Memory is the
peak RSS of steps in a fresh process, less what it was before, in arrays of all maps.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from typing import Any

import numpy as np
from common import describe, draw_bars, forget_peak, in_fresh_process, keep, peak_since

from cscopt import datasets, lowpass
from cscopt.dictlearn import Coder, Constraint, Online, Sporco, initial_filters, learn
from cscopt.dictlearn.engine import Engine

CASES = ((256, 32, 8, 24, 2), (512, 64, 12, 6, 1))
TRAIN = ("astronaut", "coffee", "chelsea", "rocket", "moon", "brick", "grass", "gravel")
HELD_OUT = ("camera", "coins")
LAM = 0.1
LIMITS = Constraint(zero_mean=True)
ENGINES: dict[str, Engine] = {
    "SPORCO": Sporco(lam=LAM, constraint=LIMITS),
    "gradient": Online(lam=LAM, constraint=LIMITS, update="gradient"),
    "surrogate": Online(lam=LAM, constraint=LIMITS),
}


def crops(names: tuple[str, ...], side: int, count: int) -> list[Any]:
    """High-passed crops of pictures in turn, each at least as large as the side."""
    found = []
    for name in names:
        high = lowpass.split(datasets.picture(name)[None, None])[1][0]
        rows, columns = (max(1, n // side) for n in high.shape[1:])
        for r in range(rows):
            for c in range(columns):
                box = high[:, r * side : (r + 1) * side, c * side : (c + 1) * side]
                if box.shape[1:] == (side, side) and box.std() > 0.02:
                    found.append(np.ascontiguousarray(box))
    order = np.random.default_rng(0).permutation(len(found))
    return [found[k] for k in order[:count]]


def held_out(filters: Any, images: list[Any]) -> float:
    """Mean objective of pictures that were not learned from."""
    coder = Coder(LAM, tol=1e-3)
    return float(np.mean([coder.code(coder.problem(image, filters)).objective for image in images]))


def excess(engine: Engine, filters: Any, image: Any) -> float:
    """Relative distance from the optimum of the codes that an engine steps from."""
    (found,) = engine.step(engine.init(filters), [image]).history["objective"]
    exact = Coder(LAM, tol=1e-6, max_iter=2000)
    return found / exact.code(exact.problem(image, filters)).objective - 1


def learned(case: tuple[int, ...], epochs: int) -> dict[str, Any]:
    """Seconds a step, held-out objective and excess of each engine."""
    side, n_filters, support, count, _ = case
    images, others = crops(TRAIN, side, count), crops(HELD_OUT, side, 4)
    start = initial_filters(images, n_filters, (support, support), LIMITS, 0, "noise")
    found: dict[str, Any] = {"case": case, "steps": epochs * len(images), "begin": held_out(start, others)}
    for name, engine in ENGINES.items():
        learn(images[:1], engine, start, max_epochs=1)  # compiles, plans
        done = learn(images, engine, start, max_epochs=epochs, revive_below=0)
        seconds = np.diff([0, *done.history["seconds"]])
        found[name] = {
            "seconds": float(np.median(seconds)),
            "total": done.seconds,
            "held_out": held_out(done.dictionary.filters, others),
            "excess": excess(engine, done.dictionary.filters, images[0]),
            "objective": done.history["objective"],
            "clock": done.history["seconds"],
        }
        print(f"{name:>10}: {found[name]['held_out']:.5g} held out, {done.seconds:.2f} s", flush=True)
    return found


def one(case: dict[str, Any]) -> dict[str, float]:
    """Peak memory of two steps, in MiB above what was held before."""
    side, n_filters, support, *_ = case["case"]
    images = crops(TRAIN, side, 1)
    start = initial_filters(images, n_filters, (support, support), LIMITS, 0, "noise")
    small = [image[:, :64, :64] for image in images]
    learn(small, ENGINES[case["engine"]], start, max_epochs=1)
    gc.collect()
    forget_peak()
    before = peak_since()
    learn(images, ENGINES[case["engine"]], start, max_epochs=2)
    return {"mib": peak_since() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--plot", help="file for the picture")
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)), help="numbers of the cases")
    parser.add_argument("--epochs", type=int, help="passes over the pictures")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.one)))
        return
    print(describe())
    results = []
    for case in (CASES[k] for k in arguments.cases):
        began = time.perf_counter()
        found = learned(case, arguments.epochs or case[4])
        maps = case[0] ** 2 * case[1] * 4 / 2**20
        print(f"{case[0]}²×{case[1]}, {found['steps']} steps; held out at the beginning {found['begin']:.5g}")
        for name in ENGINES:
            entry = found[name]
            entry["arrays"] = in_fresh_process(__file__, {"case": case, "engine": name})["mib"] / maps
            print(
                f"{name:>10}{entry['seconds']:9.3f} s a step{found['SPORCO']['seconds'] / entry['seconds']:7.1f} × "
                f"{entry['held_out']:10.5g} held out{entry['held_out'] / found['SPORCO']['held_out'] - 1:+8.2%}, "
                f"excess {entry['excess']:.1e}, {entry['arrays']:.1f} arrays",
                flush=True,
            )
        results.append(found)
        print(f"({time.perf_counter() - began:.0f} s)")
    keep(arguments.json, results)
    panels = {f"{f['case'][0]}²×{f['case'][1]}": {n: f[n]["seconds"] for n in ENGINES} for f in results}
    draw_bars(arguments.plot, panels, "s a step")


if __name__ == "__main__":
    main()
