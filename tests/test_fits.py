"""Data fits beside least squares: proximal maps, optima known otherwise, certificates, SPORCO's class, impulses."""

import math
import warnings

import numpy as np
import pytest
import scipy.optimize

from cscopt import (
    ADMM,
    L1,
    ConvDictionary,
    CSCProblem,
    ElasticNet,
    GroupL1,
    L1Fit,
    L2Fit,
    PoissonFit,
    certify,
    datasets,
    debias,
    kkt_residual,
    lowpass,
    metrics,
    solve,
)
from cscopt.backend import to_numpy
from cscopt.operators import MRI, Blur, gaussian_kernel

FITS = {"l1": lambda: "l1", "poisson": lambda: PoissonFit(0.3)}


def data(space, rng, fit, *shape):
    """Data of a fit's kind, with zeros and outliers among them."""
    if fit == "poisson":
        return space.array(rng.poisson(2.0, shape), space.real)
    values = to_numpy(space.random(rng, *shape)) + 5 * (rng.random(shape) > 0.9)
    return space.array(values)


def bank_of(space, rng, channels=1):
    return ConvDictionary(space.filters(rng, 4, channels, 3, 2))


class NumPy:
    """Stand-in for the `space` fixture where one namespace is enough."""

    dtype = real = "float64"

    @staticmethod
    def array(values, dtype="float64"):
        return np.ascontiguousarray(values, dtype=dtype)

    @staticmethod
    def random(rng, *shape):
        return rng.standard_normal(shape)

    @staticmethod
    def filters(rng, *shape):
        return ConvDictionary(rng.standard_normal(shape)).normalized().filters


@pytest.mark.parametrize("complex_data", [False, True])
def test_the_l1_proximal_map_minimises(rng, complex_data):
    fit = L1Fit()
    for _ in range(20):
        y, v = rng.standard_normal((2, 1)) + 1j * complex_data * rng.standard_normal((2, 1))
        if not complex_data:
            y, v = y.real, v.real
        step = np.array([rng.choice([0.0, 0.3, 2.0])])

        def cost(z, y=y, v=v, step=step):
            t = np.asarray(z[:1] + 1j * z[1:]) if complex_data else np.asarray(z[:1])
            return float((np.abs(t - v) ** 2 / 2 + step * fit.value(t, y))[0])

        t = fit.prox(v, y, step)
        best = cost(np.array([t.real[0], t.imag[0]]))
        grid = np.linspace(-4, 4, 41 if complex_data else 401)
        candidates = [(a, b) for a in grid for b in (grid if complex_data else [0.0])]
        assert best <= min(cost(np.array(z)) for z in candidates) + 1e-12
        assert best <= min(cost(np.array([y.real[0], y.imag[0]])), cost(np.array([v.real[0], v.imag[0]]))) + 1e-12


def test_the_poisson_proximal_map_minimises(rng):
    fit = PoissonFit(1.0)
    grid = np.concatenate([[0.0], np.logspace(-8, 2, 4001)])
    for y in (0.0, 1.0, 7.0, 1e3):
        for v in (-50.0, -0.3, 0.0, 2.0, 40.0):
            for step in (1e-3, 0.5, 30.0):
                arrays = [np.array([a]) for a in (v, y, step)]
                t = fit.prox(*arrays)
                cost = (grid - v) ** 2 / 2 + step * fit.value(grid, np.full_like(grid, y))
                best = float((t[0] - v) ** 2 / 2 + step * fit.value(t, arrays[1])[0])
                assert best <= cost.min() * (1 + 1e-12)
    assert fit.prox(np.array([-3.0]), np.array([4.0]), np.array([0.0])) == -3.0


@pytest.mark.parametrize("name", FITS)
def test_conjugates_are_what_they_are_called(rng, name):
    """−φ*(−q) = inf over t of φ(t, y) + q t, on a fine grid."""
    fit = L1Fit() if name == "l1" else PoissonFit(1.0)
    grid = np.linspace(-60, 60, 240001) if name == "l1" else np.concatenate([[0.0], np.logspace(-9, 5, 200001)])
    for y in (0.0, 1.0, 5.0):
        for q in (-0.9, -0.2, 0.0, 0.7):
            wanted = (fit.value(grid, np.full_like(grid, y)) + q * grid).min()
            assert fit.dual(np.array([q]), np.array([y]))[0] == pytest.approx(wanted, abs=1e-3)


