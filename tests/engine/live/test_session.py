"""A live session decides as a backtest does, recovers from its journal, and comes about again or names what differs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine import Bar, Slice, Strategy, Timer
from engine.bars import FIELDS, HOUR, Bars, Stream
from engine.errors import DivergenceError, JournalError, SettingsError
from engine.journal.lineage import load_run, why
from engine.journal.memory import MemoryJournal
from engine.journal.sql import SqlJournal
from engine.live.inputs import ClockTold, Commanded, FeedTold
from engine.testing import Terms, parts_for, run_bars
from tests.engine.live.market import BTC, START, Scripted, closed, instants, run_start, simulated_session, walk


class Cross(Strategy):
    """Long while the short average is above the long one, in every symbol."""

    def on_start(self) -> None:
        self.lines = {
            symbol: (self.indicator("SMA", "close", 3, symbol=symbol), self.indicator("SMA", "close", 8, symbol=symbol))
            for symbol in self.symbols
        }

    def on_bar(self, bar: Bar) -> None:
        fast, slow = self.lines[bar.symbol]
        self.target(bar.symbol, 0.4 if fast[-1] > slow[-1] else 0.0, why="cross")


class Brackets(Strategy):
    """A bracket whenever flat; the stop moves up once."""

    def on_bar(self, bar: Bar) -> None:
        if not self.position(bar.symbol) and not self.open_orders(bar.symbol):
            self.buy(bar.symbol, 1, limit=bar.close * 0.999, stop_loss=bar.close * 0.98, take_profit=bar.close * 1.02)
        for order in self.open_orders(bar.symbol):
            if order.stop is not None and float(order.stop) < bar.close * 0.97:
                self.amend(order, stop=bar.close * 0.975)


class Looking(Strategy):
    """Looks back through `history`, and at timers."""

    def on_start(self) -> None:
        self.set_timer("six", every="6h")
        self.heard: list[int] = []
        self.means: list[float] = []

    def on_bar(self, bar: Bar) -> None:
        self.means.append(float(self.history("close", 5).mean()))

    def on_timer(self, timer: Timer) -> None:
        self.heard.append(timer.time)
        if self.means:  # the first comes before the first bar
            self.target(BTC, 0.5 if len(self.heard) % 2 else 0.0, why="the clock")


class Slices(Strategy):
    def on_slice(self, slice: Slice) -> None:
        best = int(np.nanargmax(slice.close / slice.open))
        for place, symbol in enumerate(self.symbols):
            self.target(symbol, 0.3 if place == best else 0.0, why="best of the bar")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    with SqlJournal(tmp_path / "journal.db", durable=True) as made:
        yield made


def as_feed(*streams: list[Bar]) -> Bars:
    rows = [bar for together in zip(*streams, strict=True) for bar in together]
    columns = {field: np.array([getattr(bar, field) for bar in rows]) for field in FIELDS}
    names = tuple(Stream(bars[0].symbol, "1h") for bars in streams)
    places = np.array([names.index(Stream(bar.symbol, "1h")) for bar in rows], np.int32) if len(streams) > 1 else None
    return Bars(
        names, np.array([bar.open_time for bar in rows]), np.array([bar.close_time for bar in rows]),
        columns["open"], columns["high"], columns["low"], columns["close"], columns["volume"], places,
    )


@pytest.mark.parametrize("kind", [Cross, Brackets, Looking])
def test_live_bars_lead_to_the_orders_and_fills_of_a_backtest(kind: type[Strategy], journal: SqlJournal) -> None:
    bars = walk(300)
    backtest = MemoryJournal()
    run_bars(as_feed(bars), kind(), Terms(cash=10_000), journal=backtest)

    session = simulated_session(kind(), journal)
    run_id = session.begin(run_start())
    session.take(instants(bars))
    session.end()

    expected, found = load_run(backtest), load_run(journal, run_id)
    for table in ("decisions", "orders", "order_events", "fills"):
        assert getattr(found, table) == getattr(expected, table)
    assert found.fills


def test_a_panel_decides_as_in_a_backtest(journal: SqlJournal) -> None:
    names = ("A", "B", "C")
    streams = [walk(120, symbol=name, seed=seed) for seed, name in enumerate(names)]
    backtest = MemoryJournal()
    run_bars(as_feed(*streams), Slices(), Terms(cash=10_000), journal=backtest)

    session = simulated_session(Slices(), journal, symbols=names)
    run_id = session.begin(run_start())
    session.take(instants(*streams))
    session.end()

    assert load_run(journal, run_id).fills == load_run(backtest).fills
    assert str(why(journal, f"r{run_id}-f3")).count("best of the bar") == 1


def test_bars_from_before_the_start_warm_lines_up_and_nothing_is_traded_on_them(journal: SqlJournal) -> None:
    bars = walk(60)
    strategy = Cross()
    session = simulated_session(strategy, journal)
    run_id = session.begin(run_start())
    session.take([closed(bar, is_history=True) for bar in bars[:50]])
    assert load_run(journal, run_id).decisions == ()

    session.take(instants(bars[50:]))

    fast, slow = strategy.lines[BTC]
    assert fast[-1] == pytest.approx(np.mean([bar.close for bar in bars[-3:]]))
    assert len(slow) == 60
    assert min(row.bar_close_time for row in load_run(journal, run_id).decisions) >= bars[50].close_time


def test_a_session_that_was_left_goes_on_where_it_was(tmp_path: Path) -> None:
    """Whole, or in three processes: the same rows."""
    bars = walk(200)
    with SqlJournal(tmp_path / "whole.db", durable=True) as whole:
        session = simulated_session(Brackets(), whole)
        session.begin(run_start())
        session.take(instants(bars))
        session.end()
        expected = load_run(whole)
    for first, last in ((0, 70), (70, 71), (71, 200)):
        with SqlJournal(tmp_path / "parts.db", durable=True) as parts:
            session = simulated_session(Brackets(), parts)
            if first == 0:
                session.begin(run_start())
            else:
                assert session.resume(1, parts) == first
                assert max(session.last_closed.values()) == bars[first - 1].close_time
            session.take(instants(bars[first:last]))
            session.end("completed" if last == 200 else "interrupted")
    with SqlJournal(tmp_path / "parts.db") as parts:
        found = load_run(parts)
    for table in ("decisions", "orders", "order_events", "fills", "equity", "account_events", "session_inputs"):
        assert getattr(found, table) == getattr(expected, table), table


def test_a_session_that_is_run_again_is_the_same_or_names_the_first_difference(journal: SqlJournal) -> None:
    session = simulated_session(Cross(), journal)
    run_id = session.begin(run_start())
    session.take(instants(walk(150)))
    session.end()

    class Altered(Cross):
        def on_bar(self, bar: Bar) -> None:
            fast, slow = self.lines[bar.symbol]
            self.target(bar.symbol, 0.4 if fast[-1] >= slow[-1] * 1.001 else 0.0, why="cross")

    Altered.__name__ = "Cross"
    with journal.snapshot() as reader:
        again = simulated_session(Cross(), MemoryJournal()).run_again(run_id, reader)
        assert (again.inputs, again.rows > 300) == (150, True)
        with pytest.raises(DivergenceError, match=r"decisions: row \d+: .*time was .*\(at input \d+, bars_closed of "):
            simulated_session(Altered(), MemoryJournal()).run_again(run_id, reader)


def test_a_backtest_cannot_be_run_again_as_a_session(journal: SqlJournal) -> None:
    run_bars(as_feed(walk(30)), Cross(), Terms(cash=10_000), journal=journal)
    with journal.snapshot() as reader:
        with pytest.raises(JournalError, match="run 1 is a backtest without recorded inputs"):
            simulated_session(Cross(), MemoryJournal()).run_again(1, reader)
        with pytest.raises(JournalError, match="there is no run 5"):
            simulated_session(Cross(), MemoryJournal()).run_again(5, reader)


def test_late_bars_are_seen_and_not_traded_on(journal: SqlJournal) -> None:
    class Always(Strategy):
        def on_bar(self, bar: Bar) -> None:
            self.target(bar.symbol, 0.5, why="always")

    bars = walk(4)
    session = simulated_session(Always(), journal, late_after=HOUR // 4)
    run_id = session.begin(run_start())
    session.take([closed(bars[0], late=HOUR // 2), closed(bars[1]), closed(bars[2])])

    record = load_run(journal, run_id)
    assert [event.kind for event in record.order_events] == ["refused", "accepted"]
    assert "late: the bar was known 1800.0 s after its close; expected at most 900 s" in record.order_events[0].reason
    assert [fill.bar_close_time for fill in record.fills] == [bars[2].close_time], "asked again at the next bar"


def test_nothing_is_decided_on_while_data_are_stale(journal: SqlJournal) -> None:
    class Always(Strategy):
        def on_bar(self, bar: Bar) -> None:
            self.target(bar.symbol, 0.5, why="always")

    bars = walk(4)
    session = simulated_session(Always(), journal)
    run_id = session.begin(run_start())
    stale = FeedTold(bars[0].close_time, "stale", BTC, 40.0, "nothing heard for 40 s")
    fresh = FeedTold(bars[1].close_time, "fresh", BTC, 0.0, "heard again")
    session.take([stale, closed(bars[0]), fresh, closed(bars[1]), closed(bars[2])])

    record = load_run(journal, run_id)
    assert "stale: data of BTC/USDT are stale: nothing heard for 40 s" in record.order_events[0].reason
    assert len(record.fills) == 1
    assert [(row.level, row.source) for row in record.alerts] == [("warning", "feed"), ("info", "feed")]


def test_a_person_halts_flattens_and_lifts(journal: SqlJournal) -> None:
    class Always(Strategy):
        def on_bar(self, bar: Bar) -> None:
            self.target(bar.symbol, 0.5, why="always", rebalance=True)

    bars = walk(12)
    session = simulated_session(Always(), journal)
    run_id = session.begin(run_start())
    session.take(instants(bars[:4]))
    assert session.core.running.portfolio.positions[BTC].lots > 0
    session.take([Commanded(bars[3].close_time, "flatten", "news", "ann"), *instants(bars[4:7])])
    assert session.core.running.portfolio.positions[BTC].lots == 0
    session.take([Commanded(bars[6].close_time, "lift", "over", "ann", rule="drawdwon")])
    session.take([Commanded(bars[6].close_time, "lift", "over", "ann"), *instants(bars[7:10])])
    assert session.core.running.portfolio.positions[BTC].lots > 0

    record = load_run(journal, run_id)
    assert [(row.kind, row.rule) for row in record.risk_events] == [("halt", "operator"), ("lift", "operator")]
    assert any(row.level == "error" and "no halt" in row.text for row in record.alerts)
    session.take([Commanded(bars[9].close_time, "stop", "enough", "ann")])
    assert session.is_over


def test_timers_fire_though_no_bar_comes(journal: SqlJournal) -> None:
    bars = walk(13)
    strategy, time = Looking(), [START]
    session = simulated_session(strategy, journal, now=lambda: time[0])
    session.begin(run_start())
    session.take(instants(bars[:7]))
    assert strategy.heard == [START, START + 6 * HOUR]

    time[0] = START + 12 * HOUR + 10_000_000_000
    stop = Commanded(time[0], "stop", "", "test")
    session.run(Scripted([stop]))

    assert strategy.heard[-1] == START + 12 * HOUR
    with journal.snapshot() as reader:
        simulated_session(Looking(), MemoryJournal()).run_again(1, reader)


def test_a_clock_before_the_first_bar_moves_no_timer(journal: SqlJournal) -> None:
    strategy = Looking()
    session = simulated_session(strategy, journal)
    session.begin(run_start())
    session.take([ClockTold(START + 7 * HOUR)])
    assert strategy.heard == []


def test_a_feed_that_is_known_ahead_is_no_live_feed() -> None:
    from engine.live.core import LiveCore
    from engine.testing import BarsFeed

    with pytest.raises(SettingsError, match="a live session needs a live feed"):
        LiveCore(parts_for(BarsFeed(as_feed(walk(5))), Cross()), late_after=HOUR)
