"""The loop: one instant after another, in one thread, the same for backtest and paper trading.

At an instant T: timers that fell due before it; resting orders meet the bars that close at T (2 and 3 of DESIGN); fills are published; then
the bars, the cross-sections, the timers of T. What strategies ask for on the way reaches the broker at once and can meet later
prices only. Nothing here reads a file, a socket or the wall clock's date.
"""

import gc
import sys
import time as wall_time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from engine.bars import Bar, Bars, FloatArray, IntArray, Timeframe, iso
from engine.bus import Bus
from engine.clock import SimulatedClock
from engine.context import DeclaredLine, EngineContext, Lines
from engine.costs import Latency
from engine.desk import OrderDesk
from engine.errors import EngineError, JournalError, PluginError, SettingsError, StrategyError
from engine.events import (
    Fill,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
    RequestRefused,
)
from engine.interfaces import Broker, Clock, Feed, Journal
from engine.jump import COMPILING_PAYS, Jumper, Settlement, bar_at, compiled_terms, target_rows, warm
from engine.lines import Line
from engine.moment import ManyMoment, Moment, SingleMoment
from engine.orders import Order
from engine.portfolio import Portfolio
from engine.recorder import Recorder
from engine.records import RunEnd, RunStart
from engine.results import EquityCurve, RunResult
from engine.risk import RiskGate
from engine.slices import dense_columns
from engine.strategy import Strategy, exposures_from, overrides
from engine.valuation import EquityTracker, base_streams

Progress = Callable[[int, int | None], None]
"""Told of (bars done, bars in all or None) after every chunk."""

_ORDER_EVENTS = (
    OrderAccepted,
    OrderRejected,
    RequestRefused,
    OrderTriggered,
    OrderReduced,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
)

PIECE = 65_536
"""Bars after which the books are valued, progress is told, and rows that have gathered may go to the journal."""

FEW = 4096
"""Bars made at a time: large enough that its cost per bar vanishes, small enough to stay in cache (measured: 2 048 … 16 384 alike)."""

ROWS_TO_FLUSH = 5_000
SECONDS_TO_FLUSH = 1.0
"""Rows go to the journal when so many have gathered, or after so long: small transactions cost more a row."""


@dataclass
class Parts:
    """What a run is assembled from. The three replaceable ones are the feed, the clock and the broker."""

    feed: Feed
    strategy: Strategy
    broker: Broker
    portfolio: Portfolio
    clock: Clock | None = None
    journal: Journal | None = None
    start: RunStart | None = None
    risk: RiskGate | None = None
    latency: Latency | None = None
    headroom: float = 1.0
    """The largest share of equity a target may use, so that fees fit beside it (see engine.risk.headroom)."""
    checks_brackets: bool = True
    """Whether a bracket whose children lie on the wrong side of its entry is refused (the switch of that name)."""
    mode: str = "auto"
    """"step" visits every bar; "jump" skips those at which nothing can happen, where the strategy allows it; "auto" jumps too."""
    compile_from: int = COMPILING_PAYS
    """Rows from which orders of simple terms are dealt with in bulk by the compiled run."""


