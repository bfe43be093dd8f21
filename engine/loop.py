"""The loop: one instant after another, in one thread, the same for backtest and paper trading.

At an instant T: timers that fell due before it; resting orders meet the bars that close at T; fills are published; then
the bars, the cross-sections, the timers of T. What strategies ask for on the way reaches the broker at once and can
meet later prices only. Nothing here reads a file, a socket or the wall clock's date.
"""

import gc
import time as wall_time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from engine.accounts_valuation import MarksAt, tracker_for
from engine.bars import Bar, Bars, FloatArray, IntArray
from engine.errors import PluginError
from engine.exchange import SimulatedExchange
from engine.interfaces import Broker, Feed
from engine.jump import Jumper, bar_at, target_rows
from engine.moment import SingleMoment
from engine.records import RunEnd, RunStart
from engine.results import EquityCurve, LateCurve, RunResult
from engine.running import Parts, wire
from engine.settlement import Settlement, warm
from engine.settling import Settler, may_settle_in_bulk, new_settlement
from engine.stepping import fire_timers, next_due, pieces, stepper_for
from engine.strategy import check_targets_causal, exposures_from, overrides

__all__ = ["Engine", "Parts", "Progress", "whole"]

Progress = Callable[[int, int | None], None]
"""Told of (bars done, bars in all or None) after every piece."""

PIECE = 65_536
"""Bars after which the books are valued, progress is told, and rows that have gathered may go to the journal."""

ROWS_TO_FLUSH = 50_000
SECONDS_TO_FLUSH = 1.0
"""Rows go to the journal when so many have gathered, or after so long: small transactions cost more a row."""


