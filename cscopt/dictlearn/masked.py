"""The quadratic of the filters where pixels have weights: no few moments tell it, so that codes are gone through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cscopt.codes import SparseCodes
from cscopt.dictlearn.moments import Quadratic
from cscopt.problem import CSCProblem
from cscopt.solvers.working_set import active_sets

if TYPE_CHECKING:
    from cscopt.kernels.sites import Sites


class MaskedMoments(Quadratic):
    r"""Σ_k ½‖W_k(y_k − Σ_m d_m * x_mk)‖² as a quadratic of the filters, with the methods of `Moments`.

    A d = Σ_k X_kᴴ W_k² X_k d takes a pass over the non-zeros of all images; of an image these and its weights are kept.

    Parameters
    ----------
    shape : tuple of int, (M, C, \*support)
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        self.items: list[tuple[Sites, Any, Any, Any]] = []
        self.data, self.energy, self.scales = np.zeros(self.shape), 0.0, np.zeros(self.shape[0])

    def add(self, problem: CSCProblem, codes: SparseCodes) -> None:
        """Take in a NumPy problem's images."""
        sites, (weights, targets) = problem.synthesis.sites, problem.datafit.on_grid
        self.energy += float(np.sum(problem.datafit.energy))
        for item, active in enumerate(active_sets(problem, codes)):
            rows = slice(item * problem.synthesis.groups, (item + 1) * problem.synthesis.groups)
            target, weight = (np.ascontiguousarray(a[rows]).reshape(-1) for a in (targets, weights))
            self.items.append((sites, active.keys, active.values, weight))
            self.data += self._patches(sites, target.astype(active.values.dtype), active.keys, active.values)
            maps = active.keys % self.shape[0]
            self.scales += np.bincount(maps, np.abs(active.values).astype(np.float64) ** 2, self.shape[0])

    def apply(self, filters: Any) -> Any:
        """A d."""
        total = np.zeros(self.shape)
        for sites, keys, values, weight in self.items:
            image = np.zeros(len(weight), values.dtype)
            placed = type(sites)(np.asarray(filters, values.real.dtype), sites.grid, sites.groups)
            placed.subtract(image, weight, keys, -values)
            total += self._patches(sites, image, keys, values)
        return total

    def curvature(self, scales: Any) -> float:
        """About the largest eigenvalue of S^(−½) A S^(−½), S = diag(scales), by power iteration."""
        root = np.sqrt(scales)[(slice(None),) + (None,) * (len(self.shape) - 1)]
        vector, largest = np.random.default_rng(0).standard_normal(self.shape), 0.0
        for _ in range(10):
            vector = self.apply(vector / root) / root
            largest = float(np.linalg.norm(vector))
            vector = vector / (largest or 1.0)
        return largest

    def _patches(self, sites: Sites, image: Any, keys: Any, values: Any) -> Any:
        from cscopt.kernels import moments

        return moments.patches(sites, image, keys, values).reshape(self.shape)
