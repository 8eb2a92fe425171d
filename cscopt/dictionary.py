"""ConvDictionary: a set of filters, with its provenance; synthesis, analysis, files, SPORCO's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, asarray_like, device, is_array, is_numpy, is_torch, namespace, to_numpy
from cscopt.codes import SparseCodes
from cscopt.synthesis import Synthesis, pad


class ConvDictionary:
    r"""A convolutional dictionary: filters d_m of a common support.

    Parameters
    ----------
    filters : array, (M, C, \*support)
        Real filters, float32 or float64, with 1 to 3 support axes. They are copied (but for torch), never rescaled.
    provenance : dict of str, optional
        Where the filters come from; saved with them.

    Raises
    ------
    TypeError, ValueError
        If the filters are not real floating point, not finite, of the wrong number of axes, or if
        one of them is zero.
    """

    def __init__(self, filters: Array, provenance: dict[str, str] | None = None) -> None:
        filters = checks.floating(filters, "filters", complex_allowed=False)
        if not 3 <= filters.ndim <= 5:
            raise ValueError(
                "filters must have the axes (filter, channel, *support) with 1 to 3 support axes; "
                f"got shape {tuple(filters.shape)}"
            )
        if 0 in filters.shape:
            raise ValueError(f"filters must not be empty; got shape {tuple(filters.shape)}")
        checks.finite(filters, "filters")
        squares = to_numpy(_norms(filters)) ** 2
        vanished = np.flatnonzero(~((squares > np.finfo(squares.dtype).tiny) & np.isfinite(squares)))
        if len(vanished):
            raise ValueError(
                f"filters must not be zero, nor so small or large that ‖d‖² leaves the range of {filters.dtype}; "
                f"filter {vanished[0]} has ‖d‖² = {squares[vanished[0]]:g}"
            )
        self.filters = filters if is_torch(filters) else namespace(filters).asarray(filters, copy=True)
        self.provenance = dict(provenance or {})

    n_filters = property(lambda self: self.filters.shape[0], doc="Number of filters M.")
    channels = property(lambda self: self.filters.shape[1], doc="Number of channels C.")
    support = property(lambda self: tuple(self.filters.shape[2:]), doc="Shape of a filter's support.")
    dtype = property(lambda self: self.filters.dtype, doc="dtype of the filters.")

    def __repr__(self) -> str:
        size = "×".join(str(n) for n in self.support)
        return f"ConvDictionary({self.n_filters} filters of {size}, channels={self.channels}, {self.dtype})"

    def norms(self) -> Array:
        """Norms ‖d_m‖₂ of the filters, (M,)."""
        return _norms(self.filters)

    def normalized(self) -> ConvDictionary:
        """A copy whose filters have unit norm."""
        norms = self.norms()
        scaled = self.filters / namespace(norms).reshape(norms, (-1,) + (1,) * (self.filters.ndim - 1))
        return ConvDictionary(scaled, self.provenance)

    @classmethod
    def joined(cls, *parts: ConvDictionary | Array) -> ConvDictionary:
        r"""One dictionary of several, whose supports may differ: smaller ones are filled up with zeros at their end.

        Parameters
        ----------
        *parts : ConvDictionary or array (M, C, \*support)
            Of as many channels and axes, one array library and dtype.
        """
        if not parts:
            raise ValueError("parts must not be empty")
        filters = [part.filters if isinstance(part, ConvDictionary) else cls(part).filters for part in parts]
        kinds = {(f.ndim, int(f.shape[1]), str(f.dtype)) for f in filters}
        if len(kinds) > 1:
            raise ValueError(f"parts must have one number of axes and channels, and one dtype; got {sorted(kinds)}")
        support = tuple(max(f.shape[axis] for f in filters) for axis in range(2, filters[0].ndim))
        xp = namespace(*filters)
        return cls(xp.concat([pad(f, support, (0,) * len(support)) for f in filters], axis=0))

    @classmethod
    def product(cls, filters: ConvDictionary | Array, channels: Any) -> ConvDictionary:
        r"""The product dictionary D X Bᵀ: filter m · J + j is d_m in the colour b_j, d_m ⊗ b_j.

        Codes X have a map for each pair of a filter and a colour, and the image's channel c is Σ_mj B_cj d_m * x_mj.
        Norms are ‖d_m‖ ‖b_j‖. ``GroupL1(lam, mu, np.repeat(np.arange(M), J))`` couples the colours of a filter.

        Parameters
        ----------
        filters : ConvDictionary or array (M, 1, \*support)
            d_m, of one channel.
        channels : array, (C, J)
            B, a colour b_j in each column; real, cast to the filters' dtype.

        Raises
        ------
        TypeError, ValueError
            If filters have several channels, or B is not real, finite and (C, J), or has a zero column.

        Source: Garcia-Cardona and Wohlberg 2018 (Convolutional dictionary learning for multi-channel signals); SPORCO's
        ``ConvProdDictBPDN``.
        """
        base = filters if isinstance(filters, ConvDictionary) else cls(filters)
        if base.channels != 1:
            raise ValueError(f"filters must have one channel, (M, 1, *support); got shape {tuple(base.filters.shape)}")
        colours = to_numpy(channels) if is_array(channels) else np.asarray(channels)
        if colours.dtype.kind not in "fiu":
            raise TypeError(f"channels must be real; got {colours.dtype}")
        if colours.ndim != 2 or 0 in colours.shape:
            raise ValueError(f"channels must be (C, J), a colour a column, and not empty; got shape {colours.shape}")
        if not np.isfinite(colours).all() or not colours.any(axis=0).all():
            raise ValueError("channels must be finite and have no zero column")
        xp, support = namespace(base.filters), (1,) * len(base.support)
        turned = asarray_like(np.ascontiguousarray(colours.T), base.filters, base.dtype)
        pairs = base.filters[:, None, ...] * xp.reshape(turned, (1, *turned.shape, *support))
        return cls(xp.reshape(pairs, (-1, colours.shape[0], *base.support)))

    def with_impulse(self) -> ConvDictionary:
        """The dictionary and one more filter for each channel, 1 at its origin: its map is an image itself.

        With `GradientL1` the impulse may have λ = 0, and its map then takes the smooth part of the image.
        """
        xp = namespace(self.filters)
        eye = xp.eye(self.channels, dtype=self.dtype, device=device(self.filters))
        impulses = xp.reshape(eye, (self.channels, self.channels) + (1,) * len(self.support))
        return ConvDictionary.joined(self, impulses)

    def operator(
        self, space: tuple[int, ...], boundary: str = "circular", channels: int | None = None, like: Array = None
    ) -> Synthesis:
        """The convolution operator D for images of `space` (see `Synthesis`)."""
        return Synthesis(self.filters, space, boundary, self.channels if channels is None else channels, like)

    def synthesize(self, codes: Array | SparseCodes, boundary: str = "circular") -> Array:
        r"""The image Σ_m d_m * x_m of codes (batch, M, \*code space), shape (batch, C, \*space).

        Codes of C·M maps belong to a single-channel dictionary on C channels, channel-major.
        """
        sparse = isinstance(codes, SparseCodes)
        if sparse and not is_numpy(self.filters):
            kind = type(self.filters)
            told = f"{kind.__module__}.{kind.__qualname__}"
            raise TypeError(f"sparse codes need filters in a NumPy array (`to_numpy` makes one); got {told}")
        if not sparse:
            codes = checks.floating(codes, "codes")
        if len(codes.shape) != self.filters.ndim or codes.shape[1] % self.n_filters:
            raise ValueError(
                f"codes must be (batch, maps, *code space) with {len(self.support)} spatial axes and a multiple of "
                f"{self.n_filters} maps; got shape {tuple(codes.shape)}"
            )
        synthesis = Synthesis.of_codes(self.filters, codes, boundary)
        return synthesis.apply_sparse(codes) if sparse else synthesis.apply(codes)

    def analyze(self, image: Array, boundary: str = "circular") -> Array:
        r"""The adjoint of `synthesize`: correlations of an image (batch, C, \*space) with all filters."""
        return self.operator(tuple(image.shape[2:]), boundary, image.shape[1], image).adjoint(image)

    def lipschitz(self, space: tuple[int, ...], boundary: str = "circular") -> float:
        """‖D‖², the largest eigenvalue of DᴴD over all frequencies; exact for a circular boundary."""
        return self.operator(space, boundary).lipschitz

    @classmethod
    def load(cls, source: str | Path) -> ConvDictionary:
        """Load a dictionary shipped with cscopt by its name, or one of your own by its path.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such name or file, or it is not a dictionary that this version reads.
        """
        from cscopt import io

        filters, provenance = io.load_dictionary(source)
        try:
            return cls(filters, provenance)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{source} holds no usable dictionary: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write filters and provenance as a safetensors file, complete or not at all."""
        from cscopt import io

        io.save_dictionary(path, to_numpy(self.filters), self.provenance)

    @classmethod
    def from_sporco(cls, filters: Any, channels: bool = False) -> ConvDictionary:
        r"""From SPORCO's layout: (\*support, M), or (\*support, C, M) where `channels` is true."""
        array = np.asarray(filters)
        if not channels:
            array = array[..., None, :]
        if not 3 <= array.ndim <= 5:
            raise ValueError(
                f"SPORCO's filters must be (*support, {'C, ' if channels else ''}M); got shape {np.shape(filters)}"
            )
        return cls(np.ascontiguousarray(np.moveaxis(array, (-1, -2), (0, 1))))

    def to_sporco(self) -> np.ndarray[Any, Any]:
        r"""Filters in SPORCO's layout, (\*support, M), or (\*support, C, M) for several channels."""
        array = np.moveaxis(to_numpy(self.filters), (0, 1), (-1, -2))
        return np.ascontiguousarray(array[..., 0, :] if self.channels == 1 else array)


def _norms(filters: Array) -> Array:
    xp = namespace(filters)
    return xp.sqrt(xp.sum(filters * filters, axis=tuple(range(1, filters.ndim))))
