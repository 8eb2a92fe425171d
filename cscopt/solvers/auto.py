"""`method="auto"`: the solver that was fastest in measurement on problems of this kind, and why."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from cscopt.absorbed import absorbed_support
from cscopt.backend import free_memory, is_numpy
from cscopt.problem import CSCProblem
from cscopt.solvers.admm import ADMM
from cscopt.solvers.base import Solver
from cscopt.solvers.primal_dual import PrimalDual
from cscopt.solvers.working_set import WorkingSet

_DENSE = 50.0
"""λ_max/λ, a filter, from which codes are so dense that ADMM reached a gap of 1e-3 first (benchmarks/choice.py)."""

_BLURRED = 8e3, 1e5
"""λ_max/λ times the pixels of a filter that has absorbed a blur, a filter, from where ADMM is taken: where its step is
exact, and where it needs conjugate gradients (benchmarks/choice.py --blur)."""

_INEXACT = 0.2
"""What a working set's iterations cost against ADMM's where these need conjugate gradients: a fifth of before."""

_LEAST = 0.1
"""Share of the coefficients whose λ, if it is less than all others, does not count."""

FIRST, SPAN = 10, 20
"""Iteration of a working set whose gap is the first to be compared with a later one, and how much later."""

_FAR = 3e-3
"""Gap below which a working set goes on, slow or not."""

_RATE = 30.0
"""By this, times the density of codes, over (λ_max/λ)^⅓, the logarithm of a gap has to fall in an iteration: a working
set's costs about 450 densities of ADMM's (more by the pixels that a filter gains where it absorbs a blur), which take
about 15 (λ_max/λ)^⅓ for a factor of e. Where atoms overlap much they change each other again and again, as smooth ones
do on pictures with their low-pass part.
"""

NEAR = 0.25
"""Gap up to which a working set's codes are a better beginning for ADMM than zero."""


def choose(problem: CSCProblem) -> tuple[Solver, str]:
    """A solver, and the sentence that says why."""
    if not problem.penalty.convex:
        return PrimalDual(), "the penalty is not convex: a growing ρ ends lower than a descent from zero"
    if problem.penalty.tail:
        return PrimalDual(), "the penalty is a sum, whose parts are split from each other"
    if not problem.datafit.quadratic and not problem.datafit.folded:
        return PrimalDual(), f"the fit is {problem.fit.name!r}, with a forward operator that is no convolution"
    if not problem.datafit.quadratic:
        return ADMM(), f"the fit is {problem.fit.name!r}, which ADMM serves"
    if problem.forward is not None:
        return _through(problem)
    listed = problem.code_levels is not None and is_numpy(problem.signal)
    if not (listed or problem.datafit.spectral or problem.penalty.curved) and _fits(problem, PrimalDual()):
        return PrimalDual(), "weights or the boundary split D x off, and its dual has the smaller gap here"
    if problem.code_levels is None:
        return ADMM(), "of those that serve this penalty, the one whose quadratic step is exact"
    if not is_numpy(problem.signal):
        return ADMM(), "the array is not NumPy's, so that maps are worked on as a whole; ADMM's quadratic step is exact"
    if not _listable(problem):
        return ADMM(), "the forms of the filters near a symmetric boundary would not fit into memory"
    few, told = _few(problem, _DENSE)
    if few:
        return WorkingSet(), f"few coefficients will not be zero: {told}"
    if not problem.datafit.spectral:
        return WorkingSet(), "weights or the boundary split D x off, and ADMM's gap then falls slowly"
    if not _fits(problem, ADMM()):
        return WorkingSet(), "arrays of all maps would not fit into memory"
    return ADMM(), f"many coefficients will not be zero: {told}"


def _through(problem: CSCProblem) -> tuple[Solver, str]:
    """The choice for least squares through a forward operator."""
    support, exact = absorbed_support(problem), problem.datafit.spectral
    if support is not None and problem.code_levels is not None:
        few, told = _few(problem, _BLURRED[not exact] / math.prod(support))
        if few:
            return WorkingSet(), f"the filters absorb the blur, and few coefficients will not be zero: {told}"
        if not _fits(problem, ADMM()):
            return WorkingSet(), "the filters absorb the blur; arrays of all maps would not fit into memory"
    if exact:
        return ADMM(), "A is diagonal in the frequency domain, where ADMM's quadratic step is exact"
    return ADMM(), "A has a step of its own, by conjugate gradients, and all the rest is exact"


def _few(problem: CSCProblem, dense: float) -> tuple[bool, str]:
    """Whether λ_max/λ, a filter, is below `dense`, and how large λ is in words."""
    ratio, what = _ratio(problem), "λ"
    if ratio >= dense * problem.synthesis.n_filters and np.ndim(problem.penalty.lam):
        ratio, what = _ratio(problem.with_penalty(_raised(problem.penalty))), f"λ, but for its least {_LEAST:.0%},"
    told = f"{what} is λ_max / {ratio:.3g}" if ratio > 1 else "λ is at least λ_max"
    return ratio < dense * problem.synthesis.n_filters, told


def _ratio(problem: CSCProblem) -> float:
    """max |Dᴴ Wᴴ W y| / Λ, λ_max/λ where λ is one number."""
    return float(np.max(problem.zero_violation))


def _raised(penalty: Any) -> Any:
    """A penalty whose least λ are as large as what most exceed: a few dense maps do not make dense codes."""
    least = np.quantile(penalty.lam, _LEAST, method="lower")
    return replace(penalty, lam=np.maximum(penalty.lam, least))


def relief(problem: CSCProblem, solver: Solver) -> tuple[Solver, str] | None:
    """What goes on where a solver that `choose` chose turns out to be slow."""
    served = problem.datafit.spectral or problem.forward is not None
    if isinstance(solver, WorkingSet) and served and _fits(problem, ADMM()):
        return ADMM(), "the working set's gap fell too slowly: atoms depend much on each other"
    return None


def slow(problem: CSCProblem, state: Any, before: float, gap: float) -> bool:
    """Whether a working set whose gap was `before` is slower than ADMM from here."""
    if gap <= _FAR:
        return False
    support = problem.dictionary.support
    dearer = math.prod(absorbed_support(problem) or support) / math.prod(support)
    dearer *= 1 if problem.datafit.spectral else _INEXACT
    density = sum(len(one.keys) for one in state.sets) / math.prod(problem.codes_shape)
    return math.log(before / gap) < SPAN * _RATE * dearer * density / _ratio(problem) ** (1 / 3)


def _listable(problem: CSCProblem) -> bool:
    """Whether there is memory for the atoms one by one, which differ near a symmetric boundary."""
    try:
        return problem.boundary != "symmetric" or problem.synthesis.sites is not None
    except MemoryError:
        return False


def _fits(problem: CSCProblem, solver: Solver) -> bool:
    """Whether a solver's arrays leave memory free."""
    free = free_memory(problem.signal)
    maps = problem.synthesis.maps_bytes(problem.batch, problem.code_like)
    return free is None or 2 * solver.arrays_for(problem) * maps <= free
