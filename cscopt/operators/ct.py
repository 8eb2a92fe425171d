"""Computed tomography: projections along parallel or fan rays, by ASTRA."""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, asarray_like, get_threads
from cscopt.linop import LinearOperator
from cscopt.operators.host import on_host

LODOPAB_MU_MAX = 81.35858  # LoDoPaB-CT divides pictures (1/m) and data −ln(N/N₀) by this

_PROJECTORS = ("linear", "line", "strip", "cuda")
_LOCK = threading.Lock()  # ASTRA keeps its objects in tables of the process


class CT(LinearOperator):
    r"""Line integrals of an image: (A x)(θ, s) = ∫ x(s u + t v) dt with u = (cos θ, sin θ) and v = (−sin θ, cos θ).

    Images are (batch, 1, H, W), in 1/length if sizes are lengths; data are (batch, 1, angle, detector), without unit.
    Coordinates run to the right and up (row 0 is the top) from the image's centre; detectors are counted along u, and
    the middle of their row is s = 0. Results have the input's dtype and float32's accuracy, which ASTRA computes in. On
    the CPU the adjoint is the transpose (dot test below 1e-7); on a GPU ASTRA back-projects by pixels, which is not
    quite that, and `CSCProblem` takes "cuda" only where its dot test passes. Arrays of any library and device are
    copied to the CPU's memory, where ASTRA takes them, and results back. Torch differentiates through
    ``learned.Differentiable(CT(...))``.

    Parameters
    ----------
    shape : tuple of int
        (H, W).
    angles : array, (angle,)
        θ in radians, anticlockwise.
    detectors : int
        Number of detector pixels.
    pixel_size, detector_size : float, optional
        Side of an image pixel, 1 if absent, and width of a detector pixel in the same unit, the same if absent.
    projector : {"linear", "line", "strip", "cuda"}, optional
        Interpolation between the pixels of a row or column (Joseph 1982), length of the ray in a pixel (Siddon 1985),
        area of the strip in a pixel, or ASTRA's projector on a GPU. By default "linear" for parallel rays, and "line"
        for a fan, where ASTRA has no "linear".
    source_distance, detector_distance : float, optional
        From the centre to the source, at −source_distance · v, and to a flat detector: a fan. Else rays are parallel.

    Attributes
    ----------
    norm : float
        Upper bound of ‖A‖, at most 0.1 % above it, found when first asked for, by about ten projections: A ≥ 0, so
        ‖A‖² ≤ max_i (AᵀA v)_i / v_i for every v > 0 (Horn and Johnson 2013, theorem 8.1.26); power iteration gives v.

    Raises
    ------
    ImportError, TypeError, ValueError
        If ASTRA is absent or does not load, an array needs a gradient, or an argument is out of range.

    Source: van Aarle et al. 2016 (ASTRA); Kak and Slaney 1988, section 3.1.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        angles: Any,
        detectors: int,
        pixel_size: float = 1.0,
        detector_size: float | None = None,
        projector: str | None = None,
        source_distance: float | None = None,
        detector_distance: float | None = None,
    ) -> None:
        if not isinstance(shape, tuple | list) or len(shape) != 2:
            raise ValueError(f"shape must be (H, W); got {shape!r}")
        height, width = (checks.count(n, "shape", 1) for n in shape)
        self.angles = checks.numbers(angles, "angles", complex_allowed=False).astype(np.float64)
        if self.angles.ndim != 1 or self.angles.size == 0 or not np.isfinite(self.angles).all():
            raise ValueError(f"angles must be finite and (angle,), in radians; got shape {self.angles.shape}")
        self.pixel_size = checks.positive_number(pixel_size, "pixel_size")
        width_given = self.pixel_size if detector_size is None else detector_size
        self.detector_size = checks.positive_number(width_given, "detector_size")
        self.distances = _distances(source_distance, detector_distance, math.hypot(height, width) * self.pixel_size / 2)
        default = "line" if self.distances else "linear"
        self.projector = checks.choice(default if projector is None else projector, "projector", _PROJECTORS)
        if self.distances and projector == "linear":
            raise ValueError("projector must be 'line', 'strip' or 'cuda' for a fan beam; got 'linear'")
        if not _astra().use_cuda() and projector == "cuda":
            raise ValueError("projector must not be 'cuda' where ASTRA sees no GPU")
        super().__init__((1, height, width), (1, len(self.angles), checks.count(detectors, "detectors", 1)))

    @classmethod
    def lodopab(cls, projector: str | None = None) -> CT:
        """LoDoPaB-CT's geometry in metres: 362² pixels of 0.26 m / 362, 1000 angles, 513 detectors over the diagonal.

        Images and data are arrays as the set stores them: ODL, which made it, counts x along an image's first axis and
        y, upwards, along the second, so that the scene is ``np.rot90(image)``, and its angle (k + ½) π / 1000 a quarter
        turn less in `angles`. The set's pictures and data are divided by `LODOPAB_MU_MAX`, 81.35858 per metre, and 4096
        photons are sent (Leuschner, Schmidt, Otero Baguer and Maass 2021, "Methods").
        """
        angles = (np.arange(1000) + 0.5) * (math.pi / 1000) - math.pi / 2
        return cls((362, 362), angles, 513, 0.26 / 362, 0.26 * math.sqrt(2) / 513, projector)

    @property
    def norm(self) -> float:
        """Upper bound of ‖A‖; see the class."""
        if self._norm is None:
            v, upper = np.ones((1, *self.input_shape), np.float32), math.inf
            for _ in range(500):
                w = self.adjoint(self.apply(v))
                seen = v > 0  # pixels that no ray meets leave after the first round
                upper = min(upper, float((w[seen] / v[seen]).max()))
                if upper <= 1.002 * float(np.vdot(v, w) / np.vdot(v, v)):
                    break
                v = w / w.max()
            self._norm = math.sqrt(upper) * (1 + 1e-5)
        return self._norm

    def apply(self, x: Array) -> Array:
        """Sinograms (batch, 1, angle, detector) of images (batch, 1, H, W)."""
        images = np.require(on_host(x, "image", self.input_shape), np.float32, ("C", "W"))
        data = np.zeros((len(images), *self.output_shape), np.float32)

        def project(item: int, rows: slice) -> None:
            self._run("FP", images[item, 0], data[item, 0, rows], self.angles[rows])

        self._over_angles(len(images), project)
        return asarray_like(self.pixel_size * data, x, x.dtype)

    def adjoint(self, y: Array) -> Array:
        """Back-projections Aᵀ y, (batch, 1, H, W), of sinograms (batch, 1, angle, detector)."""
        data = np.require(on_host(y, "data", self.output_shape), np.float32, ("C", "W"))
        images = np.zeros((len(data), *self.input_shape), np.float32)

        def back(item: int, rows: slice) -> tuple[int, Any]:
            part = np.zeros(self.input_shape[1:], np.float32)
            self._run("BP", part, data[item, 0, rows], self.angles[rows])
            return item, part

        for item, part in self._over_angles(len(data), back):
            images[item, 0] += part
        return asarray_like(self.pixel_size * images, y, y.dtype)

    def _over_angles(self, items: int, work: Callable[[int, slice], Any]) -> list[Any]:
        """Results for parts of each item's angles, shared between threads: ASTRA uses one of the CPU's for each."""
        parts = 1 if self.projector == "cuda" else min(get_threads(), len(self.angles))
        edges = [len(self.angles) * k // parts for k in range(parts + 1)]
        jobs = [(i, slice(a, b)) for i in range(items) for a, b in pairwise(edges)]
        with ThreadPoolExecutor(parts) as pool:
            return list(pool.map(lambda job: work(*job), jobs))

    def _run(self, kind: str, image: Any, data: Any, angles: Any) -> None:
        """One of ASTRA's algorithms on our memory, lengths in image pixels; its objects live as long as the call."""
        astra, unit, volume_key = _astra(), self.pixel_size, "VolumeDataId" if kind == "FP" else "ReconstructionDataId"
        end, tail = ("_CUDA", "") if self.projector == "cuda" else ("", "_fanflat" if self.distances else "")
        volume = astra.create_vol_geom(*image.shape)
        sizes = (self.detector_size / unit, data.shape[1], angles, *(d / unit for d in self.distances or ()))
        rays = astra.create_proj_geom("fanflat" if self.distances else "parallel", *sizes)
        made: list[tuple[Any, int]] = []
        try:
            with _LOCK:
                made.append((astra.projector, astra.create_projector(self.projector + tail, rays, volume)))
                made.append((astra.data2d, astra.data2d.link("-vol", volume, image)))
                made.append((astra.data2d, astra.data2d.link("-sino", rays, data)))
                ids = {"ProjectorId": made[0][1], volume_key: made[1][1], "ProjectionDataId": made[2][1]}
                made.append((astra.algorithm, astra.algorithm.create({"type": kind + end, **ids})))
            astra.algorithm.run(made[-1][1])  # without Python's lock
        finally:
            with _LOCK:
                for module, number in reversed(made):
                    module.delete(number)


def _astra() -> Any:
    try:
        return importlib.import_module("astra")
    except ImportError as error:  # ASTRA's wheels link to CUDA's runtime and FFT, and do not load without
        why = "which is not installed" if isinstance(error, ModuleNotFoundError) else f"which does not load ({error})"
        raise ImportError(f"CT needs astra-toolbox, {why}: pip install 'cscopt[ct]'") from error


def _distances(source: float | None, detector: float | None, reach: float) -> tuple[float, float] | None:
    if source is None or detector is None:
        if source is not detector:
            raise ValueError("source_distance and detector_distance must be given both, or neither")
        return None
    if checks.positive_number(source, "source_distance") <= reach:
        raise ValueError(f"source_distance must lie outside the image, above {reach:g}; got {source}")
    if not 0 <= checks.real_number(detector, "detector_distance") < math.inf:
        raise ValueError(f"detector_distance must be finite and not negative; got {detector}")
    return float(source), float(detector)
