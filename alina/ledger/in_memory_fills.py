"""Fills and positions of a ledger in memory, and what the kernel counts of them."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from uuid import UUID

from alina.db.tables import OrderRow, PositionRow
from alina.domain.activity import Activity, ActivityQuery
from alina.domain.decisions import Proposal
from alina.domain.evaluation import Evaluation
from alina.domain.market import Market
from alina.domain.orders import Fill, OrderSide, OrderState
from alina.domain.portfolio import CloseReason, Position
from alina.errors import LedgerError
from alina.ledger.exposure import Exposure, Standing
from alina.ledger.fills import (
    DIGITS,
    Fills,
    add_buy,
    check_fill,
    is_third_asset,
    opened,
    smallest_sale,
    take_sale,
)
from alina.ledger.in_memory_accounts import InMemoryAccounts
from alina.ledger.in_memory_rows import EquityHistory, PlainPosition, RecordedFill, Rows
from alina.ledger.in_memory_trading import InMemoryOrders, turned_over
from alina.ledger.part import found, record_of
from alina.ledger.positions import Positions

_NOTHING = Decimal(0)
_MINUTE = timedelta(minutes=1)
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


def told_position(rows: Rows, row: PositionRow) -> Position:
    """Its record, made anew only after a change."""
    told = rows.position_records.get(row.id)
    if told is None:
        told = rows.position_records[row.id] = record_of(Position, row)
    return told


class InMemoryFills(InMemoryOrders, Fills):
    """The fills' part: they move positions and settle orders."""

    _rows: Rows

    def record_fills(
        self,
        client_order_id: str,
        fills: Sequence[Fill],
        *,
        market: Market,
        fee_rates: Mapping[str, Decimal] | None = None,
    ) -> int:
        order = self._order(client_order_id)
        for fill in fills:
            check_fill(order, fill, market)
        known = self._rows.fills.setdefault((order.account, order.symbol), {})
        new = {fill.trade_id: fill for fill in fills if fill.trade_id not in known}
        for fill in fills:
            if fill.trade_id in known and known[fill.trade_id].client_order_id != client_order_id:
                raise LedgerError(
                    f"trade {fill.trade_id} of {fill.symbol} is recorded for order "
                    f"{known[fill.trade_id].client_order_id}: compare both with the exchange"
                )
        with localcontext(prec=DIGITS):
            for fill in sorted(new.values(), key=lambda fill: (fill.executed_at, fill.trade_id)):
                rate = (fee_rates or {}).get(fill.fee_asset) if is_third_asset(fill, market) else None
                self._record(order, fill, self._move(order, fill, market, rate), market)
        self._settle_if_complete(order)
        return len(new)

    def fills(self, account: str, symbol: str | None = None) -> list[Fill]:
        rows = self._rows.fills
        keys = [key for key in rows if key[0] == account] if symbol is None else [(account, symbol)]
        recorded = (one.fill for key in keys for one in rows.get(key, {}).values())
        return sorted(recorded, key=lambda fill: (fill.executed_at, fill.trade_id))

    def _record(self, order: OrderRow, fill: Fill, position: PositionRow, market: Market) -> None:
        rows, name = self._rows, order.client_order_id
        recorded = RecordedFill(
            fill=fill,
            client_order_id=name,
            position_id=position.id,
            market=market,
        )
        rows.fills[order.account, order.symbol][fill.trade_id] = recorded
        rows.filled[name] = rows.filled.get(name, _NOTHING) + fill.quantity
        last = rows.last_fill.get(position.id)
        if last is None or _order_of(fill) > _order_of(last.fill):
            rows.last_fill[position.id] = recorded

    def _move(self, order: OrderRow, fill: Fill, market: Market, fee_rate: Decimal | None) -> PositionRow:
        rows, key = self._rows, (order.account, order.symbol)
        position = rows.open.get(key)
        if fill.side is OrderSide.SELL:
            sold_from = take_sale(position, fill, market, fee_rate, sold_before=self._sold_from)
            rows.position_records.pop(sold_from.id, None)
            return sold_from
        if position is None:
            position = opened(order, fill, self._proposal_of(order), make=PlainPosition)
            rows.positions[position.id] = rows.open[key] = position
        add_buy(position, fill, market, fee_rate)
        rows.position_records.pop(position.id, None)
        return position

    def _sold_from(self, position: PositionRow) -> Decimal:
        known = self._rows.fills[position.account, position.symbol].values()
        its_own = (one.fill for one in known if one.position_id == position.id)
        return sum((fill.quantity for fill in its_own if fill.side is OrderSide.SELL), _NOTHING)

    def _proposal_of(self, order: OrderRow) -> Proposal:
        return self._rows.proposals[self._rows.decisions[order.decision_id].proposal_id]

    def _settle_if_complete(self, row: OrderRow) -> None:
        if row.settled or not row.state.is_final:
            return
        rows, recorded = self._rows, self._rows.filled.get(row.client_order_id, _NOTHING)
        if recorded > row.filled_quantity:
            raise LedgerError(
                f"order {row.client_order_id} ended with {row.filled_quantity} filled, "
                f"but its fills add up to {recorded}: compare it with the exchange"
            )
        if recorded < row.filled_quantity:
            return
        row.settled = True
        self._changed(row)
        del rows.unsettled[row.client_order_id]
        rows.reservations[row.decision_id].state = "settled" if recorded else "released"
        self._let_go(row.decision_id, row)
        self._close_if_done(row.account, row.symbol)

    def _close_if_done(self, account: str, symbol: str) -> None:
        position = self._rows.open.get((account, symbol))
        if position is None or self._of_symbol(account, symbol):
            return
        last = self._rows.last_fill[position.id]
        if position.quantity < smallest_sale(last.market, last.fill):
            reason = self._proposal_of(self._rows.orders[last.client_order_id]).close_reason
            self._close(position, last.fill.executed_at, reason or CloseReason.AGENT)

    def _close(self, position: PositionRow, at: datetime, reason: CloseReason) -> None:
        position.closed_at, position.close_reason = at, reason
        rows = self._rows
        rows.position_records.pop(position.id, None)
        del rows.open[position.account, position.symbol]
        insort(rows.closed.setdefault(position.account, []), position, key=_closed_at)
        rows.unevaluated[position.id] = position


