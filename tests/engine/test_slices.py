"""The cross-section of an instant: columns over the symbols, NaN where one has no bar."""

import numpy as np
import pytest

from engine import Slice, Strategy
from engine.bars import HOUR
from engine.slices import dense_columns
from engine.testing import NEW_YEAR_2024, make_bars, run_bars
from tests.engine.cases import merged


def hourly(symbol: str, *rows: float, start: int = 0):  # type: ignore[no-untyped-def]
    return make_bars(rows, symbol=symbol, timeframe="1h", start=NEW_YEAR_2024 + start * HOUR)  # type: ignore[arg-type]


def test_full_columns_are_views_of_the_feed() -> None:
    bars = merged(hourly("A", 1, 2, 3), hourly("B", 10, 20, 30))
    dense = dense_columns(bars, "1h", ("A", "B"))
    assert dense.close.tolist() == [[1, 10], [2, 20], [3, 30]]
    assert dense.present.all()
    assert np.shares_memory(dense.close, bars.close)


def test_a_symbol_without_a_bar_is_nan_and_not_present() -> None:
    dense = dense_columns(merged(hourly("A", 1, 2, 3), hourly("B", 20, start=1)), "1h", ("A", "B"))
    assert dense.present.tolist() == [[True, False], [True, True], [True, False]]
    np.testing.assert_array_equal(dense.close, [[1, np.nan], [2, 20], [3, np.nan]])
    assert [len(slice) for slice in dense.slices()] == [1, 2, 1]


def test_a_full_instant_after_a_thin_one_keeps_each_in_its_place() -> None:
    # as many rows as places, but not in a rectangle
    dense = dense_columns(merged(hourly("A", 1, 2), hourly("B", 20, 30, start=1)), "1h", ("A", "B"))
    np.testing.assert_array_equal(dense.close, [[1, np.nan], [2, 20], [np.nan, 30]])


def test_only_the_timeframe_asked_for() -> None:
    bars = merged(hourly("A", 1, 2), make_bars([9], symbol="A", timeframe="2h"))
    assert dense_columns(bars, "1h", ("A",)).close.tolist() == [[1], [2]]
    assert dense_columns(bars, "2h", ("A",)).close.tolist() == [[9]]
    assert dense_columns(hourly("A", 1), "2h", ("A",)).close.shape == (0, 1)


def test_a_strategy_gets_slices_in_feed_order_with_every_column() -> None:
    class Keeps(Strategy):
        seen: list[Slice]

        def on_slice(self, slice: Slice) -> None:
            self.seen.append(slice)

    keeps = Keeps()
    keeps.seen = []
    run_bars(merged(hourly("B", 1, 2), hourly("A", 10, 20)), keeps, chunk=1)
    first = keeps.seen[0]
    assert (first.time, first.timeframe, first.symbols) == (NEW_YEAR_2024 + HOUR, "1h", ("B", "A"))
    for name in ("open", "high", "low", "close"):
        assert getattr(first, name).tolist() == [1, 10]
    assert first.volume.tolist() == [1e6, 1e6]
    assert [slice.close.tolist() for slice in keeps.seen] == [[1, 10], [2, 20]]


@pytest.mark.parametrize("symbols", [("A",), ("A", "B")])
def test_one_stream_has_slices_too(symbols: tuple[str, ...]) -> None:
    dense = dense_columns(hourly("A", 1, 2), "1h", symbols[:1])
    assert [slice.close.tolist() for slice in dense.slices()] == [[1], [2]]
