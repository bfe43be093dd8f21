"""Margin: how much equity a position needs, to be opened and to be kept.

Both follow from its notional (|quantity| × price × multiplier) by tiers, as venues publish them:

    initial      notional ÷ leverage, the leverage of the account or less where a tier allows less
    maintenance  notional × rate − amount, the amount making the tiers join where they meet

Money is in quote currency (Decimal) in a `MarginSchedule` and in whole currency units (int) in a `UnitSchedule`; both
margins are rounded up, against the trader. Pure: nothing here knows a position.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from engine.errors import SettingsError

MODES = ("cross", "isolated")
SHORTFALLS = ("covered", "owed")


class MarginTier(NamedTuple):
    """What holds from a notional upwards (exclusive), in quote currency.

    `rate` is the maintenance margin as a fraction of notional. `max_leverage` None: as much as keeps the initial margin
    at twice the maintenance margin, which is how venues set theirs.
    """

    notional: Decimal
    rate: Decimal
    max_leverage: Decimal | None = None

    @property
    def leverage(self) -> Fraction:
        return Fraction(self.max_leverage) if self.max_leverage is not None else 1 / (2 * Fraction(self.rate))


@dataclass(frozen=True)
class MarginSchedule:
    """The tiers of one instrument under the leverage chosen for it.

    Args:
        leverage: notional ÷ initial margin, 1 or more; tiers may allow less.
        tiers: ascending, the first from 0; none for one tier that keeps half of the initial margin.
    Raises:
        SettingsError: tiers that do not start at 0 or do not ascend, a rate outside (0, 1), rates that fall, or a
            leverage that the first tier does not allow.
    """

    leverage: Decimal = Decimal(1)
    tiers: tuple[MarginTier, ...] = ()

    def __post_init__(self) -> None:
        if not (self.leverage.is_finite() and 1 <= self.leverage <= 1000):
            raise SettingsError(f"leverage is {self.leverage}; expected 1 … 1000 (5 is five times the equity)")
        if not self.tiers:
            object.__setattr__(self, "tiers", (MarginTier(Decimal(0), 1 / (2 * self.leverage), self.leverage),))
        _check_tiers(self.tiers)
        first = self.tiers[0]
        if Fraction(self.leverage) > first.leverage:
            raise SettingsError(
                f"leverage is {self.leverage}, but the first margin tier (maintenance {first.rate}) allows at most "
                f"{float(first.leverage):g}; lower the leverage, or give the tier its max_leverage"
            )

    def in_units(self, unit: Decimal) -> "UnitSchedule":
        """Return the same schedule for notionals counted in units of a currency."""
        return UnitSchedule(self, unit)

    def card(self) -> dict[str, Any]:
        """Return what to print on the assumption card."""
        return {"leverage": f"{self.leverage:f}", "tiers": [_tier_card(tier) for tier in self.tiers]}


class UnitSchedule:
    """A margin schedule in whole units of one currency: notional in, margin out, both int ≥ 0."""

    __slots__ = ("_floors", "_initial", "_maintenance")

    def __init__(self, schedule: MarginSchedule, unit: Decimal) -> None:
        one = Fraction(unit)
        self._floors = [Fraction(tier.notional) / one for tier in schedule.tiers]
        self._initial: list[tuple[int, int]] = []
        """Of each tier, numerator and denominator of 1 ÷ leverage."""
        self._maintenance: list[tuple[int, int, int]] = []
        """Of each tier (a, b, c): the margin is (notional × a − b) ÷ c."""
        for tier, amount in zip(schedule.tiers, amounts(schedule.tiers), strict=True):
            leverage = min(Fraction(schedule.leverage), tier.leverage)
            self._initial.append((leverage.denominator, leverage.numerator))
            rate, cut = Fraction(tier.rate), amount / one
            below = rate.denominator * cut.denominator
            self._maintenance.append((rate.numerator * cut.denominator, cut.numerator * rate.denominator, below))

    def initial(self, notional: int) -> int:
        """Return what it takes to open a position of this notional."""
        above, below = self._initial[self._tier(notional)]
        return -(-notional * above // below)

    def maintenance(self, notional: int) -> int:
        """Return what it takes to keep a position of this notional."""
        above, cut, below = self._maintenance[self._tier(notional)]
        return -((cut - notional * above) // below)

    def _tier(self, notional: int) -> int:
        return max(bisect_left(self._floors, notional) - 1, 0)


@dataclass(frozen=True)
class MarginTerms:
    """The terms of a margin account.

    Args:
        mode: "cross": cash and all positions of one currency stand surety for one another; "isolated": each perpetual
            has margin of its own, moved from cash as it is opened.
        schedule: of the instruments that have none of their own in `schedules`.
        liquidation_fee: fraction of notional charged for a liquidation, beside the taker fee, as far as the margin
            left goes.
        shortfall: what becomes of a loss beyond the margin: "covered" by the venue's insurance, or "owed".
    Raises:
        SettingsError: a mode or shortfall that there is not, or a fee outside [0, 0.1).
    """

    mode: str = "cross"
    schedule: MarginSchedule = field(default_factory=MarginSchedule)
    schedules: Mapping[str, MarginSchedule] = field(default_factory=dict)
    liquidation_fee: Decimal = Decimal("0.01")
    shortfall: str = "covered"

    def __post_init__(self) -> None:
        for name, choices in (("mode", MODES), ("shortfall", SHORTFALLS)):
            if getattr(self, name) not in choices:
                raise SettingsError(f"margin {name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        if not 0 <= self.liquidation_fee < Decimal("0.1"):
            raise SettingsError(
                f"liquidation fee is {self.liquidation_fee}, a fraction of notional; expected 0 … 0.1 (0.01 is 1 %)"
            )

    def of(self, symbol: str) -> MarginSchedule:
        """Return the schedule of an instrument."""
        return self.schedules.get(symbol, self.schedule)

    @property
    def leverage(self) -> Decimal:
        """The highest leverage that any instrument may use."""
        return max([self.schedule.leverage, *(schedule.leverage for schedule in self.schedules.values())])

    def card(self) -> dict[str, Any]:
        """Return what to print on the assumption card."""
        return {
            "kind": "margin",
            "mode": self.mode,
            **self.schedule.card(),
            "symbols": {symbol: schedule.card() for symbol, schedule in self.schedules.items()},
            "liquidation_fee": str(self.liquidation_fee),
            "shortfall": self.shortfall,
        }


def amounts(tiers: Sequence[MarginTier]) -> list[Fraction]:
    """Return the maintenance amount of each tier, in quote currency: what makes the margin continuous.

    Source: Binance's leverage brackets call it `cum`: the amount of the tier below plus its upper bound times the
    difference of the two rates.
    """
    found = [Fraction(0)]
    for below, tier in pairwise(tiers):
        found.append(found[-1] + Fraction(tier.notional) * (Fraction(tier.rate) - Fraction(below.rate)))
    return found


def tiers_from_brackets(text: str, symbol: str, origin: str) -> tuple[MarginTier, ...]:
    """Return the tiers of a file in the form of Binance's leverage brackets.

    Args:
        text: JSON: a list of {"symbol", "brackets": […]}, one of these, or the list of brackets alone; a bracket has
            notionalFloor, maintMarginRatio, initialLeverage and, checked where it is there, cum.
        symbol: the instrument; among several it is found by its letters and digits: "BTC/USDT:USDT" is BTCUSDT.
        origin: the file, for messages.
    Raises:
        SettingsError: not of this form, the symbol is not in it, or `cum` does not fit the rates.
    """
    try:
        brackets = _brackets_of(json.loads(text), symbol, origin)
        tiers = [
            MarginTier(
                Decimal(str(row["notionalFloor"])),
                Decimal(str(row["maintMarginRatio"])),
                Decimal(str(row["initialLeverage"])),
            )
            for row in brackets
        ]
        stated = [row.get("cum") for row in brackets]
    except (json.JSONDecodeError, KeyError, TypeError, ArithmeticError, AttributeError) as problem:
        raise SettingsError(
            f"{origin}: these are no leverage brackets ({type(problem).__name__}: {problem}); expected JSON with "
            "notionalFloor, maintMarginRatio and initialLeverage in each bracket"
        ) from problem
    order = sorted(range(len(tiers)), key=lambda place: tiers[place].notional)
    sorted_tiers = tuple(tiers[place] for place in order)
    _check_tiers(sorted_tiers, origin)
    for place, amount in zip(order, amounts(sorted_tiers), strict=True):
        cum = stated[place]
        if cum is not None and abs(float(amount) - float(cum)) > 1e-6 * (1 + float(amount)):
            raise SettingsError(
                f"{origin}: the bracket from {tiers[place].notional} has cum {cum}, but the rates below it "
                f"make {float(amount):g}; fetch the brackets again"
            )
    return sorted_tiers


def plain_symbol(symbol: str) -> str:
    """Return a symbol's letters and digits without what names the kind: "BTC/USDT:USDT", "BTCUSDT-PERP" → "BTCUSDT"."""
    name = symbol.partition(":")[0].upper()
    for ending in ("_PERP", "-PERP", "_SWAP", "-SWAP"):
        name = name.removesuffix(ending)
    return "".join(letter for letter in name if letter.isalnum())


