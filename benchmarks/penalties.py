"""Time of one iteration with penalties other than ℓ1, ours and SPORCO's, on a picture in colour.

python benchmarks/penalties.py [--json FILE] [--rounds N]

Picture: a 256² crop of scikit-image's astronaut, low-pass removed; dictionary: natural-8x8x32, each channel coded on
its own. float32. An iteration of SPORCO is its four steps, as in `csc.py`; ours also finds the norms by which ρ adapts.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from common import alternate, describe, keep, stepper
from rivals import sporco_iteration

from cscopt import (
    ADMM,
    FISTA,
    L1,
    ConvDictionary,
    CSCProblem,
    ElasticNet,
    GradientL1,
    GroupL1,
    PrimalDual,
    TotalVariation,
    datasets,
    lowpass,
)

LAM, MU = 0.05, 0.02
PENALTIES = {
    "ConvBPDN": L1(LAM),
    "ConvBPDNJoint": GroupL1(LAM, MU),
    "ConvElasticNet": ElasticNet(LAM, MU),
    "ConvBPDNGradReg": GradientL1(LAM, MU),
    "ConvBPDNVectorTV": L1(LAM) + TotalVariation(MU, "joint maps"),
    "ConvBPDNRecTV": L1(LAM) + TotalVariation(MU, "reconstruction"),
}


def sporco_stepper(name: str, picture: Any, filters: Any) -> Callable[[], None]:
    """One iteration a call of a class of SPORCO's, with its fastest settings."""
    from sporco.admm import cbpdn, cbpdntv

    kind = getattr(cbpdn, name, None) or getattr(cbpdntv, name)
    fast = {"MaxMainIter": 1, "FastSolve": True, "AutoRho": {"Enabled": False}, "RelaxParam": 1.8}
    options = kind.Options({**fast, "DataType": np.float32})
    levels = (LAM,) if name == "ConvBPDN" else (LAM, MU)
    solver = kind(filters, np.moveaxis(picture[0], 0, -1), *levels, options, dimK=0)
    return sporco_iteration(solver)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    print(describe())
    image = np.moveaxis(datasets.picture("astronaut", grey=False)[:256, :256], -1, 0)[None].astype(np.float32)
    picture, bank = lowpass.split(image)[1], ConvDictionary.load("natural-8x8x32")
    print(f"{'':18}{'ADMM':>10}{'FISTA':>10}{'SPORCO':>10}{'SPORCO ÷':>10}")
    results = []
    for name, penalty in PENALTIES.items():
        problem = CSCProblem(picture, bank, penalty)
        first = PrimalDual(adaptive=False) if penalty.tail else ADMM(adaptive=False)
        contenders = {"ours": stepper(problem, first), "SPORCO": sporco_stepper(name, picture, bank.to_sporco())}
        if not penalty.tail:
            contenders["FISTA"] = stepper(problem, FISTA())
        seconds = alternate(contenders, arguments.rounds)
        fista = f"{1e3 * seconds['FISTA']:10.1f}" if "FISTA" in seconds else f"{'':10}"
        print(
            f"{name:18}{1e3 * seconds['ours']:10.1f}{fista}{1e3 * seconds['SPORCO']:10.1f}"
            f"{seconds['SPORCO'] / seconds['ours']:10.1f}"
        )
        results.append({"penalty": name, "solver": first.name, "seconds": seconds})
    keep(arguments.json, results)


if __name__ == "__main__":
    main()
