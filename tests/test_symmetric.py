"""The symmetric boundary: by its definition, against the explicit matrix, and what does not serve it."""

import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.ndimage

from cscopt import (
    L0,
    L1,
    ConvDictionary,
    CSCProblem,
    GradientL1,
    L1MinusL2,
    SparseCodes,
    TotalVariation,
    minimise_l1,
    solve,
)
from cscopt.backend import to_numpy
from cscopt.kernels.mirrored import MirroredCorrelator
from cscopt.kernels.reference import Levels
from cscopt.kernels.tiles import cuts
from cscopt.operators import Decimate
from cscopt.synthesis import Synthesis

SIZES = [((9,), (4,)), ((5,), (5,)), ((9, 8), (3, 4)), ((6, 7), (6, 1)), ((5, 4, 6), (2, 3, 4))]


def lasso(matrix, signal, lam):
    """The optimum of ½‖y − M x‖² + Σ λ|x|, by coordinate descent."""
    x, residual, squares = np.zeros(matrix.shape[1]), signal.copy(), (matrix**2).sum(axis=0)
    for _ in range(10000):
        for j in range(len(x)):
            old = x[j]
            target = squares[j] * old + matrix[:, j] @ residual
            x[j] = np.sign(target) * max(abs(target) - lam[j], 0) / squares[j]
            if x[j] != old:
                residual += matrix[:, j] * (old - x[j])
        dual = residual / max(1.0, (np.abs(matrix.T @ residual) / lam).max())
        value = residual @ residual / 2 + lam @ np.abs(x)
        if value - (signal @ dual - dual @ dual / 2) <= 1e-10 * value:
            return value
    raise AssertionError("not converged")


