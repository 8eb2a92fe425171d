"""Time and memory of one iteration: ours, SPORCO's, and the physical limit, one FFT and inverse FFT of all maps.

python benchmarks/csc.py [--json FILE] [--plot FILE] [--rounds N] [--memory]

Picture: scikit-image's camera, low-pass removed; dictionaries: SPORCO's, normalised. float32.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from common import alternate, camera_problem, describe, draw_bars, in_fresh_process, keep, peak_mib, stepper
from rivals import sporco_iteration

import cscopt
from cscopt import ADMM, FISTA, ISTA, CSCProblem, certify
from cscopt.fft import Workspace

CASES = ((256, "G:8x8x32"), (256, "G:8x8x96"), (512, "G:12x12x64"))
LAM = 0.05


def sporco_stepper(problem: CSCProblem) -> Callable[[], None]:
    """One iteration of SPORCO's ConvBPDN a call, with its fastest settings (FastSolve, fixed ρ)."""
    from sporco.admm import cbpdn

    options = cbpdn.ConvBPDN.Options(
        {"MaxMainIter": 1, "FastSolve": True, "DataType": np.float32, "AutoRho": {"Enabled": False}, "RelaxParam": 1.8}
    )
    bank = problem.dictionary.to_sporco()
    solver = cbpdn.ConvBPDN(bank, problem.signal[0, 0], LAM, options, dimK=0)
    return sporco_iteration(solver)


def limit(problem: CSCProblem) -> Callable[[], None]:
    """One FFT and inverse FFT of all maps, with the same library and threads, in place and planned."""
    synthesis = problem.synthesis
    space = Workspace(synthesis.n_filters, synthesis.grid, problem.signal.dtype, cscopt.get_threads())

    def pair() -> None:
        space.forward()
        space.inverse()
        space.signal[0, 0, 0] = 1  # inverse is unnormalised: keep the numbers from growing

    space.signal[...] = 0
    return pair


def one(side: int, dictionary: str, solver: str) -> dict[str, float]:
    """What twenty iterations (ADMM balances at the tenth) add to a process, and that in arrays of all maps."""
    problem = camera_problem(side, dictionary, LAM)
    small = camera_problem(64, dictionary, LAM)
    solvers = {"ADMM": ADMM(), "FISTA": FISTA(), "ISTA": ISTA()}
    step = sporco_stepper(small) if solver == "SPORCO ADMM" else stepper(small, solvers[solver])
    step()
    before = peak_mib()
    step = sporco_stepper(problem) if solver == "SPORCO ADMM" else stepper(problem, solvers[solver])
    for _ in range(20):
        step()
    maps = problem.synthesis.maps_bytes(1, problem.code_like) / 2**20
    return {"MiB": peak_mib() - before, "arrays of the maps": (peak_mib() - before) / maps}


def memory() -> list[dict[str, Any]]:
    """Peak memory of each solver, each in a process of its own."""
    results = []
    for side, name in CASES:
        for solver in ("ADMM", "FISTA", "ISTA", "SPORCO ADMM"):
            found = in_fresh_process(__file__, {"side": side, "dictionary": name, "solver": solver})
            print(f"{side:>6}² {name:>12}{solver:>14}{found['MiB']:9.0f} MiB{found['arrays of the maps']:8.2f} × maps")
            results.append({"side": side, "dictionary": name, "solver": solver, **found})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--plot", help="file for a picture of them")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if arguments.one:
        print(json.dumps(one(**json.loads(arguments.one))))
        return
    print(describe())
    if arguments.memory:
        keep(arguments.json, memory())
        return
    print(f"{'case':>20}{'':12}{'ms':>9}{'× FFT pair':>12}{'SPORCO ÷':>10}")
    results = []
    for side, name in CASES:
        problem = camera_problem(side, name, LAM)
        certified = ADMM().init(problem)
        contenders = {
            "FFT pair": limit(problem),
            "ADMM": stepper(problem, ADMM(adaptive=False)),
            "FISTA": stepper(problem, FISTA()),
            "ISTA": stepper(problem, ISTA()),
            "ADMM's look": lambda p=problem, v=certified: ADMM().certificate(p, v),
            "certify": lambda p=problem, v=certified.v: certify(p, v),
            "SPORCO ADMM": sporco_stepper(problem),
        }
        seconds = alternate(contenders, arguments.rounds)
        for contender, value in seconds.items():
            pair, theirs = value / seconds["FFT pair"], seconds["SPORCO ADMM"] / value
            print(f"{side:>6}² {name:>12}{contender:>14}{1e3 * value:9.2f}{pair:12.2f}{theirs:10.1f}")
        results.append({"side": side, "dictionary": name, "seconds": seconds})
    keep(arguments.json, results)
    panels = {f"{r['side']}², {r['dictionary']}": {k: 1e3 * v for k, v in r["seconds"].items()} for r in results}
    draw_bars(arguments.plot, panels, "ms an iteration")


if __name__ == "__main__":
    main()
