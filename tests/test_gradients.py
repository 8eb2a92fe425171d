"""Torch differentiates through solver steps."""

import numpy as np
import pytest

import cscopt

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("solver", [cscopt.ISTA(), cscopt.FISTA(), cscopt.ADMM(adaptive=False, rho=1.0)])
@pytest.mark.parametrize("channels", [1, 2])
def test_gradcheck_through_five_steps(rng, solver, channels):
    """With respect to the signal, the filters and λ, in float64."""

    def run(signal, filters, lam):
        problem = cscopt.CSCProblem(signal, filters, cscopt.L1(lam))
        state = solver.init(problem)
        for _ in range(5):
            state = solver.step(problem, state)
        return problem.synthesis.crop(solver.rows(problem, state))

    signal = torch.from_numpy(rng.standard_normal((1, channels, 6, 5))).requires_grad_()
    filters = torch.from_numpy(rng.standard_normal((3, channels, 3, 2))).requires_grad_()
    lam = torch.from_numpy(np.full(3, 0.07)).requires_grad_()
    assert torch.autograd.gradcheck(run, (signal, filters, lam), atol=1e-5, rtol=1e-3, fast_mode=True)


def test_gradcheck_with_a_mask_and_a_boundary(rng):
    mask = torch.from_numpy(rng.uniform(0.5, 1, (1, 1, 6, 5)))

    def run(signal):
        problem = cscopt.CSCProblem(signal, filters, 0.07, mask=mask, boundary="none")
        solver = cscopt.FISTA()
        state = solver.init(problem)
        for _ in range(5):
            state = solver.step(problem, state)
        return problem.synthesis.crop(state.x)

    filters = torch.from_numpy(rng.standard_normal((3, 1, 3, 2)))
    signal = torch.from_numpy(rng.standard_normal((1, 1, 6, 5))).requires_grad_()
    assert torch.autograd.gradcheck(run, (signal,), atol=1e-5, rtol=1e-3, fast_mode=True)
