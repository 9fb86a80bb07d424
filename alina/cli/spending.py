"""What models took on a day, beside what they may take."""

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alina.cli.options import settings_of
from alina.cli.output import AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from alina.llm.spending import SpentBy

Day = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A UTC day. Default: today.", show_default=False)
]

_COLUMNS = ("agent", "model", "calls", "unsettled", "tokens", "seconds", "money")


def spending(context: typer.Context, day: Day = None, as_json: AsJson = False) -> None:
    """What models took on a day: tokens, calls, seconds and money by agent, and the limits of models.budget.

    Counted are models with a limit or a price. Example: alina spending --day 2026-11-21
    """
    from alina.cli.database import open_database
    from alina.db.engine import transaction
    from alina.llm.spending import PostgresSpending

    settings = settings_of(context)
    on = (day or datetime.now(UTC)).date()
    with open_database(settings) as sessions:
        found = PostgresSpending(partial(transaction, sessions)).of_day(on)
    budget = settings.models.budget.model_dump(mode="json")
    if as_json:
        print_json({"day": on.isoformat(), "spent": found, "budget": budget})
        return
    print_table(f"Models on {on}", _COLUMNS, [_row(one) for one in found])
    limits = [
        f"{scope}.{name} {limit}" for scope, each in budget.items() for name, limit in each.items() if limit
    ]
    say(f"models.budget: {', '.join(limits) or 'no limits'}")


def _row(one: "SpentBy") -> tuple[Any, ...]:
    spent = one.spent
    return one.agent, one.model, spent.calls, one.unsettled, spent.tokens, spent.seconds, spent.money
