"""Pictures to work on: scikit-image's bundled ones, which need no download."""

from __future__ import annotations

from typing import Any

import numpy as np

from cscopt import checks

GREY = ("camera", "coins", "moon", "page", "text", "clock", "brick", "grass", "gravel")
COLOUR = ("astronaut", "coffee", "chelsea", "rocket")


def picture(name: str = "camera", grey: bool = True) -> Any:
    """A bundled picture as float32 in [0, 1]: (H, W), or (H, W, 3) for a colour one if not `grey`.

    Grey is `luma`.
    """
    from skimage import data
    from skimage.util import img_as_float32

    checks.choice(name, "name", GREY + COLOUR)
    image = img_as_float32(getattr(data, name)())
    if image.ndim == 3 and grey:
        image = luma(image)
    return np.ascontiguousarray(image, dtype=np.float32)


def luma(image: Any) -> Any:
    """0.2125 R + 0.7154 G + 0.0721 B of the last axis, as scikit-image's ``rgb2gray``.

    Products and sums are rounded one by one, so that every processor makes the same bits; a matrix product's are not.
    """
    red, green, blue = np.moveaxis(image, -1, 0)
    return 0.2125 * red + 0.7154 * green + 0.0721 * blue
