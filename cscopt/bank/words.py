"""Words: how many dictionaries, and those a user may get wrong, named with the nearest that is known."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from cscopt.backend import listing


def dictionaries(count: int) -> str:
    """How many, in words."""
    return "1 dictionary" if count == 1 else f"{count} dictionaries"


def refuse_unknown(given: Iterable[object], known: Collection[str], where: str) -> None:
    """Refuse a word that is not among the known ones."""
    for word in given:
        if word not in known:
            nearest = difflib.get_close_matches(str(word), known, n=1, cutoff=0.0)[0]
            raise ValueError(f"{where} has no {word!r}; did you mean {nearest!r}? It may have {listing(list(known))}")
