"""Linear operators: apply, adjoint, norm, sums, products, and the dot test that holds them to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import Array, asarray_like, is_complex, namespace, to_numpy

Shape = tuple[int, ...]


class LinearOperator:
    """A linear map A of each item of a batch, with its adjoint Aᴴ.

    A subclass gives `apply` and `adjoint`; `A @ B` composes, `A + B` adds, `2 * A` scales, `A.H` is
    the adjoint operator.

    Parameters
    ----------
    input_shape, output_shape : tuple of int
        Shapes of one item, without the batch axis.
    norm : float, optional
        Spectral norm of A, or an upper bound; None where unknown.
    """

    def __init__(self, input_shape: Shape, output_shape: Shape, norm: float | None = None) -> None:
        self.input_shape = checks.extents(input_shape, "input_shape")
        self.output_shape = checks.extents(output_shape, "output_shape")
        self._norm = norm

    @property
    def norm(self) -> float | None:
        """Spectral norm of A or an upper bound of it; None where unknown."""
        return self._norm

    def apply(self, x: Array) -> Array:
        """A x for a batch (batch, *input_shape)."""
        raise TypeError(f"{type(self).__name__} does not define apply")

    def adjoint(self, y: Array) -> Array:
        """Aᴴ y for a batch (batch, *output_shape)."""
        raise TypeError(f"{type(self).__name__} does not define adjoint")

    def take(self, items: Array) -> LinearOperator:
        """The operator of some items of the batch; itself, where all items share one."""
        return self

    def response(self, like: Array) -> Array | None:
        r"""h where A is diagonal in the frequency domain, up to a unitary map of the data; else None.

        Then ‖y − A x‖² = Σ_ω |ŷ − h x̂|² / n with x̂ the discrete Fourier transform of an image of `like`'s kind (half a
        spectrum where it is real), ŷ from `spectrum_of`, and n pixels: solvers work there, at no cost for A.
        """
        return None

    @property
    def convolution(self) -> tuple[Any, tuple[int, ...]] | None:
        r"""(h, first) where A is the convolution with h, (\*support), on a torus, seen from the pixel `first` on.

        (A x)(p) = Σ_t h(t) x(p + first − t) of each channel, h real: filters can absorb it. None for other operators.
        """
        return None

    def spectrum_of(self, y: Array) -> Array:
        """ŷ of data, where `response` is not None."""
        raise TypeError(f"{type(self).__name__} does not define spectrum_of")

    def __call__(self, x: Array) -> Array:
        return self.apply(x)

    @property
    def H(self) -> LinearOperator:
        """The adjoint operator Aᴴ."""
        return FunctionOperator(self.adjoint, self.apply, self.output_shape, self.input_shape, self.norm)

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        if not isinstance(other, LinearOperator):
            return NotImplemented
        return _Product(self, other)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        if not isinstance(other, LinearOperator):
            return NotImplemented
        return _Sum(self, other)

    def __rmul__(self, factor: complex) -> LinearOperator:
        if not isinstance(factor, int | float | complex):
            return NotImplemented
        return _Scaled(factor, self)

    def as_linear_operator(self, dtype: Any = None) -> Any:
        """`scipy.sparse.linalg.LinearOperator` of one flattened item (NumPy).

        Its dtype is by default what A makes of float64; where that is complex, A takes complex vectors alone.
        """
        from scipy.sparse.linalg import LinearOperator as SciPyOperator

        kind = np.dtype(self.apply(np.zeros((1, *self.input_shape))).dtype if dtype is None else dtype)
        least = np.complex64 if kind.kind == "c" else np.float32

        def run(function: Callable[[Array], Array], shape: Shape, vector: Any) -> Any:
            item = np.asarray(vector).reshape((1, *shape))
            return to_numpy(function(item.astype(np.result_type(item, least), copy=False))).reshape(-1)

        return SciPyOperator(
            (math.prod(self.output_shape), math.prod(self.input_shape)),
            matvec=lambda x: run(self.apply, self.input_shape, x),
            rmatvec=lambda y: run(self.adjoint, self.output_shape, y),
            dtype=kind,
        )


class FunctionOperator(LinearOperator):
    """A linear operator from two functions of a batch: x ↦ A x and y ↦ Aᴴ y."""

    def __init__(
        self,
        apply: Callable[[Array], Array],
        adjoint: Callable[[Array], Array],
        input_shape: Shape,
        output_shape: Shape,
        norm: float | None = None,
    ) -> None:
        super().__init__(input_shape, output_shape, norm)
        for name, function in (("apply", apply), ("adjoint", adjoint)):
            if not callable(function):
                raise TypeError(f"{name} must be a function of a batch; got {function!r:.60}")
        self._apply, self._adjoint = apply, adjoint

    def apply(self, x: Array) -> Array:
        return self._apply(x)

    def adjoint(self, y: Array) -> Array:
        return self._adjoint(y)


def from_scipy(operator: Any, input_shape: Shape, output_shape: Shape, norm: float | None = None) -> LinearOperator:
    """A `LinearOperator` from SciPy's, or from a matrix, acting on flattened items (NumPy).

    Raises
    ------
    ValueError
        If the matrix shape does not fit the item shapes.
    TypeError
        If it is neither a matrix nor SciPy's operator.
    """
    from scipy.sparse.linalg import aslinearoperator

    try:
        matrix = aslinearoperator(operator)
    except TypeError:
        kind = type(operator).__name__
        raise TypeError(f"operator must be a matrix or a scipy.sparse.linalg.LinearOperator; got {kind}") from None
    input_shape, output_shape = checks.extents(input_shape, "input_shape"), checks.extents(output_shape, "output_shape")
    wanted = (math.prod(output_shape), math.prod(input_shape))
    if matrix.shape != wanted:
        raise ValueError(
            f"operator has shape {matrix.shape}, but items of {input_shape} and {output_shape} need {wanted}"
        )

    def columns(product: Callable[[Any], Any], shape: Shape) -> Callable[[Any], Any]:
        return lambda x: product(x.reshape((len(x), -1)).T).T.reshape((len(x), *shape))

    return FunctionOperator(
        columns(matrix.matmat, output_shape),
        columns(matrix.rmatmat, input_shape),
        input_shape,
        output_shape,
        norm,
    )


def inner(a: Array, b: Array) -> float | complex:
    """⟨a, b⟩ = Σ conj(a) b over all entries, in double precision."""
    xp = namespace(a, b)
    if is_complex(a) or is_complex(b):
        a, b = xp.astype(a, xp.complex128, copy=False), xp.astype(b, xp.complex128, copy=False)
        return complex(xp.sum(xp.conj(a) * b))
    return float(xp.sum(xp.astype(a, xp.float64, copy=False) * xp.astype(b, xp.float64, copy=False)))


def dot_test(operator: LinearOperator, x: Array | None = None, y: Array | None = None) -> float:
    """|⟨A x, y⟩ − ⟨x, Aᴴ y⟩| / (‖A x‖ ‖y‖) for batches x and y; the real part where x is real.

    Parameters
    ----------
    operator : LinearOperator
        A.
    x : array, (batch, *input shape), optional
        Noise in float64 (NumPy), the same at each call, if absent.
    y : array, (batch, *output shape), optional
        Noise of the kind of A x if absent.

    Returns
    -------
    float
        About the precision of the arrays where `adjoint` is that of `apply`.

    Raises
    ------
    TypeError, ValueError
        If `operator` is none, or an array is not of its shape.
    """
    if not isinstance(operator, LinearOperator):
        raise TypeError(f"operator must be a LinearOperator; got {type(operator).__name__}")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, *operator.input_shape)) if x is None else x
    x = checks.batch_of(x, operator.input_shape, "x")
    image = operator.apply(x)
    if y is None:
        noise = rng.standard_normal((2, *image.shape))
        y = asarray_like(noise[0] + 1j * noise[1] if is_complex(image) else noise[0], image, image.dtype)
    y = checks.batch_of(y, operator.output_shape, "y")
    return mismatch(x, y, image, operator.adjoint(y))


def mismatch(x: Array, y: Array, image: Array, back: Array) -> float:
    """What `dot_test` gives, from image = A x and back = Aᴴ y."""
    left, right = inner(y, image), inner(back, x)
    off = abs(left - right) if is_complex(x) else abs(complex(left).real - complex(right).real)
    size = math.sqrt(abs(inner(image, image)) * abs(inner(y, y)))
    return float(off / size) if size > 0 else float(off)


class _Product(LinearOperator):
    """A B."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if outer.input_shape != inner.output_shape:
            raise ValueError(
                f"cannot compose: the right operator gives {inner.output_shape}, the left one takes {outer.input_shape}"
            )
        norm = None if outer.norm is None or inner.norm is None else outer.norm * inner.norm
        super().__init__(inner.input_shape, outer.output_shape, norm)
        self.outer, self.inner = outer, inner

    def apply(self, x: Array) -> Array:
        return self.outer.apply(self.inner.apply(x))

    def adjoint(self, y: Array) -> Array:
        return self.inner.adjoint(self.outer.adjoint(y))

    def take(self, items: Array) -> LinearOperator:
        return _Product(self.outer.take(items), self.inner.take(items))


