"""Constants of an operator, kept in NumPy and cast once for each library, dtype and device that asks."""

from __future__ import annotations

from typing import Any

from cscopt.backend import Array, asarray_like, device, is_torch, namespace, to_numpy


class Held:
    """An array that follows the arrays it meets."""

    def __init__(self, values: Any) -> None:
        self.values = to_numpy(values)
        self._cast: dict[Any, Any] = {}

    def like(self, array: Array, dtype: Any = None) -> Any:
        """The array in the library and on the device of another, in a dtype (its own if none is given)."""
        key = (namespace(array).__name__, dtype, device(array))
        if key in self._cast:
            return self._cast[key]
        cast = asarray_like(self.values, array, dtype)
        if not (is_torch(array) and cast.is_inference()):  # those would be refused by a later backward pass
            self._cast[key] = cast
        return cast
