"""The same run, skipping to the next instant at which something can happen.

For strategies that need no Python at every bar: they act on a column of targets, on timers, or on forecasts. Between
two instants at which they act, only resting orders matter, and a compiled scan finds the next bar that reaches one.
Desk, exchange and books are those of the stepping loop. Tests hold stepping and jumping equal, journal row by
journal row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.bars import Bar, Bars, FloatArray, IntArray
from engine.orders import Order, OrderType

SCAN_PAYS = 100_000
"""Rows from which loading the compiled scan (about half a second, once) costs less than it saves."""


# ── when can something happen? ──────────────────────────────────────────────────────────────────────────────────────


def target_rows(exposures: FloatArray, first: int) -> IntArray:
    """Return the rows from `first` on at which the target differs from the one before; NaN is no opinion."""
    asked = exposures[first:]
    if not len(asked):
        return np.empty(0, np.int64)
    moved = np.empty(len(asked), np.bool_)
    moved[0] = True
    np.not_equal(asked[1:], asked[:-1], out=moved[1:])  # NaN differs from everything, itself too
    rows = np.flatnonzero(moved)
    values = asked[rows]
    is_opinion = values == values
    if not is_opinion.all():  # between NaNs, a target that only comes back is no change
        rows, values = rows[is_opinion], values[is_opinion]
        keep = np.ones(len(rows), np.bool_)
        keep[1:] = values[1:] != values[:-1]
        rows = rows[keep]
    return rows + first


def next_reached(bars: Bars, orders: Sequence[Order], row: int) -> int:
    """Return the first row ≥ `row` in which a working order may act: fill, trigger, expire, or follow the price.

    Never too late, sometimes too early: the exchange decides what really happens there.
    """
    upper, lower = np.inf, -np.inf
    last = len(bars)
    for order in orders:
        if order.type in (OrderType.MARKET, OrderType.TRAILING_STOP) or not order.has_rested or order.is_triggered:
            return row
        instrument = order.instrument
        # Half an increment of slack: a price is snapped to the grid before it is compared.
        slack = 0.5 * float(instrument.price_increment)
        for ticks, rises in ((order.limit_ticks, order.side < 0), (order.stop_ticks, order.side > 0)):
            if ticks is None:
                continue
            price = instrument.float_price(ticks)
            if rises:
                upper = min(upper, price - slack)
            else:
                lower = max(lower, price + slack)
        for time in (order.expire_at, order.changes_at):
            if time is not None:
                last = min(last, max(row, int(np.searchsorted(bars.close_time, time))))
    return min(last, _scan(bars, row, upper, lower))


def _scan(bars: Bars, row: int, upper: float, lower: float) -> int:
    if len(bars) - row >= SCAN_PAYS:
        from engine.kernel import next_touch

        return int(next_touch(bars.high, bars.low, row, upper, lower))
    step = 512
    for start in range(row, len(bars), step):
        reached = np.flatnonzero((bars.high[start : start + step] >= upper) | (bars.low[start : start + step] <= lower))
        if len(reached):
            return start + int(reached[0])
    return len(bars)


def bar_at(bars: Bars, row: int) -> Bar:
    """Return one row as a Bar."""
    stream = bars.streams[0 if bars.stream is None else int(bars.stream[row])]
    return Bar(
        stream.symbol,
        bars.open_time.item(row),
        bars.close_time.item(row),
        bars.open.item(row),
        bars.high.item(row),
        bars.low.item(row),
        bars.close.item(row),
        bars.volume.item(row),
        stream.timeframe,
        0 if bars.flags is None else int(bars.flags[row]),
    )


# ── jumping, one stream ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Jumper:
    """Visits only the rows of one stream at which something can happen.

    Args:
        bars: the whole run's; working: the broker's working orders, by id.
        rows: at which the strategy acts, ascending; `act` is called there with the bar and the row.
        visit: makes a bar the current one; match: lets the working orders meet it.
        next_due: gives the time of the next timer, or None; fire: fires those due up to an instant.
    """

    bars: Bars
    working: Mapping[int, Order]
    rows: Sequence[int]
    visit: Callable[[Bar], None]
    match: Callable[[Bar], None]
    act: Callable[[Bar, int], None]
    next_due: Callable[[], int | None]
    fire: Callable[..., None]
    _place: int = 0

    def run(self, start: int, end: int) -> None:
        """Run the rows in [start, end)."""
        row = start
        while True:
            row = self._next_row(row, end)
            if row >= end:
                return
            self._step(row)
            row += 1

    def _next_row(self, row: int, end: int) -> int:
        if self._place < len(self.rows):
            end = min(end, self.rows[self._place])
        due = self.next_due()
        if due is not None:
            end = min(end, max(row, int(np.searchsorted(self.bars.close_time, due))))
        if self.working and row < end:
            end = min(end, next_reached(self.bars, list(self.working.values()), row))
        return end

    def _step(self, row: int) -> None:
        bar = bar_at(self.bars, row)
        due = self.next_due()
        if due is not None and due < bar.close_time:
            if row:
                self.visit(bar_at(self.bars, row - 1))  # a timer before this bar's close knows the bar before
            self.fire(bar.close_time, inclusive=False)
        self.visit(bar)
        if self.working:
            self.match(bar)
        if self._place < len(self.rows) and self.rows[self._place] == row:
            self._place += 1
            self.act(bar, row)
        if due is not None:
            self.fire(bar.close_time, inclusive=True)
