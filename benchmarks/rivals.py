"""What we compare with, each at its best settings: the seconds until its objective is at most a goal."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from common import first_below

from cscopt import CSCProblem
from cscopt.backend import namespace, to_numpy


def sporco_admm(problem: CSCProblem, goal: float, most: int = 1500) -> float:
    """SPORCO's ADMM with automatic ρ and over-relaxation."""
    from sporco.admm import cbpdn

    return _sporco(cbpdn.ConvBPDN, {"AutoRho": {"Enabled": True}, "RelaxParam": 1.8}, problem, goal, most)


def sporco_pgm(problem: CSCProblem, goal: float, most: int = 1500) -> float:
    """SPORCO's FISTA with backtracking."""
    from sporco.pgm import cbpdn
    from sporco.pgm.backtrack import BacktrackStandard

    return _sporco(cbpdn.ConvBPDN, {"L": 50.0, "Backtrack": BacktrackStandard(maxiter=20)}, problem, goal, most)


def scico_admm(problem: CSCProblem, goal: float, most: int = 400, look: int = 5) -> float:
    """SCICO's ADMM with the solve in the frequency domain, over-relaxed; the best of three fixed ρ.

    Compilation and the objective, which is computed by our own code every `look` iterations, are not counted.
    """
    lam = float(problem.penalty.lam)
    return min(_scico(problem, goal, rho, most, look) for rho in (50 * lam + 1, 20 * lam + 0.5, 100 * lam + 2))


def _sporco(solver: Any, options: dict[str, Any], problem: CSCProblem, goal: float, most: int) -> float:
    """SPORCO computes its objective anyway; its time for that is not counted."""

    def done(iteration: Any) -> bool:
        return bool(iteration.itstat[-1].ObjFun <= goal)

    options = {"MaxMainIter": most, "RelStopTol": 0.0, "DataType": np.float32, "Callback": done, **options}
    image, lam = to_numpy(problem.signal)[0, 0], float(problem.penalty.lam)
    run = solver(problem.dictionary.to_sporco(), image, lam, solver.Options(options), dimK=0)
    run.solve()
    record = run.getitstat()
    return first_below(record.ObjFun, record.Time, goal)


def _scico(problem: CSCProblem, goal: float, rho: float, most: int, look: int) -> float:
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

    def advance(run: Any, steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            run.step()
        run.z_list[0].block_until_ready()
        return time.perf_counter() - began

    advance(start(), 2)  # compiles
    run, seconds = start(), 0.0
    for _ in range(0, most, look):
        seconds += advance(run, look)
        codes = namespace(problem.signal).from_dlpack(run.z_list[0])[None]
        if float(problem.objective(codes)[0]) <= goal:
            return seconds
    return float("inf")
