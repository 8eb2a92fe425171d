"""Against SPORCO: the same problem, the same optimum, on real pictures with its dictionaries."""

import warnings

import numpy as np
import pytest

from cscopt import ADMM, L1, ConvDictionary, CSCProblem, GroupL1, datasets, lowpass, solve

pytest.importorskip("sporco")
import sporco.fft

sporco.fft.pyfftw_threads = 1  # maps this small only lose by threads
warnings.filterwarnings("ignore", category=DeprecationWarning)


SIDE = 24


def picture(colour):
    image = datasets.picture("astronaut", grey=False) if colour else datasets.picture("camera")[..., None]
    crop = np.moveaxis(image[100 : 100 + SIDE, 200 : 200 + SIDE], -1, 0)[None].astype(np.float64)
    return lowpass.split(crop)[1]


def dictionary(name):
    from sporco.util import convdicts

    filters = np.asarray(convdicts()[name], np.float64)
    return ConvDictionary.from_sporco(filters, channels=filters.ndim == 4).normalized()


def sporco_codes(signal, bank, lam, iterations):
    """Codes of SPORCO's ConvBPDN (ADMM), in our layout."""
    from sporco.admm import cbpdn

    weight = np.ones(1) if np.ndim(lam) == 0 else np.reshape(lam, (1, 1, 1, 1, -1))
    options = cbpdn.ConvBPDN.Options(
        {
            "MaxMainIter": iterations,
            "RelStopTol": 1e-12,
            "RelaxParam": 1.8,
            "L1Weight": weight,
            "rho": 1.0,
            "AutoRho": {"Enabled": False},
            "DataType": signal.dtype,
        }
    )
    given = np.moveaxis(signal[0], 0, -1) if bank.channels > 1 else signal[0, 0]
    level = lam if np.ndim(lam) == 0 else 1.0
    solver = cbpdn.ConvBPDN(bank.to_sporco().astype(signal.dtype), given, level, options, dimK=0)
    return np.moveaxis(np.asarray(solver.solve()).reshape((SIDE, SIDE, -1)), -1, 0)[None]


@pytest.mark.parametrize("weighted", [False, True], ids=["scalar", "per-filter"])
@pytest.mark.parametrize("name", ["G:8x8x32", "G:12x12x36", "RGB:8x8x3x64"])
def test_optimal_objectives_are_sporcos(name, weighted):
    signal, bank = picture(name.startswith("RGB")), dictionary(name)
    lam = np.linspace(0.03, 0.08, bank.n_filters) if weighted else 0.05
    problem = CSCProblem(signal, bank, L1(lam))
    theirs = float(problem.objective(sporco_codes(signal, bank, lam, 500))[0])
    for method in ("admm", "fista"):
        ours = solve(problem, method, tol=5e-8, max_iter=60000)
        assert ours.status == "converged", ours
        assert ours.objective == pytest.approx(theirs, rel=1e-7)
        assert ours.objective <= theirs * (1 + 5e-8)
    single = CSCProblem(signal.astype(np.float32), ConvDictionary(bank.filters.astype(np.float32)), L1(lam))
    for method in ("admm", "fista"):
        ours = solve(single, method, tol=1e-4, max_iter=20000)
        assert ours.status == "converged", ours
        assert ours.objective == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ista_comes_within_1e_4(dtype):
    """Monotonely; it needs some ten thousand iterations for that."""
    signal, bank = picture(False).astype(dtype), dictionary("G:8x8x32")
    problem = CSCProblem(signal, ConvDictionary(bank.filters.astype(dtype)), 0.05)
    best = solve(problem, ADMM(), tol=1e-5, max_iter=5000).objective
    solution = solve(problem, "ista", tol=0, max_iter=15000)
    objective = np.array(solution.history["objective"])
    assert (np.diff(objective) <= (2e-6 if dtype == "float32" else 1e-13) * objective[0]).all()
    assert solution.objective == pytest.approx(best, rel=1e-4)


def test_masked_optimum_is_sporcos(rng):
    """ConvBPDNMaskDcpl, W = 0 on three in ten pixels."""
    from sporco.admm import cbpdn

    signal, bank = picture(False), dictionary("G:8x8x32")
    mask = (rng.random((SIDE, SIDE)) > 0.3).astype(np.float64)
    options = cbpdn.ConvBPDNMaskDcpl.Options(
        {"MaxMainIter": 800, "RelStopTol": 1e-12, "RelaxParam": 1.8, "rho": 1.0, "AutoRho": {"Enabled": False}}
    )
    solver = cbpdn.ConvBPDNMaskDcpl(bank.to_sporco(), signal[0, 0], 0.05, mask, options)
    theirs = np.moveaxis(np.asarray(solver.solve()).reshape((SIDE, SIDE, -1)), -1, 0)[None]
    problem = CSCProblem(signal, bank, 0.05, mask=mask)
    value = float(problem.objective(theirs)[0])
    for method in ("admm", "fista"):
        ours = solve(problem, method, tol=1e-6, max_iter=40000)
        assert ours.status == "converged"
        assert ours.objective == pytest.approx(value, rel=2e-6)


def test_nonnegative_optimum_is_sporcos():
    from sporco.admm import cbpdn

    signal, bank = picture(False), dictionary("G:8x8x32")
    options = cbpdn.ConvBPDN.Options(
        {"MaxMainIter": 800, "RelStopTol": 1e-12, "NonNegCoef": True, "rho": 1.0, "AutoRho": {"Enabled": False}}
    )
    solver = cbpdn.ConvBPDN(bank.to_sporco(), signal[0, 0], 0.05, options)
    theirs = np.moveaxis(np.asarray(solver.solve()).reshape((SIDE, SIDE, -1)), -1, 0)[None]
    problem = CSCProblem(signal, bank, L1(0.05, nonnegative=True))
    ours = solve(problem, "admm", tol=1e-7, max_iter=20000)
    assert ours.objective == pytest.approx(float(problem.objective(theirs)[0]), rel=1e-6)


