"""The fused kernels against the reference, and the reference's steps against their definition."""

import importlib

import numpy as np
import pytest

from cscopt import CSCProblem, fft, set_threads
from cscopt.kernels import FilterSpectrum, Levels, reference, scalars
from cscopt.kernels import numba as fused

pytestmark = pytest.mark.usefixtures("all_threads")

GRIDS = [(33,), (12, 10), (40, 41), (5, 6, 7)]


def make(rng, dtype, grid, weight, nonnegative, rows=3, maps=6, channels=2):
    real = np.dtype(dtype).kind == "f"
    kind = np.empty(0, dtype).real.dtype

    def random(*shape):
        values = rng.standard_normal(shape)
        return (values if real else values + 1j * rng.standard_normal(shape)).astype(dtype)

    filters = rng.standard_normal((maps, channels, *([3] * len(grid)))).astype(dtype)
    spectrum = FilterSpectrum(fft.forward(filters, grid), grid, real)
    shapes = {"none": None, "shared": (1, 1, *grid), "maps": (1, maps, *grid), "rows": (rows, 1, *grid)}
    given = shapes[weight]
    full = None if given is None else rng.uniform(0.5, 2, given).astype(kind)
    levels = Levels(rng.uniform(0.1, 0.3, (rows, maps)).astype(kind), full, nonnegative)
    image = fft.forward(random(rows, channels, *grid), grid)
    return spectrum, levels, image, random(rows, maps, *grid), random(rows, maps, *grid)


