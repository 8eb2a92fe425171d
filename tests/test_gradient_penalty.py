"""GradientL1: its parts, known optima that the gap bounds, filters without λ, every kind of data, SPORCO's classes."""

import warnings

import numpy as np
import pytest

from cscopt import (
    ADMM,
    L1,
    ConvDictionary,
    CSCProblem,
    FunctionOperator,
    GradientL1,
    GroupL1,
    PoissonFit,
    certify,
    datasets,
    debias,
    kkt_residual,
    lowpass,
    path,
    solve,
)
from cscopt.backend import to_numpy
from cscopt.operators import Blur, ChannelMix, Mask

SIDE = 16
LAM, WEIGHTS = np.array([0.3, 0.2, 0.1, 0.0]), np.array([0.0, 1.0, 0.5, 2.0])


class Numpy:
    """The one namespace that tests of the mathematics need."""

    real = "float64"

    @staticmethod
    def array(values, dtype=None):
        return np.asarray(values)

    @staticmethod
    def filters(rng, *shape):
        return rng.standard_normal(shape)


def bank_of(space, rng, channels=1):
    """Three random filters and an impulse for each channel."""
    return ConvDictionary(space.filters(rng, 3, channels, 3, 2)).with_impulse()


def free_impulse(space):
    return GradientL1(space.array(LAM, space.real), 0.7, space.array(WEIGHTS, space.real))


def double(rng, *shape):
    return rng.standard_normal(shape)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_value_and_gradient_are_of_the_formula(space, rng, dims):
    codes = space.random(rng, 2, 4, *(5, 4, 3)[:dims])
    penalty, x = free_impulse(space), to_numpy(codes)
    lam, weights = (v.reshape((4,) + (1,) * dims) for v in (LAM, WEIGHTS))
    axes = tuple(range(1, x.ndim))
    quadratic = sum((0.35 * weights * np.abs(x - np.roll(x, 1, a)) ** 2).sum(axes) for a in range(2, x.ndim))
    np.testing.assert_allclose(to_numpy(penalty.value(codes)), (lam * np.abs(x)).sum(axes) + quadratic, rtol=1e-5)
    pull = to_numpy(penalty.pull(codes))
    np.testing.assert_allclose((x.conj() * pull).real.sum(axes) / 2, quadratic, rtol=1e-5)
    other = to_numpy(space.random(rng, *codes.shape))
    again = to_numpy(penalty.pull(space.array(other)))
    np.testing.assert_allclose((other.conj() * pull).sum(), (again.conj() * x).sum(), rtol=1e-4)  # Q = Qᴴ


@pytest.mark.parametrize("kind", [float, complex])
def test_the_conjugate_bounds_and_is_met(rng, kind):
    """Fenchel–Young for any x and any choice of b; equality at the x that maximises ⟨c, x⟩ − g(x), with its own b."""
    shape = (1, 3, 6, 5)
    penalty = GradientL1(rng.uniform(0.2, 0.6, shape[1:]), 0.7, np.array([0.5, 2.0, 1.0]))
    c = (double(rng, *shape) + 1.5).astype(kind)
    c = c + 1j * double(rng, *shape) if kind is complex else c
    c = 0.8 * penalty.limit(c)[0] * c
    x = np.zeros_like(c)
    for count in range(3000):
        x = penalty.prox(x - 0.08 * (penalty.pull(x) - c), 0.08)
        if count % 150 == 0:
            below = float((c.conj() * x).real.sum() - penalty.value(x)[0])
            for start in (np.zeros_like(c), x, double(rng, *shape).astype(kind)):
                assert float(penalty.conjugate(c, penalty.pull(start))[0]) >= below - 1e-12
    below = float((c.conj() * x).real.sum() - penalty.value(x)[0])
    assert float(penalty.conjugate(c, penalty.pull(x))[0]) == pytest.approx(below, rel=1e-9)


