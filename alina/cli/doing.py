"""Commands that act on the running system or on the account."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from alina.cli.output import AsJson, print_json, say, text
from alina.cli.told import running_settings_of
from alina.config import Settings
from alina.domain.decisions import Decision, Proposal
from alina.domain.orders import LedgerOrder
from alina.domain.runs import Run
from alina.errors import ConfigError, SystemStateError

#: wall seconds in which a proposal is usually decided and its order acknowledged
_SETTLE_WITHIN = 30.0
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A run and what came of it; None: nothing, or nothing yet."""

    run: Run
    proposal: Proposal | None
    decision: Decision | None
    order: LedgerOrder | None

    @property
    def is_complete(self) -> bool:
        if self.proposal is None or (self.decision is not None and self.decision.content_hash is None):
            return True
        return self.order is not None and self.order.state.is_final


def run(
    context: typer.Context,
    agent: Annotated[str, typer.Argument(help="One of trading.agents.")],
    symbol: Annotated[str, typer.Argument(help="One of market.symbols.")],
    timeout: Annotated[float, typer.Option(min=1, help="Longest wait, in seconds.")] = 90,
    as_json: AsJson = False,
) -> None:
    """Let an agent decide now.

    At the newest closed candle; shows what the agent saw, what it decided and what came of it.

    Example: alina run trading BTC/USDT
    """
    settings = running_settings_of(context)
    _check_names(settings, agent, symbol)
    outcome = _run(settings, agent, symbol, timeout)
    if as_json:
        print_json(
            {
                "run": outcome.run,
                "proposal": outcome.proposal,
                "decision": outcome.decision,
                "order": outcome.order,
            }
        )
    else:
        _show(outcome)


def _check_names(settings: Settings, agent: str, symbol: str) -> None:
    for name, known, setting in (
        (agent, settings.trading.agents, "trading.agents"),
        (symbol, settings.market.symbols, "market.symbols"),
    ):
        if name not in known:
            raise ConfigError(
                f"{name} is not in {setting} ({', '.join(known)}): add it, or choose one of them"
            )


def _run(settings: Settings, agent: str, symbol: str, timeout: float) -> _Outcome:
    from alina import bootstrap
    from alina.queues import make_celery, run_now

    if settings.database_url is None and not settings.data_folder.exists():
        raise SystemStateError("nothing runs here: start the system with `alina up`")
    urls = bootstrap.connections(settings)
    app = make_celery(settings, database_url=urls.database_url, redis_url=urls.redis_url)
    result = run_now(app, agent, symbol=symbol).get(timeout)
    unit_of_work = bootstrap.make_unit_of_work(urls.database_url, bootstrap.candles_of(settings))

    def look() -> _Outcome:
        with unit_of_work() as uow:
            proposal = uow.ledger.proposal(result.proposal_id) if result.proposal_id else None
            decision = uow.ledger.decision_of(proposal.id) if proposal else None
            order = uow.ledger.order_of(decision.id) if decision else None
            return _Outcome(uow.ledger.run(result.run_id), proposal, decision, order)

    return _when_complete(look)


def _when_complete(look: Callable[[], _Outcome]) -> _Outcome:
    deadline = time.monotonic() + _SETTLE_WITHIN
    while not (outcome := look()).is_complete and time.monotonic() < deadline:
        time.sleep(_POLL)
    return outcome


def _show(outcome: _Outcome) -> None:
    one = outcome.run
    say(f"run       {one.id}  {one.agent} {one.symbol} at {text(one.as_of)}")
    say(f"result    {one.state.value}: {one.summary}")
    for name, value in one.context.items():
        say(f"  {name}: {_figures(value)}")
    for name, line in _lines(outcome).items():
        say(f"{name:<9} {line}")


def _figures(value: Any) -> str:
    """Text, a list of texts, or a list of name and value."""
    if isinstance(value, list | tuple):
        parts = (" ".join(map(str, one)) if isinstance(one, list | tuple) else text(one) for one in value)
        return ", ".join(parts) or "none"
    return text(value)


def _lines(outcome: _Outcome) -> dict[str, str]:
    """What came of the run, as far as it came."""
    lines: dict[str, str] = {}
    if (proposal := outcome.proposal) is not None:
        lines["proposal"] = (
            f"{proposal.side.value} {text(proposal.quantity)} {proposal.symbol}: {proposal.rationale}"
        )
        lines["verdict"] = "not decided yet: `alina decisions` shows it later"
    if (decision := outcome.decision) is not None:
        reason = f" {decision.reason.name}: {decision.message}" if decision.reason else ""
        lines["verdict"] = f"{decision.verdict}{reason}  ({decision.id})"
    if (known := outcome.order) is not None:
        filled = f"{text(known.filled_quantity)} of {text(known.order.quantity)}"
        lines["order"] = f"{known.state.value}, filled {filled}  ({known.order.client_order_id})"
    return lines
