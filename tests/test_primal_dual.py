"""Sums of penalties, total variation, fits with any forward operator: known optima, gaps, SPORCO's classes."""

import math

import numpy as np
import pytest
import scipy.optimize

from cscopt import (
    ADMM,
    L1,
    ConvDictionary,
    CSCProblem,
    ElasticNet,
    FunctionOperator,
    GradientL1,
    GroupL1,
    PoissonFit,
    PrimalDual,
    Sum,
    TotalVariation,
    certify,
    datasets,
    lowpass,
    path,
    solve,
)
from cscopt.backend import to_numpy
from cscopt.operators import MRI, Blur, Decimate, Mask, gaussian_kernel, random_mask

KINDS = ("maps", "joint maps", "reconstruction")
WEIGHTS = np.array([0.02, 0.0, 0.01, 0.03])
SMOOTH = np.array([0.0, 1.0, 0.5, 2.0])


def crop(n=20, channels=None):
    """The high-pass part of a piece of a picture."""
    if channels is None:
        image = datasets.picture("camera")[None, None, 90:130, 210:250]
    else:
        image = np.moveaxis(datasets.picture("astronaut", grey=False)[60:100, 200:240, :channels], -1, 0)[None]
    return lowpass.split(image.astype(np.float64))[1][..., 10 : 10 + n, 10 : 10 + n]


def bank(rng, filters=4, channels=1):
    return ConvDictionary(rng.standard_normal((filters, channels, 4, 3))).normalized()


def by_hand(problem, codes):
    """f(A D x) + Σ g_k(x) from the definitions, for one item, a circular boundary and least squares."""
    filters, groups = to_numpy(problem.dictionary.filters), problem.synthesis.groups
    maps = codes[0].reshape((groups, filters.shape[0], *codes.shape[2:]))

    def image(weights):
        spectra = np.fft.fft2(filters * weights[:, None, None, None], codes.shape[2:])
        found = np.fft.ifft2(np.einsum("mcij,gmij->gcij", spectra, np.fft.fft2(maps)))
        return (found if np.iscomplexobj(codes) else found.real).reshape((-1, *codes.shape[2:]))

    def slopes(x):
        return np.stack([x - np.roll(x, 1, axis) for axis in (-2, -1)])

    total = np.sum(np.abs(image(np.ones(len(filters))) - problem.signal[0]) ** 2) / 2
    for part in problem.penalty.parts:
        if not isinstance(part, TotalVariation):
            total += float(part.value(codes)[0])
            continue
        lam = np.broadcast_to(part.lam, len(filters)).astype(float)
        squares = np.abs(slopes(maps * lam[:, None, None])) ** 2
        if part.of == "maps":
            total += np.sqrt(squares.sum(0)).sum()
        elif part.of == "joint maps":
            total += np.sqrt(squares.sum((0, 2))).sum()
        else:
            total += np.sqrt((np.abs(slopes(image(lam))) ** 2).sum((0, 1))).sum()
    return total


@pytest.mark.parametrize("boundary", ["circular", "zero", "symmetric", "none"])
@pytest.mark.parametrize("of", KINDS)
def test_differences_have_their_adjoint_and_symbol(space, rng, of, boundary):
    if boundary != "circular" and (space.library, space.dtype) != ("numpy", "float64"):
        pytest.skip("one namespace is enough for boundaries")
    filters = space.filters(rng, 4, 1, 3, 2)
    lam = space.array(WEIGHTS, space.real)
    problem = CSCProblem(space.random(rng, 2, 2, 7, 6), filters, L1(0.1) + TotalVariation(lam, of), boundary=boundary)
    (part,) = problem.penalty.tail
    rows = problem.embed(space.random(rng, *problem.codes_shape))
    seen = part.apply(rows)
    q = space.random(rng, *seen.shape)
    left, right = (np.vdot(to_numpy(a), to_numpy(b)) for a, b in ((q, seen), (part.adjoint(q), rows)))
    assert complex(left).real == pytest.approx(complex(right).real, rel=10 * space.rtol, abs=10 * space.rtol)
    ball = to_numpy(part.feasible_dual(q))
    assert float(to_numpy(part.amount(seen)).sum()) >= complex(np.vdot(ball, to_numpy(seen))).real
    sub = to_numpy(part.subgradient(seen))
    assert float(to_numpy(part.amount(seen)).sum()) == pytest.approx(
        complex(np.vdot(sub, to_numpy(seen))).real, rel=100 * space.rtol
    )
    grid = to_numpy(part.symbol)
    line = [np.abs(1 - np.exp(-2j * np.pi * np.arange(n) / n)) ** 2 for n in problem.synthesis.grid]
    np.testing.assert_allclose(grid, np.add.outer(*line)[:, : grid.shape[1]], atol=1e-5)