def known(rng, fit, free):
    """A problem whose optimum is made: r = Q x + b for an impulse, and a Λ that |d ⋆ r| just meets for another filter.

    Without λ on the impulse if `free`. For the ℓ1 fit |r| ≤ 1, and y = D x but where |r| = 1.
    """
    shape, mu, w = (9, 8), 0.4, 1.5
    first = double(rng, *shape) + 2 if free else double(rng, *shape) * (rng.random(shape) < 0.3)
    lam = 0.0 if free else 0.5
    b = lam * np.where(first != 0, np.sign(first), rng.uniform(-1, 1, shape))
    laplacian = sum(2 * first - np.roll(first, 1, a) - np.roll(first, -1, a) for a in (0, 1))
    r = mu * w * laplacian + b
    size = np.abs(r).max() if fit == "l1" else 1.0
    r, lam, mu = r / size, lam / size, mu / size
    filters = np.stack([np.eye(1, 6).reshape((3, 2)), double(rng, 3, 2)])[:, None]
    against = np.zeros(shape)
    for a in range(3):
        for c in range(2):
            against += filters[1, 0, a, c] * np.roll(r, (-a, -c), (0, 1))
    second = np.sign(against) * rng.random(shape) * (rng.random(shape) < 0.2)
    level = np.abs(against) + np.where(second != 0, 0.0, 0.05)
    codes = np.stack([first, second])[None]
    residual = r if fit == "l2" else r * (np.abs(r) > 1 - 1e-12)
    signal = ConvDictionary(filters).synthesize(codes) + residual
    penalty = GradientL1(np.stack([np.full(shape, lam), level]), mu, np.array([w, 0.0]))
    return CSCProblem(signal, filters, penalty, fit=fit), codes


@pytest.mark.parametrize("free", [False, True], ids=["λ everywhere", "free impulse"])
@pytest.mark.parametrize("fit", ["l2", "l1"])
def test_the_gap_bounds_the_distance_to_a_known_optimum(rng, fit, free):
    problem, codes = known(rng, fit, free)
    best = float(problem.objective(codes)[0])
    if fit == "l2":
        assert abs(float(certify(problem, codes).gap[0])) < 1e-9
        assert float(kkt_residual(problem, codes)[0]) < 1e-9
    for method in ("admm", "fista") if fit == "l2" else ("admm",):
        for iterations in (0, 3, 10, 40):
            answer = solve(problem, method, tol=0, max_iter=iterations)
            assert answer.objective >= best * (1 - 1e-12)
            assert answer.objective * (1 - answer.gap) <= best * (1 + 1e-12)
        answer = solve(problem, method, tol=1e-6, max_iter=20000)
        assert answer.status == "converged", answer
        assert answer.objective == pytest.approx(best, rel=1e-6)
    if fit == "l2":
        assert (np.diff(solve(problem, "ista", tol=0, max_iter=50).history["objective"]) <= 0).all()


def test_the_quadratic_alone_has_a_linear_answer(rng):
    """λ = 0 on every filter: one linear system."""
    filters, signal = double(rng, 3, 1, 3, 2), double(rng, 1, 1, 6, 5)
    problem = CSCProblem(signal, filters, GradientL1(0.0, 0.6, np.array([1.0, 0.5, 2.0])))
    size = int(np.prod(problem.codes_shape))
    basis = np.eye(size).reshape((size, *problem.codes_shape[1:]))
    gram = problem.synthesis.adjoint(problem.synthesis.apply(basis)) + problem.penalty.pull(basis)
    right = problem.synthesis.adjoint(signal).reshape(-1)
    best = np.linalg.lstsq(gram.reshape((size, size)), right, rcond=1e-12)[0].reshape(problem.codes_shape)
    answer = solve(problem, tol=1e-9, max_iter=2000)
    assert answer.status == "converged"
    assert answer.objective == pytest.approx(float(problem.objective(best)[0]), rel=1e-9)


@pytest.mark.parametrize("channels", [1, 2])
def test_solvers_agree_and_certify_in_every_namespace(space, rng, channels):
    """Two channels coded on their own, or together by filters of two channels."""
    bank = bank_of(space, rng, channels)
    lam, weights = (np.append(v, v[-1:] * np.ones(channels - 1)) for v in (LAM, WEIGHTS))
    penalty = GradientL1(space.array(lam, space.real), 0.7, space.array(weights, space.real))
    problem = CSCProblem(space.random(rng, 2, 2, 7, 6), bank, penalty)
    tol = 3e-3 if space.real == "float32" else 1e-6 if space.library == "numpy" else 1e-3
    answers = [solve(problem, method, tol=tol, max_iter=5000) for method in ("admm", "fista")]
    assert solve(problem, max_iter=0).solver.name == "admm"
    for answer in answers:
        assert answer.status == "converged", answer
        assert answer.objective == pytest.approx(answers[0].objective, rel=2 * tol)
    again = certify(problem, answers[1].codes)
    assert to_numpy(again.gap).max() <= tol * (1 + 1e-3)


