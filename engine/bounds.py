"""What a result might have been: every trade that bars leave open, with its lowest and its highest outcome.

For the orders as they were asked for, at the quantities that were traded: what a strategy would have done differently
had another order filled first is not asked here (making the run again under `path = "worst"` and `"best"` does).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine.ambiguity import AmbiguityWatch, Idea
from engine.bars import Bar, Bars
from engine.detail import DetailReader
from engine.events import Liquidity
from engine.instruments import Instrument
from engine.interfaces import Detail
from engine.jump import bar_at
from engine.order_sets import Outcome, TickBars, Way
from engine.orders import Order, OrderType
from engine.outcomes import Finer, possible_outcomes
from engine.portfolio import Portfolio
from engine.records import FillRow
from engine.semantics import Switches
from engine.worlds import TooManyWorlds

_TIMES = tuple(map(Bar._fields.index, ("open_time", "close_time")))
_PRICES = tuple(map(Bar._fields.index, ("open", "high", "low", "close")))
CostOf = Callable[[Order, int, int, Liquidity, int], tuple[int, int]]
"""(order, ticks, lots, liquidity, time) → price in ticks after costs, fee in currency units."""


class Ending(NamedTuple):
    """One way that a trade may have gone: what it made, net of costs, in quote currency.

    Args:
        time, price: of its last fill (UTC ns, quote currency), None if nothing filled.
        is_held: whether it is still held at the end, and valued at the last close.
        fills: its executions as rows of a journal; those of the declared ending are the run's own.
    """

    net: float
    time: int | None
    price: float | None
    is_held: bool
    fills: tuple[FillRow, ...] = ()


class AmbiguousTrade(NamedTuple):
    """A trade, or an entry that may not have become one, whose outcome hangs on the order of prices inside a bar.

    Args:
        orders: ids, the entry first; bars: close times of the bars that leave it open, UTC ns.
        quantity: what was traded of the entry; asked for, if nothing was.
        closed_at, closed_bar: when an order from outside closed its position in the declared run, and the close time of
            the bar in which it did; None if none did.
        pessimistic, declared, optimistic: pessimistic.net ≤ declared.net ≤ optimistic.net.
    """

    symbol: str
    side: str
    quantity: float
    orders: tuple[int, ...]
    entry_time: int
    bars: tuple[int, ...]
    closed_at: int | None
    closed_bar: int
    pessimistic: Ending
    declared: Ending
    optimistic: Ending
    currency: str


@dataclass(frozen=True)
class Ambiguity:
    """What bars left open in a run.

    Args:
        contested: bars in which several orders could act; resolved: bars in which finer ones told what happened.
        trades: those whose outcome is open, in the order in which they were decided.
        corrected: trades that finer bars show to have ended otherwise than the run declared: between the two.
        unknown: ideas whose outcomes were not worked out: their terms were changed on the way, or too much is possible.
        unlinked: contested bars of orders that are not linked (reduce-only orders side by side); only making the run
            again tells what they may do.
    """

    contested: int = 0
    resolved: int = 0
    trades: tuple[AmbiguousTrade, ...] = ()
    corrected: tuple[AmbiguousTrade, ...] = ()
    unknown: int = 0
    unlinked: int = 0

    @property
    def is_clear(self) -> bool:
        """Whether nothing is left open."""
        return not (self.trades or self.unknown or self.unlinked or self.corrected)


def ambiguity(
    watch: AmbiguityWatch,
    bars: Mapping[str, Bars],
    fills: Sequence[FillRow],
    portfolio: Portfolio,
    switches: Switches,
    cost_of: CostOf,
    detail: Detail | None = None,
) -> Ambiguity:
    """Return what bars left open in a run that is over.

    Args:
        watch: what the exchange noted.
        bars: of every symbol, those that its orders were matched against.
        fills: of the run; cost_of: what a fill that might have been would have cost.
        detail: finer bars, where the data has them: they are asked for the bars in which something may happen.
    """
    if not watch.count:
        return Ambiguity()
    teller = _Teller(bars, fills, portfolio, switches, cost_of, detail)
    lengths = {symbol: int(rows.close_time[0] - rows.open_time[0]) for symbol, rows in bars.items() if len(rows)}
    trades: list[AmbiguousTrade] = []
    corrected: list[AmbiguousTrade] = []
    unknown = 0
    linked: set[tuple[str, int]] = set()
    for idea in watch.ideas(lengths):
        linked.update((idea.legs.symbol, time) for time in idea.bars)
        outcome = teller.outcome(idea)
        if outcome is None:
            unknown += 1
        elif outcome.is_open:
            trades.append(teller.trade(idea, outcome))
        elif detail is not None and teller.ended_otherwise(idea, outcome):
            corrected.append(teller.trade(idea, outcome))
    contested = {(note.symbol, note.time) for note in watch.notes}
    return Ambiguity(
        watch.count, len(teller.resolved), tuple(trades), tuple(corrected), unknown, len(contested - linked)
    )


@dataclass
class _Teller:
    """Works out the outcomes of ideas, and tells them in money."""

    bars: Mapping[str, Bars]
    fills: Sequence[FillRow]
    portfolio: Portfolio
    switches: Switches
    cost_of: CostOf
    detail: Detail | None
    resolved: set[tuple[str, int]] = field(default_factory=set)
    """Symbol and close time of the bars that finer ones were found for."""
    _ticks: dict[str, TickBars] = field(default_factory=dict)
    _fills_of: dict[int, list[FillRow]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for fill in self.fills:
            row = FillRow(*fill)
            self._fills_of.setdefault(row.order_id, []).append(row)

    def outcome(self, idea: Idea) -> Outcome | None:
        """Return the lowest and the highest outcome of an idea; None where they cannot be worked out."""
        symbol = idea.legs.symbol
        if idea.is_amended:
            return None
        try:
            return possible_outcomes(idea.legs, self._tick_bars(symbol), self.switches, self._finer(symbol))
        except TooManyWorlds:
            return None

    def _tick_bars(self, symbol: str) -> TickBars:
        if symbol not in self._ticks:
            self._ticks[symbol] = _in_ticks(self.bars[symbol], self.portfolio.instruments[symbol])
        return self._ticks[symbol]

    def _finer(self, symbol: str) -> Finer | None:
        if self.detail is None:
            return None
        reader, instrument = DetailReader(self.detail), self.portfolio.instruments[symbol]

        def finer(row: int) -> TickBars | None:
            bar = bar_at(self.bars[symbol], row)
            parts = reader.parts(bar, instrument)
            if len(parts) < 2:
                return None
            self.resolved.add((symbol, bar.close_time))
            opened, closed = (np.array([part[place] for part in parts], np.int64) for place in _TIMES)
            prices = (np.array([part[place] for part in parts], np.float64) for place in _PRICES)
            return TickBars(opened, closed, *map(instrument.ticks_of, prices))

        return finer

    def trade(self, idea: Idea, outcome: Outcome) -> AmbiguousTrade:
        """Return an idea as a trade with its three endings."""
        entry = idea.orders[0]
        low, high, declared = self._ending(idea, outcome.low), self._ending(idea, outcome.high), self._declared(idea)
        if low.net > high.net:  # costs differ more than prices do
            low, high = high, low
        noise = 1e-9 * max(1.0, abs(declared.net))
        return AmbiguousTrade(
            entry.symbol,
            entry.side.word,
            entry.instrument.float_quantity(idea.legs.legs[0].lots),
            tuple(order.id for order in idea.orders),
            outcome.low.steps[0].time if outcome.low.steps else entry.decided_at,
            outcome.bars,
            idea.legs.closed_at,
            idea.legs.closed_bar,
            low if low.net < declared.net - noise else declared,
            declared,
            high if high.net > declared.net + noise else declared,
            entry.instrument.quote,
        )

    def ended_otherwise(self, idea: Idea, outcome: Outcome) -> bool:
        """Return whether a single possible outcome is not what the run made of an idea."""
        told = [(idea.orders[step.leg].id, step.price) for step in outcome.low.steps if step.leg >= 0]
        instrument = idea.orders[0].instrument
        rows = sorted(fill for order in idea.orders for fill in self._fills_of.get(order.id, ()))
        return told != list(dict.fromkeys((row.order_id, instrument.to_ticks(row.reference_price)) for row in rows))

    # ── in money ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _ending(self, idea: Idea, way: Way) -> Ending:
        """Return what one way makes, with the costs that its fills would have had."""
        position = self.portfolio.positions[idea.legs.symbol]
        instrument, unit = position.instrument, position.account.unit
        units = held = 0
        rows = []
        for step in way.steps:
            is_own = step.leg >= 0
            order = idea.orders[max(step.leg, 0)]
            side = int(order.side) if is_own else (-1 if held > 0 else 1)
            lots = idea.legs.legs[step.leg].lots if is_own else abs(held)
            liquidity = Liquidity.MAKER if is_own and order.type is OrderType.LIMIT else Liquidity.TAKER
            price, fee = self._after_costs(idea, order, step.price, lots, liquidity, step.time)
            if not is_own:  # what it cost is known: it happened
                price = step.price
            units -= side * price * lots * position.value_units + fee
            held += side * lots
            rows.append(FillRow(
                0, order.id, step.time, step.bar, order.symbol, "buy" if side > 0 else "sell",
                instrument.float_price(price), instrument.float_quantity(lots), liquidity.value, float(fee * unit),
                instrument.quote, instrument.float_price(step.price),
                0.0, abs(price - step.price) * lots * float(instrument.increment_value), 0.0, 0.0, 0.0,
            ))
        units += held * int(self._tick_bars(idea.legs.symbol).close[-1]) * position.value_units
        return _told(rows, float(units * unit), held != 0)

    def _after_costs(
        self, idea: Idea, order: Order, ticks: int, lots: int, liquidity: Liquidity, time: int
    ) -> tuple[int, int]:
        """Return the price after costs and the fee: as the idea's own fills were charged, where there are any alike."""
        own = self._fills_of.get(order.id) or [
            row for other in idea.orders for row in self._fills_of.get(other.id, ()) if row.liquidity == liquidity.value
        ]
        price, fee = self.cost_of(order, ticks, lots, liquidity, time)
        if not own or own[0].liquidity != liquidity.value:
            return price, fee
        # In basis points the costs of two fills of one idea are alike; against us whatever the side.
        share = abs(own[0].price / own[0].reference_price - 1)
        return ticks + int(order.side) * round(ticks * share), fee

    def _declared(self, idea: Idea) -> Ending:
        """Return what the run made of an idea."""
        symbol = idea.legs.symbol
        position = self.portfolio.positions[symbol]
        instrument, unit = position.instrument, position.account.unit
        factor, lot = float(instrument.multiplier), float(instrument.quantity_increment)
        rows = sorted(row for order in idea.orders for row in self._fills_of.get(order.id, ()))
        net = held = 0.0
        for row in rows:
            side = 1 if row.side == "buy" else -1
            net -= side * row.price * row.quantity * factor + row.fee
            held += side * row.quantity
        closed_at = idea.legs.closed_at
        shown = list(rows)
        if abs(held) >= lot / 2 and closed_at is not None:
            price, lots = instrument.float_price(idea.legs.closed_for), instrument.to_lots(abs(held))
            fee = float(self.cost_of(idea.orders[0], idea.legs.closed_for, lots, Liquidity.TAKER, closed_at)[1] * unit)
            net += held * price * factor - fee
            shown.append(rows[-1]._replace(time=closed_at, price=price))
            held = 0.0
        if abs(held) >= lot / 2:
            net += held * float(self.bars[symbol].close[-1]) * factor
        return _told(shown, net, abs(held) >= lot / 2)._replace(fills=tuple(rows))


def _told(rows: Sequence[FillRow], net: float, is_held: bool) -> Ending:
    last = rows[-1] if rows else None
    return Ending(net, last.time if last else None, last.price if last else None, is_held, tuple(rows))


def _in_ticks(bars: Bars, instrument: Instrument) -> TickBars:
    ticks = instrument.ticks_of
    return TickBars(
        bars.open_time, bars.close_time, ticks(bars.open), ticks(bars.high), ticks(bars.low), ticks(bars.close)
    )
