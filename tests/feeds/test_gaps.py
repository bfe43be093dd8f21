"""Missing bars under both calendars and all three policies."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import DAY, FORWARD_FILLED, HOUR, MINUTE, Bars, IntArray, Stream, nanoseconds, utc
from engine.errors import DataError, SettingsError
from feeds.gaps import Gaps, find_gaps, forward_fill, forward_fill_column, guess_calendar
from feeds.memory import MemoryFeed, bars_of_arrays

MakeBars = Callable[..., Bars]
MONDAY = 4 * DAY + 52 * 50 * 7 * DAY  # a Monday


def flat_bars(opens: IntArray, timeframe: str) -> Bars:
    price = np.full(len(opens), 10.0)
    return bars_of_arrays("A", timeframe, opens, open=price, high=price, low=price, close=price)


def sessions(weeks: int, *, first: int = 14, last: int = 20) -> IntArray:
    """Hourly bars of a market open from `first` to `last` o'clock, Monday to Friday."""
    days = MONDAY + np.array([week * 7 + day for week in range(weeks) for day in range(5)]) * DAY
    return (days[:, None] + np.arange(first, last) * HOUR).ravel()


def gaps_of(opens: IntArray, timeframe: str = "1h", calendar: str = "sessions") -> Gaps:
    duration = {"1m": MINUTE, "1h": HOUR, "1d": DAY}[timeframe]
    return find_gaps(Stream("A", timeframe), opens, opens + duration, calendar=calendar)  # type: ignore[arg-type]


def test_the_default_policy_refuses_a_gap_and_names_the_ways_out(make_bars: MakeBars) -> None:
    with pytest.raises(DataError) as refusal:
        MemoryFeed(make_bars(rows=8, missing=(1, 2, 3)))
    assert str(refusal.value) == (
        "BTC/USDT 1h: 3 bars missing between 2024-03-31T01:00Z and 04:00Z; "
        'fetch again or set gap_policy = "mark" or "forward_fill"'
    )


def test_the_first_of_several_gaps_is_named_and_all_are_counted(make_bars: MakeBars) -> None:
    with pytest.raises(
        DataError, match=r"1 bar missing between 2024-03-31T01:00Z and 02:00Z \(the first of 2 gaps, 3 bars in all\)"
    ):
        MemoryFeed(make_bars(rows=8, missing=(1, 4, 5)))


def test_a_gap_over_midnight_names_both_dates(make_bars: MakeBars) -> None:
    with pytest.raises(DataError, match="between 2024-03-31T23:00Z and 2024-04-01T01:00Z"):
        MemoryFeed(make_bars(rows=30, missing=(23, 24)))


def test_a_file_is_named_before_the_gap(make_bars: MakeBars) -> None:
    with pytest.raises(DataError, match="^btc.csv: BTC/USDT 1h: 1 bar missing"):
        MemoryFeed(make_bars(missing=(2,)), origin="btc.csv")


def test_a_market_that_closes_is_pointed_to_its_calendar() -> None:
    bars = flat_bars(sessions(4), "1h")
    with pytest.raises(DataError, match='or calendar = "sessions" if this market closes at night or at weekends'):
        MemoryFeed(bars)
    assert MemoryFeed(bars, calendar="sessions").gaps == ()


@pytest.mark.parametrize("missing", [[2], [2, 3], [1, 2, 3, 4]])
def test_a_hole_inside_a_session_is_a_gap(missing: list[int]) -> None:
    opens = np.delete(sessions(4), [5 * 6 * 2 + place for place in missing])  # on the Monday of the third week
    gaps = gaps_of(opens)
    assert len(gaps) == 1
    assert gaps.missing_bars == len(missing)


@pytest.mark.parametrize(
    ("missing", "fact"),
    [
        ([3, 4, 5], "an early close"),
        ([0, 1], "a late opening"),
        ([0, 1, 2, 3, 4, 5], "a holiday"),
        (list(range(6 * 5)), "a week of holidays"),
    ],
)
def test_what_markets_do_is_no_gap(missing: list[int], fact: str) -> None:
    opens = np.delete(sessions(6), [5 * 6 * 2 + place for place in missing])
    assert len(gaps_of(opens)) == 0, fact


