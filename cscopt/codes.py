"""SparseCodes: codes as a list of non-zeros, a few hundred kilobytes where dense maps take megabytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cscopt import checks, io
from cscopt.backend import Array, is_complex, to_numpy


class SparseCodes:
    r"""Non-zero coefficients of codes (batch, maps, \*space).

    Parameters
    ----------
    index : ndarray of int64, (n,)
        Flat positions in C order, increasing.
    values : ndarray, (n,)
        Coefficients.
    shape : tuple of int
        Shape of the dense codes.

    Raises
    ------
    TypeError, ValueError
        If the parts do not fit each other.
    """

    def __init__(self, index: Any, values: Any, shape: tuple[int, ...]) -> None:
        self.index, self.values = np.asarray(index), np.asarray(values)
        self.shape = checks.extents(shape, "shape")
        self.values = checks.floating(self.values, "values")
        if self.index.dtype != np.int64 or self.index.ndim != 1 or self.index.shape != self.values.shape:
            raise ValueError(
                f"index must be int64 of the shape of values, (n,); got {self.index.dtype} {self.index.shape} "
                f"for values {self.values.shape}"
            )
        inside = self.index.size == 0 or (
            self.index[0] >= 0 and self.index[-1] < math.prod(self.shape) and bool((np.diff(self.index) > 0).all())
        )
        if not inside:
            raise ValueError(f"index must increase and lie inside the shape {self.shape}")

    @classmethod
    def from_dense(cls, codes: Array) -> SparseCodes:
        """Non-zeros of dense codes of any library."""
        dense = to_numpy(codes)
        checks.extents(dense.shape, "shape")
        maps = dense.reshape((-1, *dense.shape[2:]))
        found = [np.flatnonzero(each) for each in maps]  # map by map: codes cut out of a grid are not copied as a whole
        values = [each.reshape(-1)[at] for each, at in zip(maps, found, strict=True)]
        index = [at.astype(np.int64) + k * maps[0].size for k, at in enumerate(found)]
        return cls(np.concatenate(index), np.concatenate(values), dense.shape)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"SparseCodes({len(self)} of {math.prod(self.shape)}, shape={self.shape}, {self.values.dtype})"

    @property
    def density(self) -> float:
        """Share of coefficients that are not zero."""
        return len(self) / math.prod(self.shape)

    def to_dense(self) -> np.ndarray[Any, Any]:
        r"""Dense codes, (batch, maps, \*space)."""
        dense = np.zeros(math.prod(self.shape), self.values.dtype)
        dense[self.index] = self.values
        return dense.reshape(self.shape)

    def synthesize(self, dictionary: Any, boundary: str = "circular") -> Any:
        r"""Σ_m d_m * x_m, (batch, C, \*space), for a `ConvDictionary`, atom by atom."""
        return dictionary.synthesize(self, boundary)

    def to_scipy(self) -> Any:
        """`scipy.sparse.csr_array` of shape (batch · maps, positions)."""
        from scipy.sparse import csr_array

        if len(self.shape) < 3:
            raise ValueError(f"codes must be (batch, maps, *space) here; got shape {self.shape}")
        positions = math.prod(self.shape[2:])
        rows, columns = np.divmod(self.index, positions)
        return csr_array((self.values, (rows, columns)), shape=(self.shape[0] * self.shape[1], positions))

    def tensors(self) -> dict[str, Any]:
        """The parts as arrays that files hold: complex values in two."""
        parts = {"index": self.index, "values": self.values.real, "shape": np.array(self.shape, dtype=np.int64)}
        return parts | ({"imaginary": self.values.imag} if is_complex(self.values) else {})

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Any]) -> SparseCodes:
        """What `tensors` gave."""
        values = tensors["values"]
        if "imaginary" in tensors:
            values = values + (1j * tensors["imaginary"]).astype(np.result_type(values, np.complex64))
        return cls(tensors["index"], values, tuple(tensors["shape"]))

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write as a safetensors file, complete or not at all."""
        io.save_tensors(path, self.tensors(), {**(metadata or {}), "format": "cscopt-codes-1"})

    @classmethod
    def load(cls, path: str | Path) -> SparseCodes:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it holds no codes.
        """
        tensors, metadata = io.load_tensors(path)
        if metadata.get("format") != "cscopt-codes-1":
            found = metadata.get("format", "another kind of file")
            raise ValueError(f"{path} holds no codes this version reads (found {found})")
        if not {"index", "values", "shape"} <= set(tensors):
            raise ValueError(f"{path} holds no codes: it lacks one of index, values and shape")
        return cls.of_tensors(tensors)