@pytest.mark.parametrize("of", KINDS)
def test_proximal_maps_minimise(rng, of):
    problem = CSCProblem(crop(6), bank(rng), L1(0.1) + TotalVariation(0.7, of))
    (part,) = problem.penalty.tail
    v = rng.standard_normal(part.apply(rng.standard_normal((1, 4, 6, 6))).shape)
    step = np.array([0.8])

    def cost(z):
        return float(np.sum((z - v) ** 2) / 2 + step[0] * part.amount(z)[0])

    point = part.shrink(v, step)
    trials = [point + 10.0**-k * rng.standard_normal(v.shape) for k in range(1, 7) for _ in range(20)]
    assert cost(point) <= min(cost(z) for z in [v, 0 * v, *trials])
    # Moreau: what is left of v is in the dual ball, and pairs with the point as a subgradient does
    q = (v - point) / step[0]
    np.testing.assert_allclose(part.feasible_dual(q), q, atol=1e-12)
    assert np.vdot(q, point) == pytest.approx(part.amount(point)[0])


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("of", KINDS)
def test_the_objective_is_what_it_says(rng, of, channels):
    """Single- and multi-channel dictionaries, weights per filter, and the solver's own answer."""
    signal = crop(10, None if channels is None else 3)
    penalty = L1(0.02) + TotalVariation(WEIGHTS, of) + TotalVariation(0.004, of)
    problem = CSCProblem(signal, bank(rng, 4, channels or 1), penalty)
    codes = rng.standard_normal(problem.codes_shape)
    assert float(problem.objective(codes)[0]) == pytest.approx(by_hand(problem, codes), rel=1e-12)
    answer = solve(problem, tol=3e-5, max_iter=3000)
    assert answer.status == "converged", answer
    assert answer.solver.name == "primal-dual"
    assert answer.objective == pytest.approx(by_hand(problem, answer.codes), rel=1e-12)


@pytest.mark.parametrize("boundary", ["circular", "zero", "symmetric", "none"])
@pytest.mark.parametrize("of", KINDS)
def test_the_gap_bounds_the_error_and_vanishes(rng, of, boundary):
    problem = CSCProblem(crop(12), bank(rng), L1(0.03) + TotalVariation(0.01, of), boundary=boundary)
    tol = 1e-6 if boundary == "circular" else 1e-5
    best = solve(problem, tol=tol, max_iter=3000)
    assert best.status == "converged", best
    for iterations in (0, 3, 10, 40, 150):
        early = solve(problem, tol=0, max_iter=iterations)
        assert early.objective * (1 - early.gap) <= best.objective * (1 + 1e-12)
        assert early.objective >= best.objective * (1 - tol)
    found = certify(problem, best.codes)  # of the codes alone: true, if not tight
    assert float(found.objective[0]) == pytest.approx(best.objective, rel=1e-12)
    assert best.gap <= float(found.gap[0]) < 1
    for _ in range(20):  # no point near is better
        near = best.codes + 10.0 ** rng.uniform(-6, -1) * rng.standard_normal(best.codes.shape)
        assert float(problem.objective(near)[0]) > best.objective * (1 - tol)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("of", KINDS)
