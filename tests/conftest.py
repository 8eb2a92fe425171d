"""One contract, many backends: `space` runs a test over every array namespace and dtype."""

from __future__ import annotations

import functools
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("CSCOPT_CACHE_DIR", os.path.join(tempfile.gettempdir(), "cscopt-test-cache"))
if "PYTEST_XDIST_WORKER" in os.environ:  # workers fill the cores; threads that wait would take turns on them
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("CSCOPT_NUM_THREADS", "1")


@pytest.fixture
def all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as users have, also in a worker."""
    monkeypatch.delenv("CSCOPT_NUM_THREADS", raising=False)


@functools.cache
def strict() -> Any:
    """array-api-strict in 0.4 of its time, and as strict.

    An array that is asked for its namespace sorts all names, also where no version is asked for; and dtypes, which are
    compared a million times in a test, look at length whether the other is NumPy's.
    """
    library = pytest.importorskip("array_api_strict")
    array, dtype = type(library.zeros(1)), type(library.float32)
    versioned, equal = array.__array_namespace__, dtype.__eq__

    def namespace(self: Any, /, *, api_version: str | None = None) -> Any:
        return library if api_version is None else versioned(self, api_version=api_version)

    def same(self: Any, other: object) -> bool:
        return self._np_dtype == other._np_dtype if type(other) is dtype else equal(self, other)

    array.__array_namespace__, dtype.__eq__ = namespace, same
    return library


@dataclass(frozen=True)
class Space:
    """A library and a dtype, with what rounding allows there."""

    library: str
    dtype: str

    @property
    def complex(self) -> bool:
        return self.dtype.startswith("complex")

    @property
    def real(self) -> str:
        return {"complex64": "float32", "complex128": "float64"}.get(self.dtype, self.dtype)

    @property
    def rtol(self) -> float:
        return 2e-4 if self.real == "float32" else 1e-9

    def array(self, values: Any, dtype: str | None = None) -> Any:
        """Values as an array of this library, real or complex."""
        values = np.ascontiguousarray(values, dtype=dtype or self.dtype)
        if self.library == "numpy":
            return values
        if self.library == "torch":
            return pytest.importorskip("torch").from_numpy(values.copy())
        if self.library == "strict":
            return strict().asarray(values)
        return pytest.importorskip("cupy").asarray(values)

    def random(self, rng: np.random.Generator, *shape: int) -> Any:
        """Standard normal entries."""
        values = rng.standard_normal(shape)
        if self.complex:
            values = values + 1j * rng.standard_normal(shape)
        return self.array(values)

    def filters(self, rng: np.random.Generator, *shape: int) -> Any:
        """Random real filters of unit norm."""
        values = rng.standard_normal(shape)
        norms = np.sqrt((values**2).reshape(shape[0], -1).sum(1))
        return self.array(values / norms.reshape((-1,) + (1,) * (len(shape) - 1)), self.real)


SPACES = [
    Space("numpy", "float32"),
    Space("numpy", "float64"),
    Space("numpy", "complex64"),
    Space("numpy", "complex128"),
    Space("strict", "float32"),
    Space("strict", "complex128"),
    Space("torch", "float32"),
    Space("torch", "float64"),
    Space("torch", "complex128"),
    *(
        pytest.param(Space("cupy", dtype), marks=pytest.mark.gpu)
        for dtype in ("float32", "float64", "complex64", "complex128")
    ),
]


@pytest.fixture(params=SPACES, ids=lambda s: f"{s.library}-{s.dtype}")
def space(request: pytest.FixtureRequest) -> Space:
    if request.param.library == "cupy":
        cupy = pytest.importorskip("cupy")
        if not cupy.is_available():
            pytest.skip("no CUDA device")
    return request.param


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, as in a terminal: a background process ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1234)


@pytest.fixture
def spec(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A spec of four dictionaries beside its data, five images."""
    from bank_cases import written

    np.savez(tmp_path / "images.npz", stack=np.cumsum(rng.standard_normal((5, 20, 18)), axis=1))
    return written(tmp_path)
