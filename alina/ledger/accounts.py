"""Accounts: trading state, the balances the exchange last told, worth over time."""

from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert

from alina.db.prepared import Prepared
from alina.db.tables import AccountRow, BalanceRow, EquityRow, NewPeakRow, SystemStateRow
from alina.domain.market import Balance, Balances
from alina.domain.portfolio import AccountState, Equity, NewPeak, SystemState, TradingState, WindDown
from alina.ledger.part import Part, first_row, found, locked_account, record_of, values_of

LOCK = Prepared("alina_lock", ("text",), "SELECT FROM accounts WHERE name = $1 FOR NO KEY UPDATE")
#: what `in_force` takes, for a statement on accounts a and system_state s
STATES = "a.trading_state, a.state_reason, a.wind_down, s.trading_state, s.state_reason"
_STATES = Prepared(
    "alina_states",
    ("text",),
    f"SELECT {STATES} FROM accounts a LEFT JOIN system_state s ON s.singleton WHERE a.name = $1",  # noqa: S608  # no outside text
)


class Accounts(Part):
    """The accounts' part of the ledger."""

    def ensure_account(self, name: str) -> None:
        """Make the account, ACTIVE, and the state of the whole system, if they are not there."""
        self._session.execute(insert(AccountRow).values(name=name).on_conflict_do_nothing())
        self._session.execute(insert(SystemStateRow).values(singleton=True).on_conflict_do_nothing())

    def lock_account(self, name: str) -> AccountState:
        """Its state in force, its own locked until the transaction ends. Raises LedgerError if unknown.

        The states are read by a statement of their own: one that waits for a lock sees what was committed
        before it began to wait.
        """
        return in_force(name, first_row(self._session, (LOCK, (name,)), (_STATES, (name,))))

    def account(self, name: str) -> AccountState:
        """Its state in force now. Raises LedgerError if unknown."""
        return in_force(name, first_row(self._session, (_STATES, (name,))))

    def system_state(self) -> SystemState:
        """What all accounts together may do; HALTED where nobody ever said."""
        row = self._session.get(SystemStateRow, True, populate_existing=True)
        return _system_state(row.trading_state, row.state_reason) if row else _system_state(None, "")

    def set_trading_state(self, name: str, state: TradingState, *, reason: str, at: datetime) -> None:
        """Change what the account itself may do; what was asked of it when it stopped is over.

        Raises LedgerError if unknown.
        """
        row = locked_account(self._session, name)
        row.trading_state, row.state_reason, row.state_changed_at = state, reason, at
        row.wind_down = WindDown.NONE
        self._session.flush()

    def set_system_state(self, state: TradingState, *, reason: str, at: datetime) -> None:
        """Change what all accounts together may do."""
        values = {"trading_state": state, "state_reason": reason, "state_changed_at": at}
        statement = insert(SystemStateRow).values(singleton=True, **values)
        self._session.execute(statement.on_conflict_do_update(index_elements=["singleton"], set_=values))

    def lower_trading_state(self, name: str, state: TradingState, *, reason: str, at: datetime) -> bool:
        """Make the account's own state stricter, never looser; whether that changed it.

        Raises LedgerError if unknown.
        """
        row = locked_account(self._session, name)
        if state.strictness <= row.trading_state.strictness:
            return False
        row.trading_state, row.state_reason, row.state_changed_at = state, reason, at
        self._session.flush()
        return True

    def lower_system_state(self, state: TradingState, *, reason: str, at: datetime) -> bool:
        """Make the whole system's state stricter, never looser; whether that changed it."""
        looser = [one for one in TradingState if one.strictness < state.strictness]
        statement = update(SystemStateRow).where(SystemStateRow.trading_state.in_(looser))
        changed = self._session.scalar(
            statement.values(trading_state=state, state_reason=reason, state_changed_at=at).returning(
                SystemStateRow.singleton
            )
        )
        return changed is not None

    def ask_wind_down(self, name: str, wish: WindDown) -> None:
        """Store what is to be done with the account's orders and positions. Raises LedgerError if unknown."""
        locked_account(self._session, name).wind_down = wish
        self._session.flush()

    def account_names(self) -> list[str]:
        """Every account."""
        return list(self._session.scalars(select(AccountRow.name).order_by(AccountRow.name)))

    def record_balances(self, account: str, balances: Balances, *, at: datetime) -> None:
        """What the exchange says the account holds, in place of what it said before.

        The first record of an account is also its opening balance; an asset that appears later
        opened at zero.
        """
        row = locked_account(self._session, account)
        held = select(BalanceRow.asset).where(BalanceRow.account == account)
        is_first = self._session.scalar(held.limit(1)) is None
        if is_first:
            row.opened_at = at
        self._session.execute(
            update(BalanceRow)
            .where(BalanceRow.account == account, BalanceRow.asset.not_in(balances))
            .values(free=0, locked=0, as_of=at)
        )
        rows = [
            {
                "account": account,
                "asset": asset,
                "free": balance.free,
                "locked": balance.locked,
                "opening": balance.total if is_first else 0,
                "as_of": at,
            }
            for asset, balance in balances.items()
        ]
        if rows:  # one statement: an exchange may name hundreds of assets, and the account is locked
            statement = insert(BalanceRow).values(rows)
            now = {name: statement.excluded[name] for name in ("free", "locked", "as_of")}
            self._session.execute(
                statement.on_conflict_do_update(index_elements=["account", "asset"], set_=now)
            )

    def balances(self, account: str) -> Balances:
        """What the exchange last said, by asset; empty before the first record."""
        rows = self._balance_rows(account)
        return {row.asset: Balance(asset=row.asset, free=row.free, locked=row.locked) for row in rows}

    def opening_balances(self, account: str) -> Balances:
        """What the account held at its first record; every fill since must explain the difference."""
        rows = self._balance_rows(account)
        return {row.asset: Balance(asset=row.asset, free=row.opening, locked=row.opening * 0) for row in rows}

    def peak_number(self, account: str) -> int:
        """The number of the account's newest peak; 0: nobody has begun one."""
        return self._session.scalar(_newest_peak(account).with_only_columns(NewPeakRow.number)) or 0

    def opened_at(self, account: str) -> datetime | None:
        """When its opening balances were recorded: they hold what was traded before. None: not known."""
        return self._session.scalar(select(AccountRow.opened_at).where(AccountRow.name == account))

    def record_equity(self, equity: Equity, *, peak_number: int | None = None) -> None:
        """The account's worth at one time; the last word on the same time since a new peak stays.

        `peak_number` was the newest before anything of it was asked for: what a newer peak leaves behind
        does not count for that one. Default: the newest now.
        """
        number = self.peak_number(equity.account) if peak_number is None else peak_number
        values = values_of(equity) | {"peak_number": number, "recorded_at": func.clock_timestamp()}
        self._session.execute(
            insert(EquityRow)
            .values(**values)
            .on_conflict_do_update(index_elements=["account", "peak_number", "as_of"], set_=values)
        )

    def begin_new_peak(self, account: str, *, reason: str, by: str) -> NewPeak:
        """Count drawdown and the day's loss from the equity recorded from now on.

        A new peak from which nothing was recorded yet stands: a repeat changes nothing. Raises LedgerError
        if unknown.
        """
        locked_account(self._session, account)
        newest = self._session.scalar(_newest_peak(account))
        if newest is None or self._is_counted(newest):
            number = newest.number + 1 if newest is not None else 1
            newest = NewPeakRow(account=account, number=number, reason=reason, begun_by=by)
            self._session.add(newest)
            self._session.flush()
        return record_of(NewPeak, newest)

    def newest_peak(self, account: str) -> NewPeak | None:
        """The new peak that was begun last; None: everything recorded counts."""
        row = self._session.scalar(_newest_peak(account))
        return record_of(NewPeak, row) if row is not None else None

    def equity_curve(self, account: str, *, since: datetime | None = None) -> list[Equity]:
        """Its worth over time, oldest first."""
        query = select(EquityRow).where(EquityRow.account == account)
        query = query.order_by(EquityRow.as_of, EquityRow.peak_number)
        if since is not None:
            query = query.where(EquityRow.as_of >= since)
        rows = self._session.scalars(query.execution_options(populate_existing=True))
        return [record_of(Equity, row) for row in rows]

    def _is_counted(self, peak: NewPeakRow) -> bool:
        its_own = (EquityRow.account == peak.account, EquityRow.peak_number == peak.number)
        return self._session.scalar(select(EquityRow.as_of).where(*its_own).limit(1)) is not None

    def _balance_rows(self, account: str) -> list[BalanceRow]:
        query = select(BalanceRow).where(BalanceRow.account == account).order_by(BalanceRow.asset)
        return list(self._session.scalars(query.execution_options(populate_existing=True)))


def _newest_peak(account: str) -> Select[NewPeakRow]:
    own = select(NewPeakRow).where(NewPeakRow.account == account)
    return own.order_by(NewPeakRow.number.desc()).limit(1)


def in_force(name: str, row: tuple[Any, ...] | None) -> AccountState:
    """The stricter of the account's own state and the system's."""
    own, reason, wind_down, system, system_reason = found(row, f"account {name!r}")
    state, of_all = TradingState(own), _system_state(system, system_reason)
    if of_all.trading_state.strictness > state.strictness:
        state, reason = of_all.trading_state, f"the whole system: {of_all.reason}"
    return AccountState(name=name, trading_state=state, reason=reason, wind_down=WindDown(wind_down))


def _system_state(state: str | None, reason: str) -> SystemState:
    """HALTED where nobody ever said."""
    if state is None:
        return SystemState(
            trading_state=TradingState.HALTED, reason="its state is not known: `alina up` makes it"
        )
    return SystemState(trading_state=TradingState(state), reason=reason)
