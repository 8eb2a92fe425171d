"""Low-dose CT of real slices: filtered back-projection at its best, and CSC with statistical weights.

python benchmarks/ct.py ../shared/data/ct/slices_test.npz [--slices N] [--iterations N] [--json FILE]
python benchmarks/ct.py --mismatch
python benchmarks/ct.py --applications

LoDoPaB-CT's protocol: slices μ = 20 + HU (20 − 0.02) / 1000 per metre, divided by 81.35858; 1000 parallel projections
of the slice interpolated to 1000² pixels (so that data do not come from the operator that explains them), 513
detectors, 4096 photons. FBP is the best of filters and cutoffs, for each slice anew. CSC is x = x_low + D z, with x_low
the low-pass part of the FBP, and z solving CSC for y − A x_low by FISTA, where W² is the share of photons that arrive,
at most e^{−cap} (more would only slow it down), and λ_m grows with filter m's mean frequency. λ, β and cap are the best
of a grid on the first slice, with every fourth angle and four times the photons, and are then used for all. Negative
values are set to zero in both. PSNR in dB, peak = the truth's maximum.

`--applications`: of A and Aᴴ by ADMM and FISTA until a small problem is solved.
`--mismatch`: how far each of ASTRA's projectors, "cuda" among them where there is a GPU, is from having its adjoint.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from typing import Any

import numpy as np
from common import describe, keep
from skimage.transform import resize

from cscopt import L1, ConvDictionary, CSCProblem, FunctionOperator, Solution, datasets, dot_test, lowpass, solve
from cscopt.metrics import psnr
from cscopt.operators import CT, LODOPAB_MU_MAX, fbp, transmission_noise, transmission_weights

FILTERS = [
    *itertools.product(("hann",), (1.0, 0.9, 0.8, 0.7, 0.6)),
    *itertools.product(("cosine",), (0.8, 0.7, 0.6, 0.5)),
    *itertools.product(("shepp-logan", "ram-lak"), (0.6, 0.5, 0.4)),
]
LAMS = (1e-9, 2e-9, 4e-9)
BETAS = (5.0, 12.0)
CAPS = (2.0, 3.0)


def scanner(every: int = 1, side: int = 362) -> CT:
    """LoDoPaB-CT's geometry with every k-th angle, on side² pixels."""
    whole = CT.lodopab()
    return CT((side, side), whole.angles[::every], 513, 0.26 / side, whole.detector_size)


def measured(truth: Any, every: int, seed: int) -> Any:
    """Data −ln(N/N₀) / μ_max; fewer angles share the same photons."""
    fine = resize(truth[0, 0], (1000, 1000), order=1).astype(np.float32)[None, None]
    clean = LODOPAB_MU_MAX * scanner(every, 1000).apply(fine)
    return transmission_noise(clean, 4096 * every, seed) / np.float32(LODOPAB_MU_MAX)


def levels(bank: ConvDictionary) -> Any:
    """Mean frequency of each filter, relative to the geometric mean of all."""
    power = np.abs(np.fft.fft2(bank.filters[:, 0], (64, 64))) ** 2
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    mean = np.sum(power * frequency, axis=(1, 2)) / np.sum(power, axis=(1, 2))
    return mean / np.exp(np.mean(np.log(mean)))


def reconstruct(
    data: Any, projector: CT, raw: Any, bank: ConvDictionary, options: tuple[float, float, float], steps: int
) -> tuple[Any, Solution]:
    """x_low + D z and the solution for z, from data, their plain FBP, and (λ for one angle, β, cap)."""
    lam, beta, cap = options
    low, _ = lowpass.split(raw, beta)
    weights = transmission_weights(np.maximum(LODOPAB_MU_MAX * data, cap))
    penalty = L1((lam * projector.output_shape[1] * levels(bank)).astype(np.float32))
    problem = CSCProblem(data - projector.apply(low), bank, penalty, forward=projector, mask=weights.astype(np.float32))
    solution = solve(problem, "fista", tol=1e-3, max_iter=steps, check_every=steps)
    return np.maximum(low + solution.reconstruction, 0), solution


def best_fbp(data: Any, projector: CT, truth: Any) -> tuple[float, str, float]:
    """PSNR, filter and cutoff."""
    peak = float(truth.max())
    return max((psnr(np.maximum(fbp(data, projector, *f), 0), truth, peak), *f) for f in FILTERS)


def search(truth: Any, bank: ConvDictionary, steps: int) -> tuple[float, float, float]:
    """The best λ, β and cap for one slice."""
    projector = scanner(4)
    data, scores = measured(truth, 4, 100), {}
    raw = fbp(data, projector)
    for options in itertools.product(LAMS, BETAS, CAPS):
        picture, _ = reconstruct(data, projector, raw, bank, options, steps)
        scores[options] = psnr(picture, truth, float(truth.max()))
        print("λ {:.0e} β {:<4} cap {:<3}".format(*options), f"{scores[options]:.2f} dB", flush=True)
    return max(scores, key=lambda k: scores[k])


