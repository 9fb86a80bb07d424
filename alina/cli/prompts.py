"""The revisions of the agents' prompts, and the way back to an earlier one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from alina.cli.options import settings_of
from alina.cli.output import AsJson, print_json, print_table, say
from alina.errors import LedgerError

if TYPE_CHECKING:
    from alina.domain.evaluation import Experiment
    from alina.domain.runs import PromptRevision

app = typer.Typer(
    help="Show or restore prompt revisions.\n\nWith the experiments between them. Example: alina prompts list"
)


_REVISION_COLUMNS = ("prompt", "number", "", "author", "id", "system")
_EXPERIMENT_COLUMNS = ("prompt", "state", "cases", "champion", "challenger", "confidence", "conclusion")


@dataclass(frozen=True, slots=True)
class _Shown:
    """One revision and whether it is in use."""

    revision: "PromptRevision"
    is_active: bool


@app.callback(invoke_without_command=True)
def _default(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        show(context, as_json)


@app.command(name="list")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Every revision, newest first, and the experiments.

    Example: alina prompts list --json
    """
    from alina.cli.database import open_ledger

    settings = settings_of(context)
    with open_ledger(settings) as ledger:
        revisions = [
            _Shown(revision, revision.id == ledger.active_revision(prompt).id)
            for prompt in settings.trading.agents
            for revision in ledger.revisions(prompt)
        ]
        experiments = ledger.experiments()
    if as_json:
        print_json({"revisions": revisions, "experiments": experiments})
        return
    print_table("Revisions", _REVISION_COLUMNS, [_row(one) for one in revisions])
    if experiments:
        print_table("Experiments", _EXPERIMENT_COLUMNS, [_experiment_row(one) for one in experiments])


def _row(one: _Shown) -> tuple[object, ...]:
    revision = one.revision
    active = "active" if one.is_active else None
    first_line = revision.system.strip().split("\n")[0][:60]
    return revision.prompt, revision.number, active, revision.author, str(revision.id)[:8], first_line


def _experiment_row(one: "Experiment") -> tuple[object, ...]:
    scores = (one.champion_score, one.challenger_score, one.confidence)
    return one.prompt, one.state, one.cases, *scores, one.conclusion


@app.command()
def restore(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(help="The revision's id, or six digits of it.")],
    as_json: AsJson = False,
) -> None:
    """Use a revision from the next run on.

    Example: alina prompts restore 91c0de
    """
    from alina.cli.database import open_ledger
    from alina.ledger.lookup import id_range

    settings = settings_of(context)
    first, last = id_range(revision)
    with open_ledger(settings) as ledger:
        every = [one for prompt in settings.trading.agents for one in ledger.revisions(prompt)]
        found = [one for one in every if first <= one.id <= last]
        if len(found) != 1:
            raise LedgerError(
                f"{revision} begins {len(found)} revisions: `alina prompts list` shows their ids"
            )
        ledger.activate_revision(found[0].prompt, found[0].id)
    if as_json:
        print_json({"prompt": found[0].prompt, "active": found[0]})
    else:
        say(f"{found[0].prompt}: revision {found[0].number} is in use from the next run on")