def matrix_of(problem):
    """A D as a matrix, column by column."""
    size = math.prod(problem.codes_shape)
    columns = [problem.synthesis.apply(e.reshape(problem.codes_shape)).ravel() for e in np.eye(size)]
    matrix = np.stack(columns, axis=1)
    if problem.forward is not None:
        shape = problem.forward.input_shape
        matrix = np.stack([problem.forward.apply(c.reshape((1, *shape))).ravel() for c in matrix.T], axis=1)
    return matrix


@pytest.mark.parametrize("boundary", ["circular", "zero", "symmetric", "none"])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_l1_optimum_is_a_linear_programme(rng, boundary, nonnegative):
    """min Σ W e + Σ Λ (p + n) over |y − D (p − n)| ≤ e, by SciPy's simplex."""
    y = data(NumPy, rng, "l1", 1, 1, 6, 5)
    mask = rng.choice([0.0, 1.0, 2.0], size=(6, 5))
    problem = CSCProblem(y, bank_of(NumPy, rng), L1(0.4, nonnegative), mask=mask, boundary=boundary, fit="l1")
    matrix, one = matrix_of(problem), np.eye(30)
    signs = [matrix] if nonnegative else [matrix, -matrix]
    above = np.block([[*signs, -one], [*(-s for s in signs), -one]])
    cost = np.concatenate([np.full(sum(s.shape[1] for s in signs), 0.4), mask.ravel()])
    best = scipy.optimize.linprog(cost, above, np.concatenate([y.ravel(), -y.ravel()]), method="highs").fun
    for iterations in (0, 3, 50):
        early = solve(problem, tol=0, max_iter=iterations)
        assert early.objective * (1 - early.gap) <= best * (1 + 1e-9)
        assert best <= early.objective * (1 + 1e-9)
    answer = solve(problem, tol=1e-7, max_iter=20000)
    assert answer.status == "converged", answer
    assert answer.objective == pytest.approx(best, rel=1e-7)
    assert answer.objective == pytest.approx(float(problem.objective(answer.codes)[0]), rel=1e-12)
    loose = certify(problem, answer.codes)
    assert float(loose.dual[0]) <= best * (1 + 1e-9)


@pytest.mark.parametrize("blurred", [False, True])
def test_the_poisson_optimum_is_that_of_l_bfgs(rng, blurred):
    """By L-BFGS-B on the positive and negative parts of the codes, with a background that keeps D x + b positive."""
    y = rng.poisson(20.0, (1, 1, 6, 5)).astype(float)
    forward = Blur((1, 6, 5), gaussian_kernel(0.5)[:3, :3]) if blurred else None
    background = 15.0 + rng.random((6, 5))
    problem = CSCProblem(y, bank_of(NumPy, rng), 0.1, forward=forward, fit=PoissonFit(background))
    matrix, b = matrix_of(problem), background.ravel()

    def cost(parts):
        plus, minus = np.split(parts, 2)
        t = matrix @ (plus - minus) + b
        if t.min() <= 0:
            return np.inf, np.zeros_like(parts)
        value = np.sum(t - y.ravel() + y.ravel() * np.log(np.maximum(y.ravel(), 1e-300) / t)) + 0.1 * parts.sum()
        slope = matrix.T @ (1 - y.ravel() / t)
        return value, np.concatenate([slope, -slope]) + 0.1

    size = math.prod(problem.codes_shape)
    options = {"maxiter": 20000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-10}
    found = scipy.optimize.minimize(
        cost, np.zeros(2 * size), jac=True, method="L-BFGS-B", bounds=[(0, None)] * (2 * size), options=options
    )
    for iterations in (0, 3, 50):
        early = solve(problem, tol=0, max_iter=iterations)
        assert early.objective * (1 - early.gap) <= found.fun * (1 + 1e-9)
        assert found.fun <= early.objective * (1 + 1e-6)
    answer = solve(problem, tol=1e-8, max_iter=20000)
    assert answer.status == "converged", answer
    assert answer.objective == pytest.approx(found.fun, rel=1e-6)
    assert answer.objective <= found.fun * (1 + 1e-8)


