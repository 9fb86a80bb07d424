"""What every agent is, and how the orchestrator finds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, cast, runtime_checkable

from pydantic import BaseModel

from alina.config import Settings
from alina.domain.market import Market, MarketView, Ticker
from alina.domain.orders import OrderSide
from alina.domain.portfolio import CloseReason, Position
from alina.domain.records import Record
from alina.errors import ConfigError

GROUP = "alina.agents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation(Record):
    """Everything an agent may know for one run, cut at `view.as_of`."""

    view: MarketView
    market: Market
    ticker: Ticker
    position: Position | None
    #: quote not in orders and not reserved
    free_quote: Decimal
    #: what the tools found: label -> value
    figures: Mapping[str, str]
    #: recalled facts, nearest first
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish(Record):
    """What an agent would like to trade: the proposal without its bookkeeping."""

    side: OrderSide
    #: base, on the lot grid
    quantity: Decimal
    #: price the wish rests on
    reference_price: Decimal
    close_reason: CloseReason | None
    stop_price: Decimal | None
    take_profit_price: Decimal | None
    confidence: int
    rationale: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Record):
    """No trade, and why."""

    reason: str


class Agent(Protocol):
    """One way of trading. Stateless: all it knows comes in the situation."""

    #: as in `alina run NAME`, config.yaml and the ledger
    name: str
    #: the first revision of its prompt; later ones live in the database
    system_prompt: str
    user_template: str

    def gate(self, situation: Situation) -> str | None:
        """Why the model is worth asking; None: it is not."""
        ...

    def context(self, situation: Situation) -> Mapping[str, Any]:
        """JSON-ready values for the prompt template; stored with the run.

        With `actions`, the answers possible now ("sell" among them while holding), the run can serve as
        a case of an experiment.
        """
        ...

    def answer_type(self, situation: Situation) -> type[BaseModel]:
        """The schema of the answer that is possible now."""
        ...

    def wish(self, situation: Situation, answer: BaseModel) -> Wish | Hold:
        """What to trade for this answer."""
        ...


@runtime_checkable
class Answering(Protocol):
    """An agent that answers by itself: no model is asked, and nothing is recalled for it."""

    def answer(self, situation: Situation) -> BaseModel:
        """Of the type of `answer_type`, once the gate saw something."""
        ...


@runtime_checkable
class Checking(Protocol):
    """An agent that looks whether an answer makes sense, beyond what its type can say."""

    def check(self, context: Mapping[str, Any], answer: BaseModel) -> None:
        """Raise ValueError, for the model to read, unless the answer rests on this context."""
        ...


def load_agent(name: str, settings: Settings, built_in: Mapping[str, Callable[[Settings], Agent]]) -> Agent:
    """The agent of that name: built in, or an entry point of the group `alina.agents`.

    An entry point is a callable that takes the Settings. Raises ConfigError for an unknown name, and for a
    package that cannot be loaded.
    """
    factory = built_in.get(name)
    if factory is None:
        offered = {point.name: point for point in entry_points(group=GROUP)}
        if name not in offered:
            known = ", ".join(sorted({*built_in, *offered}))
            raise ConfigError(
                f"trading.agents: {name!r} is no installed agent: known are {known}; install its package"
            )
        factory = cast("Callable[[Settings], Agent]", _loaded(offered[name]))
    return factory(settings)


def _loaded(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:  # a package's import may raise anything
        raise ConfigError(
            f"trading.agents: {point.name} cannot be loaded ({error}): mend or remove its package"
        ) from error
