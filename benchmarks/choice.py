"""Whether `method="auto"` chooses well: seconds of each solver to a certified gap of 1e-3, over a range of λ.

python benchmarks/choice.py [--json FILE] [--side N]
python benchmarks/choice.py --bare
python benchmarks/choice.py --split
python benchmarks/choice.py --forward
python benchmarks/choice.py --blur [--side N]
python benchmarks/choice.py --nonconvex

Picture: scikit-image's camera, low-pass removed; dictionaries: SPORCO's, normalised; float32. A solver is given up
after three times the working set's time and 20 s. `auto` is run like the others, and compared with the best of them,
which runs again in turn with it: five times where that takes less than a second, three times below six, else once.

`--bare`: the same where the low-pass part is left in: `camera` without its mean, `natural-8x8x32`, whose smooth atoms
overlap much.

`--split`: the gap after six seconds at most, or when it is below 1e-2, where weights or a boundary keep D x from the
frequency domain: 96² of `astronaut` in colour, its high-pass part and whole, `natural-8x8x32`.

`--forward`: objective and gap after ten seconds, through operators that are not diagonal there: the high-pass part of
256² of `camera`, made small, blurred beyond its border, blurred with half of the pixels missing, seen by four coils.

`--blur`: seconds to a gap of 1e-2 through blurs, which the working set's filters absorb: `camera`, `natural-8x8x32`.

`--nonconvex`: where descents from zero and the primal-dual method end with penalties that are not convex, at a KKT
residual of 1e-4 or after half a minute: the high-pass part of 256² of `camera`, `natural-8x8x32`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
from typing import Any

import numpy as np
from common import camera_problem, describe, keep

from cscopt import L0, L1, ConvDictionary, CSCProblem, ElasticNet, GroupL1, L1MinusL2, datasets, lowpass, solve
from cscopt.linop import LinearOperator
from cscopt.operators import CT, MRI, Bicubic, Blur, Mask, gaussian_kernel, random_mask, shake_kernel
from cscopt.solvers.auto import choose

DICTIONARIES = ("G:8x8x32", "G:8x8x96", "G:12x12x72")
SHARES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
SOLVERS = ("working-set", "admm", "fista")


def seconds_of(problem: CSCProblem, method: str, limit: float) -> float:
    """Seconds to a gap of 1e-3, or infinity beyond the limit."""
    found = solve(problem, method, tol=1e-3, max_iter=10_000, callback=lambda it: it.seconds > limit)
    return found.seconds if found.status == "converged" else float("inf")


def bare(side: int) -> None:
    """A picture of which only the mean was taken out; medians of three runs, whose solvers take turns."""
    picture = datasets.picture("camera")[:side, :side].astype(np.float32)
    methods = ("working-set", "admm", "auto")
    for lam in (0.2, 0.1, 0.05):
        problem = CSCProblem(picture[None, None] - picture.mean(), ConvDictionary.load("natural-8x8x32"), lam)
        for method in methods:
            solve(problem, method, max_iter=1)
        runs = [[seconds_of(problem, method, 25) for method in methods] for _ in range(3)]
        middle = dict(zip(methods, map(statistics.median, zip(*runs, strict=True)), strict=True))
        ratio = middle["auto"] / min(middle.values())
        times = "".join(f"{name:>13}{seconds:8.2f} s" for name, seconds in middle.items())
        print(f"{lam:6.3g}{times}   {ratio:.2f} × the best", flush=True)


def split() -> None:
    """The gaps of solvers that split D x off, and of the working set where it serves."""
    whole = np.moveaxis(datasets.picture("astronaut", grey=False)[100:196, 100:196], -1, 0)[None].astype(np.float32)
    bank, half = ConvDictionary.load("natural-8x8x32"), np.random.default_rng(0).random((96, 96)) < 0.5
    pictures = {"high-pass part": lowpass.split(whole)[1], "whole picture": whole}
    settings = {"none": {"boundary": "none"}, "symmetric": {"boundary": "symmetric"}, "half": {"mask": 1.0 * half}}
    penalties = {"L1": L1(0.05), "GroupL1": GroupL1(0.03, 0.03), "ElasticNet": ElasticNet(0.05, 0.05)}
    for kind, picture, name in itertools.product(penalties, pictures, settings):
        problem = CSCProblem(pictures[picture], bank, penalties[kind], **settings[name])
        print(f"{kind:>10}{picture:>16}{name:>10}", end="")
        for method in ("admm", "working-set" if kind == "L1" else "primal-dual", "fista"):
            solve(problem, method, max_iter=1)
            found = solve(problem, method, tol=1e-2, max_iter=1000, callback=lambda it: it.seconds > 6)
            print(f"{method:>13}{found.gap:8.1e}{found.seconds:5.1f} s", end="", flush=True)
        print(f"   {choose(problem)[0].name}")


def operators() -> dict[str, tuple[LinearOperator, float]]:
    """Operators on images (1, 252, 252) that keep D x from the frequency domain, and a λ."""
    shape, box = (1, 252, 252), np.full((9, 9), 1 / 81, np.float32)
    y, x = np.mgrid[-1:1:252j, -1:1:252j]
    corners = itertools.product((-1, 1), (-1, 1))
    coils = np.stack([np.exp(-((y - a) ** 2) - (x - b) ** 2) for a, b in corners]).astype(np.complex64)
    half = Mask(shape, np.random.default_rng(0).random(shape) < 0.5)
    found: dict[str, tuple[LinearOperator, float]] = {
        "bicubic, 3 times smaller": (Bicubic(shape, 1 / 3), 0.002),
        "blur, boundary none": (Blur(shape, box, "none"), 0.002),
        "half of the blurred pixels": (half @ Blur(shape, box), 0.002),
        "MRI, four coils": (MRI(random_mask(shape[1:], acceleration=4, rng=0), coils), 0.01),
    }
    with contextlib.suppress(ImportError):  # ASTRA
        found["CT, 120 projections"] = CT(shape[1:], np.arange(120) * np.pi / 120, 360, 1 / 252), 0.0002
    return found


def forward() -> None:
    """Solvers through operators that are no convolutions."""
    picture = lowpass.split(datasets.picture("camera")[None, None])[1][..., 130:382, 130:382]
    for name, (operator, lam) in operators().items():
        image = np.ascontiguousarray(picture, np.complex64 if isinstance(operator, MRI) else np.float32)
        problem = CSCProblem(operator.apply(image), ConvDictionary.load("natural-8x8x32"), lam, forward=operator)
        print(f"{name:>28}", end="")
        for method in ("admm", "primal-dual", "fista"):
            solve(problem, method, max_iter=1)
            found = solve(problem, method, tol=1e-3, max_iter=5000, callback=lambda it: it.seconds > 10)
            print(f"{method:>13} {found.objective:.5g}, gap {found.gap:.1e}", end="", flush=True)
        print()


def blurs(side: int) -> None:
    """ADMM, the working set and what `auto` chooses, by kernel, boundary and λ."""
    picture = datasets.picture("camera")[None, None, 40 : 40 + side, 60 : 60 + side]
    kernels = {"shake, 9": shake_kernel(9, rng=4), "shake, 19": shake_kernel(19, rng=4), "Gauss": gaussian_kernel(2)}
    for (name, kernel), boundary in itertools.product(kernels.items(), ("none", "circular")):
        operator = Blur((1, side, side), kernel, boundary)
        data = operator.apply(lowpass.split(picture)[1]).astype(np.float32)
        whole = CSCProblem(data, ConvDictionary.load("natural-8x8x32"), 1.0, operator)
        for divisor in (30, 100, 300, 1000, 3000):
            problem = whole.with_penalty(whole.lambda_max / divisor)
            print(f"{name:>10} {boundary:>9} λ_max/{divisor:<5}", end="")
            for method in ("admm", "working-set", "auto"):
                solve(problem, method, max_iter=1)
                found = solve(problem, method, tol=1e-2, max_iter=5000, callback=lambda it: it.seconds > 30)
                told = f"{found.seconds:6.2f} s" if found.status == "converged" else f"gap {found.gap:.0e}"
                print(f"  {method} {told}", end=f" ({found.solver.name})" if method == "auto" else "", flush=True)
            print()


def nonconvex(side: int) -> None:
    """Objectives where solvers end."""
    picture = lowpass.split(datasets.picture("camera")[None, None])[1][..., :side, :side].astype(np.float32)
    penalties = {"L0(0.002)": L0(0.002), "L0(0.0005)": L0(0.0005)}
    penalties |= {"L1MinusL2(0.05)": L1MinusL2(0.05), "L1MinusL2(0.01)": L1MinusL2(0.01)}
    for name, penalty in penalties.items():
        problem = CSCProblem(picture, ConvDictionary.load("natural-8x8x32"), penalty)
        print(f"{name:>16}", end="")
        for method in ("primal-dual", "ista", "fista"):
            solve(problem, method, max_iter=1)
            found = solve(problem, method, tol=1e-4, max_iter=5000, callback=lambda it: it.seconds > 30)
            told = f"{found.objective:.5g}, {found.nonzeros} non-zeros, {found.seconds:.0f} s"
            print(f"{method:>13} {told}", end="", flush=True)
        print()


def over_lambda(side: int) -> list[dict[str, Any]]:
    """Each solver's seconds, for three dictionaries and a range of λ."""
    print(f"{'dictionary':>12}{'λ/λ_max':>10}" + "".join(f"{name:>13}" for name in (*SOLVERS, "auto")))
    results = []
    for name in DICTIONARIES:
        largest = camera_problem(side, name, 1.0).lambda_max
        for share in SHARES:
            problem = camera_problem(side, name, share * largest)
            for method in ("working-set", "auto"):
                solve(problem, method, max_iter=1)
            seconds: dict[str, float] = {}
            for method in SOLVERS:
                limit = 3 * seconds.get("working-set", float("inf")) + 20 if seconds else 120
                seconds[method] = seconds_of(problem, method, limit)
            best = min(seconds, key=seconds.__getitem__)
            repeats = 5 if seconds[best] < 1 else 3 if seconds[best] < 6 else 1
            runs = [[seconds_of(problem, method, 120) for method in (best, "auto")] for _ in range(repeats)]
            seconds[best], auto = map(statistics.median, zip(*runs, strict=True))
            ratio = auto / seconds[best]
            times = "".join(f"{value:13.3f}" for value in (*seconds.values(), auto))
            print(f"{name:>12}{share:10.4g}{times}   {ratio:.2f} × the best", flush=True)
            results.append({"dictionary": name, "share": share, "seconds": seconds, "auto": auto, "ratio": ratio})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--bare", action="store_true", help="a picture with its low-pass part instead")
    parser.add_argument("--split", action="store_true", help="weights and boundaries instead")
    parser.add_argument("--forward", action="store_true", help="forward operators instead")
    parser.add_argument("--blur", action="store_true", help="blurs instead")
    parser.add_argument("--nonconvex", action="store_true", help="penalties that are not convex instead")
    arguments = parser.parse_args()
    print(describe())
    if arguments.bare:
        bare(arguments.side)
    elif arguments.split:
        split()
    elif arguments.forward:
        forward()
    elif arguments.blur:
        blurs(arguments.side)
    elif arguments.nonconvex:
        nonconvex(arguments.side)
    else:
        keep(arguments.json, over_lambda(arguments.side))


if __name__ == "__main__":
    main()
