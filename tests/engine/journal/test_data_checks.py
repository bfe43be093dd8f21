"""The checks of bars find the first that differs, and what it held, from a few bytes a block."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import MINUTE, Bars, Stream
from engine.journal.data_checks import (
    ChecksBuilder,
    StreamChecks,
    block_bars_for,
    checks_in,
    checks_of,
    first_difference,
    in_blocks_of,
    value_before,
)
from engine.records import DataStreamRow

ROWS = 1_500
COLUMNS = ("open_time", "close_time", "open", "high", "low", "close", "volume")


def bars(rows: int = ROWS, seed: int = 1) -> Bars:
    random = np.random.default_rng(seed)
    times = np.arange(rows, dtype=np.int64) * MINUTE
    close = np.round(100 + random.normal(size=rows).cumsum(), 2)
    return Bars(
        (Stream("BTC/USDT", "1m"),), times, times + MINUTE, close, close + 1, close - 1, close, random.random(rows)
    )


def changed(given: Bars, column: str, row: int, value: float) -> Bars:
    values = getattr(given, column).copy()
    values[row] = value
    return replace(given, **{column: values})


def some(given: Bars, rows: Any) -> Bars:
    return Bars(given.streams, *(getattr(given, column)[rows] for column in COLUMNS))


DATA = bars()
CHECKS = checks_of(DATA)


def test_equal_bars_do_not_differ() -> None:
    assert first_difference(CHECKS, checks_of(bars())) is None


@given(
    st.integers(0, ROWS - 1), st.sampled_from(["open", "high", "low", "close", "volume"]),
    st.floats(allow_nan=False, allow_infinity=False), st.booleans(),
)
def test_a_changed_bar_is_found_and_its_old_value_given_back(
    row: int, column: str, value: float, with_rows: bool
) -> None:
    before = float(getattr(DATA, column)[row])
    value = value + 0.0    # a volume of -0.0 is one of 0.0
    if value == before:
        return

    then = CHECKS if with_rows else replace(CHECKS, row_checks=None)
    place = first_difference(then, checks_of(changed(DATA, column, row, value), with_rows=with_rows))

    assert place is not None
    assert place.deltas is not None
    assert (place.index, place.columns, place.differing) == (row, (column,), 1)
    assert value_before(column, value, place.deltas[0]) == before


@given(st.sets(st.integers(0, ROWS - 1), min_size=2, max_size=40))
def test_the_first_of_many_changed_bars_is_found(rows: set[int]) -> None:
    close = DATA.close.copy()
    close[list(rows)] += 0.01

    place = first_difference(CHECKS, checks_of(replace(DATA, close=close)))

    assert place is not None
    assert place.index == min(rows)
    assert place.columns == ("close",)


def test_without_a_check_of_each_bar_the_block_is_found() -> None:
    close = DATA.close.copy()
    close[[700, 710]] += 1

    place = first_difference(
        replace(CHECKS, row_checks=None), checks_of(replace(DATA, close=close), with_rows=False)
    )

    assert place is not None
    assert (place.index, place.first, place.last) == (None, 512, 768)


@given(st.integers(0, ROWS - 1), st.integers(1, 20))
def test_bars_that_are_gone_or_came_in_are_told_from_bars_that_changed(row: int, count: int) -> None:
    rows = np.r_[0:row, min(row + count, ROWS) : ROWS]
    gone = ROWS - len(rows)
    shorter = checks_of(some(DATA, rows))

    lost, found = first_difference(CHECKS, shorter), first_difference(shorter, CHECKS)

    assert lost is not None
    assert found is not None
    assert (lost.index, lost.shift) == (row, -gone)
    assert (found.index, found.shift) == (row, gone)


@given(st.lists(st.integers(0, ROWS), max_size=6), st.sampled_from([256, 512, 1024]))
def test_checks_do_not_depend_on_chunks(cuts: list[int], block_bars: int) -> None:
    builder = ChecksBuilder(block_bars, with_rows=True)
    ends = sorted({*cuts, 0, ROWS})
    for start, end in pairwise(ends):
        builder.update(DATA[start:end])

    assert equal(builder.checks(), checks_of(DATA, block_bars=block_bars))


@pytest.mark.parametrize("block_bars", [512, 2048])
def test_small_blocks_make_large_ones(block_bars: int) -> None:
    assert equal(in_blocks_of(CHECKS, block_bars), checks_of(DATA, block_bars=block_bars))


def test_a_flag_is_part_of_a_bar() -> None:
    flags = np.zeros(ROWS, np.uint8)
    assert first_difference(CHECKS, checks_of(replace(DATA, flags=flags))) is None
    flags[300] = 1
    place = first_difference(CHECKS, checks_of(replace(DATA, flags=flags)))
    assert place is not None
    assert (place.index, place.columns) == (300, ("flags",))


def test_checks_survive_the_journal() -> None:
    row = row_of(CHECKS)
    read = checks_in(row)
    assert read is not None
    assert equal(read, CHECKS)
    assert checks_in(row._replace(blocks=None)) is None
    assert checks_in(row._replace(blocks=b"cut off")) is None


def test_a_million_bars_make_a_third_of_a_megabyte_of_blocks() -> None:
    assert block_bars_for(1_000_000) == 256
    assert block_bars_for(100_000_000) == 32_768


def row_of(checks: StreamChecks) -> DataStreamRow:
    return DataStreamRow(
        1, "BTC/USDT", "1m", checks.bars, 0, ROWS * MINUTE, "digest", checks.block_bars, checks.blocks_as_bytes(),
        checks.row_checks_as_bytes(),
    )


def equal(one: StreamChecks, other: StreamChecks) -> bool:
    assert one.row_checks is not None
    assert other.row_checks is not None
    return (
        (one.bars, one.block_bars) == (other.bars, other.block_bars)
        and np.array_equal(one.starts, other.starts)
        and np.array_equal(one.sums, other.sums)
        and np.array_equal(one.row_checks, other.row_checks)
    )
