import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.analysis.benchmark import Benchmark, buy_and_hold
from engine.analysis.definitions import DEFINITIONS, GROUPS
from engine.analysis.metrics import Statistics, drawdowns, longest_drawdown, sample, statistics
from engine.analysis.trades import round_trips
from engine.bars import DAY, HOUR, MINUTE, Bars, FloatArray, IntArray
from engine.errors import SettingsError
from engine.records import AccountEventRow
from engine.results import EquityCurve

Make = Callable[..., Any]
START = 19_723 * DAY


def curve_of(equity: Any, *, step: int = DAY, start: int = START) -> EquityCurve:
    values: FloatArray = np.asarray(equity, np.float64)
    time: IntArray = start + step * np.arange(1, len(values) + 1, dtype=np.int64)
    return EquityCurve("USDT", time, values, values, np.zeros(len(values)))


# ── what is computed ────────────────────────────────────────────────────────────────────────────────────────────────


def test_returns_and_drawdown_of_a_curve_worked_out_by_hand() -> None:
    found = statistics(curve_of([100, 110, 99, 121, 121], step=10 * DAY))
    assert found["total_return"] == pytest.approx(0.21)
    assert found["net_profit"] == 21
    assert found["max_drawdown"] == pytest.approx(-0.1)
    assert found["max_drawdown_duration"] == 20 * DAY  # from the peak of 110 until 121 is above it
    assert found["best_period"] == pytest.approx(121 / 99 - 1)
    assert found["worst_period"] == pytest.approx(-0.1)
    assert found["positive_periods"] == pytest.approx(2 / 3)
    assert found["recovery_factor"] == pytest.approx(2.1)


def test_trades_and_costs_of_a_book_worked_out_by_hand(make_bars: Make, make_book: Make) -> None:
    bars = make_bars([100, 100, 110, 120, 110, 110])
    book = make_book(bars, cash=1000.0)
    book.trade(1, 1.0, fee=1.0, cost=2.0)  # 100 + 2
    book.trade(3, -1.0, fee=1.0, cost=2.0)  # 110 - 2: nets 6 - 2 = 4
    book.trade(3, -1.0, fee=1.0)  # 110
    book.trade(4, 1.0, fee=1.0)  # 120: nets -10 - 2 = -12
    found = statistics(book.curve(), trades=round_trips(book.fills, bars=bars), fills=book.fills)
    assert (found["trades"], found["open_trades"], found["win_rate"]) == (2, 0, 0.5)
    assert found["expectancy"] == pytest.approx(-4)
    assert found["profit_factor"] == pytest.approx(4 / 12)
    assert found["payoff_ratio"] == pytest.approx(4 / 12)
    assert found["best_trade"] == pytest.approx(4 / 102)
    assert found["longest_losing_streak"] == 1
    assert found["average_bars_held"] == pytest.approx(1.5)
    assert (found["fees"], found["total_costs"]) == (pytest.approx(4), pytest.approx(8))
    assert (found["spread_cost"], found["slippage_cost"], found["impact_cost"]) == (1.0, 2.0, 1.0)
    assert found["gross_profit"] == pytest.approx(-8 + 8)
    assert found["traded_notional"] == pytest.approx(102 + 108 + 110 + 120)
    assert found["exposure_time"] == pytest.approx(3 / 6)  # held at the closes of bars 1, 2 and 3


def test_hedged_positions_count_as_time_in_the_market(make_bars: Make, make_book: Make) -> None:
    book = make_book(make_bars([100] * 5, "A"), make_bars([100] * 5, "B"))
    for bar, size in ((1, 1.0), (3, -1.0)):
        book.trade(bar, size, symbol="A")
        book.trade(bar, -size, symbol="B")
    curve = book.curve()
    assert not curve.exposure.any()
    assert statistics(curve, trades=round_trips(book.fills))["exposure_time"] == pytest.approx(2 / 5)


def test_holding_the_benchmark_is_the_benchmark(wandering: Bars) -> None:
    held = buy_and_hold(wandering, wandering.close_time)
    assert held is not None
    equity = 5000 * held.value
    found = statistics(
        EquityCurve("USDT", wandering.close_time, equity, np.zeros_like(equity), np.ones_like(equity)), benchmark=held
    )
    assert found["excess_return"] == pytest.approx(0, abs=1e-12)
    assert found["beta"] == pytest.approx(1)
    assert found["correlation"] == pytest.approx(1)
    assert found["alpha"] == pytest.approx(0, abs=1e-9)
    assert found["up_capture"] == pytest.approx(1)
    assert found["max_drawdown"] == pytest.approx(found["benchmark_max_drawdown"])


