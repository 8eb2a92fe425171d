"""Codes to start from: every solver begins with them, and near an optimum it stays there."""

import numpy as np
import pytest

from cscopt import (
    L1,
    CSCProblem,
    ElasticNet,
    GradientL1,
    GroupL1,
    SparseCodes,
    TotalVariation,
    solve,
)

RNG = np.random.default_rng(0)
IMAGE, COLOUR = RNG.standard_normal((1, 1, 24, 24)), RNG.standard_normal((2, 3, 24, 24))
FILTERS = np.random.default_rng(1).standard_normal((4, 1, 5, 5))
HALF = 1.0 * (np.random.default_rng(2).random((24, 24)) < 0.6)

CASES = {
    **{boundary: (IMAGE, L1(5.0), {"boundary": boundary}) for boundary in ("circular", "zero", "symmetric", "none")},
    "mask": (IMAGE, L1(5.0), {"mask": HALF}),
    "non-negative": (IMAGE, L1(5.0, nonnegative=True), {"boundary": "none"}),
    "elastic net": (IMAGE, ElasticNet(5.0, 2.0), {}),
    "elastic net, none": (IMAGE, ElasticNet(5.0, 2.0), {"boundary": "none"}),
    "joint": (COLOUR, GroupL1(2.0, 2.0), {}),
    "gradient": (IMAGE, GradientL1(5.0, 1.0), {}),
    "gradient, mask": (IMAGE, GradientL1(5.0, 1.0), {"mask": HALF}),
}


@pytest.mark.parametrize("method", ["admm", "primal-dual"])
@pytest.mark.parametrize("case", CASES)
def test_the_optimum_is_where_it_begins_and_ends(case, method):
    if method == "primal-dual" and case.startswith("gradient"):
        pytest.skip("primal-dual does not serve it")
    image, penalty, options = CASES[case]
    problem = CSCProblem(image, FILTERS, penalty, **options)
    best = solve(problem, method, tol=1e-7, max_iter=3000)
    assert best.status == "converged"
    begun = solve(problem, method, tol=1e-6, x0=best.codes)
    assert (begun.status, begun.iterations) == ("converged", 0)
    np.testing.assert_allclose(begun.codes, best.codes, atol=1e-4)


@pytest.mark.parametrize("case", ["none", "mask", "elastic net", "joint"])
def test_good_codes_save_iterations(case):
    image, penalty, options = CASES[case]
    problem = CSCProblem(image, FILTERS, penalty, **options)
    good = solve(problem, "primal-dual", tol=1e-3)
    for method in ("admm", "primal-dual"):
        cold = solve(problem, method, tol=1e-4, check_every=1)
        warm = solve(problem, method, tol=1e-4, check_every=1, x0=good.codes)
        assert warm.iterations < cold.iterations
        assert warm.history["gap"][0] < 0.1 * cold.history["gap"][0]


def test_a_sum_begins_with_the_codes():
    problem = CSCProblem(IMAGE, FILTERS, L1(3.0) + TotalVariation(0.5))
    best = solve(problem, tol=1e-7, max_iter=3000)
    begun = solve(problem, x0=best.codes, max_iter=0)
    assert begun.objective == pytest.approx(best.objective, rel=1e-4)


@pytest.mark.parametrize("method", ["admm", "primal-dual"])
def test_other_fits_begin_near_the_codes(method):
    problem = CSCProblem(IMAGE, FILTERS, L1(1.0), fit="l1")
    good = solve(problem, method, tol=1e-2, max_iter=1000)
    begun = solve(problem, method, x0=good.codes, max_iter=0)
    assert begun.objective < 1.5 * good.objective


@pytest.mark.parametrize("method", ["ista", "fista", "admm", "primal-dual", "working-set"])
def test_a_bound_once_found_is_kept(method):
    """In the state, so that who goes on from it begins with the gap that was reported."""
    problem = CSCProblem(IMAGE, FILTERS, L1(1.0))
    first = solve(problem, method, tol=1e-9, max_iter=7 if method == "working-set" else 25)
    again = solve(problem, method, state=first.state, tol=1e-9, max_iter=0)
    assert 0 < again.gap <= first.gap * (1 + 1e-9)
    seen = []
    solve(problem, method, tol=1e-9, max_iter=20, check_every=1, callback=lambda it: seen.append((it.state, it.gap)))
    for state, gap in seen[:-1]:
        assert solve(problem, method, state=state, tol=1e-9, max_iter=0).gap <= gap * (1 + 1e-9)


@pytest.mark.parametrize("method", ["ista", "fista", "admm", "primal-dual", "working-set"])
def test_codes_of_any_kind_of_number_are_taken_and_complex_ones_refused(method):
    problem = CSCProblem(IMAGE, FILTERS, L1(5.0))
    x0 = np.zeros(problem.codes_shape)
    x0[0, 1, 3, 4] = 1
    wanted = solve(problem, method, x0=x0, max_iter=1).objective
    for dtype in (np.float16, np.float32, ">f8", np.int32, bool):
        assert solve(problem, method, x0=x0.astype(dtype), max_iter=1).objective == wanted
    for given in (x0 + 1j, SparseCodes.from_dense(x0 + 1j)):
        with pytest.raises(TypeError, match="codes must be real here; got complex128"):
            solve(problem, method, x0=given)
    with pytest.raises(ValueError, match="codes must have shape"):
        solve(problem, method, x0=SparseCodes.from_dense(x0[:, :2]))
