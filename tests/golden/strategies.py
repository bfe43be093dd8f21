"""Strategies of the golden runs: small, and each asks for one kind of thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.bars import HOUR, Bar, Bars, FloatArray
from engine.slices import Slice
from engine.strategy import Strategy, Timer
from engine.testing import NEW_YEAR_2024


class Every(Strategy):
    """Does one thing after the other, one every so many bars, over and over; between them it only looks on.

    Args:
        acts: each takes the strategy, the bar and how often it has been its turn.
    """

    def __init__(self, bars: int, *acts: Callable[[Any, Bar, int], Any], begin: int = 3) -> None:
        super().__init__()
        self._bars, self._acts, self._begin = bars, acts, begin
        self._seen = -1

    def on_bar(self, bar: Bar) -> None:
        self._seen += 1
        turn, rest = divmod(self._seen - self._begin, self._bars)
        if turn >= 0 and not rest:
            self._acts[turn % len(self._acts)](self, bar, turn // len(self._acts))


def order(side: str, quantity: float = 1.0, **distances: float | Any) -> Callable[[Any, Bar, int], Any]:
    """Return an act: an order whose prices lie so far from the close, in quote currency.

    What is no price (`time_in_force`, `trail_fraction` …) is passed on; `lifetime` counts nanoseconds from now.
    """
    prices = {"limit", "stop", "stop_loss", "take_profit"}

    def act(strategy: Strategy, bar: Bar, turn: int) -> Any:
        terms: dict[str, Any] = {
            name: round(bar.close + value, 2) if name in prices else value for name, value in distances.items()}
        if "lifetime" in terms:
            terms["expire_at"] = strategy.now + terms.pop("lifetime")
        if "oco_group" in terms:
            terms["oco_group"] = f"{terms['oco_group']} {turn}"
        trade = strategy.buy if side == "buy" else strategy.sell
        return trade(bar.symbol, quantity, why=f"{side} number {turn + 1}", **terms)

    return act


def both(*acts: Callable[[Any, Bar, int], Any]) -> Callable[[Any, Bar, int], Any]:
    """Return an act that does several at once."""

    def act(strategy: Strategy, bar: Bar, turn: int) -> None:
        for one in acts:
            one(strategy, bar, turn)

    return act


def leave(strategy: Strategy, bar: Bar, turn: int) -> None:
    """Close the position at market, and withdraw what waits."""
    strategy.cancel_all(bar.symbol, why="leaving")
    strategy.close(bar.symbol, why="leaving")


def cancel_oldest(strategy: Strategy, bar: Bar, turn: int) -> None:
    """Withdraw the order that has waited longest."""
    for waiting in list(strategy.open_orders(bar.symbol))[:1]:
        strategy.cancel(waiting, why="waited long enough")


def chase(strategy: Strategy, bar: Bar, turn: int) -> None:
    """Move every limit order half way to the close, and make it a little larger."""
    for waiting in list(strategy.open_orders(bar.symbol)):
        if waiting.limit is not None and waiting.parent_id is None:
            limit = round((float(waiting.limit) + bar.close) / 2, 2)
            strategy.amend(waiting, limit=limit, quantity=float(waiting.quantity) + 0.5)


class Cross(Strategy):
    """Targets an exposure while the fast average lies above the slow one, another while it lies below."""

    def __init__(self, above: float = 1.0, below: float = 0.0) -> None:
        super().__init__()
        self._above, self._below = above, below

    def on_start(self) -> None:
        self.fast = self.indicator("SMA", "close", 4)
        self.slow = self.indicator("SMA", "close", 9)

    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, self._above if self.fast[-1] > self.slow[-1] else self._below, why="cross")


class CrossTargets(Strategy):
    """The same as a column of targets, so that the engine may jump over bars."""

    def __init__(self, above: float = 1.0, below: float = 0.0) -> None:
        super().__init__()
        self._above, self._below = above, below

    def targets(self, bars: Bars) -> FloatArray:
        close = bars.close
        fast, slow = (np.array([close[max(row - length + 1, 0) : row + 1].mean() for row in range(len(close))])
                      for length in (4, 9))
        wanted = np.where(fast > slow, self._above, self._below)
        wanted[:8] = np.nan
        return wanted


class Rotation(Strategy):
    """Holds the two symbols that rose most over five bars, out of a cross-section of all."""

    def __init__(self) -> None:
        super().__init__()
        self._closes: list[FloatArray] = []

    def on_slice(self, slice: Slice) -> None:
        self._closes.append(slice.close.copy())
        if len(self._closes) % 6:
            return
        growth = self._closes[-1] / self._closes[-6]
        best = set(np.argsort(-growth, kind="stable")[:2].tolist())
        for place, symbol in enumerate(slice.symbols):
            self.target(symbol, 0.45 if place in best else 0.0, why="among the two that rose most")


class Spread(Strategy):
    """Long one symbol and short the other by the same quantity, turned round every ten bars of the first."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0

    def on_bar(self, bar: Bar) -> None:
        first, second = self.symbols[:2]
        if bar.symbol != second:
            return
        self._seen += 1
        if self._seen % 10 == 0:
            sign = 1 if self._seen % 20 else -1
            for symbol, wanted in ((first, 3 * sign), (second, -3 * sign)):
                missing = wanted - float(self.position(symbol))
                if missing:
                    (self.buy if missing > 0 else self.sell)(symbol, abs(missing), why="spread")


class HigherTrend(Strategy):
    """Trades hours in the direction that four hours have."""

    def on_start(self) -> None:
        self.trend = self.indicator("SMA", "close", 3, timeframe="4h")
        self.level = self.indicator("SMA", "close", 5, timeframe="1h")

    def on_bar(self, bar: Bar) -> None:
        if bar.close_time - bar.open_time > HOUR:
            return
        wanted = 1.0 if bar.close > self.trend[-1] and bar.close > self.level[-1] else 0.0
        self.target(bar.symbol, wanted, why="above both averages" if wanted else "below one of them")


class Clockwork(Strategy):
    """Buys and sells on timers alone."""

    def on_start(self) -> None:
        self.set_timer("in", every="6h")
        self.set_timer("out", every="10h")
        self.set_timer("once", at=NEW_YEAR_2024 + 25 * HOUR // 2)

    def on_timer(self, timer: Timer) -> None:
        symbol = self.symbols[0]
        if timer.time == NEW_YEAR_2024:
            return  # no bar has closed yet, and there is no price
        if timer.name == "out":
            self.close(symbol, why="the timer out")
        else:
            self.buy(symbol, 1 if timer.name == "in" else 5, why=f"the timer {timer.name}")


class Answering(Strategy):
    """Answers every fill of an entry with a target order of its own, and every rejection with a market order."""

    def __init__(self, offset: float = 0.8) -> None:
        super().__init__()
        self._offset, self._seen = offset, 0

    def on_bar(self, bar: Bar) -> None:
        self._seen += 1
        if self._seen % 8 == 4 and not self.position(bar.symbol):
            self.buy(bar.symbol, 2, limit=round(bar.close + (0.5 if self._seen % 16 == 4 else -0.4), 2), post_only=True)

    def on_fill(self, fill: Any) -> None:
        if fill.side > 0:
            self.sell(fill.symbol, fill.quantity, limit=round(float(fill.price) + self._offset, 2), reduce_only=True,
                      why=f"answer to fill {fill.id}")

    def on_order(self, event: Any) -> None:
        if type(event).__name__ == "OrderRejected":
            self.buy(event.order.symbol, 1, why=f"instead of order {event.order.id}")