@pytest.mark.parametrize("mu", [0.0, 0.05], ids=["plain", "joint"])
def test_product_dictionaries_are_sporcos(rng, mu):
    """ConvProdDictBPDN and ConvProdDictBPDNJoint, colours of three channels from four."""
    from sporco.admm import pdcsc

    signal, bank = picture(True), dictionary("G:8x8x32")
    colours = rng.standard_normal((3, 4))
    colours /= np.linalg.norm(colours, axis=0)
    kind = pdcsc.ConvProdDictBPDNJoint if mu else pdcsc.ConvProdDictBPDN
    options = kind.Options(
        {"MaxMainIter": 700, "RelStopTol": 1e-12, "RelaxParam": 1.8, "rho": 1.0, "AutoRho": {"Enabled": False}}
    )
    given = bank.to_sporco(), colours, np.moveaxis(signal[0], 0, -1), 0.05, *((mu,) if mu else ())
    theirs = np.asarray(kind(*given, options, dimK=0).solve())[:, :, :, 0, :]
    theirs = np.transpose(theirs, (3, 2, 0, 1)).reshape((1, -1, SIDE, SIDE))
    penalty = GroupL1(0.05, mu, np.repeat(np.arange(32), 4)) if mu else L1(0.05)
    problem = CSCProblem(signal, ConvDictionary.product(bank, colours), penalty)
    value = float(problem.objective(theirs)[0])
    ours = solve(problem, "admm", tol=5e-7, max_iter=20000)
    assert ours.status == "converged", ours
    assert ours.objective == pytest.approx(value, rel=1e-6)


def test_one_set_of_maps_for_several_signals_is_sporcos(rng):
    """MultiDictConvBPDN: dictionaries and signals stacked along the channels."""
    from sporco.admm import cbpdn

    signal, filters = picture(True)[:, :2], rng.standard_normal((8, 2, 6, 5))
    options = cbpdn.ConvBPDN.Options(
        {"MaxMainIter": 500, "RelStopTol": 1e-12, "RelaxParam": 1.8, "rho": 10.0, "AutoRho": {"Enabled": False}}
    )
    atoms, parts = [np.moveaxis(filters[:, c], 0, -1) for c in (0, 1)], [signal[0, c] for c in (0, 1)]
    run = cbpdn.MultiDictConvBPDN(cbpdn.ConvBPDN, atoms, parts, 0.5, options, dimK=0)
    theirs = np.moveaxis(np.asarray(run.solve())[:, :, 0, 0, :], -1, 0)[None]
    problem = CSCProblem(signal, filters, 0.5)
    ours = solve(problem, tol=5e-7, max_iter=20000)
    assert ours.status == "converged", ours
    assert ours.objective == pytest.approx(float(problem.objective(theirs)[0]), rel=1e-6)


def test_low_pass_is_tikhonov_filter():
    from sporco.signal import tikhonov_filter

    image = datasets.picture("camera")[:50, :61].astype(np.float64)
    for beta, padding in ((5.0, 16), (0.5, 3)):
        low, high = lowpass.split(image[None, None], beta, padding)
        theirs = tikhonov_filter(image, beta, padding)
        np.testing.assert_allclose(low[0, 0], theirs[0], atol=1e-12)
        np.testing.assert_allclose(high[0, 0], theirs[1], atol=1e-12)


def test_layouts_come_back():
    from sporco.util import convdicts

    for name in ("G:8x8x32", "RGB:8x8x3x64"):
        filters = convdicts()[name]
        bank = ConvDictionary.from_sporco(filters, channels=filters.ndim == 4)
        np.testing.assert_array_equal(bank.to_sporco(), filters)
    with pytest.raises(ValueError, match="SPORCO's filters must be"):
        ConvDictionary.from_sporco(np.ones(3))


def test_the_sporco_engine_learns():
    """A few steps lower the objective of a held-out picture; the result is repeatable and of unit norm."""
    from cscopt.dictlearn import Constraint, Sporco, initial_filters, learn

    image = lowpass.split(datasets.picture("camera")[None, None])[1][0]
    crops = [image[:, k : k + 48, k : k + 40 + k // 40] for k in (60, 100, 140, 180)]
    held = image[None, :, 200:248, 200:248]
    engine = Sporco(lam=0.1, constraint=Constraint(zero_mean=True))
    start = initial_filters(crops, 8, (6, 5), engine.constraint, kind="noise")
    learned, again = (learn(crops, engine, start, max_epochs=2, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(learned.dictionary.filters, again.dictionary.filters)
    np.testing.assert_allclose(learned.dictionary.norms(), 1, rtol=1e-5)
    assert learned.state.step == 8
    first = ConvDictionary(start.astype(np.float32))
    before, after = (solve(CSCProblem(held, d, 0.1), tol=1e-3).objective for d in (first, learned.dictionary))
    assert after < 0.97 * before
    for options in ({"lam": -0.1}, {"boundary": "none"}, {"constraint": Constraint("ball")}):
        with pytest.raises(ValueError, match=r"lam must|SPORCO engine"):
            Sporco(**options)
    with pytest.raises(ValueError, match="one channel"):
        learn([np.zeros((3, 20, 20), np.float32)], engine, start)