def test_funding_is_a_cost_and_an_opening_deposit_is_not(swinging: Any) -> None:
    events = [
        AccountEventRow(1, START, "deposit", "USDT", 10_000.0), AccountEventRow(2, START, "funding", "USDT", -3.0),
        AccountEventRow(3, START, "borrow", "USDT", -1.0), AccountEventRow(4, START, "funding", "EUR", -7.0),
    ]
    without, found = (statistics(swinging.curve(), fills=swinging.fills, account_events=rows) for rows in ((), events))
    assert found["holding_cost"] == 4
    assert found["total_costs"] == pytest.approx((without["total_costs"] or 0) + 4)


def test_fills_in_other_currencies_are_left_out_and_that_is_said(swinging: Any) -> None:
    others = [fill._replace(symbol="BTC/EUR", currency="EUR") for fill in swinging.fills[:2]]
    fills = [*swinging.fills, *others]
    found = statistics(swinging.curve(), trades=round_trips(fills), fills=fills)
    alone = statistics(swinging.curve(), trades=round_trips(swinging.fills), fills=swinging.fills)
    assert found.values == alone.values
    assert found.notes == ("2 fills in EUR are left out: results are in USDT.",)


# ── sampling ────────────────────────────────────────────────────────────────────────────────────────────────────────

CALENDARS = [
    # step, days, weekdays only, hours of the day: frequency, periods per year
    (HOUR, 60, False, range(24), "daily", 365),
    (HOUR, 10, False, range(24), "bar", 365 * 24),
    (MINUTE * 5, 2, False, range(24), "bar", 365 * 288),
    (DAY, 400, False, (0,), "bar", 365),
    (DAY, 800, True, (0,), "bar", 261),
    (HOUR, 60, True, range(14, 21), "daily", 252),
    (HOUR, 20, True, range(14, 21), "bar", 7 * 252),
    (7 * DAY, 700, False, (0,), "bar", 365 / 7),
]


