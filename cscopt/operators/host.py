"""Arrays for operators that compute in the CPU's memory alone: others are copied there, without a gradient."""

from __future__ import annotations

from typing import Any

from cscopt import checks
from cscopt.backend import Array, is_torch, to_numpy
from cscopt.linop import Shape


def on_host(array: Array, name: str, shape: Shape | None = None) -> Any:
    """A real, finite array in NumPy, after checking that it is a batch of items of a shape, if one is given.

    Raises
    ------
    TypeError, ValueError
        If it is no such array, or torch would take a gradient through what is made of it.
    """
    checks.an_array(array, name)
    if is_torch(array) and array.ndim and (array[:0] * 1).requires_grad:  # a product knows of no_grad
        raise TypeError(f"{name} must not need a gradient, unless the operator is in learned.Differentiable")
    array = checks.floating(array, name, complex_allowed=False)
    if shape is not None:
        checks.batch_of(array, shape, name)
    checks.finite(array, name)
    return to_numpy(array)
