"""`method="auto"`: which solver it takes, and what it does where the first choice was wrong."""

import numpy as np
import pytest

from cscopt import ADMM, L1, ConvDictionary, CSCProblem, GroupL1, TotalVariation, checks, datasets, lowpass, solve
from cscopt.solvers.auto import choose

PICTURE = datasets.picture("camera")[None, None, 100:356:2, 100:356:2]


def problem(image, lam=0.05, **options):
    return CSCProblem(image, ConvDictionary.load("natural-8x8x32"), lam, **options)


def test_where_codes_are_sparse_it_is_the_working_set():
    high = lowpass.split(PICTURE)[1]
    for options in ({}, {"mask": np.ones(PICTURE.shape, np.float32)}, {"boundary": "symmetric"}, {"boundary": "none"}):
        found = solve(problem(high, **options))
        assert found.solver.name == "working-set"
        assert "few coefficients will not be zero" in found.reason


@pytest.mark.parametrize(
    ("penalty", "name"),
    [(GroupL1(0.1, 0.1), "admm"), (L1(0.05) + TotalVariation(0.01), "primal-dual"), (1e-6, "admm")],
)
def test_where_they_are_not_it_is_another(penalty, name):
    assert solve(problem(lowpass.split(PICTURE)[1], penalty), max_iter=2).solver.name == name


@pytest.mark.parametrize("options", [{"mask": True}, {"boundary": "none"}, {"boundary": "symmetric"}], ids=str)
def test_joint_sparsity_with_weights_or_a_boundary_is_the_primal_dual_methods(options):
    """On a bare picture ADMM is still far off when it has converged, and on none much nearer."""
    if "mask" in options:
        options = {"mask": (np.random.default_rng(0).random((48, 48)) < 0.5).astype(np.float32)}
    bare = problem(PICTURE[..., :48, :48], GroupL1(0.1, 0.1), **options)
    found = solve(bare, tol=1e-2, max_iter=1500)
    assert (found.solver.name, found.status) == ("primal-dual", "converged")
    admm = solve(bare, "admm", tol=1e-2, max_iter=found.iterations)
    assert admm.gap > found.gap
    assert admm.objective * (1 - admm.gap) <= found.objective


def test_torch_with_weights_is_the_primal_dual_methods():
    torch = pytest.importorskip("torch")
    signal, filters = torch.from_numpy(PICTURE[..., :20, :20]), torch.from_numpy(np.eye(9).reshape((9, 1, 3, 3)))
    masked = CSCProblem(signal, filters.to(signal.dtype), 0.1, mask=torch.ones((20, 20)))
    assert solve(masked, max_iter=2).solver.name == "primal-dual"


def test_a_working_set_that_does_not_converge_hands_over_to_admm():
    """With its low-pass part a picture needs smooth atoms, which depend much on each other."""
    smooth = problem(PICTURE - PICTURE.mean())
    found = solve(smooth)
    assert found.status == "converged"
    assert found.solver.name == "admm"
    assert "the working set's gap fell too slowly" in found.reason
    assert found.iterations > 30
    alone = solve(smooth, "admm", tol=1e-4, max_iter=5000)
    assert alone.objective * (1 - 1e-4) <= found.objective <= alone.objective * (1 + 1e-3)
    counts = found.history["iteration"]
    assert counts == sorted(set(counts))
    assert np.isnan(found.history["rho"][0])
    assert not np.isnan(found.history.to_dict()["rho"][-1])
    with pytest.raises(KeyError):
        found.history["no such column"]
    seconds = found.history["seconds"]
    assert seconds == sorted(seconds)
    again = solve(smooth, state=found.state)
    assert again.solver.name == "admm"
    assert again.reason == "it goes on from the state given"
    assert again.status == "converged"


def test_a_working_set_on_its_way_to_a_small_gap_goes_on():
    found = solve(problem(lowpass.split(PICTURE)[1].astype(np.float64), 0.02), tol=1e-11)
    assert found.solver.name == "working-set"
    assert found.status == "converged"
    assert found.iterations > 40
    counts = found.history["iteration"]
    assert counts == sorted(set(counts))


def test_it_does_not_hand_over_where_iterations_were_asked_for():
    smooth = problem(PICTURE - PICTURE.mean())
    assert solve(smooth, max_iter=60).solver.name == "working-set"
    assert solve(smooth, tol=0, max_iter=160).solver.name == "working-set"


def test_a_batch_is_handed_over_with_the_items_that_are_done():
    easy = lowpass.split(PICTURE)[1]
    both = solve(problem(np.concatenate([PICTURE - PICTURE.mean(), easy])))
    assert both.solver.name == "admm"
    assert both.statuses == ["converged", "converged"]
    alone = solve(problem(easy), tol=1e-5)
    assert both.objectives[1] == pytest.approx(alone.objective, rel=1e-3)


