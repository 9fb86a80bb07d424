"""Accounts, their trading state and their worth over time."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from alina.db.tables.base import Base, finite, named, one_of
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
        finite("cash"),
        finite("holdings"),
        Index("ix_equity_account_total", "account", text("(cash + holdings)")),
    )

    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"), primary_key=True)
    as_of: Mapped[datetime] = mapped_column(primary_key=True)
    cash: Mapped[Decimal]
    holdings: Mapped[Decimal]