def test_the_optimum_is_sporcos(rng, of, weighted):
    """ConvBPDNScalarTV, ConvBPDNVectorTV and ConvBPDNRecTV with TVWeight: never better by more than 1e-6.

    SPORCO 0.2.2's ScalarTV shrinks all gradients as one vector: it misses the optimum of its own objective by a fifth,
    and finds it with that axis named. Where TVWeight differs between maps, its solve per frequency (Sherman-Morrison
    for one shift of all maps) is not of its system, and its answers are far off; that of RecTV is.
    """
    cbpdntv = pytest.importorskip("sporco.admm.cbpdntv")
    prox = pytest.importorskip("sporco.prox")

    class ScalarTV(cbpdntv.ConvBPDNScalarTV):
        def ystep(self):
            moved = self.AX + self.U
            self.Y[..., :-1] = prox.prox_l2(moved[..., :-1], self.mu / self.rho, axis=-1)
            self.Y[..., -1] = prox.prox_l1(moved[..., -1], self.lmbda / self.rho)

    signal, atoms, lam, mu = crop(24), bank(rng, 6), 0.02, 0.01
    weights = np.array([1.0, 0.5, 0.8, 2.0, 1.0, 1.5]) if weighted else np.ones(6)
    problem = CSCProblem(signal, atoms, L1(lam) + TotalVariation(mu * weights if weighted else mu, of))
    ours = solve(problem, tol=2e-6, max_iter=3000)
    assert ours.status == "converged", ours
    kinds = {
        "maps": (cbpdntv.ConvBPDNScalarTV, ScalarTV),
        "joint maps": (cbpdntv.ConvBPDNVectorTV,),
        "reconstruction": (cbpdntv.ConvBPDNRecTV,),
    }[of]
    for kind in kinds:
        settings = {"MaxMainIter": 300, "RelStopTol": 1e-9, "rho": 3.0, "RelaxParam": 1.8, "TVWeight": weights}
        run = kind(atoms.to_sporco(), signal[0, 0], lam, mu, kind.Options({"AutoRho": {"Enabled": False}, **settings}))
        codes = np.moveaxis(np.asarray(run.solve()).reshape((24, 24, -1)), -1, 0)[None]
        value = float(problem.objective(codes)[0])
        assert ours.objective <= value * (1 + 1e-6)
        assert ours.objective * (1 - ours.gap) <= value
    if not weighted or of == "reconstruction":
        assert ours.objective == pytest.approx(value, rel=2e-4)


@pytest.mark.parametrize("of", KINDS)
def test_every_namespace_agrees_with_numpy(space, rng, of):
    signal, filters = space.random(rng, 2, 2, 7, 6), space.filters(rng, 4, 1, 3, 2)
    lam = space.array([0.1, 0.2, 0.0, 0.15], space.real)
    tol = 1e-3 if space.real == "float32" else 1e-4
    answer = solve(CSCProblem(signal, filters, L1(0.3) + TotalVariation(lam, of)), tol=tol, max_iter=2000)
    assert answer.status == "converged", answer
    wide = "complex128" if space.complex else "float64"
    plain = CSCProblem(
        to_numpy(signal).astype(wide), to_numpy(filters).astype(float), L1(0.3) + TotalVariation(to_numpy(lam), of)
    )
    value = float(plain.objective(to_numpy(answer.codes).astype(wide)).sum())
    assert value == pytest.approx(answer.objective, rel=1e-5)
    wanted = solve(plain, tol=1e-5, max_iter=3000)
    assert value == pytest.approx(wanted.objective, rel=1.5 * tol)


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        (GroupL1(0.05, 0.1), L1(0.05) + GroupL1(0.0, 0.1)),
        (ElasticNet(0.12, 0.5), L1(0.08) + ElasticNet(0.04, 0.5)),
        (L1(0.1, nonnegative=True), GroupL1(0.0, 1e-9) + L1(0.1, nonnegative=True)),
        (ElasticNet(0.1, 0.5), ElasticNet(0.05, 0.2) + ElasticNet(0.05, 0.3)),
        (GradientL1(0.05, 0.7, SMOOTH), L1(0.05) + GradientL1(0.0, 0.7, SMOOTH)),
        (GradientL1(0.05, 0.7), GradientL1(0.02, 0.4, np.ones(8)) + GradientL1(0.03, 0.3)),
    ],
    ids=["group", "elastic", "non-negative", "two nets", "gradient", "two gradients"],
)
def test_sums_are_what_they_add_up_to(rng, whole, parts):
    signal, atoms = rng.standard_normal((2, 2, 9, 8)), bank(rng)
    wanted = solve(CSCProblem(signal, atoms, whole), "admm", tol=1e-8, max_iter=5000)
    problem = CSCProblem(signal, atoms, parts)
    answer = solve(problem, tol=1e-5, max_iter=3000)
    assert answer.status == "converged", answer
    assert answer.objective == pytest.approx(wanted.objective, rel=2e-5)
    assert not parts.nonnegative or answer.codes.min() >= 0
    for iterations in (0, 4, 30):
        early = solve(problem, tol=0, max_iter=iterations)
        assert early.objective * (1 - early.gap) <= wanted.objective * (1 + 1e-9)


