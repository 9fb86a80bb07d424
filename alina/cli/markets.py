"""Commands that ask exchanges: what they list, what the account holds, and what each supports."""

from typing import Annotated

import typer

from alina.cli.options import settings_of
from alina.cli.output import AsJson, print_json, print_table
from alina.cli.told import running_settings_of
from alina.errors import ConfigError, ExchangeRefused

Exchange = Annotated[
    str | None, typer.Option("--exchange", help="A ccxt id. Default: the one traded on, in paper the venue.")
]


def markets(
    context: typer.Context,
    symbols: Annotated[list[str] | None, typer.Argument(help="Default: all.")] = None,
    quote: Annotated[str | None, typer.Option(help="Only those priced in it, e.g. USDT.")] = None,
    exchange: Exchange = None,
    as_json: AsJson = False,
) -> None:
    """Show the spot markets of an exchange.

    With the smallest steps and sizes of an order, and the fees.

    Example: alina markets --exchange kraken --quote EUR
    """
    from alina import bootstrap

    settings = settings_of(context) if exchange else running_settings_of(context)
    asked = (
        bootstrap.public_exchange(settings, exchange)
        if exchange
        else bootstrap.make_exchange(settings, bootstrap.NO_KEYS)
    )
    listed = [asked.market(symbol) for symbol in symbols] if symbols else asked.markets()
    chosen = [market for market in listed if quote in (None, market.quote)]
    if not chosen:
        raise ExchangeRefused(f"no spot market is priced in {quote}: name another --quote")
    if as_json:
        print_json(chosen)
        return
    columns = ("symbol", "tick_size", "lot_size", "min_quantity", "min_notional", "maker_fee", "taker_fee")
    rows = [
        (*(getattr(one, name) for name in columns), "" if one.trading else "not trading") for one in chosen
    ]
    print_table("Markets", (*columns, ""), rows)


def balance(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what the account holds.

    As the exchange says, in paper mode the venue of a running system.

    Example: alina balance --json
    """
    from alina import bootstrap

    settings = running_settings_of(context)
    is_paper = settings.market.exchange.mode == "paper"
    keys = bootstrap.venue_keys(settings) if is_paper else bootstrap.exchange_keys(settings)
    balances = bootstrap.make_exchange(settings, keys).balances()
    held = [balances[asset] for asset in sorted(balances) if balances[asset].total]
    if as_json:
        print_json(held)
    else:
        print_table(
            "Balance", ("asset", "free", "locked"), [(one.asset, one.free, one.locked) for one in held]
        )


def exchanges(
    ids: Annotated[list[str] | None, typer.Argument(help="ccxt ids. Default: all with spot markets.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each exchange supports.

    An order whose answer was lost is found by its client order id; where only lists can be searched, its
    fate may stay unknown. A stop waits at the exchange, or here, and the market is watched.

    Example: alina exchanges binance kraken
    """
    from alina.exchange.catalogue import supported

    known = {one.id: one for one in supported()}
    unknown = [name for name in ids or () if name not in known]
    if unknown:
        raise ConfigError(f"{unknown[0]} is no exchange with spot markets: `alina exchanges` lists them")
    chosen = [known[name] for name in ids or known]
    if as_json:
        print_json(chosen)
        return
    rows = [
        (
            one.id,
            one.orders_found_by,
            one.stops_wait_at,
            "yes" if one.has_stop_orders else "",
            "yes" if one.has_testnet else "",
            " ".join(one.timeframes),
        )
        for one in chosen
    ]
    columns = ("exchange", "orders found by", "stops wait at", "stop orders", "testnet", "candles")
    print_table("Exchanges", columns, rows)
