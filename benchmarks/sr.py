"""Super-resolution by convolutional sparse coding, FISTA through the resampling operator, by the published protocol.

python benchmarks/sr.py [FOLDER ...] [--lam 0.001] [--beta 5] [--json FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import describe, keep

from cscopt import ConvDictionary, CSCProblem, lowpass, solve
from cscopt.operators import Bicubic
from learned.data.images import eight_bits, read_folder, resize
from learned.evaluate import means, score, table


def enlarge(low: Any, scale: int, dictionary: ConvDictionary, lam: float, beta: float) -> Any:
    """v_low + Σ d_m * x_m, where v_low is the low-pass part of the interpolated picture."""
    given = (low / 255).astype(np.float32)[None, None]
    smooth, _ = lowpass.split((resize(low, scale) / 255).astype(np.float32)[None, None], beta)
    shrink = Bicubic(smooth.shape[1:], 1 / scale)
    problem = CSCProblem(given - shrink.apply(smooth), dictionary, lam, forward=shrink)
    solution = solve(problem, "fista", tol=1e-2, max_iter=100)
    return eight_bits(255 * (smooth + solution.reconstruction)[0, 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", default=["../shared/data/sr/Set5"])
    parser.add_argument("--dictionary", default="natural-8x8x32")
    parser.add_argument("--lam", type=float, default=0.001)
    parser.add_argument("--beta", type=float, default=5.0)
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    dictionary = ConvDictionary.load(arguments.dictionary)
    print(describe())
    results = {}
    for folder in arguments.folders:
        scores = score(
            lambda low, scale: enlarge(low, scale, dictionary, arguments.lam, arguments.beta),
            read_folder(folder),
            (2, 3, 4),
        )
        print(table(scores, "CSC by FISTA", Path(folder).name))
        results[Path(folder).name] = means(scores)
    keep(arguments.json, results)


if __name__ == "__main__":
    main()
