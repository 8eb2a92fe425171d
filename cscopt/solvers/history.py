"""History: one row a recorded iteration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cscopt.backend import require

Row = dict[str, float]


class History:
    """Rows of (iteration, seconds, objective, gap, and what the solver adds).

    Seconds count from the call of `solve`; the objective is the sum over the batch and the gap its
    largest.
    """

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows = list(rows or [])

    def append(self, row: Row) -> None:
        """Add a row."""
        self.rows.append(row)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, key: str | int) -> Any:
        """A column by its name, as a list (NaN where a solver has no such number), or a row by its index."""
        if isinstance(key, str):
            if self.rows and key not in self._names():
                raise KeyError(key)
            return [row.get(key, float("nan")) for row in self.rows]
        return self.rows[key]

    def __repr__(self) -> str:
        return f"History({len(self)} rows)"

    def to_dict(self) -> dict[str, list[float]]:
        """Columns by name."""
        return {name: self[name] for name in self._names()}

    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def to_dataframe(self) -> Any:
        """A pandas DataFrame of the columns."""
        return require("pandas", None, "History.to_dataframe").DataFrame(self.to_dict())
