"""The order of things at one instant, what a strategy may know at it, and how a run ends."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from engine import Bar, Bars, DataError, Instrument, SettingsError, Slice, Strategy, StrategyError, Stream, Timer
from engine.bars import FORWARD_FILLED, HOUR, MINUTE
from engine.exchange import SimulatedExchange
from engine.loop import Engine
from engine.portfolio import Portfolio
from engine.records import RunStart
from engine.running import Parts
from engine.testing import NEW_YEAR_2024, BarsFeed, ScriptedStrategy, engine_for, make_bars, run_bars
from tests.engine.cases import ListJournal, buy, merged, run, scripted

D = Decimal
FLAT = 100.0


class Diary(Strategy):
    """Writes down what it is told of, in order, and the time it is then."""

    def __init__(self, **acts: Callable[["Diary", Any], Any]) -> None:
        super().__init__()
        self.acts = acts
        self.pages: list[tuple[Any, ...]] = []

    def told(self, *words: Any, of: Any = None) -> None:
        self.pages.append((self.hours, *words))
        act = self.acts.get(f"on_{words[0]}")
        if act is not None:
            act(self, of)

    @property
    def hours(self) -> float:
        return (self.now - NEW_YEAR_2024) / HOUR

    def on_bar(self, bar: Bar) -> None:
        self.told("bar", bar.symbol, bar.timeframe, of=bar)

    def on_slice(self, slice: Slice) -> None:
        self.told("slice", slice.timeframe, len(slice), of=slice)

    def on_fill(self, fill: Any) -> None:
        self.told("fill", fill.symbol, float(self.position(fill.symbol)), of=fill)

    def on_order(self, event: Any) -> None:
        self.told("order", type(event).__name__, of=event)

    def on_timer(self, timer: Timer) -> None:
        self.told("timer", timer.name, of=timer)

    def on_stop(self) -> None:
        self.told("stop")


def hourly(symbol: str, *rows: Any, start: int = 0, timeframe: str = "1h") -> Bars:
    return make_bars(rows, symbol=symbol, timeframe=timeframe, start=NEW_YEAR_2024 + start * HOUR)


def told_at(diary: Diary, hours: float) -> list[tuple[Any, ...]]:
    return [page[1:] for page in diary.pages if page[0] == hours]


# ── one instant ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_instant_tells_fills_then_bars_in_feed_order_then_slices_then_timers() -> None:
    def start(diary: Diary, bar: Bar) -> None:
        if diary.hours == 1 and bar.symbol == "B":
            diary.buy("A", 1)
            diary.buy("B", 1, limit=90)
            diary.set_timer("between", at=NEW_YEAR_2024 + 90 * MINUTE)
            diary.set_timer("at", at=NEW_YEAR_2024 + 2 * HOUR)

    diary = Diary(on_bar=start)
    run_bars(merged(hourly("B", FLAT, (100, 100, 80, 90)), hourly("A", FLAT, 101.0)), diary)
    assert told_at(diary, 1.5) == [("timer", "between")]
    assert told_at(diary, 2) == [
        ("fill", "B", 1.0),
        ("fill", "A", 1.0),  # as the venue tells them: symbol by symbol, in feed order
        ("bar", "B", "1h"),
        ("bar", "A", "1h"),
        ("slice", "1h", 2),
        ("timer", "at"),
        ("stop",),
    ]


def test_a_fill_is_told_before_the_bar_it_happened_in_and_finds_the_books_changed() -> None:
    diary = Diary(on_bar=lambda diary, bar: diary.hours == 1 and diary.buy("A", 2))
    run_bars(hourly("A", FLAT, 101.0), diary)
    assert told_at(diary, 2)[:2] == [("fill", "A", 2.0), ("bar", "A", "1h")]


def test_what_is_asked_for_on_a_fill_meets_later_bars_only() -> None:
    diary = Diary(
        on_bar=lambda diary, bar: diary.hours == 1 and diary.buy("A", 1),
        on_fill=lambda diary, fill: diary.hours == 2 and diary.buy("A", 2),
    )
    result = run_bars(hourly("A", FLAT, 101.0, 102.0), diary)
    assert [(row.quantity, row.price) for row in result.fills] == [(1.0, 101.0), (2.0, 102.0)]


def test_requests_on_stop_are_not_taken_up() -> None:
    diary = Diary(on_stop=lambda diary, _: diary.buy("A", 1))
    assert len(run_bars(hourly("A", FLAT, FLAT), diary).fills) == 0


def test_equal_times_are_settled_by_feed_order() -> None:
    for names in (("A", "B", "C"), ("C", "A", "B")):
        diary = Diary()
        run_bars(merged(*[hourly(name, FLAT, FLAT) for name in names]), diary)
        assert [page[1] for page in told_at(diary, 2) if page[0] == "bar"] == list(names)


def test_only_what_closed_at_an_instant_is_told_at_it() -> None:
    diary = Diary()
    run_bars(merged(hourly("A", FLAT, FLAT, FLAT), hourly("B", FLAT, start=1)), diary)
    assert told_at(diary, 1) == [("bar", "A", "1h"), ("slice", "1h", 1)]
    assert told_at(diary, 2) == [("bar", "A", "1h"), ("bar", "B", "1h"), ("slice", "1h", 2)]


# ── timers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Timers(Diary):
    """Sets timers at the start and acts on nothing else."""

    def __init__(self, *, at: tuple[float, ...] = (), every: str | None = None, act: Any = None) -> None:
        super().__init__(on_timer=act)
        self.at, self.every = at, every

    def on_start(self) -> None:
        for hours in self.at:
            self.set_timer(f"{hours:g}", at=NEW_YEAR_2024 + round(hours * HOUR))
        if self.every is not None:
            self.set_timer("every", every=self.every)


def test_a_repeating_timer_comes_at_every_multiple_and_not_for_the_time_before_the_data() -> None:
    timers = Timers(every="2h")
    run_bars(hourly("A", *[FLAT] * 6, start=3), timers)
    assert [page[0] for page in timers.pages if page[1] == "timer"] == [4, 6, 8]


def test_a_repeating_timer_within_a_gap_comes_once_for_every_multiple() -> None:
    timers = Timers(every="1h")
    run_bars(merged(hourly("A", FLAT, FLAT), hourly("B", FLAT, start=5)), timers)
    assert [page[0] for page in timers.pages if page[1] == "timer"] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("hours", "fills"),
    [
        (1.0, [("buy", 2, 101)]),  # at the close of the first bar: the next open
        (1.5, [("buy", 2, 105)]),  # within the second bar: of that bar only the close is later
        (2.0, [("buy", 3, 106)]),
    ],
)
def test_an_order_from_a_timer_meets_only_what_comes_after_it(hours: float, fills: Any) -> None:
    timers = Timers(at=(hours,), act=lambda diary, timer: diary.buy("A", 1))
    result = run_bars(hourly("A", FLAT, (101, 106, 100, 105), (106, 107, 105, 106)), timers)
    assert [(row.side, (row.bar_close_time - NEW_YEAR_2024) // HOUR, row.price) for row in result.fills] == fills


def test_a_timer_before_the_close_knows_only_the_close_before() -> None:
    seen: list[float] = []
    timers = Timers(at=(1.5, 2.0), act=lambda diary, timer: seen.append(diary.price("A")))
    run_bars(hourly("A", FLAT, 105.0), timers)
    assert seen == [100.0, 105.0]


def test_timers_due_together_come_in_the_order_they_were_set_in() -> None:
    timers = Timers(at=(2.0, 1.0, 2.0), every="2h")
    run_bars(hourly("A", FLAT, FLAT), timers)
    assert [page[2] for page in timers.pages if page[1] == "timer"] == ["every", "1", "2", "2", "every"]


def test_a_timer_set_by_a_timer_for_the_same_instant_still_comes() -> None:
    def act(diary: Diary, timer: Timer) -> None:
        if timer.name == "1":
            diary.set_timer("again", at=timer.time)

    timers = Timers(at=(1.0,), act=act)
    run_bars(hourly("A", FLAT, FLAT), timers)
    assert [page[:3] for page in timers.pages if page[1] == "timer"] == [(1, "timer", "1"), (1, "timer", "again")]


# ── warm-up, several timeframes ─────────────────────────────────────────────────────────────────────────────────────


class Warm(Diary):
    warm_up = 2


def test_a_strategy_that_wants_two_bars_first_hears_from_the_third_on() -> None:
    warm = Warm()
    run_bars(hourly("A", *[FLAT] * 4), warm)
    assert [page[0] for page in warm.pages if page[1] == "bar"] == [3, 4]


class Crossing(Diary):
    def on_start(self) -> None:
        self.fast = self.indicator("SMA", "close", 2, symbol="A", timeframe="1h")
        self.slow = self.indicator("SMA", "close", 2, symbol="A", timeframe="4h")


def two_timeframes(bars: int = 16) -> Bars:
    hours = [100.0 + hour for hour in range(bars)]
    fours = [(hours[k], max(hours[k : k + 4]), min(hours[k : k + 4]), hours[k + 3]) for k in range(0, bars, 4)]
    return merged(hourly("A", *hours), hourly("A", *fours, timeframe="4h"))


def test_a_symbol_is_warm_when_its_lines_of_every_timeframe_are() -> None:
    crossing = Crossing()
    run_bars(two_timeframes(), crossing)
    first = next(page for page in crossing.pages if page[1] == "bar")
    assert first == (8, "bar", "A", "1h"), "two bars of four hours"


def test_a_longer_bar_shows_only_once_it_has_closed() -> None:
    seen: dict[float, tuple[int, int]] = {}
    crossing = Crossing(on_bar=lambda diary, bar: seen.setdefault(diary.hours, (len(diary.fast), len(diary.slow))))
    run_bars(two_timeframes(), crossing)
    assert seen == {float(hour): (hour, hour // 4) for hour in range(8, 17)}


def test_orders_meet_the_shortest_timeframe_alone() -> None:
    diary = Diary(on_bar=lambda diary, bar: diary.hours == 5 and diary.buy("A", 1))
    result = run_bars(two_timeframes(), diary)
    assert [((row.bar_close_time - NEW_YEAR_2024) / HOUR, row.price) for row in result.fills] == [(6, 105)]


def test_a_daily_order_decided_during_the_day_meets_that_day_s_close_alone() -> None:
    # A has daily bars, B hourly ones: at six o'clock A's open is history
    diary = Diary(on_bar=lambda diary, bar: diary.hours == 30 and diary.buy("A", 1))
    bars = merged(hourly("B", *[FLAT] * 48), make_bars([FLAT, (50, 60, 40, 55)], symbol="A"))
    result = run_bars(bars, diary)
    assert [(row.symbol, row.price) for row in result.fills] == [("A", 55)]


def test_an_amended_price_does_not_reach_back_either() -> None:
    # rests at 30; moved into the morning's range at noon, when only the evening's close of 55 is still to come
    def act(diary: Diary, bar: Bar) -> None:
        if diary.hours == 24 and bar.symbol == "A":
            diary.order = diary.buy("A", 1, limit=30)
        if diary.hours == 36:
            diary.amend(diary.order, limit=52)

    bars = merged(hourly("B", *[FLAT] * 72), make_bars([FLAT, (50, 60, 40, 55), (56, 57, 54, 55)], symbol="A"))
    assert len(run_bars(bars, Diary(on_bar=act)).fills) == 0


def test_slices_of_each_timeframe_shorter_ones_first() -> None:
    diary = Diary()
    run_bars(two_timeframes(), diary)
    assert [page for page in told_at(diary, 4) if page[0] == "slice"] == [("slice", "1h", 1), ("slice", "4h", 1)]


def test_a_line_seen_in_a_handler_ends_at_its_instant() -> None:
    class Looks(Diary):
        def on_start(self) -> None:
            self.line = self.indicator("SMA", "close", 1, symbol="A")

        def on_bar(self, bar: Bar) -> None:
            assert (len(self.line), self.line[-1]) == (int(self.hours), bar.close)
            assert self.history("close", 99).tolist() == list(self.line)
            super().on_bar(bar)

    looks = Looks()
    run_bars(hourly("A", 1.0, 2.0, 3.0), looks, chunk=2)
    assert len(looks.pages) == 3 + 3 + 1


# ── chunks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def market(symbols: int, count: int, seed: int = 5) -> Bars:
    generator = np.random.default_rng(seed)
    parts = []
    for place in range(symbols):
        close = np.maximum(20, np.round(100 + np.cumsum(generator.normal(0, 1, count)), 2))
        open_ = np.round(close + generator.normal(0, 0.5, count), 2)
        rows = np.column_stack(
            [
                open_,
                np.maximum(open_, close) + 0.7,
                np.minimum(open_, close) - 0.7,
                close,
                generator.exponential(5000, count),
            ]
        )
        parts.append(hourly("ABC"[place], *rows.round(2).tolist(), start=place))
    return merged(*parts) if symbols > 1 else parts[0]


class Busy(Diary):
    """Places every kind of order, by the bar's own digits."""

    def on_start(self) -> None:
        for symbol in self.symbols:
            self.indicator("SMA", "close", 3, symbol=symbol)
        self.set_timer("flat", every="1d")

    def on_bar(self, bar: Bar) -> None:
        digit = round(bar.close * 100) % 13 if bar.symbol != "Z" else 12
        if digit == 0:
            self.buy(bar.symbol, 3, stop_loss=bar.close - 2, take_profit=bar.close + 2)
        elif digit == 1:
            self.sell(bar.symbol, 400, limit=bar.close + 0.4)
        elif digit == 2:
            self.target(bar.symbol, 0.3)
        elif digit == 3:
            self.target(bar.symbol, -0.2)
        elif digit == 4:
            self.buy(bar.symbol, 5, stop=bar.close + 0.5, trail_stop_fraction=0.01)
        elif digit == 5:
            self.cancel_all(bar.symbol)
        super().on_bar(bar)

    def on_timer(self, timer: Timer) -> None:
        for symbol in self.symbols:
            if self.position(symbol):
                self.close(symbol)
        super().on_timer(timer)


