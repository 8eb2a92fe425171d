"""L0 and L1MinusL2, alone and in sums, with every fit, boundary and operator: stationary points, by arithmetic."""

import itertools

import numpy as np
import pytest

import cscopt
from cscopt import (
    L0,
    L1,
    ConvDictionary,
    CSCProblem,
    ElasticNet,
    GradientL1,
    GroupL1,
    L1MinusL2,
    PoissonFit,
    PrimalDual,
    TotalVariation,
    kkt_residual,
    solve,
)
from cscopt.backend import to_numpy
from cscopt.operators import MRI, Blur, Mask
from cscopt.plot import overview

SUMS = {
    "L0": lambda: L0(0.05),
    "L1 - L2": lambda: L1MinusL2(0.2),
    "L0 + L1": lambda: L0(0.03) + L1(0.1),
    "L0 + TV of maps": lambda: L0(0.03) + TotalVariation(0.05),
    "L0 + TV": lambda: TotalVariation(0.05, of="reconstruction") + L0(0.03),
    "L0 + group": lambda: L0(0.03) + GroupL1(0.0, 0.1),
    "L0 + elastic": lambda: L0(0.03) + ElasticNet(0.05, 0.1),
    "L0 + gradient": lambda: L0(0.03) + GradientL1(0.0, 0.1),
    "L1 - L2 + TV": lambda: L1MinusL2(0.2) + TotalVariation(0.05, of="reconstruction"),
    "L1 - L2 + L0": lambda: L1MinusL2(0.1) + L0(0.03),
    "L0 + non-negative L1": lambda: L0(0.03) + L1(0.05, nonnegative=True),
}


def bank_of(rng, dtype=np.float64):
    filters = rng.standard_normal((4, 1, 3, 3)).astype(dtype)
    return ConvDictionary(filters / np.sqrt((filters**2).sum(axis=(1, 2, 3), keepdims=True)))


def planted(rng, space=(12, 11), batch=1):
    """Pictures of a few atoms, with noise."""
    bank = bank_of(rng)
    codes = rng.standard_normal((batch, 4, *space)) * (rng.random((batch, 4, *space)) < 0.05)
    clean = bank.operator(space).apply(codes)
    return clean + 0.02 * rng.standard_normal(clean.shape), bank


def settings(rng, name):
    """Arguments of a problem with a weight, boundary, operator or fit of each kind."""
    y, bank = planted(rng)
    shape = (1, *y.shape[2:])
    if name == "mask":
        return (y, bank), {"mask": rng.random(y.shape) + 0.5}
    if name in ("zero", "symmetric", "none"):
        return (y, bank), {"boundary": name}
    if name == "blur":
        blur = Blur(shape, np.ones((3, 3)) / 9)
        return (blur.apply(y), bank), {"forward": blur}
    if name == "holes":
        holes = Mask(shape, rng.random(shape[1:]) > 0.3)
        return (holes.apply(y), bank), {"forward": holes}
    if name == "unknown norm":
        matrix = rng.standard_normal((100, y[0].size)) / 10
        forward = cscopt.FunctionOperator(
            lambda a: a.reshape(len(a), -1) @ matrix.T,
            lambda b: (b @ matrix).reshape(len(b), *shape),
            shape,
            (100,),
        )
        return (forward.apply(y), bank), {"forward": forward}
    if name == "l1":
        return (y + (rng.random(y.shape) < 0.1), bank), {"fit": "l1"}
    if name == "poisson":
        return (rng.poisson(20 * (y - y.min() + 0.1)).astype(float) / 20, bank), {"fit": PoissonFit(1.0)}
    return (y, bank), {}


def rises(problem, codes, rng, scales=(1e-2, 1e-3, 1e-4)):
    """The least change of the objective among small moves, of the non-zeros and of all codes, over its size."""
    here, changes = problem.objective(codes), []
    for scale, _ in itertools.product(scales, range(30)):
        move = scale * rng.standard_normal(codes.shape)
        for where in (codes != 0, np.ones(codes.shape, dtype=bool)):
            changes.append((problem.objective(codes + move * where) - here) / here)
    return min(float(c.min()) for c in changes)


