"""Public super-resolution datasets, downloaded when asked for by name, checked, and kept in the cache folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from cscopt.backend import cache_folder, require


class Source(NamedTuple):
    """Where a dataset is: an archive, its checksum (None: none is published), and its folder of pictures inside."""

    url: str
    checksum: str | None
    inside: str


_BENCHMARK = (
    "https://cv.snu.ac.kr/research/EDSR/benchmark.tar",
    "sha256:80c21c333bbf6ceb5308b7243761f8284478274413a97b96f1d63e9045fd93e8",
)
_TRAINING = ("http://vllab.ucmerced.edu/wlai24/LapSRN/results/SR_training_datasets.zip", None)
_DIV2K = "http://data.vision.ee.ethz.ch/cvl/DIV2K/"
SOURCES = {
    "Set5": Source(*_BENCHMARK, "benchmark/Set5/HR"),
    "Set14": Source(*_BENCHMARK, "benchmark/Set14/HR"),
    "BSD100": Source(*_BENCHMARK, "benchmark/B100/HR"),
    "Urban100": Source(*_BENCHMARK, "benchmark/Urban100/HR"),
    "T91": Source(*_TRAINING, "T91"),
    "BSD200": Source(*_TRAINING, "BSDS200"),
    "DIV2K": Source(_DIV2K + "DIV2K_train_HR.zip", "md5:bdc2d9338d4e574fe81bf7d158758658", "DIV2K_train_HR"),
    "DIV2K-valid": Source(_DIV2K + "DIV2K_valid_HR.zip", "md5:9fcdda83005c5e5997799b69f955ff88", "DIV2K_valid_HR"),
}


def locate(name: str | Path) -> Path:
    """A folder as given, or that of a dataset downloaded before.

    Raises
    ------
    FileNotFoundError
        If it is neither; the message says how to download a known dataset.
    """
    if Path(name).is_dir():
        return Path(name)
    if str(name) in SOURCES:
        folder = _home() / str(name)
        if folder.is_dir():
            return folder
        raise FileNotFoundError(f"{name} is not downloaded yet: learned download {name}")
    raise FileNotFoundError(f"{name} is not a folder, nor one of {', '.join(SOURCES)}")


def download(name: str) -> Path:
    """Download a dataset, check it, and unpack its pictures; returns their folder.

    The checksum is the published one; where none is, the one of the first download here, kept beside it.

    Raises
    ------
    ValueError
        If there is no such dataset, or the checksum differs.
    OSError
        If the download fails.
    """
    if name not in SOURCES:
        raise ValueError(f"name must be one of {', '.join(SOURCES)}; got {name!r}")
    source, folder = SOURCES[name], _home() / name
    if folder.is_dir():
        return folder
    archive = _fetch(source)
    partial = Path(tempfile.mkdtemp(dir=_home(), prefix=f".{name}-"))
    try:
        try:
            count = _unpack(archive, source.inside, partial)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            archive.unlink()
            raise ValueError(f"{source.url} came broken ({error}); try again") from error
        if count == 0:
            raise ValueError(f"{archive} holds no pictures in {source.inside}")
        if source.checksum is None:
            pooch: Any = require("pooch", "learned", "downloading datasets")
            _seen(archive).write_text(pooch.file_hash(str(archive)))
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _home() -> Path:
    return cache_folder() / "datasets"


def _fetch(source: Source) -> Path:
    pooch: Any = require("pooch", "learned", "downloading datasets")
    home = _home() / "archives"
    home.mkdir(parents=True, exist_ok=True)
    target = home / source.url.rpartition("/")[2]
    seen = _seen(target)
    known = source.checksum or (f"sha256:{seen.read_text().strip()}" if seen.is_file() else None)
    pooch.retrieve(source.url, known, target.name, home, progressbar=True)
    return target


def _seen(archive: Path) -> Path:
    """Where the checksum of a first good download is kept, of an archive that has none published."""
    return archive.with_name(archive.name + ".sha256")


def _unpack(archive: Path, inside: str, target: Path) -> int:
    """Copy the files of one folder of an archive, by their bare names; returns how many."""
    count = 0
    with contextlib.ExitStack() as stack:
        if archive.suffix == ".tar":
            tar = stack.enter_context(tarfile.open(archive))
            members = [(m.name, m) for m in tar.getmembers() if m.isfile()]
            opened: Any = tar.extractfile
        else:
            zipped = stack.enter_context(zipfile.ZipFile(archive))
            members = [(m.filename, m) for m in zipped.infolist() if not m.is_dir()]  # type: ignore[misc]
            opened = zipped.open
        for name, member in members:
            path = Path(name)
            if f"/{path.parent.as_posix()}".endswith(f"/{inside}"):
                with opened(member) as data, (target / path.name).open("wb") as out:
                    shutil.copyfileobj(data, out)
                count += 1
    return count
