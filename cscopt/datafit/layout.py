"""Images of the data laid on the grid, and items taken from a batch."""

from __future__ import annotations

from cscopt.backend import Array, is_complex, namespace, real_dtype
from cscopt.linop import LinearOperator
from cscopt.synthesis import Synthesis, pad


def ones(signal: Array) -> Array:
    """Ones of the signal's shape, real."""
    return namespace(signal).ones(signal.shape, dtype=real_dtype(signal), device=signal.device)


def rows_of(synthesis: Synthesis, image: Array) -> Array:
    r"""An image (batch, channel, \*space) as rows (batch · groups, channels a map, \*space)."""
    return namespace(image).reshape(image, (-1, synthesis.channels // synthesis.groups, *synthesis.space))


def on_grid(synthesis: Synthesis, image: Array) -> Array:
    """The rows of an image on the grid, zero outside."""
    return pad(rows_of(synthesis, image), synthesis.grid, synthesis.offset)


def precise(array: Array, like: Array) -> Array:
    """An array, real or complex, in the precision of another: operators of one's own may compute in another."""
    xp = namespace(array)
    kind = xp.result_type(real_dtype(like), xp.complex64) if is_complex(array) else real_dtype(like)
    return xp.astype(array, kind, copy=False)


def applied(forward: LinearOperator | None, image: Array) -> Array:
    """A x."""
    return image if forward is None else precise(forward.apply(image), image)


def back_image(synthesis: Synthesis, forward: LinearOperator | None, data: Array) -> Array:
    """Aᴴ d, its real part for real codes."""
    image = data if forward is None else precise(forward.adjoint(data), data)
    return namespace(image).real(image) if synthesis.real and is_complex(image) else image


def back_projected(synthesis: Synthesis, forward: LinearOperator | None, data: Array) -> Array:
    """Spectrum of Aᴴ d, of its real part for real codes."""
    return synthesis.spectrum(back_image(synthesis, forward, data))


def taken(array: Array | None, items: Array) -> Array | None:
    """Some items of an array whose first axis is the batch, or 1 for all items."""
    return array if array is None or array.shape[0] == 1 else namespace(array).take(array, items, axis=0)
