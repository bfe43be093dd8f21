"""Who trades at the venue: keys, balances and positions, exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple


class Balance(NamedTuple):
    """What an account has of one asset."""

    free: Decimal
    locked: Decimal

    @property
    def total(self) -> Decimal:
        return self.free + self.locked


NOTHING = Balance(Decimal(0), Decimal(0))


@dataclass
class Position:
    """A net position in a perpetual. `cost` is the sum of ticks × lots at which its `lots` were opened, of their
    sign."""

    lots: int = 0
    cost: int = 0

    def add(self, lots: int, price: int) -> int:
        """Take a signed fill; return what it realised, in ticks × lots."""
        realised = 0
        if self.lots and (self.lots > 0) != (lots > 0):
            closed = min(abs(lots), abs(self.lots))
            opened_at = self.cost * closed // abs(self.lots)
            sign = 1 if self.lots > 0 else -1
            realised = sign * price * closed - opened_at
            self.cost -= opened_at
            self.lots -= sign * closed
            lots += sign * closed
        self.lots += lots
        self.cost += lots * price
        return realised


@dataclass
class Account:
    """One account. `passphrase` is asked for by OKX alone."""

    name: str
    key: str
    secret: str
    passphrase: str = ""
    can_withdraw: bool = False
    leverage: Decimal = Decimal(10)
    balances: dict[str, Balance] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)

    def balance(self, asset: str) -> Balance:
        return self.balances.get(asset, NOTHING)

    def change(self, asset: str, *, free: Decimal = Decimal(0), locked: Decimal = Decimal(0)) -> None:
        """Add to what is free and to what is locked.

        Raises:
            ArithmeticError: the locked part would fall below zero, or the free part of an account without debt.
        """
        before = self.balance(asset)
        after = Balance(before.free + free, before.locked + locked)
        if after.locked < 0 or (after.free < 0 and free < 0 and not self.positions):
            raise ArithmeticError(f"account {self.name}: {asset} would become {after}")
        self.balances[asset] = after

    def lock(self, asset: str, amount: Decimal) -> None:
        """Move from free to locked; a negative amount moves back."""
        self.change(asset, free=-amount, locked=amount)


def account(name: str = "main", *, key: str = "key", secret: str = "s3cret", passphrase: str = "phrase",
            balances: Mapping[str, Decimal | int | str] | None = None) -> Account:
    """Return an account with some money."""
    given = {"USDT": "100000", "BTC": "1"} if balances is None else balances
    return Account(name, key, secret, passphrase,
                   balances={asset: Balance(Decimal(str(amount)), Decimal(0)) for asset, amount in given.items()})
