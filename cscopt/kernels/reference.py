"""The hot loops in plain array-API code: what the fused twins in `numba` and `cupy` must compute.

Every solver iteration is one *sweep*: correlate an image with all filters (analysis), update each
coefficient on its own, and sum the filtered maps again (synthesis). The fused twins do this map by
map while a map is in cache.

Shapes: ``rows`` counts independent coding problems (batch items, times channels where one filter
codes each channel on its own), ``maps`` filters, ``channels`` the channels that share a map.
Images travel as spectra (rows, channels, *frequencies), codes as (rows, maps, *grid). A twin may overwrite a sweep's
states and its image.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from cscopt import fft
from cscopt.backend import Array, is_complex, namespace, per_item

Sums = dict[str, Array]


class FilterSpectrum(NamedTuple):
    """Filters in the Fourier domain: `values` (maps, channels, *frequencies) of a `grid`."""

    values: Array
    grid: tuple[int, ...]
    real: bool


class Regularizer(Protocol):
    """A penalty g on rows: what the sweeps ask of it."""

    def prox(self, v: Array, scale: Array) -> Array:
        """Proximal map of scale · g, for a scale a row."""

    def value(self, x: Array) -> Array:
        """g of each row, in float64."""

    def pull(self, x: Array) -> Array | None:
        """Gradient of g's quadratic part at x, which `prox` leaves out; None if there is none."""

    def violation(self, ascent: Array) -> Array:
        """How far each row is beyond the dual constraint: feasible up to 1."""


class Levels(NamedTuple):
    """The λ of every coefficient, Λ = level · weight, and whether codes are non-negative.

    `level` is (rows or 1, maps); `weight` is None or (rows or 1, maps or 1, *grid).
    """

    level: Array
    weight: Array | None
    nonnegative: bool

    def full(self) -> Array:
        """Λ as an array that broadcasts against the codes."""
        ndim = 3 if self.weight is None else self.weight.ndim
        xp = namespace(self.level)
        level = xp.reshape(self.level, tuple(self.level.shape) + (1,) * (ndim - 2))
        return level if self.weight is None else level * self.weight

    def prox(self, v: Array, scale: Array) -> Array:
        """S_{scale·Λ}(v) for a scale a row."""
        return soft_threshold(v, per_item(scale, v.ndim) * _lam(self, v), self.nonnegative)

    def value(self, x: Array) -> Array:
        """Σ Λ|x| of each row, summed in float64."""
        xp = namespace(x)
        return xp.sum(_lam(self, x) * xp.abs(x), axis=_axes(x), dtype=xp.float64)

    def pull(self, x: Array) -> Array | None:
        """None: ℓ1 has no quadratic part."""
        return None

    def violation(self, ascent: Array) -> Array:
        """max |ascent| / Λ of each row (its positive part alone for non-negative codes)."""
        xp = namespace(ascent)
        size: Any = ascent if self.nonnegative else xp.abs(ascent)
        worst = xp.astype(xp.max(size / _lam(self, ascent), axis=_axes(ascent)), xp.float64)
        return xp.where(worst > 0, worst, xp.zeros_like(worst))

    def of_rows(self, rows: slice) -> Levels:
        """Those of some rows."""
        level, weight = self.level, self.weight
        level = level[rows, ...] if level.shape[0] > 1 else level
        if weight is not None and weight.shape[0] > 1:
            weight = weight[rows, ...]
        return Levels(level, weight, self.nonnegative)

    def of_maps(self, maps: slice) -> Levels:
        """Those of some maps."""
        weight = self.weight
        if weight is not None and weight.shape[1] > 1:
            weight = weight[:, maps, ...]
        return Levels(self.level[:, maps], weight, self.nonnegative)


def soft_threshold(v: Array, threshold: Array | float, nonnegative: bool = False) -> Array:
    """Proximal map of t|x|: sign(v) max(|v| − t, 0); the modulus shrinks where v is complex.

    With `nonnegative`, max(v − t, 0).
    """
    xp = namespace(v)
    if nonnegative:
        return xp.where(v > threshold, v - threshold, xp.zeros_like(v))
    if is_complex(v):
        modulus = xp.abs(v)
        inside = modulus <= threshold
        safe = xp.where(inside, xp.ones_like(modulus), modulus)
        return v * xp.where(inside, xp.zeros_like(modulus), 1 - threshold / safe)
    return xp.where(xp.abs(v) > threshold, v - xp.sign(v) * threshold, xp.zeros_like(v))


