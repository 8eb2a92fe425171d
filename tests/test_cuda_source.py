"""The CUDA kernels without a GPU: run by the host compiler against the reference, and compiled by nvcc.

`cscopt.kernels.cupy` itself runs here, over a stand-in for CuPy: NumPy arrays, SciPy's transforms, and a
`RawModule` whose kernels are the same source, compiled by g++ over the few CUDA words of `host_cuda.h`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.fft
from kernel_cases import DTYPES, compare
from test_kernels import GRIDS, assert_same, make

import cscopt
import cscopt.kernels
from cscopt.kernels import reference

FOLDER = Path(cscopt.kernels.__file__).parent
SOURCE = FOLDER / "pointwise.cuh"
CODES = ("float", "double", "Complex<float>", "Complex<double>")
KERNELS = [
    f"{name}<{kind}>" for name in ("violation", "ista", "fista", "admm", "proximal", "weighted_l1") for kind in CODES
]
KERNELS += [f"{name}<{kind}>" for name in ("spread", "gather") for kind in CODES[2:]] + ["total"]


class HostKernel:
    """A compiled kernel with the calling convention of `cupy.RawKernel`; it checks each argument's type."""

    def __init__(self, library: Any, index: int) -> None:
        self.run = library[f"run_{index}"]
        signature = library[f"signature_{index}"]
        signature.restype = ctypes.c_char_p
        self.letters = signature().decode().split()

    def __call__(self, grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
        assert len(arguments) == len(self.letters)
        cells = [self.cell(*pair) for pair in zip(arguments, self.letters, strict=True)]
        pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
        assert self.run(ctypes.c_uint(*grid), ctypes.c_uint(*block), pointers) == 0, "a barrier not all threads reach"

    @staticmethod
    def cell(argument: Any, letter: str) -> np.ndarray:
        """The argument's value in memory: a scalar, or the address of an array."""
        if letter[0] != "*":
            assert isinstance(argument, np.generic)
            assert argument.dtype.char == letter
            return np.array(argument)
        if isinstance(argument, np.uint64):
            assert argument == 0
            return np.array(argument)
        assert argument.flags.c_contiguous
        assert argument.dtype.char == letter[1]
        return np.array(argument.ctypes.data, np.uint64)


def build(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All kernels as a shared library of this machine."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: the CUDA kernels cannot be compiled for the host")
    folder = tmp_path_factory.mktemp("cuda")
    numbers = {"F": "Complex<float>", "D": "Complex<double>"}
    lines = ['#include "host_cuda.h"', f'#include "{SOURCE}"']
    lines += [
        f'template <> struct Letter<{kind}> {{ static std::string of() {{ return "{letter}"; }} }};'
        for letter, kind in numbers.items()
    ]
    for k, name in enumerate(KERNELS):
        lines += [
            f'extern "C" int run_{k}(unsigned b, unsigned t, void** a) {{ return launch(&{name}, b, t, a); }}',
            f'extern "C" const char* signature_{k}() {{ return signature(&{name}); }}',
        ]
    (folder / "host.cpp").write_text("\n".join(lines))
    flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-I", str(Path(__file__).parent)]
    build(["g++", *flags, "host.cpp", "-o", "host.so"], folder)
    return ctypes.CDLL(str(folder / "host.so"))


@pytest.fixture
def emulated(library: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`cscopt.kernels.cupy` on the host."""

    def module(code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> Any:
        assert code == SOURCE.read_text(encoding="utf-8")
        return SimpleNamespace(get_function=lambda name: HostKernel(library, KERNELS.index(name)))

    names = ("ascontiguousarray", "broadcast_to", "empty", "multiply")
    stand_in = SimpleNamespace(RawModule=module, **{name: getattr(np, name) for name in names})
    spec = importlib.util.spec_from_file_location("cupy_kernels_on_the_host", FOLDER / "cupy.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as during_import:
        during_import.setitem(sys.modules, "cupy", stand_in)
        during_import.setitem(sys.modules, "cupyx", SimpleNamespace())
        during_import.setitem(sys.modules, "cupyx.scipy", SimpleNamespace(fft=scipy.fft))
        spec.loader.exec_module(loaded)
    monkeypatch.setattr(loaded, "_THREADS", 64)  # two warps do, and fibres are slow
    return loaded


def tolerance(dtype: str) -> float:
    return 1e-5 if dtype in ("float32", "complex64") else 1e-12


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("weight", ["none", "shared", "maps", "rows"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kernels_equal_the_reference(emulated, rng, dtype, weight, nonnegative):
    if nonnegative and dtype.startswith("c"):
        pytest.skip("non-negative codes are real")
    for grid in GRIDS:
        compare(emulated, *make(rng, dtype, grid, weight, nonnegative, rows=2, maps=3), tolerance(dtype))


@pytest.mark.parametrize("planes", [1, 2, 4, 7, 14, 20])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_pieces_add_up(emulated, monkeypatch, rng, dtype, planes):
    """Pieces of any size, parts of a row or several rows, give the same."""
    grid, maps = (5, 6), 7
    monkeypatch.setattr(emulated, "_PIECE", planes * 30 * np.dtype(dtype).itemsize)
    pieces = list(emulated._Bank(make(rng, dtype, grid, "none", False, 1, maps)[0], dtype).pieces(5))
    assert [i for p in pieces for i in range(p.span.start, p.span.stop)] == list(range(5 * maps))
    assert max(p.rows * p.maps for p in pieces) <= planes
    compare(emulated, *make(rng, dtype, grid, "maps", False, 5, maps), 1e-12)


def test_one_level_serves_all_rows_and_blocks_may_be_large(emulated, monkeypatch, rng):
    monkeypatch.setattr(emulated, "_THREADS", 256)
    spectrum, levels, image, x, z = make(rng, "float64", (40, 41), "none", False, rows=2, maps=3)
    compare(emulated, spectrum, levels._replace(level=levels.level[:1]), image, x, z, 1e-12)


def test_more_parts_than_threads_add_up(emulated, rng):
    """A thread of `total` takes every 64th part: here up to three, and on real pictures dozens."""
    compare(emulated, *make(rng, "float64", (3, 4), "none", False, rows=1, maps=150), 1e-12)


def test_a_strided_state_is_copied_and_returned(emulated, rng):
    spectrum, levels, image, x, _ = make(rng, "float64", (9, 8), "none", False)
    strided = np.swapaxes(np.ascontiguousarray(np.swapaxes(x, 2, 3)), 2, 3)
    steps = np.full(len(x), 0.1)
    wanted = reference.ista_sweep(x, image, spectrum, levels, steps)
    assert_same(emulated.ista_sweep(strided, image, spectrum, levels, steps), wanted, 1e-12)


def test_zero_codes_stay_exactly_zero(emulated, rng):
    spectrum, levels, image, x, _ = make(rng, "float32", (9, 8), "none", False)
    zero = np.zeros_like(x)
    codes, out, sums = emulated.ista_sweep(zero, 0 * image, spectrum, levels, np.full(len(x), 0.1))
    assert not codes.any()
    assert not out.any()
    assert not any(values.any() for values in sums.values())


@pytest.mark.parametrize("boundary", ["circular", "none"])
@pytest.mark.parametrize("method", ["ista", "fista", "admm"])
def test_solvers_run_on_the_kernels(emulated, monkeypatch, rng, method, boundary):
    """As on the device, but that NumPy's functions stand for CuPy's in the solver's own lines."""
    filters, signal = rng.standard_normal((4, 3, 3, 3)), rng.standard_normal((2, 3, 12, 10))
    problem = cscopt.CSCProblem(signal, filters, 1.0, boundary=boundary)
    wanted = cscopt.solve(problem, method, tol=0, max_iter=8)
    monkeypatch.setattr(cscopt.kernels, "for_array", lambda array: emulated)
    found = cscopt.solve(problem, method, tol=0, max_iter=8)
    np.testing.assert_allclose(found.codes, wanted.codes, rtol=1e-9, atol=1e-9)
    assert found.gap == pytest.approx(wanted.gap, rel=1e-9)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed: the CUDA source cannot be compiled")
def test_nvcc_compiles_every_kernel(tmp_path):
    """The file that cupy.py gives to NVRTC, with the kernels that it asks for."""
    table = ", ".join(f"(void*)&{name}" for name in KERNELS)
    (tmp_path / "all.cu").write_text(f"{SOURCE.read_text(encoding='utf-8')}\nvoid* kernels[] = {{{table}}};\n")
    build(
        ["nvcc", "-arch=sm_90", "-std=c++17", "-Werror=all-warnings", "-cubin", "all.cu", "-o", "all.cubin"], tmp_path
    )
    entries = set(re.findall(rb"\.nv\.info\.(\w+)", (tmp_path / "all.cubin").read_bytes()))
    assert len(entries) == len(KERNELS)
