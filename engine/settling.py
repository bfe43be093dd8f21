"""When targets are dealt with in bulk, and how a run leaves that mode for good."""

import numpy as np

from engine.bars import Bars
from engine.exchange import SimulatedExchange
from engine.jump import bar_at
from engine.moment import SingleMoment
from engine.running import Running
from engine.settlement import Settlement, compiled_terms


def may_settle_in_bulk(running: Running) -> bool:
    """Return whether the run is long enough, of one symbol, and its orders watched by no handler and no rule."""
    parts, streams, rows = running.parts, running.feed.streams, running.feed.row_count
    is_alone = len(streams) == 1 and len(running.portfolio.instruments) == 1
    is_long = rows is not None and rows >= max(parts.compile_from, 1)
    is_watched = running.overrides_any("on_fill", "on_order", "on_timer", "on_slice")
    is_plain = running.desk.is_plain and isinstance(running.moment, SingleMoment)  # a run with models is not
    return parts.mode != "step" and is_alone and is_long and is_plain and not is_watched


def new_settlement(running: Running) -> Settlement | None:
    """Return where targets may be collected, or None if orders have to be dealt with one by one."""
    if not may_settle_in_bulk(running):
        return None
    stream = running.feed.streams[0]
    instrument = running.portfolio.instruments[stream.symbol]
    terms = compiled_terms(running.broker, instrument)
    declared = running.lines.of_stream[stream]
    if terms is None or any(entry.source is not None for entry in declared):
        return None
    return Settlement(
        running.portfolio,
        running.recorder,
        terms,
        instrument,
        running.parts.headroom,
        type(running.strategy).__name__,
        [entry.column for entry in declared],
    )


class Settler:
    """Settles a run piece by piece, until somebody looks at what became of a target.

    Args:
        settlement: where targets are collected; None leaves every order to desk and exchange from the start.
    """

    def __init__(self, running: Running, settlement: Settlement | None) -> None:
        self._running = running
        self._piece: Bars | None = None
        self._rows_before = 0
        running.context.settlement, running.context.settle = settlement, self.settle_now

    def begin(self, bars: Bars, rows_before: int) -> None:
        """Take note of the piece that is about to be stepped through, and of how many rows came before it."""
        self._piece, self._rows_before = bars, rows_before

    def end(self) -> None:
        """Deal with the targets collected in the piece."""
        settlement, bars = self._running.context.settlement, self._piece
        if settlement is not None and bars is not None and not settlement.settle(bars, 0, len(bars)):
            self._leave(len(bars))
        self._piece = None  # between two pieces there is nothing to deal with

    def settle_now(self) -> None:
        """Deal with what was collected up to the current bar; from here on each order is dealt with as it comes."""
        if self._running.context.settlement is not None:
            bars = self._piece
            self._leave(0 if bars is None else int(np.searchsorted(bars.close_time, self._running.moment.time)) + 1)

    def _leave(self, end: int) -> None:
        """Settle the first rows of the piece, and hand what stays open to desk and exchange."""
        running, bars = self._running, self._piece
        settlement, broker = running.context.settlement, running.broker
        assert settlement is not None
        assert isinstance(broker, SimulatedExchange)
        running.context.settlement = None
        is_done = bars is None or settlement.settle(bars, 0, end)
        order = settlement.open_order(running.moment.time, 0)
        running.desk.take_over(settlement.order_count, order)
        broker.take_over(running.recorder.fill_count, order)
        if bars is not None and not is_done:
            self._one_by_one(settlement, bars, end)

    def _one_by_one(self, settlement: Settlement, bars: Bars, end: int) -> None:
        """Deal with the wishes of a piece through desk and exchange: sums became too large for the compiled run."""
        running, moment = self._running, self._running.moment
        assert isinstance(moment, SingleMoment)
        stream, now = running.feed.streams[0], moment.bar
        wishes: dict[int, list[tuple[int, float, str]]] = {}
        for wish in settlement.wishes:
            wishes.setdefault(int(np.searchsorted(bars.close_time, wish[0])), []).append(wish)
        for row in range(end):
            if not running.broker.working and row not in wishes:
                continue
            moment.bar = bar_at(bars, row)
            running.desk.handle(running.broker.on_bar(moment.bar))
            seen = [entry.column[: self._rows_before + row + 1] for entry in running.lines.of_stream[stream]]
            running.recorder.watch({stream.symbol: seen})
            for _, exposure, why in wishes.get(row, ()):
                running.desk.target(stream.symbol, exposure, why)
        moment.bar = now
        running.recorder.watch(running.lines.by_symbol())
