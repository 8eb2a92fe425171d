"""How far a bank is, and how long it will still take."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cscopt.bank.spec import Case
from cscopt.bank.words import dictionaries
from cscopt.bank.work import WORK


class Clock:
    """Progress of some cases: a bar with the time left on a terminal, and a line for each dictionary.

    `count` tells how many workers there are, of a cluster's at this time.
    Seconds of a case are taken to grow as its `Case.work`; those that run tell how far they are.
    """

    def __init__(self, folder: Path, cases: Sequence[Case], ready: int, shown: bool) -> None:
        from tqdm import tqdm

        self.folder, self.cases, self.idle = folder, list(cases), False
        self.count: Callable[[], int] = lambda: 1
        self.seconds: dict[Case, float] = {}
        self.shown = shown
        self.bar: Any = tqdm(
            total=len(self.cases) + ready,
            initial=ready,
            disable=not (shown and sys.stderr.isatty()),
            bar_format="{n_fmt}/{total_fmt} dictionaries |{bar}| {desc}",
        )
        if shown and self.bar.disable and cases:
            self.bar.write(f"{dictionaries(len(self.cases))} to learn")

    def finished(self, case: Case, seconds: float, pending: Collection[Case] = ()) -> None:
        """A case is done, and others are to come."""
        self.seconds[case] = seconds
        if self.shown:
            left = f", {_span(self.left(pending) or 0)} left" if pending else ""
            self.bar.write(f"{case.name}  {seconds:.0f} s  ({len(self.seconds)} of {len(self.cases)}{left})")
        self.bar.update()

    def failed(self, case: Case, error: BaseException) -> None:
        """A case came to nothing."""
        if self.shown:
            self.bar.write(f"{case.name} failed: {error}", file=sys.stderr)

    def show(self, pending: Iterable[Case]) -> None:
        """Look at what runs, and say how long all will take, or that nobody is there to do it."""
        idle = self.count() == 0
        if idle and not self.idle and self.shown:
            self.bar.write("there is no worker; waiting for one", file=sys.stderr)
        self.idle = idle
        if not self.bar.disable:
            left = self.left(pending)
            self.bar.set_description_str("" if left is None else f"{_span(left)} left")

    def left(self, pending: Iterable[Case]) -> float | None:
        """Seconds until the pending cases are done, None before there is anything to go by."""
        rest = []
        spent, done = sum(self.seconds.values()), sum(case.work for case in self.seconds)
        for case in pending:
            part, seconds = self._running(case)
            spent, done = spent + seconds, done + part * case.work
            rest.append((1 - part) * case.work)
        if not done:
            return None
        return spent / done * max(sum(rest) / max(1, self.count()), max(rest, default=0.0))

    def _running(self, case: Case) -> tuple[float, float]:
        """Part done and seconds spent of a case that is not finished."""
        with suppress(OSError, ValueError, KeyError):
            told = json.loads((self.folder / WORK / f"{case.name}.json").read_text())
            return min(told["part"], 1.0), told["seconds"]
        return 0.0, 0.0

    def close(self) -> None:
        """End the bar."""
        self.bar.close()


def _span(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
