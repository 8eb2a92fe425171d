"""A forward operator that is a convolution, absorbed by the filters: A Σ d_m * x_m = Σ (h * d_m) * x_m."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from cscopt.backend import Array, is_complex, is_numpy
from cscopt.datafit.layout import ones
from cscopt.problem import CSCProblem

_LEAST, _MOST = 1e-6, 1e6  # ‖h‖ of kernels that may be absorbed: filters are checked for their size
_known: WeakKeyDictionary[CSCProblem, CSCProblem] = WeakKeyDictionary()
_siblings: WeakKeyDictionary[Any, CSCProblem] = WeakKeyDictionary()
"""Twins by the data term, which problems of other penalties share: with their spectra."""


def absorbed_support(problem: CSCProblem) -> tuple[int, ...] | None:
    """Support of the filters h * d_m, where `absorbed` serves; else None."""
    blur = None if problem.forward is None else problem.forward.convolution
    if blur is None or problem.boundary != "circular" or not is_numpy(problem.signal):
        return None
    if problem.synthesis.real and is_complex(problem.signal):  # A D x is real, and y is not
        return None
    if not _LEAST < np.linalg.norm(blur[0]) < _MOST:
        return None
    pairs = zip(blur[0].shape, problem.dictionary.support, strict=True)
    support = tuple(k + own - 1 for k, own in pairs)
    return support if all(k <= n for k, n in zip(support, problem.synthesis.space, strict=True)) else None


def absorbed(problem: CSCProblem) -> CSCProblem:
    """The same problem of the same codes without A, with filters h * d_m and weights 0 where A sees nothing."""
    if problem.forward is None:
        return problem
    if problem not in _known:
        sibling = _siblings.get(problem.datafit)
        twin = _absorbed(problem) if sibling is None else sibling.with_penalty(problem.penalty)
        _known[problem] = _siblings[problem.datafit] = twin
    return _known[problem]


def _absorbed(problem: CSCProblem) -> CSCProblem:
    support, forward = absorbed_support(problem), problem.forward
    if support is None or forward is None or forward.convolution is None:
        raise ValueError("the forward operator is no convolution that filters can absorb")
    kernel, first = forward.convolution
    axes = tuple(range(-len(support), 0))
    spectrum = np.fft.rfftn(problem.dictionary.filters, support, axes) * np.fft.rfftn(kernel, support, axes)
    larger = np.fft.irfftn(spectrum, support, axes).astype(problem.real)
    space, mask = problem.synthesis.space, problem.mask
    if mask is None and problem.signal.shape[2:] != space:
        mask = ones(problem.signal[:1, :1])
    if mask is not None:
        mask = _placed(np.broadcast_to(mask, (*mask.shape[:2], *problem.signal.shape[2:])), space, first)
    return CSCProblem(_placed(problem.signal, space, first), larger, problem.penalty, mask=mask)


def _placed(data: Array, space: tuple[int, ...], first: tuple[int, ...]) -> Array:
    """Data on a torus, from the pixel `first` on, and zero where there are none."""
    border = [(0, n - seen) for n, seen in zip(space, data.shape[2:], strict=True)]
    whole = np.pad(data, [(0, 0), (0, 0), *border])
    return np.roll(whole, first, axis=tuple(range(2, whole.ndim)))
