"""Training throughput of CRNet-A: as `learned fit` trains it, against the same network written plainly in float32.

python benchmarks/learned.py [--json FILE] [--device cuda] [--small]

One step is forward, backward and an AdamW update on a batch that is there already. "plain" is eager torch in
float32 and torch's default layout; "ours" is bfloat16, channels last, torch.compile, without what Lightning adds
(clipping, averaging, logs). Then: patches a second that
the data loader makes, with as many workers as the configuration asks for, against what the network uses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import describe, keep
from torch import nn

from learned import CRNetA
from learned.data.sr import Batches, SRPatches


class Plain(nn.Module):
    """CRNet-A as one would write it down first."""

    def __init__(self, features: int, maps: int, recursions: int) -> None:
        super().__init__()
        self.f0 = nn.Conv2d(1, features, 3, padding=1, bias=False)
        self.f1 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.w = nn.Conv2d(features, maps, 3, padding=1, bias=False)
        self.s = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.w2 = nn.Conv2d(maps, features, 3, padding=1, bias=False)
        self.h = nn.Conv2d(features, 1, 3, padding=1, bias=False)
        self.recursions = recursions

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.f1(torch.relu(self.f0(x))))
        drive = self.w(y)
        z = torch.relu(drive)
        for _ in range(self.recursions):
            z = torch.relu(drive + self.s(z))
        return x + self.h(self.w2(z))


def stepper(network: nn.Module, device: str, batch: torch.Tensor, half: bool) -> Callable[[], None]:
    """One training step a call."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    target = torch.rand_like(batch)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = (network(batch) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def measure(step: Callable[[], None], device: str, rounds: int) -> tuple[float, float | None]:
    """Median seconds of a step, and the peak of GPU memory in MiB (None on the CPU)."""
    for _ in range(3):
        step()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    return statistics.median(seconds), peak


def loader_rate(size: int, patch: int, workers: int, batches: int) -> float:
    """Patches a second from the data loader, of the bundled pictures."""
    patches = SRPatches(["bundled"], patch=patch, batch_size=size)
    iterator = iter(Batches(patches, 0, batches + 16, workers))
    for _ in range(16):
        next(iterator)
    began = time.perf_counter()
    count = sum(len(given) for given, _, _ in iterator)
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="crnet-a-small.yaml's network and batch")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    device = arguments.device
    shape, size, workers = ((64, 128, 15), 12, 0) if arguments.small else ((128, 256, 25), 64, 8)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"torch {torch.__version__} on {name}; {describe()}")
    batch = torch.rand(size, 1, 48, 48, device=device)
    results: dict[str, Any] = {"device": name, "torch": torch.__version__, "network": shape, "batch": size}
    for label in ("plain", "ours"):  # one after the other, so that each has the memory to itself
        if label == "plain":
            network: nn.Module = Plain(*shape).to(device)
            given = batch
        else:
            network = CRNetA(*shape).to(device, memory_format=torch.channels_last)
            given = batch.contiguous(memory_format=torch.channels_last)
            network.compile()
        seconds, peak = measure(stepper(network, device, given, label == "ours"), device, arguments.rounds)
        results[label] = {"seconds": seconds, "peak MiB": peak, "patches a second": size / seconds}
        memory = "" if peak is None else f", peak {peak:.0f} MiB"
        print(f"{label:>6}: {1e3 * seconds:9.1f} ms a step, {size / seconds:8.1f} patches/s{memory}")
        del network, given
        if device == "cuda":
            torch.cuda.empty_cache()
    rate = loader_rate(size, 48, workers, 400 if device == "cuda" else 60)
    used = results["ours"]["patches a second"]
    results["loader patches a second"] = rate
    print(f"ratio: {results['plain']['seconds'] / results['ours']['seconds']:.2f} × faster")
    print(f"loader: {rate:.0f} patches/s with {workers} workers, {rate / used:.1f} × what the network uses")
    keep(arguments.json, results)


if __name__ == "__main__":
    main()
