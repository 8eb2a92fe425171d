"""What MRI samples, and its noise: Cartesian, random, radial and low-resolution masks; complex Gaussian noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import is_numpy


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
    shape = checks.extents(shape, "shape")
    if not -len(shape) <= checks.count(axis, "axis", -len(shape)) < len(shape):
        raise ValueError(f"axis must be one of the {len(shape)} of the image; got {axis}")
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
    if checks.real_number(centre, "centre") < 0:
        raise ValueError(f"centre must not be negative; got {centre}")
    radius = _radius(checks.extents(shape, "shape"))
    wanted = _budget(radius.size, acceleration)
    whole = radius <= centre
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
    if len(checks.extents(shape, "shape")) != 2:
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
    shape = checks.extents(shape, "shape")
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
    if not (is_numpy(data) and np.iscomplexobj(data)):
        raise TypeError(f"data must be a complex NumPy array; got {getattr(data, 'dtype', type(data).__name__)}")
    kept = np.ones(()) if mask is None else np.asarray(mask)
    if kept.ndim > data.ndim or any(k not in (1, n) for k, n in zip(kept.shape[::-1], data.shape[::-1], strict=False)):
        raise ValueError(f"mask must broadcast against the data {data.shape}; got shape {kept.shape}")
    generator = np.random.default_rng(rng)
    noise = generator.standard_normal(data.shape) + 1j * generator.standard_normal(data.shape)
    return data + (sigma * noise * kept).astype(data.dtype)


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