def assert_same(found, wanted, tol):
    for a, b in zip(found, wanted, strict=True):
        if isinstance(b, dict):
            assert a.keys() == b.keys()
            for name in b:
                np.testing.assert_allclose(a[name], b[name], rtol=tol, atol=tol, err_msg=name)
        else:
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=tol, atol=tol * np.abs(b).max())


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("weight", ["none", "shared", "maps", "rows"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_fused_sweeps_equal_the_reference(rng, dtype, weight, nonnegative, threads):
    if nonnegative and dtype.startswith("c"):
        pytest.skip("non-negative codes are real")
    tol = 2e-4 if dtype in ("float32", "complex64") else 1e-11
    steps, betas = np.array([0.1, 0.2, 0.05]), np.array([0.5, 0.7, 0.0])
    set_threads(threads)
    try:
        for grid in GRIDS:
            spectrum, levels, image, x, z = make(rng, dtype, grid, weight, nonnegative)
            steps, betas = steps.astype(levels.level.dtype), betas.astype(levels.level.dtype)
            for name, arrays, options in (
                ("ista_sweep", (x,), (steps,)),
                ("fista_sweep", (x, z), (steps, betas)),
                ("admm_sweep", (x,), (steps * 10, 1.7)),
            ):
                given = [a.copy() for a in arrays]
                wanted = getattr(reference, name)(*given, image, spectrum, levels, *options)
                found = getattr(fused, name)(*[a.copy() for a in arrays], image.copy(), spectrum, levels, *options)
                assert_same(found, wanted, tol)
            for name, arguments in (
                ("analyze", (image, spectrum)),
                ("synthesize", (x, spectrum)),
                ("violation", (image, spectrum, levels)),
                ("weighted_l1", (x, levels)),
            ):
                wanted = getattr(reference, name)(*arguments)
                assert_same([getattr(fused, name)(*arguments)], [wanted], tol)
            assert_same(fused.proximal(x, levels, steps), reference.proximal(x, levels, steps), tol)
    finally:
        set_threads(None)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize(("channels", "shared"), [(1, 1), (3, 3), (3, 1)])
def test_compiled_steps_of_spectra_equal_what_they_stand_for(rng, dtype, channels, shared):
    """Residuals, their measures and the solves per frequency, against plain arithmetic on the same spectra."""
    tol = 2e-4 if dtype in ("float32", "complex64") else 1e-11
    for grid in ((1300,), (12, 11), (190, 181), (5, 6, 7)):
        signal = rng.standard_normal((2, channels, *grid)) + 1j * rng.standard_normal((2, channels, *grid))
        signal = (signal if dtype.startswith("c") else signal.real).astype(dtype)
        filters = rng.standard_normal((4, shared, *([3] * len(grid))))
        problem = CSCProblem(signal, filters.astype(signal.real.dtype), 0.1)
        fit = problem.datafit
        codes = rng.standard_normal(problem.codes_shape).astype(dtype)
        spectrum = fit.system.synthesize(fit.synthesis.embed(codes))
        residual, shift = fit.residual(spectrum), np.linspace(0.3, 2, len(spectrum)).astype(signal.real.dtype)
        solved = fit.system.solve_gram(residual, shift)
        turned = np.moveaxis(np.moveaxis(spectrum, 1, -1).copy(), -1, 1)  # the same numbers, not contiguous
        for given in (spectrum.copy(), turned):
            assert_same(fit.descend(given.copy(order="K")), (-residual, *fit.measures(residual)), tol)
            assert_same(fit.correct(given, shift), (solved, *fit.measures(solved)), tol)


def test_fused_reductions_keep_their_precision_in_float32(rng):
    """A sum of 4 million squares is good to 1e-6 although each block is added in float32."""
    grid = (2048, 2048)
    filters = np.ones((1, 1, 1, 1), np.float32)
    spectrum = FilterSpectrum(fft.forward(filters, grid), grid, True)
    levels = Levels(np.full((1, 1), 1e-3, np.float32), None, False)
    x = rng.random((1, 1, *grid), dtype=np.float32) + 1
    exact = 1e-3 * np.abs(x.astype(np.float64)).sum()
    assert fused.weighted_l1(x, levels)[0] == pytest.approx(exact, rel=1e-6)
    sums = fused.admm_sweep(x.copy(), np.zeros((1, 1, 2048, 1025), np.complex64), spectrum, levels, np.ones(1), 1.8)[2]
    wide = x.astype(np.float64)
    assert sums["x"][0] == pytest.approx(((2 * np.maximum(wide - 1e-3, 0) - wide) ** 2).sum(), rel=1e-6)


def test_steps_run_in_every_namespace(space, rng):
    """The pure step functions agree with NumPy's float64 (complex128) values."""
    wide = "complex128" if space.complex else "float64"
    x, z, g = (space.random(rng, 2, 3, 7) for _ in range(3))
    from cscopt.backend import to_numpy
    from cscopt.solvers import admm_step, fista_step, ista_step

    a, b, c = (to_numpy(v).astype(wide) for v in (x, z, g))
    shrink = np.where(np.abs(a - 0.3 * c) > 0.1, (a - 0.3 * c) * (1 - 0.1 / np.abs(a - 0.3 * c)), 0)
    np.testing.assert_allclose(to_numpy(ista_step(x, g, 0.3, 0.1)), shrink, rtol=space.rtol, atol=space.rtol)
    new, ahead = fista_step(x, z, g, 0.3, 0.1, 0.6)
    np.testing.assert_allclose(
        to_numpy(ahead), to_numpy(new) + 0.6 * (to_numpy(new) - a), rtol=space.rtol, atol=space.rtol
    )
    xs, v = admm_step(x, g, 0.2, 1.5)
    y = reference.soft_threshold(a, 0.2)
    np.testing.assert_allclose(to_numpy(xs), 2 * y - a + c, rtol=space.rtol, atol=space.rtol)
    # v = relaxed x + u with u = v − y
    np.testing.assert_allclose(
        to_numpy(v), 1.5 * (2 * y - a + c) + (1 - 1.5) * y + (a - y), rtol=space.rtol, atol=space.rtol
    )
    assert to_numpy(b).shape == to_numpy(z).shape


def test_cached_loops_are_compiled_anew_when_any_loop_changes(tmp_path, monkeypatch):
    """Numba itself looks at the file of the outer function alone, and would go on with what it inlined."""
    (tmp_path / "a_loop.py").write_text("def double(a):\n    return 2 * a\n")
    monkeypatch.syspath_prepend(tmp_path)
    double = importlib.import_module("a_loop").double

    def hits():
        loop = scalars.compiled(double)
        assert loop(3.0) == 6.0
        return sum(loop.stats.cache_hits.values())

    assert [hits(), hits()] == [0, 1]
    monkeypatch.setattr(scalars, "_sources", lambda: "another")
    assert [hits(), hits()] == [0, 1]
