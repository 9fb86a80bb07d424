"""A run in pictures. Market time, UTC; no global state of the plotting library is touched."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alina.backtest.benchmarks import Comparison, RandomAgents
from alina.backtest.equity import Curve, Series, Times
from alina.backtest.metrics import drawdowns
from alina.backtest.statistics import CONFIDENCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OURS, _HELD, _LUCK, _LOSS = "#1f5fa8", "#7a7a7a", "#d9b26a", "#b5403a"
#: what stands between the lines and fits on a page
_BUCKETS = 1000
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def overview(curve: Curve, held: Series, random: RandomAgents | None) -> "Figure":
    """Equity, drawdown and exposure below one another, on one axis of time."""
    figure = _figure(10, 8.5)
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(5, 2, 1.5))
    _equity(above, curve, held, random)
    _drawdown(middle, curve, held)
    _exposure(below, curve)
    return figure


def intervals(compared: Comparison) -> "Figure":
    """What was gained, alone and beyond the benchmarks, with how sure that is."""
    rows = [("return", compared.total_return), ("beyond holding", compared.over_holding)]
    if compared.over_random:
        rows.append(("beyond random agents", compared.over_random))
    figure = _figure(10, 0.6 + 0.5 * len(rows))
    axis = figure.subplots()
    for row, (_, interval) in enumerate(rows):
        axis.plot([100 * interval.low, 100 * interval.high], [row, row], color=_OURS, linewidth=3, alpha=0.5)
        axis.plot(100 * interval.estimate, row, "o", color=_OURS)
    axis.axvline(0, color="0.3", linewidth=1)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel(f"per cent; a bar holds the truth with {CONFIDENCE:.0%}")
    return figure


def months(returns: Mapping[tuple[int, int], float]) -> "Figure":
    """A row a year, a field a month: blue gained, red lost."""
    years = sorted({year for year, _ in returns})
    fields = np.full((len(years), 12), np.nan)
    for (year, month), value in returns.items():
        fields[years.index(year), month - 1] = 100 * value
    figure = _figure(10, 0.7 + 0.4 * len(years))
    axis = figure.subplots()
    extreme = max(float(np.nanmax(np.abs(fields))), 1e-9)
    axis.imshow(fields, cmap="RdBu", vmin=-extreme, vmax=extreme, aspect="auto")
    for (row, column), value in np.ndenumerate(fields):
        if not np.isnan(value):
            colour = "white" if abs(value) > 0.6 * extreme else "black"
            axis.text(column, row, f"{value:+.1f}", ha="center", va="center", color=colour)
    axis.set_xticks(range(12), _MONTHS)
    axis.set_yticks(range(len(years)), [str(year) for year in years])
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    return figure


def in_and_out(ratios: Sequence[tuple[str, float, float]]) -> "Figure":
    """Of every window: its name, the Sharpe ratio where it was searched, and where it was tested."""
    figure, places = _figure(10, 3.2), np.arange(len(ratios))
    axis = figure.subplots()
    axis.bar(places - 0.2, [inside for _, inside, _ in ratios], 0.38, color=_HELD, label="searched")
    axis.bar(places + 0.2, [outside for _, _, outside in ratios], 0.38, color=_OURS, label="tested after it")
    axis.axhline(0, color="0.3", linewidth=1)
    axis.set_xticks(places, [name for name, _, _ in ratios])
    axis.set_ylabel("Sharpe ratio a year")
    axis.legend(loc="best", frameon=False)
    _plain(axis)
    return figure


def tested(windows: Sequence[tuple[int, int, Series]]) -> "Figure":
    """What the found parameters made where they were not searched: start and end, ms, and returns a bar."""
    figure, grown = _figure(10, 3.2), 1.0
    axis = figure.subplots()
    for start, end, returns in windows:
        worth = grown * np.cumprod(np.concatenate(([1.0], 1 + returns)), dtype=np.float64)
        _line(axis, np.linspace(start, end, len(worth)).astype(np.int64), 100 * (worth - 1), color=_OURS)
        axis.axvline(_dates(np.array([start]))[0], color="0.7", linewidth=0.8, linestyle="--")
        grown = float(worth[-1])
    axis.axhline(0, color="0.3", linewidth=1)
    axis.set_ylabel("return, %")
    _plain(axis)
    return figure


def trials(ratios: Sequence[float], luck: float) -> "Figure":
    """Every trial's Sharpe ratio in ascending order, and how far luck alone reaches among so many."""
    figure = _figure(10, 3.2)
    axis = figure.subplots()
    axis.plot(range(1, len(ratios) + 1), sorted(ratios), "o", markersize=3, color=_OURS, label="trials")
    axis.axhline(luck, color=_LOSS, linestyle="--", label=f"the best of {len(ratios)} without any skill")
    axis.set_xlabel("trials on the whole, the best at the right")
    axis.set_ylabel("Sharpe ratio a year")
    axis.legend(loc="best", frameon=False)
    _plain(axis)
    return figure