@pytest.mark.parametrize("symbols", [1, 3])
def test_the_size_of_chunks_changes_nothing(symbols: int) -> None:
    bars, outcomes = market(symbols, 150), []
    for chunk in (1, 7, None):
        journal, busy = ListJournal(), Busy()
        result = engine_for(bars, busy, journal=journal, chunk=chunk).run()
        tables = journal.tables()
        outcomes.append((result.fills_hash, str(result.final_equity), tables, busy.pages, result.curve.equity.tolist()))
    assert len(outcomes[0][2]["fills"]) > 30
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_two_runs_are_equal() -> None:
    one, other = (engine_for(market(3, 100), Busy(), journal=ListJournal()).run() for _ in range(2))
    assert one.fills_hash == other.fills_hash
    assert one.fills_hash != run_bars(market(3, 100, seed=6), Busy()).fills_hash


# ── how a run ends ──────────────────────────────────────────────────────────────────────────────────────────────────


class Fails(Diary):
    """Raises in the handler named, the first time it is told of something from the third hour on."""

    def __init__(self, handler: str, error: BaseException) -> None:
        super().__init__()
        self.handler, self.error = handler, error

    def told(self, *words: Any, of: Any = None) -> None:
        super().told(*words, of=of)
        if f"on_{words[0]}" == self.handler and self.hours >= 3:
            raise self.error

    def on_start(self) -> None:
        self.set_timer("t", at=NEW_YEAR_2024 + 3 * HOUR)
        if self.handler == "on_start":
            raise self.error

    def on_bar(self, bar: Bar) -> None:
        self.buy(bar.symbol, 1)
        super().on_bar(bar)


