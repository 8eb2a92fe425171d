"""GroupL1, ElasticNet, L0, L1MinusL2 and L1 by parts: proximal maps, solutions, certificates, SPORCO's classes."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.optimize

from cscopt import (
    L0,
    L1,
    ConvDictionary,
    CSCProblem,
    ElasticNet,
    GroupL1,
    L1MinusL2,
    Sum,
    certify,
    datasets,
    kkt_residual,
    lowpass,
    solve,
)
from cscopt.backend import to_numpy

CONVEX = {
    "group": lambda: GroupL1(0.05, 0.1),
    "group alone": lambda: GroupL1(0.0, 0.2),
    "labels": lambda: GroupL1(0.05, 0.1, np.array([0, 0, 1, 1])),
    "elastic": lambda: ElasticNet(0.1, 0.5),
    "elastic per filter": lambda: ElasticNet(np.linspace(0.05, 0.2, 4), 0.05),
}
NONCONVEX = {"l0": lambda: L0(0.05), "l1-l2": lambda: L1MinusL2(0.4)}


def make(space, rng, penalty, boundary="circular", batch=2):
    bank = ConvDictionary(space.filters(rng, 4, 1, 3, 2))
    return CSCProblem(space.random(rng, batch, 2, 7, 6), bank, penalty, boundary=boundary)


def plain_problem(penalty):
    return CSCProblem(np.ones((1, 1, 8, 8)), np.ones((4, 1, 3, 3)), penalty)


@pytest.mark.parametrize("name", [*CONVEX, *NONCONVEX])
def test_proximal_maps_minimise(rng, name):
    """No point that a local search or a set of candidates finds is better."""
    penalty = {**CONVEX, **NONCONVEX}[name]().repeated(4, 1)
    for step in (0.3, 2.0):
        v = rng.standard_normal((1, 4, 2)) * rng.choice([0.2, 1.0])

        def cost(x, v=v, step=step):
            x = x.reshape(v.shape)
            return float(0.5 * np.sum((x - v) ** 2) + step * penalty.value(x)[0])

        point = penalty.prox(v, step)
        best = cost(point)
        starts = [v, point, np.zeros_like(v), *(v * (rng.random(v.shape) > 0.5) for _ in range(20))]
        assert best <= min(cost(x) for x in starts) + 1e-12
        assert (
            best
            <= min(cost(point + 10.0**-k * rng.standard_normal(v.shape)) for k in range(1, 7) for _ in range(50))
            + 1e-12
        )
        if name in CONVEX:
            found = scipy.optimize.minimize(
                cost, point.ravel() + 0.1, method="Powell", options={"xtol": 1e-8, "ftol": 1e-14}
            )
            assert best <= found.fun + 1e-9


@pytest.mark.parametrize("boundary", ["circular", "zero", "symmetric", "none"])
@pytest.mark.parametrize("name", CONVEX)
def test_solvers_agree_and_certify_in_every_namespace(space, rng, name, boundary):
    if boundary != "circular" and (space.library, space.dtype) != ("numpy", "float64"):
        pytest.skip("one namespace is enough for boundaries")
    problem = make(space, rng, CONVEX[name](), boundary)
    tol = 3e-3 if space.real == "float32" else 1e-7 if space.library == "numpy" else 1e-4
    answers = [solve(problem, method, tol=tol, max_iter=20000) for method in ("fista", "admm")]
    assert solve(problem, max_iter=0).solver.name == ("admm" if boundary == "circular" else "primal-dual")
    for answer in answers:
        assert answer.status == "converged", answer
        assert answer.objective == pytest.approx(answers[0].objective, rel=2 * tol)
        assert to_numpy(kkt_residual(problem, answer.codes)).max() < (2e-3 if tol == 1e-7 else 0.2)
    again = certify(problem, answers[0].codes)
    assert to_numpy(again.gap).max() <= tol * (1 + 1e-3)


@pytest.mark.parametrize("name", CONVEX)
def test_the_gap_bounds_the_error(rng, name):
    problem = CSCProblem(rng.standard_normal((1, 2, 9, 8)), rng.standard_normal((4, 1, 3, 3)), CONVEX[name]())
    best = solve(problem, "admm", tol=1e-9, max_iter=50000).objective
    for iterations in (0, 3, 10, 40):
        answer = solve(problem, "fista", tol=0, max_iter=iterations)
        assert answer.objective * (1 - answer.gap) <= best * (1 + 1e-9)
        assert answer.objective >= best * (1 - 1e-8)


def test_groups_are_zero_together(rng):
    signal = rng.standard_normal((1, 3, 12, 12))
    problem = CSCProblem(signal, rng.standard_normal((4, 1, 3, 3)), GroupL1(0.0, 3.0))
    codes = solve(problem, "admm", tol=1e-6, max_iter=5000).codes.reshape((3, 4, 12, 12))
    active = codes != 0
    assert (active.any(axis=0) == active.all(axis=0)).all()
    assert 0 < active.mean() < 1


def test_where_codes_are_zero(rng):
    """Just above and just below what `zero_violation` says."""
    signal, bank = rng.standard_normal((1, 2, 8, 8)), rng.standard_normal((4, 1, 3, 3))
    for make_penalty in (lambda t: GroupL1(0.5 * t, t), lambda t: ElasticNet(t, 0.3)):
        low, high = 1e-3, 1e3
        for _ in range(60):
            middle = (low * high) ** 0.5
            if float(CSCProblem(signal, bank, make_penalty(middle)).zero_violation[0]) > 1:
                low = middle
            else:
                high = middle
        assert not solve(CSCProblem(signal, bank, make_penalty(high * 1.001)), "fista", tol=1e-8).nonzeros
        assert solve(CSCProblem(signal, bank, make_penalty(high * 0.99)), "fista", tol=1e-8).nonzeros
    problem = CSCProblem(signal, bank, ElasticNet(1.0, 0.3))
    assert problem.lambda_max > 0
    with pytest.raises(TypeError, match="lambda_max is of L1, ElasticNet and GradientL1; the penalty is GroupL1"):
        _ = CSCProblem(signal, bank, GroupL1(1.0, 1.0)).lambda_max


@pytest.mark.parametrize("name", NONCONVEX)
def test_without_a_certificate_the_gap_is_none(rng, name):
    problem = CSCProblem(rng.standard_normal((2, 1, 9, 8)), rng.standard_normal((4, 1, 3, 3)), NONCONVEX[name]())
    assert solve(problem, max_iter=0).solver.name == "primal-dual"
    answer = solve(problem, "ista", tol=1e-5, max_iter=20000)
    assert answer.gap is None
    assert answer.gaps is None
    assert answer.status == "converged"
    assert answer.kkt_residual <= 1e-5
    assert "kkt_residual" in repr(answer)
    assert answer.history["kkt_residual"][-1] <= 1e-5
    objectives = answer.history["objective"]
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(objectives))
    with pytest.raises(ValueError, match="admm needs a convex penalty"):
        solve(problem, "admm")


def test_working_set_serves_l1_alone(rng):
    problem = CSCProblem(rng.standard_normal((1, 1, 9, 8)), rng.standard_normal((4, 1, 3, 3)), ElasticNet(0.1))
    with pytest.raises(ValueError, match="working-set serves the L1 penalty alone"):
        solve(problem, "working-set")


def test_parts_of_complex_codes_are_two_real_problems(rng):
    y = rng.standard_normal((1, 1, 9, 8)) + 1j * rng.standard_normal((1, 1, 9, 8))
    bank = ConvDictionary(rng.standard_normal((4, 1, 3, 3)))
    both = solve(CSCProblem(y, bank, L1(0.2, parts=True)), "fista", tol=1e-9, max_iter=50000)
    parts = [solve(CSCProblem(p, bank, 0.2), "fista", tol=1e-9, max_iter=50000) for p in (y.real.copy(), y.imag.copy())]
    assert both.objective == pytest.approx(sum(p.objective for p in parts), rel=1e-7)
    np.testing.assert_allclose(both.codes, parts[0].codes + 1j * parts[1].codes, atol=1e-3)
    modulus = solve(CSCProblem(y, bank, L1(0.2)), "fista", tol=1e-6, max_iter=20000)
    assert modulus.objective < both.objective


def test_a_mask_and_an_operator_go_with_any_penalty(rng):
    from cscopt.operators import Mask

    signal, mask = rng.standard_normal((1, 1, 9, 8)), (rng.random((9, 8)) > 0.3).astype(float)
    bank = ConvDictionary(rng.standard_normal((4, 1, 3, 3)))
    masked = solve(CSCProblem(signal * mask, bank, ElasticNet(0.2, 0.1), mask=mask), "admm", tol=1e-8, max_iter=20000)
    forward = CSCProblem(signal * mask, bank, ElasticNet(0.2, 0.1), forward=Mask((1, 9, 8), mask))
    assert solve(forward, tol=1e-8, max_iter=50000).objective == pytest.approx(masked.objective, rel=1e-7)


@pytest.mark.parametrize(
    ("make_penalty", "message"),
    [
        (lambda: GroupL1(-0.1, 1.0), "lam must be"),
        (lambda: GroupL1(0.1, 0.0), "mu must be positive"),
        (lambda: GroupL1(0.1, 1.0, [0, 1]), "groups must be an array of integers"),
        (lambda: GroupL1(0.1, 1.0, np.array([], int)), "groups must be an array of integers"),
        (
            lambda: plain_problem(GroupL1(0.1, 1.0, np.array([0, 1]))),
            "one label for each of 4 maps; got 2",
        ),
        (lambda: ElasticNet(0.0, 1.0), "lam must be positive"),
        (lambda: ElasticNet(0.1, "1"), "mu must be a real number; got '1'"),
        (lambda: L1MinusL2("1"), "lam must be a real number; got '1'"),
        (lambda: plain_problem(Sum()), r"parts must be a tuple of penalties, and not empty; got \(\)"),
        (lambda: Sum(L0(1.0)), "parts must be a tuple of penalties"),
        (lambda: ElasticNet(0.1, float("nan")), "mu must be"),
        (lambda: L1MinusL2(np.ones(4)), "lam must be one number"),
        (
            lambda: plain_problem(L0(np.ones(5))),
            r"lam must be a number, or of shape \(4,\)",
        ),
    ],
)
def test_bad_penalties(make_penalty, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make_penalty()


def sporco_answer(solver, signal, bank, *levels):
    """SPORCO's codes in our layout, (1, C·M, H, W), channel-major."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    options = solver.Options(
        {"MaxMainIter": 800, "RelStopTol": 1e-12, "RelaxParam": 1.8, "rho": 1.0, "AutoRho": {"Enabled": False}}
    )
    given = np.moveaxis(signal[0], 0, -1)
    run = solver(bank.to_sporco(), given, *levels, options, dimK=0)
    codes = np.asarray(run.solve())  # (H, W, C, 1, M)
    return np.moveaxis(codes[:, :, :, 0, :], (2, 3), (0, 1)).reshape((1, -1, *signal.shape[2:]))


