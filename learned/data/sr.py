"""Training patches for super-resolution, made on the fly: batch number n depends on the seed and n alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cscopt import checks, datasets
from cscopt.operators import Bicubic
from learned.data.download import locate
from learned.data.images import eight_bits, luma, read_folder, resize

BUNDLED = "bundled"
Batch = tuple[Tensor, Tensor, Tensor]


class SRPatches(Dataset[Batch]):
    """Batches of (input, target, scale): a patch at low resolution, or interpolated back, and the original.

    Item n is batch n, a whole one, for any n ≥ 0: `SRPatches` has no end and no state.

    Parameters
    ----------
    sources : sequence of str or Path
        Folders of pictures, datasets downloaded before (see `learned.data.download`), or "bundled" for
        scikit-image's.
    scales : sequence of int, default (2, 3, 4)
        Interpolated batches hold all scales in equal parts; the others one scale, drawn for each batch.
    patch : int, default 33
        Side of an input patch.
    batch_size : int, default 128
    interpolate : bool, default True
        Enlarge the low-resolution input to the target's size (RL-CSC, CRNet-A), or leave it (CRNet-B).
    colour : bool, default False
        RGB patches; else 8-bit luminance.
    shrink : sequence of float, default (1.0, 0.7, 0.5, 0.4)
        Factors by which the originals are scaled down first; where that leaves less than a patch, it is left out.
    seed : int, default 0
    strict : bool, default False
        Refuse broken pictures and pictures smaller than a patch; else they are named and skipped.

    Notes
    -----
    Low resolution is MATLAB's bicubic, rounded to 8 bits; patches are drawn uniformly over all pixels, at any
    phase of the low-resolution grid, and flipped and rotated. Pictures are mirrored at their borders, as the
    resampling does. Values are in [0, 1].

    Raises
    ------
    FileNotFoundError, ValueError
        If a folder is missing or empty, or no picture is left.
    """

    def __init__(
        self,
        sources: Sequence[str | Path],
        scales: Sequence[int] = (2, 3, 4),
        patch: int = 33,
        batch_size: int = 128,
        interpolate: bool = True,
        colour: bool = False,
        shrink: Sequence[float] = (1.0, 0.7, 0.5, 0.4),
        seed: int = 0,
        strict: bool = False,
    ) -> None:
        self.scales = [checks.count(s, "scales", 2) for s in scales]
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales must be distinct and not empty; got {list(scales)}")
        if not shrink or any(not 0 < f <= 1 for f in shrink):
            raise ValueError(f"shrink must not be empty, and lie in (0, 1]; got {list(shrink)}")
        self.patch, self.batch_size = checks.count(patch, "patch", 8), checks.count(batch_size, "batch_size", 1)
        self.interpolate, self.seed = interpolate, checks.count(seed, "seed")
        side = patch if interpolate else patch * max(self.scales)
        self.border = (self._reach + 2) * max(self.scales)
        self.pictures = self._scaled(_load(sources, colour, side, strict), shrink, side)
        room = [np.prod([n - 2 * self.border - side + 1 for n in p.shape[:2]]) for p in self.pictures]
        self._share = np.cumsum(room) / np.sum(room)
        self._pairs: dict[tuple[int, int], tuple[Bicubic, Bicubic]] = {}

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self.seed, index))
        if self.interpolate:
            counts = [len(part) for part in np.array_split(np.arange(self.batch_size), len(self.scales))]
            groups = [(s, n) for s, n in zip(self.scales, counts, strict=True) if n]
        else:
            groups = [(self.scales[rng.integers(len(self.scales))], self.batch_size)]
        parts = [self._group(rng, scale, count) for scale, count in groups]
        inputs, targets = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        scales = np.repeat([s for s, _ in groups], [n for _, n in groups])
        return torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(scales)

    @property
    def _reach(self) -> int:
        """Low-resolution pixels around a patch that it depends on: bicubic reaches 2, there and back 4."""
        return 4 if self.interpolate else 2

    def _group(self, rng: np.random.Generator, scale: int, count: int) -> tuple[Any, Any]:
        """Inputs and targets (count, channel, side, side) of one scale."""
        margin = self._reach * scale
        side = self.patch if self.interpolate else self.patch * scale
        phase = rng.integers(scale if self.interpolate else 1, size=(count, 2))
        window = -(-(side + 2 * margin + scale - 1) // scale) * scale
        originals = self._windows(rng, window, margin + phase, side)
        down, up = self._operators(originals.shape[1], window, scale)
        low = np.clip(np.floor(down.apply(originals) + 0.5), 0, 255)
        target = _crop(originals, margin + phase, side)
        inside = np.full((count, 2), self._reach)
        given = _crop(up.apply(low), margin + phase, side) if self.interpolate else _crop(low, inside, self.patch)
        turns = rng.integers(8, size=count)
        return _turned(given, turns) / np.float32(255), _turned(target, turns) / np.float32(255)

    def _windows(self, rng: np.random.Generator, window: int, corners: Any, side: int) -> Any:
        """Squares (count, channel, window, window) whose part at `corners` is a patch drawn uniformly over pixels."""
        chosen = np.searchsorted(self._share, rng.random(len(corners)), side="right")
        place = rng.random((len(corners), 2))
        out = np.empty((len(corners), self.pictures[0].shape[2], window, window), np.float32)
        for k, which in enumerate(chosen):
            picture = self.pictures[which]
            room = np.array(picture.shape[:2]) - 2 * self.border - side + 1
            top, left = self.border + (place[k] * room).astype(int) - corners[k]
            out[k] = np.moveaxis(picture[top : top + window, left : left + window], -1, 0)
        return out

    def _operators(self, channels: int, window: int, scale: int) -> tuple[Bicubic, Bicubic]:
        key = (window, scale)
        if key not in self._pairs:
            down = Bicubic((channels, window, window), 1 / scale)
            self._pairs[key] = down, Bicubic(down.output_shape, scale)
        return self._pairs[key]

    def _scaled(self, originals: dict[str, Any], factors: Sequence[float], side: int) -> list[Any]:
        """Originals scaled down, uint8 (H, W, channel), each with a mirrored border."""
        out = []
        border = (self.border, self.border)
        for image in originals.values():
            for factor in factors:
                scaled = image if factor == 1 else eight_bits(resize(image, factor))
                if min(scaled.shape[:2]) >= side:
                    planes = scaled.reshape((*scaled.shape[:2], -1))
                    out.append(np.pad(planes, (border, border, (0, 0)), "symmetric"))
        return out


class Batches:
    """A loader of batches `start` … `stop` − 1 of an `SRPatches`, in order; its length is `stop`.

    Training for `stop` steps is one epoch, so that resuming after n steps is starting at batch n, whichever
    processes had prepared more.
    """

    def __init__(self, patches: SRPatches, start: int, stop: int, workers: int = 0, pin: bool = False) -> None:
        self.patches, self.start, self.stop, self.workers, self.pin = patches, start, stop, workers, pin

    def __len__(self) -> int:
        return self.stop

    def state_dict(self) -> dict[str, int]:
        """Nothing: the trainer's step says where to go on. (Lightning asks, to know that a loader resumes.)"""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to load."""

    def __iter__(self) -> Iterator[Batch]:
        options: dict[str, Any] = {"prefetch_factor": 4} if self.workers else {}
        yield from DataLoader(
            self.patches, None, sampler=range(self.start, self.stop), num_workers=self.workers,
            pin_memory=self.pin, worker_init_fn=_one_thread, **options,
        )  # fmt: skip


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def _load(sources: Sequence[str | Path], colour: bool, side: int, strict: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for source in [sources] if isinstance(sources, str | Path) else sources:
        pictures = bundled() if source == BUNDLED else read_folder(locate(source), strict)
        for name, image in pictures.items():
            if min(image.shape[:2]) < side:
                message = f"{source}/{name} is {image.shape[0]}×{image.shape[1]}, smaller than the patch of {side}"
                if strict:
                    raise ValueError(message)
                warnings.warn(f"skipped: {message}", stacklevel=3)
            else:
                found[f"{source}/{name}"] = _channels(image, colour)
    if not found:
        raise ValueError(f"no picture is left to train on, in {list(sources)}")
    return found


def bundled() -> dict[str, Any]:
    """scikit-image's pictures, uint8."""
    from skimage import data

    return {name: getattr(data, name)() for name in datasets.GREY + datasets.COLOUR}


def _channels(image: Any, colour: bool) -> Any:
    if not colour:
        return luma(image)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def _crop(images: Any, corners: Any, side: int) -> Any:
    return np.stack([im[:, r : r + side, c : c + side] for im, (r, c) in zip(images, corners, strict=True)])


def _turned(images: Any, turns: Any) -> Any:
    """Each image flipped and rotated by one of the 8 symmetries of the square."""
    out = np.empty_like(images)
    for turn in range(8):
        chosen = np.flatnonzero(turns == turn)
        view = np.rot90(images[chosen], turn % 4, (2, 3))
        out[chosen] = view[..., ::-1] if turn >= 4 else view
    return out
