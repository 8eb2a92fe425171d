"""What a solution of a penalised problem is worth to a constrained one, where differences of norms are small."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from cscopt.backend import Array, is_complex, namespace
from cscopt.linop import inner
from cscopt.problem import CSCProblem
from cscopt.solvers.solution import Solution


def value_of(solution: Solution) -> float:
    """t g(x), from the codes: as a difference of objective and fit it would be lost near λ_max."""
    problem = solution.problem
    if not solution.solver.sparse:
        return float(problem.penalty.value(solution.codes)[0])
    codes = solution.sparse_codes
    lam = problem.penalty.resolve(codes.shape, problem.code_like)
    lam = np.broadcast_to(lam, codes.shape)[np.unravel_index(codes.index, codes.shape)]
    return float(np.sum(lam * np.abs(codes.values), dtype=np.float64))


class Measures(NamedTuple):
    """‖r‖², ⟨Wy, r⟩, max |DᴴAᴴWᴴ r| / Λ, and ‖Wy‖², ‖u‖² and ⟨Wy, u⟩ of u = W A D x, of one item."""

    norm_sq: float
    overlap: float
    worst: float
    energy: float
    image_sq: float
    image_overlap: float

    def factor(self, epsilon: float) -> float | None:
        """The least c with ‖Wy − c u‖ = ε, from which nothing cancels where u is small; None if there is none."""
        beyond = self.energy - epsilon * epsilon
        square = self.image_overlap**2 - self.image_sq * beyond
        if beyond <= 0 or square < 0 or self.image_overlap <= 0:
            return None
        return beyond / (self.image_overlap + math.sqrt(square))


def measured(solution: Solution) -> Measures:
    """In double precision, and where u is small from u: differences are what the constrained problem is about."""
    problem, fit = solution.problem, solution.problem.datafit
    spectrum = problem.synthesis.spectrum(solution.reconstruction)
    if problem.system.factor is not None:
        spectrum = spectrum * problem.system.factor
    image = fit.ahead(spectrum)
    residual = fit.target - image
    worst = float(problem.worst(fit.ascent(residual))[0])
    r, u, y = (_double(a) for a in (residual, image, fit.target))
    energy = float(fit.dot(y, y)[0]) if fit.spectral and problem.forward is not None else _energy(problem)
    image_sq, overlap = float(fit.dot(u, u)[0]), float(fit.dot(y, u)[0])
    if image_sq < energy / 16:
        sizes = energy - 2 * overlap + image_sq, energy - overlap
    else:
        sizes = float(fit.dot(r, r)[0]), float(fit.dot(y, r)[0])
    return Measures(*sizes, worst, energy, image_sq, overlap)


def _energy(problem: CSCProblem) -> float:
    """‖Wy‖² of the data as they were given: their spectrum is rounded."""
    y = _double(problem.signal if problem.mask is None else problem.mask * problem.signal)
    return float(inner(y, y).real)


def _double(array: Array) -> Array:
    xp = namespace(array)
    return xp.astype(array, xp.complex128 if is_complex(array) else xp.float64)
