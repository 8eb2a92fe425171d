"""Super-resolution measured by the published protocol: PSNR and SSIM on Y, `scale` pixels cropped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from cscopt import checks, metrics
from learned.data.images import crop_to_multiple, eight_bits, luma, read_folder, resize, to_rgb, to_ycbcr

PUBLISHED: dict[tuple[str, str, int], tuple[float, float | None]] = {
    ("bicubic", "Set5", 2): (33.66, 0.9299),
    ("bicubic", "Set5", 3): (30.39, 0.8682),
    ("bicubic", "Set5", 4): (28.42, 0.8104),
    ("bicubic", "BSD100", 2): (29.56, 0.8431),
    ("bicubic", "BSD100", 3): (27.21, 0.7385),
    ("bicubic", "BSD100", 4): (25.96, 0.6675),
    ("CRNetA", "Set5", 2): (37.79, None),
    ("CRNetA", "Set5", 3): (34.11, None),
    ("CRNetA", "Set5", 4): (31.82, None),
    ("CRNetA", "BSD100", 2): (32.09, None),
    ("CRNetA", "BSD100", 3): (28.99, None),
    ("CRNetA", "BSD100", 4): (27.44, None),
}
"""PSNR in dB and, where known here, SSIM, as their authors report them (CRNet: Zhang, Liu and Yu 2019)."""

Method: TypeAlias = Callable[[Any, int], Any]
TILE = 256
"""Side of a tile, in pixels of a network's input; what it sees around it comes on top."""
_WINDOW = 11
"""Side of SSIM's window."""


@dataclass(frozen=True)
class Score:
    """One picture at one scale: PSNR (dB) and SSIM of the result and of bicubic, and seconds."""

    picture: str
    scale: int
    psnr: float
    ssim: float
    bicubic_psnr: float
    bicubic_ssim: float
    seconds: float


def enlarge(network: nn.Module | None, low: Any, scale: int, tile: int = TILE) -> Any:
    """Enlarge a uint8 picture (h, w) or (h, w, 3) by a network, or by bicubic interpolation if None.

    A luminance network works on Y, and chroma is interpolated; a colour network refuses a grey picture.
    Large pictures go through in overlapping tiles of `tile` pixels (of the network's input).

    Returns
    -------
    ndarray of uint8, (scale · h, scale · w) or (scale · h, scale · w, 3)

    Raises
    ------
    ValueError
        If the network is not trained for the scale, or the picture does not fit it.
    """
    checks.count(scale, "scale", 2)
    checks.count(tile, "tile", 1)
    if getattr(low, "dtype", None) != np.uint8 or low.ndim not in (2, 3) or (low.ndim == 3 and low.shape[2] != 3):
        kind = f"{getattr(low, 'dtype', type(low).__name__)} {getattr(low, 'shape', '')}"
        raise ValueError(f"the picture must be uint8 (h, w) or (h, w, 3); got {kind}")
    if network is None:
        return eight_bits(resize(low, scale))
    if network.channels == 3:
        if low.ndim == 2:
            raise ValueError("the network takes RGB pictures; this one is grey (repeat it three times to use it)")
        return eight_bits(255.0 * _run(network, np.moveaxis(low / 255.0, -1, 0), scale, tile))
    if low.ndim == 2:
        return eight_bits(255.0 * _run(network, _given(network, low, scale)[None], scale, tile)[..., 0])
    ycbcr = to_ycbcr(low)
    y = 255.0 * _run(network, _given(network, eight_bits(ycbcr[..., 0]), scale)[None], scale, tile)
    chroma = resize(ycbcr[..., 1:], scale)
    return to_rgb(np.concatenate([np.clip(y, 0, 255), chroma], axis=2))


def _given(network: nn.Module, low: Any, scale: int) -> Any:
    return (low if network.enlarges else resize(low, scale)) / 255.0


