"""A blur that the filters absorb: the same problem, so that the working set serves it."""

import gc
import weakref

import numpy as np
import pytest

from cscopt import L1, ConvDictionary, CSCProblem, certify, datasets, deblur, l1_ball, path, solve
from cscopt.absorbed import absorbed, absorbed_support
from cscopt.operators import Blur, gaussian_kernel
from cscopt.solvers.auto import choose, relief

SHAPES = {"line": (1, 40), "image": (1, 17, 20), "volume": (1, 8, 9, 11), "colours": (3, 17, 20)}
CASES = {
    "float32": {"dtype": "float32", "tol": 1e-3},
    "weights": {"weights": True, "batch": 2},
    "complex": {"dtype": "complex128"},
    "non-negative": {"lam": L1(0.3, nonnegative=True)},
    "per filter": {"lam": np.linspace(0.3, 1.5, 4)},
    "by place": {"lam": np.linspace(0.3, 1.5, 4 * 17 * 20).reshape(4, 17, 20)},
    "colours": {"shape": "colours"},
    "colours together": {"shape": "colours", "together": True},
    "line": {"shape": "line"},
    "volume": {"shape": "volume"},
}


def blurred(rng, shape, kind="none", dtype="float64", lam=0.5, batch=1, weights=False, together=False, **options):
    """A problem of noise that came through a blur of even and odd extents."""
    space = shape[1:]
    kernel = 0.2 * rng.standard_normal([3, 4, 3][: len(space)])
    kernel[(1,) * len(space)] += 1
    forward = Blur(shape, kernel, kind)
    size = (batch, *forward.output_shape)
    signal = rng.standard_normal(size)
    if dtype.startswith("complex"):
        signal = signal + 1j * rng.standard_normal(size)
    filters = rng.standard_normal((4, shape[0] if together else 1, *[3, 2, 3][: len(space)]))
    if weights:
        options["mask"] = rng.random((1, 1, *size[2:-1], 1))
    return CSCProblem(signal.astype(dtype), filters, lam, forward, **options)


@pytest.mark.parametrize("kind", ["circular", "none"])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_same_problem(rng, shape, weights, kind):
    problem = blurred(rng, SHAPES[shape], kind, weights=weights, batch=2, dtype="complex128")
    twin = absorbed(problem)
    assert twin is absorbed(problem)
    assert twin.forward is None
    codes = rng.standard_normal(problem.codes_shape) + 1j * rng.standard_normal(problem.codes_shape)
    np.testing.assert_allclose(twin.objective(codes), problem.objective(codes), rtol=1e-12)
    np.testing.assert_allclose(twin.gradient(codes), problem.gradient(codes), atol=1e-12)
    np.testing.assert_allclose(twin.zero_violation, problem.zero_violation, rtol=1e-12)


@pytest.mark.parametrize("kind", ["circular", "none"])
@pytest.mark.parametrize("case", CASES)
def test_the_optimum_is_admms(rng, case, kind):
    options = dict(CASES[case])
    shape, tol = SHAPES[options.pop("shape", "image")], options.pop("tol", 1e-6)
    problem = blurred(rng, shape, kind, **options)
    found, other = solve(problem, "working-set", tol=tol), solve(problem, "admm", tol=10 * tol, max_iter=600)
    assert found.status == "converged"
    assert (1 - other.gap) * other.objective <= found.objective * (1 + 1e-6)
    assert found.objective * (1 - found.gap) <= other.objective * (1 + 1e-6)
    assert other.gap < 1e-2
    assert found.objective == pytest.approx(float(np.sum(problem.objective(found.codes))), rel=1e-5)
    assert float(np.max(certify(problem, found.codes).gap)) < 5 * tol


def test_items_paths_and_states(rng):
    problem = blurred(rng, SHAPES["image"], batch=3, lam=0.8)
    easy = CSCProblem(
        problem.signal * np.array([1, 0.1, 0]).reshape(3, 1, 1, 1), problem.dictionary, 0.8, problem.forward
    )
    found = solve(easy, "working-set", tol=1e-8)
    assert found.status == "converged"
    assert found.objective == pytest.approx(solve(easy, "admm", tol=1e-7, max_iter=5000).objective, rel=1e-6)
    some = solve(problem, "working-set", tol=0, max_iter=3)
    on = solve(problem, "working-set", tol=0, max_iter=2, state=some.state)
    np.testing.assert_array_equal(on.codes, solve(problem, "working-set", tol=0, max_iter=5).codes)
    again = solve(problem, "working-set", tol=1e-6, x0=solve(problem, "working-set", tol=1e-8).codes)
    assert again.iterations <= 1
    steps = path(problem, [2.0, 1.0, 0.5], tol=1e-5)
    assert [step.solver.name for step in steps] == ["working-set"] * 3
    one = blurred(rng, SHAPES["image"], lam=1.0)
    ball = l1_ball(one, 30.0, tol=1e-4)
    assert np.abs(ball.codes).sum() == pytest.approx(30, rel=1e-3)