@pytest.mark.parametrize(
    ("handler", "at"),
    [
        ("on_start", ""),
        ("on_bar", " at the instant 2024-01-01T03:00Z"),
        ("on_slice", " at the instant 2024-01-01T03:00Z"),
        ("on_fill", " at the instant 2024-01-01T03:00Z"),
        ("on_order", " at the instant 2024-01-01T03:00Z"),
        ("on_timer", " at the instant 2024-01-01T03:00Z"),
        ("on_stop", " at the instant 2024-01-01T05:00Z"),
    ],
)
def test_a_handler_that_raises_stops_the_run_and_is_named(handler: str, at: str) -> None:
    with pytest.raises(
        StrategyError, match=rf"^Fails\.\w+ failed{at}: ZeroDivisionError: planted \(test_loop\.py, line \d+\)$"
    ) as caught:
        run_bars(hourly("A", *[FLAT] * 5), Fails(handler, ZeroDivisionError("planted")))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


class FailsOnBar(Strategy):
    def on_bar(self, bar: Bar) -> None:
        self.buy(bar.symbol, 1)
        if bar.open_time == NEW_YEAR_2024 + 2 * HOUR:
            {}["missing"]


def test_the_message_names_the_handler_the_bar_and_the_line() -> None:
    line = FailsOnBar.on_bar.__code__.co_firstlineno + 3
    where = rf"\(test_loop\.py, line {line}\)"
    message = rf"^FailsOnBar\.on_bar failed at the bar A 1h that closed 2024-01-01T03:00Z: KeyError: 'missing' {where}$"
    with pytest.raises(StrategyError, match=message):
        run_bars(hourly("A", *[FLAT] * 5), FailsOnBar())


