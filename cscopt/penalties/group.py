"""Joint sparsity: groups of coefficients at one position are zero together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cscopt.backend import Array, asarray_like, is_array, namespace, real_dtype, to_numpy
from cscopt.kernels.entrywise import is_compiled, per_batch
from cscopt.kernels.reference import soft_threshold
from cscopt.penalties.base import Penalty, best_scale, over_items, positive_number, scaled_dual, squared, total


@dataclass(frozen=True, eq=False)
class GroupL1(Penalty):
    r"""g(x) = Σ Λ|x| + μ Σ_g ‖x_g‖₂: the ℓ2,1 norm of groups of maps, with an ℓ1 norm inside.

    A group is the coefficients that maps of one label have at one position.

    Parameters
    ----------
    lam : float or array
        Λ ≥ 0 of the ℓ1 norm, as in `L1`; 0 is the group norm alone.
    mu : float
        μ > 0.
    groups : array of int (maps,), optional
        Label of each map. By default the maps of one filter over all channels of a signal that are coded on their own
        (SPORCO's ``ConvBPDNJoint``).

    Notes
    -----
    The proximal map is a soft threshold, then (1 − tμ/‖·‖₂)₊ of each group (Simon, Friedman, Hastie and Tibshirani
    2013, eq. 12). Dual constraint: ‖S_Λ((DᴴAᴴWᴴθ)_g)‖₂ ≤ μ for each group.
    """

    mu: float = 1.0
    groups: Any = None

    def __post_init__(self) -> None:
        self._check_lam(zero=True)
        object.__setattr__(self, "mu", positive_number(self.mu, "mu"))
        if self.groups is not None:
            labels = to_numpy(self.groups) if is_array(self.groups) else None
            if labels is None or labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iu":
                raise TypeError("groups must be an array of integers, one label a map")

    def repeated(self, n_filters: int, groups: int) -> GroupL1:
        """With the labels of all maps, and λ for all channels."""
        maps = n_filters * groups
        labels = np.tile(np.arange(n_filters), groups)
        if self.groups is not None:
            labels = np.unique(to_numpy(self.groups), return_inverse=True)[1]
            if len(labels) not in (maps, n_filters):
                raise ValueError(f"groups must have one label for each of {maps} maps; got {len(labels)}")
            labels = labels if len(labels) == maps else np.tile(labels, groups)
        return replace(super().repeated(n_filters, groups), groups=labels)

    def value(self, codes: Array) -> Array:
        """g(x) of each item, (batch,), in float64."""
        xp = namespace(codes)
        lam = self.resolve(tuple(codes.shape), codes)
        if is_compiled(codes):
            from cscopt.kernels import groups

            return groups.value(codes, lam, self._labels(codes), self.mu)
        return total(lam * xp.abs(codes)) + self.mu * total(self._norms(codes))

    def prox(self, v: Array, step_size: float | Array = 1.0) -> Array:
        """argmin over x of ½‖x − v‖² + step_size · g(x)."""
        xp, steps = namespace(v), per_batch(step_size, v)
        if steps is not None:
            from cscopt.kernels import groups

            return groups.prox(v, self.resolve(v.shape, v), self._labels(v), self.mu, steps)
        kept = soft_threshold(v, step_size * self.resolve(tuple(v.shape), v))
        norms = self._norms(kept)
        positive = norms > 0
        share = 1 - step_size * self.mu / xp.where(positive, norms, xp.ones_like(norms))
        share = xp.where(positive & (share > 0), share, xp.zeros_like(share))
        return kept * xp.take(share, self._labels(v), axis=1)

    def zero_violation(self, correlations: Array) -> Array:
        """max_g ‖S_Λ(c_g)‖ / μ of each item: codes are zero exactly where it is ≤ 1."""
        lam = self.resolve(tuple(correlations.shape), correlations)
        norms = self._norms(soft_threshold(correlations, lam))
        xp = namespace(norms)
        return xp.astype(xp.max(norms, axis=over_items(norms)), xp.float64) / self.mu

    def dual(self, correlations: Array, norm_sq: Array, overlap: Array) -> Array:
        """The better of two feasible multiples of r, from s = 1 (right at the optimum) and from the free best.

        With n = max_g ‖S_Λ(s c_g)‖ > μ, s μ/n is feasible: S_Λ is convex and zero at zero.
        """
        xp, free = namespace(correlations), best_scale(norm_sq, overlap)
        lam = self.resolve(tuple(correlations.shape), correlations)
        best = xp.zeros_like(free)
        for scale in (xp.minimum(free, xp.ones_like(free)), free):
            shaped = xp.reshape(xp.astype(scale, real_dtype(correlations)), (-1,) + (1,) * (correlations.ndim - 1))
            norms = self._norms(soft_threshold(shaped * correlations, lam))
            worst = xp.astype(xp.max(norms, axis=over_items(norms)), xp.float64) / self.mu
            feasible = scale / xp.maximum(xp.ones_like(free), worst)
            best = xp.maximum(best, scaled_dual(feasible, norm_sq, overlap))
        return best

    def _labels(self, like: Array) -> Array:
        labels = np.arange(like.shape[1])
        if self.groups is not None:
            labels = np.unique(to_numpy(self.groups), return_inverse=True)[1]
            if len(labels) != like.shape[1]:
                raise ValueError(f"groups must have one label for each of {like.shape[1]} maps; got {len(labels)}")
        return asarray_like(np.asarray(labels, dtype=np.int64), like, namespace(like).int64)

    def _norms(self, codes: Array) -> Array:
        r"""‖x_g‖₂, (batch, groups, \*space)."""
        xp = namespace(codes)
        labels = self._labels(codes)
        squares = squared(codes)
        count = int(xp.max(labels)) + 1
        if count == codes.shape[1]:  # a group each, in any order of labels
            return xp.sqrt(xp.take(squares, xp.argsort(labels), axis=1))
        member = xp.astype(labels[None, :] == xp.arange(count, device=labels.device)[:, None], squares.dtype)
        return xp.sqrt(xp.moveaxis(xp.tensordot(member, squares, axes=((1,), (1,))), 0, 1))
