"""The ledger of one transaction."""

from alina.ledger.accounts import Accounts
from alina.ledger.approvals import Approvals
from alina.ledger.decisions import Decisions
from alina.ledger.experiments import Experiments
from alina.ledger.exposure import Exposure
from alina.ledger.fills import Fills
from alina.ledger.foreign import Foreign
from alina.ledger.lookup import Lookup
from alina.ledger.orders import Orders
from alina.ledger.positions import Positions
from alina.ledger.prompts import Prompts
from alina.ledger.proposals import Proposals
from alina.ledger.reports import Reports
from alina.ledger.runs import Runs


class Ledger(
    Accounts,
    Prompts,
    Reports,
    Runs,
    Proposals,
    Decisions,
    Approvals,
    Exposure,
    Orders,
    Fills,
    Foreign,
    Positions,
    Experiments,
    Lookup,
):
    """Everything that must be true of the money, in the transaction of the given session.

    It never commits: the unit of work does. Every write is safe to repeat; a contradiction raises
    LedgerError and must roll the transaction back. Ages are measured by the database's clock.
    """
