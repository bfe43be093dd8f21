"""Stepping: through every bar of a chunk, one stream bar by bar, or several instant by instant.

Everything that a bar does not need is left out of the innermost loops: handlers are bound once, books are not
valued, and nothing is looked up by name.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import compress, islice
from typing import Any, Protocol

import numpy as np

from engine.bars import Bar, Bars, Timeframe
from engine.interfaces import ClearingBroker, InstantBroker
from engine.jump import bar_at
from engine.lines import Line
from engine.moment import ManyMoment, SingleMoment
from engine.orders import Order
from engine.running import Running
from engine.slices import Slice, dense_columns
from engine.strategy import overrides
from engine.valuation import base_streams

FEW = 4096
"""Bars made at a time: their cost per bar vanishes, and they stay in cache (measured: 2 048 … 16 384 alike)."""


class Stepper(Protocol):
    """Runs chunks, one after another."""

    def step(self, bars: Bars) -> None:
        """Run the next chunk."""


def stepper_for(running: Running) -> Stepper:
    """Return how to step: bar by bar where there is one stream and nothing but bars to tell of, else by instants."""
    is_fed_ahead = all(entry.source is None for entries in running.lines.of_stream.values() for entry in entries)
    is_plain = isinstance(running.moment, SingleMoment) and not overrides(running.strategy, "on_slice") and is_fed_ahead
    is_plain = is_plain and _clearing_of(running) is None
    return BarStepper(running) if is_plain else InstantStepper(running)


def _clearing_of(running: Running) -> ClearingBroker | None:
    """Return the broker if it must be told where an instant begins and ends."""
    broker = running.broker
    return broker if isinstance(broker, ClearingBroker) and broker.is_clearing else None


def pieces(bars: Bars, size: int) -> Iterator[Bars]:
    """Yield a chunk in pieces of about `size` bars; one of several streams stays whole, so that no instant is split."""
    if bars.stream is not None or len(bars) <= size:
        yield bars
        return
    for start in range(0, len(bars), size):
        yield bars[start : start + size]


# ── one stream ────────────────────────────────────────────────────────────────────────────────────────────────────


class BarStepper:
    """Steps through one stream."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._rows_done = 0

    def step(self, bars: Bars) -> None:
        """Run the next chunk."""
        for few in pieces(bars, FEW):
            self._running.guard.call("", lambda few=few: self._step(few))  # type: ignore[misc]
            self._rows_done += len(few)

    def _step(self, bars: Bars) -> None:
        running, begin = self._running, self._rows_done
        stream = running.feed.streams[0]
        moment, broker, handle = running.moment, running.broker, running.desk.handle
        assert isinstance(moment, SingleMoment)
        working, every_bar, on_bar_of = broker.working, broker.needs_every_bar, broker.on_bar
        declared = running.lines.of_stream[stream]
        # A line grows by being zipped along with the bars: appending happens in C, as part of taking the next row.
        growing = [map(entry.line.append, entry.column[begin : begin + len(bars)].data) for entry in declared]
        # `compress` asks for one step of all lines after each bar, and takes the tuple it gets for a yes.
        rows = compress(bars.rows(), zip(*growing, strict=True)) if growing else bars.rows()
        cold = min(max(running.warm_up[stream] - begin, 0), len(bars))
        watch = running.watch
        for bar in islice(rows, cold):
            moment.bar = bar
            if watch is not None:
                watch.on_bar(bar)
        decide = self._decider(begin + cold)
        if watch is not None:
            decide = watch.around(decide)
        for bar in rows:
            moment.bar = bar
            if working or every_bar:
                events = on_bar_of(bar)
                if events:
                    handle(events)
            decide(bar)
        running.clock.advance_to(int(bars.close_time[-1]))

    def _decider(self, first: int) -> Callable[[Bar], None]:
        """Return what to call with every bar from the first-th on."""
        bus, exposures = self._running.bus, self._running.exposures
        handlers = bus.handlers(Bar)
        if exposures is not None:
            return self._target_taker(handlers, iter(exposures[first : first + FEW].tolist()))
        return handlers[0] if len(handlers) == 1 else bus.publish

    def _target_taker(
        self, handlers: Sequence[Callable[[Any], None]], exposures: Iterator[float]
    ) -> Callable[[Bar], None]:
        target = self._running.strategy.target

        def take(bar: Bar) -> None:
            for handler in handlers:
                handler(bar)
            exposure = next(exposures)
            if exposure == exposure:
                target(bar.symbol, exposure, why="target")

        return take


# ── several streams ───────────────────────────────────────────────────────────────────────────────────────────────