def check(problem, methods, tol=1e-5):
    """Every method converges, to one objective; the first iterations bound it."""
    answers = [solve(problem, method, tol=tol, max_iter=20000) for method in methods]
    for answer in answers:
        assert answer.status == "converged", answer
        assert answer.objective == pytest.approx(answers[0].objective, rel=2 * tol)
    for iterations in (0, 7):
        early = solve(problem, methods[0], tol=0, max_iter=iterations)
        assert early.objective * (1 - early.gap) <= answers[0].objective
    return answers[0]


@pytest.mark.parametrize("name", ["mask", "blur", "operator", "mixed channels", "real codes", "poisson", "line"])
def test_every_kind_of_data(rng, name):
    bank, penalty = bank_of(Numpy, rng), free_impulse(Numpy)
    signal, both = double(rng, 2, 1, 7, 6) + 1, ("admm", "fista")
    if name == "mask":
        check(CSCProblem(signal, bank, penalty, mask=rng.random((7, 6)) * (rng.random((7, 6)) > 0.3)), both)
    elif name == "blur":
        check(CSCProblem(signal, bank, penalty, forward=Blur((1, 7, 6), np.full((2, 2), 0.25))), both)
    elif name == "operator":  # of unknown norm
        scale = 0.5 + 0.5 * rng.random((1, 7, 6))
        forward = FunctionOperator(lambda x: x * scale, lambda y: y * scale, (1, 7, 6), (1, 7, 6))
        answer = check(CSCProblem(signal * scale, bank, penalty, forward=forward), ("fista", "ista"), 1e-3)
        masked = solve(CSCProblem(signal, bank, penalty, mask=scale[0]), "admm", tol=1e-5, max_iter=5000)
        assert answer.objective == pytest.approx(masked.objective, rel=1e-3)
    elif name == "mixed channels":
        forward = ChannelMix((3, 7, 6), np.array([[0.3, 0.6, 0.1]]))
        colour = GradientL1(np.append(LAM, [0, 0]), 0.7, np.append(WEIGHTS, [2, 2]))
        check(CSCProblem(signal, bank_of(Numpy, rng, 3), colour, forward=forward), ("fista",), 1e-4)
    elif name == "real codes":
        data = signal + 1j * double(rng, *signal.shape)
        check(CSCProblem(data, bank, penalty, real_codes=True), both)
    elif name == "poisson":
        check(CSCProblem(rng.poisson(3, signal.shape) * 1.0, bank, penalty, fit=PoissonFit(0.3)), ("admm",))
    else:
        line = ConvDictionary(double(rng, 3, 1, 4)).with_impulse()
        check(CSCProblem(double(rng, 2, 1, 11), line, penalty), both)


def test_a_batch_answers_as_its_items_and_resumes(rng):
    signal, bank, penalty = double(rng, 3, 1, 8, 7), bank_of(Numpy, rng), free_impulse(Numpy)
    signal = signal + np.arange(3).reshape((3, 1, 1, 1))
    whole = CSCProblem(signal, bank, penalty)
    for method in ("admm", "fista"):
        both = solve(whole, method, tol=1e-5, max_iter=20000)
        for k in range(3):
            alone = solve(CSCProblem(signal[k : k + 1], bank, penalty), method, tol=1e-5, max_iter=20000)
            np.testing.assert_allclose(both.codes[k : k + 1], alone.codes, atol=1e-8)
        half = solve(whole, method, tol=0, max_iter=30)
        rest = solve(whole, method, tol=0, max_iter=30, state=half.state)
        np.testing.assert_allclose(rest.codes, solve(whole, method, tol=0, max_iter=60).codes, atol=1e-9)


def test_where_codes_are_zero(rng):
    signal, bank = double(rng, 1, 1, 8, 7), double(rng, 3, 1, 3, 3)
    top = CSCProblem(signal, bank, GradientL1(1.0, 0.3)).lambda_max
    assert not solve(CSCProblem(signal, bank, GradientL1(1.001 * top, 0.3)), tol=1e-9).nonzeros
    assert solve(CSCProblem(signal, bank, GradientL1(0.95 * top, 0.3)), tol=1e-9, max_iter=5000).nonzeros
    found = path(CSCProblem(signal, bank, GradientL1(1.0, 0.3)), 3, least=0.1, tol=1e-5)
    assert [solution.nonzeros > 0 for solution in found] == [False, True, True]
    with pytest.raises(ValueError, match="lambda_max needs a positive lam for every filter"):
        _ = CSCProblem(signal, bank, GradientL1(0.0, 0.3)).lambda_max


