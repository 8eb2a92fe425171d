"""Files: dictionaries and codes as safetensors, images; written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cscopt.backend import listing

FORMAT = 1
"""Version of the dictionary files this version writes, and the newest it reads."""

_TIFF = (".tif", ".tiff")
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")


_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error)
"""What Pillow raises for files that it does not know, or that are damaged."""


def data_folder() -> Path:
    """Folder of the shipped dictionaries: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "data"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "data"


def shipped() -> list[str]:
    """Names of the dictionaries that come with cscopt."""
    return sorted(path.stem for path in data_folder().glob("*.safetensors"))


def check_target(path: str | Path, endings: tuple[str, ...] = ()) -> None:
    """Refuse, before any work, a path that cannot be written or ends in the wrong letters."""
    target = Path(path)
    if endings and target.suffix.lower() not in endings:
        raise ValueError(f"{target} must end in {listing(endings)}")
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a folder")
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: the folder {target.parent} does not exist")
    if not os.access(target.absolute().parent, os.W_OK):
        raise PermissionError(f"cannot write {target}: the folder {target.parent} is read-only")


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    A kill or an error at any moment leaves the old file or the new one. Of a link it is what it leads to.
    """
    target = Path(path).resolve()
    check_target(target)
    temporary = target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    mode = temporary.stat().st_mode & 0o777  # what this process gives new files; safetensors gives its own less
    try:
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: str | Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write arrays and text as one safetensors file."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(arrays, str(temporary), metadata={k: str(v) for k, v in metadata.items()})
        except SafetensorError as error:
            raise OSError(f"cannot write {path}: {error}") from error


def load_tensors(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a safetensors file: its arrays and its text.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated or no safetensors file. Nothing in it can run code.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(str(path), framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error})") from error


def save_dictionary(path: str | Path, filters: Any, provenance: Mapping[str, str]) -> None:
    """Write filters with their provenance."""
    metadata = {**provenance, "format": f"cscopt-dictionary-{FORMAT}"}
    save_tensors(path, {"filters": filters}, metadata)


def load_dictionary(source: str | Path) -> tuple[Any, dict[str, str]]:
    """Filters and provenance of a shipped dictionary, by name, or of a file, by path."""
    path = Path(source)
    if not path.is_file() and isinstance(source, str) and path.name == source:
        path = data_folder() / f"{source}.safetensors"
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no dictionary {source!r}: neither a file nor one of {', '.join(shipped())}"
            )
    tensors, metadata = load_tensors(path)
    kind = metadata.pop("format", "")
    prefix, _, version = kind.rpartition("-")
    if prefix != "cscopt-dictionary" or "filters" not in tensors:
        raise ValueError(f"{path} is not a dictionary of cscopt")
    if not version.isdigit() or int(version) > FORMAT:
        raise ValueError(f"{path} was made by a newer cscopt (format {version}; this one reads up to {FORMAT})")
    return tensors["filters"], metadata


def load_image(path: str | Path) -> Any:
    """An image file as float32, (H, W) or (H, W, 3); integers are scaled to [0, 1], transparency is dropped.

    Floats, which TIFF files may hold, are as they are. Photographs of 8 bits are turned upright, by their EXIF data.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it cannot be read as an image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    image = np.asarray(_pixels(path))
    if image.ndim == 3 and image.shape[-1] in (2, 4):
        image = image[..., :-1]
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] != 3):
        raise ValueError(f"{path} must be a grey or colour image; it has shape {image.shape}")
    if image.dtype == bool:
        return image.astype(np.float32)
    if image.dtype.kind not in "uf":
        raise ValueError(f"{path} must hold unsigned integers or floats; it holds {image.dtype}")
    if image.dtype.kind == "u":
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    return image.astype(np.float32)


def save_image(path: str | Path, image: Any) -> None:
    """Write an image (H, W), or (H, W, 1, 3 or 4), with values in [0, 1] (others are clipped) as 8 bits.

    Raises
    ------
    ValueError
        If the file's ending names no known image format, or the image has another shape.
    """
    if Path(path).suffix.lower() not in _IMAGES:
        raise ValueError(f"{path} must end in one of {', '.join(_IMAGES)}")
    check_picture(path, np.shape(image))
    image = np.asarray(image)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    values = np.rint(np.clip(np.asarray(image, dtype=np.float64), 0, 1) * 255).astype(np.uint8)
    with replacing(path) as temporary:
        _imageio().imwrite(temporary, values)


def check_picture(path: str | Path, shape: tuple[int, ...]) -> None:
    """Refuse a shape that pictures of 8 bits have not."""
    channels = ["1", "3"] if Path(path).suffix.lower() in (".jpg", ".jpeg") else ["1", "3", "4"]
    if len(shape) != 2 and not (len(shape) == 3 and str(shape[-1]) in channels):
        raise ValueError(f"{path} must be (H, W), or (H, W, channel) of {listing(channels)} channels; got {shape}")


def save_floats(path: str | Path, image: Any) -> None:
    """Write an image (H, W) or (H, W, channels) as it is, in float32, to a TIFF file."""
    with replacing(path) as temporary:
        _imageio().imwrite(temporary, np.asarray(image, dtype=np.float32), plugin="tifffile")


def _imageio() -> Any:
    import imageio.v3

    return imageio.v3


def _pixels(path: Path) -> Any:
    """As Pillow reads them; TIFF files that it does not know, such as those of floats in colour, as tifffile does.

    Of colour in 16 bits Pillow gives 8 without a word.
    """
    try:
        mode, deep = _modes(path)
    except _UNREADABLE:
        if path.suffix.lower() not in _TIFF:
            raise ValueError(f"{path} cannot be read as an image (of no known format, or damaged)") from None
        return _decoded(lambda: _imageio().imread(path, plugin="tifffile"), path, (Exception,))
    if path.suffix.lower() in _TIFF:  # of which Pillow would give the first page alone
        pages = _imageio().improps(path, plugin="pillow", index=...).n_images
        if pages > 1:
            raise ValueError(f"{path} must hold one image; it holds {pages}")
    if deep:
        if path.suffix.lower() in _TIFF:
            return _decoded(lambda: _imageio().imread(path, plugin="tifffile"), path, (Exception,))
        raise ValueError(f"{path} holds colour or transparency in 16 bits, which is read of TIFF files alone")
    options = {"mode": "RGB"} if mode in ("CMYK", "YCbCr", "LAB", "HSV") else {}
    return _decoded(lambda: _imageio().imread(path, plugin="pillow", rotate=True, **options), path, _UNREADABLE)


def _modes(path: Path) -> tuple[str, bool]:
    """Pillow's mode of a file, and whether it keeps 8 of 16 bits of it."""
    from PIL import Image

    with Image.open(path) as image:
        return image.mode, image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile[3]) for tile in image.tile)


def _decoded(read: Callable[[], Any], path: Path, errors: tuple[type[Exception], ...]) -> Any:
    """What `read` gives; damaged files raise errors of many kinds, in tifffile of every one."""
    try:
        return read()
    except errors as error:
        raise ValueError(f"{path} cannot be read as an image ({error})".replace("\n", " ")) from error
