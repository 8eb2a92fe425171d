"""Reading a YAML file: 1e-3 is a number, and no key may stand twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_EXPONENT = re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
"""Numbers such as 1e-3 and 1.5e3, some of which YAML 1.1, PyYAML's, holds for words."""


def mapping(path: Path) -> Mapping[Any, Any]:
    """The mapping that a file holds.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If there is no such file, it is not readable, holds something else, or a key stands twice.
    """
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789."))
    try:
        loader = Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _refuse_doubles(node, set())
        given = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(given, Mapping):
        raise TypeError(f"{path} must hold a mapping; it holds {type(given).__name__}")
    return given


def _refuse_doubles(node: Any, seen: set[int]) -> None:
    """Refuse a key that stands twice, before merges (<<) add others."""
    if id(node) in seen or not isinstance(getattr(node, "value", None), list):
        return
    seen.add(id(node))
    keys = []
    for part in node.value:
        for child in part if isinstance(part, tuple) else (part,):
            _refuse_doubles(child, seen)
        if isinstance(part, tuple) and isinstance(part[0].value, str):
            key = (part[0].tag, part[0].value)
            if key in keys:
                raise ValueError(f"{part[0].value!r} stands twice, in line {part[0].start_mark.line + 1}")
            keys.append(key)
