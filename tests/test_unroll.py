"""Unrolled solvers are the classical ones until they learn, and gradients reach what should learn."""

import numpy as np
import pytest

import cscopt
from cscopt import L1, CSCProblem, ElasticNet, GroupL1, TotalVariation, datasets, solve
from cscopt.lowpass import split
from cscopt.operators import Bicubic

torch = pytest.importorskip("torch")

from learned import UnrolledFISTA, UnrolledISTA  # noqa: E402

PAIRS = [(UnrolledISTA, cscopt.ISTA()), (UnrolledFISTA, cscopt.FISTA(restart=False))]
CASES = {
    "plain": {},
    "channels": {"channels": 2},
    "channels apart": {"channels": 2, "filter_channels": 1},
    "mask": {"mask": True},
    "zero": {"boundary": "zero"},
    "none": {"boundary": "none"},
    "operator": {"operator": True},
    "nonnegative": {"nonnegative": True},
    "complex": {"dtype": "complex128"},
    "real codes": {"dtype": "complex128", "nonnegative": True},
    "lam per filter": {"per_filter": True, "channels": 2, "filter_channels": 1},
}


def make_problem(rng, channels=1, filter_channels=None, mask=False, boundary="circular", operator=False,
                 nonnegative=False, dtype="float64", per_filter=False):  # fmt: skip
    filters = rng.standard_normal((4, filter_channels or channels, 3, 2))
    signal = rng.standard_normal((2, channels, 9, 12))
    if dtype.startswith("complex"):
        signal = signal + 1j * rng.standard_normal(signal.shape)
    forward = None
    if operator:
        forward = Bicubic((channels, 18, 24), 0.5)
    lam = rng.uniform(0.2, 0.4, 4) if per_filter else 0.3
    weights = torch.from_numpy(rng.uniform(0.5, 1.5, (9, 12))) if mask else None
    return CSCProblem(
        torch.from_numpy(signal.astype(dtype)),
        torch.from_numpy(filters),
        cscopt.L1(torch.from_numpy(lam) if per_filter else lam, nonnegative),
        forward=forward,
        mask=weights,
        boundary=boundary,
    )


