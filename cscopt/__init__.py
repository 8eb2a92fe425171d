"""cscopt: convolutional sparse coding with a certificate, on NumPy, CuPy and torch."""

from cscopt.backend import get_threads, set_threads, to_numpy
from cscopt.certificate import Certificate, certify, kkt_residual
from cscopt.codes import SparseCodes
from cscopt.dictionary import ConvDictionary
from cscopt.linop import FunctionOperator, LinearOperator, dot_test, from_scipy
from cscopt.penalties import L0, L1, ElasticNet, GroupL1, L1MinusL2, Penalty
from cscopt.problem import CSCProblem
from cscopt.solvers import ADMM, FISTA, ISTA, Solution, WorkingSet, debias, solve
from cscopt.synthesis import Synthesis
from cscopt.tasks import code

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
    "ElasticNet",
    "FunctionOperator",
    "GroupL1",
    "L1MinusL2",
    "LinearOperator",
    "Penalty",
    "Solution",
    "SparseCodes",
    "Synthesis",
    "WorkingSet",
    "certify",
    "code",
    "debias",
    "dot_test",
    "from_scipy",
    "get_threads",
    "kkt_residual",
    "set_threads",
    "solve",
    "to_numpy",
]