def test_items_that_are_done_stay_done_when_the_others_begin_anew():
    easy = lowpass.split(PICTURE)[1]
    batch = problem(np.concatenate([PICTURE - PICTURE.mean(), easy]))
    both, listed = (solve(batch, method, max_iter=152) for method in ("auto", "working-set"))
    assert both.solver.name == "admm"
    assert both.statuses == listed.statuses == ["max_iter", "converged"]
    assert both.objectives[1] == pytest.approx(listed.objectives[1], rel=1e-5)


def test_where_a_boundary_or_weights_are_split_off_it_is_the_working_set_however_dense_codes_are():
    high = lowpass.split(PICTURE)[1]
    mask = (np.random.default_rng(0).random(high.shape) < 0.5).astype(high.dtype)
    for case in ({"boundary": "none"}, {"boundary": "symmetric"}, {"mask": mask}):
        dense = problem(high, 1e-6, **case)
        chosen, reason = choose(dense)
        assert (chosen.name, "split D x off" in reason) == ("working-set", True)


def test_where_the_atoms_near_a_symmetric_boundary_do_not_fit_it_is_admm(rng, monkeypatch):
    signal, filters = rng.standard_normal((1, 1, 12, 12)), rng.standard_normal((4, 1, 9, 9))
    mirrored = CSCProblem(signal, filters, 9.0, boundary="symmetric")
    monkeypatch.setattr(checks, "free_memory", lambda like: 500_000)
    found = solve(mirrored, max_iter=2)
    assert found.solver.name == "admm"
    assert "forms of the filters" in found.reason


@pytest.mark.parametrize("boundary", ["circular", "zero", "none", "symmetric"])
def test_the_working_set_needs_no_memory_for_maps(rng, monkeypatch, boundary):
    signal, filters = rng.standard_normal((1, 1, 64, 64)), rng.standard_normal((32, 1, 5, 5))
    sized = CSCProblem(signal, filters, 20.0, boundary=boundary)
    monkeypatch.setattr(checks, "free_memory", lambda like: 1.5 * 32 * signal.nbytes)
    assert solve(sized).solver.name == "working-set"


def test_admm_begins_with_the_multiplier_of_the_codes_it_is_given():
    high = problem(lowpass.split(PICTURE)[1])
    near = solve(high, tol=1e-2)
    cold, warm = solve(high, "admm"), solve(high, "admm", x0=near.sparse_codes)
    assert warm.iterations < cold.iterations
    settled = solve(high, tol=1e-5)
    state = ADMM().step(high, ADMM().init(high, settled.codes))
    assert np.abs(ADMM().codes(high, state) - settled.codes).max() < 0.02 * np.abs(settled.codes).max()


def test_a_state_that_goes_on_counts_its_iterations_before_it_is_handed_over():
    smooth = problem(PICTURE - PICTURE.mean())
    for first, more in ((6, 24), (12, 38), (33, 37)):  # gaps of iterations 10, 30, 50 and 70 are compared
        begun = solve(smooth, max_iter=first)
        assert begun.solver.name == "working-set"
        found = solve(smooth, state=begun.state)
        assert (found.solver.name, found.status) == ("admm", "converged")
        assert found.history["iteration"][: more + 2] == [*map(float, range(more + 1)), 10.0 * (more // 10 + 1)]


def test_a_slow_working_set_is_handed_over_from_its_codes_or_from_zero_and_stops_when_told():
    smooth = problem(PICTURE - PICTURE.mean())
    for lam, near in ((0.05, True), (0.01, False)):
        seen = {}
        found = solve(
            smooth.with_penalty(L1(lam)),
            callback=lambda it, seen=seen: seen.__setitem__(it.iteration, it) or it.iteration >= 60,
        )
        assert (found.status, found.solver.name) == ("stopped", "admm")
        before, after = seen[30], seen[40]
        assert list(seen)[:32] == [*range(31), 40]
        assert (before.gap <= 0.25) == near
        assert (after.objective < 1.01 * before.objective) == near  # from its codes, or from zero
    early = solve(smooth, callback=lambda it: it.iteration >= 20)
    assert (early.status, early.iterations, early.solver.name) == ("stopped", 20, "working-set")
    rare = solve(smooth, check_every=25)
    assert (rare.solver.name, rare.status) == ("admm", "converged")
    assert rare.history["iteration"][:5] == [0.0, 10.0, 25.0, 30.0, 50.0]


def test_a_few_dense_maps_do_not_make_dense_codes():
    high = problem(lowpass.split(PICTURE)[1])
    for few, name in ((1, "working-set"), (8, "admm")):
        level = np.full(32, 0.3 * high.lambda_max, np.float32)
        level[:few] *= 1e-6
        found = solve(high.with_penalty(L1(level)), max_iter=1)
        assert found.solver.name == name
        assert ("λ, but for its least 10%, is λ_max / 3.33" in found.reason) == (few == 1)


def test_zero_codes_are_said_to_be_zero():
    assert "λ is at least λ_max" in solve(problem(np.zeros_like(PICTURE))).reason
    assert "λ is at least λ_max" in solve(problem(PICTURE, 1e3)).reason
