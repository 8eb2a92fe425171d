"""Networks and unrolled solvers on a GPU against the CPU, and training in bfloat16 (`make gpu-test`)."""

from __future__ import annotations

import numpy as np
import pytest

import cscopt

torch = pytest.importorskip("torch")

from learned import CRNetA, CRNetB, UnrolledFISTA, enlarge  # noqa: E402
from learned.data.sr import SRPatches  # noqa: E402
from learned.task import calm  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_unrolled_fista_on_the_card(rng):
    image = rng.standard_normal((2, 1, 48, 48)).astype(np.float32)
    problem = cscopt.CSCProblem(image, cscopt.ConvDictionary.load("natural-8x8x32"), 0.1)
    expected = cscopt.solve(problem, cscopt.FISTA(restart=False), tol=0, max_iter=20).codes
    module = UnrolledFISTA.from_problem(problem, 20).cuda()
    codes = module(torch.from_numpy(image).cuda())
    codes.square().sum().backward()
    assert torch.isfinite(module.filters.grad).all()
    found = codes.detach().cpu().numpy()
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)
    with torch.autocast("cuda", torch.bfloat16):
        torch.testing.assert_close(module(torch.from_numpy(image).cuda()), codes)


@pytest.mark.parametrize("kind", [CRNetA, CRNetB])
def test_enlarging_on_the_card(rng, kind):
    torch.manual_seed(0)
    network = kind(16, 32, 5)
    low = rng.integers(0, 256, (40, 52, 3)).astype(np.uint8)
    expected = enlarge(network, low, 3).astype(int)
    assert np.abs(enlarge(network.cuda(), low, 3) - expected).max() <= 1


def test_training_in_half_precision_compiled():
    torch.manual_seed(0)
    network = CRNetA(32, 64, 10).cuda().to(memory_format=torch.channels_last)
    calm(network)
    network.compile()
    patches = SRPatches(["bundled"], patch=33, batch_size=48)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    gains = []
    for n in range(80):
        given, target, _ = (t.cuda() for t in patches[n])
        given = given.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", torch.bfloat16):
            loss = (network(given) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        gains.append((given - target).square().mean().item() / loss.item())
    assert np.mean(gains[-20:]) > 1.05
