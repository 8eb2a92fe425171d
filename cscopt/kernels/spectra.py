"""Compiled steps on the spectra of images, in place: all that ADMM, FISTA and ISTA do between two sweeps.

Spectra are (rows, channels, *frequencies). `counts` says how often each frequency of the last axis counts in a sum over
all: a half spectrum holds once what a whole one holds twice. Every line of the last axis is summed by itself, so that
the number of threads changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cscopt.kernels.pool import each_row
from cscopt.kernels.scalars import BLOCK, compiled, complex_of, dot, square

_SHARED = 1 << 15


def descend(spectrum: Any, target: Any, counts: Any) -> tuple[Any, Any]:
    """spectrum ← spectrum − target, and for each row ‖target − spectrum‖² and Re⟨target, target − spectrum⟩."""
    image, goal = _lines(spectrum), _lines(target)

    def work(row: int, lines: slice, sums: Any) -> None:
        _descend(image[row, :, lines], goal[row, :, lines], counts, sums)

    return image.reshape(spectrum.shape), _summed(image, work)


def correct(spectrum: Any, target: Any, gram: tuple[Any, Any], shift: Any, counts: Any) -> tuple[Any, Any]:
    """spectrum ← r = (D Dᴴ + shift)⁻¹ (target − spectrum), and for each row ‖r‖² and Re⟨target, r⟩.

    `gram` are eigenvalues (channels, *frequencies) of D Dᴴ and eigenvectors (*frequencies, channels, channels), or None
    for one channel; `shift` is (rows,).
    """
    image, goal = _lines(spectrum), _lines(target)
    values = gram[0].reshape(image.shape[1:])
    vectors = None if gram[1] is None else gram[1].reshape((*values.shape[1:], *gram[1].shape[-2:]))

    def work(row: int, lines: slice, sums: Any) -> None:
        if vectors is None:
            _divide(image[row, 0, lines], goal[row, 0, lines], values[0, lines], shift[row], counts, sums)
        else:
            some = image[row, :, lines], goal[row, :, lines], values[:, lines], vectors[lines]
            _solve(*some, shift[row], counts, sums)

    return image.reshape(spectrum.shape), _summed(image, work)


def _lines(spectrum: Any) -> Any:
    """(rows, channels, lines, frequencies of the last axis)."""
    return spectrum.reshape((*spectrum.shape[:2], math.prod(spectrum.shape[2:-1]), spectrum.shape[-1]))


def _summed(image: Any, work: Callable[[int, slice, Any], None]) -> Any:
    """`work` on each row and spans of its lines; its two sums of each row, (2, rows)."""
    rows, _, lines, _ = image.shape
    sums = np.zeros((rows, lines, 2))
    if image.size < _SHARED:
        for row in range(rows):
            work(row, slice(lines), sums[row])
    else:
        each_row(rows, lines, lambda row, span: work(row, span, sums[row, span]))
    return sums.sum(axis=1).T


@compiled
def _descend(image: Any, goal: Any, counts: Any, sums: Any) -> None:
    for c in range(image.shape[0]):
        for line in range(image.shape[1]):
            for b in range(0, counts.size, BLOCK):
                e = b + BLOCK
                norm, overlap = _descend_block(image[c, line, b:e], goal[c, line, b:e], counts[b:e])
                sums[line, 0] += norm
                sums[line, 1] += overlap


@compiled
def _descend_block(image: Any, goal: Any, counts: Any) -> Any:
    norm = counts[0] - counts[0]
    overlap = norm
    for i in range(counts.size):
        rest = goal[i] - image[i]
        norm += counts[i] * square(rest)
        overlap += counts[i] * dot(goal[i], rest)
        image[i] = -rest
    return norm, overlap


@compiled
def _divide(image: Any, goal: Any, values: Any, shift: Any, counts: Any, sums: Any) -> None:
    for line in range(image.shape[0]):
        for b in range(0, counts.size, BLOCK):
            e = b + BLOCK
            norm, overlap = _divide_block(image[line, b:e], goal[line, b:e], values[line, b:e], shift, counts[b:e])
            sums[line, 0] += norm
            sums[line, 1] += overlap


@compiled
def _divide_block(image: Any, goal: Any, values: Any, shift: Any, counts: Any) -> Any:
    norm = counts[0] - counts[0]
    overlap = norm
    one = counts[0] / counts[0]
    for i in range(counts.size):
        factor = one / (values[i] + shift)
        rest = goal[i] - image[i]
        found = complex_of(rest.real * factor, rest.imag * factor, rest)
        norm += counts[i] * square(found)
        overlap += counts[i] * dot(goal[i], found)
        image[i] = found
    return norm, overlap


@compiled
def _solve(image: Any, goal: Any, values: Any, vectors: Any, shift: Any, counts: Any, sums: Any) -> None:
    """V (E + shift)⁻¹ Vᴴ (goal − image) at each frequency, V its eigenvectors and E its eigenvalues."""
    turned = np.empty(image.shape[0], image.dtype)
    for line in range(image.shape[1]):
        for i in range(counts.size):
            basis = vectors[line, i]
            for k in range(turned.size):
                turned[k] = goal[k, line, i] - goal[k, line, i]
                for c in range(turned.size):
                    turned[k] += basis[c, k].conjugate() * (goal[c, line, i] - image[c, line, i])
                turned[k] /= values[k, line, i] + shift
            for c in range(turned.size):
                found = turned[0] - turned[0]
                for k in range(turned.size):
                    found += basis[c, k] * turned[k]
                image[c, line, i] = found
                sums[line, 0] += counts[i] * square(found)
                sums[line, 1] += counts[i] * dot(goal[c, line, i], found)
