"""Time to a relative suboptimality of 1e-4: our solvers, SPORCO's ADMM and PGM, and SCICO's ADMM where installed.

python benchmarks/accuracy.py [--json FILE] [--plot FILE] [--rounds N] [--cases 0 1 2] [--rivals NAME ...]
python benchmarks/accuracy.py --end

Picture: scikit-image's camera, low-pass removed (tikhonov, 5), top-left crops; dictionaries: SPORCO's, normalised.
float32. The reference optimum is found in float64 to a gap of 1e-8. A solver's clock stops when the objective of its
sparse iterate is within 1e-4 of it, and theirs (`rivals.py`) likewise.

`--end`: how far the certified gap is above the true error where rounding ends the working set, in either precision, and
how far its float64 optimum is from that of ADMM.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import rivals
from common import camera_problem, describe, draw_bars, first_below, keep

from cscopt import CSCProblem, solve

CASES = ((256, "G:8x8x32", 0.05), (256, "G:8x8x32", 0.01), (512, "G:12x12x72", 0.05))
ACCURACY = 1e-4
OURS = ("working-set", "admm", "fista", "auto")
RIVALS: dict[str, tuple[str, Callable[[CSCProblem, float], float]]] = {
    "SPORCO ADMM": ("sporco", rivals.sporco_admm),
    "SPORCO PGM": ("sporco", rivals.sporco_pgm),
    "SCICO ADMM": ("scico", rivals.scico_admm),
}


def our_time(problem: CSCProblem, method: str, goal: float) -> float:
    """Seconds to the goal, checks of the gap included."""
    solution = solve(problem, method, tol=1e-12, max_iter=3000, check_every=2, callback=lambda it: it.objective <= goal)
    return first_below(solution.history["objective"], solution.history["seconds"], goal)


def measured(problem: CSCProblem, goal: float, rounds: int, others: list[str]) -> dict[str, float]:
    """Seconds of each contender: ours the median of some rounds in turn; theirs, which take a minute, of one."""
    our_time(problem, "working-set", goal)
    samples: dict[str, list[float]] = {name: [] for name in OURS}
    for _ in range(rounds):
        for name in OURS:
            samples[name].append(our_time(problem, name, goal))
    seconds = {name: statistics.median(values) for name, values in samples.items()}
    for name, (package, contender) in RIVALS.items():
        if importlib.util.find_spec(package) and name in others:
            seconds[name] = contender(problem, goal)
            print(f"{name:>14}{seconds[name]:10.3f} s", flush=True)
    return seconds


def end(case: tuple[int, str, float]) -> None:
    """Gap and error where rounding ends the working set; objectives are those of the codes, computed in float64."""
    exact = camera_problem(*case, np.float64)
    best = solve(exact, "working-set", tol=1e-15, max_iter=400)
    print(f"{case[0]}² {case[1]} λ = {case[2]}: optimum {best.objective:.15g}")
    single = solve(camera_problem(*case), "working-set", tol=1e-12, max_iter=400)
    for kind, found in (("float64", best), ("float32", single)):
        objective = float(exact.objective(found.codes.astype(np.float64))[0])
        error = max(objective / best.objective - 1, float(np.finfo(np.float64).eps))  # no error is known better
        print(f"  {kind}: gap {found.gap:.1e}, error {error:.1e}, {found.gap / error:.0f} times", flush=True)
    admm = solve(exact, "admm", tol=5e-9, max_iter=20_000)
    print(f"  ADMM in float64, to a gap of {admm.gap:.1e}: {admm.objective / best.objective - 1:.1e} above", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--end", action="store_true", help="gap and error at the end instead")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--plot", help="file for the picture")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rivals", nargs="*", choices=list(RIVALS), default=list(RIVALS), help="compare with these")
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)), help="numbers of the cases")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(describe())
    if arguments.end:
        for k in arguments.cases:
            end(CASES[k])
        return
    results: list[dict[str, Any]] = []
    for case in (CASES[k] for k in arguments.cases):
        exact = solve(camera_problem(*case, np.float64), "working-set", tol=1e-8, max_iter=3000)
        seconds = measured(camera_problem(*case), exact.objective * (1 + ACCURACY), arguments.rounds, arguments.rivals)
        theirs = min((s for name, s in seconds.items() if name in RIVALS), default=float("nan"))
        print(f"{case[0]}² {case[1]} λ = {case[2]}: optimum {exact.objective:.8g}, {exact.nonzeros} non-zeros")
        for name, value in seconds.items():
            print(f"{name:>14}{value:10.3f} s{theirs / value:10.1f} × faster than the best of the others", flush=True)
        results.append({"case": case, "optimum": exact.objective, "seconds": seconds})
    keep(arguments.json, results)
    panels = {"{}², {}, λ = {}".format(*found["case"]): found["seconds"] for found in results}
    draw_bars(arguments.plot, panels, f"s to {ACCURACY:g} above the optimum")


if __name__ == "__main__":
    main()
