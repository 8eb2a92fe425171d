"""Magnetic resonance imaging: the sampled, centred Fourier transform of one or many coils, its masks and its noise."""

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

    def __init__(self, mask: Any, sensitivities: Any = None) -> None:
        self._mask = Held(np.fft.ifftshift(_sampled(mask)))
        space = self._mask.values.shape
        self._sensitivities = None if sensitivities is None else Held(_coils(sensitivities, space))
        coils, norm = 1, 1.0
        if self._sensitivities is not None:
            values = self._sensitivities.values
            coils, norm = len(values), float(np.sqrt((np.abs(values) ** 2).sum(axis=0).max()))
        super().__init__((1, *space), (coils, *space), norm)

    @property
    def mask(self) -> Any:
        """Sampled frequencies, centred, as NumPy array of bool."""
        return np.fft.fftshift(self._mask.values)

    def apply(self, x: Array) -> Array:
        r"""Data of images (batch, 1, \*space); complex."""
        checks.batch_of(x, self.input_shape, "image")
        xp = namespace(x)
        complex_dtype = xp.result_type(x.dtype, xp.complex64)
        images = xp.astype(x, complex_dtype, copy=False)
        if self._sensitivities is not None:
            images = self._sensitivities.like(x, complex_dtype) * images
        return self._to_data(fft.forward(self._uncentred(images), self._space))

    def adjoint(self, y: Array) -> Array:
        r"""Aᴴ y, (batch, 1, \*space); complex."""
        checks.batch_of(y, self.output_shape, "data")
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


def cartesian_mask(
    shape: tuple[int, ...], acceleration: float, centre: float = 0.08, axis: int = -1, rng: Any = None
) -> Any:
    """Lines of k-space: a full centre, and random lines beside it, 1/acceleration of all lines in sum.

    Parameters
    ----------
    shape : tuple of int
        Of the image.
    acceleration : float
        Factor ≥ 1 of undersampling.
    centre : float, default 0.08
        Share of the lines, in the middle, that is sampled whole.
    axis : int, default -1
        The axis along which lines are counted.
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    mask : ndarray of bool, `shape`
    """
    n = shape[axis]
    wanted, middle = _budget(n, acceleration), _share(n, centre, "centre")
    if middle > wanted:
        raise ValueError(f"centre must leave the acceleration its lines; {middle} of {wanted} are in the centre")
    lines = np.zeros(n, dtype=bool)
    begin = n // 2 - middle // 2
    lines[begin : begin + middle] = True
    lines[np.random.default_rng(rng).permutation(np.flatnonzero(~lines))[: wanted - middle]] = True
    form = [1] * len(shape)
    form[axis] = n
    return np.broadcast_to(lines.reshape(form), shape).copy()


def random_mask(
    shape: tuple[int, ...], acceleration: float, power: float = 3.0, centre: float = 0.04, rng: Any = None
) -> Any:
    """Random frequencies of a density (1 − r)^power, r from 0 in the centre to 1 in the corners.

    Parameters
    ----------
    shape : tuple of int
        Of the image.
    acceleration : float
        Factor ≥ 1 of undersampling; the number of samples is exact.
    power : float, default 3
        Fall of the density (Lustig, Donoho and Pauly 2007, section "Monte-Carlo incoherent sampling"); 0 is uniform.
    centre : float, default 0.04
        Radius, as a share of that of the corners, within which all is sampled.
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    mask : ndarray of bool, `shape`
    """
    if not 0 <= checks.real_number(power, "power") < math.inf:
        raise ValueError(f"power must be finite and not negative; got {power}")
    radius = _radius(shape)
    wanted = _budget(radius.size, acceleration)
    whole = radius <= checks.real_number(centre, "centre")
    if whole.sum() > wanted:
        raise ValueError(f"centre must leave the acceleration its samples; {whole.sum()} of {wanted} are in the centre")
    density = np.maximum(1 - radius, 1e-9) ** power
    # the largest u^(1/w) of uniform u are a sample without replacement with weights w (Efraimidis and Spirakis 2006)
    order = np.log(np.random.default_rng(rng).random(radius.shape)) / density
    order[whole] = 1.0
    mask = np.zeros(radius.size, dtype=bool)
    mask[np.argsort(-order, axis=None)[:wanted]] = True
    return mask.reshape(shape)


