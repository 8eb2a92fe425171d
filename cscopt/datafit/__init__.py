"""Data terms seen from the spectrum of D x: least squares, and other fits, whose A D x is split off."""

from __future__ import annotations

from cscopt.backend import Array
from cscopt.datafit.fits import Fit, L1Fit, L2Fit, PoissonFit
from cscopt.datafit.least_squares import LeastSquares
from cscopt.datafit.split import ForwardFit, SplitFit, folds
from cscopt.linop import LinearOperator
from cscopt.synthesis import Synthesis

__all__ = ["Fit", "ForwardFit", "L1Fit", "L2Fit", "LeastSquares", "PoissonFit", "SplitFit", "data_term"]


def data_term(
    fit: Fit, signal: Array, synthesis: Synthesis, forward: LinearOperator | None, mask: Array | None
) -> LeastSquares | SplitFit:
    """The data term of a fit."""
    if fit.quadratic:
        return LeastSquares(signal, synthesis, forward, mask)
    kind = SplitFit if forward is None or folds(synthesis, forward) else ForwardFit
    return kind(fit, signal, synthesis, forward, mask)
