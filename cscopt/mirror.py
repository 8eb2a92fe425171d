"""Half-sample symmetric extension of the spatial axes, and its adjoint, by operations that torch can differentiate."""

from __future__ import annotations

from cscopt.backend import Array, device, namespace, real_dtype

Extents = tuple[int, ...]


class Mirror:
    r"""E: images (…, …, \*space) ↦ images that go on as their mirror image, x₁ x₀ | x₀ x₁.

    Parameters
    ----------
    space, before, after : tuple of int
        Extents of the image, and by how much it goes on before and after, at most once its length.
    """

    def __init__(self, space: Extents, before: Extents, after: Extents) -> None:
        self.space, self.before, self.after = space, before, after

    @classmethod
    def around(cls, space: Extents, support: Extents) -> Mirror:
        """By half a support: convolved with atoms of that, the valid part has the image's size.

        An atom's index k // 2 then lies on its coefficient.
        """
        return cls(space, tuple(k - 1 - k // 2 for k in support), tuple(k // 2 for k in support))

    def extend(self, rows: Array) -> Array:
        """E x."""
        xp = namespace(rows)
        for axis, (low, n, high) in self._axes():
            ends = _part(rows, axis, 0, low), _part(rows, axis, n - high, n)
            rows = xp.concat([xp.flip(ends[0], axis=axis), rows, xp.flip(ends[1], axis=axis)], axis=axis)
        return rows

    def fold(self, rows: Array) -> Array:
        """Eᵀ: add to each entry what stands at its mirror images; what lies beyond the extension is left out."""
        xp = namespace(rows)
        for axis, (low, n, high) in self._axes():
            first = xp.flip(_part(rows, axis, 0, low), axis=axis)
            last = xp.flip(_part(rows, axis, low + n, low + n + high), axis=axis)
            rows = _part(rows, axis, low, low + n)
            rows = xp.concat([_part(rows, axis, 0, low) + first, _part(rows, axis, low, n)], axis=axis)
            rows = xp.concat([_part(rows, axis, 0, n - high), _part(rows, axis, n - high, n) + last], axis=axis)
        return rows

    def restrict(self, rows: Array) -> Array:
        """x from E x."""
        for axis, (low, n, _) in self._axes():
            rows = _part(rows, axis, low, low + n)
        return rows

    def copies(self, like: Array) -> Array:
        r"""How often each entry stands in E x, (1, 1, \*space): the diagonal of EᵀE."""
        one = namespace(like).ones((1, 1, *self.space), dtype=real_dtype(like), device=device(like))
        return self.fold(self.extend(one))

    def _axes(self) -> list[tuple[int, tuple[int, int, int]]]:
        return list(enumerate(zip(self.before, self.space, self.after, strict=True), start=2))


def _part(rows: Array, axis: int, begin: int, end: int) -> Array:
    return rows[(*(slice(None),) * axis, slice(begin, end), ...)]
