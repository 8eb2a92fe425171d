"""Side-by-side pictures: the original, bicubic interpolation, and a network's answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from cscopt import metrics, plot
from learned.data.images import crop_to_multiple, eight_bits, luma, read_folder, resize
from learned.evaluate import enlarge


def side_by_side(network: nn.Module | None, folder: str | Path, scale: int, target: str | Path) -> None:
    """Draw the first picture of a folder, and its liveliest part, as each method gives it back."""
    picture = crop_to_multiple(next(iter(read_folder(folder).values())), scale)
    truth = picture if network is not None and network.channels == 3 else luma(picture)
    low = eight_bits(resize(truth, 1 / scale))
    answers = {"original": truth, "bicubic": enlarge(None, low, scale)}
    if network is not None:
        answers[type(network).__name__] = enlarge(network, low, scale)
    plot.save(comparison(answers, scale), target)


def comparison(answers: dict[str, Any], scale: int) -> Any:
    """A figure of pictures (uint8) beside each other, the first being the truth, with a part of each enlarged."""
    from matplotlib.figure import Figure

    truth = next(iter(answers.values()))
    rows, columns = _lively(luma(truth))
    figure = Figure(figsize=(3.2 * len(answers), 6.4), layout="constrained")
    axes = figure.subplots(2, len(answers), squeeze=False)
    inside = (slice(scale, -scale), slice(scale, -scale))
    for column, (name, image) in enumerate(answers.items()):
        note = f"×{scale}"
        if image is not truth:
            note = f"{metrics.psnr(luma(image)[inside] * 1.0, luma(truth)[inside] * 1.0, 255.0):.2f} dB"
        axes[0, column].set_title(f"{name}, {note}", fontsize=10)
        for row, part in enumerate((image, image[rows, columns])):
            axes[row, column].imshow(part, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes[row, column].axis("off")
    return figure


def _lively(image: Any, side: int = 64) -> tuple[slice, slice]:
    """The square of a picture with the greatest variance."""
    side = min(side, *image.shape)
    step = max(1, side // 4)
    corners = [(r, c) for r in range(0, image.shape[0] - side + 1, step)
               for c in range(0, image.shape[1] - side + 1, step)]  # fmt: skip
    row, column = max(corners, key=lambda rc: image[rc[0] : rc[0] + side, rc[1] : rc[1] + side].var())
    return slice(row, row + side), slice(column, column + side)