@pytest.mark.parametrize(("shape", "support"), SIZES, ids=str)
def test_it_is_the_convolution_of_mirrored_codes(rng, shape, support):
    bank = ConvDictionary(rng.standard_normal((2, 3, *support)))
    codes = rng.standard_normal((2, 2, *shape))
    around = [(0, 0), (0, 0), *((k - 1 - k // 2, k // 2) for k in support)]
    extended = np.pad(codes, around, mode="symmetric")
    expected = np.zeros((2, 3, *shape))
    for tap in itertools.product(*(range(k) for k in support)):
        window = tuple(slice(k - 1 - t, k - 1 - t + n) for k, t, n in zip(support, tap, shape, strict=True))
        weights = bank.filters[(..., *tap)]
        expected += np.einsum("mc,bm...->bc...", weights, extended[(slice(None), slice(None), *window)])
    image = bank.synthesize(codes, "symmetric")
    np.testing.assert_allclose(image, expected, atol=1e-12)
    np.testing.assert_allclose(bank.synthesize(SparseCodes.from_dense(codes), "symmetric"), image, atol=1e-12)
    one = [scipy.ndimage.convolve(codes[0, m], bank.filters[m, 1], mode="reflect") for m in range(2)]
    np.testing.assert_allclose(image[0, 1], sum(one), atol=1e-12)


@pytest.mark.parametrize(("shape", "support"), SIZES, ids=str)
def test_the_norm_bounds_and_the_adjoint_is_the_transpose(rng, shape, support):
    operator = ConvDictionary(rng.standard_normal((2, 1, *support))).operator(shape, "symmetric")
    matrix = operator.as_linear_operator() @ np.eye(2 * np.prod(shape))
    np.testing.assert_allclose(operator.as_linear_operator().H @ np.eye(np.prod(shape)), matrix.T, atol=1e-12)
    assert np.linalg.norm(matrix, 2) ** 2 <= operator.lipschitz * (1 + 1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_the_optimum_is_the_explicit_lassos(rng, masked):
    """Every gap on the way bounds the true error, and every solver comes there."""
    bank, signal = ConvDictionary(rng.standard_normal((2, 1, 4, 3))), rng.standard_normal((1, 1, 5, 4))
    level = rng.uniform(0.5, 1.5, (2, 5, 4)) if masked else 0.5
    mask = rng.choice([0.0, 1.0, 2.0], size=(5, 4)) if masked else None
    weights = np.ones(20) if mask is None else mask.ravel()
    matrix = weights[:, None] * (bank.operator((5, 4), "symmetric").as_linear_operator() @ np.eye(40))
    best = lasso(matrix, weights * signal.ravel(), np.broadcast_to(level, (2, 5, 4)).ravel())
    problem = CSCProblem(signal, bank, L1(level), mask=mask, boundary="symmetric")
    assert solve(problem, max_iter=0).solver.name == "working-set"
    for method, tol in (("working-set", 1e-9), ("admm", 1e-3 if masked else 1e-6), ("fista", 1e-8), ("ista", 0.1)):
        for iterations in (0, 3, 30):
            early = solve(problem, method, tol=0, max_iter=iterations)
            assert early.objective * (1 - early.gap) <= best * (1 + 1e-9) <= early.objective * (1 + 2e-9)
        answer = solve(problem, method, tol=tol, max_iter=5000)
        assert answer.status == "converged", answer
        assert answer.objective == pytest.approx(best, rel=tol)


def test_a_constant_picture_has_no_border(rng):
    """Codes of a filter with a mean explain it alone, where a zero or circular border would matter or be seen."""
    bank = ConvDictionary(np.abs(rng.standard_normal((1, 1, 5, 4))))
    image = bank.synthesize(np.ones((1, 1, 12, 11)), "symmetric")
    np.testing.assert_allclose(image, bank.filters.sum(), rtol=1e-12)


def test_the_residuals_norm_is_reached(rng):
    bank, signal = rng.standard_normal((3, 1, 3, 3)), rng.standard_normal((1, 1, 10, 9))
    problem = CSCProblem(signal, bank, 1.0, boundary="symmetric")
    epsilon = 0.4 * float(np.linalg.norm(signal))
    found = minimise_l1(problem, epsilon, tol=1e-4, max_iter=5000)
    assert np.linalg.norm(signal - found.solution.reconstruction) <= epsilon
    assert 0 <= found.gap <= 1e-4


def test_torch_differentiates(rng):
    torch = pytest.importorskip("torch")
    filters, image = (torch.from_numpy(rng.standard_normal(s)) for s in ((2, 1, 3, 4), (1, 1, 6, 5)))
    codes = torch.from_numpy(rng.standard_normal((1, 2, 6, 5))).requires_grad_()
    bank = ConvDictionary(filters)
    torch.sum(image * bank.synthesize(codes, "symmetric")).backward()
    np.testing.assert_allclose(to_numpy(codes.grad), to_numpy(bank.analyze(image, "symmetric")), atol=1e-12)


def test_primal_dual_finds_admms_optimum(rng):
    """Alone, behind an operator that is no convolution, and with a fit that is not least squares."""
    signal, bank = rng.standard_normal((1, 1, 12, 9)), ConvDictionary(rng.standard_normal((3, 1, 4, 3))).normalized()
    problem = CSCProblem(signal, bank, 0.3, boundary="symmetric")
    best = solve(problem, "admm", tol=1e-6, max_iter=5000)
    found = solve(problem, "primal-dual", tol=1e-5, max_iter=5000)
    assert found.status == "converged", found
    assert found.objective == pytest.approx(best.objective, rel=1e-5)
    squeezed = CSCProblem(signal[..., ::2, ::2], bank, 0.3, forward=Decimate((1, 12, 9), 2), boundary="symmetric")
    ours, fista = (solve(squeezed, m, tol=1e-5, max_iter=20000) for m in ("primal-dual", "fista"))
    assert ours.status == fista.status == "converged"
    assert ours.objective == pytest.approx(fista.objective, rel=1e-5)
    impulses = CSCProblem(signal, bank, 0.3, fit="l1", boundary="symmetric")
    ours, admm = (solve(impulses, m, tol=2e-3, max_iter=20000) for m in ("primal-dual", "admm"))
    assert ours.status == admm.status == "converged"
    assert ours.objective == pytest.approx(admm.objective, rel=2e-3)


@pytest.mark.parametrize("of", ["maps", "joint maps", "reconstruction"])
def test_total_variation_counts_each_jump_once(rng, of):
    """By hand, and the primal-dual method's gap bounds the error against a linearised search around the answer."""
    signal, bank = rng.standard_normal((1, 1, 9, 8)), ConvDictionary(rng.standard_normal((3, 1, 4, 3))).normalized()
    problem = CSCProblem(signal, bank, L1(0.1) + TotalVariation(0.05, of), boundary="symmetric")
    codes = rng.standard_normal(problem.codes_shape)
    image = bank.synthesize(codes, "symmetric")
    seen = image if of == "reconstruction" else codes
    squares = sum(np.pad(np.diff(seen, axis=a), [(0, 0)] * a + [(1, 0)] + [(0, 0)] * (3 - a)) ** 2 for a in (2, 3))
    jumps = np.sqrt(squares.sum(1) if of == "joint maps" else squares).sum()
    by_hand = np.sum((image - signal) ** 2) / 2 + 0.1 * np.abs(codes).sum() + 0.05 * jumps
    assert float(problem.objective(codes)[0]) == pytest.approx(by_hand, rel=1e-12)
    best = solve(problem, tol=1e-5, max_iter=5000)
    assert (best.status, best.solver.name) == ("converged", "primal-dual")
    assert best.objective == pytest.approx(float(problem.objective(best.codes)[0]), rel=1e-12)


@pytest.mark.parametrize("method", ["fista", "ista"])
def test_the_l0_norm_finds_a_stationary_point(rng, method):
    """One that the hard threshold at its own place does not move, wherever it is copied."""
    signal, bank = rng.standard_normal((1, 1, 10, 9)), ConvDictionary(rng.standard_normal((3, 1, 3, 3))).normalized()
    problem = CSCProblem(signal, bank, L0(0.1), boundary="symmetric")
    answer = solve(problem, method, tol=1e-8, max_iter=5000)
    assert answer.status == "converged", answer
    matrix = bank.operator((10, 9), "symmetric").as_linear_operator() @ np.eye(270)
    slope, x = matrix.T @ (matrix @ answer.codes.ravel() - signal.ravel()), answer.codes.ravel()
    assert 0 < (x != 0).mean() < 1
    assert np.abs(slope[x != 0]).max() <= 1e-6 * np.abs(matrix.T @ signal.ravel()).max()
    longest = 1 / (float(problem.lipschitz[0]) * problem.synthesis.copies.max())
    assert (x[x != 0] ** 2).min() >= 2 * 0.1 * longest * (1 - 1e-6)


def test_what_does_not_serve_it(rng):
    signal, bank = rng.standard_normal((1, 1, 10, 9)), rng.standard_normal((3, 1, 3, 3))
    for penalty in (L1MinusL2(0.1), GradientL1(0.1, 0.1)):
        with pytest.raises(ValueError, match=f"symmetric' serves the penalties L0, .* got {type(penalty).__name__}"):
            CSCProblem(signal, bank, penalty, boundary="symmetric")


@pytest.mark.parametrize("shape", [(40, 37), (300,), (13, 14, 12)], ids=str)
@pytest.mark.parametrize("support", [(5, 4, 3), (4, 1, 2), (9, 9, 3)], ids=str)
def test_tiles_are_folded_back_at_the_border(rng, shape, support, monkeypatch):
    """However an axis is cut, correlations are those of the whole image: `Eᵀ` meets both ends within one tile."""
    support = support[: len(shape)]
    bank, image = ConvDictionary(rng.standard_normal((3, 2, *support))), rng.standard_normal((1, 2, *shape))
    synthesis = Synthesis(bank.filters, shape, "symmetric", 2)
    level = rng.uniform(0.5, 1, (1, 3))
    maps = synthesis.adjoint(image)[0] / level[0].reshape((3, *(1 for _ in shape)))
    ways = [cuts(n, k, 2, seam=k - 1, least=k // 2) for n, k in zip(shape, support, strict=True)]
    assert any(axis.step < n for way, n in zip(ways, shape, strict=True) for axis in way)
    for axes in itertools.product(*(way[:: max(1, len(way) - 1)] for way in ways)):  # the shortest, and whole
        monkeypatch.setattr(MirroredCorrelator, "_cuts", lambda self, n, k, axes=axes: [axes[shape.index(n)]])
        worst, found, cells = MirroredCorrelator(bank.filters, shape, np.float64).pick(
            image, Levels(level, None, False), 2.0
        )
        assert worst == pytest.approx(np.abs(maps).max(), rel=1e-10)
        q, m = np.divmod(found, 3)
        np.testing.assert_allclose(np.abs(maps.reshape(3, -1)[m, q]), cells[cells > 0], rtol=1e-10)
        assert len(found) == np.count_nonzero(largest_of_cells(np.abs(maps).max(axis=0), 2) > 2)


def largest_of_cells(image, cell):
    """The largest entry of each cell."""
    for axis in range(image.ndim):
        image = np.maximum.reduceat(image, np.arange(0, image.shape[axis], cell), axis=axis)
    return image


def test_memory_follows_the_image_not_the_filters(rng):
    """The working set holds spectra of a tile, whatever the boundary."""
    signal = rng.standard_normal((1, 1, 512, 512)).astype(np.float32)
    bank = ConvDictionary(rng.standard_normal((64, 1, 9, 9)).astype(np.float32)).normalized()
    problem = CSCProblem(signal, bank, 10.0, boundary="symmetric")
    one = problem.synthesis.maps_bytes(1, signal)
    tracemalloc.start()
    try:
        assert solve(problem, "working-set").status == "converged"
        assert tracemalloc.get_traced_memory()[1] < one / 2
    finally:
        tracemalloc.stop()
