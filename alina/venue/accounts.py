"""What the account holds of each asset, free and locked. Exact to the last digit, never below zero."""

from collections.abc import Iterable
from decimal import Decimal

from alina.domain.market import Balance
from alina.venue.refusal import order_refused


class Accounts:
    """The balances of the venue's one account."""

    def __init__(self, balances: Iterable[Balance]) -> None:
        self._balances = {balance.asset: balance for balance in balances}
        self._changed: set[str] = set()

    def __getitem__(self, asset: str) -> Balance:
        return self._balances.get(asset) or Balance(asset=asset, free=Decimal(0), locked=Decimal(0))

    def all(self) -> list[Balance]:
        return [self._balances[asset] for asset in sorted(self._balances)]

    def require(self, asset: str, amount: Decimal) -> None:
        """Raise the Refusal for an order that needs more than is free."""
        if self[asset].free < amount:
            raise order_refused("Account has insufficient balance for requested action.")

    def lock(self, asset: str, amount: Decimal) -> None:
        self._move(asset, free=-amount, locked=amount)

    def unlock(self, asset: str, amount: Decimal) -> None:
        self._move(asset, free=amount, locked=-amount)

    def spend_locked(self, asset: str, amount: Decimal) -> None:
        self._move(asset, locked=-amount)

    def receive(self, asset: str, amount: Decimal) -> None:
        self._move(asset, free=amount)

    def pay(self, asset: str, amount: Decimal) -> None:
        self._move(asset, free=-amount)

    def take_changed(self) -> tuple[Balance, ...]:
        """The balances that moved since the last call."""
        changed = tuple(self[asset] for asset in sorted(self._changed))
        self._changed.clear()
        return changed

    def _move(self, asset: str, *, free: Decimal = Decimal(0), locked: Decimal = Decimal(0)) -> None:
        held = self[asset]
        after = Balance(asset=asset, free=held.free + free, locked=held.locked + locked)
        if after.free < 0 or after.locked < 0:
            raise AssertionError(f"the books of {asset} would fall below zero: {after}")
        self._balances[asset] = after
        self._changed.add(asset)