@pytest.mark.parametrize("fit", ["l2", "l1", PoissonFit(0.3)], ids=["l2", "l1", "poisson"])
@pytest.mark.parametrize("kind", ["group", "variation", "non-negative"])
def test_a_quadratic_of_gradients_joins_a_sum(rng, kind, fit):
    """The objective is the formula's, the gap bounds the error, and the optimum is met."""
    signal = np.abs(rng.standard_normal((2, 1, 9, 8)))
    penalty = {
        "group": GroupL1(0.02, 0.1, np.array([0, 0, 1, 1])) + GradientL1(0.0, 0.7, SMOOTH),
        "variation": GradientL1(0.05, 0.7, SMOOTH) + TotalVariation(0.02, "reconstruction"),
        "non-negative": GradientL1(0.02, 0.7, SMOOTH) + L1(0.05, nonnegative=True),
    }[kind]
    problem = CSCProblem(signal, bank(rng), penalty, fit=fit)
    best = solve(problem, tol=1e-5, max_iter=5000)
    assert best.status == "converged", best
    if kind == "variation":
        bound = [part.bound(problem.synthesis) for part in penalty.parts]
        value = problem.datafit.value(problem.system.synthesize(problem.embed(best.codes)))
        wanted = value + sum(part.value(best.codes) for part in bound)
        np.testing.assert_allclose(problem.objective(best.codes), wanted, rtol=1e-12)
    for iterations in (0, 4, 30, 100):
        early = solve(problem, tol=0, max_iter=iterations)
        assert early.objective * (1 - early.gap) <= best.objective * (1 + 1e-12)
        assert early.objective >= best.objective * (1 - 1e-5)
    for _ in range(20):  # no point near is better
        near = best.codes + 10.0 ** rng.uniform(-6, -1) * rng.standard_normal(best.codes.shape)
        near = np.maximum(near, 0) if penalty.nonnegative else near
        assert (problem.objective(near) >= best.objectives * (1 - 1e-5)).all()


def test_a_quadratic_of_gradients_joins_a_sum_in_every_namespace(space, rng):
    signal, filters = space.random(rng, 2, 2, 7, 6), space.filters(rng, 4, 1, 3, 2)
    weights = space.array(SMOOTH, space.real)
    whole = CSCProblem(signal, filters, GradientL1(0.3, 0.7, weights))
    parts = CSCProblem(signal, filters, L1(0.3) + GradientL1(0.0, 0.7, weights))
    tol = 2e-3 if space.real == "float32" else 1e-4
    wanted, answer = solve(whole, "admm", tol=tol, max_iter=2000), solve(parts, tol=tol, max_iter=2000)
    assert (wanted.status, answer.status) == ("converged", "converged"), answer
    assert answer.objective == pytest.approx(wanted.objective, rel=2 * tol)


def test_the_head_may_be_a_group_norm(rng):
    """With the variation of each channel's maps; the gap bounds the error, and groups are zero together."""
    problem = CSCProblem(crop(10, 3), bank(rng), TotalVariation(0.005) + GroupL1(0.0, 0.05))
    best = solve(problem, tol=1e-5, max_iter=3000)
    assert best.status == "converged", best
    for iterations in (0, 5, 50):
        early = solve(problem, tol=0, max_iter=iterations)
        assert early.objective * (1 - early.gap) <= best.objective <= early.objective * (1 + 1e-5)
    active = best.codes.reshape((3, 4, 10, 10)) != 0
    assert (active.any(axis=0) == active.all(axis=0)).all()
    assert 0 < active.mean() < 1