def ista_step(
    x: Array, gradient: Array, step_size: Array | float, threshold: Array | float, nonnegative: bool = False
) -> Array:
    """One proximal gradient step, S_t(x − s ∇f(x)), with step size s and threshold t = s Λ."""
    return soft_threshold(x - step_size * gradient, threshold, nonnegative)


def fista_step(
    x: Array,
    point: Array,
    gradient: Array,
    step_size: Array | float,
    threshold: Array | float,
    momentum: Array | float,
    nonnegative: bool = False,
) -> tuple[Array, Array]:
    """One accelerated step from the extrapolated `point` z, where `gradient` is ∇f(z).

    x⁺ = S_t(z − s ∇f(z)) and z⁺ = x⁺ + β (x⁺ − x); returns (x⁺, z⁺).
    """
    new = ista_step(point, gradient, step_size, threshold, nonnegative)
    return new, new + momentum * (new - x)


def admm_step(
    v: Array, correction: Array, threshold: Array | float, relaxation: float, nonnegative: bool = False
) -> tuple[Array, Array]:
    """One over-relaxed ADMM step on the single array v, with y = S_t(v), u = v − y and t = Λ/ρ.

    The quadratic step is x = y − u + `correction`; then v⁺ = v + α (x − y). Returns (x, v⁺).
    """
    y = soft_threshold(v, threshold, nonnegative)
    change = y - v + correction
    return y + change, v + relaxation * change


def analyze(image: Array, filters: FilterSpectrum) -> Array:
    """Correlate: x_m = Σ_c F⁻¹(conj(d̂_mc) ŷ_c), from (rows, channels, *freq) to (rows, maps, *grid)."""
    xp = namespace(image)
    product = xp.sum(xp.conj(filters.values)[None, ...] * image[:, None, ...], axis=2)
    return fft.inverse(product, filters.grid, filters.real)


def synthesize(codes: Array, filters: FilterSpectrum) -> Array:
    """Convolve and sum: ŷ_c = Σ_m d̂_mc x̂_m, from (rows, maps, *grid) to (rows, channels, *freq)."""
    xp = namespace(codes)
    spectrum = fft.forward(codes, filters.grid)
    return xp.sum(filters.values[None, ...] * spectrum[:, :, None, ...], axis=1)


def violation(image: Array, filters: FilterSpectrum, levels: Regularizer) -> Array:
    """Largest |Dᴴ image| / Λ of each row (its positive part alone for non-negative codes)."""
    return levels.violation(analyze(image, filters))


def ista_sweep(
    x: Array, residual: Array, filters: FilterSpectrum, levels: Regularizer, step_size: Array
) -> tuple[Array, Array, Sums]:
    """ISTA on all maps, given the spectrum of the gradient's image (A D x − y, weighted).

    Returns the new codes, the spectrum of D x⁺, and per row: ``l1`` = g(x⁺), Σ Λ|x⁺| for `Levels`, ``change`` =
    ‖x⁺ − x‖², and ``violation`` = max |gradient| / Λ at the old codes.
    """
    new, sums = ista_update(x, _ascent(x, residual, filters, levels), levels, step_size)
    return new, synthesize(new, filters), sums


def ista_update(x: Array, ascent: Array, levels: Regularizer, step_size: Array) -> tuple[Array, Sums]:
    """What `ista_sweep` does between its transforms, given minus the gradient: x⁺ and the sums."""
    new = levels.prox(x + per_item(step_size, x.ndim) * ascent, step_size)
    sums = {
        "l1": levels.value(new),
        "change": _sum_sq(new - x),
        "violation": levels.violation(ascent),
    }
    return new, sums


