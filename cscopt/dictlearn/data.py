"""Images to learn from: their checks, a fingerprint of a task, and filters to begin with."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cscopt import checks
from cscopt.backend import Array, is_array, namespace, to_numpy
from cscopt.dictionary import ConvDictionary
from cscopt.dictlearn.constraint import Constraint
from cscopt.inputs import checked_mask

if TYPE_CHECKING:
    from cscopt.dictlearn.engine import Engine


class Sample(NamedTuple):
    r"""An image (channel, \*space), its number among all, and its weights W."""

    number: int
    image: Array
    mask: Array | None


def samples_of(
    images: Sequence[Array], masks: Sequence[Array | None] | None, dictionary: ConvDictionary, name: str = "images"
) -> list[Sample]:
    """Images as samples, integers as float32, after checking that all fit the dictionary and one another.

    Raises
    ------
    TypeError, ValueError
        One sentence naming the image or mask that does not fit.
    """
    weights = "masks" if name == "images" else f"{name}_masks"
    if is_array(images) or not hasattr(images, "__len__"):
        images = list(images)
    if len(images) == 0:
        raise ValueError(f"{name} must not be empty")
    if masks is not None:
        masks = masks if hasattr(masks, "__len__") else list(masks)
        if len(masks) != len(images):
            raise ValueError(f"{weights} must be as many as the {name}, {len(images)}; got {len(masks)}")
    found: list[Sample] = []
    for k, image in enumerate(images):
        checked = _checked(image, f"{name}[{k}]", dictionary)
        first = found[0].image if found else checked
        namespace(first, checked)
        if first.dtype != checked.dtype or first.shape[0] != checked.shape[0]:
            raise ValueError(
                f"{name} must have one dtype and number of channels; image 0 has {first.dtype} and {first.shape[0]}, "
                f"image {k} {checked.dtype} and {checked.shape[0]}"
            )
        mask = None if masks is None else masks[k]
        if mask is not None:
            mask = checked_mask(mask, checked[None, ...], f"{weights}[{k}]")[0, ...]
        found.append(Sample(k, checked, mask))
    return found


def _checked(image: Any, name: str, dictionary: ConvDictionary) -> Array:
    checks.an_array(image, name)
    xp = namespace(image)
    if xp.isdtype(image.dtype, ("integral", "bool")):
        image = xp.astype(image, xp.float32)
    image = checks.floating(image, name)
    space, support = tuple(image.shape[1:]), dictionary.support
    if len(space) != len(support):
        raise ValueError(f"{name} must be (channel, *space) with {len(support)} spatial axes; got shape {image.shape}")
    if any(n < k for n, k in zip(space, support, strict=True)):
        raise ValueError(f"{name} must not be smaller than the filters' support {support}; got {space}")
    if dictionary.channels not in (1, image.shape[0]):
        raise ValueError(f"{name} must have {dictionary.channels} channels, as the filters; got {image.shape[0]}")
    checks.finite(image, name)
    bounded(image, name, float(xp.finfo(image.dtype).max))
    return image


def bounded(image: Array, name: str, limit: float) -> None:
    """Refuse an image whose sum of squares may exceed a limit, and what is made of it overflow."""
    xp = namespace(image)
    most, peak = math.sqrt(limit / math.prod(image.shape)), float(xp.max(xp.abs(image)))
    if peak > most:
        raise ValueError(f"{name} must have no entry above {most:.1e}, or squares overflow; its largest is {peak:.3g}")


def fingerprint(
    samples: Sequence[Sample],
    held_out: Sequence[Sample],
    engine: Engine,
    initial: ConvDictionary,
    seed: int,
    more: Sequence[Any] = (),
) -> str:
    """A digest of all that decides what is learned."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if is_array(value):
            array = np.ascontiguousarray(to_numpy(value))
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
        else:
            digest.update(repr(value).encode())

    for sample in [*samples, *held_out]:
        add(sample.image)
        add(sample.mask)
    for name, value in engine.described()[1:]:
        add(name)
        add(value)
    for value in (engine.name, initial.filters, seed, len(held_out), *more):
        add(value)
    return digest.hexdigest()


def initial_filters(
    images: Sequence[Array],
    n_filters: int,
    support: tuple[int, ...],
    constraint: Constraint | None = None,
    random_state: int | np.random.Generator | None = 0,
    kind: str = "patches",
    single_channel: bool = False,
) -> Any:
    r"""Filters to begin with, (M, C, \*support), float64.

    Parameters
    ----------
    images : sequence of array, (channel, \*space)
    n_filters, support : int, tuple of int
    constraint : Constraint, optional
        What they are projected onto, with unit norm also where it is a ball.
    random_state : int or Generator, default 0
    kind : {"patches", "noise"}, default "patches"
        Pieces of the images, taken with a probability that grows with their energy, or Gaussian noise.
    single_channel : bool, default False
        Filters of one channel for images of several.
    """
    checks.count(n_filters, "n_filters", 1)
    checks.choice(kind, "kind", ("patches", "noise"))
    if len(images) == 0:
        raise ValueError("images must not be empty")
    for k, image in enumerate(images):
        if image.ndim != len(support) + 1 or any(n < s for n, s in zip(image.shape[1:], support, strict=True)):
            raise ValueError(
                f"images must be (channel, *space) with {len(support)} spatial axes no smaller than the support "
                f"{tuple(support)}; image {k} has shape {tuple(image.shape)}"
            )
        checks.finite(image, f"images[{k}]")
        if namespace(image).isdtype(image.dtype, ("real floating", "complex floating")):
            bounded(image, f"images[{k}]", float(np.finfo(np.float64).max))
    random = np.random.default_rng(checks.seed(random_state))
    limits = (Constraint() if constraint is None else constraint).on_sphere
    limits.check(tuple(support))
    channels = 1 if single_channel else int(images[0].shape[0])
    if kind == "noise":
        return limits.project(random.standard_normal((n_filters, channels, *support)))
    found, squares = [], []
    for _ in range(8 * n_filters):
        image = images[int(random.integers(len(images)))]
        corner = [int(random.integers(n - k + 1)) for n, k in zip(image.shape[1:], support, strict=True)]
        first = int(random.integers(image.shape[0])) if single_channel else 0
        box = image[(slice(first, first + channels), *(slice(c, c + k) for c, k in zip(corner, support, strict=True)))]
        patch = to_numpy(box)
        found.append(np.real(patch) if random.random() < 0.5 or not np.iscomplexobj(patch) else np.imag(patch))
        squares.append(float(np.sum(np.abs(found[-1]).astype(np.float64) ** 2)))
    best = np.argsort(squares)[-4 * n_filters :]
    chosen = np.asarray(found, np.float64)[random.permutation(best)[:n_filters]]
    noise = random.standard_normal(chosen.shape) * 0.05 * np.sqrt(np.mean(chosen**2) or 1.0)
    return limits.project(chosen + noise)
