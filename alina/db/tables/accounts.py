"""Accounts, their trading state and their worth over time."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from alina.db.tables.base import Base, at_least, finite, named, one_of
from alina.domain.portfolio import TradingState, WindDown


class AccountRow(Base):
    """One exchange account. Its row is what transactions on its money lock."""

    __tablename__ = "accounts"
    __table_args__ = (named("name"), one_of("trading_state", TradingState), one_of("wind_down", WindDown))

    name: Mapped[str] = mapped_column(primary_key=True)
    trading_state: Mapped[TradingState] = mapped_column(server_default=TradingState.ACTIVE.value)
    state_reason: Mapped[str] = mapped_column(server_default="")
    state_changed_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    wind_down: Mapped[WindDown] = mapped_column(server_default=WindDown.NONE.value)
    #: market time of the opening balances, which hold all that was traded before; NULL: not known
    opened_at: Mapped[datetime | None]


class SystemStateRow(Base):
    """What all accounts together may do: the one row of its table. Without it nothing is allowed."""

    __tablename__ = "system_state"
    __table_args__ = (CheckConstraint("singleton", name="singleton"), one_of("trading_state", TradingState))

    singleton: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    trading_state: Mapped[TradingState] = mapped_column(server_default=TradingState.ACTIVE.value)
    state_reason: Mapped[str] = mapped_column(server_default="")
    state_changed_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class BalanceRow(Base):
    """What an account holds of one asset, as the exchange last said; agents read it here."""

    __tablename__ = "balances"
    __table_args__ = (finite("free"), finite("locked"), finite("opening"))

    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"), primary_key=True)
    asset: Mapped[str] = mapped_column(primary_key=True)
    free: Mapped[Decimal]
    locked: Mapped[Decimal]
    #: total before the first trade; every fill since must explain the difference
    opening: Mapped[Decimal]
    as_of: Mapped[datetime]


class EquityRow(Base):
    """The worth of an account at one market time, in quote."""

    __tablename__ = "equity"
    __table_args__ = (
        PrimaryKeyConstraint("account", "peak_number", "as_of"),
        finite("cash"),
        finite("holdings"),
        at_least(0, "peak_number"),
        Index("ix_equity_account_total", "account", "peak_number", text("(cash + holdings)")),
    )

    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"))
    as_of: Mapped[datetime]
    cash: Mapped[Decimal]
    holdings: Mapped[Decimal]
    #: of the newest peak that was begun before the balances were asked for; 0: of none
    peak_number: Mapped[int] = mapped_column(server_default=text("0"))
    #: wall time
    recorded_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class NewPeakRow(Base):
    """A person's word that only the equity recorded after it counts. A trigger: it never changes."""

    __tablename__ = "new_peaks"
    __table_args__ = (
        at_least(1, "number"),
        CheckConstraint("length(reason) BETWEEN 1 AND 1000", name="reason"),
        named("begun_by"),
    )

    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    reason: Mapped[str]
    begun_by: Mapped[str]
    #: wall time
    begun_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
