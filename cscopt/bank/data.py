"""Pictures that dictionaries are learned from: a folder, an .npz file, or scikit-image's bundled ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from cscopt import checks, datasets, io, lowpass
from cscopt.bank.words import refuse_unknown

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff")
PARTS: dict[str, Callable[[Any], Any]] = {
    "magnitude": lambda x: np.sqrt(np.square(x.real, dtype=float) + np.square(x.imag, dtype=float)),  # bits as `luma`'s
    "complex": lambda x: x,
    "real": np.real,
    "imaginary": np.imag,
}
PADDING = 16
"""Pixels of symmetric extension that keep opposite borders apart in the low-pass."""


@dataclass(frozen=True)
class Data:
    r"""Where pictures come from, and what is made of them.

    Parameters
    ----------
    folder : str, optional
        Image files, in the order of their names; integers are scaled to [0, 1].
    npz : str, optional
        A file with an array (image, \*space) of 1 to 3 spatial axes, taken as it is. One of `folder`, `npz` and
        `skimage` must be given.
    key : str, optional
        Name of that array; not needed if the file holds one only.
    pairs : bool, default False
        The array's last axis holds real and imaginary part.
    part : {"magnitude", "complex", "real", "imaginary"}, optional
        What to learn from complex images; must be given for them. Filters are real in any case.
    skimage : sequence of str, optional
        Names of `cscopt.datasets.picture`.
    colour : bool, default False
        Three channels; otherwise colour pictures turn grey (`datasets.luma`).
    divide : float, default 1
        Number that all values are divided by.
    at_most : int, optional
        Keep so many images, evenly spaced.
    tile : int, optional
        Cut images into tiles of so many pixels along each axis; what remains at the borders is left out, and images
        that are smaller stay whole.
    """

    folder: str | None = None
    npz: str | None = None
    key: str | None = None
    pairs: bool = False
    part: str | None = None
    skimage: Sequence[str] = ()
    colour: bool = False
    divide: float = 1.0
    at_most: int | None = None
    tile: int | None = None

    def __post_init__(self) -> None:
        if sum(map(bool, (self.folder, self.npz, self.skimage))) != 1:
            raise ValueError("data must name one of folder, npz and skimage")
        if self.part is not None:
            checks.choice(self.part, "data's part", tuple(PARTS))
        if not isinstance(self.skimage, list | tuple) or not all(isinstance(name, str) for name in self.skimage):
            raise TypeError(f"data's skimage must be a list of names; got {self.skimage!r}")
        if self.key is not None and not isinstance(self.key, str):
            raise TypeError(f"data's key must be the name of an array; got {self.key!r}")
        object.__setattr__(self, "skimage", tuple(self.skimage))
        object.__setattr__(self, "divide", checks.positive_number(self.divide, "data's divide"))
        for name in ("pairs", "colour"):
            checks.flag(getattr(self, name), f"data's {name}")
        for name in ("at_most", "tile"):
            if getattr(self, name) is not None:
                checks.count(getattr(self, name), f"data's {name}", 1)

    @classmethod
    def read(cls, given: Any, beside: Path) -> Data:
        """From a spec's mapping; relative paths start beside the spec."""
        if not isinstance(given, Mapping):
            raise TypeError(f"data must be a mapping with one of folder, npz and skimage; got {given!r}")
        refuse_unknown(given, [f.name for f in fields(cls)], "data")
        paths = {}
        for key in ("folder", "npz"):
            if given.get(key) is not None:
                if not isinstance(given[key], str) or not given[key]:
                    raise TypeError(f"data's {key} must be a path; got {given[key]!r}")
                paths[key] = str((beside / given[key]).resolve())
        return cls(**{**given, **paths})

    def images(self) -> list[Any]:
        r"""Images (channel, \*space), float32 or complex64, before any split; `tile` is applied by `Samples`.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            If there is no such source, no picture in it, or one of them is not finite.
        """
        found = self._named()
        if self.at_most is not None and self.at_most < len(found):
            found = [found[k] for k in np.linspace(0, len(found) - 1, self.at_most).round().astype(int)]
        result = []
        for name, image in found:
            checks.finite(image, name)
            result.append(np.ascontiguousarray(image / np.float32(self.divide)))
        return result

    def _named(self) -> list[tuple[str, Any]]:
        if self.npz is not None:
            return self._from_npz(Path(self.npz))
        if self.folder is not None:
            folder = Path(self.folder)
            if not folder.is_dir():
                raise FileNotFoundError(f"there is no folder {folder}")
            paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
            if not paths:
                raise ValueError(f"{folder} holds no picture ({', '.join(SUFFIXES)})")
            return [(str(path), self._channels(io.load_image(path), str(path))) for path in paths]
        return [(name, self._channels(datasets.picture(name, not self.colour), name)) for name in self.skimage]

    def _channels(self, image: Any, name: str) -> Any:
        """(H, W) or (H, W, 3) to (channel, H, W)."""
        if not self.colour:
            return (datasets.luma(image) if image.ndim == 3 else image)[None]
        if image.ndim != 3:
            raise ValueError(f"data's colour needs pictures of three channels; {name} is grey")
        return np.moveaxis(image, -1, 0)

    def _from_npz(self, path: Path) -> list[tuple[str, Any]]:
        stack, key = _array(path, self.key)
        if stack.dtype.kind not in "fciub":
            raise TypeError(f"{key} of {path} must hold numbers; it holds {stack.dtype}")
        if self.pairs:
            if stack.ndim < 3 or stack.shape[-1] != 2:
                raise ValueError(f"data's pairs needs a last axis of two; {key} of {path} has shape {stack.shape}")
            stack = stack[..., 0].astype(np.float32) + 1j * stack[..., 1].astype(np.float32)
        if stack.dtype.kind == "c":
            if self.part is None:
                raise ValueError(f"{key} of {path} is complex: data's part must be one of {', '.join(PARTS)}")
            stack = PARTS[self.part](stack)
        if not 2 <= stack.ndim <= 4 or 0 in stack.shape:
            raise ValueError(f"{key} of {path} must be (image, *space) with 1 to 3 axes of space; got {stack.shape}")
        stack = stack.astype(np.complex64 if stack.dtype.kind == "c" else np.float32)
        return [(f"image {k} of {path}", image[None]) for k, image in enumerate(stack)]