@pytest.mark.parametrize("kind", ["plain", "mask", "zero", "none", "blur", "decimate", "mri", "multi-channel"])
def test_it_agrees_with_the_other_solvers(rng, kind):
    signal, atoms, options = crop(16), bank(rng), {}
    if kind == "mask":
        options["mask"] = rng.choice([0.0, 1.0, 2.0], size=(16, 16))
    if kind in ("zero", "none"):
        options["boundary"] = kind
    if kind == "blur":
        options["forward"] = Blur((1, 16, 16), gaussian_kernel(0.6)[:5, :5])
    if kind == "decimate":
        options["forward"] = Decimate((1, 16, 16), 2) @ Blur((1, 16, 16), gaussian_kernel(0.6)[:5, :5], "zero")
    if kind == "mri":
        options["forward"] = MRI(random_mask((16, 16), 2, rng=0))
    if kind == "multi-channel":
        signal, atoms = crop(16, 3), bank(rng, 4, 3)
    data = options["forward"].apply(signal) if "forward" in options else signal
    problem = CSCProblem(data, atoms, 0.02, **options)
    wanted = solve(problem, "fista", tol=1e-8, max_iter=20000)
    answer = solve(problem, "primal-dual", tol=1e-6, max_iter=3000)
    assert answer.status == "converged", answer
    assert answer.objective == pytest.approx(wanted.objective, rel=2e-6)


def matrix_of(problem):
    """A D as a matrix, column by column."""
    size = math.prod(problem.codes_shape)
    images = [problem.synthesis.apply(e.reshape(problem.codes_shape)) for e in np.eye(size)]
    return np.stack([problem.forward.apply(image).ravel() for image in images], axis=1)


@pytest.mark.parametrize("boundary", ["circular", "zero"])
def test_the_l1_optimum_with_an_operator_is_a_linear_programme(rng, boundary):
    """min Σ W e + Σ Λ (p + n) over |y − A D (p − n)| ≤ e, by SciPy's simplex."""
    forward = Decimate((1, 8, 7), 2) @ Blur((1, 8, 7), gaussian_kernel(0.5)[:3, :3])
    y = forward.apply(crop(8)[..., :7]) + 2 * (rng.random(forward.output_shape) > 0.8)
    mask = rng.choice([0.0, 1.0, 2.0], size=y.shape)
    problem = CSCProblem(y, bank(rng), 0.2, forward=forward, mask=mask, boundary=boundary, fit="l1")
    matrix, one = matrix_of(problem), np.eye(y.size)
    above = np.block([[matrix, -matrix, -one], [-matrix, matrix, -one]])
    cost = np.concatenate([np.full(2 * matrix.shape[1], 0.2), mask.ravel()])
    best = scipy.optimize.linprog(cost, above, np.concatenate([y.ravel(), -y.ravel()]), method="highs").fun
    for iterations in (0, 3, 50):
        early = solve(problem, tol=0, max_iter=iterations)
        assert early.objective * (1 - early.gap) <= best * (1 + 1e-9)
        assert best <= early.objective * (1 + 1e-9)
    answer = solve(problem, tol=1e-6, max_iter=5000)
    assert answer.status == "converged", answer
    assert answer.solver.name == "primal-dual"
    assert answer.objective == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("fit", ["l1", PoissonFit(0.3)], ids=["l1", "poisson"])
@pytest.mark.parametrize("penalty", [lambda: L1(0.3), lambda: L1(0.3) + TotalVariation(0.05, "reconstruction")])
def test_an_operator_that_samples_is_a_mask(rng, fit, penalty):
    y, seen = rng.poisson(2.0, (1, 1, 9, 8)).astype(float), (rng.random((9, 8)) > 0.3) * 1.0
    masked = CSCProblem(y, bank(rng), penalty(), mask=seen, fit=fit)
    sampled = CSCProblem(y * seen, masked.dictionary, penalty(), forward=Mask((1, 9, 8), seen), mask=seen, fit=fit)
    answers = [solve(p, tol=1e-4, max_iter=8000) for p in (masked, sampled)]
    assert all(a.status == "converged" for a in answers), answers
    assert answers[0].objective == pytest.approx(answers[1].objective, rel=1.5e-4)
    assert answers[1].solver.name == "primal-dual"
    assert np.isfinite(sampled.objective(answers[1].codes)).all()