class _Sum(LinearOperator):
    """A + B."""

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        shapes = (first.input_shape, first.output_shape), (second.input_shape, second.output_shape)
        if shapes[0] != shapes[1]:
            raise ValueError(f"cannot add operators of shapes {shapes[0]} and {shapes[1]}")
        norm = None if first.norm is None or second.norm is None else first.norm + second.norm
        super().__init__(*shapes[0], norm)
        self.first, self.second = first, second

    def apply(self, x: Array) -> Array:
        return self.first.apply(x) + self.second.apply(x)

    def adjoint(self, y: Array) -> Array:
        return self.first.adjoint(y) + self.second.adjoint(y)

    def take(self, items: Array) -> LinearOperator:
        return _Sum(self.first.take(items), self.second.take(items))


class _Scaled(LinearOperator):
    """c A."""

    def __init__(self, factor: complex, operator: LinearOperator) -> None:
        norm = None if operator.norm is None else abs(factor) * operator.norm
        super().__init__(operator.input_shape, operator.output_shape, norm)
        self.factor, self.operator = factor, operator

    def apply(self, x: Array) -> Array:
        return self.factor * self.operator.apply(x)

    def adjoint(self, y: Array) -> Array:
        factor = self.factor.conjugate() if isinstance(self.factor, complex) else self.factor
        return factor * self.operator.adjoint(y)

    def take(self, items: Array) -> LinearOperator:
        return _Scaled(self.factor, self.operator.take(items))