def test_poisson_codes_keep_the_mean_positive(rng):
    """Where counts are zero the constraint D x + b ≥ 0 holds the optimum; the objective of the codes stays finite."""
    y = rng.poisson(0.7, (2, 1, 8, 7)).astype(float)
    problem = CSCProblem(y, bank_of(NumPy, rng), 0.2, fit=PoissonFit(0.05))
    for iterations in (1, 7, 40):
        early = solve(problem, tol=0, max_iter=iterations)
        assert np.isfinite(to_numpy(problem.objective(early.codes))).all()
    answer = solve(problem, tol=1e-5, max_iter=10000)
    assert answer.status == "converged", answer
    assert (answer.reconstruction + 0.05).min() >= 0
    assert (answer.reconstruction + 0.05).min() < 1e-4
    assert float(problem.objective(answer.codes).sum()) == pytest.approx(answer.objective, rel=1e-9)


@pytest.mark.parametrize("fit", FITS)
def test_every_namespace_agrees_with_numpy(space, rng, fit):
    if fit == "poisson" and space.complex:
        pytest.skip("counts are real")
    y, mask = data(space, rng, fit, 2, 2, 7, 6), (rng.random((7, 6)) > 0.2) * 1.0
    bank, tol = bank_of(space, rng), 3e-3 if space.real == "float32" else 1e-4
    problem = CSCProblem(y, bank, 0.3, mask=space.array(mask, space.real), fit=FITS[fit]())
    answer = solve(problem, tol=tol, max_iter=5000)
    assert answer.status == "converged", answer
    assert answer.solver.name == "admm"
    assert fit in answer.reason
    wide = "complex128" if space.complex else "float64"
    plain = CSCProblem(to_numpy(y).astype(wide), to_numpy(bank.filters).astype(float), 0.3, mask=mask, fit=FITS[fit]())
    wanted = solve(plain, tol=1e-6, max_iter=20000)
    assert wanted.status == "converged", wanted
    assert answer.objective == pytest.approx(wanted.objective, rel=1.5 * tol)
    assert float(np.sum(to_numpy(plain.objective(to_numpy(answer.codes).astype(wide))))) == pytest.approx(
        answer.objective, rel=1e-5
    )
    first = [to_numpy(solve(p, tol=0, max_iter=5).codes) for p in (problem, plain)]
    np.testing.assert_allclose(first[0], first[1], atol=2e-3 if space.real == "float32" else 1e-8)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    "penalty",
    [
        lambda: L1(np.linspace(0.2, 0.5, 4)),
        lambda: L1(0.2, nonnegative=True),
        lambda: GroupL1(0.1, 0.2),
        lambda: ElasticNet(0.2, 0.3),
    ],
    ids=["per filter", "nonnegative", "group", "elastic"],
)
def test_penalties_certify_and_bound(rng, fit, penalty):
    y = data(NumPy, rng, fit, 1, 2, 7, 6)
    problem = CSCProblem(y, bank_of(NumPy, rng), penalty(), fit=FITS[fit]())
    best = solve(problem, tol=1e-6, max_iter=30000)
    assert best.status == "converged", best
    for iterations in (0, 5, 60):
        early = solve(problem, tol=0, max_iter=iterations)
        assert early.objective * (1 - early.gap) <= best.objective
        assert early.objective >= best.objective * (1 - 1e-6)


@pytest.mark.parametrize("fit", FITS)
def test_where_codes_are_zero(rng, fit):
    y = data(NumPy, rng, fit, 1, 1, 8, 7) + 0.01 * (fit == "l1")
    bank = bank_of(NumPy, rng)
    top = CSCProblem(y, bank, 1.0, fit=FITS[fit]()).lambda_max
    above = CSCProblem(y, bank, 1.0001 * top, fit=FITS[fit]())
    assert float(certify(above, np.zeros(above.codes_shape)).gap[0]) < 1e-12
    assert not solve(above, tol=1e-9).nonzeros
    assert solve(CSCProblem(y, bank, 0.95 * top, fit=FITS[fit]()), tol=1e-8, max_iter=5000).nonzeros