class Engine:
    """Runs one strategy over one feed.

    Raises:
        SettingsError: the parts do not fit together (a stream without instrument).
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.feed = parts.feed
        self.strategy = parts.strategy
        self.portfolio = parts.portfolio
        self.broker = parts.broker
        self.clock: Clock = parts.clock or SimulatedClock()
        self.bus = Bus()
        streams = parts.feed.streams
        for stream in streams:
            if stream.symbol not in parts.portfolio.instruments:
                raise SettingsError(f"the feed has {stream.symbol}, but no instrument of that name was given")
        self.moment: Moment = SingleMoment(streams[0].symbol) if len(streams) == 1 else ManyMoment()
        if overrides(parts.strategy, "on_timer"):
            self.moment = ManyMoment()
        self.lines = Lines(parts.feed)
        self._exposures: FloatArray | None = None
        self._settlement: Settlement | None = None
        self._flushed_at = 0.0
        self._chunk: Bars | None = None
        self._stepped = 0
        """Rows of the run that were stepped through."""
        self._settled = 0
        """Rows of the chunk whose targets were dealt with."""
        self._place_of = {stream.symbol: place for place, stream in enumerate(streams)}
        self._told = [0] * len(streams)
        self._growing: list[list[DeclaredLine]] = []
        self._cold: dict[str, list[Line]] = {}
        base = set(base_streams(streams).values())
        self._base_places = frozenset(place for place, stream in enumerate(streams) if stream in base)
        self._bars_seen = 0
        self._keys_valued = 0
        self._run_id: int | None = None
        self._began = False

    # ── a run ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, progress: Progress | None = None) -> RunResult:
        """Run to the end of the feed.

        Raises:
            StrategyError: a handler of the strategy raised; what was journalled before stays, and the run is marked failed.
            EngineError: the data or the journal failed.
        """
        self._prepare()
        started = wall_time.perf_counter()
        with _rare_collection():
            result = self._run(progress)
        seconds = wall_time.perf_counter() - started
        return replace(result, loop_seconds=seconds, data_fingerprint=self.feed.fingerprint)

    def _run(self, progress: Progress | None) -> RunResult:
        try:
            self._compute()
            self._begin_journal()
            self._run_chunks(progress)
            self._guarded("on_stop", self.strategy.on_stop)
        except KeyboardInterrupt:
            self._end_journal("interrupted", "stopped by the user")
            raise
        except EngineError as error:
            self._end_journal("failed", str(error))
            raise
        self._recorder.flush()
        result = self._result()
        self._end_journal("completed", "", result)
        return result

    def _prepare(self) -> None:
        strategy, bus = self.strategy, self.bus
        if overrides(strategy, "on_fill"):
            bus.subscribe(Fill, strategy.on_fill)
        if overrides(strategy, "on_order"):
            for kind in _ORDER_EVENTS:
                bus.subscribe(kind, strategy.on_order)
        if overrides(strategy, "on_bar"):
            bus.subscribe(Bar, strategy.on_bar)
        self._recorder = Recorder(self._parts.journal, self.portfolio, type(strategy).__name__, {})
        self._desk = OrderDesk(
            self.portfolio,
            self.broker,
            self._recorder,
            self.moment,
            bus,
            risk=self._parts.risk,
            latency=self._parts.latency,
            headroom=self._parts.headroom,
            checks_brackets=self._parts.checks_brackets,
        )
        context = EngineContext(self.feed, self.portfolio, self.broker, self.moment, self.lines, self._desk)
        self._context = context
        strategy._context = context
        self._guarded("on_start", strategy.on_start)
        context.is_starting = False
        self._recorder.watch(self.lines.by_symbol())
        self._growing = [self.lines.of_stream[stream] for stream in self.feed.streams]
        self._cold = {symbol: list(lines) for symbol, lines in self.lines.by_symbol().items() if lines}
        self._tracker = EquityTracker(self.portfolio, self.feed.streams)
        if self._may_settle_in_bulk():
            warm()

    def _compute(self) -> None:
        """Compute what is known ahead of the loop: indicator lines and vectorised targets."""
        strategy = self.strategy
        self._guarded("on_start", self.lines.compute)
        self._warm_up = {stream: max(strategy.warm_up, self.lines.warm_up(stream)) for stream in self.feed.streams}
        if overrides(strategy, "targets"):
            self._exposures = self._target_exposures()
        self._settlement = self._new_settlement()
        if overrides(strategy, "on_bar"):
            self._context.settlement, self._context.settle = self._settlement, self._settle_now

    def _target_exposures(self) -> FloatArray:
        """Return the exposures of a strategy with vectorised targets, NaN where it has no opinion."""
        if len(self.feed.streams) != 1:
            raise PluginError(
                f"{type(self.strategy).__name__}.targets is for one symbol, and the run has {len(self.feed.streams)} streams; "
                "use on_slice for many"
            )
        bars = whole(self.feed)
        exposures: FloatArray = self._guarded("targets", lambda: exposures_from(self.strategy, bars))
        check_targets_causal(self.strategy, bars, exposures)
        return exposures

    def _begin_journal(self) -> None:
        journal, start = self._parts.journal, self._parts.start
        if journal is not None:
            if start is None:
                start = RunStart("backtest", type(self.strategy).__name__, {}, {}, self.feed.fingerprint, {})
            self._run_id = journal.begin(replace(start, lines=self.lines.names()))
        self._began = True
        first = next(self.feed.chunks(), None) if self._parts.start is None else None
        opened = (
            int(first.open_time[0])
            if first is not None and len(first)
            else (start.data.get("from_ns", 0) if start else 0)
        )
        for currency, account in self.portfolio.accounts.items():
            self._recorder.account_event(opened, "deposit", currency, account.cash, "opening balance")

    def _end_journal(self, status: str, error: str, result: RunResult | None = None) -> None:
        journal = self._parts.journal
        if journal is None or not self._began:
            return
        if self._context.settlement is not None and self._chunk is not None and self._context.settlement.wishes:
            self._settle_now()  # what a failing strategy asked for before it failed
        self._recorder.flush()
        summary: dict[str, Any] = {}
        if result is not None:
            summary = {"final_equity": str(result.final_equity), "fills": len(result.fill_keys)}
        journal.end(RunEnd(status, wall_time.time_ns(), self._bars_seen, error, summary))

    # ── chunks ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run_chunks(self, progress: Progress | None) -> None:
        total = self.feed.row_count
        if self._can_jump():
            self._run_jumping(progress, total)
            return
        step = self._chunk_stepper()
        for chunk in self.feed.chunks():
            for bars in _pieces(chunk, PIECE):
                self._chunk, self._settled, self._stepped = bars, 0, self._bars_seen
                for few in _pieces(bars, FEW):
                    self._guarded("", lambda few=few: step(few))  # type: ignore[misc]
                    self._stepped += len(few)
                self._settle_chunk(bars)
                self._finish_chunk(bars, progress, total)

    def _can_jump(self) -> bool:
        """Return whether the strategy acts on targets or timers alone, so that most bars need not be visited."""
        strategy = self.strategy
        acts_between = self._exposures is not None or overrides(strategy, "on_timer")
        acts_on_bars = any(overrides(strategy, handler) for handler in ("on_bar", "on_slice", "on_forecast"))
        is_known_ahead = len(self.feed.streams) == 1 and self.feed.row_count is not None
        return (
            self._parts.mode != "step"
            and acts_between
            and not acts_on_bars
            and is_known_ahead
            and not self.broker.needs_every_bar
        )

    def _chunk_stepper(self) -> Callable[[Bars], None]:
        """Return how to run a chunk: bar by bar where there is one stream and nothing but bars to tell of, else by instants."""
        strategy = self.strategy
        is_plain = (
            isinstance(self.moment, SingleMoment)
            and not overrides(strategy, "on_slice")
            and not any(
                declared.source is not None for entries in self.lines.of_stream.values() for declared in entries
            )
        )
        return self._step_bars if is_plain else self._step_instants

    def _value(self, bars: Bars, total: int | None) -> None:
        keys = self._recorder.fill_keys_from(self._keys_valued)
        self._keys_valued += len(keys)
        self._tracker.add(bars, keys)
        if self._parts.journal is not None:
            self._recorder.equity(self._tracker.rows(total))

    # ── one stream, jumping ─────────────────────────────────────────────────────────────────────────────────────────────

    def _run_jumping(self, progress: Progress | None, total: int | None) -> None:
        bars = whole(self.feed)
        first = self._warm_up[self.feed.streams[0]]
        rows = target_rows(self._exposures, first) if self._exposures is not None else np.empty(0, np.int64)
        if self._exposures is not None and self._settlement is not None:
            if self._settlement.run(bars, rows, self._exposures[rows], 0, len(bars), None):
                self._finish_piece(bars, progress, total)
                return
        if len(bars):
            self._context.start_timers(int(bars.open_time[0]))
        jumper = Jumper(
            bars,
            self.broker.working,
            rows.tolist(),
            self._visit,
            self._match_bar,
            self._take_up_target,
            self._context.next_due,
            self._fire_timers,
        )
        for start in range(0, len(bars), PIECE):
            piece = bars[start : start + PIECE]
            self._guarded("", lambda start=start, piece=piece: jumper.run(start, start + len(piece)))  # type: ignore[misc]
            self._finish_piece(piece, progress, total)

    def _finish_piece(self, bars: Bars, progress: Progress | None, total: int | None) -> None:
        """Close the books of a piece of a jumping run."""
        self._visit(bar_at(bars, len(bars) - 1))
        self.clock.advance_to(int(bars.close_time[-1]))
        self._finish_chunk(bars, progress, total)

    def _finish_chunk(self, bars: Bars, progress: Progress | None, total: int | None) -> None:
        self._bars_seen += len(bars)
        self._value(bars, total)
        now = wall_time.perf_counter()
        if self._recorder.gathered >= ROWS_TO_FLUSH or now - self._flushed_at > SECONDS_TO_FLUSH:
            self._recorder.flush()
            self._flushed_at = now
        if progress is not None:
            progress(self._bars_seen, total)

    # ── targets dealt with in bulk ──────────────────────────────────────────────────────────────────────────────────────

    def _new_settlement(self) -> Settlement | None:
        """Return where targets may be collected, if orders under these terms can be dealt with in bulk and nobody watches them."""
        if not self._may_settle_in_bulk():
            return None
        streams = self.feed.streams
        instrument = self.portfolio.instruments[streams[0].symbol]
        terms = compiled_terms(self.broker, instrument)
        declared = self.lines.of_stream[streams[0]]
        if terms is None or any(entry.values is None for entry in declared):
            return None
        lines = [_values(entry) for entry in declared]
        return Settlement(
            self.portfolio, self._recorder, terms, instrument, self._parts.headroom, type(self.strategy).__name__, lines
        )

    def _may_settle_in_bulk(self) -> bool:
        strategy, feed = self.strategy, self.feed
        watches = ("on_fill", "on_order", "on_timer", "on_slice", "on_forecast")
        is_alone = len(feed.streams) == 1 and len(self.portfolio.instruments) == 1
        is_long = feed.row_count is not None and feed.row_count >= max(self._parts.compile_from, 1)
        is_watched = any(overrides(strategy, handler) for handler in watches)
        return self._parts.mode != "step" and is_alone and is_long and self._desk.is_plain and not is_watched

    def _settle_chunk(self, bars: Bars) -> None:
        """Deal with the targets that were collected in a chunk."""
        settlement = self._context.settlement
        if settlement is not None:
            if settlement.settle(bars, self._settled, len(bars)):
                self._settled = 0
            else:
                self._settle_for_good(bars, len(bars))

    def _settle_now(self) -> None:
        """Deal with what was collected up to the current bar; from here on each order is dealt with as it comes."""
        assert self._chunk is not None
        self._settle_for_good(self._chunk, int(np.searchsorted(self._chunk.close_time, self.moment.time)) + 1)

    def _settle_for_good(self, bars: Bars, end: int) -> None:
        settlement = self._context.settlement
        assert settlement is not None
        self._context.settlement = None
        is_done = settlement.settle(bars, self._settled, end)
        order = settlement.open_order(self.moment.time, 0)
        self._desk.take_over(settlement.order_count, order)
        self.broker.take_over(self._recorder.fill_count, order)  # type: ignore[attr-defined]
        if not is_done:
            self._settle_slowly(settlement, bars, end)

    def _settle_slowly(self, settlement: Settlement, bars: Bars, end: int) -> None:
        """Deal with the wishes of a chunk one by one, through desk and exchange: sums became too large for the compiled run."""
        moment, symbol, now = self.moment, self.feed.streams[0].symbol, self.moment.bar  # type: ignore[union-attr]
        rows = np.searchsorted(bars.close_time, [wish[0] for wish in settlement.wishes]).tolist()
        wishes = dict.fromkeys(rows, ())
        for row, wish in zip(rows, settlement.wishes, strict=True):
            wishes[row] = (*wishes[row], wish)
        for row in range(self._settled, end):
            if self.broker.working or row in wishes:
                moment.bar = bar = bar_at(bars, row)  # type: ignore[union-attr]
                self._match_bar(bar)
                seen = [
                    _values(entry)[: self._bars_seen + row + 1] for entry in self.lines.of_stream[self.feed.streams[0]]
                ]
                self._recorder.watch({symbol: seen})
                for _, exposure, why in wishes.get(row, ()):
                    self._desk.target(symbol, exposure, why)
        moment.bar = now  # type: ignore[union-attr]
        self._recorder.watch(self.lines.by_symbol())

    def _visit(self, bar: Bar) -> None:
        """Make a bar the current one, and let the lines catch up with it."""
        stream = self.feed.streams[0]
        moment = self.moment
        if isinstance(moment, SingleMoment):
            moment.bar = bar
        else:
            moment.time = bar.close_time
            moment.prices[bar.symbol] = bar.close
            moment.bar_close_times[bar.symbol] = bar.close_time
        for entry in self.lines.of_stream[stream]:
            seen = self._context.bars_closed(stream)
            entry.line.extend(_values(entry)[len(entry.line) : seen].tolist())

    def _match_bar(self, bar: Bar) -> None:
        events = self.broker.on_bar(bar)
        if events:
            self._desk.handle(events)

    def _take_up_target(self, bar: Bar, row: int) -> None:
        assert self._exposures is not None
        self.strategy.target(bar.symbol, float(self._exposures[row]), why="target")

    # ── one stream, bar by bar ──────────────────────────────────────────────────────────────────────────────────────────

    def _step_bars(self, bars: Bars) -> None:
        """Run a chunk of one stream. Everything that a bar does not need is left out of the loop."""
        stream = self.feed.streams[0]
        moment, working, on_bar_of = self.moment, self.broker.working, self.broker.on_bar
        handle = self._desk.handle
        decide = self._decider()
        begin = self._stepped
        declared = self.lines.of_stream[stream]
        # A line grows by being zipped along with the bars: appending happens in C, as part of taking the next row.
        growing = [map(entry.line.append, _values(entry)[begin : begin + len(bars)].tolist()) for entry in declared]
        rows: Iterator[Any] = zip(bars.rows(), *growing, strict=True)
        cold = min(max(self._warm_up[stream] - begin, 0), len(bars))
        for row in islice(rows, cold):
            moment.bar = row[0]  # type: ignore[union-attr]
        if decide is None:
            deque(rows, maxlen=0)
        every_bar = self.broker.needs_every_bar
        for row in rows:
            bar = row[0]
            moment.bar = bar  # type: ignore[union-attr]
            if working or every_bar:
                events = on_bar_of(bar)
                if events:
                    handle(events)
            decide(bar)  # type: ignore[misc]
        self.clock.advance_to(int(bars.close_time[-1]))

    def _decider(self) -> Callable[[Bar], None] | None:
        """Return what to call with every bar once it is warm."""
        handlers = self.bus.handlers(Bar)
        if self._exposures is not None:
            return self._target_stepper(handlers)
        return handlers[0] if len(handlers) == 1 else (lambda bar: self.bus.publish(bar))

    def _target_stepper(self, handlers: Sequence[Callable[[Any], None]]) -> Callable[[Bar], None]:
        assert self._exposures is not None
        begin = self._stepped + self._cold_left()
        exposures = iter(self._exposures[begin : self._stepped + FEW].tolist())
        target = self.strategy.target

        def step(bar: Bar) -> None:
            for handler in handlers:
                handler(bar)
            exposure = next(exposures)
            if exposure == exposure:
                target(bar.symbol, exposure, why="target")

        return step

    def _cold_left(self) -> int:
        return max(self._warm_up[self.feed.streams[0]] - self._stepped, 0)

    # ── several streams, instant by instant ─────────────────────────────────────────────────────────────────────────────

    def _step_instants(self, bars: Bars) -> None:
        """Run a chunk of any number of streams."""
        strategy, moment, context = self.strategy, self.moment, self._context
        if self._stepped == 0 and len(bars):
            context.start_timers(int(bars.open_time[0]))
        wants_bars = bool(self.bus.handlers(Bar))
        has_lines = any(self._growing)
        rows = _Rows(bars, ready=wants_bars)
        slices = self._slices(bars) if overrides(strategy, "on_slice") else {}
        times, starts = _instants(bars)
        ends = [*starts[1:], len(bars)]
        places = bars.stream.tolist() if bars.stream is not None else [0] * len(bars)
        symbols = list(map([stream.symbol for stream in self.feed.streams].__getitem__, places))
        closes = bars.close.tolist()
        for time, start, end in zip(times, starts, ends, strict=True):
            self._fire_timers(time, inclusive=False)
            self.clock.advance_to(time)
            self._move_to(time, symbols[start:end], closes[start:end], rows, start)
            if self.broker.working or self.broker.needs_every_bar:
                self._match(rows, places, symbols, start, end)
            if has_lines:
                self._grow_lines(bars, places, start, end)
            if wants_bars:
                self._publish_bars(rows, places, start, end)
            for upcoming in slices.values():
                if upcoming and upcoming[0].time == time:
                    strategy.on_slice(upcoming.popleft())
            self._fire_timers(time, inclusive=True)
        if isinstance(moment, SingleMoment) and len(bars):
            moment.bar = rows[len(bars) - 1]

    def _move_to(self, time: int, symbols: list[str], closes: list[float], rows: "_Rows", start: int) -> None:
        moment = self.moment
        if isinstance(moment, SingleMoment):
            moment.bar = rows[start]
            return
        moment.time = time
        moment.prices.update(zip(symbols, closes, strict=True))
        if len(symbols) == len(self.feed.streams):
            moment.complete_at = time
        else:
            moment.bar_close_times.update(dict.fromkeys(symbols, time))

    def _match(self, rows: "_Rows", places: list[int], symbols: list[str], start: int, end: int) -> None:
        """Let the working orders meet the bars of one instant, those that free cash first, each symbol at its shortest timeframe."""
        base, broker = self._base_places, self.broker
        first = 0
        if end - start == len(base) == len(self.feed.streams):
            row_of, first = self._place_of, start  # every symbol has a bar: rows stand in feed order
        else:
            row_of = {symbols[row]: row for row in range(start, end) if places[row] in base}
        frees_cash: dict[str, bool] = dict.fromkeys(row_of, False) if broker.needs_every_bar else {}
        for order in broker.working.values():
            symbol = order.symbol
            if symbol in row_of:
                frees_cash[symbol] = frees_cash.get(symbol, True) and self._reduces(order)
        happened: list[Any] = []
        for _, row in sorted((not frees, row_of[symbol]) for symbol, frees in frees_cash.items()):
            happened.extend(broker.on_bar(rows[first + row]))
        if happened:
            self._desk.handle(happened)

    def _reduces(self, order: Order) -> bool:
        return self.portfolio.positions[order.symbol].lots * order.side < 0

    def _grow_lines(self, bars: Bars, places: list[int], start: int, end: int) -> None:
        growing = self._growing
        for row in range(start, end):
            for entry in growing[places[row]]:
                if entry.values is not None:
                    entry.line.append(entry.values[len(entry.line)])
                else:
                    assert entry.source is not None
                    entry.line.append(
                        entry.source.update(*(float(getattr(bars, field)[row]) for field in entry.spec.inputs))
                    )

    def _publish_bars(self, rows: "_Rows", places: list[int], start: int, end: int) -> None:
        told, publish = self._told, self.bus.publish
        for row in range(start, end):
            place = places[row]
            told[place] = seen = told[place] + 1
            if seen > self.strategy.warm_up and (not self._cold or self._is_warm(self.feed.streams[place].symbol)):
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

    def _slices(self, bars: Bars) -> dict[str, deque[Any]]:
        """Return the cross-sections of the chunk by timeframe, shorter timeframes first."""
        symbols = self._context.symbols
        frames = sorted({stream.timeframe for stream in self.feed.streams}, key=Timeframe.parse)
        return {frame: deque(dense_columns(bars, frame, symbols).slices()) for frame in frames}

    def _fire_timers(self, time: int, *, inclusive: bool) -> None:
        context = self._context
        while (timer := context.due(time, inclusive=inclusive)) is not None:
            if isinstance(self.moment, ManyMoment):
                self.moment.time = timer.time
            self.strategy.on_timer(timer)

    # ── errors and result ───────────────────────────────────────────────────────────────────────────────────────────────

    def _guarded(self, handler: str, call: Callable[[], Any]) -> Any:
        """Call into the strategy; what it raises comes out with the bar and the line."""
        try:
            return call()
        except Exception as error:
            where = _line_in_plugin(error, type(self.strategy))
            if where is None or isinstance(error, StrategyError | SettingsError | JournalError):
                raise
            name = type(self.strategy).__name__
            at = f" at {iso(self.moment.time)}" if self.moment.time else ""
            what = f"{handler or where[1]}"
            raise StrategyError(
                f"{name}.{what} failed{self._at_bar() or at}: {type(error).__name__}: {error} ({where[0]})"
            ) from error

    def _at_bar(self) -> str:
        moment = self.moment
        if isinstance(moment, SingleMoment) and moment.bar is not None:
            return f" at the bar {moment.bar.symbol} {moment.bar.timeframe} that closed {iso(moment.bar.close_time)}"
        return f" at the instant {iso(moment.time)}" if moment.time else ""

    def _result(self) -> RunResult:
        recorder = self._recorder
        equity = self.portfolio.equity(self.portfolio.currency, self.moment.price)
        start = self._parts.start
        return RunResult(
            run_id=self._run_id,
            strategy=type(self.strategy).__name__,
            symbols=tuple(self.portfolio.instruments),
            bars=self._bars_seen,
            loop_seconds=0.0,
            fills=recorder.fills(),
            fill_keys=recorder.fill_keys(),
            curve=self._curve(),
            final_equity=equity,
            order_count=recorder.order_count,
            refused_count=recorder.refused_count,
            assumptions=start.assumptions if start else {},
            data_fingerprint="",
        )

    def _curve(self) -> EquityCurve:
        return self._tracker.curve()


@contextmanager
def _rare_collection() -> Iterator[None]:
    """Let Python look for garbage cycles a hundred times more rarely, and not among what exists already.

    Every bar is an object; at the usual threshold of 700 the collector took a quarter of the loop's time to find nothing.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(70_000, before[1], before[2])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class _Rows:
    """Bars of a chunk by place, made when asked for, or all at once where every one is needed."""

    def __init__(self, bars: Bars, *, ready: bool) -> None:
        self._bars = bars
        self._made: list[Bar] | None = list(bars.rows()) if ready else None

    def __getitem__(self, row: int) -> Bar:
        if self._made is not None:
            return self._made[row]
        return bar_at(self._bars, row)