@pytest.mark.parametrize("fit", ["l2", "l1"])
def test_an_operator_of_unknown_norm(rng, fit):
    """Whose largest singular value power iteration from its first image does not see: the bound is raised."""
    known = Decimate((1, 12, 12), 2) @ Blur((1, 12, 12), gaussian_kernel(0.5)[:3, :3])
    hidden = FunctionOperator(known.apply, known.adjoint, known.input_shape, known.output_shape)
    y = known.apply(crop(12))
    problems = [CSCProblem(y, bank(np.random.default_rng(0)), 0.05, forward=a, fit=fit) for a in (known, hidden)]
    answers = [solve(p, "primal-dual", tol=1e-3, max_iter=4000) for p in problems]
    assert all(a.status == "converged" for a in answers), answers
    assert answers[0].objective == pytest.approx(answers[1].objective, rel=1.5e-3)
    problem, solver = problems[1], PrimalDual()
    state = solver.init(problem)
    low = type(state)(**{**vars(state), "bound": state.bound * 1e-3})
    for _ in range(5):
        low = solver.step(problem, low)
    assert float(low.bound[0]) > 0.1 * known.norm**2
    late = solve(problem, solver, tol=1e-3, max_iter=4000, state=low)
    assert late.status == "converged", late


@pytest.mark.parametrize("kind", ["variation", "l1 fit"])
def test_a_batch_answers_as_its_items_and_resumes(rng, kind):
    signal, atoms = (
        np.concatenate([crop(12), 0.3 * crop(12)[..., ::-1], rng.standard_normal((1, 1, 12, 12))]),
        bank(rng),
    )
    forward = Decimate((1, 12, 12), 2)

    def make(y):
        if kind == "variation":
            return CSCProblem(y, atoms, L1(0.02) + TotalVariation(0.01) + TotalVariation(WEIGHTS, "reconstruction"))
        return CSCProblem(forward.apply(y), atoms, 0.1, forward=forward, fit="l1")

    tol = 1e-4 if kind == "variation" else 5e-3
    both = solve(make(signal), tol=tol, max_iter=5000)
    assert both.statuses == ["converged"] * 3
    for k in range(3):
        alone = solve(make(signal[k : k + 1]), tol=tol, max_iter=5000)
        assert alone.objective == pytest.approx(both.objectives[k], rel=1e-8)
    half = solve(make(signal), tol=0, max_iter=87, check_every=9)
    rest = solve(make(signal), tol=0, max_iter=73, state=half.state)
    straight = solve(make(signal), tol=0, max_iter=160)
    np.testing.assert_array_equal(rest.codes, straight.codes)
    again = solve(make(signal), tol=tol, max_iter=5000, x0=both.codes)
    assert again.objective == pytest.approx(both.objective, rel=2 * tol)
    with pytest.raises(ValueError, match="state is of another problem"):
        solve(make(2 * signal), state=half.state)


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("fit", ["l2", "l1"])
def test_mri_with_variation(rng, real, fit):
    """Complex data, complex or real codes; for the L1 fit with an A that is no convolution of images."""
    forward = MRI(random_mask((12, 12), 2, rng=0))
    data = forward.apply(crop(12) + (0 if real else 0.3j) * crop(12)[..., ::-1])
    penalty = L1(0.02) + TotalVariation(0.01, "reconstruction")
    problem = CSCProblem(data, bank(rng), penalty, forward=forward, real_codes=real, fit=fit)
    tol = 1e-5 if fit == "l2" else 3e-3
    answer = solve(problem, tol=tol, max_iter=4000)
    assert answer.status == "converged", answer
    assert np.iscomplexobj(answer.codes) != real
    for iterations in (0, 10, 100):
        early = solve(problem, tol=0, max_iter=iterations)
        assert early.objective * (1 - early.gap) <= answer.objective
        assert early.objective >= answer.objective * (1 - tol)


