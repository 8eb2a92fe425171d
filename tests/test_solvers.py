"""Solvers: the same optimum everywhere, a gap that bounds, and a driver that can be trusted."""

import os
import signal
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cscopt
import cscopt.operators
from cscopt import ADMM, FISTA, ISTA, L1, CSCProblem, FunctionOperator, certify, fft, kkt_residual, solve, wisdom
from cscopt.backend import to_numpy

pytestmark = pytest.mark.usefixtures("all_threads")

SOLVERS = ["ista", "fista", "admm", "working-set"]


@pytest.fixture(autouse=True)
def _served(request):
    """The working set serves NumPy alone (`test_working_set.py` has what it says to others)."""
    given = getattr(getattr(request.node, "callspec", None), "params", {})
    if given.get("method") == "working-set" and "space" in given and given["space"].library != "numpy":
        pytest.skip("working-set serves NumPy arrays")


def problem_of(space, rng, shape=(2, 1, 14, 13), filters=(5, 1, 4, 3), share=0.1, **options):
    """A random problem with λ a share of λ_max."""
    signal, bank = space.random(rng, *shape), space.filters(rng, *filters)
    nonnegative = options.pop("nonnegative", False)
    top = CSCProblem(signal, bank, L1(1.0, nonnegative), **options).lambda_max
    return CSCProblem(signal, bank, L1(share * top, nonnegative), **options)


OPTIMA: dict = {}
"""What `reference_optimum` has found, for namespaces ask for the same ones."""


def reference_optimum(problem, tol=1e-10):
    """Objective to `tol` by FISTA in float64 (complex128) on NumPy."""
    wide = "complex128" if "complex" in str(problem.signal.dtype) else "float64"

    def double(array, dtype="float64"):
        return None if array is None else to_numpy(array).astype(dtype)

    twin = CSCProblem(
        double(problem.signal, wide),
        double(problem.dictionary.filters),
        L1(float(problem.penalty.lam), problem.penalty.nonnegative),
        mask=double(problem.mask),
        boundary=problem.boundary,
    )
    given = (np.asarray(a).tobytes() for a in (twin.signal, twin.dictionary.filters, twin.mask, twin.penalty.lam))
    key = (tol, twin.boundary, twin.penalty.nonnegative, *given)
    if key not in OPTIMA:
        solution = solve(twin, "fista", tol=tol, max_iter=20000)
        assert solution.status == "converged"
        OPTIMA[key] = solution.objectives
    return OPTIMA[key]