@pytest.mark.parametrize(("step", "days", "only_weekdays", "hours", "frequency", "per_year"), CALENDARS)
def test_the_calendar_decides_the_frequency_and_the_periods_of_a_year(
    step: int, days: int, only_weekdays: bool, hours: Any, frequency: str, per_year: float
) -> None:
    times = START + np.arange(0, days * DAY, step, dtype=np.int64)
    keep = np.isin(times % DAY // HOUR, list(hours))
    if only_weekdays:
        keep &= (times // DAY + 3) % 7 < 5
    sampling, _ = sample(times[keep] + min(step, HOUR))
    assert sampling.frequency == frequency
    assert sampling.periods_per_year == pytest.approx(per_year)


def test_a_close_at_midnight_belongs_to_the_day_it_ends() -> None:
    time = START + HOUR * np.arange(1, 24 * 40 + 1, dtype=np.int64)
    sampling, places = sample(time)
    assert sampling.periods == 40
    assert places[:3].tolist() == [0, 23, 47]  # the first close of all, then each midnight


def test_daily_returns_compound_to_the_total_return(wandering: Bars) -> None:
    equity = wandering.close * 3
    _, places = sample(wandering.close_time)
    returns = equity[places][1:] / equity[places][:-1]
    assert np.prod(returns) == pytest.approx(equity[-1] / equity[0])


def test_frequency_and_periods_can_be_asked_for(wandering: Bars) -> None:
    curve = EquityCurve("USDT", wandering.close_time, wandering.close, wandering.close, wandering.close)
    assert statistics(curve, frequency="bar", periods_per_year=252).sampling[:3] == ("bar", 252, len(wandering) - 1)
    with pytest.raises(SettingsError, match="frequency is 'weekly'; expected auto, daily or bar"):
        statistics(curve, frequency="weekly")


# ── when there is no value ──────────────────────────────────────────────────────────────────────────────────────────

DEGENERATE = [
    # equity, a statistic without value, its reason
    ([], "total_return", "no equity curve"),
    ([100.0], "sharpe", "0 returns"),
    ([100.0, 101.0], "sharpe", "1 returns"),
    ([100.0] * 50, "sharpe", "do not vary"),
    ([100.0] * 50, "calmar", "no drawdown"),
    (100 * 1.01 ** np.arange(50), "sharpe", "do not vary"),
    (np.arange(1.0, 50.0), "sortino", "no return was below 0"),
    ([100.0, np.nan, 100.0], "max_drawdown", "not a number at 2024-01-03"),
    ([100.0, 50.0, -1.0, 20.0], "volatility", "zero or below at 2024-01-04"),
    ([100.0, 0.0, 0.0], "cagr", "zero or below"),
    ([0.0, 100.0, 100.0], "total_return", "started without equity"),
    ([1.0, 1e300, 1e-300, 1e300], "beta", "no bars to hold"),
    ([100.0, 101.0, 99.0], "cagr", "below 30 days"),
]


@pytest.mark.parametrize(("equity", "name", "reason"), DEGENERATE)
def test_what_cannot_be_had_is_none_with_a_reason(equity: Any, name: str, reason: str) -> None:
    found = statistics(curve_of(equity))
    assert found[name] is None
    assert reason in found.undefined[name]
    # Every statistic has either a finite value or a reason, and all of it goes into JSON.
    assert set(found.values) == set(DEFINITIONS)
    assert {key for key, value in found.values.items() if value is None} == set(found.undefined)
    json.dumps(found.as_dict(), allow_nan=False)


def test_ruin_still_has_a_total_return_and_a_drawdown() -> None:
    found = statistics(curve_of([100.0, 50.0, -25.0]))
    assert found["total_return"] == -1.25
    assert found["max_drawdown"] == -1.25


def test_a_benchmark_that_is_no_number_gives_reasons_and_no_values(wandering: Bars) -> None:
    curve = EquityCurve("USDT", wandering.close_time, wandering.close, wandering.close, wandering.close)
    found = statistics(curve, benchmark=Benchmark("x", np.full(len(wandering), np.nan)))
    assert found["beta"] is None
    assert "positive number" in found.undefined["benchmark_return"]


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────────────

curves = st.lists(st.floats(1, 1e6), min_size=2, max_size=60).map(np.array)


@given(curves)
def test_drawdown_is_never_above_zero_and_zero_at_a_new_peak(equity: FloatArray) -> None:
    fall = drawdowns(equity)
    assert np.all(fall <= 0)
    assert np.all(fall > -1)
    assert fall[np.argmax(equity)] == 0
    time = DAY * np.arange(len(equity), dtype=np.int64)
    assert 0 <= longest_drawdown(time, fall) <= time[-1]
    assert (longest_drawdown(time, fall) == 0) == bool(np.all(fall == 0))


@given(curves, st.floats(0.5, 4))
def test_statistics_do_not_depend_on_the_unit_of_money(equity: FloatArray, factor: float) -> None:
    one, other = statistics(curve_of(equity)), statistics(curve_of(equity * 2.0 ** round(factor)))
    for name, definition in DEFINITIONS.items():
        if definition.unit != "money":
            assert one[name] == other[name], name


# ── definitions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_statistic_is_defined_in_a_line_and_documented() -> None:
    told = (Path(__file__).parents[3] / "docs" / "statistics.md").read_text(encoding="utf-8")
    units = {"percent", "money", "ratio", "count", "bars", "duration", "basis_points"}
    for name, definition in DEFINITIONS.items():
        assert definition.text.endswith("."), name
        assert definition.unit in units, name
        text = definition.text.replace("|", r"\|")
        assert f"| `{name}` | {definition.label} |" in told, f"docs/statistics.md does not tell of {name}"
        assert f"| {text} |" in told, f"docs/statistics.md tells of {name} in other words"
    assert GROUPS == ("Return", "Risk", "Benchmark", "Trades", "Costs")


def test_statistics_come_back_from_json_as_they_were(swinging: Any, wandering: Bars) -> None:
    found = statistics(
        swinging.curve(), trades=round_trips(swinging.fills, bars=wandering), fills=swinging.fills,
        benchmark=buy_and_hold(wandering, wandering.close_time),
    )
    assert Statistics.from_dict(json.loads(json.dumps(found.as_dict()))) == found
