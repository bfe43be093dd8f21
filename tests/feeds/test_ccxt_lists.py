"""Lists as ccxt returns them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from engine.bars import HOUR, iso
from engine.errors import DataError
from feeds.ccxt_lists import bars_of_ccxt
from feeds.files import read_bars
from feeds.memory import MemoryFeed

CANDLES = [[1704067200000, 1, 2, 1, 2, 3], [1704070800000, 2, 3, 1, 2, 0.5], [1704074400000, 2, 2, 2, 2, 0]]


def test_a_candle_is_stamped_with_its_open() -> None:
    bars = MemoryFeed(bars_of_ccxt(CANDLES, "BTC/USDT", "1h", now=None)).bars
    assert iso(int(bars.open_time[0])) == "2024-01-01T00:00Z"
    assert bars.close_time[0] - bars.open_time[0] == HOUR


def test_the_candle_still_forming_is_left_out() -> None:
    assert len(bars_of_ccxt(CANDLES, "BTC/USDT", "1h", now=datetime(2024, 1, 1, 2, 59, 59, tzinfo=UTC))) == 2
    assert len(bars_of_ccxt(CANDLES, "BTC/USDT", "1h", now=datetime(2024, 1, 1, 3, tzinfo=UTC))) == 3


def test_a_list_in_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "BTC_USDT-1h.json"
    path.write_text(json.dumps(CANDLES))
    bars = read_bars(path)
    assert bars.streams[0] == ("BTC_USDT", "1h")
    assert np.array_equal(bars.volume, [3, 0.5, 0])


def test_an_empty_cell_is_refused_by_the_feed() -> None:
    bars = bars_of_ccxt([[1704067200000, 1, 2, 1, None, 3]], "BTC/USDT", "1h", now=None)
    with pytest.raises(DataError, match="BTC/USDT 1h row 1, 2024-01-01T00:00Z: close is nan"):
        MemoryFeed(bars)


@pytest.mark.parametrize(
    ("candles", "message"),
    [
        ([], "the list is empty"),
        ([[1704067200000, 1, 2, 1, 2]], r"row 1: found \[1704067200000, 1, 2, 1, 2\]; expected \[ms, open"),
        ([CANDLES[0], [1704070800000, 1, 2, 1, "two", 3]], "row 2: close is 'two'; expected a number"),
        ([[1704067200, 1, 2, 1, 2, 3]], "row 1: time 1704067200 taken for milliseconds is 1970-01-20"),
        ([1, 2, 3], "row 1: found 1; expected"),
        ({"a": 1}, "found dict; expected a list"),
    ],
)
def test_another_list_is_refused_in_words(candles: object, message: str) -> None:
    with pytest.raises(DataError, match=f"BTC/USDT 1h.*{message}"):
        bars_of_ccxt(candles, "BTC/USDT", "1h", now=None)  # type: ignore[arg-type]