@dataclass(frozen=True)
class Samples:
    """Images to learn from, images held out, and what names them all.

    Neighbours in a list of slices resemble each other, so that the images held out are the last ones, not random ones.
    """

    training: list[Any]
    held_out: list[Any]
    sha256: str

    @classmethod
    def of(cls, data: Data, holdout: int | float) -> Samples:
        """Read the images and hold out the last: so many of them, or such a part, rounded, but one at least.

        Images are held out whole, before they are cut into tiles: tiles of one image resemble each other.
        """
        images = data.images()
        kept = len(images) - _share(holdout, len(images))
        if kept < 1:
            raise ValueError(
                f"holdout leaves no image to learn from: {holdout} of {len(images)} images, which are held out whole"
            )
        parts = [[piece for image in some for piece in _tiles(image, data.tile)] for some in _cut(images, kept)]
        digest = hashlib.sha256()
        for image in parts[0] + parts[1]:
            digest.update(f"{image.dtype} {image.shape};".encode())
            digest.update(image)
        return cls(parts[0], parts[1], digest.hexdigest())

    def check(self, support: tuple[int, ...]) -> None:
        """Refuse images that are smaller than the filters, or of other axes."""
        for image in self.training + self.held_out:
            space = image.shape[1:]
            if len(space) != len(support):
                raise ValueError(f"support must have {len(space)} axes, as the images have; got {support}")
            if any(n < k for n, k in zip(space, support, strict=True)):
                raise ValueError(f"images must be no smaller than the support {support}; one is {space}")

    def high_passed(self, beta: float) -> Samples:
        """All images without their smooth part; β = 0 keeps it."""
        if beta == 0:
            return self
        return Samples([_high(x, beta) for x in self.training], [_high(x, beta) for x in self.held_out], self.sha256)


def _high(image: Any, beta: float) -> Any:
    return lowpass.split(image[None], beta, min(PADDING, *image.shape[1:]))[1][0]


def _share(holdout: int | float, count: int) -> int:
    """Images to hold out of so many."""
    if not isinstance(holdout, float):
        return holdout
    return max(1, round(holdout * count)) if holdout > 0 else 0


def _cut(images: list[Any], kept: int) -> tuple[list[Any], list[Any]]:
    return images[:kept], images[kept:]


def _tiles(image: Any, side: int | None) -> list[Any]:
    """Tiles of `side` pixels along each axis of space, or the image itself where it is smaller."""
    space = image.shape[1:]
    if side is None or min(space) < side:
        return [image]
    corners = np.ndindex(*(n // side for n in space))
    places = ((slice(None), *(slice(k * side, (k + 1) * side) for k in corner)) for corner in corners)
    return [np.ascontiguousarray(image[place]) for place in places]


def _array(path: Path, key: str | None) -> tuple[Any, str]:
    """An array of an .npz file, and its name."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = list(file.files)
            if key is None and len(names) != 1:
                raise KeyError
            return file[key or names[0]], key or names[0]
    except KeyError:
        raise ValueError(f"data's key must be one of the arrays of {path}: {', '.join(names)}; got {key}") from None
    except Exception as error:  # zipfile and NumPy raise a dozen kinds for a broken file
        raise ValueError(f"{path} is not a readable .npz file ({error})") from error