def test_variation_prefers_flat_pictures(rng):
    """Of the reconstruction, it takes noise away that the ℓ1 norm leaves."""
    flat = np.zeros((1, 1, 24, 24))
    flat[..., 6:18, 8:20] = 1
    noisy = flat + 0.1 * rng.standard_normal(flat.shape)
    atoms = ConvDictionary(rng.standard_normal((6, 1, 5, 5))).with_impulse().normalized()

    def error(penalty):
        return float(np.mean((solve(CSCProblem(noisy, atoms, penalty), tol=1e-3).reconstruction - flat) ** 2))

    alone = min(error(L1(lam)) for lam in (0.02, 0.05, 0.1, 0.2))
    assert error(L1(0.01) + TotalVariation(0.15, "reconstruction")) < 0.3 * alone


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda y, d: TotalVariation(-0.1), ValueError, "lam must be positive"),
        (lambda y, d: TotalVariation(np.zeros(4)), ValueError, "lam must not be zero everywhere"),
        (lambda y, d: TotalVariation(np.array([0.1, -0.1])), ValueError, "lam must not be negative"),
        (lambda y, d: TotalVariation(0.1, "image"), ValueError, "of must be 'maps', 'joint maps' or 'reconstruction'"),
        (lambda y, d: CSCProblem(y, d, TotalVariation(0.1)), ValueError, "TotalVariation must be added to a penalty"),
        (
            lambda y, d: CSCProblem(y, d, TotalVariation(0.1) + TotalVariation(0.2)),
            ValueError,
            "TotalVariation must be added to a penalty",
        ),
        (
            lambda y, d: CSCProblem(y, d, L1(0.1) + TotalVariation(np.ones(3))),
            ValueError,
            r"lam of TotalVariation must be a number or of shape \(4,\); got \(3,\)",
        ),
        (
            lambda y, d: CSCProblem(y, d, L1(0.1) + GradientL1(np.array([0.1, 0.1, 0.0, 0.1]))),
            ValueError,
            "lam of GradientL1 must be positive everywhere, or 0 everywhere, in a sum of penalties",
        ),
        (
            lambda y, d: CSCProblem(np.tile(y, (1, 2, 1, 1)), d, L1(0.1) + GradientL1(0.0, 1.0, np.arange(8.0))),
            ValueError,
            r"weights must be of shape \(4,\), for every channel, in a sum of penalties",
        ),
        (
            lambda y, d: CSCProblem(y, d, GradientL1(0.0) + TotalVariation(0.1)),
            ValueError,
            "lam of GradientL1 must be positive in a sum without another penalty with a proximal map",
        ),
        (
            lambda y, d: CSCProblem(y, d, L1(0.1) + GradientL1(0.0), boundary="zero"),
            ValueError,
            "boundary must be 'circular' for GradientL1; got 'zero'",
        ),
        (
            lambda y, d: CSCProblem(y, d, L1(0.1) + GradientL1(0.0), boundary="symmetric"),
            ValueError,
            "symmetric' serves the penalties L0, .* got GradientL1",
        ),
        (lambda y, d: CSCProblem(y, d, L1(0.1) + L1(np.ones(7))), ValueError, r"lam must be .* got \(7,\)"),
        (lambda y, d: L1(0.1) + 0.1, TypeError, "unsupported operand"),
        (lambda y, d: Sum(parts=(L1(0.1), 0.1)), TypeError, "a sum is of penalties; got float"),
        (lambda y, d: TotalVariation(0.1).value(np.ones((1, 4, 8, 7))), TypeError, "as part of a CSCProblem alone"),
        (lambda y, d: path(CSCProblem(y, d, L1(0.1) + TotalVariation(0.1)), [0.1]), TypeError, "one penalty, not a su"),
        (lambda y, d: PrimalDual(relaxation=2), ValueError, "relaxation must lie between 0 and 2"),
        (lambda y, d: PrimalDual(adaptive="no"), TypeError, "adaptive must be True or False; got 'no'"),
        (lambda y, d: L1(0.1, nonnegative="no"), TypeError, "nonnegative must be True or False; got 'no'"),
        (lambda y, d: PrimalDual(rho=0), ValueError, "rho must be positive"),
        (
            lambda y, d: solve(CSCProblem(y, d, 0.1, forward=Mask((1, 8, 7), np.eye(8, 7)), fit="l1"), ADMM()),
            ValueError,
            "admm needs forward= to be a convolution on a circular boundary for fit='l1'; use 'primal-dual'",
        ),
        *(
            (
                lambda y, d, m=m: solve(CSCProblem(y, d, L1(0.1) + TotalVariation(0.1)), m),
                ValueError,
                f"{m} serves one penalty with a proximal map, not a sum; use 'primal-dual'",
            )
            for m in ("ista", "fista", "admm", "working-set")
        ),
    ],
)
def test_bad_input(rng, make, error, message):
    with pytest.raises(error, match=message):
        make(rng.random((1, 1, 8, 7)), rng.standard_normal((4, 1, 3, 3)))


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (L1(0.1) + TotalVariation(0.1), L1(0.1) + TotalVariation(np.arange(1, 5) / 20), "its .*penalty.* differ"),
        (L1(0.1) + L1(0.1), L1(0.1) + TotalVariation(0.1), "its point.tail.v is"),
        (L1(0.1) + L1(0.1), L1(0.1) + L1(0.1) + L1(0.1), "its point.tail.rest is absent, not of type Tail"),
        (L1(0.1) + L1(0.1) + L1(0.1), L1(0.1) + L1(0.1), "its point.tail.rest is of type Tail, not absent"),
    ],
)
def test_a_state_of_another_sum_is_refused(rng, first, then, message):
    signal, filters = rng.standard_normal((1, 1, 8, 7)), rng.standard_normal((4, 1, 3, 3))
    state = solve(CSCProblem(signal, filters, first), max_iter=2).state
    with pytest.raises(ValueError, match=f"state is of another problem: {message}"):
        solve(CSCProblem(signal, filters, then), state=state)


