"""ADMM through operators that are no convolutions: its optimum, its bound, its beginnings, and that it is fast."""

import numpy as np
import pytest
from conftest import Space

from cscopt import L1, ConvDictionary, CSCProblem, ElasticNet, FunctionOperator, GradientL1, GroupL1, certify, solve
from cscopt.backend import to_numpy
from cscopt.operators import MRI, Bicubic, Blur, ChannelMix, Decimate, Mask, random_mask
from cscopt.solvers.normal import response
from cscopt.solvers.split import multiplier_value

NUMPY, COMPLEX = Space("numpy", "float64"), Space("numpy", "complex128")


def dense(rng, shape, count):
    """A random matrix: as far from a convolution as an operator can be."""
    matrix = rng.standard_normal((count, int(np.prod(shape)))) / np.sqrt(count)
    return FunctionOperator(
        lambda x: (x.reshape(len(x), -1) @ matrix.T)[:, None],
        lambda y: (y[:, 0] @ matrix).reshape(len(y), *shape),
        shape,
        (1, count),
    )


def operators(rng):
    coils = rng.standard_normal((3, 12, 11)) + 1j * rng.standard_normal((3, 12, 11))
    kernel = rng.random((4, 3))
    return {
        "coils": MRI(random_mask((12, 11), 2, rng=0), coils),
        "blur": Blur((1, 12, 11), kernel, "none"),
        "half": Mask((1, 12, 11), rng.random((12, 11)) > 0.5) @ Blur((1, 12, 11), kernel),
        "mix": ChannelMix((3, 12, 11), rng.standard_normal((2, 3))),
        "decimate": Decimate((1, 12, 11), 3),
        "bicubic": Bicubic((1, 12, 11), 0.5),
        "1-D": Blur((1, 30), [0.5, 1.0, 0.3], "none"),
        "dense": dense(rng, (1, 9, 8), 40),
    }


NAMES = list(operators(np.random.default_rng(0)))


def problem_of(space, rng, name, penalty=None, **options):
    operator = operators(rng)[name]
    if name == "coils" and not space.complex:
        pytest.skip("MRI's data are complex")
    if name == "dense" and (space.library != "numpy" or space.complex):
        pytest.skip("the matrix is real, and NumPy's")
    spatial = len(operator.input_shape) - 1
    bank = ConvDictionary(space.filters(rng, 4, 1, *(3,) * spatial))
    signal = space.random(rng, 2, *operator.output_shape)
    problem = CSCProblem(signal, bank, 1.0, forward=operator, **options)
    level = 0.4 * problem.lambda_max
    return problem.with_penalty(L1(level) if penalty is None else penalty(level))


@pytest.mark.parametrize("name", NAMES)
def test_optimum_and_bound_are_those_of_fista(space, rng, name):
    problem = problem_of(space, rng, name)
    tol = 1e-3 if space.real == "float32" or space.library == "strict" else 1e-6
    found = solve(problem, "admm", tol=tol, max_iter=20000)
    assert found.status == "converged", found
    other = solve(problem, "fista", tol=max(tol, 1e-6), max_iter=20000)
    assert other.status == "converged", other
    room = 1e-5 if space.real == "float32" else 1e-12
    bounds = found.objectives * (1 - found.gaps)
    assert np.all(bounds <= other.objectives * (1 + room)), "a bound must not lie above what another solver reached"
    assert found.objective == pytest.approx(other.objective, rel=2 * max(tol, 1e-6))


@pytest.mark.parametrize("penalty", [lambda t: GroupL1(t, t), lambda t: ElasticNet(t, t), lambda t: GradientL1(t, t)])
@pytest.mark.parametrize("boundary", ["circular", "zero", "symmetric", "none"])
def test_penalties_and_boundaries(rng, penalty, boundary):
    if boundary != "circular" and isinstance(penalty(1.0), GradientL1):
        pytest.skip("GradientL1 is for circular boundaries")
    operator = Blur((2, 12, 11), rng.random((4, 3)), "none")
    signal, bank = rng.standard_normal((2, *operator.output_shape)), rng.standard_normal((4, 1, 3, 3))
    problem = CSCProblem(signal, bank, penalty(0.3), forward=operator, mask=rng.random((9, 9)), boundary=boundary)
    found, other = (solve(problem, method, tol=1e-5, max_iter=30000) for method in ("admm", "fista"))
    assert (found.status, other.status) == ("converged", "converged")
    assert found.objective == pytest.approx(other.objective, rel=2e-5)


def test_a_complex_problem_of_real_codes(rng):
    operator = operators(rng)["coils"]
    signal = operator.apply(rng.standard_normal((1, 1, 12, 11)) + 0j)
    problem = CSCProblem(signal, rng.standard_normal((4, 1, 3, 3)), 0.5, forward=operator, real_codes=True)
    found, other = (solve(problem, method, tol=1e-6, max_iter=20000) for method in ("admm", "fista"))
    assert not np.iscomplexobj(found.codes)
    assert found.objective == pytest.approx(other.objective, rel=2e-6)


@pytest.mark.parametrize("name", ["half", "coils", "dense"])
def test_it_begins_at_the_codes_it_is_given(rng, name):
    problem = problem_of(NUMPY, rng, name) if name != "coils" else problem_of(COMPLEX, rng, name)
    cold = solve(problem, "admm", tol=1e-6, max_iter=20000)
    warm = solve(problem, "admm", tol=1e-5, x0=cold.codes)
    assert warm.status == "converged"
    assert warm.iterations <= 0.3 * cold.iterations
    on = solve(problem, "admm", tol=1e-7, state=cold.state, max_iter=20000)
    assert on.gap <= 1e-7