def _brackets_of(found: Any, symbol: str, origin: str) -> Sequence[Mapping[str, Any]]:
    if isinstance(found, Mapping):
        return found["brackets"]
    if not isinstance(found, list) or not found:
        raise TypeError("no list of brackets")
    if "brackets" not in found[0]:
        return found
    for entry in found:
        if plain_symbol(entry["symbol"]) == plain_symbol(symbol):
            return entry["brackets"]
    known = ", ".join(str(entry["symbol"]) for entry in found[:8])
    raise SettingsError(f"{origin}: there are no brackets of {symbol}; there are some of {known}; add them")


def _check_tiers(tiers: Sequence[MarginTier], origin: str = "") -> None:
    where = f"{origin}: " if origin else ""
    if not tiers or tiers[0].notional != 0:
        start = tiers[0].notional if tiers else "nothing"
        raise SettingsError(f"{where}margin tiers start at {start}; expected the first from notional 0")
    for tier in tiers:
        if not 0 < tier.rate < 1:
            raise SettingsError(
                f"{where}maintenance rate of the tier from {tier.notional} is {tier.rate}; expected a fraction of "
                "notional between 0 and 1 (0.004 is 0.4 %)"
            )
        if Fraction(tier.rate) * tier.leverage >= 1:
            raise SettingsError(
                f"{where}the tier from {tier.notional} allows leverage {tier.max_leverage} at maintenance "
                f"{tier.rate}; a position opened so would be liquidated at once; expected leverage × rate below 1"
            )
    for below, tier in pairwise(tiers):
        if tier.notional <= below.notional or tier.rate < below.rate or tier.leverage > below.leverage:
            raise SettingsError(
                f"{where}margin tier {tuple(map(str, tier[:2]))} follows {tuple(map(str, below[:2]))}; expected "
                "ascending notionals, rates that do not fall and leverage that does not rise"
            )


def _tier_card(tier: MarginTier) -> list[str]:
    return [f"{tier.notional:f}", f"{tier.rate:f}", f"{float(tier.leverage):g}"]