def radial_mask(shape: tuple[int, int], spokes: int) -> Any:
    """The grid points nearest to `spokes` lines through the centre, turned by the golden angle 111.25° each.

    Source: Winkelmann, Schaeffter, Koehler, Eggers and Doessel 2007.
    """
    checks.count(spokes, "spokes", 1)
    if len(shape) != 2:
        raise ValueError(f"shape must be (H, W); got {tuple(shape)}")
    mask = np.zeros(shape, dtype=bool)
    reach = np.linspace(-1, 1, 4 * max(shape) + 1) * max(shape) / 2
    for spoke in range(spokes):
        angle = math.radians(111.246117975) * spoke
        at = [np.rint(n // 2 + reach * f(angle)).astype(int) for n, f in zip(shape, (math.sin, math.cos), strict=True)]
        inside = (at[0] >= 0) & (at[0] < shape[0]) & (at[1] >= 0) & (at[1] < shape[1])
        mask[at[0][inside], at[1][inside]] = True
    return mask


def low_resolution_mask(shape: tuple[int, ...], acceleration: float) -> Any:
    """The box of lowest frequencies, 1/acceleration of all: a picture of lower resolution."""
    share = (1 / _factor(acceleration)) ** (1 / len(shape))
    mask = np.zeros(shape, dtype=bool)
    kept = [max(1, round(n * share)) for n in shape]
    mask[tuple(slice(n // 2 - k // 2, n // 2 - k // 2 + k) for n, k in zip(shape, kept, strict=True))] = True
    return mask


def complex_noise(data: Any, sigma: float, mask: Any = None, rng: Any = None) -> Any:
    """Data (NumPy) with complex Gaussian noise of standard deviation σ in each of real and imaginary part.

    Where a mask is given (it broadcasts), noise falls on sampled entries alone.
    """
    if not 0 <= checks.real_number(sigma, "sigma") < math.inf:
        raise ValueError(f"sigma must be finite and not negative; got {sigma}")
    generator = np.random.default_rng(rng)
    noise = generator.standard_normal(data.shape) + 1j * generator.standard_normal(data.shape)
    return data + (sigma * noise * (1 if mask is None else np.asarray(mask))).astype(data.dtype)


def _sampled(mask: Any) -> Any:
    values = np.asarray(Held(mask).values)
    if values.ndim == 0 or values.size == 0:
        raise ValueError(f"mask must be an array of the image's shape; got shape {values.shape}")
    if not np.isin(values, (0, 1)).all():
        raise ValueError("mask must hold 0 and 1 alone: weights of samples are the problem's mask=")
    if not values.any():
        raise ValueError("mask must sample at least one frequency")
    return values.astype(bool)


def _coils(sensitivities: Any, space: tuple[int, ...]) -> Any:
    values = Held(sensitivities).values
    if values.ndim != len(space) + 1 or values.shape[1:] != space:
        raise ValueError(f"sensitivities must be (coil, {', '.join(map(str, space))}); got {values.shape}")
    if not np.isfinite(values).all() or not np.any(values):
        raise ValueError("sensitivities must be finite and not zero everywhere")
    return values


def _factor(acceleration: float) -> float:
    if not 1 <= checks.real_number(acceleration, "acceleration") < math.inf:
        raise ValueError(f"acceleration must be at least 1 and finite; got {acceleration}")
    return float(acceleration)


def _budget(count: int, acceleration: float) -> int:
    return max(1, round(count / _factor(acceleration)))


def _share(count: int, share: float, name: str) -> int:
    if not 0 <= checks.real_number(share, name) <= 1:
        raise ValueError(f"{name} must lie between 0 and 1; got {share}")
    return round(count * share)


def _radius(shape: tuple[int, ...]) -> Any:
    """Distance of each frequency from the centre: 1 in the farthest corner."""
    axes = [(np.arange(n) - n // 2) / max(1, n // 2) for n in shape]
    squared = sum(a**2 for a in np.meshgrid(*axes, indexing="ij"))
    return np.sqrt(squared / len(shape))