def test_a_w_is_kept_as_exactly_as_w(rng):
    """Step by step it would keep the rounding of where it began, which was large."""
    operator = dense(rng, (1, 9, 8), 40)
    bank, y = rng.standard_normal((3, 1, 3, 3)).astype(np.float32), rng.standard_normal((1, 1, 40)).astype(np.float32)
    exact = FunctionOperator(
        lambda x: operator.apply(x).astype(x.dtype),
        lambda y: operator.adjoint(y).astype(y.dtype),
        operator.input_shape,
        operator.output_shape,
    )
    problem = CSCProblem(y, bank, 1.0, forward=exact)
    problem = problem.with_penalty(0.1 * problem.lambda_max)
    far = (1000 * rng.standard_normal(problem.codes_shape)).astype(np.float32)
    fitted = solve(problem, "admm", tol=0, max_iter=2000, x0=far).state.data.fitted
    assert fitted.image.dtype == np.float32
    data = problem.datafit.observed(fitted.image)
    np.testing.assert_allclose(fitted.data, data, atol=1e-6 * np.abs(data).max())
    np.testing.assert_allclose(fitted.normal, problem.datafit.explained(data), atol=1e-5 * np.abs(fitted.normal).max())


def test_items_do_not_see_each_other(rng):
    """Each item of a batch has steps of its own, also when others have left."""
    problem = problem_of(NUMPY, rng, "half")
    both = solve(problem, "admm", tol=1e-6, max_iter=20000)
    for item in range(2):
        alone = solve(problem.take(np.array([item])), "admm", tol=1e-6, max_iter=20000)
        assert both.objectives[item] == pytest.approx(float(alone.objective), rel=2e-6)


def test_what_a_convolution_is_at_each_frequency_is_found_exactly(rng):
    kernel = rng.standard_normal((3, 4))
    problem = CSCProblem(
        rng.standard_normal((1, 1, 10, 9)),
        rng.standard_normal((2, 1, 3, 3)),
        0.1,
        forward=Blur((1, 10, 9), kernel),
        mask=np.full((10, 9), 0.5),
    )
    assert not problem.datafit.spectral
    expected = 0.25 * np.abs(np.fft.rfft2(kernel, (10, 9))) ** 2
    found = response(problem.datafit, problem.signal)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-10, atol=1e-12)


def test_a_multiplier_bounds_the_optimum_from_the_first_iteration(rng):
    problem = problem_of(NUMPY, rng, "bicubic")
    best = solve(problem, "admm", tol=1e-9, max_iter=50000)
    bounds = []
    solve(
        problem,
        "admm",
        tol=0,
        max_iter=60,
        check_every=1,
        callback=lambda it: bounds.append(it.state.data and multiplier_value(problem, it.state.data)) and None,
    )
    bounds = np.array(bounds)
    assert np.all(bounds <= to_numpy(best.objectives) * (1 + 1e-9))
    assert np.all(bounds[-1] > 0.9 * to_numpy(best.objectives))


def test_an_operator_that_sees_nothing_leaves_codes_at_zero(rng):
    operator = FunctionOperator(lambda x: 0 * x, lambda y: 0 * y, (1, 8, 8), (1, 8, 8))
    problem = CSCProblem(rng.standard_normal((1, 1, 8, 8)), rng.standard_normal((2, 1, 3, 3)), 0.1, forward=operator)
    found = solve(problem, "admm")
    assert found.status == "converged"
    assert not found.codes.any()


def test_far_fewer_applications_than_fista_where_a_is_smooth(rng):
    """A that weighs frequencies as projections do, 1/|k|, and loses some pixels: FISTA's step is that of the lowest."""
    shape, calls = (1, 32, 32), [0]
    k = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None]) * 32
    weight, seen = 1 / np.sqrt(np.maximum(k, 0.5)), rng.random((32, 32)) > 0.1

    def apply(x):
        calls[0] += 1
        return seen * np.fft.irfft2(weight * np.fft.rfft2(x), s=(32, 32))

    def adjoint(y):
        calls[0] += 1
        return np.fft.irfft2(weight * np.fft.rfft2(seen * y), s=(32, 32))

    operator = FunctionOperator(apply, adjoint, shape, shape)
    bank = ConvDictionary.load("natural-8x8x32")
    problem = CSCProblem(rng.standard_normal((1, *shape)), bank, 1.0, forward=operator)
    problem = problem.with_penalty(0.1 * problem.lambda_max)
    counts = {}
    for method in ("auto", "fista"):
        calls[0] = 0
        found = solve(problem, method, tol=1e-3, max_iter=20000)
        assert found.status == "converged"
        counts[method] = calls[0]
    assert solve(problem, max_iter=1).solver.name == "admm"
    assert 3 * counts["auto"] < counts["fista"], counts


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_units_do_not_matter(rng, scale):
    operator = operators(rng)["half"]
    signal, bank = rng.standard_normal((1, 1, 12, 11)), rng.standard_normal((4, 1, 3, 3))
    one = solve(CSCProblem(signal, bank, 0.1, forward=operator), "admm", tol=1e-6)
    other = solve(CSCProblem(scale * signal, bank, 0.1 * scale, forward=operator), "admm", tol=1e-6)
    assert other.iterations == one.iterations
    np.testing.assert_allclose(other.codes, scale * one.codes, rtol=1e-6, atol=1e-9 * scale)
    assert float(certify(other.problem, other.codes).objective[0]) == pytest.approx(other.objective)
