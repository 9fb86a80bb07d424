"""The equity picture: what the account was worth, beside simply holding the market."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from alina.domain.market import Candle
from alina.domain.orders import Fill, OrderSide
from alina.domain.portfolio import Equity


def draw(
    path: Path, equity: Sequence[Equity], candles: Sequence[Candle], fills: Sequence[Fill], *, title: str
) -> None:
    """Write a PNG: equity and buy-and-hold above, price with buys and sells below. Market time, UTC."""
    import matplotlib  # heavy: only who draws pays for it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(10, 7), height_ratios=(3, 2))
    times, worth = [point.as_of for point in equity], [float(point.total) for point in equity]
    above.step(times, worth, where="post", label="equity", color="tab:blue", linewidth=1.8)
    held = held_instead(equity, candles)
    above.plot(
        [t for t, _ in held], [float(v) for _, v in held], label="buy and hold", color="0.6", linewidth=1
    )
    above.set_ylabel("quote")
    above.set_title(title)
    above.legend(loc="best", frameon=False)
    below.plot([c.close_time for c in candles], [float(c.close) for c in candles], color="0.3", linewidth=1)
    for side, marker, colour in ((OrderSide.BUY, "^", "tab:green"), (OrderSide.SELL, "v", "tab:red")):
        chosen = [fill for fill in fills if fill.side is side]
        below.scatter(
            [fill.executed_at for fill in chosen],
            [float(fill.price) for fill in chosen],
            marker=marker,
            color=colour,
            label=side.value,
            zorder=3,
        )
    below.set_ylabel("price")
    below.legend(loc="best", frameon=False)
    for axis in (above, below):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.autofmt_xdate()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def held_instead(equity: Sequence[Equity], candles: Sequence[Candle]) -> list[tuple[datetime, Decimal]]:
    """What the first equity would be worth at each close, had it bought the market then; fees aside."""
    within = [c for c in candles if equity and equity[0].as_of <= c.close_time <= equity[-1].as_of]
    return [(c.close_time, equity[0].total * c.close / within[0].close) for c in within]
