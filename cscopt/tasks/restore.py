"""What all restorations share: a smooth part from a first estimate, sparse codes of the rest, λ where none is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cscopt import checks, lowpass, metrics
from cscopt.backend import Array, is_complex, namespace, to_numpy
from cscopt.datafit.layout import applied
from cscopt.linop import LinearOperator, inner
from cscopt.penalties import L1
from cscopt.problem import CSCProblem
from cscopt.solvers import Solution, minimise_l1, solve
from cscopt.tasks.coding import dictionary_for

_LEAST_GAIN = 1e-3


@dataclass(frozen=True)
class Restoration:
    """A restored image and how it was found.

    Attributes
    ----------
    image : array
        In the axes that were given.
    solution : Solution
        The sparse codes of what the smooth part does not explain, with their gap.
    lam : float
        λ, given or found.
    metrics : dict
        Where a truth is given: "psnr" and "ssim" of the image, and "psnr_first" of the first, linear estimate; of
        moduli where images are complex. The peak is 1 for pictures in [0, 1], else, and for MRI and CT, whose units
        are any, the truth's largest modulus.
    """

    image: Array
    solution: Solution
    lam: float
    metrics: dict[str, float]

    def __repr__(self) -> str:
        told = "".join(f", {name}={value:.4g}" for name, value in self.metrics.items())
        return f"Restoration(image {tuple(self.image.shape)}, lam={self.lam:.4g}{told}, {self.solution})"


@dataclass(frozen=True)
class Settings:
    """What every restoration takes: dictionary, β of the smooth part, λ or the noise's σ, solver and its options."""

    dictionary: Any = "natural-8x8x32"
    beta: float = 5.0
    lam: float | None = None
    noise: float | None = None
    method: Any = "auto"
    options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        checks.real_number(self.beta, "beta")
        for name in ("lam", "noise"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checks.positive_number(getattr(self, name), name))


def restore(
    data: Array,
    first: Array,
    settings: Settings,
    share: float = 0.0,
    forward: LinearOperator | None = None,
    mask: Array | None = None,
    count: int | None = None,
) -> tuple[Array, Solution, float]:
    r"""Image x_low + D z from data y: x_low = (I + β∇ᴴ∇)⁻¹ first + c, and z codes y − A x_low.

    c is the constant of each channel that fits the data best, where there is an A: filters without a mean, as those of
    most dictionaries, could not mend it, and a first estimate need not have it right.

    Parameters
    ----------
    data : array, (1, \*data shape)
    first : array, (1, channel, \*space)
        First estimate of the image, for its smooth part.
    settings : Settings
        λ if given; else, with the noise's σ, from ‖W(y − A x)‖ = σ √n (`minimise_l1`); else `share` of λ_max.
    share : float
    forward, mask
        As for `CSCProblem`.
    count : int, optional
        n, the numbers that are measured; by default all of the data, or the sum of W².
    """
    xp = namespace(first)
    level, low = settings.lam, xp.zeros_like(first)
    if settings.beta != 0:
        low, _ = lowpass.split(first, settings.beta, min(16, *first.shape[2:]))
        if forward is not None:
            low = _levelled(low, data, forward, mask)
    rest = data - applied(forward, low)
    options = {"tol": 1e-2, **(settings.options or {})}
    bank = dictionary_for(settings.dictionary, first.ndim - 2)
    problem = CSCProblem(rest, bank, L1(level or 1.0), forward, mask)
    if level is not None:
        solution = solve(problem, settings.method, **options)
    elif settings.noise is not None:
        epsilon = settings.noise * math.sqrt(_count(rest, mask) if count is None else count)
        try:
            solution = minimise_l1(problem, epsilon, method=settings.method, **options).solution
        except ValueError as error:
            raise ValueError(f"noise = {settings.noise:g} means a residual of {epsilon:.3g}: {error}") from error
    else:
        level = share * problem.lambda_max or 1.0  # whatever λ is, nothing has zero codes
        solution = solve(problem.with_penalty(L1(level)), settings.method, **options)
    return low + solution.reconstruction, solution, float(solution.problem.penalty.lam)