def mismatch() -> None:
    """The dot test of random pairs and of a picture with its data, and ‖A x − A_line x‖ / ‖A_line x‖."""
    rng, angles = np.random.default_rng(0), (np.arange(1000) + 0.5) * (np.pi / 500)
    picture = np.zeros((1, 1, 362, 362), np.float32)
    picture[..., 100:250, 80:300] = 20.0
    print(f"{'beam':>10}{'projector':>11}{'noise':>10}{'picture':>10}{'from line':>11}")
    for beam, distances in (("parallel", {}), ("fan", {"source_distance": 0.5, "detector_distance": 0.5})):
        line = None
        for kind in ("line", "linear", "strip", "cuda"):
            try:
                operator = CT(
                    (362, 362),
                    angles,
                    513,
                    0.26 / 362,
                    0.26 * 2**0.5 / 513 * (2 if distances else 1),
                    kind,
                    **distances,
                )
            except ValueError as error:
                print(f"{beam:>10}{kind:>11}  {error}")
                continue
            x, y = (
                rng.standard_normal((1, *s)).astype(np.float32) for s in (operator.input_shape, operator.output_shape)
            )
            seen = operator.apply(picture)
            line = seen if line is None else line
            tests = dot_test(operator, x, y), dot_test(operator, picture, seen)
            apart = np.linalg.norm(seen - line) / np.linalg.norm(line)
            print(f"{beam:>10}{kind:>11}{tests[0]:>10.1e}{tests[1]:>10.1e}{apart:>11.1e}")


def applications() -> None:
    """How often ADMM and FISTA apply A and Aᴴ until a gap of 0.01: 48² of `camera`, 60 projections, λ = λ_max / 100."""
    truth = datasets.picture("camera")[None, None, 100:148, 180:228].astype(np.float32) / 48
    projector, calls = CT((48, 48), np.arange(60) * np.pi / 60, 72), [0]
    data = projector.apply(truth)
    data = data + 0.002 * np.random.default_rng(0).standard_normal(data.shape).astype(np.float32)
    low, _ = lowpass.split(fbp(data, projector, "hann"), 5)

    def counted(function: Any) -> Any:
        def call(array: Any) -> Any:
            calls[0] += 1
            return function(array)

        return call

    operator = FunctionOperator(
        counted(projector.apply), counted(projector.adjoint), projector.input_shape, projector.output_shape
    )
    bank = ConvDictionary.load("natural-8x8x32")
    problem = CSCProblem(data - projector.apply(low), bank, 1.0, forward=operator)
    problem = problem.with_penalty(problem.lambda_max / 100)
    for method in ("admm", "fista"):
        calls[0] = 0
        found = solve(problem, method, tol=1e-2, max_iter=5000)
        print(f"{method:>6}: {calls[0]} applications, {found.iterations} iterations, gap {found.gap:.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="slices in Hounsfield units")
    parser.add_argument("--mismatch", action="store_true", help="the adjoints of ASTRA's projectors alone")
    parser.add_argument("--applications", action="store_true", help="of A, until a small problem is solved, alone")
    parser.add_argument("--slices", type=int, default=3)
    parser.add_argument("--options", type=float, nargs=3, metavar=("LAM", "BETA", "CAP"), help="instead of a search")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--dictionary", default="natural-8x8x32")
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    print(describe())
    if arguments.mismatch:
        mismatch()
        return
    if arguments.applications:
        applications()
        return
    if arguments.file is None:
        parser.error("a file is needed, or --mismatch, or --applications")
    stored = np.load(arguments.file)["hu"]
    stored = stored[np.linspace(0, len(stored) - 1, arguments.slices).astype(int)].astype(np.float32)
    truths = np.clip((20 + stored * (20 - 0.02) / 1000) / LODOPAB_MU_MAX, 0, 1).astype(np.float32)[:, None, None]
    bank, projector, rows = ConvDictionary.load(arguments.dictionary), scanner(), []
    options = tuple(arguments.options or search(truths[0], bank, arguments.iterations))
    for seed, truth in enumerate(truths):
        data = measured(truth, 1, seed)
        rival, name, cutoff = best_fbp(data, projector, truth)
        began = time.perf_counter()
        picture, solution = reconstruct(data, projector, fbp(data, projector), bank, options, arguments.iterations)
        ours = psnr(picture, truth, float(truth.max()))
        rows.append((rival, ours, solution.gap, time.perf_counter() - began))
        print(
            f"FBP {rival:.2f} dB ({name} {cutoff}), CSC {ours:.2f} dB (+{ours - rival:.2f}), "
            f"gap {solution.gap:.1e}, {rows[-1][-1]:.0f} s",
            flush=True,
        )
    gain = statistics.median(ours - rival for rival, ours, *_ in rows)
    print("λ {:.0e}, β {}, cap {}:".format(*options), f"median gain {gain:+.2f} dB")
    keep(arguments.json, {"options": options, "slices": rows, "gain": gain})


if __name__ == "__main__":
    main()
