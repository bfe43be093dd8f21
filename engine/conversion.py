"""Conversion: what one currency is worth in another, by pairs that the run has prices of.

A rate goes through one pair, as it is quoted or turned round, or through two pairs that share one other currency. It
values books and never changes them: every currency is booked for itself.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from engine.errors import DataError, SettingsError
from engine.instruments import Instrument

PriceOf = Callable[[str], float | None]
"""Gives the last known price of a symbol; None before its first."""


class Leg(NamedTuple):
    """One pair on the way: its price, or 1 ÷ its price."""

    symbol: str
    is_inverse: bool

    def __str__(self) -> str:
        return f"1 ÷ {self.symbol}" if self.is_inverse else self.symbol


class Conversion:
    """Rates from several currencies into any one of them.

    Args:
        currencies: those that must be convertible into one another.
        instruments: what the run has prices of; spot pairs alone make rates.
    Raises:
        SettingsError: two of the currencies are joined neither by one pair nor by two.
    """

    def __init__(self, currencies: Iterable[str], instruments: Iterable[Instrument]) -> None:
        self._instruments = {one.symbol: one for one in instruments if one.kind == "spot" and one.base}
        currencies = tuple(dict.fromkeys(currencies))
        self._routes = {
            (source, target): self._route(source, target)
            for source in currencies
            for target in currencies
            if source != target
        }

    def route(self, source: str, target: str) -> tuple[Leg, ...]:
        """Return the legs whose rates multiply to units of `target` per unit of `source`; none for the same
        currency."""
        return () if source == target else self._routes[source, target]

    def rate(self, source: str, target: str, price_of: PriceOf) -> Fraction:
        """Return units of `target` per unit of `source`, exact at prices snapped to increments.

        Raises:
            DataError: a pair on the way has no price yet.
        """
        rate = Fraction(1)
        for symbol, is_inverse in self.route(source, target):
            instrument = self._instruments[symbol]
            price = price_of(symbol)
            ticks = 0 if price is None else instrument.to_ticks(price)
            if not ticks:
                raise no_rate(source, target, symbol)
            numerator, denominator = instrument.price_ratio
            price_now = Fraction(ticks * numerator, denominator)
            rate = rate / price_now if is_inverse else rate * price_now
        return rate

    def _route(self, source: str, target: str) -> tuple[Leg, ...]:
        for leg, reached in self._from(source):
            if reached == target:
                return (leg,)
        for first, middle in self._from(source):
            for second, reached in self._from(middle):
                if reached == target:
                    return (first, second)
        known = ", ".join(self._instruments) or "none"
        raise SettingsError(
            f"there is no rate from {source} to {target}: the account has both, and the data convert neither into the "
            f"other (pairs: {known}); add {source}/{target} or {target}/{source} to the data, or a pair of each with "
            f"one other currency"
        )

    def _from(self, source: str) -> Iterator[tuple[Leg, str]]:
        """Yield every pair of a currency and what it leads to, pairs as quoted first, else in the order of the run."""
        for symbol, one in self._instruments.items():
            if one.base == source:
                yield Leg(symbol, False), one.quote
        for symbol, one in self._instruments.items():
            if one.quote == source:
                yield Leg(symbol, True), one.base


def no_rate(source: str, target: str, symbol: str) -> DataError:
    """Return the error of a pair that is needed before its first bar."""
    return DataError(
        f"{source} cannot be valued in {target} yet: {symbol} has no bar so far; start the run when it has one, or "
        f"open with no {source}"
    )