@pytest.mark.parametrize("name", SUMS)
def test_sums_end_at_a_local_minimum(rng, name):
    y, bank = planted(rng)
    problem = CSCProblem(y, bank, SUMS[name]())
    answer = solve(problem, tol=1e-7, max_iter=20_000)
    assert answer.solver.name == "primal-dual"
    assert "not convex" in answer.reason
    assert (answer.status, answer.gap, answer.gaps) == ("converged", None, None)
    assert answer.kkt_residual <= 1e-7
    assert answer.nonzeros
    assert answer.objective < float(problem.objective(np.zeros(problem.codes_shape))[0])
    assert rises(problem, answer.codes, rng) > -1e-9
    if "non-negative" in name:
        assert answer.codes.min() >= 0


def test_what_is_no_stationary_point_does_not_pass(rng):
    """The measure sees codes moved a little, and multipliers of another penalty."""
    y, bank = planted(rng)
    problem = CSCProblem(y, bank, L0(0.03) + TotalVariation(0.05, of="reconstruction"))
    answer = solve(problem, tol=1e-7, max_iter=20_000)
    other = problem.with_penalty(L0(0.03) + TotalVariation(0.1, of="reconstruction"))
    point = answer.state.point
    moved = type(point)(point.v + 1e-2 * (point.v != 0), point.tail, point.data)
    state = type(answer.state)(**{**vars(answer.state), "point": moved})
    solver = answer.solver
    assert float(solver.kkt_residual(problem, state)[0]) > 1e-4
    assert float(solver.kkt_residual(other, answer.state)[0]) > 1e-3


WHERE = ["mask", "zero", "symmetric", "none", "blur", "holes", "unknown norm", "l1", "poisson"]


@pytest.mark.parametrize("where", WHERE)
def test_l0_with_every_fit_boundary_and_operator(rng, where):
    arguments, options = settings(rng, where)
    problem = CSCProblem(*arguments, L0(0.03), **options)
    tol = 2e-4 if where == "l1" else 1e-6  # its corners make it slow
    answer = solve(problem, tol=tol, max_iter=20_000)
    assert answer.solver.name == "primal-dual"
    assert answer.status == "converged", answer
    assert answer.nonzeros
    assert answer.objective < float(problem.objective(np.zeros(problem.codes_shape))[0])
    assert rises(problem, answer.codes, rng) > -0.1 * tol


def test_l0_and_l1_agree_with_arithmetic_entry_by_entry(rng):
    """On the support Dᴴ(y − D x) = λ₁ sign x; elsewhere it is below what the step 1/ρ lets pass."""
    y, bank = planted(rng)
    answer = solve(CSCProblem(y, bank, L0(0.03) + L1(0.1)), tol=1e-9, max_iter=50_000)
    matrix = bank.operator(y.shape[2:]).as_linear_operator() @ np.eye(answer.codes.size)
    x = answer.codes.ravel()
    pull = matrix.T @ (y.ravel() - matrix @ x)
    here = x != 0
    np.testing.assert_allclose(pull[here], 0.1 * np.sign(x[here]), atol=1e-6)
    rho = answer.history["rho"][-1]
    assert np.abs(pull[~here]).max() <= 0.1 + np.sqrt(2 * 0.03 * rho) + 1e-6
    assert np.abs(x[here]).min() >= np.sqrt(2 * 0.03 / rho) - 1e-6
    value = np.sum((y.ravel() - matrix @ x) ** 2) / 2 + 0.03 * here.sum() + 0.1 * np.abs(x).sum()
    assert answer.objective == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_optimum_where_it_is_known(rng, nonnegative):
    """With one unit impulse for a dictionary: a soft threshold, where that is worth λ₀, and else 0."""
    y = 2 * rng.standard_normal((2, 1, 9, 8))
    problem = CSCProblem(y, np.ones((1, 1, 1, 1)), L0(0.3) + L1(0.2, nonnegative))
    codes = solve(problem, tol=1e-10, max_iter=20_000).codes
    size = np.maximum((y if nonnegative else np.abs(y)) - 0.2, 0)
    best = np.where(size**2 / 2 > 0.3, np.sign(y) * size, 0)
    at_most = problem.objective(best)
    assert (problem.objective(codes) <= at_most * 1.02).all()
    np.testing.assert_allclose(codes[codes != 0], (np.sign(y) * size)[codes != 0], atol=1e-8)


