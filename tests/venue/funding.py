"""Funding of perpetuals: every eight hours of virtual time, longs pay shorts the rate, or the other way round.

The mark price is the last price. Rates are made up: a pure function of the seed, the symbol and the time, with the
mean and the range of what BTC has paid in quiet months (mean 0.003 %, at most 0.013 %).
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from tests.venue.accounts import Account
from tests.venue.market import Market
from tests.venue.tape import key_of, mix
from tests.venue.trading import Trading

INTERVAL = 8 * 3_600_000
_STEP = Decimal("0.000001")
_CENTS = Decimal("0.00000001")


class Paid(NamedTuple):
    """What one account was paid (or, below zero, has paid) for one position."""

    time: int
    account: str
    symbol: str
    rate: Decimal
    amount: Decimal


class Funding:
    """See the module. `began` is when the first bar of the history opens."""

    def __init__(self, trading: Trading, seed: int, began: int) -> None:
        self.paid: list[Paid] = []
        self._trading, self._seed, self._began = trading, seed, began

    def rate(self, symbol: str, time: int) -> Decimal:
        """Return the rate that is paid at a time, a fraction of the position's value."""
        return (mix(key_of(self._seed, "funding", symbol), time // INTERVAL) % 200 - 68) * _STEP

    def next_rate(self, market: Market) -> tuple[Decimal, int]:
        """Return the next rate, and when it is paid."""
        due = (self._trading.now // INTERVAL + 1) * INTERVAL
        return self.rate(market.instrument.symbol, due), due

    def history(self, market: Market) -> list[tuple[int, Decimal]]:
        """Return when and at which rate was paid so far, oldest first."""
        first = -(-self._began // INTERVAL) * INTERVAL
        return [(time, self.rate(market.instrument.symbol, time))
                for time in range(first, self._trading.now + 1, INTERVAL)]

    def paid_by(self, account: Account) -> list[Paid]:
        return [paid for paid in self.paid if paid.account == account.name]

    def pay(self, time: int) -> None:
        """Pay what is due now."""
        for account in self._trading.accounts.values():
            for symbol, position in account.positions.items():
                market = self._trading.markets[symbol]
                if position.lots == 0:
                    continue
                rate, i = self.rate(symbol, time), market.instrument
                amount = (-rate * i.value(position.lots * market.last_price)).quantize(_CENTS)
                asset = i.settle or i.quote
                self._trading.pay(account, asset, amount)
                self.paid.append(Paid(time, account.name, symbol, rate, amount))