@pytest.mark.parametrize(("unrolled", "solver"), PAIRS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_classical_parameters_give_the_solvers_iterates(rng, unrolled, solver, case):
    problem = make_problem(rng, **case)
    solution = cscopt.solve(problem, solver, tol=0, max_iter=12)
    assert solution.nonzeros > 0
    module = unrolled.from_problem(problem, 12)
    codes = module(problem.signal, mask=problem.mask)
    torch.testing.assert_close(codes, solution.codes, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(module.synthesize(codes), solution.reconstruction, rtol=1e-10, atol=1e-10)
    later = module(problem.signal, x0=solution.codes, mask=problem.mask)
    again = cscopt.solve(problem, solver, tol=0, max_iter=12, x0=solution.codes)
    torch.testing.assert_close(later, again.codes, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("unrolled", "solver"), PAIRS)
def test_in_single_precision_against_numpy(rng, unrolled, solver):
    image = rng.standard_normal((1, 1, 32, 32)).astype("float32")
    problem = CSCProblem(image, cscopt.ConvDictionary.load("natural-8x8x32"), 0.1)
    expected = cscopt.solve(problem, solver, tol=0, max_iter=20).codes
    codes = unrolled.from_problem(problem, 20)(torch.from_numpy(image)).detach().numpy()
    assert codes.dtype == np.float32
    assert np.linalg.norm(codes - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("unrolled", [UnrolledISTA, UnrolledFISTA])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("case", ["plain", "none", "operator", "complex"])
def test_gradcheck_reaches_filters_steps_and_thresholds(rng, unrolled, tied, case):
    problem = make_problem(rng, **CASES[case])
    module = unrolled.from_problem(problem, 3, tied=tied)
    names, parameters = zip(*module.named_parameters(), strict=True)
    assert ("encoder" in names) is not tied

    def run(signal, *values):
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (signal,))

    inputs = [problem.signal[:1].clone().requires_grad_(), *(p.detach().clone().requires_grad_() for p in parameters)]
    assert torch.autograd.gradcheck(run, inputs, atol=1e-5, rtol=1e-3, fast_mode=True)


def test_checkpointing_gives_the_same_gradients_from_less_memory(rng):
    problem = make_problem(rng)
    gradients, kept = [], []
    for checkpointing in (False, True):
        module = UnrolledFISTA.from_problem(problem, 5, checkpointing=checkpointing)
        sizes = []

        def pack(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = module.reconstruct(problem.signal).square().sum()
        loss.backward()
        gradients.append([p.grad for p in module.parameters()])
        kept.append(sum(sizes))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    assert kept[1] < 0.6 * kept[0]


def test_truncation_runs_on_without_gradient(rng):
    """T + K iterations forward; the gradient of the last K from a fixed start."""
    problem = make_problem(rng)
    whole = UnrolledISTA.from_problem(problem, 9, shared=True)
    truncated = UnrolledISTA.from_problem(problem, 3, free_iterations=6, shared=True)
    torch.testing.assert_close(truncated(problem.signal), whole(problem.signal))
    truncated(problem.signal).square().sum().backward()
    start = UnrolledISTA.from_problem(problem, 6, shared=True)(problem.signal).detach()
    last = UnrolledISTA.from_problem(problem, 3, shared=True)
    last(problem.signal, x0=start).square().sum().backward()
    torch.testing.assert_close(truncated.filters.grad, last.filters.grad)
    fista = UnrolledFISTA.from_problem(problem, 3, free_iterations=6)
    torch.testing.assert_close(fista(problem.signal), UnrolledFISTA.from_problem(problem, 9)(problem.signal))


def test_half_precision_keeps_the_fourier_domain_single(rng):
    image = torch.from_numpy(rng.standard_normal((1, 1, 16, 16)).astype("float32"))
    module = UnrolledISTA.from_problem(CSCProblem(image, cscopt.ConvDictionary.load("natural-8x8x32"), 0.1), 3)
    expected = module(image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module(image), expected, rtol=0, atol=0)
    shrink = Bicubic((1, 16, 16), 0.5)
    low = shrink.apply(image)
    through = UnrolledISTA.from_problem(
        CSCProblem(low, cscopt.ConvDictionary.load("natural-8x8x32"), 0.1, forward=shrink), 3
    )
    expected = through(low)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(through(low), expected, rtol=0, atol=0)
    rounded = image.bfloat16()
    assert module(rounded).dtype == torch.float32
    torch.testing.assert_close(module(rounded), module(rounded.float()), rtol=0, atol=0)


def test_learned_filters_return_as_a_dictionary(rng):
    bank = cscopt.ConvDictionary.load("natural-8x8x32")
    signal = torch.from_numpy(rng.standard_normal((1, 1, 16, 16)).astype("float32"))
    module = UnrolledISTA.from_problem(CSCProblem(signal, bank, 0.05), 3)
    same = module.to_dictionary()
    np.testing.assert_array_equal(same.filters, bank.filters)
    assert same.provenance["started from"] == "natural-8x8x32"
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    module.reconstruct(signal).square().mean().backward()
    optimizer.step()
    assert not np.array_equal(module.to_dictionary().filters, bank.filters)
    assert (module.step_sizes > 0).all()
    assert (module.thresholds > 0).all()


def test_training_comes_closer_to_the_optimum():
    """Ten iterations that learn lower the objective further than ten classical ones, on pictures not seen."""
    image = torch.from_numpy(datasets.picture("camera")[None, None])
    _, high = split(image)
    patches = [high[..., r : r + 32, c : c + 32] for r in range(96, 416, 64) for c in range(96, 416, 64)]
    train, held_out = torch.cat(patches[:20]), torch.cat(patches[20:])
    bank = cscopt.ConvDictionary.load("natural-8x8x32")
    module = UnrolledISTA.from_problem(CSCProblem(train, bank, 0.05), 10)
    module.filters.requires_grad_(False)
    problem = CSCProblem(held_out, bank, 0.05)
    optimum = cscopt.solve(problem, "admm", tol=1e-4).objective

    def loss(signal):
        codes = module(signal)
        residual = module.synthesize(codes) - signal
        return residual.square().sum() / 2 + 0.05 * codes.abs().sum()

    before = loss(held_out).item() - optimum
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    for _ in range(30):
        optimizer.zero_grad()
        loss(train).backward()
        optimizer.step()
    after = loss(held_out).item() - optimum
    assert 0 < after < 0.7 * before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"step_size": -1.0}, "step_size must be positive"),
        ({"lam": 0.0}, "lam must be a positive number"),
        ({"lam": np.ones(3)}, r"lam must be a positive number or \(32,\)"),
        ({"free_iterations": -1}, "free_iterations must be at least 0"),
    ],
)
def test_bad_options(options, message):
    bank = cscopt.ConvDictionary.load("natural-8x8x32")
    with pytest.raises(ValueError, match=message):
        UnrolledISTA(bank, **{"iterations": 3, "step_size": 0.1, "lam": 0.1, **options})


def test_arrays_that_are_no_tensors_are_refused(rng):
    module = UnrolledISTA(rng.standard_normal((3, 1, 4, 4)), 2, step_size=0.1, lam=0.1)
    with pytest.raises(TypeError, match=r"signal must be a torch tensor, as torch\.as_tensor makes one; got ndarray"):
        module(rng.standard_normal((1, 1, 9, 12)))