def _pieces(bars: Bars, size: int) -> Iterator[Bars]:
    """Yield a chunk in pieces of about `size` bars; a chunk of several streams stays whole, so that no instant is split."""
    if bars.stream is not None or len(bars) <= size:
        yield bars
        return
    for start in range(0, len(bars), size):
        yield bars[start : start + size]


def _instants(bars: Bars) -> tuple[list[int], list[int]]:
    """Return the distinct close times and the row at which each begins."""
    starts = np.flatnonzero(np.diff(bars.close_time, prepend=bars.close_time[:1] - 1))
    return bars.close_time[starts].tolist(), starts.tolist()


def _values(entry: DeclaredLine) -> FloatArray:
    assert entry.values is not None
    return entry.values


def whole(feed: Feed) -> Bars:
    """Return all bars of a feed of one stream as one set of columns."""
    chunks = list(feed.chunks())
    if len(chunks) == 1:
        return chunks[0]

    def joined(name: str) -> IntArray | FloatArray:
        return np.concatenate([getattr(chunk, name) for chunk in chunks])

    columns = [joined(name) for name in ("open_time", "close_time", "open", "high", "low", "close", "volume")]
    flags = [chunk.flags if chunk.flags is not None else np.zeros(len(chunk), np.uint8) for chunk in chunks]
    return Bars(
        feed.streams, *columns, None, np.concatenate(flags) if any(c.flags is not None for c in chunks) else None
    )  # type: ignore[arg-type]


