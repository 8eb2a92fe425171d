"""ADMM's quadratic step where the penalty has a quadratic part: exact per frequency, by Woodbury's identity."""

from __future__ import annotations

from dataclasses import replace

from cscopt import fft
from cscopt.backend import Array, is_numpy, namespace, per_item
from cscopt.certificate import Certificate, compare
from cscopt.curved_dual import curved_dual
from cscopt.kernels.reference import Sums
from cscopt.kernels.staged import admm_update
from cscopt.problem import CSCProblem
from cscopt.solvers.normal import Fitted
from cscopt.solvers.split import Split, dual_point, nearest


def ahead(problem: CSCProblem, z: Array) -> Array:
    """What the next quadratic step needs of z: the spectrum of D z, or of z itself for a penalty with a quadratic."""
    return fft.forward(z, problem.synthesis.grid) if problem.penalty.curved else problem.system.synthesize(z)


def curved_step(
    problem: CSCProblem, v: Array, z: Array, split: Split | None, rho: Array, relaxation: float
) -> tuple[Array, Array, Split | None, Sums]:
    r"""One iteration from v and the spectrum of z: new v, spectrum of the new z, new splitting of the data, and sums.

    x⁺ = argmin σ/2 ‖K x − s‖² + ½⟨x, Q x⟩ + ρ/2 ‖x − z‖² with K = A D; s = y and σ = 1, or where A D x is split too
    s = 2 w − v as in `split_step`. Source: Wohlberg 2016 (Convolutional sparse representations as an image model for
    impulse noise restoration), section 3.
    """
    grid, real = problem.synthesis.grid, problem.synthesis.real
    change, residual, goal, fitted = _solve(problem, z, split, rho)
    if split is not None:
        image = goal - fft.inverse(residual, grid, real)
        w = (goal + split.v) / 2
        split = replace(split, v=split.v + relaxation * (image - w), fitted=fitted)
    new, following, sums = admm_update(v, fft.inverse(change, grid, real), problem.levels, rho, relaxation)
    return new, fft.forward(following, grid), split, sums


def curved_certificate(problem: CSCProblem, y: Array, z: Array, split: Split | None, rho: Array) -> Certificate:
    """Objective of y, against the dual point of the quadratic step's x⁺, where it fits Q x at every frequency.

    A dual point made of y is off by D (x⁺ − y), and low frequencies of that cost a multiple of the gap.
    """
    synthesis, fit = problem.synthesis, problem.datafit
    value = problem.items_sum(problem.kernels.weighted_l1(y, problem.levels))
    x = z + _solve(problem, z, split, rho)[0]
    point = fit.residual(_summed(problem, x)) if split is None or fit.quadratic else dual_point(problem, split)
    codes = synthesis.crop(fft.inverse(x, synthesis.grid, synthesis.real))
    return compare(fit.value(problem.system.synthesize(y)) + value, curved_dual(problem, codes, point))


def _solve(problem: CSCProblem, z: Array, split: Split | None, rho: Array) -> tuple[Array, Array, Array, Fitted | None]:
    """Spectra of x⁺ − z and of s − K x⁺, s (an image where the data are split, else their spectrum), and its w."""
    fit = problem.datafit
    if split is None:
        return (*quadratic_step(problem, z, fit.target, rho, namespace(rho).ones_like(rho)), fit.target, None)
    w, fitted = nearest(problem, split)
    goal, sigma = 2 * w - split.v, problem.per_row(split.sigma)
    return (*quadratic_step(problem, z, fft.forward(goal, problem.synthesis.grid), rho, sigma), goal, fitted)


def quadratic_step(problem: CSCProblem, z: Array, s: Array, rho: Array, sigma: Array) -> tuple[Array, Array]:
    """Spectra of x⁺ − z and of s − K x⁺, from those of z and s; ρ and σ of each row.

    With P = (ρ + Q)/σ and z' = ρ (ρ + Q)⁻¹ z: s − K x⁺ = (1 + K P⁻¹ Kᴴ)⁻¹ (s − K z') and x⁺ = z' + P⁻¹ Kᴴ (s − K x⁺).
    """
    xp, filters = namespace(z), problem.system.filters.values
    if is_numpy(z) and filters.shape[1] == 1:
        from cscopt.kernels import quadratic

        return quadratic.change(filters, z, s, problem.levels.bend, problem.levels.laplacian, rho, sigma)
    total = problem.levels.eigenvalues() + per_item(rho, z.ndim)
    inverse, start = per_item(sigma, z.ndim) / total, z * (per_item(rho, z.ndim) / total)
    difference = s - _summed(problem, start)
    if filters.shape[1] == 1:
        power = xp.real(xp.conj(filters[:, 0, ...]) * filters[:, 0, ...])
        residual = difference / (1 + xp.sum(power[None, ...] * inverse, axis=1))[:, None, ...]
    else:
        residual = _solved(filters, inverse, difference)
    back = xp.sum(xp.conj(filters)[None, ...] * residual[:, None, ...], axis=2)
    return start - z + inverse * back, residual


def _summed(problem: CSCProblem, x: Array) -> Array:
    """Spectrum of K x from that of x."""
    return namespace(x).sum(problem.system.filters.values[None, ...] * x[:, :, None, ...], axis=1)


def _solved(filters: Array, inverse: Array, difference: Array) -> Array:
    """(1 + K P⁻¹ Kᴴ)⁻¹ of images of several channels, a small system at each frequency."""
    xp = namespace(filters)
    by_frequency = xp.moveaxis(filters, (0, 1), (-1, -2))
    scaled = by_frequency[None, ...] * xp.moveaxis(inverse, 1, -1)[..., None, :]
    gram = xp.matmul(scaled, xp.conj(xp.matrix_transpose(by_frequency))[None, ...])
    eye = xp.eye(filters.shape[1], dtype=gram.dtype, device=gram.device)
    solution = xp.linalg.solve(gram + eye, xp.moveaxis(difference, 1, -1)[..., None])
    return xp.moveaxis(solution[..., 0], -1, 1)
