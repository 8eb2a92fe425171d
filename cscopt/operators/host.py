"""Arrays for operators that work in the CPU's memory alone: NumPy's, and torch's that need no gradient."""

from __future__ import annotations

from typing import Any

from cscopt import checks
from cscopt.backend import Array, is_array, is_numpy, is_torch, to_numpy
from cscopt.linop import Shape


def on_host(array: Array, name: str, shape: Shape | None = None) -> Any:
    """A real, finite array in NumPy, after checking that it is a batch of items of a shape, if one is given.

    Raises
    ------
    TypeError, ValueError
        If it is no such array, lives elsewhere, or torch would take a gradient through what is made of it.
    """
    kind = type(array).__module__.partition(".")[0] if is_array(array) else type(array).__name__
    place = f"{name} must be an array of NumPy, or of torch on the CPU"
    if is_torch(array):
        if array.device.type != "cpu":
            raise TypeError(f"{place}; got one on {array.device}")
        if array.ndim and (array[:0] * 1).requires_grad:  # a product knows of no_grad, the array itself does not
            raise TypeError(f"{name} must not need a gradient, unless the operator is in learned.Differentiable")
    elif not is_numpy(array):
        raise TypeError(f"{place}; got {kind}")
    checks.floating(array, name, complex_allowed=False)
    if shape is not None:
        checks.batch_of(array, shape, name)
    checks.finite(array, name)
    return to_numpy(array)
