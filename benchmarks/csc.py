"""Time of one iteration: ours, SPORCO's, and the physical limit, one FFT and inverse FFT of all maps.

python benchmarks/csc.py [--json FILE] [--rounds N]

Picture: scikit-image's camera, low-pass removed; dictionaries: SPORCO's, normalised. float32.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from common import alternate, camera_problem, describe, keep, stepper

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

    def step() -> None:
        solver.xstep()
        solver.relax_AX()
        solver.ystep()
        solver.ustep()

    return step


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    print(describe())
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


if __name__ == "__main__":
    main()
