"""Undersampled MRI of real brain slices: zero filling, and CSC with the best scalar λ and β.

python benchmarks/mri.py ../shared/data/mri/brain_test.npz [--mask 2d|lines] [--slices N] [--json FILE]
python benchmarks/mri.py --iteration    one iteration of 256² × 32 complex maps against their FFT pair

Slices are complex, 256²; A is the centred orthonormal transform at the sampled frequencies. `2d` is a random mask of
variable density, 4 times undersampled; `lines` has a full 8 % in the centre and random lines, 4 times undersampled.
x = x_low + D z: x_low smooths the zero-filled picture, (I + β ∇ᴴ∇)⁻¹ Aᴴy, and z solves CSC for y − A x_low, with the
shipped dictionary. λ and β are the best of a grid on the first slices, and are then used for all. PSNR of the
magnitude in dB, peak = the truth's maximum.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from typing import Any

import numpy as np
from common import alternate, describe, keep, stepper

import cscopt
from cscopt import ADMM, FISTA, ConvDictionary, CSCProblem, lowpass, solve
from cscopt.fft import Workspace
from cscopt.operators import MRI, cartesian_mask, random_mask

LAMS = (0.003, 0.01, 0.03)
BETAS = (8.0, 16.0, 32.0)


def psnr(picture: Any, truth: Any) -> float:
    """PSNR of magnitudes."""
    error = np.mean((np.abs(picture) - np.abs(truth)) ** 2)
    return float(10 * np.log10(np.abs(truth).max() ** 2 / error))


def reconstruct(data: Any, scanner: MRI, bank: ConvDictionary, lam: float, beta: float) -> Any:
    """x_low + D z, and the solution for z; λ is relative to the largest magnitude of the zero-filled picture."""
    filled = scanner.adjoint(data)
    low, _ = lowpass.split(filled, beta, 0)
    level = lam * float(np.abs(filled).max())
    solution = solve(CSCProblem(data - scanner.apply(low), bank, level, forward=scanner), tol=1e-2, max_iter=200)
    return low + solution.reconstruction, solution


def iteration() -> None:
    """Milliseconds of one iteration of single-coil MRI, and of an FFT and inverse FFT of all its maps, complex64."""
    bank = ConvDictionary.load("natural-8x8x32")
    scanner = MRI(random_mask((256, 256), 4, rng=0))
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, 1, 256, 256)) + 1j * rng.standard_normal((1, 1, 256, 256))
    problem = CSCProblem(scanner.apply(image.astype(np.complex64)), bank, 0.1, forward=scanner)
    space = Workspace(bank.n_filters, (256, 256), np.complex64, cscopt.get_threads())

    def pair() -> None:
        space.forward()
        space.inverse()
        space.signal[0, 0, 0] = 1

    space.signal[...] = 0
    contenders = {"FFT pair": pair, "FISTA": stepper(problem, FISTA()), "ADMM": stepper(problem, ADMM(adaptive=False))}
    seconds = alternate(contenders, 9)
    for name, value in seconds.items():
        print(f"{name:>10}{1e3 * value:9.2f} ms{value / seconds['FFT pair']:7.2f} × the pair")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--iteration", action="store_true", help="time one iteration instead")
    parser.add_argument("--mask", choices=("2d", "lines"), default="2d")
    parser.add_argument("--slices", type=int, default=14)
    parser.add_argument("--search", type=int, default=2, help="slices that choose λ and β")
    parser.add_argument("--dictionary", default="natural-8x8x32")
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    print(describe())
    if arguments.iteration:
        iteration()
        return
    if arguments.file is None:
        parser.error("a file of slices is needed")
    values = np.load(arguments.file)["slices"][: arguments.slices].astype(np.float32) / 32767
    truths = (values[..., 0] + 1j * values[..., 1])[:, None, None]
    shape = truths.shape[-2:]
    mask = random_mask(shape, 4, rng=0) if arguments.mask == "2d" else cartesian_mask(shape, 4, 0.08, rng=0)
    scanner, bank = MRI(mask), ConvDictionary.load(arguments.dictionary)
    data = [scanner.apply(truth) for truth in truths]
    scores = {}
    for lam, beta in itertools.product(LAMS, BETAS):
        pairs = list(zip(data, truths, strict=True))[: arguments.search]
        scores[lam, beta] = statistics.mean(psnr(reconstruct(d, scanner, bank, lam, beta)[0], t) for d, t in pairs)
        print(f"λ {lam:<6} β {beta:<4}: {scores[lam, beta]:.2f} dB", flush=True)
    lam, beta = max(scores, key=lambda k: scores[k])
    rows = []
    for d, truth in zip(data, truths, strict=True):
        picture, solution = reconstruct(d, scanner, bank, lam, beta)
        rows.append((psnr(scanner.adjoint(d), truth), psnr(picture, truth), solution.gap, solution.seconds))
        print(f"zero-filled {rows[-1][0]:.2f} dB, CSC {rows[-1][1]:.2f} dB, gap {rows[-1][2]:.1e}, {rows[-1][3]:.1f} s")
    zero, ours = (statistics.mean(r[k] for r in rows) for k in (0, 1))
    print(f"{arguments.mask}: zero-filled {zero:.2f} dB, CSC {ours:.2f} dB (+{ours - zero:.2f}), λ {lam}, β {beta}")
    keep(
        arguments.json,
        {"mask": arguments.mask, "lam": lam, "beta": beta, "slices": rows, "scores": list(map(str, scores.items()))},
    )


if __name__ == "__main__":
    main()