def _levelled(low: Array, data: Array, forward: LinearOperator, mask: Array | None) -> Array:
    """Low + c with c = argmin ‖W(y − A(low + c))‖ over constants of each channel.

    Constants that A weakens to less than a thousandth, by the gain of low or of other constants, are left alone: data
    do not say them, and A of them may be rounding.
    """
    xp, channels = namespace(low), low.shape[1]
    weight = 1.0 if mask is None else mask
    eye = xp.eye(channels, dtype=low.dtype, device=low.device)
    flat = [xp.broadcast_to(xp.reshape(row, (1, channels) + (1,) * (low.ndim - 2)), low.shape) for row in eye]
    columns = [weight * applied(forward, constant) for constant in flat]
    predicted = applied(forward, low)
    rest = weight * (data - predicted)
    size = abs(inner(low, low))
    gain = abs(inner(weight * predicted, weight * predicted)) / size if size > 0 else 0.0
    gram, wanted = np.array([[inner(a, b) for b in columns] for a in columns]), [inner(a, rest) for a in columns]
    values, vectors = np.linalg.eigh(gram)
    kept = values > _LEAST_GAIN**2 * max(values[-1], gain * math.prod(low.shape[2:]))
    seen = vectors[:, kept]
    found = seen @ (seen.conj().T @ np.array(wanted) / values[kept])
    for constant, value in zip(flat, found.tolist(), strict=True):
        low = low + value * constant
    return low


def _count(data: Array, mask: Array | None) -> float:
    """Data that are observed: the sum of W² (parts of complex data count on their own: σ is that of each)."""
    whole = float(math.prod(data.shape))
    if mask is not None:
        xp = namespace(mask)
        whole = float(xp.sum(xp.broadcast_to(mask, data.shape) ** 2))
    return 2 * whole if is_complex(data) else whole


def checked_truth(truth: Any, shape: tuple[int, ...], complex_allowed: bool = False) -> Any:
    """A truth of the restored image's shape, in floats: integers would be of other units than the image."""
    if truth is None:
        return None
    truth = checks.floating(truth, "truth", complex_allowed)
    if tuple(truth.shape) != shape:
        raise ValueError(f"truth must have the image's shape {shape}; got {tuple(truth.shape)}")
    checks.finite(truth, "truth")
    return truth


def judged(
    image: Array, first: Array, truth: Array | None, channel_axis: int | None, pictures: bool = True
) -> dict[str, float]:
    """PSNR and SSIM against a truth, if there is one; `pictures` whether values in [0, 1] have 1 as their peak."""
    if truth is None:
        return {}
    a, b, c = (to_numpy(v) for v in (image, truth, first))
    if np.iscomplexobj(a) or np.iscomplexobj(b):
        a, b, c = np.abs(a), np.abs(b), np.abs(c)
    peak = None if pictures else float(np.abs(b).max()) or 1.0
    found = {"psnr": metrics.psnr(a, b, peak), "psnr_first": metrics.psnr(c, b, peak)}
    if min(n for axis, n in enumerate(a.shape) if channel_axis is None or axis != channel_axis % a.ndim) >= 11:
        found["ssim"] = metrics.ssim(a, b, peak, channel_axis=channel_axis)
    return found


def noise_level(image: Array) -> float:
    r"""σ of white noise, from the median modulus of the finest diagonal Haar coefficients, over 0.6745.

    Of an image (1, channel, \*space). Source: Donoho and Johnstone 1994, section 4.2.
    """
    detail = to_numpy(image)
    for axis in range(2, detail.ndim):
        if detail.shape[axis] < 2:
            raise ValueError("noise must be given for images of one pixel along an axis")
        detail = np.diff(detail, axis=axis) / math.sqrt(2)
    return float(np.median(np.abs(detail)) / 0.6745)
