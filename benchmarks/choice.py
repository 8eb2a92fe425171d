"""Whether `method="auto"` chooses well: seconds of each solver to a certified gap of 1e-3, over a range of λ.

python benchmarks/choice.py [--json FILE] [--side N]

Picture: scikit-image's camera, low-pass removed; dictionaries: SPORCO's, normalised; float32. A solver is given up
after three times the working set's time and 20 s. The last column is auto's choice against the best single solver.
"""

from __future__ import annotations

import argparse

from common import camera_problem, describe, keep

from cscopt import CSCProblem, solve
from cscopt.solvers.auto import choose

DICTIONARIES = ("G:8x8x32", "G:8x8x96", "G:12x12x72")
SHARES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
SOLVERS = ("working-set", "admm", "fista")


def seconds_of(problem: CSCProblem, method: str, limit: float) -> float:
    """Seconds to a gap of 1e-3, or infinity beyond the limit."""
    found = solve(problem, method, tol=1e-3, max_iter=10_000, callback=lambda it: it.seconds > limit)
    return found.seconds if found.status == "converged" else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--side", type=int, default=256)
    arguments = parser.parse_args()
    print(describe())
    print(f"{'dictionary':>12}{'λ/λ_max':>10}" + "".join(f"{name:>13}" for name in SOLVERS) + "   auto")
    results = []
    for name in DICTIONARIES:
        largest = camera_problem(arguments.side, name, 1.0).lambda_max
        for share in SHARES:
            problem = camera_problem(arguments.side, name, share * largest)
            solve(problem, "working-set", max_iter=1)
            seconds: dict[str, float] = {}
            for method in SOLVERS:
                limit = 3 * seconds.get("working-set", float("inf")) + 20 if seconds else 120
                seconds[method] = seconds_of(problem, method, limit)
            choice = choose(problem)[0].name
            ratio = seconds[choice] / min(seconds.values())
            times = "".join(f"{seconds[method]:13.3f}" for method in SOLVERS)
            print(f"{name:>12}{share:10.4g}{times}   {choice} ({ratio:.2f} × the best)", flush=True)
            results.append({"dictionary": name, "share": share, "seconds": seconds, "auto": choice, "ratio": ratio})
    keep(arguments.json, results)


if __name__ == "__main__":
    main()
