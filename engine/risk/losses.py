"""Rules that watch: a day's loss, the drawdown, losing trades in a row. What they find halts trading.

A loss that reaches its limit halts. Equity is that of the journal's equity rows, at every close.
"""

from typing import Any

from engine.bars import DAY, HOUR
from engine.errors import SettingsError
from engine.events import Fill
from engine.risk.facts import REFUSE, AccountClose, Breach
from engine.risk.rule import RiskRule, check_action
from engine.risk.view import RiskView

NEXT_DAY = -1
"""A `lift_after` of DailyLoss: until the day is over."""


class Halting(RiskRule):
    """A rule whose halts do, and end, as settings say."""

    def __init__(self, action: str = REFUSE, lift_after: int | None = None) -> None:
        self.action = check_action(self.name, action)
        self.lift_after = lift_after


class DailyLoss(Halting):
    """Most that may be lost in a day, realised and unrealised, against the equity at which the day opened.

    The day's opening equity is that of the last close at or before the hour at which days begin.

    Args:
        fraction: of the day's opening equity; amount: in the account's currency. One of the two or both.
        hour: UTC hour at which days begin.
        lift_after: nanoseconds; None for never; NEXT_DAY for when the next day begins.
    """

    def __init__(
        self,
        fraction: float | None = None,
        amount: float | None = None,
        *,
        hour: int = 0,
        action: str = REFUSE,
        lift_after: int | None = None,
    ) -> None:
        super().__init__(action, lift_after)
        if fraction is None and amount is None:
            raise SettingsError(f"{self.name}: expected a fraction (such as 0.03), an amount, or both")
        for name, value in (("fraction", fraction), ("amount", amount)):
            if value is not None and not 0 < value < float("inf"):
                raise SettingsError(f"{self.name}: {name} is {value}; expected a number above 0")
        if not 0 <= hour < 24:
            raise SettingsError(f"{self.name}: hour is {hour}; expected 0 to 23, UTC")
        self._fraction, self._amount, self._hour = fraction, amount, hour
        self._day: int | None = None
        self._opening = self._last = 0.0

    def on_close(self, close: AccountClose, view: RiskView) -> list[Breach]:
        # A bar that closes as a day begins belongs to the day that ends: its equity opens the next.
        day = (close.time - self._hour * HOUR - 1) // DAY
        if day != self._day:
            self._opening = close.equity if self._day is None else self._last
            self._day = day
        self._last = close.equity
        lost = self._opening - close.equity
        limits = [] if self._amount is None else [self._amount]
        if self._fraction is not None:
            limits.append(self._fraction * self._opening)
        limit = min(limits)
        if lost <= 0 or lost < limit:
            return []
        reason = f"lost {lost:.2f} of the day's opening equity {self._opening:.2f}; limit {limit:.2f}"
        ends = (day + 1) * DAY + self._hour * HOUR if self.lift_after == NEXT_DAY else None
        return [Breach(lost, limit, reason, lift_at=ends)]

    def on_lift(self, symbol: str, close: AccountClose) -> None:
        self._opening = close.equity

    def card(self) -> dict[str, Any]:
        limits = (("fraction", self._fraction), ("amount", self._amount), ("hour", self._hour))
        return {name: value for name, value in limits if value is not None}

    def halt_card(self) -> dict[str, Any]:
        return {**super().halt_card(), **({"lift_after": "next_day"} if self.lift_after == NEXT_DAY else {})}

    def save_state(self) -> dict[str, Any]:
        return {"day": self._day, "opening": self._opening, "last": self._last}

    def load_state(self, state: dict[str, Any]) -> None:
        self._day, self._opening, self._last = state["day"], state["opening"], state["last"]


