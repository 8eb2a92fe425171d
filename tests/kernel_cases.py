"""What every fused twin of the reference kernels must satisfy, on any array library."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from test_kernels import assert_same

from cscopt.backend import asarray_like, to_numpy
from cscopt.kernels import reference

DTYPES = ["float32", "float64", "complex64", "complex128"]


def on_host(result: Any) -> Any:
    """Arrays, and tuples and dictionaries of them, in NumPy."""
    if isinstance(result, dict):
        return {name: to_numpy(array) for name, array in result.items()}
    return tuple(on_host(part) for part in result) if isinstance(result, tuple) else to_numpy(result)


def compare(fused: ModuleType, spectrum: Any, levels: Any, image: Any, x: Any, z: Any, tol: float) -> None:
    """Every function of a twin against the reference; states are updated in place and nothing else is."""
    kind = to_numpy(levels.level).dtype
    numbers = (0.5 + np.arange(len(x))).astype(kind)
    rho, steps, betas = (asarray_like(a, x, kind) for a in (numbers, numbers / 10, 1 / (2 + numbers)))
    for name, states, options in (
        ("ista_sweep", (x,), (steps,)),
        ("fista_sweep", (x, z), (steps, betas)),
        ("admm_sweep", (x,), (rho, 1.7)),
        ("proximal", (), (x, levels, steps)),
        ("analyze", (), (image, spectrum)),
        ("synthesize", (), (x, spectrum)),
        ("violation", (), (image, spectrum, levels)),
        ("weighted_l1", (), (x, levels)),
    ):
        others = (image, spectrum, levels, *options) if states else options
        before = on_host((image, x, z))
        wanted = on_host(getattr(reference, name)(*[a.copy() for a in states], *others))
        given = [a.copy() for a in states]
        found = getattr(fused, name)(*given, *others)
        assert all(a is b for a, b in zip(found, given, strict=False))
        pair = (found, wanted) if isinstance(found, tuple) else ((found,), (wanted,))
        assert_same(on_host(pair[0]), pair[1], tol)
        for array, kept in zip(on_host((image, x, z)), before, strict=True):
            np.testing.assert_array_equal(array, kept)
