"""Commands that show what was recorded. They need only the database."""

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alina.cli.options import settings_of
from alina.cli.output import AsJson, plain, print_json, print_table, say
from alina.errors import ModelError

if TYPE_CHECKING:
    from alina.domain.evaluation import Evaluation
    from alina.domain.portfolio import Position
    from alina.ledger.reports import DecisionTrail
    from alina.orchestrator.replay import ReplayedCall

Limit = Annotated[int, typer.Option(min=1, help="The newest so many.")]


def trades(context: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show positions and closed trades.

    Newest first, results after fees.

    Example: alina trades --limit 50 --json
    """
    from alina.cli.database import open_ledger

    settings = settings_of(context)
    account = settings.system.account
    with open_ledger(settings) as ledger:
        positions = [*ledger.open_positions(account), *ledger.closed_trades(account=account, limit=limit)]
        scores = {one.position_id: one for one in ledger.evaluations()}
    rows = [_trade(position, scores.get(position.id)) for position in positions]
    if as_json:
        print_json(rows)
        return
    shown = [(row["id"][:8], *(row[name] for name in _TRADE_COLUMNS)) for row in rows]
    print_table("Trades", ("id", *_TRADE_COLUMNS), shown)


_TRADE_COLUMNS = (
    "symbol",
    "opened_at",
    "closed_at",
    "close_reason",
    "quantity",
    "average_price",
    "pnl",
    "score",
    "agent",
)


def _trade(position: "Position", evaluation: "Evaluation | None") -> dict[str, Any]:
    is_closed = position.closed_at is not None
    return {
        "id": str(position.id),
        "symbol": position.symbol,
        "agent": position.agent,
        "opened_at": position.opened_at,
        "closed_at": position.closed_at,
        "close_reason": position.close_reason,
        "quantity": position.bought_quantity if is_closed else position.quantity,
        "average_price": position.average_price,
        "cost": position.cost,
        "proceeds": position.proceeds,
        "pnl": position.realised_pnl if is_closed else None,
        "score": evaluation.score if evaluation else None,
        "explanation": evaluation.explanation if evaluation else None,
    }


def decisions(
    context: typer.Context,
    limit: Limit = 20,
    symbol: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the risk kernel's verdicts.

    What was proposed, why, and what came of it; newest first.

    Example: alina decisions --symbol BTC/USDT --limit 5
    """
    from alina.cli.database import open_ledger

    with open_ledger(settings_of(context)) as ledger:
        trails = ledger.decisions(limit=limit, symbol=symbol)
    if as_json:
        print_json([_trail(trail) for trail in trails])
        return
    columns = ("id", "market time", "symbol", "side", "quantity", "verdict", "order", "why")
    print_table("Decisions", columns, [_trail_row(trail) for trail in trails])


def _trail(trail: "DecisionTrail") -> dict[str, Any]:
    shown: dict[str, Any] = plain(trail)
    reason = trail.decision.reason
    shown["decision"]["reason_code"] = int(reason) if reason is not None else None
    if shown["run"] is not None:  # whole prompts belong to `alina replay`
        shown["run"]["calls"] = len(shown["run"]["calls"])
    return shown


def _trail_row(trail: "DecisionTrail") -> tuple[Any, ...]:
    decision, proposal, order = trail.decision, trail.proposal, trail.order
    return (
        str(decision.id)[:8],
        decision.decided_at,
        proposal.symbol,
        proposal.side,
        proposal.quantity,
        decision.reason.name if decision.reason else decision.verdict,
        order.state if order else None,
        decision.message or proposal.rationale,
    )


def replay(
    context: typer.Context,
    decision: Annotated[
        str, typer.Argument(help="A decision, proposal or run: its id, or six digits of it.")
    ],
    as_json: AsJson = False,
) -> None:
    """Ask the model again, as it was then.

    Exit code 0: the same model gave the same text, bit for bit; 1: another text, or another model file,
    build of llama.cpp or layout than then. Both are shown as a difference.

    Example: alina replay 3f9a1c
    """
    from alina.cli.database import open_database
    from alina.db.engine import transaction
    from alina.ledger import Ledger
    from alina.llm import opening
    from alina.llm.catalogue import ModelCatalogue
    from alina.orchestrator.replay import is_same
    from alina.orchestrator.replay import replay as ask_again

    settings = settings_of(context)
    with open_database(settings) as sessions, transaction(sessions) as session:
        ledger, catalogue = Ledger(session), ModelCatalogue(session)
        run_id = ledger.find_run(decision)
        if run_id is None:
            raise ModelError(
                f"{decision} is a protective exit: no model decided it, its price did. "
                "`alina decisions` shows why"
            )
        run = ledger.run(run_id)
        # another may be active by now: the one that decided is known by its file's hash
        known = {call.completion.model: catalogue.of_file(call.completion.model.sha256) for call in run.calls}
    calls = ask_again(
        run, cache(lambda then: opening.make_model(settings, like=then, registered=known[then]))
    )
    if as_json:
        is_equal, changed = (
            all(call.is_equal for call in calls),
            sorted({c for call in calls for c in call.changed}),
        )
        print_json({"run_id": run.id, "equal": is_equal, "changed": changed, "calls": calls})
    else:
        _show_replay(calls)
    raise typer.Exit(0 if is_same(calls) else 1)


def _show_replay(calls: "list[ReplayedCall]") -> None:
    for call in calls:
        name = call.model_then.name
        verdict = "EQUAL      " if call.is_equal else "DIFFERENT  "
        say(f"{verdict}call {call.attempt}, {name}: {call.now}")
        if call.changed:
            say(f"  not as it was then: {', '.join(call.changed)}")
        for line in call.difference():
            say(f"  {line}")
