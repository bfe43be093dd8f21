"""When forecasts are due, when they arrive, in which order, and what their windows hold."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from engine import Bar, Bars, Instrument, PluginError, Strategy, Timer
from engine.bars import FORWARD_FILLED, HOUR, MINUTE
from engine.exchange import SimulatedExchange
from engine.forecasting.book import ForecastTerms
from engine.forecasting.testing import FunctionForecaster, RandomPaths, last_change, momentum, spec_of
from engine.forecasts import Forecast, Forecaster, ForecastKind, Windows
from engine.journal.memory import MemoryJournal
from engine.loop import Engine, Parts
from engine.portfolio import Portfolio
from engine.records import (
    DecisionForecastRow,
    DecisionRow,
    FillRow,
    ForecastRow,
    ForecastScoreRow,
    OrderEventRow,
    OrderRow,
)
from engine.testing import BarsFeed, run_bars
from tests.engine.forecasting.market import (
    Follows,
    FollowsOnBars,
    FollowsPanel,
    OneInstantAtATime,
    hours,
    side_by_side,
    walk,
    without,
)

HOURLY = spec_of(ForecastKind.RETURN, timeframe="1h", is_deterministic=True)
SCORES = spec_of(ForecastKind.SCORE, timeframe="1h", is_deterministic=True)
THREE = side_by_side([walk(60, seed=number, symbol=name) for number, name in enumerate("CAB")])


def seen_by(strategy: Follows, bars: Bars, forecaster: Forecaster, **terms: Any) -> list[Forecast]:
    run_bars(bars, strategy, forecasters={"model": forecaster}, forecast_terms=ForecastTerms(**terms))
    return strategy.seen


def test_the_first_forecast_comes_when_the_window_is_full() -> None:
    seen = seen_by(Follows(), walk(20), momentum(HOURLY))

    assert [hours(one.as_of) for one in seen] == list(range(5, 21))


@pytest.mark.parametrize(("every", "expected"), [
    ("bar", [5, 6, 7, 8, 9, 10, 11, 12]),
    ("1h", [5, 6, 7, 8, 9, 10, 11, 12]),
    ("4h", [8, 12]),
    ("3h", [6, 9, 12]),
])
def test_a_schedule_counts_in_multiples_of_utc(every: str, expected: list[int]) -> None:
    assert [hours(one.as_of) for one in seen_by(Follows(every), walk(12), momentum(HOURLY))] == expected


def test_a_missing_bar_puts_a_forecast_off_and_is_told_by_a_flag() -> None:
    seen = seen_by(Follows("4h"), without(walk(24), [11, 15]), momentum(HOURLY))

    assert [hours(one.as_of) for one in seen] == [8, 13, 17, 20, 24]
    # A window of five bars reaches five hours back, six where one is missing.
    assert ["gap" in one.flags for one in seen] == [False, True, True, True, False]


def test_a_bar_that_was_filled_in_is_told_by_a_flag() -> None:
    bars = walk(12)
    flags = np.zeros(12, np.uint8)
    flags[6] = FORWARD_FILLED

    seen = seen_by(Follows(), replace(bars, flags=flags), momentum(HOURLY))

    assert [hours(one.as_of) for one in seen if "filled" in one.flags] == [7, 8, 9, 10, 11]


def test_windows_end_at_the_last_closed_bar_and_hold_the_bars_own_numbers() -> None:
    bars = walk(30)
    windows: list[Windows] = []

    class Keeps(FunctionForecaster):
        def forecast(self, asked: Windows) -> Any:
            windows.append(asked)
            return super().forecast(asked)

    spec = replace(HOURLY, inputs=("open", "close", "volume", "amount"))
    seen_by(Follows("2h"), bars, Keeps(spec, lambda window: [0.0, window[-1, 1]]))

    [asked] = windows
    for place, time in enumerate(asked.as_of.tolist()):
        end = int(hours(time))
        rows = slice(end - 5, end)
        np.testing.assert_array_equal(asked.values[place, :, 1], bars.close[rows].astype(np.float32))
        mean = (bars.open[rows] + bars.high[rows] + bars.low[rows] + bars.close[rows]) / 4
        np.testing.assert_allclose(asked.values[place, :, 3], bars.volume[rows] * mean, rtol=1e-6)
    assert not asked.values.flags.writeable
    assert asked.values.base is not None  # a view of the whole column: nothing was copied


def test_the_calendar_is_that_of_the_bars_and_of_those_to_come() -> None:
    calendars = []

    class Keeps(FunctionForecaster):
        def forecast(self, asked: Windows) -> Any:
            calendars.append(asked.calendar)
            return super().forecast(asked)

    spec = replace(HOURLY, calendar=("hour", "weekday", "day", "month"), clock="America/New_York", horizon=3)
    seen_by(Follows("24h"), walk(24), Keeps(spec, lambda _: [0.0, 0.0, 1.0]))

    # 2024-01-02T00:00Z in New York is 19:00 of Monday; the window's bars opened at 14 … 18, the next open from 19 on.
    assert calendars[0][0].tolist() == [[hour, 0, 1, 1] for hour in range(14, 22)]


def test_stamps_of_a_market_that_rests_at_weekends_skip_them() -> None:
    calendars = []

    class Keeps(FunctionForecaster):
        def forecast(self, asked: Windows) -> Any:
            calendars.append(asked.calendar)
            return super().forecast(asked)

    spec = spec_of(ForecastKind.RETURN, calendar=("weekday", "day"), future_stamps="weekdays", horizon=3)
    bars = walk(5, timeframe="1d")  # Monday to Friday; it closes as Saturday begins
    [forecast] = seen_by(Follows(), bars, Keeps(spec, lambda _: [0.0, 0.0, 1.0]))

    assert calendars[0][0, 5:].tolist() == [[0, 8], [1, 9], [2, 10]]
    assert hours(forecast.horizon_end) == 24 * 10


def test_forecasts_of_one_instant_come_in_feed_order_then_the_panel_then_timers() -> None:
    told: list[str] = []

    class Listens(Strategy):
        def on_start(self) -> None:
            self.forecasts("model", every="6h")
            self.set_timer("t", every="6h")

        def on_bar(self, bar: Bar) -> None:
            if hours(bar.close_time) == 12:
                told.append(f"bar {bar.symbol}")

        def on_forecast(self, forecast: Forecast) -> None:
            if hours(self.now) == 12:
                told.append(f"forecast {forecast.symbol}")

        def on_forecasts(self, panel: Any) -> None:
            if hours(self.now) == 12:
                told.append(f"panel {','.join(one.symbol for one in panel)}")

        def on_timer(self, timer: Timer) -> None:
            if hours(self.now) == 12:
                told.append("timer")

    run_bars(THREE, Listens(), forecasters={"model": last_change(SCORES)})

    bars, forecasts = [f"bar {name}" for name in "CAB"], [f"forecast {name}" for name in "CAB"]
    assert told == [*bars, *forecasts, "panel C,A,B", "timer"]


def test_the_best_of_a_panel_comes_first() -> None:
    strategy = FollowsPanel("6h")
    seen_by(strategy, THREE, last_change(SCORES))

    panel = strategy.panels[3]
    scores = [one.score for one in panel.ranked()]
    assert scores == sorted(scores, reverse=True)
    assert panel["A"].symbol == "A"
    with pytest.raises(KeyError, match="no forecast of X by model at this instant"):
        panel["X"]


def test_a_forecast_arrives_when_it_is_available_even_between_bars() -> None:
    strategy = FollowsOnBars("4h")
    latency = 25 * MINUTE

    seen = seen_by(strategy, walk(14), momentum(HOURLY), latency={"model": latency})

    assert [hours(one.as_of) for one in seen] == [8, 12]
    assert strategy.told_at == [one.as_of + latency for one in seen] == [one.available_at for one in seen]


def test_one_that_comes_after_the_last_bar_is_not_delivered() -> None:
    seen = seen_by(Follows("4h"), walk(12), momentum(HOURLY), latency={"model": MINUTE})

    assert [hours(one.as_of) for one in seen] == [8]


def test_a_late_forecast_trades_at_the_next_open_after_it_came() -> None:
    journal = MemoryJournal()
    forecaster = FunctionForecaster(HOURLY, lambda window: [0.0, window[-1, 0]])
    terms = ForecastTerms(latency={"model": 90 * MINUTE})

    run_bars(walk(14), Follows("8h"), journal=journal, forecasters={"model": forecaster}, forecast_terms=terms)

    with journal.snapshot() as reader:
        [decision], [fill] = reader.rows(DecisionRow, 1), reader.rows(FillRow, 1)
    assert (hours(decision.time), hours(decision.bar_close_time)) == (9.5, 9)
    assert hours(fill.time) == 10


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Asks(Follows):
    """Asks at certain hours, in its timer."""

    def __init__(self, at: tuple[int, ...] = (3, 9), every: str = "ask") -> None:
        super().__init__(every)
        self.at, self.answers = at, []

    def on_start(self) -> None:
        super().on_start()
        self.set_timer("ask", every="1h")

    def on_timer(self, timer: Timer) -> None:
        if hours(self.now) in self.at:
            self.answers.append(self.its.ask("TEST"))
            assert self.its.ask("TEST") is self.answers[-1]


def test_asking_gives_a_forecast_of_the_bars_up_to_now() -> None:
    asks, scheduled = Asks(), Follows()
    seen_by(asks, walk(12), model := momentum(HOURLY))
    seen_by(scheduled, walk(12), momentum(HOURLY))

    nothing, answer = asks.answers
    assert nothing is None  # three bars are fewer than its lookback
    same = next(one for one in scheduled.seen if hours(one.as_of) == 9)
    np.testing.assert_array_equal(answer.values, same.values)
    assert (answer.as_of, answer.available_at) == (same.as_of, same.as_of)
    assert model.calls == 1  # the second question was about the same bars
    assert asks.seen == []


def test_an_answer_that_takes_time_comes_later() -> None:
    asks = Asks()
    seen_by(asks, walk(12), momentum(HOURLY), latency={"model": 61 * MINUTE})

    assert asks.answers == [None, None]
    assert [hours(time) for time in asks.told_at] == [pytest.approx(10 + 1 / 60)]


def test_the_latest_is_what_was_delivered_last() -> None:
    found = []

    class Looks(Follows):
        def on_bar(self, bar: Bar) -> None:
            latest = self.its.latest("TEST")
            found.append(latest and hours(latest.as_of))

    seen_by(Looks("4h"), walk(10), momentum(HOURLY))

    assert found == [None] * 8 + [8, 8]  # bars of an instant come before its forecasts


# ── the same in every mode ──────────────────────────────────────────────────────────────────────────────────────────

ROWS = (
    DecisionRow, OrderRow, OrderEventRow, FillRow, ForecastRow, DecisionForecastRow, ForecastScoreRow,
)


def rows_of(journal: MemoryJournal) -> list[Any]:
    with journal.snapshot() as reader:
        return [reader.rows(row_type, 1) for row_type in ROWS]


def journalled(feed: Any, strategy: Strategy, forecaster: Forecaster, mode: str = "auto", **terms: Any) -> list[Any]:
    symbols = dict.fromkeys(stream.symbol for stream in feed.streams)
    portfolio = Portfolio({"USD": Decimal(100_000)}, [Instrument(symbol) for symbol in symbols])
    journal = MemoryJournal()
    parts = Parts(
        feed, strategy, SimulatedExchange(portfolio), portfolio, journal=journal, mode=mode,
        forecasters={"model": forecaster}, forecast_terms=ForecastTerms(**terms),
    )
    Engine(parts).run()
    return rows_of(journal)


@pytest.mark.parametrize("latency", [0, 25 * MINUTE, HOUR, 150 * MINUTE])
@pytest.mark.parametrize("every", ["bar", "5h"])
def test_jumping_leaves_the_same_journal_as_stepping(every: str, latency: int) -> None:
    class Brackets(Follows):
        def on_forecast(self, forecast: Forecast) -> None:
            if len(self.seen) % 3 == 0:
                price = self.price(forecast.symbol)
                self.buy(forecast.symbol, 5, limit=price * 0.995, stop_loss=price * 0.98, take_profit=price * 1.02)
                self.seen.append(forecast)
            else:
                super().on_forecast(forecast)

    class AndOnBars(Brackets):
        def on_bar(self, bar: Bar) -> None:
            pass

    bars = BarsFeed(walk(300))
    terms = {"latency": {"model": latency}}
    jumped = journalled(bars, Brackets(every), momentum(HOURLY), **terms)

    assert jumped == journalled(bars, Brackets(every), momentum(HOURLY), "step", **terms)
    assert jumped == journalled(bars, AndOnBars(every), momentum(HOURLY), **terms) or [
        _renamed(rows) for rows in jumped
    ] == [_renamed(rows) for rows in journalled(bars, AndOnBars(every), momentum(HOURLY), **terms)]
    assert len(jumped[3]) > 10


def _renamed(rows: list[Any]) -> list[Any]:
    return [row._replace(strategy="") if isinstance(row, DecisionRow) else row for row in rows]


def test_a_strategy_that_acts_on_forecasts_alone_is_not_shown_every_bar() -> None:
    portfolio = Portfolio({"USD": Decimal(100_000)}, [Instrument("TEST")])
    exchange = SimulatedExchange(portfolio)
    met = []
    on_bar = exchange.on_bar
    exchange.on_bar = lambda bar: met.append(bar) or on_bar(bar)  # type: ignore[method-assign]
    parts = Parts(BarsFeed(walk(500)), Follows("50h"), exchange, portfolio, forecasters={"model": momentum(HOURLY)})

    Engine(parts).run()

    assert 0 < len(met) < 20


@pytest.mark.parametrize("chunk", [1, 7, 300])
def test_the_size_of_chunks_and_batches_and_the_thread_change_nothing(chunk: int) -> None:
    bars = walk(150)
    usual = journalled(BarsFeed(bars), FollowsOnBars(), momentum(HOURLY))

    for terms in ({}, {"batch": 1}, {"batch": 7}, {"is_ahead": False}):
        assert journalled(BarsFeed(bars, chunk=chunk), FollowsOnBars(), momentum(HOURLY), **terms) == usual


@pytest.mark.parametrize("every", ["bar", "6h"])
@pytest.mark.parametrize("kind", ["return", "score", "paths"])
def test_backtest_and_paper_trading_leave_the_same_decisions(kind: str, every: str) -> None:
    """Bar by bar, nothing known ahead, one batch an instant: but for when an answer was there, the same rows."""
    spec = replace(SCORES, kind=ForecastKind(kind), samples=4, is_deterministic=kind != "paths")
    strategy: type[Follows] = FollowsPanel

    def model() -> Forecaster:
        return {"return": momentum, "score": last_change, "paths": RandomPaths}[kind](spec)

    known = journalled(BarsFeed(THREE), strategy(every), model())
    live_model = model()
    live = journalled(OneInstantAtATime(THREE), strategy(every), live_model)

    assert len(known[3]) > 5
    assert [[_timeless(row) for row in rows] for rows in live] == [[_timeless(row) for row in rows] for rows in known]
    assert live_model.calls == len({row.as_of for row in live[4]})


def _timeless(row: Any) -> Any:
    return row._replace(available_at=0) if isinstance(row, ForecastRow) else row


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────


class Declares(Strategy):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()
        self.arguments, self.options = arguments, options

    def on_start(self) -> None:
        self.its = self.forecasts(*self.arguments, **self.options)


@pytest.mark.parametrize(("strategy", "spec", "message"), [
    (Declares("modle"), HOURLY, r"asks for the model 'modle'; this run has model; did you mean 'model'"),
    (Declares("model", every="30m"), HOURLY, "every 30m, but its bars last 1h; expected no less"),
    (Declares("model", every="often"), HOURLY, "timeframe 'often' is not understood"),
    (Declares("model", symbols=["TSET"]), HOURLY, "names 'TSET'; there are bars of 1h of TEST; did you mean 'TEST'"),
    (Declares("model"), replace(HOURLY, timeframe="4h"), "model model reads bars of 4h; the feed has 1h"),
    (Declares("model"), replace(HOURLY, inputs=("clsoe",)), "the input 'clsoe'; expected .*; did you mean 'close'"),
    (Declares("model"), replace(HOURLY, lookback=0), "lookback is 0; expected 1 or more"),
    (Declares("model"), replace(HOURLY, calendar=("year",)), "calendar column 'year'; expected some of minute"),
    (Declares("model"), replace(HOURLY, clock="Mars"), "the clock 'Mars', which is no time zone"),
    (Declares("model"), replace(HOURLY, future_stamps="XNY"), "future_stamps 'XNY'; expected 24/7, weekdays, or"),
    (Declares("model"), replace(HOURLY, repairs=True), "repairs are of bars, and it gives return; leave them out"),
    (Declares("model"), replace(HOURLY, kind=ForecastKind.QUANTILES, levels=(0.9, 0.1)), "expected ascending ones"),
    (Declares("model"), replace(HOURLY, kind=ForecastKind.MULTI), "needs names of its outputs"),
    (Declares("model"), replace(HOURLY, kind=ForecastKind.MULTI, outputs=("up", "up")), "have up more than once"),
    (Declares("model"), replace(HOURLY, lookback=4.5), "lookback is 4.5; expected a whole number"),
    (Declares("model"), replace(HOURLY, horizon="2"), "horizon is '2'; expected a whole number"),
    (Declares("model"), replace(HOURLY, inputs=()), "it has no inputs; expected some fields of the bars"),
    (Declares("model"), replace(HOURLY, inputs="close"), "inputs is 'close'; expected names of bars' fields"),
    (Declares("model"), replace(HOURLY, kind="return"), "kind is 'return'; expected a ForecastKind"),
    (Declares("model"), replace(HOURLY, model_hash=None), "model_hash is None; expected a text"),
    (Declares("model"), replace(HOURLY, trained_until="2024-01-01"), "trained_until is '2024-01-01'; expected UTC"),
])  # fmt: skip
def test_what_cannot_be_is_refused_before_the_first_bar(strategy: Strategy, spec: Any, message: str) -> None:
    with pytest.raises((PluginError, Exception), match=message):
        run_bars(walk(10), strategy, forecasters={"model": momentum(spec)})


def test_a_run_without_models_says_how_to_get_one() -> None:
    with pytest.raises(PluginError, match=r"asks for the model 'kronos', and this run has none; add \[models.kronos\]"):
        run_bars(walk(10), Declares("kronos"))


def test_a_model_is_asked_for_once_and_at_the_start() -> None:
    class Twice(Declares):
        def on_start(self) -> None:
            super().on_start()
            super().on_start()

    class Late(Strategy):
        def on_bar(self, bar: Bar) -> None:
            self.forecasts("model")

    with pytest.raises(PluginError, match="was called twice; keep what the first call returned"):
        run_bars(walk(10), Twice("model"), forecasters={"model": momentum(HOURLY)})
    with pytest.raises(PluginError, match="was called after the start; call it in on_start"):
        run_bars(walk(10), Late(), forecasters={"model": momentum(HOURLY)})


def test_a_symbol_must_be_named_where_there_are_several() -> None:
    class Looks(Follows):
        def on_forecast(self, forecast: Forecast) -> None:
            self.its.latest()

    with pytest.raises(PluginError, match="no symbol was named; expected one of C, A, B"):
        seen_by(Looks(), THREE, momentum(HOURLY))
