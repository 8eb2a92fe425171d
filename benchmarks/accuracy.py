"""Time to a relative suboptimality of 1e-4: our solvers, and the best of SPORCO's ADMM and PGM.

python benchmarks/accuracy.py [--json FILE] [--rounds N] [--without-sporco]

Picture: scikit-image's camera, low-pass removed (tikhonov, 5), top-left crops; dictionaries: SPORCO's, normalised.
float32. The reference optimum is found in float64 to a gap of 1e-8. A solver's clock stops when the objective of its
sparse iterate is within 1e-4 of it; SPORCO computes that objective anyway, and its time for it is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from typing import Any

import numpy as np
from common import describe, keep

from cscopt import ConvDictionary, CSCProblem, datasets, lowpass, solve

CASES = ((256, "G:8x8x32", 0.05), (256, "G:8x8x32", 0.01), (512, "G:12x12x72", 0.05))
ACCURACY = 1e-4
OURS = ("working-set", "admm", "fista", "auto")


def problem_of(side: int, name: str, lam: float, dtype: Any = np.float32) -> CSCProblem:
    """A crop of the picture without its low-pass part, and one of SPORCO's dictionaries."""
    from sporco.util import convdicts

    high = lowpass.split(datasets.picture("camera").astype(dtype)[None, None])[1][..., :side, :side]
    bank = ConvDictionary.from_sporco(convdicts()[name].astype(dtype)).normalized()
    return CSCProblem(np.ascontiguousarray(high), bank, lam)


def first_below(values: Any, seconds: Any, goal: float) -> float:
    """Seconds at the first value below a goal; infinity if there is none."""
    return next((s for v, s in zip(values, seconds, strict=True) if v <= goal), float("inf"))


def our_time(problem: CSCProblem, method: str, goal: float) -> float:
    """Seconds to the goal, checks of the gap included."""
    solution = solve(problem, method, tol=1e-12, max_iter=3000, check_every=2, callback=lambda it: it.objective <= goal)
    return first_below(solution.history["objective"], solution.history["seconds"], goal)


def sporco_time(problem: CSCProblem, method: str, goal: float) -> float:
    """Seconds to the goal by SPORCO's ConvBPDN (ADMM: automatic ρ, over-relaxed; PGM: FISTA with backtracking)."""
    bank, image = problem.dictionary.to_sporco(), problem.signal[0, 0]
    lam = float(problem.penalty.lam)
    options = {"MaxMainIter": 1500, "RelStopTol": 0.0, "DataType": np.float32, "Callback": lambda it: done(it)}
    if method == "admm":
        from sporco.admm import cbpdn

        options |= {"AutoRho": {"Enabled": True}, "RelaxParam": 1.8}
    else:
        from sporco.pgm import cbpdn
        from sporco.pgm.backtrack import BacktrackStandard

        options |= {"L": 50.0, "Backtrack": BacktrackStandard(maxiter=20)}

    def done(iteration: Any) -> bool:
        return bool(iteration.itstat[-1].ObjFun <= goal)

    solver = cbpdn.ConvBPDN(bank, image, lam, cbpdn.ConvBPDN.Options(options), dimK=0)
    solver.solve()
    record = solver.getitstat()
    return first_below(record.ObjFun, record.Time, goal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-sporco", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(describe())
    results = []
    for case in CASES:
        problem = problem_of(*case)
        exact = solve(problem_of(*case, np.float64), "working-set", tol=1e-8, max_iter=3000)
        goal = exact.objective * (1 + ACCURACY)
        contenders = {name: lambda n=name, p=problem, g=goal: our_time(p, n, g) for name in OURS}
        if not arguments.without_sporco:
            contenders["SPORCO ADMM"] = lambda p=problem, g=goal: sporco_time(p, "admm", g)
            contenders["SPORCO PGM"] = lambda p=problem, g=goal: sporco_time(p, "pgm", g)
        samples: dict[str, list[float]] = {name: [] for name in contenders}
        our_time(problem, "working-set", goal)
        for turn in range(arguments.rounds):
            for name, contender in contenders.items():
                if turn == 0 or not name.startswith("SPORCO"):  # theirs takes a minute: once is enough
                    samples[name].append(contender())
        seconds = {name: statistics.median(values) for name, values in samples.items()}
        best = min((s for name, s in seconds.items() if name.startswith("SPORCO")), default=float("nan"))
        print(f"{case[0]}² {case[1]} λ = {case[2]}: optimum {exact.objective:.8g}, {exact.nonzeros} non-zeros")
        for name, value in seconds.items():
            print(f"{name:>14}{value:10.3f} s{best / value:10.1f} × faster than the best of SPORCO")
        results.append({"case": case, "optimum": exact.objective, "seconds": seconds})
    keep(arguments.json, results)


if __name__ == "__main__":
    main()
