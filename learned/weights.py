"""Trained networks as safetensors files with their provenance; nothing in them can run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cscopt import io
from cscopt.backend import to_numpy
from learned.cista import RLCSC, CRNetA, CRNetB

FORMAT = 1
NETWORKS: dict[str, type[nn.Module]] = {cls.__name__: cls for cls in (RLCSC, CRNetA, CRNetB)}


def folder() -> Path:
    """Folder of the shipped weights."""
    return io.data_folder() / "weights"


def shipped() -> list[str]:
    """Names of the trained networks that come with cscopt."""
    return sorted(path.stem for path in folder().glob("*.safetensors"))


def save(network: nn.Module, path: str | Path, provenance: Mapping[str, Any] | None = None) -> None:
    """Write the class, options and weights (float32) of a network of `NETWORKS`, with where they come from."""
    if type(network) not in NETWORKS.values():
        raise TypeError(f"network must be one of {', '.join(NETWORKS)}; got {type(network).__name__}")
    metadata = {
        **{k: str(v) for k, v in (provenance or {}).items()},
        "format": f"learned-weights-{FORMAT}",
        "network": type(network).__name__,
        "options": json.dumps(network.options),
    }
    io.save_tensors(path, {k: to_numpy(v.float()) for k, v in network.state_dict().items()}, metadata)


def load(source: str | Path, device: str | torch.device = "cpu") -> Any:
    """A trained network, ready to use (in evaluation mode), by its name or the path of its file.

    Its `provenance` says where the weights come from.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such name or file, or it is truncated, foreign, or made by a newer version.
    """
    path = Path(source)
    if not path.is_file() and path.name == str(source) and not path.suffix:
        path = folder() / f"{source}.safetensors"
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no trained network {str(source)!r}: neither a file nor one of those shipped "
                f"({', '.join(shipped()) or 'none'}); docs/training.md says how each is trained"
            )
    tensors, metadata = io.load_tensors(path)
    prefix, _, version = metadata.pop("format", "").rpartition("-")
    if prefix != "learned-weights":
        raise ValueError(f"{path} holds no weights of a network")
    name = metadata.pop("network", "")
    if not version.isdigit() or int(version) > FORMAT or name not in NETWORKS:
        raise ValueError(f"{path} was made by a newer version (format {version}, network {name!r})")
    try:
        network = NETWORKS[name](**json.loads(metadata.pop("options", "{}")))
        network.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()})
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit {name}: {error}".replace("\n", " ")) from error
    network.provenance = metadata
    return network.eval().to(device)
