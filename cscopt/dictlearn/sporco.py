"""SPORCO's online dictionary learner as an engine, for comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from cscopt import checks, wisdom
from cscopt.backend import get_threads, is_complex, is_numpy, require
from cscopt.dictlearn.data import Sample
from cscopt.dictlearn.engine import Engine, Step
from cscopt.dictlearn.state import LearnState


@dataclass(frozen=True, eq=False)
class Sporco(Engine):
    r"""``sporco.dictlrn.onlinecdl.OnlineConvBPDNDictLearn``, one image a step, NumPy on the CPU.

    minimise over ‖d_m‖ = 1:  E_y min over x  ½‖Σ_m d_m * x_m − y‖² + λ Σ_m ‖x_m‖₁

    Parameters
    ----------
    lam : float, default 0.1
        λ, a number.
    constraint : Constraint
        ``Constraint()`` or ``Constraint(zero_mean=True)``, which are what it knows.
    max_iter : int, default 50
        ADMM iterations for an image.
    tol : float, default 1e-3
        Its own stopping tolerance, of the residuals. (SPORCO knows no duality gap.)
    step_size : (float, float), default (10, 20)
        (a, b) of the step size a / (b + t) of step t.

    Notes
    -----
    Liu, Garcia-Cardona, Wohlberg and Yin 2018, algorithm 1. It serves images of one channel, without masks. Its
    transforms have no more than `get_threads` threads, and FFTW estimates their plans: these are the same in every
    process, where those that SPORCO measures are not.
    """

    max_iter: int = 50
    tol: float = 1e-3
    step_size: tuple[float, float] = (10.0, 20.0)
    name: ClassVar[str] = "sporco"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive_number(self.lam, "lam")
        checks.pair(self.step_size, "step_size")
        limits = self.constraint
        if limits.norm != "sphere" or limits.nonnegative or limits.window is not None or limits.separable:
            raise ValueError("the SPORCO engine knows Constraint() and Constraint(zero_mean=True) alone")
        if self.nonnegative or self.boundary != "circular" or self.method != "auto":
            raise ValueError("the SPORCO engine has circular boundaries, codes of any sign, and its own ADMM")

    def check(self, samples: Sequence[Sample]) -> None:
        require("sporco", "sporco", "the SPORCO engine")
        for _, image, mask in samples:
            if mask is not None or not is_numpy(image) or is_complex(image) or image.shape[0] != 1 or image.ndim < 3:
                raise ValueError("the SPORCO engine serves real NumPy images of one channel, 2-D or 3-D, without masks")

    def _step(self, state: LearnState, samples: Sequence[Sample]) -> Step:
        onlinecdl = require("sporco.dictlrn.onlinecdl", "sporco", "the SPORCO engine")
        if len(samples) != 1:
            raise ValueError(f"the SPORCO engine takes one image a step; got {len(samples)}")
        ((_, image, _),) = samples
        options = onlinecdl.OnlineConvBPDNDictLearn.Options(
            {
                "ZeroMean": self.constraint.zero_mean,
                "eta_a": float(self.step_size[0]),
                "eta_b": float(self.step_size[1]),
                "DataType": image.dtype,
                "CBPDN": {
                    "MaxMainIter": self.max_iter,
                    "RelStopTol": self.tol,
                    "RelaxParam": 1.8,
                    "rho": 50.0 * float(self.lam) + 0.5,
                    "DataType": image.dtype,
                },
            }
        )
        given = np.moveaxis(state.filters[:, 0], 0, -1).astype(image.dtype)
        with _same_plans():
            learner = onlinecdl.OnlineConvBPDNDictLearn(given, float(self.lam), options, dimN=given.ndim - 1)
            learner.j = state.step
            learner.solve(image[0], dimK=0)
        moved = np.moveaxis(np.asarray(learner.getdict(), np.float64).reshape(given.shape), -1, 0)[:, None]
        codes = np.asarray(learner.Z).reshape((-1, len(moved)))
        objective = float(learner.getitstat().ObjFun[-1])
        return Step(moved, {}, objective, float(np.count_nonzero(codes)), np.abs(codes).sum(axis=0, dtype=np.float64))

    def revived(self, state: LearnState, atoms: Any, filters: Any) -> LearnState:
        new = state.filters.copy()
        new[atoms] = filters
        return replace(state, filters=new)


@contextmanager
def _same_plans() -> Iterator[None]:
    """Transforms of SPORCO that are planned alike in every process: by estimate, and from no plans known already."""
    transforms: Any = require("sporco.fft", "sporco", "the SPORCO engine")
    before = transforms.pyfftw_planner_effort, transforms.pyfftw_threads
    transforms.pyfftw_planner_effort, transforms.pyfftw_threads = "FFTW_ESTIMATE", min(before[1], get_threads())
    try:
        with wisdom.forgotten():
            yield
    finally:
        transforms.pyfftw_planner_effort, transforms.pyfftw_threads = before
