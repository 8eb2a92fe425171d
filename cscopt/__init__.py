"""cscopt: convolutional sparse coding with a certificate, on NumPy, CuPy and torch."""

from cscopt.backend import get_threads, set_threads, to_numpy
from cscopt.certificate import Certificate, certify, kkt_residual
from cscopt.dictionary import ConvDictionary, Synthesis
from cscopt.linop import FunctionOperator, LinearOperator, dot_test, from_scipy
from cscopt.penalties import L1
from cscopt.problem import CSCProblem
from cscopt.solvers import ADMM, FISTA, ISTA, Solution, solve

__version__ = "0.1.0"