def test_an_impulse_takes_the_smooth_part():
    """On a picture that is not filtered; λ of the impulse is 0, and its gradient is what it costs."""
    image = datasets.picture("camera")[100:140, 200:240].astype(np.float32)[None, None]
    bank = ConvDictionary.load("natural-8x8x32").with_impulse()
    lam, weights = np.full(33, 0.05), np.zeros(33)
    lam[-1], weights[-1] = 0.0, 1.0
    answer = solve(CSCProblem(image, bank, GradientL1(lam, 5.0, weights)), tol=1e-3)
    assert answer.status == "converged", answer
    smooth, rest = answer.codes[:, -1:], answer.codes[:, :-1]
    assert abs(smooth.mean() - image.mean()) < 1e-2 * image.mean()
    assert np.abs(np.diff(smooth[0, 0])).max() < 0.5 * np.abs(np.diff(image[0, 0])).max()
    assert 0 < (rest != 0).mean() < 0.1
    assert np.abs(answer.reconstruction - image).mean() < 0.02


def test_a_filter_without_any_penalty_is_refused(rng):
    """It would explain everything. With a gradient penalty in place of λ it is served."""
    signal, bank = double(rng, 1, 1, 8, 7), ConvDictionary(double(rng, 3, 1, 3, 3)).with_impulse()
    lam, weights = np.array([0.1, 0.1, 0.1, 0.0]), np.array([0.0, 0.0, 0.0, 1.0])
    assert solve(CSCProblem(signal, bank, GradientL1(lam, 0.5, weights)), tol=1e-4).status == "converged"
    with pytest.raises(ValueError, match="lam must be positive everywhere; its least entry is 0"):
        CSCProblem(signal, bank, L1(lam))
    message = "lam must be positive where weights is 0; map 3 has neither, and would explain everything"
    partly = np.broadcast_to(lam[:, None, None], (4, 8, 7)) + (np.arange(7) > 0)
    for zero in (lam, partly):
        with pytest.raises(ValueError, match=message):
            CSCProblem(signal, bank, GradientL1(zero, 0.5, 1 - weights))
    with pytest.raises(ValueError, match="map 0 has neither"):
        CSCProblem(signal, bank, GradientL1(0.0, 0.5, weights))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.1, 1.0), "lam must be"),
        ((float("nan"), 1.0), "lam must be a number; got NaN"),
        ((0.1, 0.0), "mu must be positive"),
        ((0.1, 1.0, [1.0, 1.0, 1.0]), "weights must be an array of one number a filter"),
        ((0.1, 1.0, np.array([1.0, -1.0, 1.0])), "weights must be finite and not negative"),
        ((0.1, 1.0, np.array([1.0, np.nan, 1.0])), "weights must be finite and not negative"),
        ((0.1, 1.0, np.ones(3, complex)), "weights must be real; got an array of complex128"),
        ((0.1, 1.0, np.ones(0)), "weights must be an array of one number a filter"),
        ((0.1, 1.0, np.ones(5)), "weights must have one number for each of 3 filters; got 5"),
        ((np.ones(5), 1.0), r"lam must be a number, or of shape \(3,\)"),
    ],
)
def test_bad_penalties(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        CSCProblem(np.ones((1, 1, 8, 8)), np.ones((3, 1, 3, 3)), GradientL1(*arguments))


def test_what_does_not_serve_it(rng):
    signal, filters = double(rng, 1, 1, 8, 7), double(rng, 3, 1, 3, 3)
    for boundary in ("zero", "none"):
        with pytest.raises(ValueError, match=f"boundary must be 'circular' for GradientL1; got '{boundary}'"):
            CSCProblem(signal, filters, GradientL1(0.1), boundary=boundary)
    problem = CSCProblem(signal, filters, GradientL1(0.1))
    with pytest.raises(ValueError, match="working-set serves the L1 penalty alone; use 'admm', 'fista' or 'ista'"):
        solve(problem, "working-set")
    with pytest.raises(
        ValueError, match=r"in a sum alone, as L1\(lam\) \+ GradientL1\(0, mu\); use 'admm', 'fista' or 'ista'"
    ):
        solve(problem, "primal-dual")
    seen = Mask((1, 8, 7), rng.random((8, 7)) > 0.3)
    problem = CSCProblem(seen.apply(signal), filters, GradientL1(0.1), forward=seen, fit="l1")
    with pytest.raises(ValueError, match=r"serves GradientL1 in a sum alone, as L1\(lam\) \+ GradientL1\(0, mu\)$"):
        solve(problem)
    problem = problem.with_penalty(L1(0.1) + GradientL1(0))
    assert solve(problem, tol=1e-3, max_iter=5000).status == "converged"
    problem = CSCProblem(signal, filters, GradientL1(0.1))
    with pytest.raises(ValueError, match="debias serves the L1 penalty alone; that of the solution is GradientL1"):
        debias(solve(problem, max_iter=3))


def sporco_options(solver, lam, weights, rho):
    options = {"MaxMainIter": 2000, "RelStopTol": 1e-12, "RelaxParam": 1.8, "rho": rho, "AutoRho": {"Enabled": False}}
    options["L1Weight"] = lam.reshape((1, 1, 1, 1, -1))
    if weights is not None:
        options["GradWeight"] = weights
    return solver.Options(options)


def sporco_problem(name, weighted):
    """A picture, its dictionary with an impulse, λ and w; the impulse has λ = 0 where `weighted`."""
    import sporco.fft
    from sporco.util import convdicts

    sporco.fft.pyfftw_threads = 1
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    bank = ConvDictionary.from_sporco(convdicts()["G:8x8x32"].astype(np.float64)).normalized()
    image = datasets.picture("camera")[100 : 100 + SIDE, 200 : 200 + SIDE].astype(np.float64)[None, None]
    if not weighted:
        return lowpass.split(image)[1], bank, np.ones(32), np.ones(32)
    lam, weights = np.append(np.linspace(0.8, 1.2, 32), 0.0), np.append(np.linspace(0, 0.3, 32), 1.0)
    return image, bank.with_impulse(), lam, weights


def ours_and_theirs(problem, codes, tol=2e-7):
    """Ours is certified, and SPORCO's answer, evaluated by ours, is not below it."""
    ours = solve(problem, "admm", tol=tol, max_iter=10000)
    theirs = float(problem.objective(codes)[0])
    assert ours.objective <= theirs * (1 + 1e-6)
    assert ours.objective * (1 - ours.gap) <= theirs
    return ours, theirs


def in_our_layout(codes):
    return np.moveaxis(np.asarray(codes).reshape((SIDE, SIDE, -1)), -1, 0)[None]


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weights and a free impulse"])
def test_the_optimum_is_sporcos(weighted):
    """ConvBPDNGradReg."""
    pytest.importorskip("sporco")
    from sporco.admm.cbpdn import ConvBPDNGradReg

    signal, bank, lam, weights = sporco_problem("camera", weighted)
    options = sporco_options(ConvBPDNGradReg, lam, weights, 1.0)
    run = ConvBPDNGradReg(bank.to_sporco(), signal[0, 0], 0.05, 0.2, options)
    problem = CSCProblem(signal, bank, GradientL1(0.05 * lam, 0.2, weights))
    ours, theirs = ours_and_theirs(problem, in_our_layout(run.solve()))
    assert ours.status == "converged", ours
    assert ours.objective == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "mask, weights and a free impulse"])
