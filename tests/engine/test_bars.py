"""Bars, their times and timeframes: what is known when, and how times are said."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from engine import Bar, Bars, DataError, SettingsError, Stream, Timeframe
from engine.bars import DAY, HOUR, MINUTE, SECOND, iso, nanoseconds, utc
from engine.testing import NEW_YEAR_2024, make_bars


@pytest.mark.parametrize(
    ("text", "duration"),
    [("1s", SECOND), ("30s", 30 * SECOND), ("5m", 5 * MINUTE), ("4h", 4 * HOUR), ("1d", DAY), ("2w", 14 * DAY)],
)
def test_a_timeframe_is_a_count_and_a_unit(text: str, duration: int) -> None:
    assert Timeframe.parse(text).duration == duration
    assert str(Timeframe.parse(text)) == text


@pytest.mark.parametrize("text", ["", "h", "0m", "01h", "1M", "1 h", "1.5h", "-1d", "1h "])
def test_anything_else_is_no_timeframe(text: str) -> None:
    with pytest.raises(
        SettingsError, match=f"timeframe {text!r} is not understood; expected a count and a unit, such as 5m, 1h or 1d"
    ):
        Timeframe.parse(text)


def test_timeframes_are_ordered_by_duration_not_by_name() -> None:
    frames = ["1d", "5m", "90s", "1h", "1w"]
    assert sorted(frames, key=Timeframe.parse) == ["90s", "5m", "1h", "1d", "1w"]


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (NEW_YEAR_2024, "2024-01-01T00:00Z"),
        (NEW_YEAR_2024 + 61 * SECOND, "2024-01-01T00:01:01Z"),
        (NEW_YEAR_2024 + 1_500_000, "2024-01-01T00:00:00.001500Z"),
        (NEW_YEAR_2024 + 999, "2024-01-01T00:00Z"),  # finer than a microsecond is cut off
        (-SECOND, "1969-12-31T23:59:59Z"),
    ],
)
def test_times_are_said_in_utc_as_briefly_as_they_can_be(time: int, said: str) -> None:
    assert iso(time) == said


def test_datetimes_go_there_and_back() -> None:
    moment = datetime(2024, 3, 31, 3, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert utc(nanoseconds(moment)) == moment
    assert utc(nanoseconds(moment)).tzinfo is UTC
    assert nanoseconds(datetime(1960, 1, 1, tzinfo=UTC)) < 0


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(
        DataError, match="time 2024-01-01T00:00:00 has no timezone; expected an aware datetime, for example UTC"
    ):
        nanoseconds(datetime(2024, 1, 1))  # noqa: DTZ001


def test_a_bar_is_known_when_it_closes() -> None:
    (bar,) = make_bars([(100, 101, 99, 100, 5)]).rows()
    assert bar == Bar("TEST", NEW_YEAR_2024, NEW_YEAR_2024 + DAY, 100.0, 101.0, 99.0, 100.0, 5.0, "1d", 0)
    assert bar.known_at == bar.close_time


def two_streams() -> Bars:
    column = np.array([1.0, 2.0, 3.0])
    return Bars(
        (Stream("A", "1h"), Stream("B", "1h")),
        np.array([0, 0, HOUR]),
        np.array([HOUR, HOUR, 2 * HOUR]),
        column,
        column,
        column,
        column,
        column,
        np.array([0, 1, 0], np.int32),
        np.array([0, 1, 0], np.uint8),
    )


def test_rows_name_their_stream_and_keep_their_flags() -> None:
    assert [(bar.symbol, bar.close_time, bar.close, bar.flags) for bar in two_streams().rows()] == [
        ("A", HOUR, 1.0, 0),
        ("B", HOUR, 2.0, 1),
        ("A", 2 * HOUR, 3.0, 0),
    ]
    assert all(
        type(bar) is Bar and type(bar.close) is float and type(bar.close_time) is int for bar in two_streams().rows()
    )


def test_a_slice_of_bars_is_a_view() -> None:
    bars = two_streams()
    part = bars[1:]
    assert len(part) == 2
    assert np.shares_memory(part.close, bars.close)
    assert part.stream is not None
    assert part.flags is not None
    assert (part.stream.tolist(), part.flags.tolist()) == ([1, 0], [1, 0])


def test_bars_of_one_stream() -> None:
    assert two_streams().of(Stream("A", "1h")).close.tolist() == [1.0, 3.0]
    assert two_streams().of(Stream("B", "1h")).flags.tolist() == [1]  # type: ignore[union-attr]
    single = make_bars([100])
    assert single.of(Stream("TEST", "1d")) is single
    with pytest.raises(DataError, match="no bars of C 1h; there are A 1h, B 1h"):
        two_streams().of(Stream("C", "1h"))


def test_symbols_stand_in_feed_order_and_once() -> None:
    column = np.zeros(0)
    times = np.zeros(0, np.int64)
    bars = Bars(
        (Stream("B", "1h"), Stream("A", "1h"), Stream("B", "4h")), times, times, column, column, column, column, column
    )
    assert bars.symbols == ("B", "A")
