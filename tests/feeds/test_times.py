"""Counts since 1970 in four units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import SECOND
from engine.errors import DataError, SettingsError
from feeds.layout import FileLayout
from feeds.times import EARLIEST, LATEST, UNITS, epoch_nanoseconds, unit_of

MOMENT = 1_704_067_200  # 2024-01-01, in seconds


@given(st.integers(EARLIEST // SECOND, LATEST // SECOND), st.sampled_from(sorted(UNITS)))
def test_the_unit_of_any_time_since_1973_is_told_by_its_size(second: int, unit: str) -> None:
    counts = np.array([second * SECOND // UNITS[unit].nanoseconds])
    assert epoch_nanoseconds(counts, unit=None, origin="x").tolist() == [second * SECOND]


@given(st.integers(EARLIEST, LATEST))
def test_no_count_is_a_time_in_two_units(time: int) -> None:
    for unit in UNITS.values():
        assert unit_of(time // unit.nanoseconds) in (unit, None)


def test_milliseconds_taken_for_seconds_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"x row 1: time 1704067200000 taken for seconds is the year 55,970; .*time_unit = \"ms\""
    ):
        epoch_nanoseconds(np.array([MOMENT * 1000]), unit="s", origin="x")


def test_seconds_taken_for_milliseconds_are_refused() -> None:
    with pytest.raises(DataError, match=r"taken for milliseconds is 1970-01-20T17:21:07.200000Z; .*time_unit = \"s\""):
        epoch_nanoseconds(np.array([MOMENT]), unit="ms", origin="x")


def test_a_file_in_two_units_is_refused_where_it_changes() -> None:
    counts = np.array([MOMENT * 1000, MOMENT * 1000 + 60_000, MOMENT * 1_000_000])
    with pytest.raises(
        DataError,
        match="x line 4: time 1704067200000000 is in microseconds, but line 2 .* is in milliseconds; expected one unit",
    ):
        epoch_nanoseconds(counts, unit=None, origin="x", first_row=2, row_word="line")


def test_a_count_of_no_unit_is_refused() -> None:
    with pytest.raises(DataError, match="x row 1: time 20240101 is not a count since 1970 in any unit"):
        epoch_nanoseconds(np.array([20240101]), unit=None, origin="x")


def test_a_stray_count_among_good_ones_is_named() -> None:
    with pytest.raises(
        DataError,
        match="x row 2: time 0 taken for seconds is 1970-01-01T00:00Z; expected 1973 to 2261; correct the row",
    ):
        epoch_nanoseconds(np.array([MOMENT, 0]), unit=None, origin="x")


def test_a_count_that_is_no_number_is_named() -> None:
    with pytest.raises(DataError, match="x row 2: time is nan; expected a count since 1970"):
        epoch_nanoseconds(np.array([MOMENT, np.nan]), unit=None, origin="x")


def test_fractions_of_seconds_are_kept_to_the_microsecond() -> None:
    assert epoch_nanoseconds(np.array([MOMENT + 0.123456]), unit=None, origin="x").tolist() == [
        MOMENT * SECOND + 123_456_000
    ]


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(
        SettingsError, match="time_unit 'msec' is not known; expected s, ms, us or ns; did you mean 'ms'?"
    ):
        FileLayout(time_unit="msec")


def test_no_counts_are_no_times() -> None:
    assert len(epoch_nanoseconds(np.empty(0, np.int64), unit=None, origin="x")) == 0
