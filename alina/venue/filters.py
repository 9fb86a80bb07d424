"""The rules of one symbol, and which of Binance's filters an order breaks."""

from dataclasses import dataclass
from decimal import Decimal

from alina.venue.orders import OrderRequest
from alina.venue.refusal import Refusal, filter_failure

MAX_NUM_ORDERS = 200
#: of these, orders that have a stop price
MAX_NUM_ALGO_ORDERS = 5
MAX_PRICE = Decimal(1_000_000_000)
MAX_QUANTITY = Decimal(9_000_000_000)
MULTIPLIER_UP = Decimal(5)
MULTIPLIER_DOWN = Decimal("0.2")
_COARSEST_TICK = Decimal("0.01")
_MOST_DECIMALS = 8
#: what Binance asks for in these quote assets; 10 in all others
_MIN_NOTIONAL = {"BTC": Decimal("0.0001"), "ETH": Decimal("0.001"), "BNB": Decimal("0.01")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One symbol: its assets and its steps. Prices in quote per base."""

    symbol: str  # "BTCUSDT"
    base: str
    quote: str
    tick_size: Decimal
    lot_size: Decimal
    min_notional: Decimal

    def check(self, request: OrderRequest, *, last_price: Decimal) -> None:
        """Raise the Refusal of the first filter that the request breaks."""
        if request.limit_price is not None:
            self._check_price("price", request.limit_price)
            if not last_price * MULTIPLIER_DOWN <= request.limit_price <= last_price * MULTIPLIER_UP:
                raise filter_failure("PERCENT_PRICE_BY_SIDE")
        if request.stop_price is not None:
            self._check_price("stopPrice", request.stop_price)
        if request.quantity is not None:
            self._check_quantity(request.quantity, is_market=request.kind.is_market)
        notional = request.quote_quantity
        if notional is not None:
            _check_precision("quoteOrderQty", notional)
        else:
            price = request.limit_price or request.stop_price or last_price
            notional = (request.quantity or Decimal(0)) * price
        if notional < self.min_notional:
            raise filter_failure("NOTIONAL")

    def _check_price(self, name: str, price: Decimal) -> None:
        _check_precision(name, price)
        if not self.tick_size <= price <= MAX_PRICE or price % self.tick_size:
            raise filter_failure("PRICE_FILTER")

    def _check_quantity(self, quantity: Decimal, *, is_market: bool) -> None:
        _check_precision("quantity", quantity)
        if not self.lot_size <= quantity <= MAX_QUANTITY or quantity % self.lot_size:
            raise filter_failure("MARKET_LOT_SIZE" if is_market and quantity > MAX_QUANTITY else "LOT_SIZE")


def default_tick_size(price_decimals: int) -> Decimal:
    """0.01, or finer where the recorded prices are."""
    return min(_COARSEST_TICK, Decimal(1).scaleb(-price_decimals))


def default_min_notional(quote: str) -> Decimal:
    """Quote."""
    return _MIN_NOTIONAL.get(quote, Decimal(10))


def _check_precision(name: str, value: Decimal) -> None:
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_MOST_DECIMALS:
        raise Refusal(-1111, f"Parameter '{name}' has too much precision.")
