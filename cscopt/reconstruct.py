"""The command `cscopt reconstruct TASK IN -o OUT`: what it takes, what it reads, what it writes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cscopt import checks, io, tasks
from cscopt.backend import listing, to_numpy
from cscopt.operators import CT
from cscopt.tasks import Restoration

ARRAYS = (".npy", ".npz")
PICTURES = (".png", ".jpg", ".tif", ".npy")
NEEDS: dict[str, tuple[str, ...]] = {
    "denoise": (),
    "inpaint": ("mask",),
    "deblur": ("kernel",),
    "super-resolve": ("scale",),
    "mri": ("mask",),
    "ct": (),
}
"""What each task needs beside its input."""

FILES = ("mask", "kernel", "sensitivities", "truth")

MEASURED = ("mri", "ct")

_SLIGHT = 0.05
"""How far outside [0, 1] a restored picture may go without a word."""

COMMON = ("truth", "noise", "lam", "beta", "dictionary", "method", "tol", "max_iter")


def parser() -> Any:
    """Options of the command."""
    from jsonargparse import ArgumentParser

    result = ArgumentParser(description="Restore a picture, or reconstruct one from measurements.")
    add = result.add_argument
    add("--config", action="config", help="YAML file of these options")
    add("task", type=str, help=f"{listing(list(NEEDS))}")
    add(
        "source",
        type=str,
        help="image, scaled to [0, 1] unless it holds floats, or array as it is (.npy, or .npz of one); "
        "mri: complex k-space, ct: sinogram, as arrays",
    )
    add(
        "-o",
        "--output",
        type=str,
        required=True,
        help=f"image to write ({', '.join(PICTURES)}; .npy and .tif hold any values)",
    )
    add(
        "--mask",
        type=str,
        help="inpaint: where known, mri: where sampled (image: brighter than half of its brightest, or array: 1)",
    )
    add("--sensitivities", type=str, help="mri: coil sensitivities (array)")
    add("--kernel", type=str, help="deblur: point spread function (image, scaled to sum one, or array as it is)")
    add("--boundary", type=str, help="deblur: none (if absent: the scene outside is unknown), circular or zero")
    add("--scale", type=int, help="super-resolve: how many times larger")
    add(
        "--geometry",
        type=str,
        help="ct: parallel (if absent: angles evenly over π, pixels as wide as detectors) or lodopab",
    )
    add("--truth", type=str, help="what the result should be (image or array): prints PSNR and SSIM")
    add("--noise", type=float, help="standard deviation of the noise, in the units of the image")
    add("--lam", type=float, help="λ, in the units of the image; found if absent")
    add("--beta", type=float, help="strength of the smooth part; 0: none")
    add("--dictionary", type=str, default="natural-8x8x32", help="name or path")
    add("--method", type=str, help="solver; if absent auto, for super-resolve fista")
    add("--tol", type=float, help="relative duality gap to reach; 0.01 if absent")
    add("--max-iter", type=int, help="iterations at most; 500 if absent, for super-resolve 100")
    return result


def reconstruct(task: str, source: str, output: str, **options: Any) -> None:
    """Read, restore, write, and print what was found."""
    if task not in NEEDS:
        raise ValueError(f"task must be {listing(list(NEEDS))}; got {task!r}")
    io.check_target(output, PICTURES)
    given = {name: value for name, value in options.items() if value is not None}
    run = TASKS[task]
    known = (*inspect.signature(run).parameters, *COMMON)
    for name in given:
        if name not in known:
            raise ValueError(f"{task} does not take --{name}")
    for name in NEEDS[task]:
        if name not in given:
            raise ValueError(f"{task} needs --{name}")
    files = {name: given.pop(name) for name in FILES if name in given}
    if Path(output).resolve() in [Path(path).resolve() for path in (source, *files.values())]:
        raise ValueError(f"--output must not be a file that is read; got {output}")
    image = _read(source)
    arrays = {name: _argument(name, path) for name, path in files.items()}
    if task not in MEASURED:
        arrays["channel_axis"] = -1 if image.ndim == 3 and image.shape[-1] <= 4 else None  # else a volume
        _check_shape(output, image.shape, arrays["channel_axis"])
    found = run(image, **arrays, **given)
    clipped = _write(output, found, peak=task in MEASURED)
    picture = " × ".join(str(n) for n in found.image.shape)
    solution = found.solution
    print(f"{task}: {picture}, λ {found.lam:.4g}, {solution.nonzeros} non-zeros, gap {solution.gap:.1e}")
    print(f"{solution.solver.name}, {solution.iterations} iterations, {solution.seconds:.2f} s: {solution.reason}")
    for name, value in found.metrics.items():
        print(f"  {name:12}{value:8.3f}")
    print(f"written: {output}{clipped}")


TASKS: dict[str, Callable[..., Restoration]] = {
    "denoise": tasks.denoise,
    "inpaint": tasks.inpaint,
    "deblur": tasks.deblur,
    "super-resolve": tasks.super_resolve,
    "mri": tasks.reconstruct_mri,
    "ct": lambda sinogram, geometry="parallel", **options: tasks.reconstruct_ct(
        sinogram, _tomograph(sinogram, geometry), **options
    ),
}


def _check_shape(output: str, shape: tuple[int, ...], channel_axis: int | None) -> None:
    """Refuse, before any work, a file that cannot hold an image of such a shape."""
    ending = Path(output).suffix.lower()
    if ending == ".npy" or (ending == ".tif" and len(shape) > 1):
        return
    if len(shape) == 3 and channel_axis is None:
        raise ValueError(f"{output} cannot hold a volume of shape {shape}; .npy and .tif can")
    io.check_picture(output, shape)


def _argument(name: str, path: str) -> Any:
    """An array a task takes, from its file; what a picture means, an array says as it is."""
    values = _read(path)
    if Path(path).suffix.lower() in ARRAYS or name not in ("mask", "kernel"):
        return values
    values = values.mean(axis=-1) if values.ndim == 3 else values
    return values > max(float(values.max()), 1e-30) / 2 if name == "mask" else values / max(float(values.sum()), 1e-30)


def _tomograph(sinogram: Any, geometry: str) -> CT:
    """Geometry of a sinogram (angle, detector)."""
    if checks.choice(geometry, "geometry", ("parallel", "lodopab")) == "lodopab":
        return CT.lodopab()
    if np.ndim(sinogram) != 2 or 0 in np.shape(sinogram):
        raise ValueError(f"sinogram must be (angle, detector) and not empty; got shape {np.shape(sinogram)}")
    angles, detectors = np.shape(sinogram)
    side = max(1, int(detectors / math.sqrt(2)))
    return CT((side, side), np.arange(angles) * (math.pi / angles), detectors)


def _read(path: str) -> Any:
    """An image in [0, 1], or an array as it is."""
    if Path(path).suffix.lower() not in ARRAYS:
        return io.load_image(path)
    try:
        values = np.load(path, allow_pickle=False)
        if isinstance(values, np.lib.npyio.NpzFile):
            with values as file:
                if len(file.files) != 1:
                    names = ", ".join(file.files) or "none"
                    raise ValueError(f"a .npz must hold one array; it holds {names}")
                values = file[file.files[0]]
    except (ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from None
    if values.dtype.kind not in "biufc":
        raise ValueError(f"{path} must hold numbers; it holds {values.dtype}")
    return values


def _write(path: str, found: Restoration, peak: bool) -> str:
    """Write an array or float TIFF as it is (moduli, where complex), or 8 bits, with `peak` white; what 8 bits lost."""
    values, ending = to_numpy(found.image), Path(path).suffix.lower()
    if ending == ".npy":
        with io.replacing(path) as temporary:
            np.save(temporary, values)
        return ""
    values = np.abs(values) if np.iscomplexobj(values) else values
    if ending == ".tif":
        io.save_floats(path, values)
        return ""
    values = values / max(float(np.abs(values).max()), 1e-30) if peak else values
    io.save_image(path, values)
    lost = float(np.mean((values < -_SLIGHT) | (values > 1 + _SLIGHT)))
    return f" ({lost:.1%} of the values were outside [0, 1] and are clipped; .npy or .tif keep them)" if lost else ""
