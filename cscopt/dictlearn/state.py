"""What a learner knows between two steps, as arrays and text that are saved and read back without loss."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cscopt import io
from cscopt.backend import to_numpy
from cscopt.codes import SparseCodes

_FORMAT = "cscopt-learning-3"
COLUMNS = ("step", "seconds", "objective", "nonzeros", "held_out")
BY_EPOCH = ("objective", "held_out")


@dataclass(frozen=True)
class LearnState:
    r"""The state of learning after some steps. Arrays are never changed in place.

    Attributes
    ----------
    filters : ndarray, (M, C, \*support), float64
    usage : ndarray, (M,)
        Σ|x_m| over the epoch so far, or over the last one where it has just ended.
    step : int
        Steps done.
    seconds : float
        Wall time of all steps, over all sessions.
    memory : dict of ndarray
        What the engine adds.
    snapshots : ndarray, (epochs, M, C, \*support), float32
        The filters at the beginning and after every epoch.
    history : dict of list
        Columns "step", "seconds", "objective" and "nonzeros" (means of the step's images, with the filters before it),
        "held_out" (the mean objective of the validation images, NaN where it was not measured).
    finished : bool
        Whether the stopping rule ended it.
    place : int
        Images seen in the epoch that has begun; 0 between epochs.
    so_far : float
        Sum of the objectives of those images.
    by_epoch : dict of list
        Columns "objective", the mean over all images of an epoch, each with the filters it met, and "held_out".
    """

    filters: Any
    usage: Any
    step: int = 0
    seconds: float = 0.0
    memory: Mapping[str, Any] = field(default_factory=dict)
    snapshots: Any = None
    history: Mapping[str, list[float]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    finished: bool = False
    place: int = 0
    so_far: float = 0.0
    by_epoch: Mapping[str, list[float]] = field(default_factory=lambda: {name: [] for name in BY_EPOCH})

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.snapshots) - 1

    def __repr__(self) -> str:
        last = self.history["objective"][-1:]
        told = f", objective={last[0]:.6g}" if last else ""
        return f"LearnState(filters {tuple(self.filters.shape)}, step={self.step}{told}, seconds={self.seconds:.3g})"

    @classmethod
    def first(cls, filters: Any) -> LearnState:
        """No step done."""
        return cls(filters, np.zeros(len(filters)), snapshots=np.asarray(filters, np.float32)[None])

    def save(self, path: str | Path, mark: str = "") -> None:
        """Write as a safetensors file, complete or not at all; `mark` names the task it belongs to."""
        tensors = {"filters": self.filters, "usage": self.usage, "snapshots": self.snapshots}
        tensors |= {f"history.{name}": np.array(values, np.float64) for name, values in self.history.items()}
        tensors |= {f"memory.{name}": array for name, array in self.memory.items()}
        names = ("step", "seconds", "finished", "place", "so_far", "by_epoch")
        numbers = {name: getattr(self, name) for name in names} | {"mark": mark}
        io.save_tensors(path, tensors, {"format": _FORMAT, "numbers": json.dumps(numbers)})

    @classmethod
    def load(cls, path: str | Path, mark: str | None = "") -> LearnState:
        """Read what `save` wrote, of the task `mark`, or of any for None.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, it holds no state, or that of another task.
        """
        try:
            tensors, metadata = io.load_tensors(path)
        except ValueError as error:
            raise ValueError(f"{error}; delete it to begin anew") from error
        needed = {"filters", "usage", "snapshots", *(f"history.{name}" for name in COLUMNS)}
        if metadata.get("format") != _FORMAT or not needed <= set(tensors):
            raise ValueError(f"{path} holds no learner's state that this version reads; delete it to begin anew")
        numbers = json.loads(metadata["numbers"])
        if mark is not None and numbers["mark"] != mark:
            raise ValueError(
                f"{path} is the state of another task (other images, filters to begin with, engine, options or seed); "
                "delete it to begin anew"
            )
        parts: dict[str, dict[str, Any]] = {"history": {}, "memory": {}}
        for name, array in tensors.items():
            group, _, rest = name.partition(".")
            if group in parts and rest:
                parts[group][rest] = array
        return cls(
            tensors["filters"],
            tensors["usage"],
            int(numbers["step"]),
            float(numbers["seconds"]),
            parts["memory"],
            tensors["snapshots"],
            {name: parts["history"][name].tolist() for name in COLUMNS},
            bool(numbers["finished"]),
            int(numbers["place"]),
            float(numbers["so_far"]),
            numbers["by_epoch"],
        )

    def recorded(self, **row: float) -> dict[str, list[float]]:
        """The history with one more row."""
        return {name: [*self.history[name], float(row.get(name, math.nan))] for name in COLUMNS}


def codes_kept(number: int, codes: SparseCodes, image: Any) -> dict[str, Any]:
    """Codes of an image, and its digest, as entries of the memory."""
    return _entries(number, codes) | {f"{number}.image": _digest(image)}


def codes_recalled(memory: Mapping[str, Any], number: int, image: Any) -> SparseCodes | None:
    """Codes of an image from the memory; None if it has none, or those of another image."""
    known = memory.get(f"{number}.image")
    return _codes(memory, number) if known is not None and np.array_equal(known, _digest(image)) else None


def _entries(number: int, codes: SparseCodes) -> dict[str, Any]:
    return {f"{number}.{name}": part for name, part in codes.tensors().items()}


def _digest(image: Any) -> Any:
    array = np.ascontiguousarray(to_numpy(image))
    digest = hashlib.blake2b(f"{array.dtype} {array.shape}".encode(), digest_size=16)
    digest.update(array)
    return np.frombuffer(digest.digest(), np.uint8)


def _codes(memory: Mapping[str, Any], number: int) -> SparseCodes:
    names = [name for name in ("index", "values", "shape", "imaginary") if f"{number}.{name}" in memory]
    return SparseCodes.of_tensors({name: memory[f"{number}.{name}"] for name in names})


def codes_without(memory: Mapping[str, Any], atoms: Any, n_filters: int) -> dict[str, Any]:
    """The memory, with no codes of some atoms in it."""
    kept = dict(memory)
    for name in memory:
        if name.endswith(".index"):
            number = int(name.partition(".")[0])
            codes = _codes(memory, number)
            filters = codes.index // int(np.prod(codes.shape[2:])) % n_filters
            rest = ~np.isin(filters, atoms)
            kept |= _entries(number, SparseCodes(codes.index[rest], codes.values[rest], codes.shape))
    return kept