def test_python_sums_penalties(rng):
    assert sum([L1(0.1), TotalVariation(0.2)]).parts[1].lam == 0.2
    with pytest.raises(TypeError, match="unsupported operand"):
        3 + L1(0.1)


def test_a_penalty_counts_as_often_as_it_stands_in_a_sum(rng):
    signal, filters = rng.standard_normal((1, 1, 16, 16)), rng.standard_normal((4, 1, 3, 3))
    part = L1(0.1)
    for twice, once in (((part + part), L1(0.2)), (part + part + TotalVariation(0.1), None)):
        other = once if once is not None else L1(0.2) + TotalVariation(0.1)
        problems = [CSCProblem(signal, ConvDictionary(filters).normalized(), p) for p in (twice, other)]
        found = [solve(problem, tol=1e-6, max_iter=5000) for problem in problems]
        assert all(one.status == "converged" for one in found)
        assert found[0].objective == pytest.approx(found[1].objective, rel=2e-6)


@pytest.mark.parametrize("options", [{"boundary": "zero"}, {"masked": True}], ids=str)
def test_codes_keep_the_signals_precision(options, rng):
    signal = rng.standard_normal((1, 1, 16, 16)).astype(np.float32)
    dictionary = ConvDictionary(rng.standard_normal((4, 1, 3, 3)).astype(np.float32))
    mask = (rng.random(signal.shape) > 0.2).astype(np.float32) if options.pop("masked", False) else None
    penalty = L1(0.1) + TotalVariation(0.1)
    problem = CSCProblem(signal, dictionary, penalty, mask=mask, **options)
    assert solve(problem, max_iter=3).codes.dtype == np.float32


@pytest.mark.parametrize("kind", ["u1", "i1", "f2", "f4"])
def test_levels_of_total_variation_are_of_any_kind(kind):
    """Their squares would leave the range of 8 bits."""
    levels = np.array([20, 20, 16, 16])
    wanted, found = TotalVariation(levels.astype(float)), TotalVariation(levels.astype(kind))
    assert found.level == pytest.approx(wanted.level, rel=1e-3)
    assert TotalVariation(np.full(4, 300, np.float16)).level == pytest.approx(300)
    assert TotalVariation(np.full(4, 1e25, np.float32)).level == pytest.approx(1e25)