def test_a_growing_rho_ends_lower_than_a_descent(rng):
    y, bank = planted(rng, (24, 20))
    problem = CSCProblem(y, bank, L0(0.05))
    grown = solve(problem, tol=1e-6, max_iter=20_000)
    descents = [solve(problem, name, tol=1e-6, max_iter=20_000) for name in ("ista", "fista")]
    assert grown.objective < 0.9 * min(d.objective for d in descents)
    assert kkt_residual(problem, grown.codes).max() <= 1e-5  # with the descents' step, too
    warm = solve(problem, x0=grown.codes, tol=1e-6, max_iter=20_000)
    assert warm.objective <= grown.objective * (1 + 1e-6)


def test_in_every_namespace(space, rng):
    filters = space.filters(rng, 4, 1, 3, 2)
    y = space.random(rng, 2, 1, 9, 8)
    for penalty in (L0(0.1), L0(0.1) + TotalVariation(0.1, of="reconstruction"), L1MinusL2(0.3) + L1(0.1)):
        problem = CSCProblem(y, ConvDictionary(filters), penalty)
        tol = 1e-3 if space.real == "float32" else 1e-4
        answer = solve(problem, tol=tol, max_iter=5000)
        assert answer.status == "converged", answer
        assert answer.codes.dtype == problem.code_dtype
        zero = to_numpy(problem.objective(answer.codes * 0))
        assert (to_numpy(problem.objective(answer.codes)) < zero).all()


def test_complex_codes_through_mri(rng):
    y = rng.standard_normal((1, 1, 12, 10)) + 1j * rng.standard_normal((1, 1, 12, 10))
    scanner = MRI(rng.random((12, 10)) < 0.6)
    problem = CSCProblem(scanner(y), bank_of(rng), L0(0.1) + GroupL1(0.0, 0.1), forward=scanner)
    answer = solve(problem, tol=1e-6, max_iter=20_000)
    assert answer.status == "converged"
    assert np.iscomplexobj(answer.codes)
    assert rises(problem, answer.codes, rng) > -1e-7


def test_items_do_not_know_of_each_other_and_a_run_resumes(rng):
    y, bank = planted(rng, batch=2)
    y[1] *= 3
    penalty = L0(0.05) + TotalVariation(0.02, of="reconstruction")
    with cscopt.fft.estimated():
        both = solve(CSCProblem(y, bank, penalty), tol=1e-6, max_iter=20_000)
        alone = [solve(CSCProblem(y[k : k + 1], bank, penalty), tol=1e-6, max_iter=20_000) for k in range(2)]
        assert both.objectives == pytest.approx([a.objective for a in alone], rel=1e-6)
        problem = CSCProblem(y, bank, penalty)
        whole = solve(problem, tol=0, max_iter=120)
        half = solve(problem, tol=0, max_iter=57)
        rest = solve(problem, tol=0, max_iter=63, state=half.state)
    np.testing.assert_array_equal(whole.codes, rest.codes)


def test_rho_stays_where_it_is_not_to_grow(rng):
    y, bank = planted(rng)
    answer = solve(CSCProblem(y, bank, L0(0.05)), PrimalDual(rho=0.2, adaptive=False), tol=0, max_iter=100)
    assert set(answer.history["rho"]) == {0.2}


def test_a_convex_sum_has_a_residual_too(rng):
    y, bank = planted(rng)
    answer = solve(CSCProblem(y, bank, L1(0.1) + TotalVariation(0.05)), tol=1e-9, max_iter=50_000)
    assert answer.kkt_residual <= 1e-4
    assert answer.gap <= 1e-9


def test_weights_count_once(rng):
    """‖100 (y − A D x)‖² is 10⁴ times as large, through an operator with a step of its own, too."""
    (y, bank), options = settings(rng, "holes")
    answers = []
    for weight in (1.0, 100.0):
        mask = np.full((1, *y.shape[1:]), weight)
        answers.append(solve(CSCProblem(y, bank, L0(0.03 * weight**2), mask=mask, **options), tol=1e-5, max_iter=5000))
    assert answers[0].nonzeros
    assert answers[1].objective == pytest.approx(1e4 * answers[0].objective, rel=1e-6)


