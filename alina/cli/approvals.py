"""Decisions that wait for a person: what is asked, and the answer."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from alina.cli.options import By, person, settings_of
from alina.cli.output import AsJson, print_json, print_table, say
from alina.config import Settings
from alina.errors import BrokerUnavailable, LedgerError, SystemStateError

if TYPE_CHECKING:
    from alina.domain.decisions import Approval, Proposal

app = typer.Typer(
    help="Answer for large entries (risk.approval_above).\n\nExample: alina approvals approve 3f9a1c"
)

DecisionId = Annotated[str, typer.Argument(help="The decision's id, or six digits of it.")]

_COLUMNS = ("id", "symbol", "side", "quantity", "price seen", "until (market time)", "answer", "why")


@app.callback(invoke_without_command=True)
def _default(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        show(context, as_json)


@app.command(name="list")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """What waits for an answer, or for being carried out.

    Example: alina approvals list --json
    """
    from alina.cli.database import open_ledger

    with open_ledger(settings_of(context)) as ledger:
        waiting = [(one, ledger.proposal(one.proposal_id)) for one in ledger.open_approvals()]
    if as_json:
        print_json([{"approval": approval, "proposal": proposal} for approval, proposal in waiting])
        return
    print_table("Approvals", _COLUMNS, [_row(approval, proposal) for approval, proposal in waiting])


def _row(approval: "Approval", proposal: "Proposal") -> tuple[Any, ...]:
    answer = f"{approval.answer} by {approval.answered_by}" if approval.answer else None
    return (
        str(approval.decision_id)[:8],
        proposal.symbol,
        proposal.side,
        proposal.quantity,
        proposal.reference_price,
        approval.expires_at,
        answer,
        proposal.rationale,
    )


@app.command()
def approve(context: typer.Context, decision: DecisionId, by: By = None, as_json: AsJson = False) -> None:
    """Agree. The kernel reviews it again before any order.

    Example: alina approvals approve 3f9a1c --by dana
    """
    _answer(settings_of(context), decision, "approved", by, as_json)


@app.command()
def deny(context: typer.Context, decision: DecisionId, by: By = None, as_json: AsJson = False) -> None:
    """Refuse. It is never ordered.

    Example: alina approvals deny 3f9a1c
    """
    _answer(settings_of(context), decision, "denied", by, as_json)


def _answer(settings: Settings, decision: str, answer: str, by: str | None, as_json: bool) -> None:
    from alina.cli.database import open_ledger
    from alina.ledger.lookup import id_range

    first, last = id_range(decision)
    with open_ledger(settings) as ledger:
        # over or not: an agent chooses ids, and may let another wait now under the digits that a person read
        found = ledger.approvals_between(first, last)
        if len(found) != 1:
            raise LedgerError(
                f"{decision} begins {len(found)} decisions that somebody was asked about: `alina approvals` "
                "shows what waits, `--json` the whole ids"
            )
        approval = ledger.answer_approval(found[0].decision_id, answer, by=person(by))
    is_sent = _enqueue(settings, approval)
    if as_json:
        print_json({"approval": approval, "sent": is_sent})
        return
    then = "on its way" if is_sent else "carried out once the system runs"
    say(f"{approval.decision_id}: {answer} by {approval.answered_by}, {then}")


def _enqueue(settings: Settings, approval: "Approval") -> bool:
    """After the commit. Without a broker the sweeper finds the answer."""
    from alina import bootstrap
    from alina.queues import make_celery, send

    try:
        urls = bootstrap.connections(settings)
        app = make_celery(settings, database_url=urls.database_url, redis_url=urls.redis_url)
        send(app, "trading.execute_proposal", str(approval.proposal_id))
    except (BrokerUnavailable, SystemStateError):
        return False
    return True