def rendered(figure: "Figure", picture_format: str) -> bytes:
    """The picture as "svg" or "png": the same figure gives the same bytes."""
    from matplotlib import rc_context

    out = BytesIO()
    metadata: dict[str, Any] = {"Date": None} if picture_format == "svg" else {}
    with rc_context({"svg.hashsalt": "alina", "svg.fonttype": "none"}):
        figure.savefig(out, format=picture_format, dpi=110, metadata=metadata)
    return out.getvalue()


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # heavy: only who draws pays for it

    return Figure(figsize=(width, height), layout="constrained")


def _equity(axis: Any, curve: Curve, held: Series, random: RandomAgents | None) -> None:
    if random is not None:
        low, high = random.band()
        times, label = _dates(curve.times[random.bars]), f"{CONFIDENCE:.0%} of random agents"
        axis.fill_between(times, low, high, color=_LUCK, alpha=0.35, linewidth=0, label=label)
        axis.plot(times, random.median, color=_LUCK, linewidth=1, linestyle="--", label="their median")
    _line(axis, curve.times, held, color=_HELD, linewidth=1, label="buy and hold")
    _line(axis, curve.times, curve.equity, color=_OURS, linewidth=1.6, label="equity")
    axis.set_ylabel("quote")
    axis.legend(loc="best", frameon=False)
    _plain(axis)


def _drawdown(axis: Any, curve: Curve, held: Series) -> None:
    ours, holding = (-100 * drawdowns(each, curve.opening) for each in (curve.equity, held))
    bars = _outline(ours)
    axis.fill_between(_dates(curve.times[bars]), ours[bars], 0, color=_LOSS, alpha=0.6, linewidth=0)
    _line(axis, curve.times, holding, color=_HELD, linewidth=0.8)
    axis.set_ylabel("drawdown, %")
    _plain(axis)


def _exposure(axis: Any, curve: Curve) -> None:
    share = 100 * curve.invested / curve.equity
    bars = _outline(share)
    axis.fill_between(_dates(curve.times[bars]), share[bars], 0, step="post", color=_OURS, alpha=0.4)
    axis.set_ylabel("invested, %")
    _plain(axis)


def _line(axis: Any, times: Times, values: Series, **style: Any) -> None:
    bars = _outline(values)
    axis.plot(_dates(times[bars]), values[bars], **style)


def _outline(values: Series) -> NDArray[np.int64]:
    """The bars that a drawn line needs: of every stretch the lowest and the highest, and both ends."""
    if len(values) <= 2 * _BUCKETS:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), _BUCKETS + 1).astype(np.int64)
    chosen = [
        first + found
        for first, last in pairwise(edges.tolist())
        for found in (values[first:last].argmin(), values[first:last].argmax())
    ]
    return np.unique([0, *chosen, len(values) - 1])


def _dates(times: Times) -> NDArray[np.datetime64]:
    return times.astype("datetime64[ms]")


def _plain(axis: Any) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