class InstantStepper:
    """Steps through any number of streams, one instant after another."""

    def __init__(self, running: Running) -> None:
        streams = running.feed.streams
        self._running = running
        self._symbol_of = [stream.symbol for stream in streams]
        self._place_of = {stream.symbol: place for place, stream in enumerate(streams)}
        base = set(base_streams(streams).values())
        self._base = frozenset(place for place, stream in enumerate(streams) if stream in base)
        self._growing = [running.lines.of_stream[stream] for stream in streams]
        self._told = [0] * len(streams)
        self._cold: dict[str, list[Line]] = {
            symbol: list(lines) for symbol, lines in running.lines.by_symbol().items() if lines
        }
        self._clearing = _clearing_of(running)
        self._together = running.broker if isinstance(running.broker, InstantBroker) else None
        self._has_begun = False
        self._rows_done = 0

    def step(self, bars: Bars) -> None:
        """Run the next chunk."""
        if not self._has_begun and len(bars):
            self._running.context.start_timers(int(bars.open_time[0]))
            self._has_begun = True
        self._running.guard.call("", lambda: self._step(bars))
        self._rows_done += len(bars)

    def observe(self, bars: Bars) -> None:
        """Let lines and histories grow by bars from before the first decision; the strategy is not told."""
        rows = _Rows(bars, ready=False)
        times, starts = _instants(bars)
        places = bars.stream.tolist() if bars.stream is not None else [0] * len(bars)
        closes = bars.close.tolist()
        for time, start, end in zip(times, starts, [*starts[1:], len(bars)], strict=True):
            self._move_to(time, places, closes, rows, start, end)
            if any(self._growing):
                self._grow_lines(bars, places, start, end)
            if self._running.book is not None:
                self._running.book.observe(bars, start, end, asks=False)
            for row in range(start, end):
                self._told[places[row]] += 1
        self._rows_done += len(bars)

    def _step(self, bars: Bars) -> None:
        running = self._running
        clock, broker, on_slice = running.clock, running.broker, running.strategy.on_slice
        wants_bars, has_lines = bool(running.bus.handlers(Bar)), any(self._growing)
        rows = _Rows(bars, ready=wants_bars)
        slices = self._slices(bars) if overrides(running.strategy, "on_slice") else []
        times, starts = _instants(bars)
        places = bars.stream.tolist() if bars.stream is not None else [0] * len(bars)
        closes = bars.close.tolist()
        watch, book = running.watch, running.book
        volumes = bars.volume.tolist() if watch is not None else []
        exposures, row_before, take_target = running.exposures, self._rows_done, running.strategy.target
        for time, start, end in zip(times, starts, [*starts[1:], len(bars)], strict=True):
            fire_timers(running, time, inclusive=False)
            clock.advance_to(time)
            self._move_to(time, places, closes, rows, start, end)
            if broker.working or broker.needs_every_bar:
                self._match(rows, places, start, end)
            if watch is not None:
                watch.on_bars(
                    time,
                    [
                        (self._symbol_of[places[row]], closes[row], volumes[row])
                        for row in range(start, end)
                        if places[row] in self._base
                    ],
                )
            if has_lines:
                self._grow_lines(bars, places, start, end)
            if book is not None:
                book.observe(bars, start, end)
            if wants_bars:
                self._publish(rows, places, start, end)
            if exposures is not None and exposures[row_before + start] == exposures[row_before + start]:
                take_target(self._symbol_of[places[start]], float(exposures[row_before + start]), why="target")
            for upcoming in slices:
                if upcoming and upcoming[0].time == time:
                    on_slice(upcoming.popleft())
            fire_timers(running, time, inclusive=True)
            if watch is not None:
                watch.after(time)

    def _move_to(
        self, time: int, places: list[int], closes: list[float], rows: "_Rows", start: int, end: int
    ) -> None:
        moment, symbol_of = self._running.moment, self._symbol_of
        if isinstance(moment, SingleMoment):
            moment.bar = rows[start]
        elif end - start == len(symbol_of):
            moment.move_to_all(time, closes, start)
        else:
            moment.move_to_some(time, [symbol_of[place] for place in places[start:end]], closes[start:end])

    def _match(self, rows: "_Rows", places: list[int], start: int, end: int) -> None:
        """Let working orders meet the bars of an instant, at each symbol's shortest timeframe; what frees cash goes
        first."""
        broker = self._running.broker
        first = 0
        if end - start == len(self._base) == len(self._symbol_of):
            row_of, first = self._place_of, start  # every symbol has a bar: rows stand in feed order
        else:
            row_of = {self._symbol_of[places[row]]: row for row in range(start, end) if places[row] in self._base}
        frees_cash: dict[str, bool] = {}
        for order in broker.working.values():
            symbol = order.symbol
            if symbol in row_of:
                frees_cash[symbol] = frees_cash.get(symbol, True) and self._reduces(order)
        if broker.needs_every_bar:
            frees_cash = dict.fromkeys(row_of, True) | frees_cash  # the others only look
        happened: list[Any] = []
        if self._clearing is not None and row_of:
            base_rows = [first + row for row in row_of.values()]
            happened.extend(self._clearing.begin_instant([rows[row] for row in base_rows]))
        in_turn = sorted((not frees, row_of[symbol]) for symbol, frees in frees_cash.items())
        if len(in_turn) > 1 and self._together is not None:
            happened.extend(self._together.on_bars([rows[first + row] for _, row in in_turn]))
        else:
            for _, row in in_turn:
                happened.extend(broker.on_bar(rows[first + row]))
        if self._clearing is not None and row_of:
            happened.extend(self._clearing.end_instant())
        if happened:
            self._running.desk.handle(happened)

    def _reduces(self, order: Order) -> bool:
        return self._running.portfolio.positions[order.symbol].lots * order.side < 0

    def _grow_lines(self, bars: Bars, places: list[int], start: int, end: int) -> None:
        growing = self._growing
        for row in range(start, end):
            for entry in growing[places[row]]:
                if entry.source is None:
                    entry.line.append(entry.column[len(entry.line)])
                else:
                    values = (float(getattr(bars, field)[row]) for field in entry.spec.inputs)
                    entry.line.append(entry.source.update(*values))

    def _publish(self, rows: "_Rows", places: list[int], start: int, end: int) -> None:
        told, publish, least = self._told, self._running.bus.publish, self._running.strategy.warm_up
        for row in range(start, end):
            place = places[row]
            told[place] = seen = told[place] + 1
            if seen > least and (not self._cold or self._is_warm(self._symbol_of[place])):
                publish(rows[row])

    def _is_warm(self, symbol: str) -> bool:
        """Return whether every line of a symbol, of every timeframe, has a value by now."""
        waiting = self._cold.get(symbol)
        if waiting is None:
            return True
        waiting[:] = [line for line in waiting if not line or line[-1] != line[-1]]
        if not waiting:
            del self._cold[symbol]
        return not waiting

    def _slices(self, bars: Bars) -> list[deque[Slice]]:
        """Return the cross-sections of the chunk, one queue a timeframe, shorter timeframes first."""
        symbols = self._running.context.symbols
        frames = sorted({stream.timeframe for stream in self._running.feed.streams}, key=Timeframe.parse)
        return [deque(dense_columns(bars, frame, symbols).slices()) for frame in frames]


