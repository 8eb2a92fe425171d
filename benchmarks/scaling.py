"""How time and memory grow: image side, number of filters, λ, threads. Each case in a process of its own.

python benchmarks/scaling.py [--only side filters share threads] [--json FILE] [--plot FILE]

Picture: scikit-image's camera without its low-pass part, 512², tiled to the side wanted, with noise of its own in each
tile (standard deviation 0.02). SPORCO's dictionaries normalised, float32, to a certified gap of 1e-3 by the working
set. One thing varies at a time; the rest is 256² (512² for threads), the 72 filters of 12×12, λ = 0.05, 2 threads.
Cases of a few seconds are run in five processes, and the run of median time is reported.
`share` is λ / λ_max, λ_max the λ from which on all codes are zero; other numbers of filters
are cut from G:12x12x216, followed by G:12x12x144.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from common import describe, in_fresh_process, keep, peak_mib

from cscopt import ConvDictionary, CSCProblem, datasets, lowpass, set_threads, solve

SWEEPS: dict[str, list[Any]] = {
    "side": [128, 256, 512, 1024, 2048, 4096],
    "filters": [16, 36, 72, 144, 256],
    "share": [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005],
    "threads": [1, 2],
}
COLUMNS = f"{'seconds':>10}{'µs a pixel':>12}{'peak MiB':>10}{'gap':>10}{'iterations':>12}{'non-zeros':>11}"


def one(side: int = 512, filters: int = 0, share: float = 0, threads: int = 2) -> dict[str, Any]:
    """Solve one case and report seconds, peak memory of the process, and what came out."""
    from sporco.util import convdicts

    set_threads(threads)
    tiles = max(1, side // 512)
    rng = np.random.default_rng(0)
    high = lowpass.split(datasets.picture("camera")[None, None])[1][0, 0]
    image = np.tile(high, (tiles, tiles))[:side, :side]
    image = image + 0.02 * rng.standard_normal(image.shape, dtype=np.float32)
    banks = convdicts()
    many = np.concatenate([banks["G:12x12x216"], banks["G:12x12x144"]], axis=-1)[..., :filters]
    bank = ConvDictionary.from_sporco((many if filters else banks["G:12x12x72"]).astype(np.float32)).normalized()
    problem = CSCProblem(image[None, None], bank, 0.05)
    if share:
        problem = CSCProblem(image[None, None], bank, share * problem.lambda_max)
    solve(CSCProblem(image[None, None, :64, :64], bank, 0.05), "working-set", tol=1e-2)  # compiles
    solution = solve(problem, "working-set", tol=1e-3)
    return {
        "seconds": solution.seconds,
        "µs a pixel": 1e6 * solution.seconds / side**2,
        "peak MiB": peak_mib(),
        "gap": solution.gap,
        "iterations": solution.iterations,
        "nonzeros": solution.nonzeros,
    }


def median(case: dict[str, Any]) -> dict[str, Any]:
    """The run of median time of five, fewer where they are long."""
    runs: list[dict[str, Any]] = []
    while len(runs) < 5 and sum(run["seconds"] for run in runs) < 20:
        runs.append(in_fresh_process(__file__, case))
    return sorted(runs, key=lambda run: float(run["seconds"]))[len(runs) // 2]


def report_growth(results: list[dict[str, Any]]) -> None:
    """How much faster than its pixels time grows from 512² to the largest picture."""
    spent = {r["case"]["side"]: r["µs a pixel"] for r in results}
    if 512 in spent:
        print(f"from 512² to {max(spent)}² time grows {spent[max(spent)] / spent[512]:.3f} times linearly")


def draw(path: str, results: list[dict[str, Any]]) -> None:
    """A panel for each sweep: seconds, and memory beside it."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(r["sweep"] for r in results))
    figure, panels = plt.subplots(1, len(names), figsize=(4 * len(names), 3.2), layout="constrained", squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        rows = [r for r in results if r["sweep"] == name]
        values = [r["case"][name] for r in rows]
        axes.loglog(values, [r["seconds"] for r in rows], "o-", label="seconds")
        axes.loglog(values, [r["peak MiB"] / 1024 for r in rows], "s--", label="peak GiB")
        axes.set(xlabel={"share": "λ / λ_max"}.get(name, name), xticks=values, xticklabels=[str(v) for v in values])
        axes.xaxis.set_minor_locator(plt.NullLocator())
        axes.grid(alpha=0.3)
    panels[0][0].legend()
    figure.savefig(path, dpi=150)
    print(f"written: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(SWEEPS), default=list(SWEEPS))
    parser.add_argument("--largest", type=int, default=4096, help="side of the largest picture")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--plot", help="file for a picture of them")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(**json.loads(arguments.one))))
        return
    print(describe())
    results = []
    for name in arguments.only:
        print(f"{name:>9}{COLUMNS}")
        for value in SWEEPS[name]:
            if name == "side" and value > arguments.largest:
                continue
            case = {"side": 512 if name == "threads" else 256, name: value}
            found = median(case)
            print(
                f"{value:>9}{found['seconds']:10.2f}{found['µs a pixel']:12.2f}{found['peak MiB']:10.0f}"
                f"{found['gap']:10.1e}{found['iterations']:12}{found['nonzeros']:11}",
                flush=True,
            )
            results.append({"sweep": name, "case": case, **found})
        if name == "side":
            report_growth(results)
    keep(arguments.json, results)
    if arguments.plot:
        draw(arguments.plot, results)


if __name__ == "__main__":
    main()
