"""A bank: a folder of learned dictionaries and an index that is rebuilt from them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from cscopt import checks, io, lowpass
from cscopt.bank.data import PADDING
from cscopt.bank.entry import Entry, complete, entry, read
from cscopt.bank.words import dictionaries, refuse_unknown
from cscopt.penalties import L1
from cscopt.problem import CSCProblem
from cscopt.solvers import solve

INDEX = "index.json"
FORMAT = 1
"""Version of the index this version writes, and the newest it reads."""

ATTRIBUTES = ("n_filters", "support", "channels", "lam", "beta", "engine", "seed", "name")


@dataclass(frozen=True)
class Score:
    """How well a dictionary codes a signal."""

    entry: Entry
    objective: float
    gap: float | None


@dataclass(frozen=True)
class Bank:
    """Dictionaries of a folder, in the order of their attributes.

    Iterate it, take entries by number or name, narrow it down with `select`.
    """

    folder: Path
    entries: tuple[Entry, ...]

    @classmethod
    def open(cls, folder: str | Path) -> Bank:
        """Open a bank; files that the index does not know are read, those that are gone are forgotten.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        ValueError
            If a file is half-written, changed or foreign, or a newer version made it; the sentence names it.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no bank {folder}")
        known = _indexed(folder)
        rows: dict[str, Any] = {}
        for path in files(folder):
            row = (known or {}).get(path.name, {})
            if not (_fresh(row, path) and complete(row.get("provenance"))):
                row = _stamp(path) | {"provenance": dict(entry(path, read(path)[0]).provenance)}
            rows[path.name] = row
        if known is not None and rows != known:
            _write_index(folder, rows)
        entries = [entry(folder / name, row["provenance"]) for name, row in rows.items()]
        return cls(folder, tuple(sorted(entries, key=_order)))

    def __repr__(self) -> str:
        return f"Bank({str(self.folder)!r}, {dictionaries(len(self))})"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    @overload
    def __getitem__(self, key: int | str) -> Entry: ...
    @overload
    def __getitem__(self, key: slice) -> Bank: ...
    def __getitem__(self, key: int | str | slice) -> Entry | Bank:
        if isinstance(key, slice):
            return Bank(self.folder, self.entries[key])
        if isinstance(key, int):
            return self.entries[key]
        for one in self.entries:
            if one.name == key:
                return one
        if not self.entries:
            raise ValueError(f"there is no dictionary in {self.folder}")
        refuse_unknown([key], [one.name for one in self.entries], f"bank {self.folder}")
        raise KeyError(key)

    def select(self, **attributes: Any) -> Bank:
        """Entries with these attributes.

        Parameters
        ----------
        **attributes
            `n_filters`, `support`, `channels`, `lam`, `beta`, `engine`, `seed`, `name`: a value, or a list or set of
            values. A support of one number is as long along each axis.

        Raises
        ------
        ValueError
            For another attribute, naming the nearest of these.
        """
        refuse_unknown(attributes, ATTRIBUTES, "an entry of a bank")
        kept = [e for e in self.entries if all(_has(getattr(e, k), v) for k, v in attributes.items())]
        return Bank(self.folder, tuple(kept))

    def scores(
        self,
        signal: Any,
        lam: float | None = None,
        *,
        beta: float | None = None,
        tol: float = 1e-3,
        max_iter: int = 500,
    ) -> list[Score]:
        r"""How well each dictionary codes a signal y, the best first.

        The score of a dictionary D is the optimum of the coding problem at one λ for all:

            min over x  ½‖D x − y_high‖² + λ‖x‖₁,      y_high = y − (I + β ∇ᴴ∇)⁻¹ y

        Parameters
        ----------
        signal : array, (\*space) or (batch, channel, \*space)
            Real or complex, before any split.
        lam : float, optional
            λ > 0 in the units of the signal; by default that of the learning, where all dictionaries have one.
        beta : float, optional
            β of the split. Without it each dictionary has the β it was learned with: this tells which dictionary and
            low-pass together leave the least, and as a weaker smoothing (a smaller β) takes more of the signal away,
            it favours small β. With it all dictionaries code one signal, and the scores compare the filters alone.
        tol : float, default 1e-3
            Relative duality gap: scores that differ by less are equal.
        max_iter : int, default 500
            Iterations at most.

        Raises
        ------
        TypeError, ValueError
            If the bank is empty, a number is out of range, or the signal does not fit one of the dictionaries.
        """
        if not self.entries:
            raise ValueError(f"there is no dictionary to choose from in {self.folder}")
        if lam is None:
            if len(learned := {one.lam for one in self.entries}) > 1:
                raise ValueError(f"lam must be given where dictionaries were learned at several; got {sorted(learned)}")
            (lam,) = learned
        lam = checks.positive_number(lam, "lam")
        signal = checks.floating(signal, "signal")
        highs: dict[float, Any] = {}
        found = []
        for one in self.entries:
            strength: float = one.beta if beta is None else beta
            standard = _standard(signal, one)
            if strength not in highs:
                highs[strength] = _high(standard, strength)
            solution = solve(CSCProblem(highs[strength], one.load(), L1(lam)), tol=tol, max_iter=max_iter)
            if solution.status == "stopped":
                raise KeyboardInterrupt
            found.append(Score(one, float(solution.objective), solution.gap))
        return sorted(found, key=lambda score: score.objective)

    def best_for(self, signal: Any, lam: float | None = None, **options: Any) -> Entry:
        """The dictionary that codes a signal with the least objective at one λ; see `scores` for what is compared."""
        return self.scores(signal, lam, **options)[0].entry

    def verify(self) -> dict[str, str]:
        """See `verify`."""
        return verify(self.folder)