class InMemoryPositions(InMemoryFills, Positions):
    """The positions' part."""

    _rows: Rows

    def open_position(self, account: str, symbol: str) -> Position | None:
        row = self._rows.open.get((account, symbol))
        return None if row is None else told_position(self._rows, row)

    def open_positions(self, account: str) -> list[Position]:
        mine = sorted((row for row in self._rows.open.values() if row.account == account), key=_symbol)
        return [told_position(self._rows, row) for row in mine]

    def told_of(self, position: Position) -> Decimal | None:
        account = self._rows.accounts[position.account]
        told = account.balances.get(position.symbol.partition("/")[0])
        known = reversed(self._rows.fills[position.account, position.symbol].values())
        newest = next(one.fill.executed_at for one in known if one.position_id == position.id)
        if told is None or account.balances_at is None or account.balances_at < newest:
            return None
        return told.total

    def close_dust(self, account: str, symbol: str, *, at: datetime, reason: CloseReason) -> bool:
        row = self._rows.open.get((account, symbol))
        if row is None or self._of_symbol(account, symbol):
            return False
        self._close(row, at, reason)
        return True

    def closed_trades(self, *, account: str | None = None, limit: int = 50) -> list[Position]:
        closed = [row for name, rows in self._rows.closed.items() if account in (None, name) for row in rows]
        closed.sort(key=lambda row: row.id)
        closed.sort(key=_closed_at, reverse=True)
        return [told_position(self._rows, row) for row in closed[:limit]]

    def position(self, position_id: UUID) -> Position:
        return told_position(
            self._rows, found(self._rows.positions.get(position_id), f"position {position_id}")
        )

    def position_proposal(self, position_id: UUID) -> Proposal:
        row = found(self._rows.positions.get(position_id), f"position {position_id}")
        return self._proposal_of(self._rows.orders[found(row.opened_by, f"position {position_id}")])

    def unevaluated_trades(self) -> list[Position]:
        rows = sorted(self._rows.unevaluated.values(), key=lambda row: (_closed_at(row), row.id))
        return [told_position(self._rows, row) for row in rows]

    def save_evaluation(self, evaluation: Evaluation) -> None:
        if self.position(evaluation.position_id).closed_at is None:
            raise LedgerError(f"position {evaluation.position_id} is open: evaluate it when it is closed")
        self._rows.evaluations.setdefault(evaluation.position_id, evaluation)
        self._rows.unevaluated.pop(evaluation.position_id, None)

    def evaluations(self, *, agent: str | None = None, since: datetime | None = None) -> list[Evaluation]:
        kept = [
            one
            for one in self._rows.evaluations.values()
            if agent in (None, self._rows.positions[one.position_id].agent)
            and (since is None or one.evaluated_at >= since)
        ]
        kept.sort(key=lambda one: one.position_id)
        return sorted(kept, key=lambda one: one.evaluated_at, reverse=True)


