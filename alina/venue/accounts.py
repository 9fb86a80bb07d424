"""What the account holds of each asset, free and locked. Exact to the last digit, never below zero."""

from collections.abc import Iterable
from decimal import Decimal

from alina.domain.market import Balance
from alina.venue.refusal import order_refused

_NOTHING = Decimal(0)


class Accounts:
    """The balances of the venue's one account."""

    def __init__(self, balances: Iterable[Balance]) -> None:
        told = {balance.asset: balance for balance in balances}
        self._free = {asset: balance.free for asset, balance in told.items()}
        self._locked = {asset: balance.locked for asset, balance in told.items()}
        #: records of what has not moved since they were made
        self._told = told
        self._changed: set[str] = set()

    def __getitem__(self, asset: str) -> Balance:
        if asset not in self._told:
            locked = self._locked.get(asset, _NOTHING)
            self._told[asset] = Balance(asset=asset, free=self.free(asset), locked=locked)
        return self._told[asset]

    def free(self, asset: str) -> Decimal:
        """What may be spent."""
        return self._free.get(asset, _NOTHING)

    def all(self) -> list[Balance]:
        return [self[asset] for asset in sorted(self._free)]

    def require(self, asset: str, amount: Decimal) -> None:
        """Raise the Refusal for an order that needs more than is free."""
        if self.free(asset) < amount:
            raise order_refused("Account has insufficient balance for requested action.")

    def lock(self, asset: str, amount: Decimal) -> None:
        self._add(self._free, asset, -amount)
        self._add(self._locked, asset, amount)

    def unlock(self, asset: str, amount: Decimal) -> None:
        self._add(self._free, asset, amount)
        self._add(self._locked, asset, -amount)

    def spend_locked(self, asset: str, amount: Decimal) -> None:
        self._add(self._locked, asset, -amount)

    def receive(self, asset: str, amount: Decimal) -> None:
        self._add(self._free, asset, amount)

    def pay(self, asset: str, amount: Decimal) -> None:
        self._add(self._free, asset, -amount)

    def take_changed(self) -> tuple[Balance, ...]:
        """The balances that moved since the last call."""
        changed = tuple(self[asset] for asset in sorted(self._changed))
        self._changed.clear()
        return changed

    def _add(self, column: dict[str, Decimal], asset: str, amount: Decimal) -> None:
        after = column.get(asset, _NOTHING) + amount
        if after < 0:
            raise AssertionError(f"the books of {asset} would fall below zero: {after}")
        column[asset] = after
        self._told.pop(asset, None)
        self._changed.add(asset)
