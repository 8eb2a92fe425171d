"""Folders of pictures, and the colour conversions and 8-bit rounding of the super-resolution protocol."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from cscopt import io
from cscopt.operators import Bicubic

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff")
_TO_YCBCR = (
    np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], np.float64) / 255.0
)
_OFFSET = np.array([16.0, 128.0, 128.0])


def list_pictures(folder: str | Path) -> list[Path]:
    """Picture files of a folder, sorted by name.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"{folder} holds no picture ({', '.join(SUFFIXES)})")
    return found


def read_picture(path: str | Path) -> Any:
    """A picture file as uint8: (H, W) grey or (H, W, 3) RGB, as it is stored; alpha is dropped.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, it cannot be read as an image, or its values are not in [0, 1].
    """
    image = io.load_image(path).astype(np.float64)
    if not (image.min(initial=0) >= 0 and image.max(initial=0) <= 1):
        raise ValueError(f"{path} must hold values from 0 to 1, or integers; it holds others")
    return eight_bits(255.0 * image)


def read_folder(folder: str | Path, strict: bool = False) -> dict[str, Any]:
    """All pictures of a folder by file name; broken ones are named and skipped, or refused if `strict`."""
    pictures = {}
    for path in list_pictures(folder):
        try:
            pictures[path.name] = read_picture(path)
        except ValueError as error:
            if strict:
                raise
            warnings.warn(f"skipped: {error}", stacklevel=2)
    if not pictures:
        raise ValueError(f"{folder} holds no readable picture")
    return pictures


def luma(image: Any) -> Any:
    """8-bit Y of YCbCr (ITU-R BT.601, 16 to 235, MATLAB's ``rgb2ycbcr``) of a uint8 picture; a grey one as it is."""
    if image.ndim == 2:
        return image
    return eight_bits(image.astype(np.float64) @ _TO_YCBCR[0] + _OFFSET[0])


def to_ycbcr(image: Any) -> Any:
    """YCbCr of a uint8 RGB picture (H, W, 3), float64 on the scale of 8 bits, not rounded."""
    return image.astype(np.float64) @ _TO_YCBCR.T + _OFFSET


def to_rgb(image: Any) -> Any:
    """The uint8 RGB picture of YCbCr values (H, W, 3); the inverse of `to_ycbcr`."""
    return eight_bits((image - _OFFSET) @ np.linalg.inv(_TO_YCBCR).T)


def eight_bits(image: Any) -> Any:
    """Rounded half up and clipped to 0 … 255, as MATLAB's ``uint8``."""
    return np.clip(np.floor(np.asarray(image, np.float64) + 0.5), 0, 255).astype(np.uint8)


def crop_to_multiple(image: Any, scale: int) -> Any:
    """The top-left part of a picture whose height and width are multiples of the scale."""
    height, width = (n - n % scale for n in image.shape[:2])
    if min(height, width) == 0:
        raise ValueError(f"the picture must be at least {scale} pixels wide and high; got {image.shape[:2]}")
    return image[:height, :width]


def resize(image: Any, scale: float) -> Any:
    """Bicubic resampling (MATLAB's) of a picture (H, W) or (H, W, C) by a factor; float64, not rounded."""
    planes = np.moveaxis(image.reshape((*image.shape[:2], -1)), -1, 0).astype(np.float64)
    out = Bicubic(planes.shape, scale).apply(planes[None])[0]
    return np.moveaxis(out, 0, -1).reshape((*out.shape[1:], *image.shape[2:]))
