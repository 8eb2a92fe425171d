"""cscopt: convolutional sparse coding with a certificate, on NumPy, CuPy and torch."""

from typing import Any

from cscopt.backend import get_threads, set_threads, to_numpy
from cscopt.certificate import Certificate, certify
from cscopt.codes import SparseCodes
from cscopt.datafit import L1Fit, L2Fit, PoissonFit
from cscopt.dictionary import ConvDictionary
from cscopt.linop import FunctionOperator, LinearOperator, dot_test, from_scipy
from cscopt.penalties import L0, L1, ElasticNet, GradientL1, GroupL1, L1MinusL2, Penalty, Sum, TotalVariation
from cscopt.problem import CSCProblem
from cscopt.solvers import (
    ADMM,
    FISTA,
    ISTA,
    PrimalDual,
    Solution,
    WorkingSet,
    debias,
    l1_ball,
    minimise_l1,
    path,
    solve,
)
from cscopt.stationarity import kkt_residual
from cscopt.synthesis import Synthesis
from cscopt.tasks import (
    Restoration,
    code,
    deblur,
    denoise,
    inpaint,
    reconstruct_ct,
    reconstruct_mri,
    super_resolve,
)

__version__ = "0.1.0"

__all__ = [
    "ADMM",
    "FISTA",
    "ISTA",
    "L0",
    "L1",
    "CSCProblem",
    "Certificate",
    "ConvDictionary",
    "ConvDictionaryLearning",
    "ElasticNet",
    "FunctionOperator",
    "GradientL1",
    "GroupL1",
    "L1Fit",
    "L1MinusL2",
    "L2Fit",
    "LinearOperator",
    "Penalty",
    "PoissonFit",
    "PrimalDual",
    "Restoration",
    "Solution",
    "SparseCodes",
    "Sum",
    "Synthesis",
    "TotalVariation",
    "WorkingSet",
    "certify",
    "code",
    "debias",
    "deblur",
    "denoise",
    "dot_test",
    "from_scipy",
    "get_threads",
    "inpaint",
    "kkt_residual",
    "l1_ball",
    "minimise_l1",
    "path",
    "reconstruct_ct",
    "reconstruct_mri",
    "set_threads",
    "solve",
    "super_resolve",
    "to_numpy",
]


def __getattr__(name: str) -> Any:
    if name == "ConvDictionaryLearning":  # scikit-learn is imported when it is asked for
        from cscopt.dictlearn.estimator import ConvDictionaryLearning

        return ConvDictionaryLearning
    raise AttributeError(f"module 'cscopt' has no attribute {name!r}")
