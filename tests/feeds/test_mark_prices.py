"""Mark prices from files of bars."""

import numpy as np
import pytest

from engine import DataError
from engine.bars import HOUR, MINUTE
from engine.testing import NEW_YEAR_2024, make_bars
from feeds.mark_prices import BarMarks, read_marks

ROWS = [[100, 104, 99, 101], [101, 102, 90, 95], [95, 97, 94, 96], [96, 96, 96, 96]]
MARKS = BarMarks({"X": make_bars(ROWS, timeframe="15m")})


def test_a_mark_is_known_when_its_bar_has_closed():
    assert MARKS.at("X", NEW_YEAR_2024 + 15 * MINUTE - 1) is None
    assert MARKS.at("X", NEW_YEAR_2024 + 15 * MINUTE) == 101
    assert MARKS.at("X", NEW_YEAR_2024 + 9 * HOUR) == 96
    assert MARKS.at("Y", NEW_YEAR_2024 + HOUR) is None


def test_within_a_span_the_bars_that_lie_in_it_count():
    assert MARKS.within("X", NEW_YEAR_2024, NEW_YEAR_2024 + HOUR) == (100, 90, 104)
    assert MARKS.within("X", NEW_YEAR_2024 + 30 * MINUTE, NEW_YEAR_2024 + HOUR) == (95, 94, 97)
    assert MARKS.within("X", NEW_YEAR_2024 + 5 * MINUTE, NEW_YEAR_2024 + 25 * MINUTE) is None
    assert MARKS.within("Y", NEW_YEAR_2024, NEW_YEAR_2024 + HOUR) is None


def test_a_column_of_marks_is_as_of_each_instant():
    times = NEW_YEAR_2024 + MINUTE * np.array([0, 15, 20, 30, 600])
    column = MARKS.column("X", times)
    assert column is not None
    assert np.isnan(column[0])
    assert column[1:].tolist() == [101, 101, 95, 96]
    assert MARKS.column("Y", times) is None


def test_files_are_read_without_volume_and_found_by_name(tmp_path):
    text = "time,open,high,low,close\n2024-01-01T00:00Z,1,2,1,2\n2024-01-01T00:01Z,2,2,2,2\n"
    for name in ("BTCUSDT-1m.csv", "ETHUSDT-1m.csv"):
        (tmp_path / name).write_text(text)
    files = sorted(tmp_path.iterdir())
    assert read_marks(files, ["BTC/USDT:USDT"]).symbols == ("BTC/USDT:USDT",)
    assert read_marks(files[:1], ["whatever"]).at("whatever", NEW_YEAR_2024 + MINUTE) == 2
    with pytest.raises(DataError, match="there are no mark prices of SOL/USDT; found files of BTCUSDT, ETHUSDT; add"):
        read_marks(files, ["SOL/USDT"])
