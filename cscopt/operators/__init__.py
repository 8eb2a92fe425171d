"""Forward models of imaging: linear operators with exact adjoints."""

from cscopt.operators.resample import Bicubic

__all__ = ["Bicubic"]
