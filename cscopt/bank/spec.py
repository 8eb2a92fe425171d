"""A spec: the YAML file that says which dictionaries a bank shall hold."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cscopt import checks, dictlearn
from cscopt.bank.data import Data, Samples
from cscopt.bank.reading import mapping
from cscopt.bank.words import refuse_unknown
from cscopt.dictlearn.data import Sample

ENGINES: dict[str, Any] = {"online": dictlearn.Online, "batch": dictlearn.Batch, "sporco": dictlearn.Sporco}
KEYS = ("data", "holdout", "seed", "engine", "initial", "max_epochs", "stop_below", "grid")
AXES = ("n_filters", "support", "lam", "beta")
Frozen: TypeAlias = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Case:
    """One dictionary to learn: a point of the grid, with all that decides the result."""

    n_filters: int
    support: tuple[int, ...]
    lam: float
    beta: float
    engine: str
    options: Frozen
    initial: str
    max_epochs: int
    stop_below: float
    seed: int
    holdout: int | float
    data: Data
    data_sha256: str

    @property
    def size(self) -> str:
        """Support and number of filters, as in 8x8x32."""
        return "x".join(str(n) for n in (*self.support, self.n_filters))

    @property
    def name(self) -> str:
        """Name of the dictionary's file: what one looks for, and a digest of all that decides the result."""
        told = [getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("data", "options")]
        digest = hashlib.sha256(json.dumps([*told, self.learner().described()], default=str).encode()).hexdigest()
        return f"{self.size}-lam{self.lam:g}-beta{self.beta:g}-{digest[:8]}"

    @property
    def work(self) -> float:
        """How long it may take, in units of its own: the number of coefficients of all filters."""
        size = float(self.n_filters)
        for n in self.support:
            size *= n
        return size

    def learner(self) -> Any:
        """The engine with its options and λ."""
        options = dict(self.options)
        if "constraint" in options:
            options["constraint"] = dictlearn.Constraint(**dict(options["constraint"]))
        return ENGINES[self.engine](lam=self.lam, **options)


@dataclass(frozen=True)
class Spec:
    """A grid of dictionaries.

    Parameters
    ----------
    data : Data
    holdout : int or float
        How many of the last images, or which part of them (rounded, but one at least), no dictionary learns from.
        Images are held out whole, before they are cut into tiles.
    seed : int
        Of the initial filters and the order of the images.
    engine : str
        "online", "batch" or "sporco".
    options : tuple of (str, value)
        The engine's; those of `Constraint` under the name "constraint".
    initial : {"patches", "noise"}
        See `dictlearn.initial_filters`.
    max_epochs, stop_below : int, float
        See `dictlearn.learn`.
    grid : sequence of tuple
        Points (number of filters, support, λ, β); a support of one number is as long along each axis.
    """

    data: Data
    holdout: int | float
    seed: int
    engine: str
    options: Frozen
    initial: str
    max_epochs: int
    stop_below: float
    grid: Sequence[tuple[int, Any, float, float]]

    @classmethod
    def read(cls, path: str | Path, data: str | None = None) -> Spec:
        """Read a YAML file; `data` stands for the folder or .npz file that it names.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            One sentence naming the key that is wrong; for an unknown one, the nearest known.
        """
        path = Path(path)
        given = mapping(path)
        refuse_unknown(given, KEYS, str(path))
        for key in ("data", "grid"):
            if key not in given:
                raise ValueError(f"{path} must have the key {key!r}")
        if given["grid"] == []:
            raise ValueError(f"grid must be a mapping, or a list of one or more, of {', '.join(AXES)}; got []")
        engine, options = _engine(given.get("engine", "online"))
        source = Data.read(given["data"], path.parent)
        return cls(
            data=source if data is None else _elsewhere(source, data),
            holdout=_holdout(given.get("holdout", 0)),
            seed=checks.count(given.get("seed", 0), "seed"),
            engine=engine,
            options=options,
            initial=checks.choice(given.get("initial", "patches"), "initial", ("patches", "noise")),
            max_epochs=checks.count(given.get("max_epochs", 10), "max_epochs", 1),
            stop_below=checks.real_number(given.get("stop_below", 0.0), "stop_below"),
            grid=list(dict.fromkeys(itertools.chain.from_iterable(map(_points, _listed(given["grid"]))))),
        )

    def cases(self, samples: Samples) -> list[Case]:
        """All cases, in the order of the grid: the last axis varies fastest. Images must fit each support."""
        axes = samples.training[0].ndim - 1
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "grid"}
        found = []
        for n_filters, support, lam, beta in self.grid:
            shape = (support,) * axes if isinstance(support, int) else support
            samples.check(shape)
            found.append(Case(n_filters, shape, lam, beta, data_sha256=samples.sha256, **shared))
        for case in found:
            case.learner().constraint.check(case.support)  # the engine checks its options
        images = [Sample(k, image, None) for k, image in enumerate(samples.training)]
        found[0].learner().check(images)  # all cases have its engine
        return found


