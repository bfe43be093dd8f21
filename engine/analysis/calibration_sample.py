"""What a run's fills say of costs, order by order: spread, slippage, latency, fees; and the market each order met.

Fractions are of what was traded at the price of reference; times nanoseconds. Only fills that took liquidity say
anything of spread and slippage.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from engine.analysis.explain_bars import SymbolBars
from engine.bars import DAY, Bar, FloatArray
from engine.costs import MarketGauge
from engine.journal.reading import RunRecord
from engine.records import FillRow, OrderRow

NEEDED = ("orders", "order_events", "fills")
"""The tables of a record that are read here."""


@dataclass
class CostSample:
    """Observations of one run or several; lists of equal meaning are extended together.

    Args:
        half_spread, slippage: of each order that took liquidity, fractions of its worth; slippage includes impact.
        size: σ_D · √(Q ÷ V_D) of the same orders: what the square-root law scales with; NaN where the market before it
            is not known.
        taken_worth: what those orders were worth, quote currency.
        latency: from the decision to the venue's acceptance, ns, of each order that was accepted.
        maker, taker: fee ÷ worth of each fill; maker_worth, taker_worth: what they were worth.
    """

    half_spread: list[float] = field(default_factory=list)
    slippage: list[float] = field(default_factory=list)
    size: list[float] = field(default_factory=list)
    taken_worth: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)
    maker: list[float] = field(default_factory=list)
    taker: list[float] = field(default_factory=list)
    maker_worth: list[float] = field(default_factory=list)
    taker_worth: list[float] = field(default_factory=list)
    symbols: set[str] = field(default_factory=set)
    first: int = 2**62
    last: int = 0

    @property
    def fills(self) -> int:
        return len(self.maker) + len(self.taker)

    def add(self, record: RunRecord, bars: Mapping[str, SymbolBars] | None = None) -> None:
        """Take in a run.

        Args:
            bars: what the market did, for the square-root law; without it that is not fitted.
        """
        multipliers = {
            symbol: float(words.get("multiplier", 1)) for symbol, words in record.run.start.instruments.items()
        }
        markets = _Markets(bars or {})
        taken: dict[int, list[FillRow]] = defaultdict(list)
        for fill in record.fills:
            worth = fill.price * fill.quantity * multipliers.get(fill.symbol, 1.0)
            self.symbols.add(fill.symbol)
            self.first, self.last = min(self.first, fill.time), max(self.last, fill.time)
            rates, worths = (
                (self.maker, self.maker_worth) if fill.liquidity == "maker" else (self.taker, self.taker_worth)
            )
            rates.append(fill.fee / worth)
            worths.append(worth)
            if fill.liquidity == "taker":
                taken[fill.order_id].append(fill)
        accepted: dict[int, int] = {}
        for event in record.order_events:
            if event.kind == "accepted":
                accepted.setdefault(event.order_id, event.time)
        for order in record.orders:
            if order.id in accepted and order.parent_id is None:
                self.latency.append(float(max(0, accepted[order.id] - order.time)))
            if order.id in taken:
                self._take(order, taken[order.id], multipliers.get(order.symbol, 1.0), markets)

    def _take(self, order: OrderRow, fills: list[FillRow], multiplier: float, markets: "_Markets") -> None:
        quantity = sum(fill.quantity for fill in fills) * multiplier
        worth = sum((fill.reference_price or fill.price) * fill.quantity for fill in fills) * multiplier
        self.taken_worth.append(worth)
        self.half_spread.append(sum(fill.spread_cost for fill in fills) / worth)
        self.slippage.append(sum(fill.slippage_cost + fill.impact_cost for fill in fills) / worth)
        self.size.append(markets.size(order.symbol, order.time, quantity))


class _Markets:
    """Volatility and volume before each order, as the engine's own gauge has them."""

    def __init__(self, bars: Mapping[str, SymbolBars]) -> None:
        self._bars = bars
        self._known: dict[str, FloatArray] = {}

    def size(self, symbol: str, time: int, quantity: float) -> float:
        bars = self._bars.get(symbol)
        if bars is None or len(bars.close_time) < 2:
            return float("nan")
        if symbol not in self._known:
            self._known[symbol] = _gauged(symbol, bars)
        row = int(np.searchsorted(bars.close_time, time, side="right")) - 1
        volatility, volume = self._known[symbol][row] if row >= 0 else (0.0, 0.0)
        return volatility * sqrt(quantity / volume) if volatility > 0 and volume > 0 else float("nan")


def _gauged(symbol: str, bars: SymbolBars) -> FloatArray:
    """Return volatility and daily volume as known after each bar, [rows, 2]."""
    duration = int(np.diff(bars.close_time).min())
    gauge = MarketGauge(min(duration, DAY))
    known = np.empty((len(bars.close_time), 2))
    for row, (time, values) in enumerate(zip(bars.close_time.tolist(), bars.values.tolist(), strict=True)):
        open_, high, low, close, volume = values
        gauge.update(Bar(symbol, time - duration, time, open_, high, low, close, volume, ""))
        known[row] = gauge.market
    return known