class Drawdown(Halting):
    """Most that equity may fall below its highest close so far.

    Args:
        fraction: of the highest equity; a lift starts a new highest from there.
    """

    def __init__(self, fraction: float, *, action: str = REFUSE, lift_after: int | None = None) -> None:
        super().__init__(action, lift_after)
        if not 0 < fraction < 1:
            raise SettingsError(f"{self.name}: fraction is {fraction}; expected a number between 0 and 1, such as 0.2")
        self._fraction = fraction
        self._highest: float | None = None

    def on_close(self, close: AccountClose, view: RiskView) -> list[Breach]:
        highest = self._highest
        if highest is None or close.equity > highest:
            self._highest = close.equity
            return []
        fallen = highest - close.equity
        if fallen <= 0 or fallen < self._fraction * highest:
            return []
        share = fallen / highest
        reason = f"equity {close.equity:.2f} is {share:.2%} below its highest {highest:.2f}; limit {self._fraction:.2%}"
        return [Breach(share, self._fraction, reason)]

    def on_lift(self, symbol: str, close: AccountClose) -> None:
        self._highest = close.equity

    def card(self) -> dict[str, Any]:
        return {"fraction": self._fraction}

    def save_state(self) -> dict[str, Any]:
        return {"highest": self._highest}

    def load_state(self, state: dict[str, Any]) -> None:
        self._highest = state["highest"]


class CoolDown(Halting):
    """A pause after losing trades in a row. A trade runs from flat to flat (or to the other side), fees included; one
    that ends at exactly 0 is no loss.

    Args:
        losses: how many in a row; pause: how long nothing may be opened, nanoseconds.
        per_symbol: whether each symbol is counted, and paused, by itself.
    """

    def __init__(self, losses: int, pause: int, *, per_symbol: bool = True, action: str = REFUSE) -> None:
        super().__init__(action, pause)
        if losses < 1 or pause < 1:
            raise SettingsError(f"{self.name}: {losses} losses, {pause} ns; expected at least 1 of each")
        self._losses, self._per_symbol = losses, per_symbol
        self._in_a_row: dict[str, int] = {}
        self._open: dict[str, int] = {}
        """Cash flow of the trade that is open, by symbol, in the account's units; absent when flat or not known."""

    def on_fill(self, fill: Fill, view: RiskView) -> None:
        position = view.position(fill.symbol)
        held = fill.lots_after - fill.side * fill.lots
        closing = min(fill.lots, abs(held)) if held * fill.side < 0 else 0
        per_lot = fill.price_ticks * position.value_units
        closing_fee = fill.fee_units * closing // fill.lots
        flow = self._open.pop(fill.symbol, None if held else 0)
        if flow is not None and closing:
            flow -= fill.side * closing * per_lot + closing_fee
            if closing == abs(held):
                self._count(fill.symbol, flow)
        opening = fill.lots - closing
        if opening and closing:
            flow = 0
        if flow is not None and fill.lots_after:
            self._open[fill.symbol] = flow - fill.side * opening * per_lot - (fill.fee_units - closing_fee)

    def _count(self, symbol: str, result: int) -> None:
        scope = symbol if self._per_symbol else ""
        self._in_a_row[scope] = self._in_a_row.get(scope, 0) + 1 if result < 0 else 0

    def on_close(self, close: AccountClose, view: RiskView) -> list[Breach]:
        return [
            Breach(count, self._losses, f"{count} losing trades in a row; limit {self._losses}", scope)
            for scope, count in self._in_a_row.items() if count >= self._losses
        ]

    def on_lift(self, symbol: str, close: AccountClose) -> None:
        self._in_a_row[symbol] = 0

    def card(self) -> dict[str, Any]:
        return {"losses": self._losses, "per": "symbol" if self._per_symbol else "account"}

    def save_state(self) -> dict[str, Any]:
        return {"in_a_row": dict(self._in_a_row), "open": dict(self._open)}

    def load_state(self, state: dict[str, Any]) -> None:
        self._in_a_row, self._open = dict(state["in_a_row"]), dict(state["open"])
