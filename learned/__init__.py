"""learned: cscopt's steps unrolled in torch, and convolutional-sparse-coding networks trained for a task."""

from learned.cista import CISTA, RLCSC, CRNetA, CRNetB, SelfEnsemble
from learned.evaluate import enlarge
from learned.operators import Differentiable
from learned.unroll import UnrolledFISTA, UnrolledISTA
from learned.weights import load

__all__ = [
    "CISTA",
    "RLCSC",
    "CRNetA",
    "CRNetB",
    "Differentiable",
    "SelfEnsemble",
    "UnrolledFISTA",
    "UnrolledISTA",
    "enlarge",
    "load",
]
