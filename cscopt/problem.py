"""CSCProblem: one convolutional sparse coding problem, all of whose arguments are checked here, once."""

from __future__ import annotations

from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from cscopt import checks, fft, kernels
from cscopt.backend import Array, is_complex, is_numpy, namespace, real_dtype
from cscopt.datafit import Fit, data_term
from cscopt.datafit.fits import resolve
from cscopt.datafit.layout import rows_of
from cscopt.dictionary import ConvDictionary
from cscopt.inputs import (
    as_penalty,
    check_adjoint,
    check_energy,
    checked_mask,
    checked_signal,
    codes_are_real,
    image_shape,
    owned,
)
from cscopt.kernels import Levels, staged
from cscopt.levels import levels_of_codes, regularizer
from cscopt.linop import LinearOperator
from cscopt.penalties import L1, ElasticNet, GradientL1, Penalty
from cscopt.power import curvature
from cscopt.synthesis import Synthesis

_OF_PENALTY = ("zero_violation", "lipschitz", "code_levels")
_DERIVED = (*_OF_PENALTY, "curvature")


class CSCProblem:
    r"""minimise over x:  f(A Σ_m d_m * x_m) + g(x), with f(u) = ½‖W(y − u)‖² unless `fit` says otherwise.

    Parameters
    ----------
    signal : array, (batch, channel, \*space), or (batch, \*A.output_shape)
        The data y; floats, or integers, which become float32 with their values unchanged, in any byte order (as FITS
        files have it). Its library, device and dtype decide where and how the problem is solved. It is copied, as
        arrays of filters and the mask are, but for torch. Arrays of λ, which may be large, and a `ConvDictionary` are
        shared: a change in them needs a new problem.
    dictionary : ConvDictionary or array (M, C, \*support)
        The filters d_m.
    penalty : Penalty or float
        g; a number λ stands for ``L1(λ)``, and ``L1(λ) + TotalVariation(μ)`` is a sum.
    forward : LinearOperator, optional
        A, from images (channel, \*space) to data.
    mask : array, optional
        Non-negative weights W that broadcast against the signal.
    boundary : {"circular", "zero", "symmetric", "none"}, default "circular"
        See `Synthesis`.
    real_codes : bool, optional
        Real codes of complex data (needs `forward` or else ignores the imaginary part of y).
        By default codes are complex where the signal is, and real for a non-negative penalty.
    fit : {"l2", "l1"} or Fit, default "l2"
        f: `L2Fit`, ½‖W(y − u)‖²; `L1Fit`, ‖W(y − u)‖₁; or ``PoissonFit(background)``, Σ W (t − y + y log(y / t)) with
        t = u + b. ADMM serves all, but where `forward` is no convolution on a circular boundary: 'primal-dual' does.

    Attributes
    ----------
    codes_shape : tuple of int
        (batch, maps, \*code space).
    lambda_max : float
        From where all codes are zero.
    code_like : array
        An array of the library, device and dtype of the codes.

    Raises
    ------
    TypeError, ValueError
        One sentence naming the argument that does not fit.
    """

    def __init__(
        self,
        signal: Array,
        dictionary: ConvDictionary | Array,
        penalty: Penalty | float,
        forward: LinearOperator | None = None,
        mask: Array | None = None,
        boundary: str = "circular",
        real_codes: bool | None = None,
        fit: Fit | str = "l2",
    ) -> None:
        self.signal = owned(checked_signal(signal))
        self.dictionary = dictionary if isinstance(dictionary, ConvDictionary) else ConvDictionary(dictionary)
        self.penalty = as_penalty(penalty, self.signal)
        self.forward, self.boundary = forward, boundary
        self.mask = None if mask is None else owned(checked_mask(mask, self.signal))
        shape = image_shape(self.signal, forward, len(self.dictionary.support))
        if forward is not None:
            check_adjoint(forward, self.signal)
        real_codes = codes_are_real(real_codes, self.penalty, self.signal)
        xp = namespace(self.signal)
        like = xp.real(self.signal) if real_codes and is_complex(self.signal) else self.signal
        self.code_like = like[:1, ...]
        groups = shape[0] if self.dictionary.channels == 1 else 1
        self.penalty = self.penalty.repeated(self.dictionary.n_filters, groups)
        self.synthesis = Synthesis(self.dictionary.filters, shape[1:], boundary, shape[0], like)
        self.penalty = self.penalty.bound(self.synthesis)
        self.codes_shape = (self.signal.shape[0], *self.synthesis.codes_shape)
        self.fit = resolve(fit)
        self.datafit: Any = data_term(self.fit, self.signal, self.synthesis, forward, self.mask)
        with np.errstate(over="ignore"):
            check_energy(self.datafit.energy, self.signal, self.mask)
        self.levels: Any = regularizer(self.penalty, self.synthesis, self.batch, self.code_like)

    def __repr__(self) -> str:
        parts = [f"signal {tuple(self.signal.shape)} {self.signal.dtype}", str(self.dictionary)]
        parts += [type(self.penalty).__name__, f"boundary={self.boundary!r}"]
        parts += [] if self.forward is None else [f"forward={type(self.forward).__name__}"]
        return f"CSCProblem({', '.join(parts + ([] if self.mask is None else ['mask']))})"

    @property
    def system(self) -> Synthesis:
        """A D where A is diagonal in the frequency domain and nothing else leaves it, else D; see `datafit`."""
        return self.datafit.system

    @property
    def fused(self) -> bool:
        """Whether the penalty is one that the fused kernels know: ℓ1 alone."""
        return isinstance(self.levels, Levels) and not self.penalty.tail

    @cached_property
    def code_levels(self) -> Any:
        """`Levels` of codes by place, for the working set; None for penalties that are not ℓ1 entry by entry."""
        if self.fused or self.synthesis.mirror is None:
            return self.levels if self.fused else None
        return levels_of_codes(self.penalty, self.synthesis, self.batch, self.code_like)

    @property
    def kernels(self) -> ModuleType:
        """The sweeps that serve this penalty: fused ones for ℓ1, else those in stages."""
        return kernels.for_array(self.signal) if self.fused else staged

    @property
    def batch(self) -> int:
        """Number of items in the batch."""
        return int(self.signal.shape[0])

    @property
    def code_dtype(self) -> Any:
        """dtype of the codes."""
        return self.code_like.dtype

    @property
    def real(self) -> Any:
        """Real dtype of the problem's precision."""
        return real_dtype(self.signal)

    @cached_property
    def zero_violation(self) -> Array:
        """max |DᴴAᴴWᴴW y| / Λ of each item, (batch,): the codes are zero exactly where it is ≤ 1.

        For `GroupL1` its own measure; for penalties that are not convex nothing follows from it. For other fits than
        least squares, of minus the derivative of f at zero codes (0 where `L1Fit` has a corner: then zero if ≤ 1).
        """
        return self.worst(self.datafit.ascent_at_zero)

    def worst(self, ascent: Array) -> Array:
        """max |DᴴAᴴ p| / Λ of each item, (batch,), of the spectrum of Aᴴ p; see `Penalty.zero_violation`."""
        if isinstance(self.levels, Levels) or (self.code_levels is not None and is_numpy(ascent)):
            return self.items_max(self.violation(ascent))
        return self.penalty.zero_violation(self.correlations(ascent))

    @property
    def lambda_max(self) -> float:
        """Smallest λ for which all codes are zero; of an `L1Fit` to data with zeros, one for which they are.

        Where λ is an array, its largest entry stands for it: multiplying the array by
        ``lambda_max / lam.max()`` is what just makes all codes zero.

        Raises
        ------
        TypeError
            If the penalty is not one of `L1`, `ElasticNet` and `GradientL1`.
        ValueError
            If λ is 0 somewhere.
        """
        if not isinstance(self.penalty, L1 | ElasticNet | GradientL1):
            raise TypeError(
                f"lambda_max is of L1, ElasticNet and GradientL1; the penalty is {type(self.penalty).__name__}"
            )
        xp = namespace(self.signal)
        lam = self.penalty.resolve(self.codes_shape, self.code_like)
        if not bool(xp.all(lam > 0)):
            raise ValueError("lambda_max needs a positive lam for every filter")
        rounding = 1 + 16 * float(xp.finfo(self.real).eps)
        return float(xp.max(self.zero_violation)) * float(xp.max(lam)) * rounding

    @cached_property
    def lipschitz(self) -> Array | None:
        """Bound of ‖W A D‖² of each item, (batch,), exact for a circular problem; None if A's norm is unknown.

        Codes are those of the grid: with copies, a bound for codes is this times the most of them. A penalty's
        quadratic part adds its own norm.
        """
        norm = 1.0 if self.forward is None or self.datafit.folded else self.forward.norm
        if norm is None:
            return None
        bound = self.datafit.weight_norm**2 * (norm**2 * self.system.norm_sq)
        return bound + self.levels.peak if self.penalty.curved else bound

    @cached_property
    def curvature(self) -> Array:
        """Estimate of ‖W A D‖² of each item, (batch,), from below; of ‖A D‖² for other fits than least squares."""
        return curvature(self.datafit, self.synthesis, self.batch)

    def objective(self, codes: Array) -> Array:
        """f(A D x) + g(x) of each item, (batch,), in float64."""
        spectrum = self.system.synthesize(self.embed(codes))
        return self.datafit.value(spectrum) + self.penalty.value(codes)

    def gradient(self, codes: Array) -> Array:
        """Gradient of the data term, DᴴAᴴ∇f(A D x), in the codes' shape; DᴴAᴴWᴴW(A D x − y) for least squares."""
        return self.correlations(self.datafit.gradient(self.system.synthesize(self.embed(codes))))

    def correlations(self, ascent: Array) -> Array:
        """Dᴴ of an image's spectrum (of the data's, where A is folded in), in the codes' shape."""
        return self.synthesis.gather(kernels.for_array(ascent).analyze(ascent, self.system.filters))

    def embed(self, codes: Array) -> Array:
        """Check codes (batch, maps, *code space) and lay them on the grid as rows.

        Raises
        ------
        ValueError, TypeError
            If shape, library, device or values do not fit.
        """
        checks.an_array(codes, "codes")
        namespace(codes, self.signal)
        if tuple(codes.shape) != self.codes_shape:
            raise ValueError(f"codes must have shape {self.codes_shape}; got {tuple(codes.shape)}")
        checks.finite(codes, "codes")
        xp = namespace(codes)
        if is_complex(codes) and not xp.isdtype(self.code_dtype, "complex floating"):
            raise TypeError(f"codes must be real here; got {codes.dtype}")
        return self.synthesis.embed(xp.astype(codes, self.code_dtype, copy=False))

    def violation(self, ascent: Array) -> Array:
        """max |Dᴴ ascent| / Λ of each row, for a penalty that is ℓ1 entry by entry (NumPy) or has `Levels`."""
        if not is_numpy(ascent):
            return kernels.for_array(ascent).violation(ascent, self.system.filters, self.levels)
        if self.system.factor is not None:
            ascent = ascent * np.conj(self.system.factor)
        image = fft.inverse(ascent, self.synthesis.grid, self.synthesis.real)
        if self.synthesis.mirror is not None:
            image = rows_of(self.synthesis, self.synthesis.image(ascent))
        worst = self.synthesis.correlator.worst
        levels = self.levels if isinstance(self.levels, Levels) else self.code_levels
        return np.array([worst(image[r : r + 1], levels.of_rows(slice(r, r + 1))) for r in range(len(image))])

    def items_sum(self, rows: Array) -> Array:
        """Sum over the rows of each item."""
        return rows if self.synthesis.groups == 1 else namespace(rows).sum(self._by_item(rows), axis=1)

    def items_max(self, rows: Array) -> Array:
        """Maximum over the rows of each item."""
        return rows if self.synthesis.groups == 1 else namespace(rows).max(self._by_item(rows), axis=1)

    def per_row(self, items: Array) -> Array:
        """One number an item, in the problem's real dtype, repeated for its rows."""
        xp = namespace(items)
        return xp.repeat(xp.astype(items, self.real, copy=False), self.synthesis.groups)

    def take(self, items: Array) -> CSCProblem:
        """The problem of some items of the batch (unchecked: they were checked as part of the whole)."""
        xp = namespace(self.signal)
        new = object.__new__(CSCProblem)
        new.__dict__.update({k: v for k, v in self.__dict__.items() if k not in _DERIVED})
        new.signal = xp.take(self.signal, items, axis=0)
        new.codes_shape = (new.signal.shape[0], *self.codes_shape[1:])
        new.datafit = self.datafit.take(items)
        new.forward, new.mask = new.datafit.forward, new.datafit.mask
        new.penalty = self.penalty.take(items, len(self.codes_shape))
        new.levels = regularizer(new.penalty, self.synthesis, new.batch, self.code_like)
        return new

    def with_penalty(self, penalty: Penalty | float) -> CSCProblem:
        """The same problem with another penalty (a number λ stands for ``L1(λ)``); spectra are shared."""
        penalty = as_penalty(penalty, self.signal)
        new = object.__new__(CSCProblem)
        new.__dict__.update({k: v for k, v in self.__dict__.items() if k not in _OF_PENALTY})
        if penalty.nonnegative and not self.synthesis.real:
            raise ValueError("penalty must not be non-negative where codes are complex")
        new.penalty = penalty.repeated(self.dictionary.n_filters, self.synthesis.groups).bound(self.synthesis)
        new.levels = regularizer(new.penalty, self.synthesis, new.batch, self.code_like)
        return new

    def _by_item(self, rows: Array) -> Array:
        return namespace(rows).reshape(rows, (-1, self.synthesis.groups))


def check_problem(problem: Any) -> None:
    """Refuse what is not a problem."""
    if not isinstance(problem, CSCProblem):
        raise TypeError(f"problem must be a CSCProblem; got {type(problem).__name__}")