@pytest.mark.parametrize("fit", FITS)
def test_a_batch_answers_as_its_items_and_resumes(rng, fit):
    y = data(NumPy, rng, fit, 3, 1, 8, 7)
    bank, background = bank_of(NumPy, rng), 0.3 + rng.random((3, 1, 1, 1))
    chosen = [L1Fit()] * 3 if fit == "l1" else [PoissonFit(background[k : k + 1]) for k in range(3)]
    whole = CSCProblem(y, bank, 0.3, fit="l1" if fit == "l1" else PoissonFit(background))
    both = solve(whole, tol=1e-5, max_iter=20000)
    for k, one in enumerate(chosen):
        alone = solve(CSCProblem(y[k : k + 1], bank, 0.3, fit=one), tol=1e-5, max_iter=20000)
        assert alone.objective == pytest.approx(both.objectives[k], rel=1e-9)
        np.testing.assert_allclose(both.codes[k : k + 1], alone.codes, atol=1e-8)
    half = solve(whole, tol=0, max_iter=157, check_every=7)
    rest = solve(whole, tol=0, max_iter=203, state=half.state)
    straight = solve(whole, tol=0, max_iter=360)
    np.testing.assert_array_equal(rest.codes, straight.codes)
    started = solve(whole, tol=1e-5, max_iter=20000, x0=both.codes)
    assert started.objective == pytest.approx(both.objective, rel=2e-5)


def test_the_optimum_is_sporcos():
    """ConvL1L1Grd without its gradient term, on a picture with impulses: its answer is never better."""
    pytest.importorskip("sporco")
    import sporco.fft
    from sporco.admm import cbpdn
    from sporco.util import convdicts

    sporco.fft.pyfftw_threads = 1
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    bank = ConvDictionary.from_sporco(convdicts()["G:8x8x32"].astype(np.float64)).normalized()
    signal = lowpass.split(datasets.picture("camera")[100:124, 200:224].astype(np.float64)[None, None])[1]
    place = np.random.default_rng(0).random(signal.shape)
    signal = signal - 0.5 * (place < 0.05) + 0.5 * (place > 0.95)
    mask = (np.random.default_rng(1).random((24, 24)) > 0.1) * 1.0
    for lam, weights in ((2.0, None), (1.0, mask)):
        problem = CSCProblem(signal, bank, lam, mask=weights, fit="l1")
        options = cbpdn.ConvL1L1Grd.Options(
            {"MaxMainIter": 2000, "RelStopTol": 1e-12, "RelaxParam": 1.8, "rho": 50.0, "AutoRho": {"Enabled": False}}
        )
        run = cbpdn.ConvL1L1Grd(bank.to_sporco(), signal[0, 0], lam, 0.0, weights, options)
        codes = np.moveaxis(np.asarray(run.solve()).reshape((24, 24, -1)), -1, 0)[None]
        theirs = float(problem.objective(codes)[0])
        ours = solve(problem, tol=1e-6, max_iter=4000)
        assert ours.objective <= theirs * (1 + 1e-6)
        assert ours.objective == pytest.approx(theirs, rel=1e-3)
        assert ours.objective * (1 - ours.gap) <= theirs
        assert ours.gap < 2e-4


