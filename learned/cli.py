"""The command line: learned fit, evaluate, enlarge, export, split, download."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cscopt import io


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; bad input ends with one sentence and exit status 2."""
    parser = _parser()
    given, rest = parser.parse_known_args(arguments)
    if given.command == "fit":
        given.overrides = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options = vars(given)
    command = options.pop("command")
    try:
        COMMANDS[command](**options)
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        print(f"learned {command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"learned {command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("learned", description="Train and use convolutional-sparse-coding networks.")
    commands = parser.add_subparsers(dest="command", required=True)
    fit_parser = commands.add_parser("fit", help="train what a configuration describes", allow_abbrev=False)
    fit_parser.add_argument("config", help="YAML file; any value may follow as --trainer.max_steps=100")
    fit_parser.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    evaluate_parser = commands.add_parser("evaluate", help="PSNR and SSIM by the published protocol")
    evaluate_parser.add_argument("model", help="name or file of weights, or bicubic")
    evaluate_parser.add_argument("dataset", help="folder of pictures, or Set5, BSD100, ... once downloaded")
    evaluate_parser.add_argument("--scales", type=int, nargs="+", help="by default all the model is trained for")
    evaluate_parser.add_argument("--ensemble", action="store_true", help="mean over 8 flips and rotations")
    evaluate_parser.add_argument("--strict", action="store_true", help="refuse a folder with a broken picture")
    evaluate_parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    evaluate_parser.add_argument("--json", dest="report", help="file for all numbers")
    evaluate_parser.add_argument("--figure", help="side-by-side pictures of the first one (.png, .pdf)")
    enlarge_parser = commands.add_parser("enlarge", help="enlarge a picture")
    enlarge_parser.add_argument("model", help="name or file of weights, or bicubic")
    enlarge_parser.add_argument("image")
    enlarge_parser.add_argument("--scale", type=int, required=True)
    enlarge_parser.add_argument("-o", "--output", required=True)
    enlarge_parser.add_argument("--ensemble", action="store_true", help="mean over 8 flips and rotations")
    enlarge_parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    export_parser = commands.add_parser("export", help="write the weights of a checkpoint")
    export_parser.add_argument("checkpoint")
    export_parser.add_argument("-o", "--output", required=True)
    split_parser = commands.add_parser("split", help="cut a checkpoint into parts below 16 MB; fit --resume joins them")
    split_parser.add_argument("checkpoint")
    download_parser = commands.add_parser("download", help="download a public dataset")
    download_parser.add_argument("name")
    return parser


def fit(config: str, resume: bool, overrides: Sequence[str]) -> None:
    """Train; the weights are written at the end."""
    from learned import train

    target = train.fit(config, overrides, resume)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"weights: {target}")


def evaluate(
    model: str,
    dataset: str,
    scales: Sequence[int] | None,
    ensemble: bool,
    strict: bool,
    device: str,
    report: str | None,
    figure: str | None,
) -> None:
    """Print means by scale beside the published figures."""
    from learned.data.download import locate
    from learned.evaluate import evaluate as measure
    from learned.evaluate import means, table

    for target, endings in ((report, (".json",)), (figure, (".png", ".pdf", ".svg"))):
        if target is not None:
            io.check_target(target, endings)
    network, name = _network(model, ensemble, device)
    folder = locate(dataset)
    scores = measure(network, folder, scales, strict)
    print(table(scores, name, folder.name))
    if report is not None:
        content = {"model": name, "dataset": folder.name, "means": means(scores),
                   "scores": [asdict(s) for s in scores]}  # fmt: skip
        with io.replacing(report) as temporary:
            temporary.write_text(json.dumps(content, indent=1))
    if figure is not None:
        from learned.plot import side_by_side

        side_by_side(network, folder, max(s.scale for s in scores), figure)


def enlarge(model: str, image: str, scale: int, output: str, ensemble: bool, device: str) -> None:
    """Enlarge a picture file."""
    from learned.data.images import read_picture
    from learned.evaluate import enlarge as enlarged

    io.check_target(output, (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg"))
    network, _ = _network(model, ensemble, device)
    io.save_image(output, enlarged(network, read_picture(image), scale) / np.float32(255))
    print(f"picture: {output}")


def export(checkpoint: str, output: str) -> None:
    """Write the weights of a training checkpoint as safetensors."""
    from learned import train

    train.export(checkpoint, output)
    print(f"weights: {output}")


def split(checkpoint: str) -> None:
    """Cut a checkpoint into parts."""
    from learned import parts

    print("parts:", *parts.split(checkpoint))


def download(name: str) -> None:
    """Download a dataset into the cache folder."""
    from learned.data.download import download as fetch

    print(f"pictures: {fetch(name)}")


def _network(model: str, ensemble: bool, device: str) -> tuple[Any, str]:
    """A network and the name its figures are published under."""
    if model == "bicubic":
        return None, "bicubic"
    import torch

    from learned import SelfEnsemble, weights

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    network = weights.load(Path(model) if Path(model).suffix else model, device)
    name = type(network).__name__
    return (SelfEnsemble(network), name + "+") if ensemble else (network, name)


COMMANDS: dict[str, Callable[..., None]] = {
    "fit": fit,
    "evaluate": evaluate,
    "enlarge": enlarge,
    "export": export,
    "split": split,
    "download": download,
}

if __name__ == "__main__":
    sys.exit(main())
