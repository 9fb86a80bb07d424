"""Every seam between packages, on one page. Implementations are picked in bootstrap.py."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from alina.domain.market import Balances, Candle, Market, MarketView, OrderBook, Ticker
from alina.domain.orders import Fill, Order, PlacedOrder
from alina.domain.records import Record
from alina.domain.runs import Completion, CompletionRequest, ModelIdentity


class Clock(Protocol):
    """The market's time: the wall clock live, the replayed time over a recorded market."""

    def now(self) -> datetime:
        """Aware UTC. Raises ExchangeUnavailable if the market's time cannot be known."""
        ...


class Exchange(Protocol):
    """A market where orders are placed. Implementations raise only ExchangeError."""

    def market(self, symbol: str) -> Market:
        """The rules of a symbol. Raises ExchangeRefused for one it does not list."""
        ...

    def candles(self, symbol: str, timeframe: str, *, since: datetime, limit: int) -> list[Candle]:
        """Up to `limit` candles from `since` on, oldest first; the last one may still be forming."""
        ...

    def ticker(self, symbol: str) -> Ticker: ...

    def order_book(self, symbol: str, *, depth: int) -> OrderBook: ...

    def balances(self) -> Balances: ...

    def submit(self, order: Order, *, signed_at: datetime | None = None) -> PlacedOrder:
        """Send the order once, never retrying by itself.

        `signed_at` is the wall time that the request bears (default: when it leaves). An exchange with a
        receive window refuses one that is older, however late it arrives.

        Raises OrderRejected (the exchange refused it: final) or OrderFateUnknown
        (ask `find` before anything else). No other error leaves this method.
        """
        ...

    def find(self, symbol: str, client_order_id: str) -> PlacedOrder | None:
        """The exchange's own record of an order, open or past; None: it says there is none."""
        ...

    def cancel(self, symbol: str, client_order_id: str, *, exchange_order_id: str | None = None) -> bool:
        """Whether the exchange cancelled the order now. Safe to repeat.

        One that was placed from elsewhere may bear no client order id: it is named by the exchange's own.

        False: it has no such open order. It is done, or never came, or is still on its way: only `find`,
        once the order's settling time is over, tells which. Raises ExchangeUnavailable where the order may
        have been cancelled.
        """
        ...

    def has_stop_orders(self, symbol: str) -> bool:
        """Whether `submit` takes a stop order, which `find`, `open_orders` and `cancel` then know as any."""
        ...

    def open_orders(self, symbol: str) -> list[PlacedOrder]: ...

    def fills(self, symbol: str, *, exchange_order_id: str | None = None) -> list[Fill]:
        """Own trades of a symbol, oldest first; of one order if it is named."""
        ...

    def clock_difference_ms(self) -> int:
        """The exchange's clock minus ours, in milliseconds."""
        ...


class Model(Protocol):
    """A language model in this process. Implementations raise only ModelError."""

    @property
    def identity(self) -> ModelIdentity: ...

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """Answer once. Raises ModelBusy at the deadline, ModelError if the prompt does not fit.

        `on_text` is given each piece of the text as it is written; it neither waits nor raises. An empty
        piece: another model begins, and what was told before is void.
        """
        ...


class AnswerStream(Protocol):
    """The answer of one run, told while it is written. No method waits, and none raises."""

    def begin(self, attempt: int) -> None:
        """A model begins to answer: what was told before is void."""
        ...

    def text(self, piece: str) -> None:
        """What is told next; an empty piece begins anew."""
        ...

    def end(self, completion: Completion) -> None:
        """The answer is whole."""
        ...

    def fail(self, reason: str) -> None:
        """There is no answer, or none that can be used."""
        ...


class Embedder(Protocol):
    """Text to vectors of a fixed length."""

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Record):
    """One thing known about a subject, in two times: of the world and of our knowing it."""

    id: UUID
    subject: str  # e.g. a symbol
    predicate: str  # e.g. "closed_trade"
    text: str
    #: when it was true in the market
    valid_at: datetime
    invalid_at: datetime | None
    #: when we learnt it, and when we learnt better (market time)
    created_at: datetime
    expired_at: datetime | None
    #: what it rests on, e.g. a position's id
    source_id: UUID | None


class Memory(Protocol):
    """Facts that agents recall. Nothing is overwritten: a newer fact supersedes an older one."""

    def remember(self, fact: Fact) -> None:
        """Store it. The same id again changes nothing."""
        ...

    def supersede(self, fact_id: UUID, *, by: Fact) -> None:
        """Store `by` and mark the older fact invalid at `by.valid_at`, expired at `by.created_at`."""
        ...

    def recall(self, subject: str, query: str, *, as_of: datetime, limit: int) -> list[Fact]:
        """The facts nearest to `query` that were known and true at `as_of`, best first."""
        ...

    def get(self, fact_ids: Sequence[UUID]) -> list[Fact]:
        """The facts with these ids, in this order; unknown ids are left out."""
        ...

    def forget_superseded(self, *, before: datetime) -> int:
        """Drop the facts that expired before this market time. Returns how many."""
        ...


class Tool(Protocol):
    """Figures for a prompt, computed from what may be known."""

    name: str

    def figures(self, view: MarketView) -> Mapping[str, str]:
        """Label -> value, both short text. Looks at nothing but `view`."""
        ...
