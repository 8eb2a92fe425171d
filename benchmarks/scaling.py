"""How time and memory grow: image side, number of filters, λ, threads. Each case in a process of its own.

python benchmarks/scaling.py [--sides 512 1024 2048 4096] [--json FILE]

Picture: scikit-image's camera without its low-pass part, 512², tiled to the side wanted, with noise of its own in each
tile (standard deviation 0.02). Dictionary G:12x12x72, λ = 0.05, float32, to a certified gap of 1e-3 by the working set.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

import numpy as np
from common import describe, keep

from cscopt import ConvDictionary, CSCProblem, datasets, lowpass, set_threads, solve

DEFAULTS: dict[str, Any] = {"side": 512, "filters": 72, "lam": 0.05, "threads": 2, "tol": 1e-3}


def one(side: int, filters: int, lam: float, threads: int, tol: float) -> dict[str, Any]:
    """Solve one case and report seconds, peak memory of the process, and what came out."""
    from sporco.util import convdicts

    set_threads(threads)
    picture = datasets.picture("camera")
    tiles = max(1, side // 512)
    rng = np.random.default_rng(0)
    image = np.tile(lowpass.split(picture[None, None])[1][0, 0], (tiles, tiles))[:side, :side]
    image = image + 0.02 * rng.standard_normal(image.shape, dtype=np.float32)
    bank = ConvDictionary.from_sporco(convdicts()["G:12x12x72"].astype(np.float32)[..., :filters]).normalized()
    solve(CSCProblem(image[None, None, :64, :64], bank, lam), "working-set", tol=1e-2)  # compiles
    solution = solve(CSCProblem(image[None, None], bank, lam), "working-set", tol=tol)
    return {
        "seconds": solution.seconds,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "gap": solution.gap,
        "iterations": solution.iterations,
        "nonzeros": solution.nonzeros,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="*", default=[128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--filters", type=int, nargs="*", default=[16, 36, 72])
    parser.add_argument("--lams", type=float, nargs="*", default=[0.5, 0.1, 0.02])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(**json.loads(arguments.one))))
        return
    print(describe())
    results = []
    sweeps = [("side", arguments.sides), ("filters", arguments.filters), ("lam", arguments.lams)]
    for name, values in [*sweeps, ("threads", arguments.threads)]:
        print(
            f"{name:>9}{'seconds':>10}{'µs a pixel':>12}{'peak MiB':>10}{'gap':>10}{'iterations':>12}{'non-zeros':>11}"
        )
        for value in values:
            case = {**DEFAULTS, name: value}
            command = [sys.executable, __file__, "--one", json.dumps(case)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{value:>9}{found['seconds']:10.2f}{1e6 * found['seconds'] / case['side'] ** 2:12.2f}"
                f"{found['peak MiB']:10.0f}{found['gap']:10.1e}{found['iterations']:12}{found['nonzeros']:11}",
                flush=True,
            )
            results.append({"case": case, **found})
    keep(arguments.json, results)


if __name__ == "__main__":
    main()