@pytest.mark.parametrize("unit", [1e-3, 255.0])
def test_units_do_not_count(rng, unit):
    """Of the signal, and of the data that an operator makes."""
    y, bank = planted(rng)
    first = solve(CSCProblem(y, bank, L0(0.03)), tol=1e-5, max_iter=5000)
    other = solve(CSCProblem(unit * y, bank, L0(0.03 * unit**2)), tol=1e-5, max_iter=5000)
    assert other.objective == pytest.approx(unit**2 * first.objective, rel=1e-6)
    answers = []
    for gain in (1.0, unit):
        forward = cscopt.from_scipy(gain * np.eye(y.size), (1, *y.shape[2:]), (y.size,), norm=gain)
        problem = CSCProblem(gain * y.reshape(1, -1), bank, L0(0.1 * gain), forward=forward, fit="l1")
        answers.append(solve(problem, tol=1e-3, max_iter=5000))
    assert answers[1].objective == pytest.approx(unit * answers[0].objective, rel=1e-3)
    assert answers[1].iterations == pytest.approx(answers[0].iterations, abs=80)


def test_a_large_rho_does_not_pass_for_an_answer(rng):
    y, bank = planted(rng)
    problem = CSCProblem(y, bank, L0(0.03))
    x0 = rng.standard_normal(problem.codes_shape)
    answer = solve(problem, PrimalDual(rho=1e6), x0=x0, tol=1e-4, max_iter=10)
    assert answer.status == "max_iter"
    assert kkt_residual(problem, answer.codes).max() > 1e-2


def test_given_codes_are_where_it_begins(rng):
    y, bank = planted(rng, (24, 20))
    problem = CSCProblem(y, bank, L0(0.05))
    codes = solve(problem, "ista", tol=1e-6, max_iter=20_000).codes
    begun = solve(problem, "primal-dual", x0=codes, max_iter=0)
    np.testing.assert_allclose(begun.codes, codes, atol=1e-6)
    assert solve(problem, "primal-dual", x0=codes, tol=1e-6, max_iter=20_000).objective <= begun.objective * (1 + 1e-6)


def test_bad_input(rng):
    y, bank = planted(rng)
    zeros = np.zeros((1, 4, 12, 11))
    with pytest.raises(
        TypeError, match=r"kkt_residual serves one penalty; of a sum, Solution\.kkt_residual of 'primal-dual'"
    ):
        kkt_residual(CSCProblem(y, bank, L0(0.1) + L1(0.1)), zeros)
    with pytest.raises(TypeError, match="nonnegative must be True or False; got 'no'"):
        L0(0.1, nonnegative="no")
    with pytest.raises(ValueError, match="ista serves one penalty with a proximal map, not a sum; use 'primal-dual'"):
        solve(CSCProblem(y, bank, L0(0.1) + L1(0.1)), "ista")
    for name in ("fista", "ista"):
        with pytest.raises(ValueError, match=f"^{name} serves least squares alone, not fit='l1'; use 'primal-dual'"):
            solve(CSCProblem(y, bank, L0(0.1), fit="l1"), name)
    with pytest.raises(ValueError, match="admm needs a convex penalty; use 'primal-dual', 'fista' or 'ista'"):
        solve(CSCProblem(y, bank, L0(0.1)), "admm")
    with pytest.raises(ValueError, match="TotalVariation must be added to a penalty"):
        CSCProblem(y, bank, TotalVariation(0.1) + TotalVariation(0.1, of="reconstruction"))
    assert L0(0.1, nonnegative=True).value(-np.ones((1, 4, 3, 3)))[0] == np.inf


def test_certify_tells_the_residual(rng):
    """Of non-negative codes, too, and an infinite objective of others."""
    y, bank = planted(rng)
    problem = CSCProblem(y, bank, L0(0.03, nonnegative=True))
    answer = solve(problem, tol=1e-6, max_iter=20_000)
    found = cscopt.certify(problem, answer.codes)
    np.testing.assert_array_equal(found.gap, kkt_residual(problem, answer.codes))
    assert found.objective[0] == pytest.approx(answer.objective, rel=1e-12)
    assert cscopt.certify(problem, answer.codes - 1).objective[0] == np.inf


def test_pictures_of_solutions_show_the_residual(rng):
    signal, bank = rng.standard_normal((1, 1, 16, 16)), rng.standard_normal((3, 1, 3, 3))
    solutions = [solve(CSCProblem(signal, bank, penalty), max_iter=5) for penalty in (L0(0.3), L1(0.3))]
    figure = overview(np.zeros((16, 16)), np.zeros((16, 16)), {"x": solutions[0]})
    assert figure.axes[-1].get_ylabel() == "KKT residual"
    with pytest.raises(ValueError, match="all have a gap, or all a KKT residual"):
        overview(np.zeros((16, 16)), np.zeros((16, 16)), dict(zip("ab", solutions, strict=True)))
