"""A Qlib directory, written here as dump_bin.py writes one, is read as bars."""

from pathlib import Path

import numpy as np
import pytest

from config.data import feed_of
from config.settings import Settings, settings_from
from engine.bars import DAY, HOUR, MINUTE, Stream
from engine.errors import DataError
from feeds.qlib_bin import QlibDirectory, read_qlib

DAYS = ["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07", "2020-01-08"]
ROWS = np.array([  # open, high, low, close, volume, factor
    [10.0, 11.0, 9.5, 10.5, 1000.0, 0.5],
    [10.5, 12.0, 10.0, 11.5, np.nan, 0.5],
    [np.nan, np.nan, np.nan, np.nan, np.nan, np.nan],
    [11.5, 12.5, 11.0, 12.0, 500.0, 0.25],
])  # fmt: skip
NAMES = ("open", "high", "low", "close", "volume", "factor")


def write(folder: Path, symbols: dict[str, tuple[int, np.ndarray]], times=DAYS, frequency="day") -> Path:
    for name in ("calendars", "instruments", "features"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "calendars" / f"{frequency}.txt").write_text("\n".join(times) + "\n")
    lines = [f"{symbol}\t{times[start]}\t{times[start + len(rows) - 1]}" for symbol, (start, rows) in symbols.items()]
    (folder / "instruments" / "all.txt").write_text("\n".join(lines) + "\n")
    for symbol, (start, rows) in symbols.items():
        of = folder / "features" / symbol.lower()
        of.mkdir(exist_ok=True)
        for place, name in enumerate(NAMES):
            np.hstack([start, rows[:, place]]).astype("<f4").tofile(of / f"{name}.{frequency}.bin")
    return folder


def test_days_are_bars_where_every_number_is_there(tmp_path):
    (bars,) = read_qlib(write(tmp_path, {"SH600000": (1, ROWS)}))
    assert bars.streams == (Stream("SH600000", "1d"),)
    days = bars.open_time.astype("datetime64[ns]").astype("datetime64[D]").astype(str).tolist()
    assert days == ["2020-01-03", "2020-01-08"]
    assert (bars.close_time - bars.open_time == DAY).all()
    assert bars.close.tolist() == [10.5, 12.0]
    assert bars.volume.tolist() == [1000.0, 500.0]


def test_raw_prices_have_the_factor_taken_out(tmp_path):
    (bars,) = read_qlib(write(tmp_path, {"SH600000": (0, ROWS)}), prices="raw")
    assert bars.close.tolist() == [21.0, 48.0]
    assert bars.volume.tolist() == [500.0, 125.0]


def test_a_day_begins_at_midnight_where_the_market_is(tmp_path):
    (bars,) = read_qlib(write(tmp_path, {"SH600000": (0, ROWS)}), timezone="Asia/Shanghai")
    assert bars.open_time[0] == np.datetime64("2020-01-01T16:00", "ns").astype(np.int64)


def test_minutes_are_read_too(tmp_path):
    times = [f"2020-01-02 09:3{minute}:00" for minute in range(5)]
    (bars,) = read_qlib(write(tmp_path, {"SZ1": (0, ROWS)}, times, "1min"), timeframe="1m", timezone="Asia/Shanghai")
    assert bars.open_time[0] == np.datetime64("2020-01-02T01:30", "ns").astype(np.int64)
    assert bars.open_time[1] - bars.open_time[0] == 3 * MINUTE


def test_a_market_s_symbols_are_read_in_the_file_s_order_each_once(tmp_path):
    folder = write(tmp_path, {"SZ2": (0, ROWS), "SH1": (1, ROWS)})
    lines = [f"{symbol}\t2020-01-02\t2020-01-03\n" for symbol in ("SH1", "SZ2", "SH1")]
    (folder / "instruments" / "some.txt").write_text("".join(lines))
    assert QlibDirectory(folder).symbols() == ("SZ2", "SH1")
    assert [bars.streams[0].symbol for bars in read_qlib(folder, market="some")] == ["SH1", "SZ2"]
    assert [bars.streams[0].symbol for bars in read_qlib(folder, ["SH1"])] == ["SH1"]


def days_of(bars):
    return bars.open_time.astype("datetime64[ns]").astype("datetime64[D]").astype(str).tolist()


def test_a_market_s_symbols_have_bars_while_they_belonged_to_it(tmp_path):
    """SH1 was in twice, SZ2 from the last day on, SZ3 never while it was traded, SZ4 always."""
    whole = np.tile(ROWS[:1], (5, 1))
    folder = write(tmp_path, dict.fromkeys(("SH1", "SZ2", "SZ3", "SZ4"), (0, whole)))
    (folder / "instruments" / "some.txt").write_text(
        "SH1\t2020-01-02\t2020-01-03\nSH1\t2020-01-07\t2020-01-07\nSZ2\t2020-01-08\t2099-12-31\n"
        "SZ3\t2010-01-01\t2019-12-31\nSZ4\n"
    )
    found = {bars.streams[0].symbol: days_of(bars) for bars in read_qlib(folder, market="some")}
    assert found == {"SH1": ["2020-01-02", "2020-01-03", "2020-01-07"], "SZ2": ["2020-01-08"], "SZ4": DAYS}
    every = {bars.streams[0].symbol: days_of(bars) for bars in read_qlib(folder, market="some", members_only=False)}
    assert every == dict.fromkeys(("SH1", "SZ2", "SZ3", "SZ4"), DAYS)
    (named,) = read_qlib(folder, ["SH1"], market="some")
    assert days_of(named) == DAYS