def test_impulse_noise_wants_the_l1_fit():
    """Salt and pepper on 15 % of the pixels; either fit at the best λ of a list."""
    picture = datasets.picture("camera")[60:108, 220:268].astype(np.float64)[None, None]
    place = np.random.default_rng(0).random(picture.shape)
    noisy = np.where(place < 0.075, 0.0, np.where(place > 0.925, 1.0, picture))
    waves = np.cos(np.pi * (np.arange(8)[:, None] + 0.5) * np.arange(8)[None, :] / 8)
    bank = ConvDictionary(np.einsum("ai,bj->ijab", waves, waves).reshape((64, 1, 8, 8))).normalized()
    flat = np.where(np.arange(64) == 0, 0.1, 1.0)

    def best(fit, levels):
        problems = [CSCProblem(noisy, bank, L1(lam * flat), fit=fit) for lam in levels]
        answers = [solve(p, "admm", tol=1e-2, max_iter=400) for p in problems]
        return max(metrics.psnr(a.reconstruction, picture) for a in answers)

    absolute, squares = best("l1", (1.5, 2.0, 3.0)), best("l2", (0.5, 1.0, 2.0, 4.0))
    assert squares > metrics.psnr(noisy, picture) + 3
    assert absolute > squares + 4


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda y, d: CSCProblem(y, d, 0.1, fit="huber"), ValueError, r"fit must be 'l2', 'l1' or PoissonFit\(backgr"),
        (lambda y, d: CSCProblem(y, d, 0.1, fit=1), TypeError, "fit must be 'l2', 'l1' or"),
        (lambda y, d: CSCProblem(y, d, 0.1, fit="poisson"), ValueError, "fit must be"),
        (
            lambda y, d: CSCProblem(y - 9, d, 0.1, fit=PoissonFit(1.0)),
            ValueError,
            "signal must not be negative for Poi",
        ),
        (lambda y, d: CSCProblem(y * np.nan, d, 0.1, fit="l1"), ValueError, "signal must be finite; it contains NaN"),
        (lambda y, d: CSCProblem(y + 0j, d, 0.1, fit=PoissonFit(1.0)), TypeError, "signal must be real counts"),
        (lambda y, d: PoissonFit(0.0), ValueError, "background must be positive and finite; got 0.0"),
        (lambda y, d: PoissonFit(np.array([1.0, -1.0])), ValueError, "background must be positive everywhere"),
        (lambda y, d: PoissonFit("much"), TypeError, "background must be a real number"),
        (lambda y, d: PoissonFit(np.array([1.0, np.nan])), ValueError, "background must be finite"),
        (lambda y, d: CSCProblem(y, d, 0.1, fit=PoissonFit(np.ones(5))), ValueError, "background must broadcast"),
        (
            lambda y, d: CSCProblem(y + 1j, d, L1(0.1, True), fit="l1"),
            TypeError,
            "real_codes must not be True for comp",
        ),
        (
            lambda y, d: solve(CSCProblem(y + 0j, d, 0.1, forward=MRI(np.eye(8, 7) == 0), fit="l1"), "admm"),
            ValueError,
            "admm needs forward= to be a convolution on a circular boundary for fit='l1'",
        ),
        (
            lambda y, d: kkt_residual(CSCProblem(y, d, 0.1, fit="l1"), np.zeros((1, 4, 8, 7))),
            TypeError,
            "least squares",
        ),
        (lambda y, d: CSCProblem(y, d, 0.1, fit="l1").gradient(np.zeros((1, 4, 8, 7))), TypeError, "'l1' has no grad"),
        (lambda y, d: debias(solve(CSCProblem(y, d, 0.1, fit="l1"), max_iter=1)), ValueError, "debias serves least sq"),
        *(
            (lambda y, d, m=m: solve(CSCProblem(y, d, 0.1, fit="l1"), m), ValueError, f"{m} serves least squares alone")
            for m in ("ista", "fista", "working-set")
        ),
    ],
)
def test_bad_input(rng, make, error, message):
    with pytest.raises(error, match=message):
        make(rng.random((1, 1, 8, 7)), rng.standard_normal((4, 1, 3, 3)))


def test_names_and_instances_are_one(rng):
    y, bank = rng.random((1, 1, 8, 7)), rng.standard_normal((4, 1, 3, 3))
    for name, fit in (("l1", L1Fit()), ("l2", L2Fit())):
        answers = [solve(CSCProblem(y, bank, 0.1, fit=f), ADMM(), tol=0, max_iter=20).objective for f in (name, fit)]
        assert answers[0] == answers[1]
    counts = rng.poisson(3.0, (1, 1, 8, 7))
    assert CSCProblem(counts, bank.astype(np.float32), 0.1, fit=PoissonFit(1)).signal.dtype == np.float32
