"""Models as the settings and the registry say: within memory, budgets, circuits and the answer cache."""

import functools
import os
from decimal import Decimal
from pathlib import Path

import psutil
from sqlalchemy.orm import Session, sessionmaker

from alina.config import Settings
from alina.config.settings import Provider
from alina.db.engine import transaction
from alina.domain.models import RegisteredModel
from alina.domain.ports import Model
from alina.domain.runs import ModelIdentity
from alina.errors import ConfigError, ModelUnavailable
from alina.llm.answers import AnswerCache, CachedModel
from alina.llm.budget import Budgeted, ProcessSpending, Spending
from alina.llm.catalogue import ModelCatalogue
from alina.llm.choice import ChosenModel
from alina.llm.circuit import Circuit
from alina.llm.fallback import Fallback
from alina.llm.pool import Layout, ModelPool
from alina.llm.prefix_store import NO_PREFIXES, PrefixStore
from alina.llm.providers import is_elsewhere, open_provider
from alina.llm.registry import NO_VOCABULARIES, Vocabularies, check_model, read_vocabularies
from alina.llm.spending import PostgresSpending

#: of the memory; the rest is for Postgres, Redis and what processes hold beside models
MODELS_SHARE = Decimal("0.75")


def threads_a_child(settings: Settings) -> int:
    """`models.threads`, but never more than cores in all: four children of two threads a core starve."""
    share = max(1, len(os.sched_getaffinity(0)) // settings.execution.concurrency)
    return min(settings.models.threads or share, share)


def make_pool(
    settings: Settings,
    prefixes: PrefixStore = NO_PREFIXES,
    vocabularies: Vocabularies = NO_VOCABULARIES,
) -> ModelPool:
    """What holds the models of this process, within what `execution.ram_limit` and the machine leave them."""
    memory = min(settings.execution.ram_limit, psutil.virtual_memory().total)
    return ModelPool(
        budget_bytes=int(memory * MODELS_SHARE),
        children=settings.execution.concurrency,
        prefixes=prefixes,
        vocabularies=vocabularies,
    )


def make_prefixes(settings: Settings) -> PrefixStore:
    """The prefixes of a child, and those in the data folder that all children share."""
    models = settings.models
    folder = settings.data_folder / "prefixes"
    return PrefixStore(folder, ram_bytes=models.prefix_ram, disk_bytes=models.prefix_disk)


def model_source(settings: Settings, source: str | None = None) -> str:
    """`source`, by default `models.default`, with a relative path made absolute."""
    source = source or settings.models.default
    scheme, separator, file = source.partition(":")
    if not separator:
        return str(settings.path(Path(source)))
    return source if scheme in ("package", "provider") else f"{scheme}:{settings.path(Path(file))}"


def make_model(
    settings: Settings,
    like: ModelIdentity | None = None,
    *,
    registered: RegisteredModel | None = None,
    pool: ModelPool | None = None,
    spending: Spending | None = None,
) -> Model:
    """`registered`, else `models.default`, and those of `models.fallback` that stand in for it, as one.

    What they take is counted in `spending`, else by this process alone.
    `like` a stored identity: the one of them that has its name, alone, for a replay in the same layout.
    """
    named = _model_names(settings, registered.facts.source if registered else None)
    sources = [model_source(settings, each) for each in named]
    pool = pool or make_pool(settings)
    if like is not None:
        source = next((s for s in sources if s.endswith(f"/{like.name}")), sources[0])
        return open_source(settings, source, like, pool=pool)
    first = open_source(
        settings, sources[0], pool=pool, sha256=registered.facts.sha256 if registered else None
    )
    models = [first, *(open_source(settings, each, pool=pool) for each in sources[1:])]
    spending = spending or ProcessSpending()
    models = [_budgeted(settings, *each, spending) for each in zip(named, models, strict=True)]
    if len(models) == 1 and not is_elsewhere(sources[0]):
        return models[0]
    failures, reset = settings.models.circuit_failures, settings.models.circuit_reset
    return Fallback(models, circuits=[Circuit(failures=failures, reset=reset) for _ in models])


def _model_names(settings: Settings, first: str | None = None) -> tuple[str, ...]:
    return first or settings.models.default, *settings.models.fallback


def _budgeted(settings: Settings, name: str, model: Model, spending: Spending) -> Model:
    """The model as `name` is limited and priced; left as it is where nothing is counted."""
    models = settings.models
    if not models.budget.is_limited and name not in models.prices:
        return model
    try:
        price = models.price(name)
    except ValueError as error:
        raise ConfigError(f"models.{error}") from None
    return Budgeted(model, price=price, budget=models.budget, spending=spending)


def open_source(
    settings: Settings,
    source: str,
    like: ModelIdentity | None = None,
    *,
    pool: ModelPool | None = None,
    sha256: str | None = None,
) -> Model:
    """One model; one of this machine from the file with this hash. Raises ModelUnavailable, ConfigError."""
    if is_elsewhere(source):
        return open_provider(source, settings.models, functools.partial(_model_key, settings))
    return (pool or make_pool(settings)).model(_layout(settings, source, like, sha256=sha256))


def _layout(
    settings: Settings, source: str, like: ModelIdentity | None = None, *, sha256: str | None = None
) -> Layout:
    return Layout(
        source,
        context_length=like.context_length if like else settings.models.context_length,
        threads=like.threads if like else threads_a_child(settings),
        sha256=sha256,
    )


def check_models(settings: Settings) -> str:
    """One line about each configured model, without asking any. Raises ModelUnavailable, ConfigError."""
    return "; ".join(_checked(settings, model_source(settings, name)) for name in _model_names(settings))


def _checked(settings: Settings, source: str) -> str:
    if not is_elsewhere(source):
        found = check_model(source)
        make_pool(settings).check_fits(_layout(settings, source))
        return found
    identity = open_source(settings, source).identity
    return f"{source.partition(':')[2]}: elsewhere, {identity.context_length} tokens of context"


def _model_key(settings: Settings, name: str, provider: Provider) -> str | None:
    return settings.secret(settings.model_keys.get(name), provider.api_key_file) or None


def open_registered(
    settings: Settings, registered: RegisteredModel, spending: Spending | None = None
) -> Model:
    """A model of the registry alone, as a child of the inference worker would have it, within its budget.

    What it takes is counted as `make_model` does. Raises ConfigError where a limit on money needs its price.
    """
    facts = registered.facts
    model = open_source(settings, model_source(settings, facts.source), sha256=facts.sha256)
    return _budgeted(settings, facts.source, model, spending or ProcessSpending())


def check_registered(settings: Settings, registered: RegisteredModel) -> None:
    """Raise ModelUnavailable or ConfigError, naming it, unless agents could be given this model now."""
    try:
        open_registered(settings, registered)
        _checked(settings, registered.facts.source)
    except (ModelUnavailable, ConfigError) as error:
        raise type(error)(f"{registered.title}: {error}") from None


def check_active(settings: Settings, sessions: sessionmaker[Session]) -> RegisteredModel | None:
    """The model that is active in the registry, if there is one. Raises as `check_registered`."""
    active = _active(sessions)
    if active is not None:
        check_registered(settings, active)
    return active


def make_chosen_model(
    settings: Settings,
    sessions: sessionmaker[Session],
    pool: ModelPool | None = None,
    redis_url: str | None = None,
) -> ChosenModel:
    """The model that is active in the registry, else `models.default`; resolved once a task.

    With a Redis it is asked an equal question once; the rest of this process's model calls stay as they are.
    """
    pool = pool or make_pool(settings)
    spending = PostgresSpending(functools.partial(transaction, sessions))

    cache = make_answer_cache(settings, redis_url)

    def opened(registered: RegisteredModel | None) -> Model:
        model = make_model(settings, registered=registered, pool=pool, spending=spending)
        return CachedModel(model, cache) if cache else model

    return ChosenModel(lambda: _active(sessions), opened)


def make_answer_cache(settings: Settings, redis_url: str | None) -> AnswerCache | None:
    """The answers that all processes with this Redis share; None where none are kept."""
    life, slots = settings.models.answers_kept, settings.models.answers_max
    return AnswerCache(redis_url, life=life, slots=slots) if redis_url and life else None


def _active(sessions: sessionmaker[Session]) -> RegisteredModel | None:
    with transaction(sessions) as session:
        return ModelCatalogue(session).active()


def shared_vocabularies(settings: Settings, sessions: sessionmaker[Session]) -> Vocabularies:
    """The words of what the next task asks, for all children of a process that calls this before its forks.

    Raises as `warm_up` does.
    """
    source = _asked_next(settings, sessions).source
    return NO_VOCABULARIES if is_elsewhere(source) else read_vocabularies(source)


def warm_up(settings: Settings, sessions: sessionmaker[Session], pool: ModelPool) -> None:
    """Open what the next task asks, if it is of this machine. Raises as `make_chosen_model`'s model does."""
    layout = _asked_next(settings, sessions)
    if not is_elsewhere(layout.source):
        pool.model(layout).warm_up()


def _asked_next(settings: Settings, sessions: sessionmaker[Session]) -> Layout:
    active = _active(sessions)
    source = model_source(settings, active.facts.source if active else None)
    return _layout(settings, source, sha256=active.facts.sha256 if active else None)