def check_targets_causal(strategy: Strategy, bars: Bars, exposures: FloatArray) -> None:
    """Refuse `targets` that look ahead: with the data cut short, no earlier row may change.

    Only within the first few thousand rows: one that looks ahead does so there too.

    Raises:
        PluginError: naming the first row that depends on later ones.
    """
    span = min(len(bars), 2048)
    for cut in sorted({span // 7, span // 3, span // 2 + 1, span - 1} - {0}):
        if cut >= len(bars):
            continue
        part = exposures_from(strategy, bars[:cut])
        same = (part == exposures[:cut]) | (np.isnan(part) & np.isnan(exposures[:cut]))
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            raise PluginError(
                f"{type(strategy).__name__}.targets looks ahead: row {row} ({iso(int(bars.close_time[row]))}) is {part[row]} when the data "
                f"end at row {cut - 1}, and {exposures[row]} when they go on; expected a value made of rows up to its own"
            )


def _line_in_plugin(error: BaseException, strategy: type) -> tuple[str, str] | None:
    """Return ("file, line N", function) of the deepest frame that lies in the strategy's own file, or None."""
    module = sys.modules.get(strategy.__module__)
    file = getattr(module, "__file__", None)
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if file is not None and frame.filename == file:
            return f"{Path(frame.filename).name}, line {frame.lineno}", frame.name
    return None
