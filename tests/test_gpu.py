"""The CUDA kernels on a GPU against the reference, and whole solves against NumPy's (`make gpu-test`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import DTYPES, compare, on_host
from test_kernels import GRIDS, make

import cscopt
from cscopt.backend import is_cupy, to_numpy
from cscopt.solvers import SOLVERS

pytestmark = pytest.mark.gpu
DENSE = sorted(name for name, solver in SOLVERS.items() if not solver.sparse)


@pytest.fixture(scope="module")
def cupy() -> Any:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    if not cupy.is_available():
        pytest.skip("no CUDA device")
    return cupy


@pytest.fixture
def fused(cupy: Any) -> Any:
    from cscopt.kernels import cupy as kernels

    return kernels


def on_device(cupy: Any, case: Any) -> Any:
    """Arrays, and tuples of them, in CuPy; numbers and None stay."""
    if isinstance(case, np.ndarray):
        return cupy.asarray(case)
    if hasattr(case, "_fields"):
        return type(case)(*(on_device(cupy, part) for part in case))
    return tuple(on_device(cupy, part) for part in case) if isinstance(case, tuple) else case


def tolerance(dtype: str) -> float:
    return 5e-5 if dtype in ("float32", "complex64") else 1e-11


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("weight", ["none", "shared", "maps", "rows"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kernels_equal_the_reference(cupy, fused, rng, dtype, weight, nonnegative):
    if nonnegative and dtype.startswith("c"):
        pytest.skip("non-negative codes are real")
    for grid in [*GRIDS, (1, 64), (64, 1), (128, 96)]:
        compare(fused, *on_device(cupy, make(rng, dtype, grid, weight, nonnegative)), tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("planes", [1, 4, 7, 14, 20])
def test_pieces_add_up(cupy, fused, monkeypatch, rng, dtype, planes):
    grid, maps = (40, 41), 7
    monkeypatch.setattr(fused, "_PIECE", planes * 40 * 41 * np.dtype(dtype).itemsize)
    compare(fused, *on_device(cupy, make(rng, dtype, grid, "maps", False, 5, maps)), tolerance(dtype))


def test_transforms_without_nd_plans(cupy, fused, monkeypatch, rng):
    """CuPy then transforms axis by axis and returns turned arrays."""
    monkeypatch.setattr(cupy.fft.config, "enable_nd_planning", False)
    compare(fused, *on_device(cupy, make(rng, "float64", (40, 41), "none", False)), 1e-11)


def test_a_strided_state_is_copied_and_returned(cupy, fused, rng):
    spectrum, levels, image, x, _ = on_device(cupy, make(rng, "float64", (9, 8), "none", False))
    strided = cupy.swapaxes(cupy.ascontiguousarray(cupy.swapaxes(x, 2, 3)), 2, 3)
    steps = cupy.full(len(x), 0.1)
    found = on_host(fused.ista_sweep(strided, image, spectrum, levels, steps))
    wanted = on_host(fused.ista_sweep(x, image, spectrum, levels, steps))
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


def test_sweeps_repeat_bit_by_bit(cupy, fused, rng):
    spectrum, levels, image, x, _ = on_device(cupy, make(rng, "float32", (256, 256), "maps", False))
    rho = cupy.full(len(x), 0.5, dtype=cupy.float32)
    first, second = (on_host(fused.admm_sweep(x.copy(), image, spectrum, levels, rho, 1.8)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert all((first[2][name] == second[2][name]).all() for name in first[2])


def problem(rng: np.random.Generator, cupy: Any, dtype: str, **options: Any) -> list[Any]:
    """One problem in NumPy and in CuPy, two colour pictures that a shared dictionary codes."""
    filters = rng.standard_normal((8, 3, 5, 5))
    filters /= np.sqrt((filters**2).sum(axis=(1, 2, 3), keepdims=True))
    signal = rng.standard_normal((2, 3, 48, 40)).cumsum(2).cumsum(3) / 10
    arrays = signal.astype(dtype), filters.astype(dtype)
    return [cscopt.CSCProblem(xp.asarray(arrays[0]), xp.asarray(arrays[1]), 1.0, **options) for xp in (np, cupy)]


@pytest.mark.parametrize("boundary", ["circular", "none"])
@pytest.mark.parametrize("method", DENSE)
def test_a_solve_equals_numpys(cupy, rng, method, boundary):
    wanted, found = (
        cscopt.solve(p, method, tol=0, max_iter=25) for p in problem(rng, cupy, "float64", boundary=boundary)
    )
    assert is_cupy(found.codes)
    assert found.objective == pytest.approx(wanted.objective, rel=1e-9)
    np.testing.assert_allclose(to_numpy(found.codes), wanted.codes, rtol=1e-6, atol=1e-8 * np.abs(wanted.codes).max())


@pytest.mark.parametrize("method", DENSE)
def test_a_solve_in_float32_converges(cupy, rng, method):
    found = cscopt.solve(problem(rng, cupy, "float32")[1], method, tol=1e-2, max_iter=3000)
    assert found.status == "converged"
    assert found.gap <= 1e-2


@pytest.mark.parametrize("engine", ["surrogate", "gradient", "batch"])
def test_dictionaries_learned_on_the_gpu_are_numpys(cupy, engine):
    from dataclasses import replace

    from test_dictlearn import ENGINES, learn, pictures, start_for

    images = [image.astype(np.float64) for image in pictures(2, 32)]
    chosen = replace(ENGINES[engine], tol=1e-9, max_iter=20000)
    start = start_for(images, 8)
    host = learn(images, chosen, start, max_epochs=2)
    device = learn([cupy.asarray(image) for image in images], chosen, start, max_epochs=2)
    np.testing.assert_allclose(device.dictionary.filters, host.dictionary.filters, atol=1e-4)
