"""When a run's state goes to its file."""

from __future__ import annotations

import time
from pathlib import Path

from cscopt.dictlearn.state import LearnState

_OFTEN, _SELDOM = 1.0, 60.0  # seconds between two states, the more the longer writing one takes
_SHARE = 0.05  # of the time that writing may take


class Keeper:
    """The file of a run's state; `seconds` between two of them, or for None as few as cost little. No file for None."""

    def __init__(self, path: str | Path | None, mark: str, seconds: float | None) -> None:
        self.path, self.mark, self.seconds = path, mark, seconds
        self._wait, self._saved = _OFTEN if seconds is None else seconds, time.monotonic()

    def passes(self, state: LearnState) -> None:
        """Save a state if it is time."""
        if time.monotonic() - self._saved >= self._wait:
            self.save(state)

    def save(self, state: LearnState) -> None:
        """Save a state now."""
        if self.path is None:
            return
        began = time.monotonic()
        state.save(self.path, self.mark)
        self._saved = time.monotonic()
        if self.seconds is None:
            self._wait = min(max(_OFTEN, (self._saved - began) / _SHARE), _SELDOM)