def test_the_l1_fit_with_a_gradient_term_is_sporcos(weighted):
    """ConvL1L1Grd with μ > 0, on a picture with impulses."""
    pytest.importorskip("sporco")
    from sporco.admm.cbpdn import ConvL1L1Grd

    signal, bank, lam, weights = sporco_problem("camera", weighted)
    place = np.random.default_rng(0).random(signal.shape)
    signal = signal - 0.5 * (place < 0.05) + 0.5 * (place > 0.95)
    mask = (np.random.default_rng(1).random((SIDE, SIDE)) > 0.1) * 1.0 if weighted else None
    options = sporco_options(ConvL1L1Grd, lam, weights, 50.0)
    run = ConvL1L1Grd(bank.to_sporco(), signal[0, 0], 2.0, 5.0, mask, options)
    problem = CSCProblem(signal, bank, GradientL1(2.0 * lam, 5.0, weights), mask=mask, fit="l1")
    ours, theirs = ours_and_theirs(problem, in_our_layout(run.solve()), 5e-7)
    assert ours.status == "converged", ours
    assert ours.objective == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("name", ["ConvProdDictL1L1Grd", "ConvProdDictL1L1GrdJoint"])
def test_product_dictionaries_with_a_gradient_term_are_sporcos(rng, name):
    """Colours of three channels from four, on a picture with impulses; the joint one is a sum of penalties."""
    pdcsc = pytest.importorskip("sporco.admm.pdcsc")
    _, bank, _, _ = sporco_problem("camera", False)
    bank = ConvDictionary(bank.filters[:12])
    image = datasets.picture("astronaut", grey=False)[100 : 100 + SIDE, 200 : 200 + SIDE].astype(np.float64)
    signal = lowpass.split(np.moveaxis(image, -1, 0)[None])[1]
    place = rng.random(signal.shape)
    signal = signal - 0.5 * (place < 0.05) + 0.5 * (place > 0.95)
    colours = rng.standard_normal((3, 4))
    colours /= np.linalg.norm(colours, axis=0)
    kind, weights = getattr(pdcsc, name), np.linspace(0, 1, 12)
    options = {"MaxMainIter": 500, "RelStopTol": 1e-12, "RelaxParam": 1.8, "rho": 20.0, "AutoRho": {"Enabled": False}}
    settings = kind.Options({**options, "GradWeight": weights})
    given = bank.to_sporco(), colours, np.moveaxis(signal[0], 0, -1), 0.5, 2.0
    theirs = np.asarray(kind(*given, opt=settings, dimK=0).solve())[:, :, :, 0, :]
    theirs = np.transpose(theirs, (3, 2, 0, 1)).reshape((1, -1, SIDE, SIDE))
    weights = np.repeat(weights, 4)
    penalty = GradientL1(0.5, 2.0, weights)
    if name.endswith("Joint"):
        penalty = GroupL1(0.0, 0.5, np.repeat(np.arange(12), 4)) + GradientL1(0.0, 2.0, weights)
    problem = CSCProblem(signal, ConvDictionary.product(bank, colours), penalty, fit="l1")
    value = float(problem.objective(theirs)[0])
    ours = solve(problem, tol=1e-6, max_iter=10000)
    assert ours.status == "converged", ours
    assert ours.objective <= value * (1 + 1e-6)
    assert ours.objective == pytest.approx(value, rel=2e-6)


