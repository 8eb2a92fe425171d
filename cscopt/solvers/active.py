"""One item of a problem as a list of active coefficients: its residual, its certificate, and descent on the list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cscopt.certificate import dual_value
from cscopt.kernels import atoms
from cscopt.kernels.descent import descend
from cscopt.kernels.team import together
from cscopt.problem import CSCProblem
from cscopt.solvers.local_dual import local_scale

_MOMENTUM = 0.8


@dataclass(frozen=True)
class ActiveSet:
    """Coefficients of one item by sorted key (see `Sites`), and the keys proposed for the next iteration.

    Arrays are never changed in place, so that states may share them.
    """

    keys: Any
    values: Any
    proposed: Any


class Look(NamedTuple):
    """What one pass over all filters tells of an active set.

    Attributes
    ----------
    excess : float
        How far the set is from done: the relative gap that a dual point scaled by place would leave if scaling did
        all it should (see `local_dual`), at most the largest violation.
    cells : ndarray
        The worst violations by place (see `Correlator.pick`).
    """

    objective: float
    dual: float
    excess: float
    cells: Any


class Item:
    """One item of a problem on the grid.

    Attributes
    ----------
    target : ndarray, (groups · channels · pixels,)
        W² y.
    weight : ndarray or None
        W², where it is not one at every atom.
    unseen : float
        ‖W Im y‖² where codes are real and the signal is not.
    """

    def __init__(self, problem: CSCProblem, item: int) -> None:
        synthesis, fit = problem.synthesis, problem.datafit
        self.sites, self.correlator = synthesis.sites, synthesis.correlator
        weight, target = fit.on_sites
        groups, dtype = synthesis.groups, problem.code_dtype
        rows = slice(item * groups, (item + 1) * groups)
        self.shape = target[rows].shape
        self.target = np.ascontiguousarray(target[rows], dtype).reshape(-1)
        self.weight = None
        if problem.mask is not None or synthesis.boundary == "none":  # else it is one wherever an atom may be
            self.weight = np.ascontiguousarray(weight[rows]).reshape(-1)
        self.levels = problem.code_levels.of_rows(rows)
        self.unseen = 0.0
        if synthesis.real and np.iscomplexobj(problem.signal):
            seen = atoms.inner(self.target, self.target, self.weight)
            self.unseen = max(0.0, float(fit.energy[item]) - seen)

    def residual(self, active: ActiveSet) -> Any:
        """W²(y − D x), flat."""
        image = self.target.copy()
        self.sites.subtract(image, self.weight, active.keys, active.values)
        return image

    def lam(self, keys: Any) -> Any:
        """Λ of coefficients."""
        q, m = np.divmod(keys, self.sites.maps)
        group, p = np.divmod(q, self.sites.pixels)
        lam = self.levels.level[group, m]
        if self.levels.weight is None:
            return lam
        weight = self.levels.weight.reshape((*self.levels.weight.shape[:2], -1))
        return lam * weight[group % len(weight), m % weight.shape[1], p]

    def look(self, active: ActiveSet, residual: Any, threshold: float) -> tuple[Look, ActiveSet]:
        """What the set's residual tells, and the set with what it proposes to add."""
        violation, proposed, cells = self.correlator.pick(residual.reshape(self.shape), self.levels, threshold)
        norm_sq, overlap = self._measures(residual)
        objective = norm_sq / 2 + float(np.sum(self.lam(active.keys) * np.abs(active.values), dtype=np.float64))
        dual = float(dual_value(norm_sq, overlap, np.float64(violation)))
        excess = max(violation - 1, 0.0)
        hoped = self._dual_of(self._scaled(residual, cells), 1.0)
        if hoped > 0:
            excess = min(excess, max(objective / hoped - 1, 0.0))
        return Look(objective, dual, excess, cells), ActiveSet(active.keys, active.values, np.sort(proposed))

    def local_dual(self, residual: Any, cells: Any) -> float:
        """Value of the dual point that is scaled by place, after a pass over all filters that makes it feasible."""
        point = self._scaled(residual, cells)
        return self._dual_of(point, self.correlator.worst(point.reshape(self.shape), self.levels))

    def _scaled(self, residual: Any, cells: Any) -> Any:
        scale = local_scale(cells, self.correlator.cell, self.sites.touched, self.sites.extents)
        image = residual.reshape((len(scale), -1, *scale.shape[1:]))
        return (image * scale[:, None].astype(self.levels.level.dtype, copy=False)).reshape(-1)

    def _dual_of(self, point: Any, violation: float) -> float:
        return float(dual_value(*self._measures(point), np.float64(violation)))

    def _measures(self, residual: Any) -> tuple[Any, Any]:
        """‖W(y − D x)‖² and ⟨Wy, W(y − D x)⟩."""
        norm_sq = atoms.inner(residual, residual, self.weight) + self.unseen
        return np.float64(norm_sq), np.float64(atoms.inner(self.target, residual, self.weight) + self.unseen)

    def descend(self, active: ActiveSet, residual: Any, rounds: int, tolerance: float) -> tuple[ActiveSet, int]:
        """Coordinate descent on the set and what was proposed. Zeros are dropped."""
        keys, values = _union(active)
        q, m = np.divmod(keys, self.sites.maps)
        shape = self.sites.spaced(residual.itemsize)
        distance = shape[0][-1]
        bands, places, first = self.sites.bands(q), self.sites.places(q, distance), self.sites.first(q, m)
        image, weight = self._spaced(residual, distance), self.weight
        weight = None if weight is None else self._spaced(weight, distance)
        curvature = self.sites.curvatures(self.weight, keys)
        curvature = np.maximum(curvature, np.finfo(curvature.dtype).tiny)
        level = self.lam(keys)
        before, values_before = image.copy(), values.copy()
        most = max(1, (len(bands) - 1) // self.sites.colors)
        reports = np.zeros((most, 2))

        def work(member: int, team: int, barrier: Any) -> int:
            return int(
                descend(
                    member, team, barrier, reports[:team], bands, self.sites.colors, rounds, tolerance, _MOMENTUM,
                    image, before, values, values_before, places, first, curvature, level,
                    True if self.levels.nonnegative else None, weight, self.sites.filters, *shape,
                )
            )  # fmt: skip

        done = together(work, most)[0] if len(keys) else 0
        kept = values != 0
        return ActiveSet(keys[kept], values[kept], active.proposed[:0]), done

    def _spaced(self, image: Any, distance: int) -> Any:
        """A copy of a flat image, with zeros after each line."""
        lines = image.reshape((-1, self.sites.extents[2]))
        wide = np.zeros((len(lines), distance), image.dtype)
        wide[:, : lines.shape[1]] = lines
        return wide.reshape(-1)


def _union(active: ActiveSet) -> tuple[Any, Any]:
    """Sorted keys of the set and of what was proposed, with values (zero where new)."""
    where = np.searchsorted(active.keys, active.proposed)
    known = np.zeros(len(where), dtype=bool)
    inside = where < len(active.keys)
    known[inside] = active.keys[where[inside]] == active.proposed[inside]
    new, at = active.proposed[~known], where[~known]
    return np.insert(active.keys, at, new), np.insert(active.values, at, 0)