def next_due(running: Running) -> int | None:
    """Return when the next timer or forecast is due; None if none is."""
    timer = running.context.next_due()
    forecast = running.book.next_due if running.book is not None else None
    return forecast if timer is None else timer if forecast is None else min(timer, forecast)


def fire_timers(running: Running, time: int, *, inclusive: bool) -> None:
    """Tell the strategy of the timers and forecasts due before an instant, or at it too; at one instant forecasts come
    first."""
    context, moment, book = running.context, running.moment, running.book
    if book is not None and book.is_used:
        while True:
            timer_at = context.next_due()
            if timer_at is not None and (timer_at < time or (timer_at == time and inclusive)):
                is_taken = book.take_next(timer_at, inclusive=True)
            else:
                is_taken = book.take_next(time, inclusive=inclusive)
            if is_taken:
                continue
            timer = context.due(time, inclusive=inclusive)
            if timer is None:
                return
            if isinstance(moment, ManyMoment):
                moment.time = timer.time
            running.strategy.on_timer(timer)
    while (timer := context.due(time, inclusive=inclusive)) is not None:
        if isinstance(moment, ManyMoment):
            moment.time = timer.time
        running.strategy.on_timer(timer)


class _Rows:
    """Bars of a chunk by place, made when asked for, or all at once where every one is needed."""

    def __init__(self, bars: Bars, *, ready: bool) -> None:
        self._bars = bars
        self._made: list[Bar] | None = list(bars.rows()) if ready else None

    def __getitem__(self, row: int) -> Bar:
        return self._made[row] if self._made is not None else bar_at(self._bars, row)


def _instants(bars: Bars) -> tuple[list[int], list[int]]:
    """Return the distinct close times and the row at which each begins."""
    starts = np.flatnonzero(np.diff(bars.close_time, prepend=bars.close_time[:1] - 1))
    return bars.close_time[starts].tolist(), starts.tolist()