def test_bad_signals(rng):
    shrink = Bicubic((1, 18, 24), 0.5)
    plain = UnrolledISTA(rng.standard_normal((4, 1, 3, 3)), 2, 0.01, 0.1)
    through = UnrolledISTA(rng.standard_normal((4, 1, 3, 3)), 2, 0.01, 0.1, operator=shrink)
    signal = torch.ones(2, 1, 9, 12, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"signal must be \(batch, \*\(1, 9, 12\)\), as the operator gives"):
        through(signal[..., :1])
    with pytest.raises(ValueError, match=r"signal must be \(batch, channel, \*space\)"):
        plain(signal[0])
    with pytest.raises(TypeError, match="signal must be float32"):
        plain(signal.to(torch.uint8))
    broken = signal.clone()
    broken[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="signal must be finite; it contains NaN"):
        plain(broken)
    codes = torch.zeros(2, 4, 9, 12, dtype=torch.float64)
    for wrong in (codes[:1], codes.reshape(1, 8, 9, 12), codes.to(torch.complex128)):
        with pytest.raises(ValueError, match=r"x0 must be real codes \(2, 4, 9, 12\)"):
            plain(signal, x0=wrong)
    single = plain(signal.float(), mask=torch.ones(9, 12, dtype=torch.bool))
    assert single.dtype == torch.float32


def test_masks_of_their_own_need_modules_of_their_own(rng):
    signal = torch.from_numpy(rng.standard_normal((2, 1, 9, 12)))
    mask = torch.ones(2, 1, 9, 12, dtype=torch.float64)
    mask[0] *= 0.3
    problem = CSCProblem(signal, torch.from_numpy(rng.standard_normal((4, 1, 3, 3))), 0.1, mask=mask)
    with pytest.raises(ValueError, match="different masks"):
        UnrolledISTA.from_problem(problem, 3)


def test_steps_are_safe_where_the_norm_is_unknown(rng):
    matrix = torch.from_numpy(rng.standard_normal((40, 64)))
    forward = cscopt.FunctionOperator(
        lambda x: (x.reshape(-1, 64) @ matrix.T).reshape(-1, 1, 40),
        lambda y: (y.reshape(-1, 40) @ matrix).reshape(-1, 1, 8, 8),
        (1, 8, 8),
        (1, 40),
    )
    data = torch.from_numpy(rng.standard_normal((1, 1, 40)))
    problem = CSCProblem(data, torch.from_numpy(rng.standard_normal((3, 1, 3, 3))), 0.5, forward=forward)
    module = UnrolledISTA.from_problem(problem, 60)
    objectives = [problem.objective(module(data))[0].item()]
    module.free_iterations = 200
    objectives.append(problem.objective(module(data))[0].item())
    assert objectives[1] < objectives[0] < problem.objective(torch.zeros(1, 3, 8, 8, dtype=torch.float64))[0].item()


def test_inference_first_and_training_after(rng):
    """What inference mode leaves in caches does not reach the backward pass."""
    problem = make_problem(rng, operator=True)
    module = UnrolledISTA(problem.dictionary, 2, 0.01, 0.1, operator=Bicubic((1, 18, 24), 0.5))
    with torch.inference_mode():
        module(problem.signal)
    module(problem.signal).sum().backward()
    assert torch.isfinite(module.filters.grad).all()


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": GroupL1(0.1, 0.1)},
        {"penalty": ElasticNet(0.1, 0.1)},
        {"penalty": L1(0.1) + TotalVariation(0.1)},
        {"penalty": 0.1, "fit": "l1"},
    ],
)
def test_only_what_is_unrolled_is_taken(rng, options):
    problem = CSCProblem(rng.standard_normal((1, 1, 9, 9)), rng.standard_normal((3, 1, 3, 3)), **options)
    with pytest.raises(TypeError, match="problem must be of L1 and least squares"):
        UnrolledISTA.from_problem(problem, 3)


def test_a_mask_comes_with_its_problem(rng):
    mask = torch.from_numpy(rng.random((1, 1, 9, 10)))
    signal = torch.from_numpy(rng.standard_normal((1, 1, 9, 10)))
    problem = CSCProblem(signal, torch.from_numpy(rng.standard_normal((3, 1, 3, 3))), 0.1, mask=mask)
    module = UnrolledISTA.from_problem(problem, 6)
    expected = solve(problem, "ista", tol=0, max_iter=6).codes
    torch.testing.assert_close(module(signal), expected, rtol=1e-10, atol=1e-12)
    assert "mask" not in module.state_dict()
    assert float((module(signal, mask=torch.ones_like(mask)) - expected).detach().abs().max()) > 1e-3
