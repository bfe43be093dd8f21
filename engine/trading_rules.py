"""Rules of a stock exchange about when something may trade: settlement after days, and daily price limits.

Source: the Shanghai and Shenzhen exchanges' trading rules. What is bought today may be sold from the next trading day
on (T+1). A day's prices stay within the previous close ± 10 % (20 % on the STAR and ChiNext boards, 5 % for shares
under special treatment), rounded half up to the price increment; at the limit nobody takes the other side.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.bars import Bar, nanoseconds, utc
from engine.errors import SettingsError
from engine.instruments import Instrument
from engine.orders import Side


@dataclass(frozen=True)
class TradingRules:
    """The rules of one instrument.

    Args:
        settlement_days: trading days before what was bought may be sold; 0 for at once, 1 for T+1.
        price_limit: how far a day's prices may lie from the previous close, as a fraction of it; None for no limit.
        timezone: where a trading day begins and ends at midnight.
    Raises:
        SettingsError: a value out of range, or an unknown timezone.
    """

    settlement_days: int = 0
    price_limit: Decimal | None = None
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not 0 <= self.settlement_days <= 10:
            raise SettingsError(f"settlement_days is {self.settlement_days}; expected 0 … 10 (1 is T+1)")
        if self.price_limit is not None and not 0 < self.price_limit < 1:
            raise SettingsError(f"price_limit is {self.price_limit}; expected a fraction between 0 and 1 (0.1 is 10 %)")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as problem:
            raise SettingsError(
                f"timezone is {self.timezone!r}; expected a name such as UTC or Asia/Shanghai"
            ) from problem

    @property
    def has_any(self) -> bool:
        """Whether there is any rule."""
        return bool(self.settlement_days) or self.price_limit is not None

    def card(self) -> dict[str, Any]:
        """Return what to print on the assumption card."""
        return {
            "settlement_days": self.settlement_days,
            "price_limit": None if self.price_limit is None else str(self.price_limit),
            "timezone": self.timezone,
        }


class TradingDays:
    """One instrument's trading days as its bars tell of them: what has settled, and where today's limits are."""

    def __init__(self, instrument: Instrument, rules: TradingRules) -> None:
        self._instrument = instrument
        self.rules = rules
        self._zone = ZoneInfo(rules.timezone)
        self._day = 0
        self._day_ends = 0
        self._last_close: int | None = None
        self._limits: tuple[int, int] | None = None
        self._unsettled: deque[tuple[int, int]] = deque()
        """(trading day, lots) of what was bought and may not be sold yet, oldest first."""

    @property
    def limits(self) -> tuple[int, int] | None:
        """Today's lowest and highest price, in ticks; None without a limit, or without a previous close."""
        return self._limits

    def begin(self, bar: Bar) -> None:
        """Take note that a bar begins: it may be the first of a trading day."""
        if bar.open_time < self._day_ends:
            return
        self._day += 1
        self._day_ends = self._end_of_day(bar.open_time)
        while self._unsettled and self._day - self._unsettled[0][0] >= self.rules.settlement_days:
            self._unsettled.popleft()
        share = self.rules.price_limit
        self._limits = None
        if share is not None and self._last_close is not None:
            self._limits = price_limits(self._last_close, share)

    def end(self, bar: Bar) -> None:
        """Take note of a bar's close."""
        self._last_close = self._instrument.to_ticks(bar.close)

    def bought(self, lots: int) -> None:
        """Take note of a purchase."""
        if self.rules.settlement_days:
            self._unsettled.append((self._day, lots))

    def sellable(self, held: int) -> int:
        """Return how much of a position of so many lots may be sold now."""
        return max(0, held - sum(lots for _, lots in self._unsettled))

    def blocks(self, side: Side, ticks: int) -> bool:
        """Return whether a fill at a price is one that nobody gives: a purchase at the upper limit, a sale at the
        lower."""
        if self._limits is None:
            return False
        low, high = self._limits
        return ticks >= high if side is Side.BUY else ticks <= low

    def within(self, ticks: int) -> int:
        """Return a price, cut to today's limits."""
        return ticks if self._limits is None else min(max(ticks, self._limits[0]), self._limits[1])

    def _end_of_day(self, time: int) -> int:
        moment = utc(time).astimezone(self._zone)
        midnight = datetime(moment.year, moment.month, moment.day, tzinfo=self._zone) + timedelta(days=1)
        return nanoseconds(midnight)


def price_limits(previous_close: int, share: Decimal) -> tuple[int, int]:
    """Return the lowest and the highest price of a day in ticks, rounded half up; at least one tick from the close."""
    low, high = (Fraction(previous_close) * (1 + sign * Fraction(share)) for sign in (-1, 1))
    half = Fraction(1, 2)
    return min(int(low + half), previous_close - 1), max(int(high + half), previous_close + 1)