@pytest.mark.parametrize("name", ["ConvBPDNJoint", "ConvElasticNet"])
def test_the_optimum_is_sporcos(name):
    pytest.importorskip("sporco")
    from sporco.admm import cbpdn
    from sporco.util import convdicts

    bank = ConvDictionary.from_sporco(convdicts()["G:8x8x32"].astype(np.float64)).normalized()
    image = np.moveaxis(datasets.picture("astronaut", grey=False)[100:124, 200:224], -1, 0)[None]
    signal = lowpass.split(image.astype(np.float64))[1]
    penalty = GroupL1(0.03, 0.05) if name == "ConvBPDNJoint" else ElasticNet(0.05, 0.1)
    levels = (0.03, 0.05) if name == "ConvBPDNJoint" else (0.05, 0.1)
    problem = CSCProblem(signal, bank, penalty)
    theirs = float(problem.objective(sporco_answer(getattr(cbpdn, name), signal, bank, *levels))[0])
    ours = solve(problem, "admm", tol=1e-7, max_iter=20000)
    assert ours.status == "converged", ours
    assert ours.objective == pytest.approx(theirs, rel=1e-6)
    assert ours.objective <= theirs * (1 + 1e-6)


def test_to_numpy_is_all_that_is_needed_after_a_solve(space, rng):
    answer = solve(make(space, rng, GroupL1(0.05, 0.1), batch=1), "fista", tol=0, max_iter=3)
    assert np.isfinite(to_numpy(answer.reconstruction)).all()
