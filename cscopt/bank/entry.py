"""One dictionary of a bank: its file, and the text inside that says where it comes from."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from cscopt import io
from cscopt.backend import to_numpy
from cscopt.dictionary import ConvDictionary

ROWS = 200
"""Rows of history that a file keeps at most: evenly spaced ones, and those with a held-out loss."""

_LONG = ("history", "usage")  # read from the file when asked for, and not kept in the index
_NEEDED = (
    *("n_filters", "support", "channels", "lam", "beta", "engine", "seed", "images", "steps", "data_sha256"),
    *("held_out", "wall_seconds", "cscopt", "sha256"),
    *_LONG,
)
_NUMBERS = ("n_filters", "channels", "support", "lam", "beta", "seed", "seconds", "held_out")


@dataclass(frozen=True)
class Entry:
    """A dictionary of a bank, by its provenance; the filters are read by `load`."""

    path: Path
    provenance: Mapping[str, str]

    name = property(lambda self: self.path.stem, doc="Name of the file without its ending.")
    n_filters = property(lambda self: int(self.provenance["n_filters"]), doc="Number of filters M.")
    channels = property(lambda self: int(self.provenance["channels"]), doc="Number of channels C.")
    support = property(
        lambda self: tuple(int(n) for n in self.provenance["support"].split("x")), doc="Shape of a filter's support."
    )
    lam = property(lambda self: float(self.provenance["lam"]), doc="λ of the learning.")
    beta = property(
        lambda self: float(self.provenance["beta"]), doc="Strength β of the low-pass removed before; 0: none."
    )
    engine = property(lambda self: self.provenance["engine"], doc="Name of the learner.")
    seed = property(lambda self: int(self.provenance["seed"]), doc="Seed of the learning.")
    seconds = property(lambda self: float(self.provenance["wall_seconds"]), doc="Wall time of the learning.")

    def __repr__(self) -> str:
        return f"Entry({str(self.path)!r})"

    @property
    def held_out(self) -> float | None:
        """The learner's last held-out objective; None where nothing was held out."""
        text = self.provenance["held_out"]
        return float(text) if text else None

    def load(self) -> ConvDictionary:
        """The dictionary, after a check of its digest.

        Raises
        ------
        FileNotFoundError, ValueError
            If the file is gone, damaged, or another than when the bank was opened.
        """
        provenance, dictionary = read(self.path)
        if provenance["sha256"] != self.provenance["sha256"]:
            raise ValueError(f"{self.path} was replaced since the bank was opened; open it again")
        return dictionary

    def history(self) -> dict[str, list[float]]:
        """Rows of the learning, thinned out to some 200; NaN where a column was not measured.

        An objective is the mean over the steps since the row before.
        """
        columns = json.loads(read(self.path)[0]["history"])
        return {name: [math.nan if v is None else v for v in values] for name, values in columns.items()}

    def usage(self) -> Any:
        """Σ|x_m| of the last epoch, (M,)."""
        return np.array(json.loads(read(self.path)[0]["usage"]))


def write(path: Path, dictionary: ConvDictionary, learned: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """Write a dictionary with its provenance: what was `told` to the learner, and its history, usage and seconds."""
    filters = to_numpy(dictionary.filters)
    history = learned["history"]
    last = [v for v in history.get("held_out", []) if v == v]
    provenance = {
        **{key: str(value) for key, value in told.items()},
        "n_filters": str(filters.shape[0]),
        "channels": str(filters.shape[1]),
        "support": "x".join(str(n) for n in filters.shape[2:]),
        "history": json.dumps(_thinned(history)),
        "usage": json.dumps([_short(v) for v in learned["usage"]]),
        "held_out": repr(float(last[-1])) if last else "",
        "wall_seconds": f"{learned['seconds']:.2f}",
    }
    save(path, filters, provenance)


def save(path: Path, filters: Any, provenance: Mapping[str, str]) -> None:
    """Write filters and a whole provenance with their digest."""
    io.save_dictionary(path, filters, {**provenance, "sha256": digest(filters, provenance)})


def read(path: Path) -> tuple[dict[str, str], ConvDictionary]:
    """Provenance and dictionary of a bank's file.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is gone, half-written, changed, foreign, under another's name, or made by a newer version.
    """
    try:
        io.load_tensors(path)
    except ValueError as error:
        raise ValueError(f"{error}: it is half-written or damaged, and has to go") from error
    filters, provenance = io.load_dictionary(path)
    absent = [key for key in _NEEDED if key not in provenance]
    if absent:
        raise ValueError(
            f"{path} is a dictionary, but no bank wrote it: it does not tell its {absent[0]}; "
            "ConvDictionary.load reads it"
        )
    if digest(filters, provenance) != provenance["sha256"]:
        raise ValueError(f"{path} was changed after it was written: its digest does not fit")
    if provenance.get("name", path.stem) != path.stem:
        raise ValueError(f"{path} is the dictionary {provenance['name']}, and must have its name")
    return provenance, ConvDictionary(filters, provenance)


def entry(path: Path, provenance: Mapping[str, str]) -> Entry:
    """An entry without the long texts."""
    return Entry(path, MappingProxyType({k: v for k, v in provenance.items() if k not in _LONG}))


def complete(provenance: Any) -> bool:
    """Whether an index's words for an entry are all there, and its numbers can be read."""
    if not isinstance(provenance, Mapping) or not all(isinstance(text, str) for text in provenance.values()):
        return False
    if any(key not in provenance for key in _NEEDED if key not in _LONG):
        return False
    one = Entry(Path(), provenance)
    try:
        for number in _NUMBERS:
            getattr(one, number)
    except ValueError:
        return False
    return True


def digest(filters: Any, provenance: Mapping[str, str]) -> str:
    """SHA-256 of filters and text."""
    array = np.ascontiguousarray(filters)
    text = json.dumps({k: v for k, v in provenance.items() if k != "sha256"}, sort_keys=True)
    result = hashlib.sha256(f"{array.dtype} {array.shape} {text}".encode())
    result.update(array)
    return result.hexdigest()


def _thinned(history: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Some rows of a history, of six digits; null for NaN, which JSON does not know.

    Objectives are means over the steps from the row before, so that means over an epoch can still be taken.
    """
    rows = max((len(values) for values in history.values()), default=0)
    kept = set(np.linspace(0, rows - 1, min(rows, ROWS)).round().astype(int).tolist())
    kept |= {k for k, v in enumerate(history.get("held_out", [])) if v == v}
    ends = sorted(kept)
    thinned = {name: [values[k] for k in ends] for name, values in history.items()}
    if "objective" in history:
        steps = itertools.pairwise([-1, *ends])
        thinned["objective"] = [float(np.mean(history["objective"][a + 1 : b + 1])) for a, b in steps]
    return {name: [_short(value) for value in values] for name, values in thinned.items()}


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
