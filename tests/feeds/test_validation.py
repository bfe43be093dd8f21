"""What a feed refuses, and how it says so."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from engine.bars import HOUR, MINUTE, Bars
from engine.errors import DataError, SettingsError
from feeds.memory import MemoryFeed, bars_of_arrays
from feeds.tables import BarTable
from feeds.validation import modal_step, prepare_table

MakeBars = Callable[..., Bars]


def changed(bars: Bars, column: str, row: int, value: float) -> Bars:
    values = getattr(bars, column).copy()
    values[row] = value
    return replace(bars, **{column: values})


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("close", np.nan, "close is nan; expected a number"),
        ("high", np.inf, "high is inf; expected a number"),
        ("volume", np.nan, "volume is nan; expected a number"),
        ("open", 0.0, "open is 0.0; expected a price above 0"),
        ("low", -1.0, "low is -1.0; expected a price above 0"),
        ("high", 102.0, "high 102.0 is below the close 102.5; expected the highest price of the bar"),
        ("high", 101.9, "high 101.9 is below the open 102.0"),
        ("low", 102.4, "low 102.4 is above the open 102.0; expected the lowest price of the bar"),
        ("volume", -0.5, "volume is -0.5; expected 0 or more"),
    ],
)
def test_an_impossible_value_is_refused_with_row_time_and_value(
    make_bars: MakeBars, column: str, value: float, message: str
) -> None:
    bars = changed(make_bars(), column, 2, value)
    with pytest.raises(DataError, match="BTC/USDT 1h row 3, 2024-03-31T02:00Z: ") as refusal:
        MemoryFeed(bars)
    assert message in str(refusal.value)
    assert 'set bad_rows = "drop"' in str(refusal.value)


def test_the_count_of_impossible_rows_is_said(make_bars: MakeBars) -> None:
    bars = changed(changed(make_bars(), "close", 1, np.nan), "low", 3, 0.0)
    with pytest.raises(DataError, match=r"row 2, .*close is nan.*\(2 such rows in all\)"):
        MemoryFeed(bars)


def test_dropped_rows_become_a_gap(make_bars: MakeBars) -> None:
    bars = changed(make_bars(), "close", 2, np.nan)
    with pytest.raises(DataError, match="1 bar missing between 2024-03-31T02:00Z and 03:00Z"):
        MemoryFeed(bars, bad_rows="drop")
    assert MemoryFeed(bars, bad_rows="drop", gap_policy="mark").row_count == 4


def test_a_bar_without_volume_is_a_bar(make_bars: MakeBars) -> None:
    assert MemoryFeed(changed(make_bars(), "volume", 2, 0.0)).row_count == 5


def test_unsorted_rows_are_refused_with_both_times(make_bars: MakeBars) -> None:
    table = BarTable.of_bars(make_bars()).take(np.array([0, 2, 1, 3, 4]))
    with pytest.raises(
        DataError, match=r"row 2: time 2024-03-31T01:00Z comes after 2024-03-31T02:00Z in row 3; .*sort = true"
    ):
        prepare_table(table)


def test_newest_first_is_recognised(make_bars: MakeBars) -> None:
    table = BarTable.of_bars(make_bars()).take(np.arange(4, -1, -1))
    with pytest.raises(DataError, match=r"\(all rows run backwards\)"):
        prepare_table(table)


def test_unsorted_rows_are_sorted_when_asked(make_bars: MakeBars) -> None:
    bars = make_bars()
    backwards = BarTable.of_bars(bars).take(np.arange(4, -1, -1)).bars()
    assert MemoryFeed(backwards, sort=True).fingerprint == MemoryFeed(bars).fingerprint


def test_a_doubled_time_is_refused_even_when_sorting(make_bars: MakeBars) -> None:
    doubled = BarTable.of_bars(make_bars()).take(np.array([0, 1, 2, 1, 3])).bars()
    with pytest.raises(DataError, match="time 2024-03-31T01:00Z occurs twice, as in row 2; expected one row per bar"):
        MemoryFeed(doubled, sort=True)


def test_bars_longer_than_their_distance_are_refused(make_bars: MakeBars) -> None:
    hourly = make_bars()
    daily = bars_of_arrays(
        "X", "1d", hourly.open_time, open=hourly.open, high=hourly.high, low=hourly.low, close=hourly.close
    )
    with pytest.raises(DataError, match="expected bars 1d long that do not overlap; check the timeframe"):
        MemoryFeed(daily)


def test_a_bar_that_closes_before_it_opens_is_refused(make_bars: MakeBars) -> None:
    bars = make_bars()
    with pytest.raises(
        DataError, match="row 1: the bar runs from 2024-03-31T00:00Z to 2024-03-31T00:00Z; expected above 0"
    ):
        MemoryFeed(replace(bars, close_time=bars.open_time))


def test_a_shorter_last_bar_of_a_session_is_a_bar(make_bars: MakeBars) -> None:
    bars = make_bars()
    closes = bars.close_time.copy()
    closes[-1] -= 30 * MINUTE
    assert MemoryFeed(replace(bars, close_time=closes)).row_count == 5


@pytest.mark.parametrize(
    ("factor", "unit"), [(1_000_000, "milliseconds"), (1_000_000_000, "seconds"), (1_000, "microseconds")]
)
def test_times_in_another_unit_are_told_from_nanoseconds(make_bars: MakeBars, factor: int, unit: str) -> None:
    bars = make_bars()
    with pytest.raises(
        DataError, match=f"expected UTC nanoseconds since 1970; these look like {unit}, so multiply by {factor:_}"
    ):
        MemoryFeed(
            bars_of_arrays(
                "X", "1h", bars.open_time // factor, open=bars.open, high=bars.high, low=bars.low, close=bars.close
            )
        )


def test_times_near_1970_are_times_when_their_distance_is_right() -> None:
    price = np.full(5, 10.0)
    bars = bars_of_arrays("X", "1h", np.arange(5) * HOUR, open=price, high=price, low=price, close=price)
    assert MemoryFeed(bars).row_count == 5


def test_times_that_are_not_whole_numbers_are_refused(make_bars: MakeBars) -> None:
    bars = make_bars()
    with pytest.raises(
        DataError, match="column open_time is float64 of shape .*; expected one column of whole nanoseconds"
    ):
        MemoryFeed(replace(bars, open_time=bars.open_time.astype(float)))


def test_columns_of_different_length_are_refused(make_bars: MakeBars) -> None:
    bars = make_bars()
    with pytest.raises(DataError, match="expected one length"):
        MemoryFeed(replace(bars, close=bars.close[:3]))


def test_a_time_off_the_grid_is_refused(make_bars: MakeBars) -> None:
    bars = make_bars()
    opens = bars.open_time.copy()
    opens[3:] += 5 * MINUTE
    late = replace(bars, open_time=opens, close_time=opens + HOUR)
    with pytest.raises(
        DataError, match=r"row 4: time 2024-03-31T03:05Z is off the 1h grid that 2024-03-31T00:00Z began \(2 rows are\)"
    ):
        MemoryFeed(late)


def test_no_rows_are_refused(make_bars: MakeBars) -> None:
    with pytest.raises(DataError, match="there are no rows; expected at least one bar"):
        MemoryFeed(make_bars()[:0])


def test_an_unknown_way_with_bad_rows_names_the_nearest(make_bars: MakeBars) -> None:
    with pytest.raises(
        SettingsError, match="bad_rows 'dropp' is not known; expected error or drop; did you mean 'drop'?"
    ):
        MemoryFeed(make_bars(), bad_rows="dropp")  # type: ignore[arg-type]


def test_the_modal_step_is_the_most_frequent_distance() -> None:
    assert modal_step(np.array([0, 5, 10, 15, 40])) == 5
    assert modal_step(np.array([7])) is None


def test_times_beyond_any_calendar_are_refused_not_crashed(make_bars: MakeBars) -> None:
    bars = make_bars()
    opens = bars.open_time.copy()
    opens[0] = np.iinfo(np.int64).min
    with pytest.raises(DataError):
        MemoryFeed(replace(bars, open_time=opens))
