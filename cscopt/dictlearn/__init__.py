"""Dictionary learning: engines, the loop around them, and an estimator of scikit-learn's kind."""

from cscopt.dictlearn.batch import Batch
from cscopt.dictlearn.coding import Coder, filter_gradient
from cscopt.dictlearn.constraint import Constraint
from cscopt.dictlearn.data import initial_filters
from cscopt.dictlearn.loop import Learned, learn
from cscopt.dictlearn.moments import Moments
from cscopt.dictlearn.online import Online
from cscopt.dictlearn.sporco import Sporco
from cscopt.dictlearn.state import LearnState

__all__ = [
    "Batch",
    "Coder",
    "Constraint",
    "LearnState",
    "Learned",
    "Moments",
    "Online",
    "Sporco",
    "filter_gradient",
    "initial_filters",
    "learn",
]