def fista_sweep(
    x: Array,
    point: Array,
    residual: Array,
    filters: FilterSpectrum,
    levels: Regularizer,
    step_size: Array,
    momentum: Array,
) -> tuple[Array, Array, Array, Sums]:
    """FISTA on all maps, given the spectrum of the gradient's image at the extrapolated `point`.

    Returns x⁺, z⁺, the spectrum of D z⁺, and per row: ``l1`` = g(x⁺), Σ Λ|x⁺| for `Levels`, ``change`` = ‖x⁺ − z‖²,
    ``turn`` = Re⟨z − x⁺, x⁺ − x⟩ and ``violation`` = max |gradient| / Λ at z.
    """
    ascent = _ascent(point, residual, filters, levels)
    new, ahead, sums = fista_update(x, point, ascent, levels, step_size, momentum)
    return new, ahead, synthesize(ahead, filters), sums


def fista_update(
    x: Array, point: Array, ascent: Array, levels: Regularizer, step_size: Array, momentum: Array
) -> tuple[Array, Array, Sums]:
    """What `fista_sweep` does between its transforms, given minus the gradient at `point`: x⁺, z⁺ and the sums."""
    new = levels.prox(point + per_item(step_size, x.ndim) * ascent, step_size)
    ahead = new + per_item(momentum, x.ndim) * (new - x)
    sums = {
        "l1": levels.value(new),
        "change": _sum_sq(new - point),
        "turn": _inner(point - new, new - x),
        "violation": levels.violation(ascent),
    }
    return new, ahead, sums


def admm_sweep(
    v: Array,
    correction: Array,
    filters: FilterSpectrum,
    levels: Regularizer,
    penalty: Array,
    relaxation: float,
) -> tuple[Array, Array, Sums]:
    """ADMM on all maps, given the spectrum of the image whose analysis is x − z.

    Returns v⁺, the spectrum of D z⁺, and per row: ``primal`` = ‖x − y⁺‖², ``dual`` = ‖y⁺ − y‖², ``x``, ``y``, ``u`` =
    squared norms, ``violation`` = max |x − z| / Λ.
    """
    new, ahead, sums = admm_update(v, analyze(correction, filters), levels, penalty, relaxation)
    return new, synthesize(ahead, filters), sums


def admm_update(
    v: Array, shift: Array, levels: Regularizer, penalty: Array, relaxation: float
) -> tuple[Array, Array, Sums]:
    """What `admm_sweep` does between its transforms, given x − z: v⁺, z⁺ and the sums."""
    old = levels.prox(v, 1 / penalty)
    change = old - v + shift
    x, new = old + change, v + relaxation * change
    y = levels.prox(new, 1 / penalty)
    sums = {
        "primal": _sum_sq(x - y),
        "dual": _sum_sq(y - old),
        "x": _sum_sq(x),
        "y": _sum_sq(y),
        "u": _sum_sq(new - y),
        "violation": levels.violation(shift),
    }
    return new, 2 * y - new, sums


def proximal(v: Array, levels: Regularizer, scale: Array) -> tuple[Array, Array]:
    """y = S_{scale·Λ}(v) for a scale a row, and Σ Λ|y| of each row."""
    y = levels.prox(v, scale)
    return y, levels.value(y)


def _ascent(x: Array, residual: Array, filters: FilterSpectrum, levels: Regularizer) -> Array:
    """Minus the gradient of all that is smooth, at x."""
    ascent, pull = analyze(-residual, filters), levels.pull(x)
    return ascent if pull is None else ascent - pull


def _lam(levels: Levels, like: Array) -> Array:
    lam = levels.full()
    xp = namespace(lam)
    return xp.reshape(lam, tuple(lam.shape) + (1,) * (like.ndim - lam.ndim))


def _axes(x: Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim))


def _sum_sq(x: Array) -> Array:
    return _inner(x, x)


def _inner(a: Array, b: Array) -> Array:
    xp = namespace(a)
    product = xp.real(xp.conj(a) * b) if is_complex(a) else a * b
    return xp.sum(product, axis=_axes(a), dtype=xp.float64)


def weighted_l1(x: Array, levels: Regularizer) -> Array:
    """Σ Λ|x| of each row, summed in float64."""
    return levels.value(x)