def test_what_was_journalled_before_a_failure_stays_and_the_run_is_marked_failed() -> None:
    journal = ListJournal()
    with pytest.raises(StrategyError):
        engine_for(hourly("A", *[FLAT] * 5), FailsOnBar(), journal=journal, chunk=1).run()
    assert journal.ended is not None
    assert journal.ended.status == "failed"
    assert journal.ended.error.startswith("FailsOnBar.on_bar failed at the bar A 1h that closed 2024-01-01T03:00Z")
    tables = journal.tables()
    assert (len(tables["decisions"]), len(tables["fills"])) == (3, 2), "the third was asked for before the error"


def test_ctrl_c_marks_the_run_interrupted_and_goes_on_up() -> None:
    journal = ListJournal()
    with pytest.raises(KeyboardInterrupt):
        engine_for(hourly("A", *[FLAT] * 5), Fails("on_bar", KeyboardInterrupt()), journal=journal).run()
    assert journal.ended is not None
    assert (journal.ended.status, journal.ended.error) == ("interrupted", "stopped by the user")
    assert len(journal.tables()["fills"]) == 2


def test_a_fault_outside_the_strategy_is_not_blamed_on_it_but_ends_the_record_too() -> None:
    class Breaks(BarsFeed):
        def chunks(self) -> Any:
            yield self.bars[:2]
            if len(self.seen) > 1:
                raise OSError("disk gone")
            self.seen.append(1)

        seen: list[int]

    journal, bars = ListJournal(), hourly("A", *[FLAT] * 5)
    feed = Breaks(bars)
    feed.seen = [1, 1]
    portfolio = Portfolio({"USD": D(1000)}, [Instrument("A")])
    with pytest.raises(OSError, match="disk gone"):
        Engine(
            Parts(
                feed,
                Diary(),
                SimulatedExchange(portfolio),
                portfolio,
                journal=journal,
                start=RunStart("backtest", "x", {}, {}, "", {}),
            )
        ).run()
    assert journal.ended is not None
    assert journal.ended.status == "failed"