def test_a_break_at_noon_is_no_gap() -> None:
    opens = sessions(4, first=1, last=8)
    noon = opens[opens % DAY // HOUR != 4]
    assert len(gaps_of(noon)) == 0


def test_clock_changes_are_no_gaps() -> None:
    summer, winter = sessions(4, first=13, last=20), sessions(4, first=14, last=21)
    assert len(gaps_of(np.concatenate((summer, winter + 28 * DAY)))) == 0


def test_the_daily_hour_off_of_a_futures_market_is_no_gap_over_a_clock_change() -> None:
    hours = np.arange(24)
    before = (MONDAY + np.arange(20)[:, None] * DAY + hours[hours != 22] * HOUR).ravel()
    after = (MONDAY + np.arange(20, 40)[:, None] * DAY + hours[hours != 21] * HOUR).ravel()
    assert len(gaps_of(np.concatenate((before, after)))) == 0


def test_more_than_two_weeks_without_a_bar_are_a_gap() -> None:
    opens = np.concatenate((sessions(4), sessions(4) + (4 * 7 + 21) * DAY))
    assert len(gaps_of(opens)) == 1


def test_daily_bars_pass_weekends_and_holidays_but_not_a_month() -> None:
    days = MONDAY + np.array([day for day in range(90) if day % 7 < 5]) * DAY
    assert len(gaps_of(np.delete(days, [7, 8]), "1d")) == 0
    assert len(gaps_of(np.delete(days, np.arange(20, 45)), "1d")) == 1


def test_two_days_of_minutes_are_too_few_to_compare_with() -> None:
    session = np.arange(390) * MINUTE + 14 * HOUR
    opens = np.concatenate((MONDAY + session, MONDAY + DAY + session))
    assert len(gaps_of(opens, "1m")) == 0
    assert gaps_of(np.delete(opens, [100, 101]), "1m").missing_bars == 2


def test_a_weekly_rhythm_is_guessed() -> None:
    assert guess_calendar(sessions(2)) == "sessions"
    assert guess_calendar(MONDAY + np.arange(24 * 14) * HOUR) == "24/7"
    assert guess_calendar(MONDAY + np.arange(30) * HOUR) == "24/7"  # no Saturday to tell from
    assert guess_calendar(np.empty(0, np.int64)) == "24/7"


def test_unknown_names_are_refused_with_the_nearest(make_bars: MakeBars) -> None:
    with pytest.raises(SettingsError, match="gap_policy 'fill' is not known; expected error, mark or forward_fill"):
        MemoryFeed(make_bars(), gap_policy="fill")  # type: ignore[arg-type]
    with pytest.raises(
        SettingsError, match="calendar 'session' is not known; expected 24/7 or sessions; did you mean 'sessions'?"
    ):
        MemoryFeed(make_bars(), calendar="session")  # type: ignore[arg-type]


@given(kept=st.sets(st.integers(0, 60), min_size=2), cuts=st.lists(st.integers(0, 60), max_size=3))
def test_filled_bars_are_complete_and_leave_the_others_alone(kept: set[int], cuts: list[int]) -> None:
    rows = np.array(sorted(kept))
    price = 10.0 + rows
    opens = nanoseconds(utc(MONDAY)) + rows * MINUTE
    bars = bars_of_arrays("A", "1m", opens, open=price, high=price + 1, low=price, close=price + 0.5, volume=price)
    gaps = find_gaps(bars.streams[0], bars.open_time, bars.close_time)
    filled = forward_fill(bars, gaps)
    assert filled.open_time.tolist() == [int(opens[0]) + place * MINUTE for place in range(rows[-1] - rows[0] + 1)]
    flags = np.zeros(len(filled), np.uint8) if filled.flags is None else filled.flags
    real = flags != FORWARD_FILLED
    for column in ("open_time", "close_time", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(filled, column)[real], getattr(bars, column))
        if column not in ("open_time", "close_time"):
            whole = forward_fill_column(getattr(bars, column), column, bars.close, gaps)
            assert np.array_equal(whole, getattr(filled, column))
    # Chunk by chunk gives the same.
    bounds = sorted({0, len(bars), *(min(cut, len(bars)) for cut in cuts)})
    parts = [forward_fill(bars[a:b], gaps, first_row=a) for a, b in pairwise(bounds)]
    assert np.concatenate([part.close for part in parts]).tolist() == filled.close.tolist()
    assert np.concatenate([part.open_time for part in parts]).tolist() == filled.open_time.tolist()


def test_filling_keeps_flags_that_were_there(make_bars: MakeBars) -> None:
    bars = replace(make_bars(rows=4, missing=(2,)), flags=np.array([0, 2, 0], np.uint8))
    assert MemoryFeed(bars, gap_policy="forward_fill").bars.flags.tolist() == [0, 2, 1, 0]  # type: ignore[union-attr]
