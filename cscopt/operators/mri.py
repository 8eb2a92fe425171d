"""Magnetic resonance imaging: the sampled, centred Fourier transform of one or many coils."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from cscopt import checks, fft
from cscopt.backend import Array, is_complex, namespace, real_dtype
from cscopt.linop import LinearOperator
from cscopt.operators.held import Held


class MRI(LinearOperator):
    r"""Cartesian MRI: x ↦ M F (s_c x) for each coil c.

    F is the centred orthonormal discrete Fourier transform, M keeps the sampled frequencies and sets the others to
    zero, s_c are the coils' sensitivities (one coil, s = 1, if absent). Images are (batch, 1, \*space) and complex,
    data (batch, coil, \*space), with frequency zero at index n // 2 of each axis.

    Parameters
    ----------
    mask : array of bool or of {0, 1}, (\*space)
        Sampled frequencies, centred.
    sensitivities : array, (coil, \*space), optional
        Complex sensitivity s_c of each coil.
    norm : {"ortho"}
        How F is normalised, as NumPy names it: F is unitary. Others are refused, for λ and the noise's σ would no
        longer be in the image's units.

    Attributes
    ----------
    norm : float
        max_p √Σ_c |s_c(p)|², which bounds ‖A‖ (exact for one coil, and where all frequencies are sampled).

    Raises
    ------
    TypeError, ValueError
        If the mask is empty, has other values than 0 and 1, or does not fit the sensitivities.

    Notes
    -----
    With one coil A is diagonal in the frequency domain: solvers then work there, and an iteration costs no more than
    without A (see `response`).

    Source: Pruessmann, Weiger, Scheidegger and Boesiger 1999, eq. 1 (SENSE).
    """

    def __init__(self, mask: Any, sensitivities: Any = None, norm: str = "ortho") -> None:
        checks.choice(norm, "norm", ("ortho",))
        self._mask = Held(np.fft.ifftshift(_sampled(mask)))
        space = self._mask.values.shape
        self._sensitivities = None if sensitivities is None else Held(_coils(sensitivities, space))
        coils, largest = 1, 1.0
        if self._sensitivities is not None:
            values = self._sensitivities.values
            coils, largest = len(values), float(np.sqrt((np.abs(values) ** 2).sum(axis=0).max()))
        super().__init__((1, *space), (coils, *space), largest)

    @property
    def mask(self) -> Any:
        """Sampled frequencies, centred, as NumPy array of bool."""
        return np.fft.fftshift(self._mask.values)

    def apply(self, x: Array) -> Array:
        r"""Data of images (batch, 1, \*space); complex."""
        x = checks.batch_of(x, self.input_shape, "image")
        xp = namespace(x)
        complex_dtype = xp.result_type(x.dtype, xp.complex64)
        images = xp.astype(x, complex_dtype, copy=False)
        if self._sensitivities is not None:
            images = self._sensitivities.like(x, complex_dtype) * images
        return self._to_data(fft.forward(self._uncentred(images), self._space))

    def adjoint(self, y: Array) -> Array:
        r"""Aᴴ y, (batch, 1, \*space); complex."""
        y = checks.batch_of(y, self.output_shape, "data")
        if not is_complex(y):
            raise TypeError(f"data must be complex; got {y.dtype}")
        xp = namespace(y)
        spectrum = self._mask.like(y, real_dtype(y)) * self._of_data(y)
        images = self._centred(fft.inverse(spectrum, self._space, False))
        if self._sensitivities is not None:
            images = xp.sum(xp.conj(self._sensitivities.like(y, y.dtype)) * images, axis=1, keepdims=True)
        return images

    def response(self, like: Array) -> Array | None:
        """M on the (uncentred) frequencies of an image, where A is that and a unitary map (one coil); else None.

        ‖y − A x‖² = Σ |ŷ − M x̂|² / n, with ŷ from `spectrum_of`, x̂ the plain transform of x, and n pixels.
        """
        if self._sensitivities is not None:
            return None
        return self._mask.like(like, real_dtype(like))

    def spectrum_of(self, y: Array) -> Array:
        """Data as the plain transform of an image that A would map to them."""
        return self._of_data(y) * self._ramp.like(y, y.dtype)

    @property
    def _space(self) -> tuple[int, ...]:
        return self.input_shape[1:]

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self._space), 0))

    def _to_data(self, spectrum: Array) -> Array:
        xp = namespace(spectrum)
        sampled = self._mask.like(spectrum, real_dtype(spectrum)) * spectrum
        return xp.roll(sampled * (1 / math.sqrt(math.prod(self._space))), self._shifts(1), axis=self._axes)

    def _of_data(self, y: Array) -> Array:
        """√n y on uncentred frequencies: the transform of Fᴴ y, up to where the image's origin lies."""
        turned = namespace(y).roll(y, self._shifts(-1), axis=self._axes)
        return turned * math.sqrt(math.prod(self._space))

    def _shifts(self, sign: int) -> tuple[int, ...]:
        return tuple(sign * (n // 2) for n in self._space)

    def _uncentred(self, images: Array) -> Array:
        return namespace(images).roll(images, self._shifts(-1), axis=self._axes)

    def _centred(self, images: Array) -> Array:
        return namespace(images).roll(images, self._shifts(1), axis=self._axes)

    @cached_property
    def _ramp(self) -> Held:
        """Phases e^{−2πi ω⌊n/2⌋/n} that move an image's origin from the corner to its centre."""
        total: Any = 1.0
        for axis, n in enumerate(self._space):
            phase = np.exp(-2j * np.pi * ((np.arange(n) * (n // 2)) % n) / n)
            total = total * phase.reshape(tuple(-1 if a == axis else 1 for a in range(len(self._space))))
        return Held(total)


def _sampled(mask: Any) -> Any:
    values = checks.numbers(mask, "mask")
    if values.ndim == 0 or values.size == 0:
        raise ValueError(f"mask must be an array of the image's shape; got shape {values.shape}")
    if not np.isin(values, (0, 1)).all():
        raise ValueError("mask must hold 0 and 1 alone: weights of samples are the problem's mask=")
    if not values.any():
        raise ValueError("mask must sample at least one frequency")
    return values.astype(bool)


def _coils(sensitivities: Any, space: tuple[int, ...]) -> Any:
    values = checks.numbers(sensitivities, "sensitivities")
    if values.ndim != len(space) + 1 or values.shape[1:] != space:
        raise ValueError(f"sensitivities must be (coil, {', '.join(map(str, space))}); got {values.shape}")
    if not np.isfinite(values).all() or not np.any(values):
        raise ValueError("sensitivities must be finite and not zero everywhere")
    return values
