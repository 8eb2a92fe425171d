"""What we compare with, each at its best settings: the seconds until its sparse iterate's objective is at most a goal.

The objective is computed by our own code every few iterations, off the clock; so is their compilation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cscopt import CSCProblem
from cscopt.backend import namespace, to_numpy

LOOK = 5
PATIENCE = 120.0


def sporco_iteration(solver: Any) -> Callable[[], None]:
    """One iteration of an ADMM solver of SPORCO's a call, without its statistics."""

    def step() -> None:
        solver.xstep()
        solver.relax_AX()
        solver.ystep()
        solver.ustep()

    return step


def sporco_admm(problem: CSCProblem, goal: float) -> float:
    """SPORCO's ADMM, over-relaxed, with automatic ρ or one of two fixed ones: the best of the three."""
    from sporco.admm import cbpdn

    rho = 50 * float(problem.penalty.lam) + 1
    best = PATIENCE
    for choice in ({"AutoRho": {"Enabled": True}}, {"rho": rho}, {"rho": rho / 2}):
        options = {"AutoRho": {"Enabled": False}, "RelaxParam": 1.8, **choice}
        best = min(best, _sporco(cbpdn.ConvBPDN, options, lambda run: run.Y, problem, goal, best))
    return best if best < PATIENCE else float("inf")


def sporco_pgm(problem: CSCProblem, goal: float) -> float:
    """SPORCO's FISTA, with backtracking or the exact Lipschitz constant: the better of the two."""
    from sporco.pgm import cbpdn
    from sporco.pgm.backtrack import BacktrackStandard

    best = PATIENCE
    for choice in ({"L": 50.0, "Backtrack": BacktrackStandard(maxiter=20)}, {"L": problem.synthesis.lipschitz}):
        best = min(best, _sporco(cbpdn.ConvBPDN, choice, lambda run: run.X, problem, goal, best))
    return best if best < PATIENCE else float("inf")


def scico_admm(problem: CSCProblem, goal: float) -> float:
    """SCICO's ADMM with the solve in the frequency domain, over-relaxed; the best of three fixed ρ."""
    best, lam = PATIENCE, float(problem.penalty.lam)
    for rho in (50 * lam + 1, 20 * lam + 0.5, 100 * lam + 2):
        best = min(best, _scico(problem, goal, rho, best))
    return best if best < PATIENCE else float("inf")


def _clocked(
    advance: Callable[[], Any], codes: Callable[[], Any], problem: CSCProblem, goal: float, most: float
) -> float:
    """Seconds that `advance`, which does `LOOK` iterations, takes until the codes' objective is at most the goal."""
    seconds = 0.0
    while seconds < most:
        began = time.perf_counter()
        advance()
        seconds += time.perf_counter() - began
        if float(problem.objective(codes())[0]) <= goal:
            return seconds
    return float("inf")


def _sporco(
    solver: Any, options: dict[str, Any], state: Callable[[Any], Any], problem: CSCProblem, goal: float, most: float
) -> float:
    options = {"MaxMainIter": LOOK, "RelStopTol": 0.0, "FastSolve": True, "DataType": np.float32, **options}
    image, lam = to_numpy(problem.signal)[0, 0], float(problem.penalty.lam)
    run = solver(problem.dictionary.to_sporco(), image, lam, solver.Options(options), dimK=0)

    def codes() -> Any:
        return np.ascontiguousarray(np.moveaxis(state(run)[..., 0, 0, :], -1, 0))[None]

    return _clocked(run.solve, codes, problem, goal, most)


def _scico(problem: CSCProblem, goal: float, rho: float, most: float) -> float:
    import scico.numpy as snp
    from scico import functional, linop, loss
    from scico.optimize.admm import ADMM, FBlockCircularConvolveSolver

    image, filters = to_numpy(problem.signal)[0, 0], to_numpy(problem.dictionary.filters)[:, 0]
    shape = (len(filters), *image.shape)
    convolve = linop.CircularConvolve(snp.array(filters), input_shape=shape, ndims=image.ndim)
    synthesis = linop.Sum(input_shape=convolve.output_shape, axis=0) @ convolve

    def start() -> Any:
        return ADMM(
            f=loss.SquaredL2Loss(y=snp.array(image), A=synthesis),
            g_list=[float(problem.penalty.lam) * functional.L1Norm()],
            C_list=[linop.Identity(shape)],
            rho_list=[rho],
            alpha=1.8,
            subproblem_solver=FBlockCircularConvolveSolver(),
            itstat_options={"display": False},
        )

    def advance(run: Any) -> None:
        for _ in range(LOOK):
            run.step()
        run.z_list[0].block_until_ready()

    advance(start())  # compiles
    run = start()
    return _clocked(
        lambda: advance(run), lambda: namespace(problem.signal).from_dlpack(run.z_list[0])[None], problem, goal, most
    )