OPTIONS = [
    {},
    {"boundary": "zero"},
    {"boundary": "none"},
    {"boundary": "symmetric"},
    {"mask": True},
    {"mask": True, "boundary": "none"},
    {"nonnegative": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("method", ["fista", "admm"])
def test_optimum_and_certificate_in_every_namespace(space, rng, method, options):
    """Objectives equal the float64 reference, and every gap on the way bounds the true error."""
    if options.get("nonnegative") and space.complex:
        pytest.skip("non-negative codes of complex data have a test of their own")
    options = dict(options)
    if options.pop("mask", False):
        options["mask"] = space.array(rng.uniform(0.2, 1.5, (14, 13)) * (rng.random((14, 13)) > 0.3), space.real)
    problem = problem_of(space, rng, **options)
    single = space.real == "float32" or space.library == "strict"  # strict is slow: fewer iterations there
    optimum = reference_optimum(problem, 1e-7 if single else 1e-10)
    solution = solve(problem, method, tol=1e-4 if single else 1e-7, max_iter=10000)
    assert solution.status == "converged"
    assert solution.codes.dtype == problem.signal.dtype
    np.testing.assert_allclose(solution.objectives, optimum, rtol=1e-4 if single else 1e-7)
    slack = 2e-6 if single else 1e-12
    for row in solution.history:
        assert row["gap"] >= -slack
        assert row["objective"] - optimum.sum() <= (row["gap"] + slack) * row["objective"]
    again = certify(problem, solution.codes)
    np.testing.assert_allclose(to_numpy(again.objective), solution.objectives, rtol=slack)
    assert (to_numpy(again.gap) >= solution.gaps - slack).all()
    assert float(to_numpy(kkt_residual(problem, solution.codes)).max()) < (3e-2 if single else 1e-3)


@pytest.mark.parametrize("method", SOLVERS)
def test_gap_against_a_closed_form(space, rng, method):
    """With one filter of one pixel the optimum is the soft threshold of the signal."""
    signal = space.random(rng, 1, 1, 6, 5)
    problem = CSCProblem(signal, space.array(np.ones((1, 1, 1, 1)), space.real), 0.4)
    solution = solve(problem, method, tol=1e-4 if space.real == "float32" else 1e-9, max_iter=500)
    modulus = np.abs(to_numpy(signal))
    optimum = np.where(modulus > 0.4, 0.4 * modulus - 0.08, modulus**2 / 2).sum()
    assert solution.objective == pytest.approx(optimum, rel=1e-4 if space.real == "float32" else 1e-9)
    kept = np.maximum(modulus - 0.4, 0)
    np.testing.assert_allclose(np.abs(to_numpy(solution.codes)), kept, atol=0.02 if space.real == "float32" else 1e-4)


@pytest.mark.parametrize("method", SOLVERS)
def test_codes_are_zero_from_lambda_max_on(space, rng, method):
    for options in ({}, {"boundary": "zero"}, {"nonnegative": not space.complex}):
        problem = problem_of(space, rng, share=1.0001, **options)
        solution = solve(problem, method)
        assert solution.iterations == 0
        assert solution.status == "converged"
        assert solution.nonzeros == 0
        assert solution.gap <= 1e-12
        below = problem_of(space, rng, share=0.95, **options)
        assert solve(below, method, tol=1e-3).nonzeros > 0


def test_lambda_max_with_mask_operator_and_weights(rng):
    """Multiplying Λ by lambda_max / Λ.max() is where the last code vanishes."""
    matrix = rng.standard_normal((30, 36))
    forward = cscopt.from_scipy(matrix, (1, 6, 6), (30,), norm=np.linalg.norm(matrix, 2))
    signal, bank, mask = rng.standard_normal((1, 30)), rng.standard_normal((3, 1, 2, 2)), rng.uniform(0.5, 1, 30)
    weights = rng.uniform(0.5, 2, 3)
    top = CSCProblem(signal, bank, L1(weights), forward=forward, mask=mask).lambda_max
    for factor, empty in ((1.001, True), (0.999, False)):
        problem = CSCProblem(signal, bank, L1(weights * factor * top / weights.max()), forward=forward, mask=mask)
        assert (solve(problem, "fista", tol=1e-8, max_iter=5000).nonzeros == 0) == empty


@pytest.mark.parametrize("share", [0.3, 0.02])
def test_ista_is_monotone(rng, space, share):
    problem = problem_of(space, rng, share=share)
    solution = solve(problem, "ista", tol=0, max_iter=60, check_every=1)
    objective = np.array(solution.history["objective"])
    rounding = 1e-6 if space.real == "float32" else 1e-13
    assert (np.diff(objective) <= rounding * objective[0]).all()
    assert solution.status == "max_iter"
    assert solution.iterations == 60


@pytest.mark.parametrize("method", SOLVERS)
def test_lambda_per_filter_map_and_batch_map(rng, method):
    """Constant arrays give the scalar's answer; a map is the filter weights it repeats."""
    signal, bank = rng.standard_normal((2, 1, 12, 11)), rng.standard_normal((4, 1, 3, 3))
    each = np.array([0.5, 1.0, 0.7, 0.9])
    shape = (4, 12, 11)
    forms = [each, np.broadcast_to(each[:, None, None], shape), np.broadcast_to(each[:, None, None], (2, *shape))]
    tol = 1e-4 if method == "ista" else 1e-7
    answers = [solve(CSCProblem(signal, bank, L1(lam)), method, tol=tol, max_iter=20000) for lam in forms]
    for answer in answers:
        np.testing.assert_allclose(answer.objectives, answers[0].objectives, rtol=tol)
    scalar = solve(CSCProblem(signal, bank, 0.6), method, tol=tol, max_iter=20000)
    full = solve(CSCProblem(signal, bank, L1(np.full(shape, 0.6))), method, tol=tol, max_iter=20000)
    np.testing.assert_allclose(full.objectives, scalar.objectives, rtol=tol)


@pytest.mark.parametrize("boundary", ["circular", "zero", "symmetric", "none"])
def test_grouped_channels_equal_separate_ones(rng, boundary):
    """A one-channel dictionary on three channels is three problems; λ may differ by channel and filter."""
    signal, bank = rng.standard_normal((2, 3, 9, 10)), rng.standard_normal((4, 1, 3, 3))
    lam = rng.uniform(0.5, 1, 12)
    joint = solve(CSCProblem(signal, bank, L1(lam), boundary=boundary), "fista", tol=1e-9, max_iter=20000)
    total = 0
    for c in range(3):
        part = CSCProblem(signal[:, c : c + 1], bank, L1(lam[4 * c : 4 * c + 4]), boundary=boundary)
        one = solve(part, "fista", tol=1e-9, max_iter=20000)
        total += one.objective
        np.testing.assert_allclose(joint.codes[:, 4 * c : 4 * c + 4], one.codes, atol=1e-3)
    assert joint.objective == pytest.approx(total, rel=1e-8)
    admm = solve(CSCProblem(signal, bank, L1(lam), boundary=boundary), "admm", tol=1e-8, max_iter=20000)
    assert admm.objective == pytest.approx(total, rel=1e-7)


@pytest.mark.parametrize("method", SOLVERS)
@pytest.mark.parametrize("boundary", ["circular", "none"])
def test_a_batch_answers_as_its_items_alone(space, rng, method, boundary):
    """Also where items have masks and signals of very different size, and converge at different times."""
    signal = space.random(rng, 3, 1, 10, 9) * space.array(np.array([1.0, 0.01, 30.0]).reshape(3, 1, 1, 1))
    mask = space.array(rng.uniform(0.3, 1, (3, 1, 10, 9)), space.real) if boundary == "none" else None
    lam = space.array(np.abs(np.array([0.3, 0.003, 3.0])).reshape(3, 1, 1, 1) * np.ones((3, 4, 1, 1)), space.real)
    bank = space.filters(rng, 4, 1, 3, 3)
    codes_shape = CSCProblem(signal, bank, 1.0, boundary=boundary).codes_shape
    lam = lam * space.array(np.ones(codes_shape), space.real)
    tol = 1e-1 if method == "ista" else 1e-3 if space.real == "float32" or space.library == "strict" else 1e-6
    whole = solve(CSCProblem(signal, bank, L1(lam), mask=mask, boundary=boundary), method, tol=tol, max_iter=3000)
    assert set(whole.statuses) == {"converged"}
    for k in range(3):
        part = None if mask is None else mask[k : k + 1, ...]
        alone = CSCProblem(signal[k : k + 1, ...], bank, L1(lam[k : k + 1, ...]), mask=part, boundary=boundary)
        one = solve(alone, method, tol=tol, max_iter=3000)
        np.testing.assert_allclose(whole.objectives[k], one.objective, rtol=10 * max(space.rtol, 1e-7))
        difference = np.abs(to_numpy(whole.codes)[k] - to_numpy(one.codes)[0]).max()
        assert difference <= 1e-2 * np.abs(to_numpy(one.codes)).max() + 1e-12


def test_converged_items_stop_costing(rng):
    """After the easy items are done, steps see only the hard one."""
    signal = rng.standard_normal((4, 1, 16, 16))
    signal[:3] *= 1e-6
    seen = []

    class Counting(FISTA):
        def step(self, problem, state):
            seen.append(problem.batch)
            return super().step(problem, state)

    solution = solve(CSCProblem(signal, rng.standard_normal((4, 1, 3, 3)), 0.5), Counting(), tol=1e-6, max_iter=2000)
    assert solution.status == "converged"
    assert seen[0] == 1
    assert solution.codes.shape[0] == 4


@pytest.mark.parametrize("method", SOLVERS)
def test_resuming_is_exact(space, rng, method):
    problem = problem_of(space, rng)
    through = solve(problem, method, tol=0, max_iter=60)
    first = solve(problem, method, tol=0, max_iter=25)
    kept = to_numpy(first.codes).copy()
    second = solve(problem, method, tol=0, max_iter=35, state=first.state)
    np.testing.assert_array_equal(to_numpy(second.codes), to_numpy(through.codes))
    np.testing.assert_array_equal(to_numpy(first.codes), kept)
    assert second.state.iteration == 60


def test_a_batch_resumes_after_items_converged(rng):
    signal = rng.standard_normal((3, 1, 12, 12))
    signal[1] *= 0.05
    problem = CSCProblem(signal, rng.standard_normal((4, 1, 3, 3)), 0.4)
    first = solve(problem, "admm", tol=1e-3)
    second = solve(problem, "admm", tol=1e-7, max_iter=5000, state=first.state)
    assert second.status == "converged"
    np.testing.assert_allclose(
        second.objectives, solve(problem, "fista", tol=1e-8, max_iter=9000).objectives, rtol=1e-6
    )


@pytest.mark.parametrize("method", SOLVERS)
def test_nothing_given_is_modified(rng, method):
    signal, bank = rng.standard_normal((1, 1, 12, 12)), rng.standard_normal((4, 1, 3, 3))
    x0 = rng.standard_normal((1, 4, 12, 12))
    copies = signal.copy(), bank.copy(), x0.copy()
    problem = CSCProblem(signal, bank, 0.3)
    solution = solve(problem, method, x0=x0, max_iter=20)
    solve(problem, method, state=solution.state, max_iter=20)
    for given_now, before in zip((signal, bank, x0), copies, strict=True):
        np.testing.assert_array_equal(given_now, before)


def test_fortran_ordered_start(rng):
    problem = CSCProblem(rng.standard_normal((1, 1, 12, 12)), rng.standard_normal((4, 1, 3, 3)), 0.3)
    x0 = np.asfortranarray(rng.standard_normal((1, 4, 12, 12)))
    for method in SOLVERS:
        found = solve(problem, method, x0=x0, tol=0, max_iter=40)
        np.testing.assert_array_equal(found.codes, solve(problem, method, x0=x0.copy("C"), tol=0, max_iter=40).codes)


def test_warm_start_from_the_answer_stops_at_once(rng):
    problem = CSCProblem(rng.standard_normal((1, 1, 12, 12)), rng.standard_normal((4, 1, 3, 3)), 0.4)
    answer = solve(problem, "fista", tol=1e-9, max_iter=20000)
    for method in ("ista", "fista"):
        again = solve(problem, method, x0=answer.codes, tol=1e-6)
        assert again.status == "converged"
        assert again.iterations <= 10


def make_forward(rng, known, complex_data=False):
    matrix = rng.standard_normal((40, 72))
    if complex_data:
        matrix = matrix + 1j * rng.standard_normal((40, 72))
    norm = np.linalg.norm(matrix, 2) if known else None
    return cscopt.from_scipy(matrix, (1, 9, 8), (40,), norm), matrix


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("method", ["ista", "fista"])
def test_forward_operator_against_the_explicit_matrix(rng, known, method):
    """CSC through A is the Lasso of the explicit matrix A D; optimality by its KKT conditions."""
    forward, matrix = make_forward(rng, known)
    bank = cscopt.ConvDictionary(rng.standard_normal((3, 1, 3, 2)))
    signal = rng.standard_normal((2, 40))
    top = CSCProblem(signal, bank, 1.0, forward=forward).lambda_max
    problem = CSCProblem(signal, bank, 0.2 * top, forward=forward)
    solution = solve(problem, method, tol=1e-6, max_iter=100000)
    assert solution.status == "converged"
    synthesis = bank.operator((9, 8)).as_linear_operator() @ np.eye(3 * 72)
    columns = matrix @ synthesis
    for k in range(2):
        x = solution.codes[k].ravel()
        residual = signal[k] - columns @ x
        objective = residual @ residual / 2 + 0.2 * top * np.abs(x).sum()
        assert solution.objectives[k] == pytest.approx(objective, rel=1e-10)
        assert np.abs(columns.T @ residual).max() <= 0.2 * top * 1.01


def test_backtracking_survives_a_misleading_power_iteration(rng):
    """An operator whose largest singular vector the power iteration cannot see."""
    ramp = np.cos(np.arange(64.0) ** 2 * 0.7)
    spike = rng.standard_normal(64)
    spike -= ramp * (spike @ ramp) / (ramp @ ramp)
    spike /= np.linalg.norm(spike)
    matrix = np.eye(64) + 300 * np.outer(spike, spike)
    forward = cscopt.from_scipy(matrix, (1, 8, 8), (1, 8, 8))
    for method in ("ista", "fista"):
        problem = CSCProblem(rng.standard_normal((1, 1, 8, 8)), rng.standard_normal((3, 1, 3, 3)), 0.5, forward=forward)
        history = solve(problem, method, tol=0, max_iter=200).history
        assert max(history["objective"]) <= history["objective"][0] * (1 + 1e-12)


@pytest.mark.parametrize("method", ["ista", "fista"])
def test_steps_are_longer_where_the_product_of_norms_is_loose(rng, method):
    """Filters without a mean, and an operator that is largest for the mean."""
    bank = rng.standard_normal((4, 1, 3, 3))
    bank -= bank.mean(axis=(2, 3), keepdims=True)
    matrix = np.eye(144) + np.full((144, 144), 20 / 144)
    known = cscopt.from_scipy(matrix, (1, 12, 12), (1, 12, 12), norm=21.0)
    problem = CSCProblem(rng.standard_normal((1, 1, 12, 12)), bank, 1.0, forward=known)
    found = solve(problem, method, tol=1e-6, max_iter=20_000)
    assert found.status == "converged"
    assert float(found.state.steps[0]) > 20 / float(problem.lipschitz[0])
    if method == "ista":
        assert np.all(np.diff(found.history["objective"]) <= 1e-9)
    dense = np.stack([problem.synthesis.apply(e.reshape(problem.codes_shape)).ravel() for e in np.eye(4 * 144)], axis=1)
    largest = np.linalg.norm(matrix @ dense, 2) ** 2
    assert float(problem.curvature[0]) == pytest.approx(largest, rel=0.2)
    assert float(problem.lipschitz[0]) > 50 * largest


def test_real_and_nonnegative_codes_of_complex_data(rng):
    forward, matrix = make_forward(rng, True, complex_data=True)
    signal = rng.standard_normal((1, 40)) + 1j * rng.standard_normal((1, 40))
    bank = cscopt.ConvDictionary(rng.standard_normal((3, 1, 3, 2)))
    stacked = np.concatenate([matrix.real, matrix.imag])
    twin = cscopt.from_scipy(stacked, (1, 9, 8), (80,), np.linalg.norm(stacked, 2))
    both = np.concatenate([signal.real, signal.imag], axis=1)
    for nonnegative in (False, True):
        problem = CSCProblem(signal, bank, L1(5.0, nonnegative), forward=forward, real_codes=True)
        solution = solve(problem, "fista", tol=1e-8, max_iter=50000)
        same = solve(CSCProblem(both, bank, L1(5.0, nonnegative), forward=twin), "fista", tol=1e-8, max_iter=50000)
        assert solution.codes.dtype == np.float64
        assert solution.objective == pytest.approx(same.objective, rel=1e-7)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_solvers_agree_over_shapes(data):
    """1-D to 3-D, odd sizes, one filter, several channels."""
    ndim = data.draw(st.integers(1, 3))
    space = tuple(data.draw(st.integers(3, {1: 40, 2: 12, 3: 6}[ndim])) for _ in range(ndim))
    support = tuple(data.draw(st.integers(1, min(n, 4))) for n in space)
    filters, channels = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    boundary = data.draw(st.sampled_from(["circular", "zero", "none"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    signal, bank = rng.standard_normal((1, channels, *space)), rng.standard_normal((filters, channels, *support))
    top = CSCProblem(signal, bank, 1.0, boundary=boundary).lambda_max
    problem = CSCProblem(signal, bank, 0.3 * top, boundary=boundary)
    answers = [solve(problem, m, tol=1e-6, max_iter=20000) for m in SOLVERS]
    for answer in answers:
        assert answer.status == "converged"
        assert answer.objective == pytest.approx(answers[0].objective, rel=2e-6)


@pytest.mark.parametrize("method", SOLVERS)
def test_extreme_scales(rng, method):
    """Signals of 1e-12 and 1e12 are solved as those of 1 are."""
    signal, bank = rng.standard_normal((1, 1, 16, 16)), rng.standard_normal((3, 1, 3, 3))
    plain = solve(CSCProblem(signal, bank, 0.5), method, tol=1e-4, max_iter=30000)
    for scale in (1e-12, 1e12):
        scaled = solve(CSCProblem(signal * scale, bank, 0.5 * scale), method, tol=1e-4, max_iter=30000)
        assert scaled.status == "converged"
        assert scaled.objective / scale**2 == pytest.approx(plain.objective, rel=2e-4)


def test_zero_signal(rng):
    for method in SOLVERS:
        solution = solve(CSCProblem(np.zeros((1, 1, 8, 8)), rng.standard_normal((3, 1, 3, 3)), 0.1), method)
        assert (solution.objective, solution.gap, solution.status) == (0, 0, "converged")


def test_float32_that_can_do_no_better_says_so(rng):
    problem = CSCProblem(
        rng.standard_normal((1, 1, 24, 24)).astype(np.float32), rng.standard_normal((4, 1, 4, 4)).astype("f"), 0.3
    )
    for method in ("fista", "admm"):
        solution = solve(problem, method, tol=1e-13, max_iter=20000)
        assert solution.status == "precision"
        assert solution.gap < 1e-4


def test_history_and_callback(rng):
    problem = CSCProblem(rng.standard_normal((2, 1, 10, 10)), rng.standard_normal((3, 1, 3, 3)), 0.3)
    seen = []
    solution = solve(problem, "admm", tol=0, max_iter=25, check_every=5, callback=lambda it: seen.append(it))
    assert [it.iteration for it in seen] == [0, 5, 10, 15, 20, 25] == solution.history["iteration"]
    assert set(solution.history.to_dict()) >= {"iteration", "seconds", "objective", "gap", "rho", "primal_residual"}
    assert np.diff(solution.history["seconds"]).min() > 0
    assert 0 < solution.history[0]["gap"] <= 1
    pandas = pytest.importorskip("pandas")
    assert isinstance(solution.history.to_dataframe(), pandas.DataFrame)
    assert len(solution.history) == 6


def test_an_iterate_that_was_kept_does_not_show_later_arrays(rng):
    seen = []
    problem = CSCProblem(rng.standard_normal((2, 1, 10, 10)), rng.standard_normal((3, 1, 3, 3)), 0.3)
    solution = solve(problem, "fista", tol=0, max_iter=20, callback=lambda it: seen.append((it, it.codes)))
    for iterate, codes in seen[:-1]:
        for name in ("codes", "state", "reconstruction"):
            with pytest.raises(RuntimeError, match=r"keep iterate\.codes"):
                getattr(iterate, name)
        assert not np.array_equal(codes, solution.codes)
    np.testing.assert_array_equal(seen[-1][0].codes, solution.codes)


def test_callback_stops_and_its_state_resumes(rng):
    problem = CSCProblem(rng.standard_normal((1, 1, 10, 10)), rng.standard_normal((3, 1, 3, 3)), 0.3)
    kept = {}

    def stop(iterate):
        kept.update(codes=iterate.codes, state=iterate.state, image=iterate.reconstruction)
        return iterate.iteration >= 20

    solution = solve(problem, "fista", tol=0, max_iter=100, callback=stop)
    assert (solution.status, solution.iterations) == ("stopped", 20)
    np.testing.assert_array_equal(kept["codes"], solution.codes)
    np.testing.assert_array_equal(kept["image"], solution.reconstruction)
    resumed = solve(problem, "fista", tol=0, max_iter=10, state=kept["state"])
    np.testing.assert_array_equal(resumed.codes, solve(problem, "fista", tol=0, max_iter=30).codes)


def test_control_c_returns_what_was_reached(rng, ctrl_c):
    """A real SIGINT in the middle; the state is whole and resumes exactly."""
    problem = CSCProblem(rng.standard_normal((1, 1, 64, 64)), rng.standard_normal((8, 1, 5, 5)), 0.3)
    solve(problem, "fista", max_iter=1)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    solution = solve(problem, "fista", tol=0, max_iter=30000)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert solution.status == "stopped"
    assert 0 < solution.iterations < 30000
    again = solve(problem, "fista", tol=0, max_iter=solution.iterations)
    np.testing.assert_array_equal(solution.codes, again.codes)


def test_control_c_at_the_last_iteration_is_not_lost(rng, ctrl_c):
    """Programs of many solves end at it: the status says so though the gap is reached."""
    problem = CSCProblem(rng.standard_normal((1, 1, 16, 16)), rng.standard_normal((4, 1, 3, 3)), 0.3)
    solution = solve(problem, tol=1e-3, callback=lambda it: it.gap <= 1e-3 and os.kill(os.getpid(), signal.SIGINT))
    assert solution.gap <= 1e-3
    assert solution.statuses == ["converged"]
    assert solution.status == "stopped"


def test_keyboard_interrupt_inside_a_callback(rng):
    problem = CSCProblem(rng.standard_normal((1, 1, 10, 10)), rng.standard_normal((3, 1, 3, 3)), 0.3)

    def press(iterate):
        if iterate.iteration == 10:
            raise KeyboardInterrupt

    assert solve(problem, "ista", callback=press).status == "stopped"


def test_two_solves_in_two_threads(rng):
    """Buffers are not shared between solves that run at once."""
    problem = CSCProblem(rng.standard_normal((1, 1, 40, 40)), rng.standard_normal((8, 1, 5, 5)), 0.3)
    wanted = solve(problem, "admm", tol=0, max_iter=50).codes
    found = [None] * 4

    def work(k):
        found[k] = solve(problem, "admm", tol=0, max_iter=50).codes

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for codes in found:
        np.testing.assert_array_equal(codes, wanted)


def test_progress_bar_is_drawn(rng, capfd):
    problem = CSCProblem(rng.standard_normal((1, 1, 10, 10)), rng.standard_normal((3, 1, 3, 3)), 0.3)
    solve(problem, "admm", tol=0, max_iter=20, progress=True)
    assert "gap=" in capfd.readouterr().err


def test_solver_options():
    assert FISTA().restart
    assert ISTA() == ISTA()
    with pytest.raises(AttributeError):
        ADMM().rho = 2
    for options, message in (
        ({"rho": -1}, "rho must be positive"),
        ({"relaxation": 2}, "relaxation must lie between 0 and 2"),
        ({"period": 0}, "period must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ADMM(**options)


def test_exactly_at_lambda_max(rng):
    """Rounding must not wake a code at λ = λ_max, even when nothing stops the iterations."""
    for _ in range(10):
        signal, bank = rng.standard_normal((1, 1, 14, 14)).astype("f"), rng.standard_normal((4, 1, 3, 3)).astype("f")
        top = CSCProblem(signal, bank, 1.0).lambda_max
        for method in ("ista", "fista"):
            assert solve(CSCProblem(signal, bank, top), method, tol=0, max_iter=20).nonzeros == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backtracking_does_not_chase_rounding(rng, dtype):
    """With A = I of unknown norm, steps stay where the curvature puts them, however long it runs."""
    identity = FunctionOperator(lambda x: x, lambda y: y, (1, 16, 16), (1, 16, 16))
    signal, bank = rng.standard_normal((1, 1, 16, 16)).astype(dtype), rng.standard_normal((3, 1, 3, 3)).astype(dtype)
    problem = CSCProblem(signal, bank, 0.5, forward=identity)
    for method in ("ista", "fista"):
        state = solve(problem, method, tol=0, max_iter=1500).state
        assert float(state.steps[0]) * problem.synthesis.lipschitz > 0.2


@pytest.mark.parametrize("method", ["admm", "fista", "working-set"])
def test_estimated_plans_give_the_same_bits_whatever_fftw_measures(monkeypatch, rng, method):
    pyfftw = pytest.importorskip("pyfftw")
    for name in ("load", "save"):
        monkeypatch.setattr(wisdom, name, lambda: None)
    signal, bank = rng.standard_normal((1, 1, 90, 121)), rng.standard_normal((8, 1, 7, 7))
    found = []
    for seconds in (2.0, 0.0):  # none: FFTW takes the first plan that comes to its mind
        monkeypatch.setattr(fft, "_PLANNING_SECONDS", seconds)
        fft.clear()
        pyfftw.forget_wisdom()
        problem = CSCProblem(signal, bank, 10.0)
        solve(problem, method, max_iter=2)  # by measurement, which must leave no trace
        with fft.estimated():
            found.append(solve(CSCProblem(signal, bank, 10.0), method, tol=0, max_iter=20).codes)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("method", ["ista", "fista", "admm", "primal-dual"])
def test_operators_of_any_size_in_single_precision(rng, method, scale):
    """‖A‖² and its square must not leave the range of float32 where codes and data do not."""
    matrix = (scale * rng.standard_normal((100, 144))).astype(np.float32)
    forward = cscopt.from_scipy(matrix, (1, 12, 12), (100,))
    signal, bank = rng.standard_normal((1, 100)).astype(np.float32), rng.standard_normal((4, 1, 3, 3))
    problem = CSCProblem(signal, bank.astype(np.float32), 1.0, forward=forward)
    problem = problem.with_penalty(0.3 * problem.lambda_max)
    found = solve(problem, method, tol=1e-2, max_iter=2000)
    assert found.status == "converged", found
    assert found.nonzeros


@pytest.mark.parametrize("gain", [1e-3, 1e3])
@pytest.mark.parametrize(("method", "fit"), [("admm", "l2"), ("primal-dual", "l2"), ("admm", "l1")])
def test_convolutions_of_any_gain(rng, method, fit, gain):
    """A that is folded into the filters counts in the first ρ."""
    found = []
    for size in (1.0, gain):
        blur = cscopt.operators.Blur((1, 12, 11), size * np.ones((3, 3)) / 9)
        signal = size * np.random.default_rng(0).standard_normal((1, 1, 12, 11))
        lam = 0.02 * (size**2 if fit == "l2" else size)
        problem = CSCProblem(signal, np.random.default_rng(1).standard_normal((4, 1, 3, 3)), lam, forward=blur, fit=fit)
        found.append(solve(problem, method, tol=2e-2, max_iter=4000))
        assert float(problem.curvature[0]) == pytest.approx(float(problem.system.norm_sq), rel=1e-6)
    assert found[0].status == found[1].status == "converged"
    assert found[1].iterations == pytest.approx(found[0].iterations, abs=40)
