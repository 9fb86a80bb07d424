"""What was wished, decided, ordered and filled, and why: the only writer of those tables."""

from alina.ledger.ledger import Ledger
from alina.ledger.reports import DecisionTrail

__all__ = ["DecisionTrail", "Ledger"]
