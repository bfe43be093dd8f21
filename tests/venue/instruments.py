"""What the loopback venue lists. Prices are counted in price increments ("ticks"), quantities in quantity increments
("lots"): whole numbers, so that the venue's books are exact. Text and `Decimal` appear at its edges alone.

The usual instruments carry the filters and fees of the real venues, read from ccxt 4.5.90 and LEAN's symbol
properties in 2026.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Instrument:
    """One market. `symbol` is ccxt's unified name: BTC/USDT is spot, BTC/USDT:USDT a linear perpetual."""

    symbol: str
    price_increment: Decimal = Decimal("0.01")
    quantity_increment: Decimal = Decimal("0.00001")
    min_quantity: Decimal = Decimal("0.00001")
    max_quantity: Decimal = Decimal(9000)
    min_notional: Decimal = Decimal(5)
    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    contract_size: Decimal = Decimal(1)
    """Base units in one contract of a perpetual where the venue counts contracts (OKX); elsewhere 1."""
    is_trading: bool = True
    is_listed: bool = True

    @cached_property
    def base(self) -> str:
        return self.symbol.partition("/")[0]

    @cached_property
    def quote(self) -> str:
        return self.symbol.partition("/")[2].partition(":")[0]

    @cached_property
    def settle(self) -> str | None:
        return self.symbol.partition(":")[2] or None

    @property
    def is_perpetual(self) -> bool:
        return self.settle is not None

    @cached_property
    def value_unit(self) -> Decimal:
        """Quote currency in one tick × one lot."""
        return self.price_increment * self.quantity_increment * self.contract_size

    def ticks(self, price: Decimal) -> int | None:
        """Return a price in ticks; None if it lies between two."""
        return _steps(price, self.price_increment)

    def lots(self, quantity: Decimal) -> int | None:
        """Return a quantity in lots; None if it lies between two."""
        return _steps(quantity, self.quantity_increment)

    def nearest_ticks(self, price: float) -> int:
        return round(Decimal(repr(float(price))) / self.price_increment)

    def nearest_lots(self, quantity: float) -> int:
        """Return a quantity of base currency as lots, the nearest."""
        return round(Decimal(repr(float(quantity))) / self.quantity_increment / self.contract_size)

    def price(self, ticks: int) -> str:
        """Return a price as text, in plain digits."""
        return format(ticks * self.price_increment, "f")

    def quantity(self, lots: int) -> str:
        return format(lots * self.quantity_increment, "f")

    def value(self, ticks_times_lots: int) -> Decimal:
        """Return the quote currency of a sum of ticks × lots."""
        return ticks_times_lots * self.value_unit

    def changed(self, **fields: Any) -> Instrument:
        """Return it with other filters; numbers may be given as text."""
        kinds = {name: type(getattr(self, name)) for name in fields}
        given: dict[str, Any] = {name: Decimal(str(value)) if kinds[name] is Decimal else value
                                 for name, value in fields.items()}
        return replace(self, **given)


def _steps(number: Decimal, increment: Decimal) -> int | None:
    if not number.is_finite():
        return None
    steps, rest = divmod(number, increment)
    return None if rest else int(steps)


def _spot(symbol: str, tick: str, lot: str, least: str, notional: str, maker: str, taker: str) -> Instrument:
    return Instrument(symbol, Decimal(tick), Decimal(lot), Decimal(least), Decimal(9000), Decimal(notional),
                      Decimal(maker), Decimal(taker))


KNOWN = {
    "binance": (
        _spot("BTC/USDT", "0.01", "0.00001", "0.00001", "5", "0.001", "0.001"),
        _spot("ETH/USDT", "0.01", "0.0001", "0.0001", "5", "0.001", "0.001"),
        _spot("SOL/USDT", "0.01", "0.001", "0.001", "5", "0.001", "0.001"),
        _spot("BTC/USDT:USDT", "0.1", "0.001", "0.001", "100", "0.0002", "0.0005"),
        _spot("ETH/USDT:USDT", "0.01", "0.001", "0.001", "20", "0.0002", "0.0005"),
    ),
    "okx": (
        _spot("BTC/USDT", "0.1", "0.00000001", "0.00001", "0", "0.001", "0.0015"),
        _spot("ETH/USDT", "0.01", "0.000001", "0.0001", "0", "0.001", "0.0015"),
        _spot("SOL/USDT", "0.01", "0.000001", "0.001", "0", "0.001", "0.0015"),
        replace(_spot("BTC/USDT:USDT", "0.1", "0.01", "0.01", "0", "0.0002", "0.0005"), contract_size=Decimal("0.01")),
        replace(_spot("ETH/USDT:USDT", "0.01", "0.01", "0.01", "0", "0.0002", "0.0005"), contract_size=Decimal("0.1")),
    ),
    "bybit": (
        _spot("BTC/USDT", "0.1", "0.000001", "0.000011", "5", "0.001", "0.001"),
        _spot("ETH/USDT", "0.01", "0.00001", "0.0001", "5", "0.001", "0.001"),
        _spot("SOL/USDT", "0.01", "0.001", "0.001", "5", "0.001", "0.001"),
        _spot("BTC/USDT:USDT", "0.1", "0.001", "0.001", "5", "0.0001", "0.0006"),
        _spot("ETH/USDT:USDT", "0.01", "0.01", "0.01", "5", "0.0001", "0.0006"),
    ),
}
"""The filters of what is usually traded. Perpetual notionals of Binance are from memory."""


def usual_instrument(venue: str, symbol: str) -> Instrument:
    """Return the venue's own filters for a symbol; for one that is not known, those of its BTC/USDT with an increment
    that suits most prices."""
    for instrument in KNOWN[venue]:
        if instrument.symbol == symbol:
            return instrument
    like = usual_instrument(venue, "BTC/USDT:USDT" if ":" in symbol else "BTC/USDT")
    return replace(like, symbol=symbol, price_increment=Decimal("0.01"), quantity_increment=Decimal("0.0001"),
                   min_quantity=Decimal("0.0001"), max_quantity=Decimal(900_000), contract_size=Decimal(1))