def test_who_may_absorb(rng):
    good = blurred(rng, SHAPES["image"])
    assert absorbed_support(good) == (5, 5)
    assert absorbed_support(blurred(rng, SHAPES["image"], "zero")) is None
    for boundary in ("zero", "symmetric", "none"):
        assert absorbed_support(blurred(rng, SHAPES["image"], boundary=boundary)) is None
    assert absorbed_support(blurred(rng, SHAPES["image"], dtype="complex128", real_codes=True)) is None
    large = CSCProblem(good.signal, np.ones((1, 1, 15, 2)), 1.0, good.forward)  # 17 of 17 pixels
    assert absorbed_support(large) == (17, 5)
    assert absorbed_support(CSCProblem(good.signal, np.ones((1, 1, 16, 2)), 1.0, good.forward)) is None
    with pytest.raises(ValueError, match="no convolution that filters can absorb"):
        absorbed(blurred(rng, SHAPES["image"], "zero"))
    torch = pytest.importorskip("torch")
    filters = torch.from_numpy(good.dictionary.filters)
    assert absorbed_support(CSCProblem(torch.from_numpy(good.signal), filters, 1.0, good.forward)) is None


def test_auto_knows_where_it_pays(rng):
    """Where codes are few; a circular blur, whose step ADMM has exactly, pays less, and may be left to it."""
    for kind in ("none", "circular"):
        problem = blurred(rng, SHAPES["image"], kind, lam=0.5)
        solver, reason = choose(problem)
        assert solver.name == "working-set"
        assert reason.startswith("the filters absorb the blur, and few coefficients will not be zero: λ is λ_max / ")
        assert relief(problem, solver)[0].name == "admm"
        assert choose(problem.with_penalty(1e-5))[0].name == "admm"
    between = problem.with_penalty(problem.lambda_max / 3000)
    assert choose(between)[0].name == "admm"
    unseen = blurred(rng, SHAPES["image"], "none")
    assert choose(unseen.with_penalty(unseen.lambda_max / 3000))[0].name == "working-set"


def test_deblurring_takes_it(rng):
    sharp = rng.random((40, 44)).astype(np.float32)
    kernel = np.ones((3, 4)) / 12
    data = Blur((1, 40, 44), kernel, "none").apply(sharp[None, None])[0, 0]
    found, other = (deblur(data, kernel, noise=0.01, method=m, tol=1e-4) for m in ("auto", "admm"))
    assert found.solution.solver.name == "working-set"
    np.testing.assert_allclose(found.image, other.image, atol=5e-3)


def test_twins_of_other_penalties_items_and_weights(rng):
    """Weights of each item, λ of each filter for every channel, items taken from a batch; and twins die with theirs."""
    weights = rng.random((3, 1, 17, 20))
    signal, kernel = rng.standard_normal((3, 3, 17, 20)), rng.random((3, 2))
    filters, forward = rng.standard_normal((4, 1, 3, 3)), Blur((3, 17, 20), kernel, "circular")
    problem = CSCProblem(signal, filters, np.linspace(0.5, 2, 4), forward, mask=weights)
    codes = rng.standard_normal(problem.codes_shape)
    for one, some in ((problem, codes), (problem.take(np.array([2, 0])), codes[[2, 0]])):
        np.testing.assert_allclose(absorbed(one).objective(some), one.objective(some), rtol=1e-12)
    other = problem.with_penalty(L1(0.25))
    assert absorbed(other).synthesis is absorbed(problem).synthesis
    np.testing.assert_allclose(absorbed(other).objective(codes), other.objective(codes), rtol=1e-12)
    np.testing.assert_allclose(absorbed(problem).objective(codes), problem.objective(codes), rtol=1e-12)
    twin = weakref.ref(absorbed(problem))
    del problem, other, one
    gc.collect()
    assert twin() is None


def test_a_blur_owns_its_kernel(rng):
    kernel, signal = np.ones((2, 3)) / 6, rng.standard_normal((1, 1, 12, 12))
    problem = CSCProblem(signal, rng.standard_normal((2, 1, 3, 3)), 0.1, Blur((1, 12, 12), kernel))
    kernel[:] = 5
    codes = rng.standard_normal(problem.codes_shape)
    np.testing.assert_allclose(absorbed(problem).objective(codes), problem.objective(codes), rtol=1e-12)


def test_kernels_out_of_range_are_left_to_others(rng):
    for scale in (1e-9, 1e9):
        forward = Blur((1, 12, 12), scale * np.ones((2, 2)))
        problem = CSCProblem(scale * rng.standard_normal((1, 1, 12, 12)), np.ones((1, 1, 2, 2)), 1e-3, forward)
        assert absorbed_support(problem) is None
        assert choose(problem)[0].name == "admm"


def test_auto_hands_over_where_atoms_overlap_much(rng):
    """Smooth filters on a whole picture: a working set whose gap falls slowly leaves a blur to ADMM, too."""
    picture = datasets.picture("camera")[None, None, 60:124, 60:124].astype(np.float64)
    forward = Blur((1, 64, 64), gaussian_kernel(1.5), "none")
    whole = CSCProblem(forward.apply(picture), ConvDictionary.load("natural-8x8x32"), 1.0, forward)
    problem = whole.with_penalty(whole.lambda_max / 2000)
    assert choose(problem)[0].name == "working-set"
    found = solve(problem, tol=1e-3, max_iter=300)
    assert found.solver.name == "admm"
    assert found.reason.startswith("the working set's gap fell too slowly")
