"""One pure function a check: (proposal, snapshot, limits) -> None to pass, Denied to stop.

Anything unknown is a denial. Exits skip what limits entries, and protective exits skip all of `POLICY`;
nothing skips what keeps an order valid.
"""

from collections.abc import Mapping

from alina.risk.amounts import Check, spend
from alina.risk.checks.market import (
    assets,
    clock_drift,
    liquidity,
    market_age,
    one_sided_book,
    price_collar,
    slippage,
    spread,
    volume_collapse,
)
from alina.risk.checks.money import (
    max_daily_loss,
    max_daily_volume,
    max_drawdown,
    max_exposure,
    max_order_notional,
    max_symbol_exposure,
    max_trade_amount,
)
from alina.risk.checks.pace import (
    consecutive_losses,
    cooldown,
    duplicate,
    low_profit,
    max_open_positions,
    max_order_rate,
    stoploss_guard,
    symbol_stoploss_guard,
)
from alina.risk.checks.validity import (
    free_balance,
    market_open,
    min_notional,
    not_expired,
    on_the_grid,
    price_fresh,
    side_fits_position,
    stop_order,
    trading_state,
)

__all__ = ["BUILT_IN", "CHECKS", "POLICY", "VALIDITY", "Check", "spend"]

#: always, in this order; the first denial stands
VALIDITY: tuple[Check, ...] = (
    trading_state,
    not_expired,
    market_open,
    price_fresh,
    on_the_grid,
    min_notional,
    stop_order,
    side_fits_position,
    free_balance,
)

#: where they are configured, in this order
POLICY: tuple[Check, ...] = (
    assets,
    clock_drift,
    max_trade_amount,
    max_order_notional,
    cooldown,
    duplicate,
    max_order_rate,
    max_open_positions,
    max_symbol_exposure,
    max_exposure,
    max_daily_volume,
    max_daily_loss,
    max_drawdown,
    stoploss_guard,
    symbol_stoploss_guard,
    consecutive_losses,
    low_profit,
    price_collar,
    spread,
    slippage,
    liquidity,
    one_sided_book,
    market_age,
    volume_collapse,
)

CHECKS: tuple[Check, ...] = (*VALIDITY, *POLICY)

#: by the name that `risk.checks` of config.yaml uses
BUILT_IN: Mapping[str, Check] = {check.__name__: check for check in CHECKS}