class InMemoryExposure(InMemoryAccounts, Exposure):
    """What the kernel counts, over the rows that are recent enough."""

    _rows: Rows

    def activity(self, query: ActivityQuery) -> Activity:
        return self._standing(query).activity

    def locked_standing(self, query: ActivityQuery, proposal_id: UUID) -> Standing:
        return self._standing(query)

    def _standing(self, query: ActivityQuery) -> Standing:
        account, held = self.account(query.account), self._rows.open.get((query.account, query.symbol))
        day = datetime(query.now.year, query.now.month, query.now.day, tzinfo=UTC)
        figures = {
            **self._recent(query, day),
            **self._exposed(query),
            **self._results(query, day),
            **self._worth(query.account, day),
            "has_balances": bool(self._rows.accounts[query.account].balances),
        }
        return Standing(
            account=account,
            position=None if held is None else told_position(self._rows, held),
            activity=Activity(**figures),  # type: ignore[arg-type]  # gathered by name
        )

    def _recent(self, query: ActivityQuery, day: datetime) -> dict[str, object]:
        account, entry_at, same_at = query.account, None, None
        since = min(day, query.now - query.recent)
        for one in reversed(self._rows.reserved_by_symbol.get((account, query.symbol), ())):
            if one.decided_at < since or (entry_at and same_at):
                break
            order = self._rows.order_by_decision.get(one.decision_id)
            if order is None or order.state is not OrderState.REJECTED:
                if one.side is OrderSide.BUY:
                    entry_at = entry_at or one.decided_at
                if (one.side.value, one.agent) == (query.side, query.agent):
                    same_at = same_at or one.decided_at
        reserved_at, minute_ago = self._rows.reserved_at.get(account, []), self._rows.wall() - _MINUTE
        return {
            "last_entry_at": entry_at,
            "last_same_at": same_at,
            "volume_today": self._volume(account, day),
            "orders_last_minute": len(reserved_at) - bisect_right(reserved_at, minute_ago),
        }

    def _volume(self, account: str, day: datetime) -> Decimal:
        """What counts for the day: of what is over, and of what may still be traded."""
        rows = self._rows
        over = rows.turned_over.get((account, day.date()), _NOTHING)
        held = (
            turned_over(one, rows.order_by_decision.get(one.decision_id))
            for one in rows.held.values()
            if one.account == account and one.decided_at >= day
        )
        return sum(held, over)

    def _exposed(self, query: ActivityQuery) -> dict[str, object]:
        held = [one for one in self._rows.held.values() if one.account == query.account]
        amounts = [(one.symbol, one.amount) for one in held if one.side is OrderSide.BUY]
        amounts += [
            (row.symbol, row.cost * row.quantity / row.bought_quantity)
            for row in self._rows.open.values()
            if row.account == query.account
        ]
        base, quote = query.symbol.split("/")
        is_of_one_quote = all(name.split("/")[1] == quote for name, _ in amounts)
        return {
            "reserved_base": sum((one.amount for one in held if one.asset == base), _NOTHING),
            "reserved_quote": sum((one.amount for one in held if one.asset == quote), _NOTHING),
            "open_positions": len({symbol for symbol, _ in amounts}),
            "exposure": sum((amount for _, amount in amounts), _NOTHING) if is_of_one_quote else None,
            "symbol_exposure": sum((amount for name, amount in amounts if name == query.symbol), _NOTHING),
        }

    def _results(self, query: ActivityQuery, day: datetime) -> dict[str, object]:
        since = query.now - query.lookback
        closed = self._rows.closed.get(query.account, [])
        known = closed[bisect_left(closed, min(day, since), key=_closed_at) :]
        last_win = next((_closed_at(row) for row in reversed(known) if row.proceeds >= row.cost), _LONG_AGO)
        today = of_symbol = cost = _NOTHING
        stops = symbol_stops = losses = symbol_trades = 0
        for row in known:
            closed_at, pnl = _closed_at(row), row.proceeds - row.cost
            if closed_at >= day:
                today += pnl
            if closed_at < since:
                continue
            is_stop = row.close_reason is CloseReason.STOP_LOSS
            stops += is_stop
            losses += pnl < 0 and closed_at > last_win
            if row.symbol == query.symbol:
                symbol_trades += 1
                symbol_stops += is_stop
                of_symbol += pnl
                cost += row.cost
        return {
            "pnl_today": today,
            "stop_losses": stops,
            "symbol_stop_losses": symbol_stops,
            "losses_in_a_row": losses,
            "symbol_trades": symbol_trades,
            "symbol_return": of_symbol / cost if cost else None,
        }

    def _worth(self, account: str, day: datetime) -> dict[str, object]:
        history = self._rows.equity.get(account, EquityHistory())
        if not history.times:
            return dict.fromkeys(("equity", "equity_at", "equity_age", "equity_peak", "equity_at_day_start"))
        before_today = max(bisect_left(history.times, day) - 1, 0)
        return {
            "equity": history.by_time[history.times[-1]].total,
            "equity_at": history.times[-1],
            "equity_age": self._rows.wall() - history.recorded_at[history.times[-1]],
            "equity_peak": history.peak,
            "equity_at_day_start": history.by_time[history.times[before_today]].total,
        }


def _order_of(fill: Fill) -> tuple[datetime, str, str]:
    return fill.executed_at, fill.side.value, fill.trade_id


def _closed_at(row: PositionRow) -> datetime:
    assert row.closed_at is not None  # noqa: S101  # only closed ones are asked
    return row.closed_at


def _symbol(row: PositionRow) -> str:
    return row.symbol
