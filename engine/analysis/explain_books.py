"""The books of a difference: what one run holds and has earned beyond the other, by what caused it.

Exact: amounts are Decimals computed with room for every digit, shares are cut to twelve digits, and the last cause
takes what is left. So the parts add up to the gap to the last digit, whatever the causes are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from enum import StrEnum

DIGITS = Context(prec=120)
"""Products and sums of a run's numbers need some 60 digits; with these, nothing is ever rounded."""

_SHARE = Decimal("1e-12")
ZERO = Decimal(0)


class Part(StrEnum):
    """What a difference in profit is made of."""

    DATA = "data revision"
    LATENCY = "latency"
    FILL_PRICE = "fill price"
    NO_FILL = "partial or no fill"
    FEE = "fee"
    FUNDING = "funding"
    FORECAST = "forecast"
    MISSED_BAR = "missed bar"
    INTERACTION = "interaction"


Shares = Mapping[Part, Decimal]
"""Weights that add up to 1, in order."""


def only(part: Part) -> dict[Part, Decimal]:
    """Return shares that give all to one part."""
    return {part: Decimal(1)}


def shares_of(weights: Mapping[Part, Decimal]) -> dict[Part, Decimal] | None:
    """Return weights as shares of their sum; None where they cancel out so far that shares would mean nothing."""
    total = sum(weights.values(), ZERO)
    size = sum((abs(weight) for weight in weights.values()), ZERO)
    if not size or abs(total) < size / 4:
        return None
    return {part: weight / total for part, weight in weights.items() if weight}


def split(amount: Decimal, shares: Shares) -> dict[Part, Decimal]:
    """Return an amount cut by shares; the parts add up to it exactly."""
    found: dict[Part, Decimal] = {}
    left = amount
    *others, last = shares
    for part in others:
        cut = DIGITS.multiply(amount, DIGITS.quantize(shares[part], _SHARE))
        found[part] = cut
        left = DIGITS.subtract(left, cut)
    found[last] = DIGITS.add(found.get(last, ZERO), left)
    return found


@dataclass
class Contribution:
    """What one order, or one payment, adds to the gap, by part: its cash, and what it holds beyond the other run.

    Args:
        order_a, order_b: numbers in the two runs; None where a run has no such order.
        text: what was found, in words.
    """

    time: int
    symbol: str
    order_a: int | None = None
    order_b: int | None = None
    text: str = ""
    cash: dict[Part, Decimal] = field(default_factory=dict)
    held: dict[Part, Decimal] = field(default_factory=dict)
    """Quantity × multiplier: what a move of the price by 1 is worth."""

    def parts(self, mark: Decimal) -> dict[Part, Decimal]:
        """Return what it is worth at a price, by part."""
        found = dict(self.cash)
        for part, quantity in self.held.items():
            found[part] = DIGITS.add(found.get(part, ZERO), DIGITS.multiply(quantity, mark))
        return {part: amount for part, amount in found.items() if amount}


class GapBooks:
    """What run A holds and has earned beyond run B, by part, as bookings come in order of time."""

    def __init__(self) -> None:
        self._cash: dict[Part, Decimal] = {}
        self._held: dict[str, dict[Part, Decimal]] = {}

    def book(
        self, contribution: Contribution, symbol: str, *, held: Decimal = ZERO, cash: Decimal = ZERO, shares: Shares
    ) -> None:
        """Book what A has beyond B, cut by shares; negative for what it lacks."""
        if held:
            mine = self._held.setdefault(symbol, {})
            for part, amount in split(held, shares).items():
                _add(mine, part, amount)
                _add(contribution.held, part, amount)
        if cash:
            for part, amount in split(cash, shares).items():
                _add(self._cash, part, amount)
                _add(contribution.cash, part, amount)

    def held(self, symbol: str) -> dict[Part, Decimal]:
        """Return what A holds of a symbol beyond B, by part; parts that are nothing are left out."""
        return {part: amount for part, amount in self._held.get(symbol, {}).items() if amount}

    def worth(self, mark: Callable[[str], Decimal | None]) -> dict[Part, Decimal]:
        """Return what A's equity is beyond B's at the marks, by part; a symbol without one counts for nothing."""
        found = dict(self._cash)
        for symbol, held in self._held.items():
            price = mark(symbol)
            for part, quantity in held.items() if price is not None else ():
                assert price is not None
                _add(found, part, DIGITS.multiply(quantity, price))
        return {part: amount for part, amount in found.items() if amount}


def _add(amounts: dict[Part, Decimal], part: Part, amount: Decimal) -> None:
    amounts[part] = DIGITS.add(amounts.get(part, ZERO), amount)
