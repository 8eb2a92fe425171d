"""What the tasks bring on real pictures, with their defaults: inpainting, denoising, deblurring.

python benchmarks/restoration.py ../shared/data [--only inpaint denoise deblur] [--json FILE]

inpaint: the 12 clean pictures of Rain12, grey, 50 % of the pixels missing at random, against linear interpolation.
denoise: the four sharp pictures of Levin et al. 2009, σ = 0.05 and 0.1, known. deblur: the same four, blurred
by kernel 1 as by a camera (what is outside moves in), noise of σ = 0.003, estimated. PSNR in dB against a peak of 1.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import describe, keep

from cscopt import deblur, denoise, inpaint, io
from cscopt.operators import Blur, missing_pixels
from cscopt.tasks import Restoration

Case = tuple[str, Callable[[], Restoration]]


def pictures(folder: Path, pattern: str) -> Iterator[tuple[str, Any]]:
    """Grey pictures of a folder."""
    for path in sorted(folder.glob(pattern)):
        image = io.load_image(path)
        yield path.stem, np.float32(image.mean(axis=-1) if image.ndim == 3 else image)


def cases(folder: Path, task: str) -> Iterator[Case]:
    """A name and a call for each picture of a task."""
    rng = np.random.default_rng(0)
    if task == "inpaint":
        for name, truth in pictures(folder / "rain" / "Rain12", "clean_*.png"):
            known = missing_pixels(truth.shape, 0.5, 0)
            yield name, lambda t=truth, k=known: inpaint(np.where(k, t, np.float32(0)), k, truth=t)
        return
    kernel = np.load(folder / "deblur" / "levin09_kernels.npz")["kernel_1"]
    for name, truth in pictures(folder / "deblur", "levin_sharp_*.png"):
        noise = rng.standard_normal(truth.shape, dtype=np.float32)
        if task == "denoise":
            for sigma in (0.05, 0.1):
                data = truth + np.float32(sigma) * noise
                yield f"{name}, σ {sigma}", lambda d=data, t=truth, s=sigma: denoise(d, noise=s, truth=t)
        else:
            camera = Blur((1, *truth.shape), kernel, "none")
            data = camera.apply(truth[None, None])[0, 0] + np.float32(0.003) * noise[camera.seen]
            yield name, lambda d=data, t=truth[camera.seen]: deblur(np.float32(d), kernel, truth=t)


def main() -> None:
    tasks = ("inpaint", "denoise", "deblur")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", choices=tasks, default=tasks)
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    print(describe())
    results = []
    for task in arguments.only:
        gains = []
        for name, call in cases(arguments.folder, task):
            began = time.perf_counter()
            found = call()
            seconds = time.perf_counter() - began
            gains.append(found.metrics["psnr"] - found.metrics["psnr_first"])
            print(
                f"{task:>8} {name:24} {found.metrics['psnr_first']:6.2f} -> {found.metrics['psnr']:6.2f} dB "
                f"(+{gains[-1]:.2f}), SSIM {found.metrics['ssim']:.4f}, λ {found.lam:.4f}, gap "
                f"{found.solution.gap:.1e}, {found.solution.solver.name}, {seconds:.1f} s",
                flush=True,
            )
            results.append({"task": task, "case": name, "lam": found.lam, "seconds": seconds, **found.metrics})
        print(f"{task}: +{statistics.mean(gains):.2f} dB in the mean, +{min(gains):.2f} at least")
    keep(arguments.json, results)


if __name__ == "__main__":
    main()
