"""Penalties g on the codes: value, proximal map, and the dual bound behind the certificate."""

from cscopt.penalties.base import Penalty
from cscopt.penalties.elastic import ElasticNet
from cscopt.penalties.gradient import GradientL1
from cscopt.penalties.group import GroupL1
from cscopt.penalties.l1 import L1
from cscopt.penalties.nonconvex import L0, L1MinusL2
from cscopt.penalties.sums import Sum
from cscopt.penalties.variation import TotalVariation

__all__ = ["L0", "L1", "ElasticNet", "GradientL1", "GroupL1", "L1MinusL2", "Penalty", "Sum", "TotalVariation"]
