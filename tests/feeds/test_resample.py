"""Longer bars out of shorter ones: the same at any start, known at their own close."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import DAY, FORWARD_FILLED, HOUR, MINUTE, Bar, Bars, Stream, iso
from engine.errors import DataError, SettingsError
from feeds.chunks import join
from feeds.memory import MemoryFeed, bars_of_arrays
from feeds.merge import MergedFeed
from feeds.resample import ResampledFeed
from feeds.synthetic import SyntheticFeed, SyntheticMarket

MakeBars = Callable[..., Bars]
MIDNIGHT = 19_800 * DAY  # 2024-03-18, a Monday


def minutes(rows: list[int], symbol: str = "A") -> Bars:
    """One-minute bars at these minutes after midnight, each with its own prices."""
    place = np.array(rows)
    price = 100.0 + place % 7
    return bars_of_arrays(
        symbol,
        "1m",
        MIDNIGHT + place * MINUTE,
        open=price,
        high=price + place % 3 + 1,
        low=price - place % 5 - 1,
        close=price + 0.5,
        volume=place + 1.0,
    )


def published(feed: ResampledFeed | MergedFeed) -> list[Bar]:
    return [bar for chunk in feed.chunks() for bar in chunk.rows()]


def by_hand(rows: list[int], length: int) -> list[tuple[float, ...]]:
    """The same bars, one period at a time, in plain Python."""
    bars = list(minutes(rows).rows())
    found = []
    for period in sorted({row // length for row in rows}):
        inside = [bar for bar, row in zip(bars, rows, strict=True) if row // length == period]
        begins_whole = period != rows[0] // length or rows[0] % length == 0
        is_over = (period + 1) * length <= rows[-1] + 1
        if begins_whole and is_over:
            found.append(
                (
                    MIDNIGHT + period * length * MINUTE,
                    inside[0].open,
                    max(bar.high for bar in inside),
                    min(bar.low for bar in inside),
                    inside[-1].close,
                    sum(bar.volume for bar in inside),
                )
            )
    return found


@given(
    rows=st.sets(st.integers(0, 90), min_size=1),
    length=st.sampled_from([2, 5, 15, 30]),
    chunk_rows=st.integers(1, 40),
    other=st.integers(1, 40),
)
def test_resampling_is_what_one_would_do_by_hand(rows: set[int], length: int, chunk_rows: int, other: int) -> None:
    ordered = sorted(rows)
    source = MemoryFeed(minutes(ordered), gap_policy="mark", chunk_rows=chunk_rows)
    feed = ResampledFeed(source, f"{length}m", publish="resampled", chunk_rows=other)
    assert [(bar.open_time, *bar[3:8]) for bar in published(feed)] == by_hand(ordered, length)
    assert feed.row_count == len(by_hand(ordered, length))


@given(start=st.integers(0, 200), end=st.integers(201, 400), cut=st.integers(1, 50))
def test_a_bar_is_the_same_whatever_the_start_and_end_of_the_data(start: int, end: int, cut: int) -> None:
    bars = join(list(SyntheticFeed(SyntheticMarket(rows=400)).chunks()))
    whole = published(ResampledFeed(MemoryFeed(bars), "15m", publish="resampled"))
    part = published(ResampledFeed(MemoryFeed(bars[start:end], chunk_rows=cut), "15m", publish="resampled"))
    assert set(part) <= set(whole)
    assert len(part) == max(0, end // 15 - -(-start // 15))


@given(st.integers(1, 400), st.sampled_from(["5m", "1h"]))
def test_what_is_published_by_an_instant_does_not_depend_on_what_comes_after(rows: int, timeframe: str) -> None:
    market = SyntheticMarket(symbols=("A", "B"), rows=400)
    bars = join(list(SyntheticFeed(market).chunks()))
    whole = published(ResampledFeed(MemoryFeed(bars), timeframe))
    until = published(ResampledFeed(MemoryFeed(bars[: rows * 2]), timeframe))
    assert until == whole[: len(until)]


def test_a_longer_bar_follows_the_last_shorter_one_of_its_instant() -> None:
    feed = ResampledFeed(MemoryFeed(minutes(list(range(5)))), "2m")
    assert [(bar.timeframe, (bar.close_time - MIDNIGHT) // MINUTE) for bar in published(feed)] == [
        ("1m", 1),
        ("1m", 2),
        ("2m", 2),
        ("1m", 3),
        ("1m", 4),
        ("2m", 4),
        ("1m", 5),
    ]
    assert feed.streams == (Stream("A", "1m"), Stream("A", "2m"))


def test_the_period_still_open_at_the_end_is_not_published() -> None:
    feed = ResampledFeed(MemoryFeed(minutes(list(range(119)))), "1h", publish="resampled")
    assert [bar.open_time for bar in published(feed)] == [MIDNIGHT]


def test_the_period_that_had_begun_before_the_first_bar_is_not_published() -> None:
    feed = ResampledFeed(MemoryFeed(minutes(list(range(1, 180)))), "1h", publish="resampled")
    assert [bar.open_time for bar in published(feed)] == [MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR]


def test_a_day_that_stops_trading_is_known_at_its_end_when_another_symbol_gets_there() -> None:
    early_close, other = minutes(list(range(1000)), "A"), minutes(list(range(1500)), "B")
    feed = ResampledFeed(MergedFeed([MemoryFeed(early_close), MemoryFeed(other)]), "1d", publish="resampled")
    assert [(bar.symbol, bar.close_time) for bar in published(feed)] == [("A", MIDNIGHT + DAY), ("B", MIDNIGHT + DAY)]


def test_missing_bars_are_published_over_or_dropped() -> None:
    source = MemoryFeed(minutes([row for row in range(180) if row != 70]), gap_policy="mark")
    assert len(published(ResampledFeed(source, "1h", publish="resampled"))) == 3
    complete = published(ResampledFeed(source, "1h", publish="resampled", missing_bars="drop"))
    assert [bar.open_time for bar in complete] == [MIDNIGHT, MIDNIGHT + 2 * HOUR]


def test_a_period_without_bars_gives_none() -> None:
    source = MemoryFeed(minutes([*range(60), *range(120, 180)]), gap_policy="mark")
    assert len(published(ResampledFeed(source, "1h", publish="resampled"))) == 2


def test_a_bar_of_made_up_bars_alone_is_made_up() -> None:
    source = MemoryFeed(minutes([*range(61), *range(120, 180)]), gap_policy="forward_fill")
    assert [bar.flags for bar in published(ResampledFeed(source, "30m", publish="resampled"))] == [
        0,
        0,
        0,
        FORWARD_FILLED,
        0,
        0,
    ]


def test_weeks_begin_on_monday() -> None:
    days = np.arange(-3, 16)
    price = np.full(len(days), 10.0)
    source = MemoryFeed(
        bars_of_arrays("A", "1d", MIDNIGHT + days * DAY, open=price, high=price, low=price, close=price, volume=price)
    )
    weeks = published(ResampledFeed(source, "1w", publish="resampled"))
    assert [(iso(bar.open_time), bar.volume) for bar in weeks] == [
        ("2024-03-18T00:00Z", 70.0),
        ("2024-03-25T00:00Z", 70.0),
    ]


def test_only_the_shortest_timeframe_of_a_symbol_is_resampled(make_bars: MakeBars) -> None:
    source = MemoryFeed([minutes(list(range(120))), make_bars("A", "1d", 3), make_bars("B", "5m", 4)])
    feed = ResampledFeed(source, "1h")
    assert feed.streams == (
        Stream("A", "1m"),
        Stream("B", "5m"),
        Stream("A", "1h"),
        Stream("B", "1h"),
        Stream("A", "1d"),
    )


def test_resampling_twice_gives_both(make_bars: MakeBars) -> None:
    once = ResampledFeed(MemoryFeed(minutes(list(range(600)))), "15m")
    twice = ResampledFeed(once, "1h")
    direct = ResampledFeed(MemoryFeed(minutes(list(range(600)))), "1h", publish="resampled")
    assert [bar for bar in published(twice) if bar.timeframe == "1h"] == published(direct)
    assert [stream.timeframe for stream in twice.streams] == ["1m", "15m", "1h"]


@pytest.mark.parametrize(("timeframe", "fact"), [("1m", "the same"), ("30s", "shorter"), ("90s", "no multiple")])
def test_a_timeframe_that_is_no_multiple_is_refused(timeframe: str, fact: str) -> None:
    with pytest.raises(
        SettingsError, match=f"A 1m cannot be resampled to {timeframe}; expected a whole multiple of 1m"
    ):
        ResampledFeed(MemoryFeed(minutes([0, 1])), timeframe)


def test_a_timeframe_that_is_there_already_is_refused(make_bars: MakeBars) -> None:
    source = MemoryFeed([minutes([0, 1]), make_bars("A", "1h")])
    with pytest.raises(SettingsError, match="the feed holds A 1h already"):
        ResampledFeed(source, "1h")


def test_unknown_choices_are_refused(make_bars: MakeBars) -> None:
    source = MemoryFeed(make_bars())
    with pytest.raises(
        SettingsError, match="publish 'resample' is not known; expected both or resampled; did you mean 'resampled'?"
    ):
        ResampledFeed(source, "1d", publish="resample")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="missing_bars 'ignore' is not known; expected publish or drop"):
        ResampledFeed(source, "1d", missing_bars="ignore")  # type: ignore[arg-type]


def test_a_bar_over_the_end_of_a_period_is_refused(make_bars: MakeBars) -> None:
    bars = make_bars(start="2024-03-31T00:30")
    with pytest.raises(
        DataError, match="the bar from 2024-03-31T01:30Z to 2024-03-31T02:30Z lies in two periods of 2h"
    ):
        list(ResampledFeed(MemoryFeed(bars), "2h").chunks())


def test_a_change_of_one_bar_changes_the_fingerprint_and_only_its_period() -> None:
    bars = minutes(list(range(180)))
    high = bars.high.copy()
    high[70] += 100
    before, after = (
        ResampledFeed(MemoryFeed(one), "1h", publish="resampled") for one in (bars, replace(bars, high=high))
    )
    assert before.fingerprint != after.fingerprint
    assert (before.column(Stream("A", "1h"), "high") != after.column(Stream("A", "1h"), "high")).tolist() == [
        False,
        True,
        False,
    ]  # type: ignore[union-attr]
