"""Accounts: trading state, the balances the exchange last told, worth over time."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from alina.db.tables import AccountRow, BalanceRow, EquityRow
from alina.domain.market import Balance, Balances
from alina.domain.portfolio import AccountState, Equity, TradingState
from alina.ledger.part import Part, found, locked_account, record_of, values_of


class Accounts(Part):
    """The accounts' part of the ledger."""

    def ensure_account(self, name: str) -> None:
        """Make the account, ACTIVE, if it is not there."""
        self._session.execute(insert(AccountRow).values(name=name).on_conflict_do_nothing())

    def lock_account(self, name: str) -> AccountState:
        """Its state, locked until the transaction ends. Raises LedgerError if unknown."""
        return _state(locked_account(self._session, name))

    def account(self, name: str) -> AccountState:
        """Its state now. Raises LedgerError if unknown."""
        row = self._session.get(AccountRow, name, populate_existing=True)
        return _state(found(row, f"account {name!r}"))

    def set_trading_state(self, name: str, state: TradingState, *, reason: str, at: datetime) -> None:
        """Change what the account may do. Raises LedgerError if unknown."""
        row = locked_account(self._session, name)
        row.trading_state, row.state_reason, row.state_changed_at = state, reason, at
        self._session.flush()

    def record_balances(self, account: str, balances: Balances, *, at: datetime) -> None:
        """What the exchange says the account holds, in place of what it said before.

        The first record of an account is also its opening balance; an asset that appears later
        opened at zero.
        """
        locked_account(self._session, account)
        held = select(BalanceRow.asset).where(BalanceRow.account == account)
        is_first = self._session.scalar(held.limit(1)) is None
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

    def record_equity(self, equity: Equity) -> None:
        """The account's worth at one time; the last word on the same time stays."""
        values = values_of(equity)
        self._session.execute(
            insert(EquityRow)
            .values(**values)
            .on_conflict_do_update(index_elements=["account", "as_of"], set_=values)
        )

    def equity_curve(self, account: str, *, since: datetime | None = None) -> list[Equity]:
        """Its worth over time, oldest first."""
        query = select(EquityRow).where(EquityRow.account == account).order_by(EquityRow.as_of)
        if since is not None:
            query = query.where(EquityRow.as_of >= since)
        rows = self._session.scalars(query.execution_options(populate_existing=True))
        return [record_of(Equity, row) for row in rows]

    def _balance_rows(self, account: str) -> list[BalanceRow]:
        query = select(BalanceRow).where(BalanceRow.account == account).order_by(BalanceRow.asset)
        return list(self._session.scalars(query.execution_options(populate_existing=True)))


def _state(row: AccountRow) -> AccountState:
    return AccountState(name=row.name, trading_state=row.trading_state, reason=row.state_reason)