def verify(folder: str | Path) -> dict[str, str]:
    """Read every file of a bank as a whole; the files that are not good or gone, and what is wrong with them.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such folder, or a newer version made its index.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no bank {folder}")
    known = _indexed(folder) or {}
    there = files(folder)
    gone = set(known) - {path.name for path in there}
    wrong = {name: f"{folder / name} is gone: the index knows it (`Bank.open` forgets it)" for name in sorted(gone)}
    for path in there:
        try:
            provenance, dictionary = read(path)
        except (OSError, TypeError, ValueError) as error:
            wrong[path.name] = str(error)
            continue
        one = entry(path, provenance)
        if (one.n_filters, one.channels, one.support) != (
            dictionary.n_filters,
            dictionary.channels,
            dictionary.support,
        ):
            wrong[path.name] = f"{path} holds a {dictionary}, and says otherwise"
        elif _fresh(row := known.get(path.name, {}), path) and row.get("provenance") != one.provenance:
            wrong[path.name] = f"{folder / INDEX} tells other things of {path.name} than the file; delete the index"
    return wrong


def files(folder: Path) -> list[Path]:
    """The dictionaries' files; hidden ones are being written."""
    return sorted(p for p in folder.glob("*.safetensors") if not p.name.startswith("."))


def _stamp(path: Path) -> dict[str, Any]:
    """What tells that a file is still the one of the index."""
    stamp = path.stat()
    return {"size": stamp.st_size, "mtime_ns": stamp.st_mtime_ns}


def _fresh(row: dict[str, Any], path: Path) -> bool:
    return _stamp(path).items() <= row.items()


def _indexed(folder: Path) -> dict[str, Any] | None:
    """Rows of the index; none where it is absent or damaged, for it can be made again; None if the file is not ours."""
    try:
        given = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    try:
        version, rows = int(given["format"]), given["files"]
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    if version > FORMAT:
        raise ValueError(f"{folder} was made by a newer cscopt (format {version}; this one reads up to {FORMAT})")
    return rows if isinstance(rows, dict) and all(isinstance(row, dict) for row in rows.values()) else {}


def _write_index(folder: Path, rows: dict[str, Any]) -> None:
    text = json.dumps({"format": FORMAT, "files": rows}, indent=1, ensure_ascii=False)
    with (
        suppress(OSError),
        io.replacing(folder / INDEX) as temporary,
    ):  # a bank can be read where none can write, or the disk is full
        temporary.write_text(text + "\n", encoding="utf-8")


def _order(one: Entry) -> tuple[Any, ...]:
    return one.n_filters, one.support, one.lam, one.beta, one.name


def _has(value: Any, wanted: Any) -> bool:
    options: Collection[Any] = wanted if isinstance(wanted, list | set | frozenset) else [wanted]
    same = {value, value[0]} if isinstance(value, tuple) and len(set(value)) == 1 else {value}
    return any(option in same for option in options)


def _standard(signal: Any, one: Entry) -> Any:
    r"""(batch, channel, \*space) of a signal, or of a bare image."""
    axes = len(one.support)
    if signal.ndim == axes:
        signal = signal[None, None]
    if signal.ndim != axes + 2:
        raise ValueError(
            f"signal must have the {axes} axes of the filters of {one.name}, or those after batch and channel; "
            f"it has {signal.ndim}"
        )
    if one.channels not in (1, signal.shape[1]):
        raise ValueError(
            f"signal must have the {one.channels} channels of the filters of {one.name}, it has {signal.shape[1]}; "
            "`select(channels=...)` leaves those that fit"
        )
    return signal


def _high(signal: Any, beta: float) -> Any:
    return signal if beta == 0 else lowpass.split(signal, beta, min(PADDING, *signal.shape[2:]))[1]