class Engine:
    """Runs one strategy over one feed, once.

    Raises:
        SettingsError: the parts do not fit together (a stream without instrument).
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._running = wire(parts)
        self.feed = parts.feed
        self.strategy = parts.strategy
        self.portfolio = parts.portfolio
        self.broker = parts.broker
        self.clock = self._running.clock
        self.bus = self._running.bus
        self.lines = self._running.lines
        self.recorder = self._running.recorder
        self._tracker = tracker_for(
            parts.portfolio,
            parts.feed.streams,
            parts.feed.row_count,
            self._running.recorder.moves_from,
            _marks_of(parts.broker),
            is_charged=isinstance(parts.broker, SimulatedExchange) and parts.broker.is_clearing,
        )
        self._settler: Settler | None = None
        self._bars_seen = 0
        self._fills_valued = 0
        self._flushed_at = 0.0
        self._run_id: int | None = None
        self._has_begun = False
        self._unvalued: Bars | None = None

    # ── a run ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, progress: Progress | None = None) -> RunResult:
        """Run to the end of the feed.

        Raises:
            StrategyError: a handler of the strategy raised; what was journalled before stays, and the run is marked
                failed.
            EngineError: the data or the journal failed.
        """
        self._start_strategy()
        started = wall_time.perf_counter()
        with _rare_collection(), self._forecasts_closed():
            result = self._recorded_run(progress)
        seconds = wall_time.perf_counter() - started
        return replace(result, loop_seconds=seconds, data_fingerprint=self.feed.fingerprint)

    @contextmanager
    def _forecasts_closed(self) -> Iterator[None]:
        """Stop computing forecasts ahead, however the run ends."""
        try:
            yield
        finally:
            if self._running.book is not None:
                self._running.book.close()

    def _start_strategy(self) -> None:
        """Let the strategy declare what it needs, and load what it takes to compute that: not part of the run's
        time."""
        running = self._running
        running.guard.call("on_start", self.strategy.on_start)
        running.context.is_starting = False
        running.recorder.watch(self.lines.by_symbol())
        if may_settle_in_bulk(running):
            warm()

    def _recorded_run(self, progress: Progress | None) -> RunResult:
        try:
            settlement = self._compute()
            self._begin_journal()
            self._run_pieces(settlement, progress)
            self._running.guard.call("on_stop", self.strategy.on_stop)
            if self._running.book is not None:
                self._running.book.finish()
        except BaseException as error:  # whatever it is, the record must say how the run ended
            is_interrupt = isinstance(error, KeyboardInterrupt)
            self._end_journal(
                "interrupted" if is_interrupt else "failed", "stopped by the user" if is_interrupt else str(error)
            )
            raise
        result = self._result()
        self._end_journal("completed", "", result)
        return result

    def _compute(self) -> Settlement | None:
        """Compute what is known ahead of the loop: indicator lines and vectorised targets."""
        running, strategy = self._running, self.strategy
        running.guard.call("on_start", lambda: self.lines.compute(checked=self._parts.checks_causality))
        if running.book is not None:
            running.book.start()
        running.warm_up = {stream: max(strategy.warm_up, self.lines.warm_up(stream)) for stream in self.feed.streams}
        if overrides(strategy, "targets"):
            running.exposures = self._target_changes()
        settlement = new_settlement(running)
        self._settler = Settler(running, settlement if overrides(strategy, "on_bar") else None)
        return settlement

    def _target_changes(self) -> FloatArray:
        """Return the target exposure at the rows where it becomes another, NaN elsewhere."""
        name, streams = type(self.strategy).__name__, self.feed.streams
        if len(streams) != 1:
            raise PluginError(f"{name}.targets is for one symbol, and the run has {len(streams)} streams; use on_slice")
        bars = self._whole
        limit = self._running.context.largest_exposure
        exposures = self._running.guard.call("targets", lambda: exposures_from(self.strategy, bars, limit))
        if self._parts.checks_causality:
            check_targets_causal(self.strategy, bars, exposures, limit)
        rows = target_rows(exposures, self._running.warm_up[streams[0]])
        changes = np.full(len(exposures), np.nan)
        changes[rows] = exposures[rows]
        return changes

    @cached_property
    def _whole(self) -> Bars:
        """All bars of the run, for what is decided ahead of it."""
        return whole(self.feed)

    # ── piece by piece ────────────────────────────────────────────────────────────────────────────────────────────

    def _run_pieces(self, settlement: Settlement | None, progress: Progress | None) -> None:
        if self._can_jump():
            self._jump(settlement, progress)
            return
        assert self._settler is not None
        stepper = stepper_for(self._running)
        for chunk in self.feed.chunks():
            for bars in pieces(chunk, PIECE):
                self._settler.begin(bars, self._bars_seen)
                stepper.step(bars)
                self._settler.end()
                self._finish(bars, progress)

    def _finish(self, bars: Bars, progress: Progress | None) -> None:
        """Value the books at every instant of a piece, hand rows to the journal, tell of progress."""
        recorder, total = self._running.recorder, self.feed.row_count
        self._bars_seen += len(bars)
        keys = recorder.fill_keys_from(self._fills_valued)
        self._fills_valued += len(keys)
        self._tracker.add(bars, keys)
        if self._parts.journal is not None:
            recorder.equity(self._tracker.rows(total))
        now = wall_time.perf_counter()
        if recorder.gathered >= ROWS_TO_FLUSH or now - self._flushed_at > SECONDS_TO_FLUSH:
            recorder.flush()
            self._flushed_at = now
        if progress is not None:
            progress(self._bars_seen, total)

    # ── jumping ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _can_jump(self) -> bool:
        """Return whether the strategy acts on targets or timers alone, so that most bars need not be visited."""
        running = self._running
        acts_between = running.exposures is not None or running.overrides_any("on_timer", "on_forecast", "on_forecasts")
        acts_on_bars = running.overrides_any("on_bar", "on_slice")
        is_known_ahead = len(self.feed.streams) == 1 and self.feed.row_count is not None
        may_skip = is_known_ahead and not self.broker.needs_every_bar and running.watch is None
        return self._parts.mode != "step" and acts_between and not acts_on_bars and may_skip

    def _jump(self, settlement: Settlement | None, progress: Progress | None) -> None:
        running, bars = self._running, self._whole
        if not len(bars):
            return
        exposures, rows = running.exposures, np.empty(0, np.int64)
        if exposures is not None:
            rows = np.flatnonzero(~np.isnan(exposures))
            if settlement is not None and settlement.run(bars, rows, exposures[rows], 0, len(bars), None):
                self._finish_jump(bars, progress, is_whole=True)
                return
        running.context.start_timers(int(bars.open_time[0]))
        jumper = Jumper(
            bars,
            self.broker.working,
            rows.tolist(),
            self._visit,
            lambda bar: running.desk.handle(self.broker.on_bar(bar)),
            self._take_target,
            lambda: next_due(running),
            lambda time, *, inclusive: fire_timers(running, time, inclusive=inclusive),
        )
        done = 0
        for piece in pieces(bars, PIECE):
            end = done + len(piece)
            running.guard.call("", lambda start=done, end=end: jumper.run(start, end))  # type: ignore[misc]
            self._finish_jump(piece, progress)
            done = end

    def _finish_jump(self, bars: Bars, progress: Progress | None, *, is_whole: bool = False) -> None:
        self._visit(bar_at(bars, len(bars) - 1))
        self.clock.advance_to(int(bars.close_time[-1]))
        if is_whole and self._parts.journal is None:
            # Nobody has asked for the curve yet: it is made of bars and fills when somebody does.
            self._bars_seen = len(bars)
            self._unvalued = bars
            if progress is not None:
                progress(len(bars), self.feed.row_count)
            return
        self._finish(bars, progress)

    def _visit(self, bar: Bar) -> None:
        """Make a bar the current one, and let the lines catch up with it."""
        running, stream = self._running, self.feed.streams[0]
        moment = running.moment
        if isinstance(moment, SingleMoment):
            moment.bar = bar
        else:
            moment.move_to_all(bar.close_time, (bar.close,), 0)
        for entry in self.lines.of_stream[stream]:
            entry.line.extend(entry.column[len(entry.line) : running.context.bars_closed(stream)].tolist())

    def _take_target(self, bar: Bar, row: int) -> None:
        exposures = self._running.exposures
        assert exposures is not None
        self.strategy.target(bar.symbol, float(exposures[row]), why="target")

    # ── the record ────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_journal(self) -> None:
        journal, start = self._parts.journal, self._parts.start
        if journal is not None:
            if start is None:
                start = RunStart("backtest", type(self.strategy).__name__, {}, {}, self.feed.fingerprint, {})
            self._run_id = journal.begin(replace(start, lines=self.lines.names()))
        self._has_begun = True
        first = next((chunk for chunk in self.feed.chunks() if len(chunk)), None) if self.feed.row_count else None
        opened = int(first.open_time[0]) if first is not None else self.clock.now
        for currency, account in self.portfolio.accounts.items():
            self._running.recorder.account_event(opened, "deposit", currency, account.cash, "opening balance")

    def _end_journal(self, status: str, error: str, result: RunResult | None = None) -> None:
        journal = self._parts.journal
        if journal is None or not self._has_begun:
            return
        if self._settler is not None:
            self._settler.settle_now()  # what a failing strategy asked for before it failed
        self._running.recorder.flush()
        summary: dict[str, Any] = {}
        if result is not None:
            summary = {"final_equity": str(result.final_equity), "fills": len(result.fill_keys)}
            if result.detail is not None:
                summary["detail"] = result.detail._asdict()
        journal.end(RunEnd(status, wall_time.time_ns(), self._bars_seen, error, summary))

    def _result(self) -> RunResult:
        recorder, start = self._running.recorder, self._parts.start
        return RunResult(
            run_id=self._run_id,
            strategy=type(self.strategy).__name__,
            symbols=tuple(self.portfolio.instruments),
            bars=self._bars_seen,
            loop_seconds=0.0,
            fills=recorder.fills(),
            fill_keys=recorder.fill_keys(),
            curve=self._curve(recorder.fill_keys()),
            final_equity=self.portfolio.equity(self.portfolio.currency, self._running.moment.price),
            order_count=recorder.order_count,
            refused_count=recorder.refused_count,
            refused_by=dict(sorted(recorder.refused_by.items())),
            account_events=tuple(recorder.account_events),
            risk_events=tuple(self._running.watch.facts) if self._running.watch is not None else (),
            assumptions=start.assumptions if start else {},
            data_fingerprint="",
            detail=self.broker.detail_count if isinstance(self.broker, SimulatedExchange) else None,
            forecasts=self._running.book.summary() if self._running.book is not None else {},
        )

    def _curve(self, keys: IntArray) -> EquityCurve:
        tracker, bars = self._tracker, self._unvalued
        if bars is None:
            return tracker.curve()

        def made() -> EquityCurve:
            tracker.add(bars, keys)
            return tracker.curve()

        return LateCurve(self.portfolio.currency, made)


def _marks_of(broker: Broker) -> MarksAt | None:
    """Return what gives mark prices, where the venue publishes any."""
    clearing = broker.clearing if isinstance(broker, SimulatedExchange) else None
    return clearing.marks.column if clearing is not None and clearing.marks is not None else None


@contextmanager
def _rare_collection() -> Iterator[None]:
    """Let Python look for garbage cycles a hundred times more rarely.

    Every bar is an object; at the usual threshold of 700 the collector takes a part of the loop's time to find nothing.
    What exists already is not frozen: that resets the collector's counts, so that many runs in one process would never
    see a full collection, and keep every run's data.
    """
    before = gc.get_threshold()
    gc.set_threshold(70_000, before[1], before[2])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@runtime_checkable
class HoldsBars(Protocol):
    """A feed that has all its bars at hand, as they are published."""

    @property
    def bars(self) -> Bars: ...


def whole(feed: Feed) -> Bars:
    """Return all bars of a feed of one stream as one set of columns; nothing is copied where the feed has them so."""
    if isinstance(feed, HoldsBars):
        return feed.bars
    chunks = list(feed.chunks())
    if len(chunks) == 1:
        return chunks[0]

    def joined(name: str) -> IntArray | FloatArray:
        parts = [getattr(chunk, name) for chunk in chunks]
        return np.concatenate(parts) if parts else np.empty(0)

    times = [joined(name).astype(np.int64, copy=False) for name in ("open_time", "close_time")]
    prices = [joined(name).astype(np.float64, copy=False) for name in ("open", "high", "low", "close", "volume")]
    flags = None
    if any(chunk.flags is not None for chunk in chunks):
        flags = np.concatenate([np.zeros(len(c), np.uint8) if c.flags is None else c.flags for c in chunks])
    return Bars(feed.streams, times[0], times[1], prices[0], prices[1], prices[2], prices[3], prices[4], None, flags)
