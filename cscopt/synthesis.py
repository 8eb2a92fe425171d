"""Synthesis: the convolution operator D of a set of filters on a grid, its adjoint, norm and Gram solve."""

from __future__ import annotations

import math
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cscopt import checks, fft, kernels
from cscopt.atomwise import correlator_of, image_of, sites_of
from cscopt.backend import Array, asarray_like, device, is_array, is_complex, is_torch, namespace, real_dtype
from cscopt.kernels import FilterSpectrum
from cscopt.linop import LinearOperator
from cscopt.mirror import Mirror

if TYPE_CHECKING:
    from cscopt.codes import SparseCodes
    from cscopt.kernels.sites import Sites
    from cscopt.kernels.tiles import Correlator

BOUNDARIES = ("circular", "zero", "symmetric", "none")


class Synthesis(LinearOperator):
    r"""The convolution operator D: codes ↦ Σ_m d_m * x_m, true convolution, d_m's first element at 0.

    Parameters
    ----------
    filters : array, (M, C, \*support)
        Of a `ConvDictionary`, which checks them.
    space : tuple of int
        Spatial shape N of the image.
    boundary : {"circular", "zero", "symmetric", "none"}
        - circular: the image wraps around; codes have the image's size N.
        - zero: the image is zero outside, every atom lies inside; codes have N − k + 1 (k the
          support), and D is the full convolution.
        - symmetric: codes have the image's size N, and go on outside as their mirror image, x₁ x₀ | x₀ x₁ (``np.pad``'s
          "symmetric"), by half the support: D = V E with E that extension and V the valid part of the convolution,
          Dᴴ = Eᵀ Vᴴ, where Eᵀ folds the borders back. An atom's index k // 2 lies on its code
          (``scipy.ndimage.convolve``, mode "reflect").
        - none: nothing is assumed outside, atoms may stick out; codes have N + k − 1, and D is the
          valid part of the convolution.
    channels : int
        Channels C of the image. A single-channel dictionary codes each channel on its own: codes
        hold C·M maps, channel-major.
    like : array, optional
        Sets library, device and dtype (complex: codes are complex); the filters' own if absent.

    Notes
    -----
    All boundaries are a circular convolution on `grid`, with codes restricted to a box at its origin
    (for "symmetric": to their extension there) and the image cropped from `offset`. Inside, codes are
    (rows, M, \*grid) with rows = batch · `groups`, and images are spectra (rows, channels a map, \*frequencies).
    """

    def __init__(
        self, filters: Array, space: tuple[int, ...], boundary: str, channels: int, like: Array = None
    ) -> None:
        like = filters if like is None else like
        support = tuple(filters.shape[2:])
        space = tuple(space)
        _check(filters, space, boundary, channels)
        self.boundary, self.channels, self.space = boundary, channels, space
        self.offset, grow = geometry(support, boundary)
        self.code_space = tuple(n + g for n, g in zip(space, grow, strict=True))
        wanted = tuple(n + o for n, o in zip(space, self.offset, strict=True))
        self.grid = wanted if boundary == "circular" else tuple(fft.fast_length(n) for n in wanted)
        self.mirror = Mirror.around(space, support) if boundary == "symmetric" else None
        self.groups = channels if filters.shape[1] == 1 else 1
        self.n_filters = filters.shape[0]
        self.image_channels = filters.shape[1]
        self.real = not is_complex(like)
        self.factor: Array | None = None
        self._taps, self.like = asarray_like(filters, like, real_dtype(like)), like[:0, ...]
        self._kin: dict[Any, Synthesis] = {}
        self.codes_shape = (self.groups * self.n_filters, *self.code_space)
        super().__init__(self.codes_shape, (channels, *space))
        if is_torch(like):
            _ = self.filters  # now: a first use under no_grad or checkpoint would keep them without their gradient

    @classmethod
    def of_codes(cls, filters: Array, codes: Array, boundary: str) -> Synthesis:
        r"""The operator that takes codes (batch, maps, \*code space); maps = C·M where each channel is coded alone."""
        checks.choice(boundary, "boundary", BOUNDARIES)
        _, grow = geometry(tuple(filters.shape[2:]), boundary)
        space = tuple(n - g for n, g in zip(codes.shape[2:], grow, strict=True))
        channels = codes.shape[1] // filters.shape[0] if filters.shape[1] == 1 else filters.shape[1]
        return cls(filters, space, boundary, channels, codes if is_array(codes) else codes.values)

    def through(self, factor: Array) -> Synthesis:
        """A D for an A that multiplies an image's spectrum by `factor` (circular boundary)."""
        new = copy(self)
        for derived in ("filters", "gram", "norm_sq"):
            new.__dict__.pop(derived, None)
        new.factor, new._kin = factor, {}
        if is_torch(factor):
            _ = new.filters
        return new

    def maps_bytes(self, batch: int, like: Array) -> int:
        """Size of one array of all maps on the grid."""
        itemsize = int(namespace(like).finfo(like.dtype).bits) // 8 * (2 if is_complex(like) else 1)
        return batch * self.groups * self.n_filters * math.prod(self.grid) * itemsize

    @cached_property
    def filters(self) -> FilterSpectrum:
        """Spectra of the filters on the grid: as large as one item's maps."""
        one = self.maps_bytes(1, self.like) // self.groups
        size = "×".join(str(n) for n in self.space)
        what = f"transforming maps of {size} for {self.n_filters} filters"
        checks.memory(3 * one, self.like, what, "'working-set' needs no such arrays (NumPy, no forward= but a blur)")
        correlator = self.__dict__.get("correlator")
        if correlator is not None and correlator.tile == self.grid:
            values = correlator.spectra
        else:
            taps = self._taps if self.real else namespace(self._taps).astype(self._taps, self.like.dtype)
            values = fft.forward(taps, self.grid, singly=True)
        return FilterSpectrum(values if self.factor is None else values * self.factor, self.grid, self.real)

    @cached_property
    def sites(self) -> Sites:
        """The atoms one by one, for sparse codes (NumPy only)."""
        return sites_of(self, self._taps)

    @cached_property
    def correlator(self) -> Correlator:
        """Correlation with all filters tile by tile (NumPy only)."""
        known = self.__dict__.get("filters") if self.factor is None else None
        return correlator_of(self, self._taps, known)

    @cached_property
    def gram(self) -> tuple[Array, Array | None]:
        """Eigenvalues (channels, *freq) and eigenvectors of D Dᴴ at each frequency.

        One channel a map: Σ_m |d̂_m|² and no eigenvectors.
        """
        values = self.filters.values
        xp = namespace(values)
        if values.shape[1] == 1:
            return xp.asarray(xp.real(xp.vecdot(values, values, axis=-values.ndim)), copy=True), None
        by_frequency = xp.moveaxis(values, (0, 1), (-1, -2))
        product = xp.matmul(by_frequency, xp.conj(xp.matrix_transpose(by_frequency)))
        eigenvalues, vectors = xp.linalg.eigh(product)
        zero = xp.zeros_like(eigenvalues)
        eigenvalues = xp.where(eigenvalues > 0, eigenvalues, zero)
        return xp.stack([eigenvalues[..., c] for c in range(eigenvalues.shape[-1])]), vectors

    @cached_property
    def norm_sq(self) -> Array:
        """‖D‖² on the grid as a 0-d array: the largest singular value squared over all frequencies."""
        return namespace(self.gram[0]).max(self.gram[0])

    @cached_property
    def copies(self) -> Array | None:
        r"""How often each code stands on the grid, (1, 1, \*code space), the diagonal of EᵀE; None where it is once."""
        return None if self.mirror is None else self.mirror.copies(self.like)

    @property
    def lipschitz(self) -> float:
        """‖D‖² on the grid as a number; for "symmetric" times the most copies of a code, ‖E‖²: a bound of ‖D‖²."""
        most = 1.0 if self.copies is None else float(namespace(self.copies).max(self.copies))
        return most * float(self.norm_sq)

    @property
    def norm(self) -> float:
        """√ of `lipschitz`."""
        return math.sqrt(self.lipschitz)

    def apply_gram(self, image: Array) -> Array:
        """D Dᴴ image for image spectra (rows, channels, *freq)."""
        xp = namespace(image)
        eigenvalues, vectors = self.gram
        if vectors is None:
            return image * eigenvalues
        turned = xp.matmul(xp.conj(xp.matrix_transpose(vectors)), xp.moveaxis(image, 1, -1)[..., None])
        return xp.moveaxis(xp.matmul(vectors, turned * xp.moveaxis(eigenvalues, 0, -1)[..., None])[..., 0], -1, 1)

    def solve_gram(self, image: Array, shift: Array) -> Array:
        """(D Dᴴ + shift)⁻¹ image for image spectra (rows, channels, *freq); shift is (rows,)."""
        xp = namespace(image)
        eigenvalues, vectors = self.gram
        shift = xp.reshape(shift, (-1,) + (1,) * (image.ndim - 1))
        if vectors is None:
            return image / (eigenvalues[None, ...] + shift)
        columns = xp.moveaxis(image, 1, -1)[..., None]
        turned = xp.matmul(xp.conj(xp.matrix_transpose(vectors)), columns)
        turned = turned / (xp.moveaxis(eigenvalues, 0, -1)[..., None] + shift[..., None])
        return xp.moveaxis(xp.matmul(vectors, turned)[..., 0], -1, 1)

    def apply(self, codes: Array) -> Array:
        """D x: codes (batch, maps, *code space), of any library and dtype, to an image (batch, C, *space)."""
        codes = checks.batch_of(codes, self.codes_shape, "codes")
        own = self._for(codes)
        return own.image(own.synthesize(own.embed(codes)))

    def apply_sparse(self, codes: SparseCodes) -> Array:
        """D x of sparse codes, atom by atom, as a NumPy array."""
        if codes.shape[1:] != self.codes_shape:
            raise ValueError(f"codes must have shape (batch, *{self.codes_shape}); got {codes.shape}")
        return image_of(self, codes)

    def adjoint(self, image: Array) -> Array:
        """Dᴴ y: an image (batch, C, *space), of any library and dtype, to correlations (batch, maps, *code space)."""
        image = checks.batch_of(image, self.output_shape, "image")
        own = self._for(image)
        return own.gather(kernels.for_array(image).analyze(own.spectrum(image), own.filters))

    def _for(self, array: Array) -> Synthesis:
        """Itself for arrays of another kind: kernels read half spectra of real arrays, and whole ones of complex."""
        key = (namespace(array).__name__, array.dtype, device(array))
        if self.factor is not None or key == (namespace(self.like).__name__, self.like.dtype, device(self.like)):
            return self
        if key not in self._kin:
            self._kin[key] = Synthesis(self._taps, self.space, self.boundary, self.channels, array)
        return self._kin[key]

    def synthesize(self, maps: Array) -> Array:
        """Image spectrum of codes on the grid."""
        return kernels.for_array(maps).synthesize(maps, self.filters)

    def image(self, spectrum: Array) -> Array:
        """Image (batch, C, *space) of a spectrum (rows, channels, *freq)."""
        return self.cropped(fft.inverse(spectrum, self.grid, self.real))

    def cropped(self, full: Array) -> Array:
        """Image (batch, C, *space) of rows on the grid."""
        box = tuple(slice(o, o + n) for o, n in zip(self.offset, self.space, strict=True))
        return namespace(full).reshape(full[(slice(None), slice(None), *box)], (-1, self.channels, *self.space))

    def spectrum(self, image: Array) -> Array:
        """Spectrum (rows, channels, *freq) of an image placed on the grid; the adjoint of `image`."""
        xp = namespace(image)
        rows = xp.reshape(image, (-1, self.channels // self.groups, *self.space))
        if any(self.offset):
            rows = pad(rows, self.grid, self.offset)
        return fft.forward(rows, self.grid)

    def embed(self, codes: Array) -> Array:
        """Codes (batch, maps, *code space) as rows on the grid, zero outside their box (or their extension's)."""
        xp = namespace(codes)
        rows = xp.reshape(codes, (-1, self.n_filters, *self.code_space))
        rows = rows if self.mirror is None else self.mirror.extend(rows)
        return rows if tuple(rows.shape[2:]) == self.grid else pad(rows, self.grid, (0,) * len(self.grid))

    def crop(self, maps: Array) -> Array:
        """Codes (batch, maps, *code space) from rows on the grid; the inverse of `embed`."""
        if self.mirror is None:
            box = maps[(slice(None), slice(None), *(slice(0, n) for n in self.code_space))]
        else:
            box = self.mirror.restrict(maps)
        return namespace(maps).reshape(box, (-1, *self.codes_shape))

    def gather(self, maps: Array) -> Array:
        """The adjoint of `embed`: `crop`, and for "symmetric" the sum over all copies of a code."""
        if self.mirror is None:
            return self.crop(maps)
        return namespace(maps).reshape(self.mirror.fold(maps), (-1, *self.codes_shape))


def _check(filters: Array, space: tuple[int, ...], boundary: str, channels: int) -> None:
    checks.choice(boundary, "boundary", BOUNDARIES)
    support = tuple(filters.shape[2:])
    if len(space) != len(support):
        raise ValueError(
            f"signal and filters must have the same number of spatial axes; got {len(space)} and {len(support)}"
        )
    if any(n < k for n, k in zip(space, support, strict=True)):
        raise ValueError(f"the support must not be larger than the signal; got filters {support}, signal {space}")
    if filters.shape[1] not in (1, channels):
        raise ValueError(
            f"the filters have {filters.shape[1]} channels, the signal {channels}; they must be equal, "
            "or the filters have one"
        )


def geometry(support: tuple[int, ...], boundary: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Offset of the image on the grid, and how much larger than the image the codes are."""
    reach = tuple(k - 1 for k in support)
    none = (0,) * len(support)
    if boundary == "zero":
        return none, tuple(-r for r in reach)
    if boundary == "symmetric":
        return reach, none
    return (reach, reach) if boundary == "none" else (none, none)


def pad(rows: Array, grid: tuple[int, ...], offset: tuple[int, ...]) -> Array:
    """Zero-pad the spatial axes to the grid, by concatenation (which torch can differentiate)."""
    xp = namespace(rows)
    for axis, (n, before) in enumerate(zip(grid, offset, strict=True), start=2):
        parts = []
        for extra in (before, n - before - rows.shape[axis]):
            shape = (*rows.shape[:axis], extra, *rows.shape[axis + 1 :])
            parts.append(xp.zeros(shape, dtype=rows.dtype, device=rows.device))
        rows = xp.concat([parts[0], rows, parts[1]], axis=axis)
    return rows
