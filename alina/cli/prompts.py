"""The revisions of the agents' prompts: what they say, a new one by a person, and the way back."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alina.cli.options import settings_of
from alina.cli.output import AsJson, print_json, print_table, say
from alina.config import Settings
from alina.errors import ConfigError, LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alina.domain.evaluation import Experiment
    from alina.domain.runs import PromptRevision
    from alina.ledger import Ledger

app = typer.Typer(
    help="Show, add or restore prompt revisions.\n\n"
    "With the experiments between them. Example: alina prompts list"
)


Revision = Annotated[str, typer.Argument(help="The revision's id, or six digits of it.")]

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


@app.command(name="show")
def show_one(
    context: typer.Context,
    revision: Revision,
    diff: Annotated[bool, typer.Option("--diff", help="Only what differs from its parent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a revision: who wrote it, after which, and its words.

    Example: alina prompts show 91c0de --diff
    """
    from alina.cli.database import open_ledger

    settings = settings_of(context)
    with open_ledger(settings) as ledger:
        one = _found(ledger, settings, revision)
        parent = ledger.revision(one.parent_id) if one.parent_id else None
    if as_json:
        print_json({"revision": one, "parent": parent})
        return
    after = f", after revision {parent.number}" if parent else ""
    say(f"{one.prompt}: revision {one.number} by {one.author}{after}\n{one.id}  sha256 {one.sha256}")
    say("\n".join(_difference(parent, one) if diff else [*_lines(one)]))


def _lines(revision: "PromptRevision | None") -> "Iterator[str]":
    if revision is not None:
        yield from ("system:", *(f"  {line}" for line in revision.system.splitlines()))
        yield from ("template:", *(f"  {line}" for line in revision.template.splitlines()))


def _difference(parent: "PromptRevision | None", one: "PromptRevision") -> "Iterator[str]":
    from difflib import unified_diff

    before = f"revision {parent.number}" if parent else "nothing"
    return unified_diff([*_lines(parent)], [*_lines(one)], before, f"revision {one.number}", lineterm="")


@app.command()
def add(
    context: typer.Context,
    agent: Annotated[str, typer.Argument(help="One of trading.agents.")],
    system: Annotated[Path | None, typer.Option(help="File of the system part; default: as it is.")] = None,
    template: Annotated[Path | None, typer.Option(help="File of the user part; default: as it is.")] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Use it from the next run on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a revision of a person's.

    It follows the one in use, and is tried on what the agent saw last before it is stored.

    Example: alina prompts add trading --system system.txt --activate
    """
    from alina.cli.database import open_ledger

    settings = settings_of(context)
    if agent not in settings.trading.agents:
        raise ConfigError(f"{agent} is not in trading.agents ({', '.join(settings.trading.agents)})")
    if system is None and template is None:
        raise ConfigError("there is nothing to add: name a file with --system or --template, or both")
    with open_ledger(settings) as ledger:
        parent = ledger.active_revision(agent)
        one = ledger.ensure_revision(
            agent,
            system=_text(system) if system else parent.system,
            template=_text(template) if template else parent.template,
            author="person",
            parent_id=parent.id,
        )
        _try(ledger, one)
        if activate:
            ledger.activate_revision(agent, one.id)
        is_active = ledger.active_revision(agent).id == one.id
    if as_json:
        print_json(_Shown(one, is_active))
    else:
        use = "is in use from the next run on" if is_active else f"waits: `alina prompts restore {one.id}`"
        say(f"{agent}: revision {one.number} {use}")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as text: {error}") from None


def _try(ledger: "Ledger", revision: "PromptRevision") -> None:
    """Render it as the agent's newest run would have been. Raises ConfigError naming the line at fault."""
    from alina.llm import prompts

    prompts.check(revision)
    newest = next((run for run in ledger.runs(agent=revision.prompt, limit=50) if run.context), None)
    if newest is not None:
        prompts.render(revision, newest.context)


@app.command()
def restore(context: typer.Context, revision: Revision, as_json: AsJson = False) -> None:
    """Use a revision from the next run on.

    Example: alina prompts restore 91c0de
    """
    from alina.cli.database import open_ledger

    settings = settings_of(context)
    with open_ledger(settings) as ledger:
        found = _found(ledger, settings, revision)
        ledger.activate_revision(found.prompt, found.id)
    if as_json:
        print_json({"prompt": found.prompt, "active": found})
    else:
        say(f"{found.prompt}: revision {found.number} is in use from the next run on")


def _found(ledger: "Ledger", settings: Settings, revision: str) -> "PromptRevision":
    """The one revision whose id begins so. Raises LedgerError for none or several."""
    from alina.ledger.lookup import id_range

    first, last = id_range(revision)
    every = [one for prompt in settings.trading.agents for one in ledger.revisions(prompt)]
    found = [one for one in every if first <= one.id <= last]
    if len(found) != 1:
        raise LedgerError(f"{revision} begins {len(found)} revisions: `alina prompts list` shows their ids")
    return found[0]