def test_membership_is_of_days_where_the_market_is_and_of_minutes_to_the_last(tmp_path):
    times = [f"2020-01-02 09:3{minute}:00" for minute in range(5)]
    folder = write(tmp_path, {"SZ1": (0, np.tile(ROWS[:1], (5, 1)))}, times, "1min")

    def minutes(first, last):
        (folder / "instruments" / "some.txt").write_text(f"SZ1\t{first}\t{last}\n")
        (bars,) = read_qlib(folder, market="some", timeframe="1m", timezone="Asia/Shanghai")
        return len(bars)

    assert minutes("2020-01-02", "2020-01-02") == 5
    assert minutes("2020-01-02 09:31:00", "2020-01-02 09:33:00") == 3
    with pytest.raises(DataError, match="no symbol of some has a bar of 1m while it belonged to it"):
        minutes("2020-01-03", "2020-01-03")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SH1\t2020-01-02", "line 1: '2020-01-02' is no span; expected a first and a last day"),
        ("SH1\tthen\tnow", "line 1: 'then to now' is no span"),
        ("SH1\t2020-01-03\t2020-01-01", "line 1: the first day, 2020-01-03, is after the last, 2020-01-01"),
    ],
)
def test_a_span_that_is_none_is_refused(tmp_path, line, message):
    folder = write(tmp_path, {"SH1": (0, ROWS)})
    (folder / "instruments" / "some.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        read_qlib(folder, market="some")


def test_settings_read_members_of_the_run_s_own_time(tmp_path):
    folder = write(tmp_path, {name: (0, np.tile(ROWS[:1], (5, 1))) for name in ("SH1", "SZ2")})
    (folder / "instruments" / "some.txt").write_text("SH1\t2020-01-02\t2020-01-03\nSZ2\t2020-01-02\t2020-01-08\n")
    data = {"source": "qlib", "folder": str(folder), "market": "some", "start": "2020-01-06"}

    def rows(**more):
        given = {"data": {**data, **more}, "strategy": {"name": "buy_and_hold"}}
        feed = feed_of(settings_from(given, folder=tmp_path, origin="x").data, 0)
        return [stream.symbol for stream in feed.streams], feed.row_count

    assert rows() == (["SZ2"], 3)
    assert rows(members_only=False) == (["SH1", "SZ2"], 6)


def test_settings_make_a_feed_of_it(tmp_path):
    folder = write(tmp_path, {"SZ2": (0, ROWS), "SH1": (1, ROWS)})
    given = {"data": {"source": "qlib", "folder": str(folder)}, "strategy": {"name": "buy_and_hold"}}
    settings = settings_from(given, folder=tmp_path, origin="x")
    assert isinstance(settings, Settings)
    feed = feed_of(settings.data, 0)
    assert {stream.symbol for stream in feed.streams} == {"SZ2", "SH1"}
    assert feed.row_count == 4
    cut = settings_from({**given, "data": {**given["data"], "start": "2020-01-07"}}, folder=tmp_path, origin="x")
    assert feed_of(cut.data, 0).row_count == 2


def test_it_is_what_qlib_reads(tmp_path):
    """Qlib's own rule: value i of a file belongs to time start + i (qlib.data.storage.file_storage)."""
    folder = write(tmp_path, {"SH600000": (2, ROWS[:1])})
    (bars,) = read_qlib(folder)
    assert bars.open_time.tolist() == [int(np.datetime64("2020-01-06", "ns").astype(np.int64))]
    assert bars.open_time[0] % HOUR == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "features/sh1/close.day.bin").unlink(), "close.day.bin cannot be read"),
        (lambda f: (f / "features/sh1/close.day.bin").write_bytes(b"abc"), "has 3 bytes; expected a whole number"),
        (lambda f: (f / "features/sh1/close.day.bin").write_bytes(b""), "has 0 bytes"),
        (lambda f: np.float32([3, 1, 1, 1]).tofile(f / "features/sh1/close.day.bin"), "begins at 3 and has 3 values"),
        (lambda f: np.float32([-1, 1]).tofile(f / "features/sh1/close.day.bin"), "begins at -1"),
        (lambda f: (f / "calendars/day.txt").write_text("2020-01-02\nsoon\n"), "line 2: 'soon' is no time"),
        (lambda f: (f / "calendars/day.txt").write_text("2020-01-03\n2020-01-02\n"), "time 2 is not after"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused_by_name(tmp_path, spoil, message):
    folder = write(tmp_path, {"SH1": (0, ROWS)})
    spoil(folder)
    with pytest.raises(DataError, match=message):
        read_qlib(folder)


def test_what_is_not_there_is_refused_by_name(tmp_path):
    folder = write(tmp_path, {"SH600000": (0, ROWS)})
    with pytest.raises(DataError, match="has no symbol 'SH600001'; did you mean 'sh600000'"):
        read_qlib(folder, ["SH600001"])
    with pytest.raises(DataError, match="has no market 'al'; did you mean 'all'"):
        read_qlib(folder, market="al")
    with pytest.raises(DataError, match="has no bars of 1m; it has calendars of day"):
        read_qlib(folder, timeframe="1m")
    with pytest.raises(DataError, match="is no Qlib data directory"):
        read_qlib(tmp_path / "none")
    write(tmp_path, {"SH2": (0, ROWS[2:3])})
    with pytest.raises(DataError, match="SH2 has no bar of 1d"):
        read_qlib(folder, ["SH2"])