@torch.inference_mode()
def _run(network: nn.Module, planes: Any, scale: int, tile: int) -> Any:
    """The network on (channel, h, w) in tiles, each cut from a larger one; (H, W, channel)."""
    weights = next(network.parameters())
    device, reach = weights.device, network.reach
    factor = scale if network.enlarges else 1
    _, height, width = planes.shape
    whole = torch.from_numpy(planes)[None].to(weights.dtype).to(device)  # where there may be no float64 (MPS)
    out = torch.empty((height * factor, width * factor, planes.shape[0]), device=device)
    for top, left in ((r, c) for r in range(0, height, tile) for c in range(0, width, tile)):
        bottom, right = min(top + tile, height), min(left + tile, width)
        above, before = min(reach, top), min(reach, left)
        part = whole[..., top - above : bottom + reach, left - before : right + reach]
        with torch.autocast(device.type, enabled=False):
            answer = network.forward(part, scale)[0].movedim(0, -1)  # not compiled again for every size
        rows = slice(above * factor, (above + bottom - top) * factor)
        columns = slice(before * factor, (before + right - left) * factor)
        out[top * factor : bottom * factor, left * factor : right * factor] = answer[rows, columns]
    return out.cpu().double().numpy()


def score(method: nn.Module | Method | None, pictures: Mapping[str, Any], scales: Sequence[int]) -> list[Score]:
    """PSNR and SSIM of every picture at every scale, by a network, a function (low, scale) ↦ high, or bicubic (None).

    The original is cropped to a multiple of the scale and shrunk by MATLAB's bicubic, low resolution and result
    are rounded to 8 bits, and `scale` pixels are cut off at each side. All but colour networks see Y alone.
    """
    colour = isinstance(method, nn.Module) and method.channels == 3
    run = method if callable(method) and not isinstance(method, nn.Module) else partial(enlarge, method)
    scores = []
    for scale in [checks.count(scale, "scales", 2) for scale in scales]:
        for name, picture in pictures.items():
            if min(picture.shape[:2]) - min(picture.shape[:2]) % scale - 2 * scale < _WINDOW:
                raise ValueError(f"{name} is too small to measure at ×{scale}: {picture.shape[0]}×{picture.shape[1]}")
            truth = crop_to_multiple(picture, scale)
            if not colour:
                truth = luma(truth)
            low = eight_bits(resize(truth, 1 / scale))
            began = time.perf_counter()
            try:
                result = run(low, scale)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            seconds = time.perf_counter() - began
            plain = result if method is None else enlarge(None, low, scale)
            numbers = [f(im, truth, scale) for im in (result, plain) for f in (_psnr, _ssim)]
            scores.append(Score(name, scale, *numbers, seconds))
    return scores


def evaluate(network: nn.Module | None, source: str | Path, scales: Sequence[int] | None = None,
             strict: bool = False) -> list[Score]:  # fmt: skip
    """Score a network (None: bicubic) on a folder of pictures, at the scales it is trained for."""
    if scales is None:
        scales = (network.scales if network is not None else None) or (2, 3, 4)
    return score(network, read_folder(source, strict), scales)


def table(scores: Sequence[Score], name: str, dataset: str) -> str:
    """Means by scale, beside the published figures where there are some."""
    lines = [f"{name} on {dataset}", f"{'scale':>5}  {'PSNR':>6}  {'SSIM':>6}  {'bicubic':>14}  {'published':>14}"]
    for scale, mean in means(scores).items():
        known = PUBLISHED.get((name, dataset, scale))
        report = "–" if known is None else f"{known[0]:.2f}" + (f" / {known[1]:.4f}" if known[1] else "")
        bicubic = f"{mean['bicubic_psnr']:.2f} / {mean['bicubic_ssim']:.4f}"
        lines.append(f"{'×' + str(scale):>5}  {mean['psnr']:6.2f}  {mean['ssim']:6.4f}  {bicubic:>14}  {report:>14}")
    return "\n".join(lines)


def means(scores: Sequence[Score]) -> dict[int, dict[str, float]]:
    """Means over the pictures, by scale."""
    fields = ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim", "seconds")
    found: dict[int, dict[str, float]] = {}
    for scale in sorted({s.scale for s in scores}):
        chosen = [s for s in scores if s.scale == scale]
        found[scale] = {f: float(np.mean([getattr(s, f) for s in chosen])) for f in fields}
    return found


def _on_luma(measure: Callable[..., float]) -> Callable[[Any, Any, int], float]:
    def measured(image: Any, truth: Any, scale: int) -> float:
        inside = (slice(scale, -scale), slice(scale, -scale))
        a, b = (luma(picture)[inside].astype(np.float64) for picture in (image, truth))
        return measure(a, b, 255.0)

    return measured


_psnr, _ssim = _on_luma(metrics.psnr), _on_luma(metrics.ssim)
