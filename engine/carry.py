"""What it costs to hold: funding of perpetuals, interest on borrowed cash, fees on borrowed shares and coins.

Funding is paid at its instant on the position held then, at the price known then:

    payment = quantity × multiplier × price × rate      from longs to shorts where the rate is positive

Interest and borrow fees are yearly rates, charged once a day at midnight UTC on what is owed then, a 365th each.
Everything is rounded half-even to the currency's unit.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from engine.bars import DAY, HOUR, iso
from engine.errors import DataError, SettingsError
from engine.positions import Account, Position

DAYS_A_YEAR = 365


class FundingPayment(NamedTuple):
    """When funding is due (UTC nanoseconds), and the rate as a fraction of notional."""

    time: int
    rate: Decimal


class FundingSource(Protocol):
    """When one perpetual pays funding, and how much."""

    def after(self, time: int) -> FundingPayment | None:
        """Return the first payment later than an instant; None if there is none."""

    def card(self) -> dict[str, Any]:
        """Return what to print on the assumption card."""


@dataclass(frozen=True)
class FundingHistory:
    """Payments as they were made.

    Args:
        times: UTC nanoseconds, ascending; rates: fractions of notional, as many.
        origin: where they come from, for messages and the card.
    Raises:
        DataError: times that do not ascend, or not as many rates as times.
    """

    times: Sequence[int]
    rates: Sequence[Decimal]
    origin: str = "memory"

    def __post_init__(self) -> None:
        if len(self.times) != len(self.rates):
            raise DataError(
                f"{self.origin}: {len(self.times)} funding times and {len(self.rates)} rates; expected one of each"
            )
        for before, time in zip(self.times, self.times[1:], strict=False):
            if time <= before:
                raise DataError(
                    f"{self.origin}: funding at {iso(time)} follows {iso(before)}; expected ascending times"
                )

    def after(self, time: int) -> FundingPayment | None:
        place = bisect_right(self.times, time)
        return FundingPayment(self.times[place], self.rates[place]) if place < len(self.times) else None

    def card(self) -> dict[str, Any]:
        return {"kind": "history", "payments": len(self.times)}


@dataclass(frozen=True)
class FixedFunding:
    """The same rate again and again, at whole multiples of an interval since midnight UTC.

    Raises:
        SettingsError: an interval that does not divide a day, or a rate of 10 % or more.
    """

    rate: Decimal
    interval: int = 8 * HOUR

    def __post_init__(self) -> None:
        if self.interval <= 0 or DAY % self.interval:
            raise SettingsError(
                f"funding interval is {self.interval / HOUR:g} h; expected hours that divide a day, such as 8"
            )
        if not abs(self.rate) < Decimal("0.1"):
            raise SettingsError(f"funding rate is {self.rate}; expected between -0.1 and 0.1 (0.0001 is 0.01 %)")

    def after(self, time: int) -> FundingPayment | None:
        return FundingPayment((time // self.interval + 1) * self.interval, self.rate)

    def card(self) -> dict[str, Any]:
        return {"kind": "fixed", "rate": str(self.rate), "interval_hours": f"{self.interval / HOUR:g}"}


@dataclass(frozen=True)
class CarryTerms:
    """What holding costs.

    Args:
        funding: of each perpetual that pays any.
        interest_rate: a year's interest on cash below 0, as a fraction.
        borrow_rate: a year's fee on what is sold short, as a fraction of its value; borrow_rates: of the symbols that
            differ. Contracts are not borrowed.
    Raises:
        SettingsError: a yearly rate outside 0 … 10.
    """

    funding: Mapping[str, FundingSource] = field(default_factory=dict)
    interest_rate: Decimal = Decimal(0)
    borrow_rate: Decimal = Decimal(0)
    borrow_rates: Mapping[str, Decimal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {"interest": self.interest_rate, "borrow": self.borrow_rate}
        named |= {f"{symbol} borrow": rate for symbol, rate in self.borrow_rates.items()}
        for name, rate in named.items():
            if not 0 <= rate <= 10:
                raise SettingsError(f"{name} rate is {rate} a year; expected 0 … 10 (0.05 is 5 % a year)")

    @property
    def has_daily(self) -> bool:
        """Whether anything is charged at midnight."""
        return bool(self.interest_rate or self.borrow_rate or any(self.borrow_rates.values()))

    def borrow_rate_of(self, symbol: str) -> Decimal:
        """Return a year's fee on a short position in a symbol."""
        return self.borrow_rates.get(symbol, self.borrow_rate)

    def funding_card(self) -> dict[str, Any]:
        """Return what to print about funding on the assumption card."""
        if not self.funding:
            return {"kind": "none"}
        return {"symbols": {symbol: source.card() for symbol, source in self.funding.items()}}

    def borrow_card(self) -> dict[str, Any]:
        """Return what to print about interest and borrow fees on the assumption card."""
        if not self.has_daily:
            return {"kind": "none"}
        return {
            "interest_rate": str(self.interest_rate),
            "borrow_rate": str(self.borrow_rate),
            "symbols": {symbol: str(rate) for symbol, rate in self.borrow_rates.items()},
        }


class Charge(NamedTuple):
    """Money that moves because something is held: `units` of the account's currency, signed, and why."""

    kind: str
    units: int
    note: str


def funding_charge(position: Position, ticks: int, payment: FundingPayment) -> Charge | None:
    """Return what a position pays (negative) or is paid as funding at a price; None if it is flat."""
    if not position.lots:
        return None
    units = -_rounded(position.market_units(ticks), Fraction(payment.rate))
    price = position.instrument.to_price(ticks)
    held = f"{position.quantity.normalize():f}"
    return Charge("funding", units, f"{position.instrument.symbol}: rate {payment.rate:f} on {held} at {price:f}")


def interest_charge(account: Account, rate: Decimal) -> Charge | None:
    """Return a day's interest on borrowed cash; None if none is owed."""
    if account.cash_units >= 0 or not rate:
        return None
    units = _rounded(account.cash_units, Fraction(rate) / DAYS_A_YEAR)
    return Charge("interest", units, f"a day at {rate:f} a year on {-account.cash:f} {account.currency} borrowed")


def borrow_charge(position: Position, ticks: int, rate: Decimal) -> Charge | None:
    """Return a day's borrow fee of a short position at a price; None for others."""
    if position.lots >= 0 or position.instrument.is_contract or not rate:
        return None
    units = _rounded(position.market_units(ticks), Fraction(rate) / DAYS_A_YEAR)
    price = position.instrument.to_price(ticks)
    held = f"{-position.quantity.normalize():f}"
    return Charge("borrow", units, f"{position.instrument.symbol}: a day at {rate:f} a year on {held} at {price:f}")


def _rounded(units: int, rate: Fraction) -> int:
    return round(units * rate)