def test_a_completed_run_says_what_came_of_it() -> None:
    journal = ListJournal()
    result = engine_for(hourly("A", FLAT, FLAT, 101.0), FailsLate(), journal=journal).run()
    assert journal.ended is not None
    assert (journal.ended.status, journal.ended.bars, journal.ended.error) == ("completed", 3, "")
    assert journal.ended.result == {"final_equity": str(result.final_equity), "fills": len(result.fills)}
    assert result.run_id == 1


class FailsLate(FailsOnBar):
    def on_bar(self, bar: Bar) -> None:
        if bar.open_time == NEW_YEAR_2024:
            self.buy(bar.symbol, 1)


def test_a_feed_of_what_no_instrument_was_given_for() -> None:
    portfolio = Portfolio({"USD": D(1000)}, [Instrument("B")])
    with pytest.raises(SettingsError, match="the feed has A, but no instrument of that name was given"):
        Engine(Parts(BarsFeed(hourly("A", FLAT)), Diary(), SimulatedExchange(portfolio), portfolio))


def test_times_that_go_back_stop_the_run() -> None:
    bars = hourly("A", FLAT, FLAT, FLAT)
    back = replace(bars, close_time=bars.close_time[::-1].copy())
    with pytest.raises(
        DataError,
        match="an event of 2024-01-01T02:00Z came after one of 2024-01-01T03:00Z; expected times that never go back",
    ):
        run_bars(back, Diary())


def test_progress_is_told_after_every_piece() -> None:
    told: list[Any] = []
    engine_for(hourly("A", *[FLAT] * 5), Diary(), chunk=2).run(lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("strategy", [Diary, lambda: scripted({0: buy()})])
def test_no_bars_no_trouble(strategy: Any) -> None:
    result = run_bars(hourly("A", FLAT)[:0], strategy())
    assert (result.bars, len(result.fills), result.final_equity) == (0, 0, 1_000_000)


def test_a_strategy_without_handlers_runs_through() -> None:
    assert run_bars(hourly("A", *[FLAT] * 5), Strategy()).bars == 5


def test_made_up_bars_are_told_but_not_traded() -> None:
    bars = hourly("A", FLAT, FLAT, 101.0)
    flagged = replace(bars, flags=np.array([0, FORWARD_FILLED, 0], np.uint8))
    seen: list[int] = []
    strategy = ScriptedStrategy({0: lambda s, bar: s.buy("A", 1), 1: lambda s, bar: seen.append(bar.flags)})
    assert [(row.price, (row.bar_close_time - NEW_YEAR_2024) // HOUR) for row in run_bars(flagged, strategy).fills] == [
        (101.0, 3)
    ]
    assert seen == [FORWARD_FILLED]


def test_one_stream_and_several_are_stepped_through_alike() -> None:
    # the same bars beside a symbol that nobody trades
    alone = run_bars(market(1, 120), Busy()).fills
    beside = run_bars(merged(market(1, 120), hourly("Z", *[FLAT] * 120)), Busy()).fills
    assert [row[4:] for row in alone] == [row[4:] for row in beside]
    assert len(alone) > 20


def test_streams_are_named_in_the_strategy_s_view() -> None:
    diary = Diary()
    engine = engine_for(two_timeframes(), diary)
    assert engine.feed.streams == (Stream("A", "1h"), Stream("A", "4h"))
    assert run([FLAT], {0: lambda s: s.stream("TEST")}).result.bars == 1
