"""Pack what training on a lent machine needs, below 64 MiB, into .carry/: luminance of the pictures, and wheels.

python benchmarks/carry.py [--pictures FOLDER] [--python 3.12]

`benchmarks/device.sh` is what runs there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
from common import ROOT

from learned.data.images import luma, read_folder

WHEELS = (
    "array-api-compat", "jsonargparse", "docstring-parser", "typeshed-client", "importlib-resources", "safetensors",
    "pyfftw", "platformdirs", "pooch", "tensorboard", "absl-py", "protobuf", "werkzeug", "markdown", "grpcio",
    "tensorboard-data-server", "lightning", "lightning-utilities", "torchmetrics", "sporco",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", default="../shared/data/sr", help="folder of train291 and Set5")
    parser.add_argument("--python", default="3.12", help="Python of the lent machine")
    arguments = parser.parse_args()
    for name in ("train291", "Set5"):
        target = ROOT / ".carry" / "sr" / name
        target.mkdir(parents=True, exist_ok=True)
        for file, picture in read_folder(Path(arguments.pictures) / name).items():
            iio.imwrite(target / f"{Path(file).stem}.png", luma(picture))
    for wheel in WHEELS:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
                *("--python-version", arguments.python, "--dest", str(ROOT / ".carry" / "wheels"), wheel),
            ],
            check=True,
        )
    size = sum(path.stat().st_size for path in (ROOT / ".carry").rglob("*") if path.is_file())
    print(f".carry: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
