"""What a trade costs, in which asset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from alina.venue.orders import Side

#: fees are cut to an asset's decimals, as on Binance
_FEE_STEP = Decimal("1e-8")


@dataclass(frozen=True, slots=True)
class Fees:
    """Fractions of what is received, paid out of it or, as long as some is there, in a third asset.

    With `in_quote` they are fractions of the notional, always paid in quote: on top of what a buy costs.
    """

    maker: Decimal
    taker: Decimal
    #: the third asset, e.g. BNB
    asset: str | None = None
    #: quote per unit of the third asset, by quote asset
    asset_prices: Mapping[str, Decimal] = field(default_factory=dict)
    in_quote: bool = False

    def reserve(self, side: Side) -> Decimal:
        """The fraction of its notional that an order of this side must hold for its fees."""
        return max(self.maker, self.taker) if self.in_quote and side is Side.BUY else Decimal(0)

    def of(self, amount: Decimal, *, is_maker: bool) -> Decimal:
        """The fee on an amount, in the asset of that amount."""
        return amount * (self.maker if is_maker else self.taker) // _FEE_STEP * _FEE_STEP

    def in_asset(self, notional: Decimal, quote: str, *, is_maker: bool) -> Decimal:
        """The fee on a notional in the third asset."""
        step = self.asset_prices[quote] * _FEE_STEP
        return notional * (self.maker if is_maker else self.taker) // step * _FEE_STEP