@pytest.mark.parametrize("name", ["ConvBPDN", "ConvBPDNGradReg"])
def test_a_mask_is_sporcos_additive_mask(rng, name):
    """AddMaskSim: an impulse that is free where the mask is 0 and absent where it is 1 is the mask itself."""
    pytest.importorskip("sporco")
    from sporco.admm import cbpdn

    signal, bank, _, _ = sporco_problem("camera", False)
    mask = (rng.random((SIDE, SIDE)) > 0.3).astype(np.float64)
    solver, gradient = getattr(cbpdn, name), name == "ConvBPDNGradReg"
    weights = np.append(np.linspace(0, 1, 32), 0.0) if gradient else None
    options = sporco_options(solver, np.append(np.ones(32), 0.0), weights, 1.0)
    levels = (0.05, 0.2) if gradient else (0.05,)
    run = cbpdn.AddMaskSim(solver, bank.to_sporco(), signal[0, 0], mask, *levels, options)
    penalty = GradientL1(0.05, 0.2, weights[:-1]) if gradient else L1(0.05)
    problem = CSCProblem(signal, bank, penalty, mask=mask)
    ours, theirs = ours_and_theirs(problem, in_our_layout(run.solve()))
    assert ours.objective == pytest.approx(theirs, rel=1e-6)
    assert ADMM.name == ours.solver.name


def test_another_penalty_has_another_lipschitz_constant(rng):
    """Its quadratic part counts, whatever was asked of the problem before."""
    y, bank = rng.standard_normal((1, 1, 9, 8)), rng.standard_normal((4, 1, 3, 3))
    problem = CSCProblem(y, bank, GradientL1(0.1, 0.1))
    before = float(problem.lipschitz[0])
    other = problem.with_penalty(GradientL1(0.1, 100.0))
    assert float(other.lipschitz[0]) == pytest.approx(float(CSCProblem(y, bank, other.penalty).lipschitz[0]))
    assert float(other.lipschitz[0]) > 10 * before
