"""What keeps an order valid and its price known. Every order passes these, whatever is configured."""

from decimal import Decimal

from alina.domain.decisions import Denied, Proposal, ReasonCode
from alina.domain.market import Market
from alina.domain.orders import OrderSide
from alina.domain.portfolio import TradingState
from alina.risk.amounts import deny, known_market, known_ticker, notional, spend
from alina.risk.limits import Limits, Snapshot

#: quote per base; a sale's turnover is counted at the price that its proposer says to have seen, and stored
_LEAST_PRICE, _MOST_PRICE = Decimal("1E-30"), Decimal("1E+30")


def trading_state(proposal: Proposal, snapshot: Snapshot, _: Limits) -> Denied | None:
    """ACTIVE lets all through, REDUCING only exits, HALTED and an unknown account nothing."""
    match snapshot.trading_state:
        case TradingState.ACTIVE:
            return None
        case TradingState.REDUCING if proposal.reduce_only:
            return None
        case TradingState.REDUCING:
            return deny(ReasonCode.TRADING_REDUCING, "trading state is REDUCING: only exits pass")
        case TradingState.HALTED:
            return deny(ReasonCode.TRADING_HALTED, "trading state is HALTED: nothing passes")
        case _:
            return deny(ReasonCode.UNKNOWN_ACCOUNT, f"account {proposal.account} has no known trading state")


def not_expired(proposal: Proposal, snapshot: Snapshot, _: Limits) -> Denied | None:
    """A proposal lives until `expires_at`, in market time."""
    if snapshot.now <= proposal.expires_at:
        return None
    return deny(ReasonCode.PROPOSAL_EXPIRED, f"expired at {proposal.expires_at}, it is {snapshot.now}")


def market_open(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Denied | None:
    """The exchange lists the symbol and trades it now; entries only in symbols that are looked after."""
    market = snapshot.market
    if market is None or market.symbol != proposal.symbol or not _is_sound(market):
        return deny(ReasonCode.UNKNOWN_MARKET, f"{proposal.symbol} is not known to the exchange")
    if market.trading is not True:
        return deny(ReasonCode.MARKET_CLOSED, f"{proposal.symbol} is not trading")
    if not proposal.reduce_only and limits.symbols is not None and proposal.symbol not in limits.symbols:
        return deny(
            ReasonCode.SYMBOL_NOT_TRADED, f"{proposal.symbol} is not in market.symbols: nobody would sell it"
        )
    return None


def _is_sound(market: Market) -> bool:
    """Rules that can be: of the symbol's own assets, with steps above zero and nothing below it."""
    least = (market.min_quantity, market.min_notional, market.taker_fee)  # a maker may be paid
    return (
        market.symbol == f"{market.base}/{market.quote}"
        and market.lot_size > 0
        and market.tick_size > 0
        and all(one >= 0 for one in least)
    )


def price_fresh(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Denied | None:
    """A price of this symbol is known, sane, and neither older than the limit nor from the future."""
    ticker = snapshot.ticker
    if ticker is None or ticker.symbol != proposal.symbol or not 0 < ticker.bid <= ticker.ask:
        return deny(ReasonCode.UNKNOWN_PRICE, f"no usable price of {proposal.symbol}")
    age = abs(snapshot.now - ticker.as_of)
    if age > limits.max_price_age:
        return deny(ReasonCode.STALE_PRICE, f"price is {age} away from now, limit {limits.max_price_age}")
    return None


def on_the_grid(proposal: Proposal, snapshot: Snapshot, _: Limits) -> Denied | None:
    """Quantity and prices are what the exchange can take: lot and tick size, minimum and maximum."""
    market = known_market(snapshot)
    quantity = proposal.quantity
    if quantity % market.lot_size or quantity < market.min_quantity:
        return deny(
            ReasonCode.INVALID_QUANTITY,
            f"quantity {quantity} is not a multiple of {market.lot_size} of at least {market.min_quantity}",
        )
    if market.max_quantity is not None and quantity > market.max_quantity:
        return deny(ReasonCode.INVALID_QUANTITY, f"quantity {quantity} is above {market.max_quantity}")
    if not _LEAST_PRICE <= proposal.reference_price <= _MOST_PRICE:
        return deny(ReasonCode.INVALID_PRICE, f"the price seen cannot be {proposal.reference_price}")
    prices = (proposal.limit_price, proposal.trigger_price, proposal.stop_price, proposal.take_profit_price)
    for price in prices:
        if price is not None and (price <= 0 or price % market.tick_size):
            return deny(ReasonCode.INVALID_PRICE, f"price {price} is not a multiple of {market.tick_size}")
    return None


def min_notional(proposal: Proposal, snapshot: Snapshot, _: Limits) -> Denied | None:
    """The order is worth at least what the exchange asks for."""
    amount, least = notional(proposal, snapshot), known_market(snapshot).min_notional
    if amount < least:
        return deny(ReasonCode.BELOW_MIN_NOTIONAL, f"notional {amount} is below {least}")
    return None


def stop_order(proposal: Proposal, snapshot: Snapshot, _: Limits) -> Denied | None:
    """A stop order only sells what is held, waits below the market, and is met once it is triggered."""
    limit, trigger = proposal.limit_price, proposal.trigger_price
    if trigger is None:
        return None
    bid = known_ticker(snapshot).bid
    is_exit = proposal.reduce_only and proposal.side is OrderSide.SELL
    if not is_exit or limit is None or not limit <= trigger < bid:
        return deny(
            ReasonCode.INVALID_PRICE, f"no stop order: trigger {trigger}, limit {limit}, the bid is {bid}"
        )
    return None


def side_fits_position(proposal: Proposal, snapshot: Snapshot, _: Limits) -> Denied | None:
    """Spot: entries buy into no open position; sells reduce one and never exceed it."""
    position = snapshot.position
    if proposal.side is OrderSide.BUY:
        if proposal.reduce_only:
            return deny(ReasonCode.NOTHING_TO_REDUCE, "a buy cannot reduce a long position")
        if position is not None:
            return deny(ReasonCode.POSITION_ALREADY_OPEN, f"already holding {position.quantity}")
        return None
    is_its_own = position is not None and (position.account, position.symbol) == (
        proposal.account,
        proposal.symbol,
    )
    if position is None or not is_its_own or proposal.quantity > position.quantity:
        held = position.quantity if position and is_its_own else Decimal(0)
        return deny(ReasonCode.NOTHING_TO_REDUCE, f"selling {proposal.quantity} of {held} held")
    return None


def free_balance(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Denied | None:
    """What the order spends is free, after everything already reserved."""
    asset, needed = spend(proposal, snapshot, limits)
    reserved = snapshot.reserved_quote if proposal.side is OrderSide.BUY else snapshot.reserved_base
    if snapshot.balances is None:
        return deny(ReasonCode.UNKNOWN_BALANCE, "the account's balances are not known")
    if not reserved >= 0:
        return deny(ReasonCode.UNKNOWN_BALANCE, f"what is reserved cannot be {reserved}")
    balance = snapshot.balances.get(asset)
    free = (balance.free if balance else Decimal(0)) - reserved
    if needed > free:
        return deny(ReasonCode.INSUFFICIENT_BALANCE, f"needs {needed} {asset}, free and unreserved {free}")
    return None
