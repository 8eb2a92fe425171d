"""Reading a YAML file as one would expect it: 1e-3 is a number, and no key stands twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MERGE = "tag:yaml.org,2002:merge"
_EXPONENT = re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
"""Numbers that YAML 1.1, PyYAML's, holds for words: those with an exponent and no point, or no sign after the e."""


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
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != _MERGE]
            for place, key in enumerate(keys):
                if key in keys[:place]:
                    raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", node.start_mark)
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789."))
    try:
        given = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(given, Mapping):
        raise TypeError(f"{path} must hold a mapping; it holds {type(given).__name__}")
    return given