def choose(cases: Sequence[Case], wanted: Iterable[str]) -> list[Case]:
    """Cases by number (from 1), by range (3-7), and by attribute (support=8, lam=0.1).

    Numbers add up, and so do values of one attribute; different attributes, and numbers with attributes, must all hold.
    """
    if isinstance(wanted, str):
        raise TypeError(f"cases must be a list such as ['3', 'support=8']; got {wanted!r}")
    numbers: set[int] = set()
    values: dict[str, list[str]] = {}
    for word in wanted:
        if span := re.fullmatch(r"(\d+)(?:-(\d+))?", word):
            first, last = int(span[1]), int(span[2] or span[1])
            if not 1 <= first <= last <= len(cases):
                raise ValueError(f"cases must be numbers from 1 to {len(cases)}; got {word}")
            numbers.update(range(first, last + 1))
        elif "=" in word:
            name, _, value = word.partition("=")
            refuse_unknown([name], AXES, "cases")
            values.setdefault(name, []).append(value)
        else:
            raise ValueError(f"cases must be numbers, ranges or attribute=value; got {word!r}")
    held = [c for k, c in enumerate(cases, 1) if (not numbers or k in numbers) and _matches(c, values)]
    if not held:
        raise ValueError(f"cases must choose at least one of {len(cases)}; got {' '.join(wanted)}")
    return held


def _matches(case: Case, values: Mapping[str, list[str]]) -> bool:
    for name, wanted in values.items():
        if name == "support":
            texts = {"x".join(map(str, case.support))} | (
                {str(case.support[0])} if len(set(case.support)) == 1 else set()
            )
            if not texts & set(wanted):
                return False
        elif float(getattr(case, name)) not in [checks.real_number(text, name) for text in wanted]:
            return False
    return True


def _engine(given: Any) -> tuple[str, Frozen]:
    """Name and options: a word, or a mapping with a name."""
    options = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = options.pop("name", "online")
    refuse_unknown([name], tuple(ENGINES), "engine")
    known = [f.name for f in dataclasses.fields(ENGINES[name]) if f.name != "lam"]
    refuse_unknown(options, known, f"engine {name!r}")
    constraint = options.get("constraint", {})
    if not isinstance(constraint, Mapping):
        raise TypeError(f"engine's constraint must be a mapping; got {constraint!r}")
    refuse_unknown(constraint, [f.name for f in dataclasses.fields(dictlearn.Constraint)], "constraint")
    return name, _frozen(options)


def _frozen(value: Any) -> Any:
    """Mappings and lists as sorted tuples and tuples."""
    if isinstance(value, Mapping):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items()))
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _elsewhere(data: Data, path: str) -> Data:
    """The same data at another path."""
    if data.skimage:
        raise ValueError("--data stands for a folder or an .npz file; this spec learns from scikit-image's pictures")
    kind = "npz" if data.npz else "folder"
    if Path(path).exists() and Path(path).is_dir() != (kind == "folder"):
        wanted = "an .npz file" if data.npz else "a folder of pictures"
        raise ValueError(f"--data must be {wanted}, as what stands in the spec; got {path}")
    place: dict[str, Any] = {kind: str(Path(path).resolve())}
    return dataclasses.replace(data, **place)


def _holdout(value: Any) -> int | float:
    if isinstance(value, float):
        if not 0 <= value < 1:
            raise ValueError(f"holdout must be a part from 0 to below 1, or a number of images; got {value}")
        return value
    return checks.count(value, "holdout")


def _points(grid: Any) -> Iterable[tuple[int, Any, float, float]]:
    """All combinations of one grid."""
    if not isinstance(grid, Mapping):
        raise TypeError(f"grid must be a mapping, or a list of mappings, of {', '.join(AXES)}; got {grid!r}")
    refuse_unknown(grid, AXES, "grid")
    absent = [axis for axis in AXES if axis not in grid]
    if absent:
        raise ValueError(f"grid must have the key {absent[0]!r}")
    for axis in AXES:
        if grid[axis] == []:
            raise ValueError(f"grid's {axis} must have at least one value; got []")
    return itertools.product(
        [checks.count(n, "n_filters", 1) for n in _listed(grid["n_filters"])],
        [_support(s) for s in _listed(grid["support"])],
        [checks.positive_number(v, "lam") for v in _listed(grid["lam"])],
        [_strength(v) for v in _listed(grid["beta"])],
    )


def _support(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(checks.count(n, "support", 1) for n in value)
    return checks.count(value, "support", 1)


def _strength(value: Any) -> float:
    if not 0 <= checks.real_number(value, "beta") < float("inf"):
        raise ValueError(f"beta must be finite and not negative; got {value}")
    return float(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
