"""Banks: folders of learned dictionaries, each with its provenance, and how to build them."""

from cscopt.bank.builder import build
from cscopt.bank.data import Data, Samples
from cscopt.bank.entry import Entry
from cscopt.bank.spec import Case, Spec
from cscopt.bank.store import Bank, Score, verify

__all__ = ["Bank", "Case", "Data", "Entry", "Samples", "Score", "Spec", "build", "verify"]
