"""Files of bars in every usual form, and what is said of the others."""

import gzip
import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.bars import HOUR, Stream, iso
from engine.errors import DataError, EngineError
from feeds.files import read_bars, read_table
from feeds.layout import FileLayout

HEADER = "time,open,high,low,close,volume\n"
PLAIN = HEADER + "1704067200,1,2,1,2,3\n1704070800,2,3,1,2,0.5\n"
BINANCE = "1704067200000,1,2,1,2,3,1704070799999,6,10,1,2,0\n1704070800000,2,3,1,2,0.5,1704074399999,6,10,1,2,0\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(content: str | bytes, name: str = "BTCUSDT-1h.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def zipped(content: str, *names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return data.getvalue()


def frame(rows: int = 3) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC")
    return pd.DataFrame(
        {"ts": times, "open": 1.0, "high": 2.0, "low": 1.0, "close": 2.0, "volume": np.arange(rows) + 1.0}
    )


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        (PLAIN, {}),
        (PLAIN.removeprefix(HEADER), {}),
        (PLAIN.replace(",", ";"), {}),
        (PLAIN.replace(",", "\t"), {}),
        ("\n\n" + PLAIN, {}),
        ("\ufeff" + PLAIN, {}),
        (PLAIN.replace("\n", "\r\n"), {}),
        (PLAIN.replace("1704067200", "1704067200.0").replace("1704070800", "1704070800.0"), {}),
        (PLAIN.replace("1704067200", "1704067200000").replace("1704070800", "1704070800000"), {}),
        (PLAIN.replace("1704067200", "2024-01-01T00:00Z").replace("1704070800", "2024-01-01T01:00Z"), {}),
        (
            PLAIN.replace("1704067200", "2024-01-01 00:00:00+00:00").replace("1704070800", "2024-01-01 01:00:00+00:00"),
            {},
        ),
        (
            PLAIN.replace("1704067200", "2024-01-01 00:00:00.000 UTC").replace(
                "1704070800", "2024-01-01 01:00:00.000 UTC"
            ),
            {},
        ),
        (PLAIN.replace("1704067200", "2024-01-01 02:00:00+0200").replace("1704070800", "2024-01-01 03:00:00+0200"), {}),
        (
            PLAIN.replace("1704067200", "2024-01-01 00:00").replace("1704070800", "2024-01-01 01:00"),
            {"timezone": "UTC"},
        ),
        (
            PLAIN.replace("1704067200", "2023-12-31 19:00").replace("1704070800", "2023-12-31 20:00"),
            {"timezone": "America/New_York"},
        ),
        (
            PLAIN.replace("1704067200", "01.01.2024 00:00").replace("1704070800", "01.01.2024 01:00"),
            {"timezone": "UTC", "time_format": "%d.%m.%Y %H:%M"},
        ),
        (
            PLAIN.replace("1704067200", "01/01/2024 02:00 +0200").replace("1704070800", "01/01/2024 03:00 +0200"),
            {"time_format": "%d/%m/%Y %H:%M %z"},
        ),
        ("advertisement\n" + PLAIN, {"skip_lines": 1}),
        (PLAIN.replace("1704067200", "1704070800").replace("1704070800,2", "1704074400,2"), {"stamp": "close"}),
        (BINANCE, {}),
        (BINANCE.replace("000,1,", "000000,1,").replace("000,2,", "000000,2,"), {}),
        (
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
            + BINANCE,
            {},
        ),
    ],
)
def test_the_same_bars_come_from_every_form(write: Write, text: str, layout: dict[str, str]) -> None:
    bars = read_bars(write(text), layout=FileLayout(**layout))  # type: ignore[arg-type]
    assert bars.streams == (Stream("BTCUSDT", "1h"),)
    assert [iso(int(time)) for time in bars.open_time] == ["2024-01-01T00:00Z", "2024-01-01T01:00Z"]
    assert [list(bar[3:8]) for bar in bars.rows()] == [[1, 2, 1, 2, 3], [2, 3, 1, 2, 0.5]]


def test_a_zip_from_binance_is_read(write: Write) -> None:
    bars = read_bars(write(zipped(BINANCE, "BTCUSDT-1h-2024-01.csv"), "BTCUSDT-1h-2024-01.zip"))
    assert bars.streams == (Stream("BTCUSDT", "1h"),)
    assert len(bars) == 2


def test_a_gzipped_file_is_read(write: Write) -> None:
    assert len(read_bars(write(gzip.compress(PLAIN.encode(), mtime=0), "BTCUSDT-1h.csv.gz"))) == 2


def test_a_date_and_a_time_of_day_in_two_columns_are_joined(write: Write) -> None:
    header = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\n"
    text = header + "2024.01.01\t00:00\t1\t2\t1\t2\t3\n2024.01.01\t01:00\t1\t2\t1\t2\t3\n"
    layout = FileLayout(time=("<DATE>", "<TIME>"), time_format="%Y.%m.%d %H:%M", timezone="UTC")
    assert iso(int(read_bars(write(text), layout=layout).open_time[1])) == "2024-01-01T01:00Z"


def test_columns_are_taken_by_place_where_there_is_no_header(write: Write) -> None:
    layout = FileLayout(time=1, open=2, high=3, low=4, close=5, volume=6)
    bars = read_bars(write("BTC,1704067200,1,2,1,2,3,x\nBTC,1704070800,1,2,1,2,3,x\n"), layout=layout)
    assert bars.close.tolist() == [2.0, 2.0]


def test_columns_are_taken_by_name(write: Write) -> None:
    text = PLAIN.replace("close", "settlement").replace("volume", "Volume BTC")
    bars = read_bars(write(text), layout=FileLayout(close="settlement", volume="volume btc"))
    assert bars.volume.tolist() == [3.0, 0.5]


def test_a_file_without_volume_is_read_when_it_is_said(write: Write) -> None:
    text = "time,open,high,low,close\n1704067200,1,2,1,2\n1704070800,1,2,1,2\n"
    assert read_bars(write(text), layout=FileLayout(has_volume=False)).volume.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_parquet_and_feather_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"BTCUSDT_1h.{suffix}"
    getattr(frame(), f"to_{suffix}")(path)
    assert read_bars(path).volume.tolist() == [1.0, 2.0, 3.0]


def test_parquet_with_its_times_in_the_index_is_read(tmp_path: Path) -> None:
    frame().set_index("ts").to_parquet(tmp_path / "A_1h.parquet")
    assert len(read_bars(tmp_path / "A_1h.parquet")) == 3


def test_parquet_of_prices_as_text_is_read(tmp_path: Path) -> None:
    frame().astype({"close": str}).to_parquet(tmp_path / "A_1h.parquet")
    assert read_bars(tmp_path / "A_1h.parquet").close.tolist() == [2.0, 2.0, 2.0]


def test_parquet_of_decimals_has_the_nearest_floats(tmp_path: Path) -> None:
    prices = [Decimal(cents) / 100 for cents in range(10_000, 10_200)]
    times = pd.date_range("2024-01-01", periods=len(prices), freq="h", tz="UTC")
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), prices)
    pd.DataFrame({"time": times, **columns}).to_parquet(tmp_path / "BTCUSDT_1h.parquet")

    assert read_bars(tmp_path / "BTCUSDT_1h.parquet").close.tolist() == [float(price) for price in prices]


def test_months_of_one_stream_are_read_as_one_in_any_order(write: Write) -> None:
    later = write(PLAIN.replace("1704067200", "1704074400").replace("1704070800", "1704078000"), "A-1h-2024-02.csv")
    bars = read_bars([later, write(PLAIN, "A-1h-2024-01.csv")])
    assert np.diff(bars.open_time).tolist() == [HOUR, HOUR, HOUR]


def test_files_that_overlap_are_refused(write: Write) -> None:
    with pytest.raises(
        DataError,
        match=r"begins at 2024-01-01T00:00Z, before .* ends at 2024-01-01T02:00Z; expected files that do not overlap",
    ):
        read_bars([write(PLAIN, "A-1h-1.csv"), write(PLAIN, "A-1h-2.csv")], symbol="A")


def test_files_of_two_streams_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match="hold A 1h and B 1h; expected one stream"):
        read_bars([write(PLAIN, "A-1h.csv"), write(PLAIN, "B-1h.csv")])


def test_a_bar_still_forming_is_left_out(write: Write) -> None:
    path = write(PLAIN)
    assert len(read_bars(path, closed_before=datetime(2024, 1, 1, 1, 59, tzinfo=UTC))) == 1
    assert len(read_bars(path, closed_before=datetime(2024, 1, 1, 2, 0, tzinfo=UTC))) == 2
    with pytest.raises(DataError, match="no bar of the 2 had closed"):
        read_bars(path, closed_before=datetime(2024, 1, 1, 0, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEADER + "1704067200,1,2,1,abc,3\n",
            "line 2: column close is 'abc'; expected a number; correct or remove the row",
        ),
        (HEADER + "1704067200,1,2,1,,3\n", "line 2, 2024-01-01T00:00Z: close is nan; expected a number"),
        (HEADER + "1704067200,1,2,1,2,3\n1704070800,1,2\n", "line 3: there are 3 cells; expected 6: '1704070800,1,2'"),
        (HEADER + "1704067200,1,2,1,2,3\n\n1704070800,1,2,1,2,3,4\n", "there are 7 cells; expected 6"),
        (
            HEADER + "1704067200,1,2,1,2,3\n,1,2,1,2,3\n",
            "line 3: time '' is not of the form of the first, '1704067200'",
        ),
        (
            HEADER + "2024-01-01T00:00Z,1,2,1,2,3\n2024-01-01 01:00,1,2,1,2,3\n",
            "line 3: time '2024-01-01 01:00' has no timezone, but that of line 2",
        ),
        (
            HEADER + "2024-01-01 00:00,1,2,1,2,3\n2024-01-01T01:00Z,1,2,1,2,3\n",
            "line 3: time '2024-01-01T01:00Z' has a timezone, but that of line 2",
        ),
        (
            HEADER + "2024-01-01 00:00,1,2,1,2,3\n",
            "line 2: time '2024-01-01 00:00:00' has no timezone, so that the instant it means is unknown",
        ),
        (
            HEADER + "2024-13-01T00:00Z,1,2,1,2,3\n",
            "line 2: time '2024-13-01T00:00Z' is not understood; expected ISO 8601, such as",
        ),
        (HEADER, "there is a header but no rows"),
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("\xff\xfe", "there is no column for the time"),
        ("a,b\n1,2\n", "there is no column for the time; found a, b; expected one of opentime, ts"),
        ("1,2,3\n", "there is no header and there are 3 columns; expected 6 (time, open, high, low, close, volume)"),
        (
            "time,open,high,low,close\n1704067200,1,2,1,2\n",
            "there is no column for the volume; found time, open, high, low, close",
        ),
        (
            "time,open,open,high,low,close,volume\n1704067200,1,1,2,1,2,3\n",
            "there are two columns 'open'; expected one",
        ),
        (
            "<!doctype html><title>404 not found</title>",
            "there is no column for the time; found <!doctype html><title>404 not …",
        ),
    ],
)
def test_a_faulty_text_file_is_refused_in_words(write: Write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(DataError) as refusal:
        read_bars(path)
    assert str(refusal.value).startswith(str(path))
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"\xff\xfea\x00", "a.csv", "the file is UTF-16 text; expected UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "a.csv", "the file is not UTF-8 text (it has the byte 0x89)"),
        (b"time,\0\0", "a.csv", "the file is binary; expected text with one bar a line"),
        (
            HEADER.encode() + b"170406\xe97200,1,2,1,2,3\n",
            "a.csv",
            "the file cannot be read as text with one bar a line",
        ),
        (b"PK\x03\x04", "a.zip", "the zip file is damaged or cut off"),
        (zipped(BINANCE * 50, "a.csv")[:150], "a.zip", "the zip file is damaged or cut off"),
        (zipped(BINANCE, "a.csv", "b.csv"), "a.zip", "the zip holds 2 files (a.csv, b.csv); expected one CSV file"),
        (gzip.compress(PLAIN.encode(), mtime=0)[:-9], "a.csv.gz", "the gzip file is damaged or cut off"),
        (b"PAR1 and then nothing", "a.parquet", "the file is damaged or cut off"),
        (PLAIN.encode(), "a.parquet", "the file does not begin as a parquet file does"),
        (b"ARROW1\0\0", "a.feather", "the file is damaged or cut off"),
        (b"", "a.parquet", "the file is empty; expected bars"),
        (b"[[1", "a.json", "the file is not JSON"),
        (b'{"candles": 1}', "a.json", "found dict; expected a list of [ms, open, high, low, close, volume]"),
    ],
)
def test_a_damaged_file_is_refused_in_words(write: Write, content: bytes, name: str, message: str) -> None:
    path = write(content, name)
    with pytest.raises(DataError) as refusal:
        read_bars(path)
    assert str(refusal.value).startswith(str(path))
    assert message in str(refusal.value)


def test_a_file_that_is_not_there_points_to_the_nearest(write: Write) -> None:
    path = write(PLAIN)
    with pytest.raises(DataError, match="there is no such file; did you mean 'BTCUSDT-1h.csv'?"):
        read_bars(path.with_name("BTCUSD-1h.csv"))
    with pytest.raises(DataError, match="nor is there a folder /nowhere"):
        read_bars("/nowhere/a.csv")
    with pytest.raises(DataError, match="the file cannot be opened"):
        read_bars(path.parent)


def test_an_unknown_zone_is_refused(write: Write) -> None:
    path = write(HEADER + "2024-01-01 00:00,1,2,1,2,3\n")
    with pytest.raises(DataError, match="timezone 'Amerika/New_York' is not known; expected a name such as UTC"):
        read_bars(path, layout=FileLayout(timezone="Amerika/New_York"))


@pytest.mark.parametrize("time", ["2024-03-10 02:30", "2024-11-03 01:30"])
def test_a_time_that_the_clocks_skip_or_repeat_is_refused(write: Write, time: str) -> None:
    path = write(HEADER + f"2024-01-01 00:00,1,2,1,2,3\n{time},1,2,1,2,3\n")
    with pytest.raises(DataError, match=f"line 3: time '{time}:00' occurs twice or never in America/New_York"):
        read_bars(path, layout=FileLayout(timezone="America/New_York"))


def test_a_column_that_is_not_there_points_to_the_nearest(write: Write) -> None:
    with pytest.raises(DataError, match="there is no column 'closed'; found time, open, .*; did you mean 'close'?"):
        read_bars(write(PLAIN), layout=FileLayout(close="closed"))
    with pytest.raises(DataError, match="there is no column 9; found 6 columns, counted from 0"):
        read_bars(write(PLAIN), layout=FileLayout(close=9))


def test_naive_times_in_parquet_are_refused_unless_the_zone_is_said(tmp_path: Path) -> None:
    table = frame()
    table["ts"] = table["ts"].dt.tz_localize(None)
    table.to_parquet(tmp_path / "A_1h.parquet")
    with pytest.raises(DataError, match="row 1: time '2024-01-01 00:00:00' has no timezone"):
        read_bars(tmp_path / "A_1h.parquet")
    assert len(read_bars(tmp_path / "A_1h.parquet", layout=FileLayout(timezone="UTC"))) == 3


def test_an_empty_time_in_parquet_is_named(tmp_path: Path) -> None:
    table = frame()
    table.loc[1, "ts"] = pd.NaT
    table.to_parquet(tmp_path / "A_1h.parquet")
    with pytest.raises(DataError, match="row 2: there is no time; expected one in every row"):
        read_bars(tmp_path / "A_1h.parquet")


def test_text_among_the_prices_of_parquet_is_named(tmp_path: Path) -> None:
    table = frame().astype({"close": str})
    table.loc[2, "close"] = "n/a"
    table.to_parquet(tmp_path / "A_1h.parquet")
    with pytest.raises(DataError, match="row 3: column close is 'n/a'; expected a number"):
        read_bars(tmp_path / "A_1h.parquet")


def test_the_timeframe_is_found_from_the_rows(write: Write) -> None:
    text = HEADER + "".join(f"{1704067200 + 900 * row},1,2,1,2,3\n" for row in (0, 1, 2, 5))
    assert read_table(write(text, "prices.csv")).stream == Stream("prices", "15m")


def test_one_row_needs_its_timeframe_said(write: Write) -> None:
    path = write(HEADER + "1704067200,1,2,1,2,3\n", "prices.csv")
    with pytest.raises(DataError, match="the timeframe cannot be told from fewer than two different times"):
        read_bars(path)
    assert len(read_bars(path, timeframe="1d")) == 1


FUZZED = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    st.lists(
        st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.none()), max_size=8), max_size=5
    ).map(lambda rows: (HEADER + "\n".join(",".join(map(str, row)) for row in rows)).encode(errors="surrogatepass")),
    st.tuples(st.integers(0, len(PLAIN)), st.binary(min_size=1, max_size=3)).map(
        lambda change: PLAIN.encode()[: change[0]] + change[1] + PLAIN.encode()[change[0] + 1 :]
    ),
    st.tuples(
        st.sampled_from([zipped(BINANCE, "a.csv"), gzip.compress(PLAIN.encode(), mtime=0), PLAIN.encode()]),
        st.integers(0, 400),
    ).map(lambda pair: pair[0][: pair[1]]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    content=FUZZED, name=st.sampled_from(["a-1h.csv", "a.csv", "a-1h.parquet", "a-1h.json", "a-1h.zip", "a.feather"])
)
def test_whatever_a_file_holds_it_gives_bars_or_an_error_of_ours(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with suppress(EngineError):
        bars = read_bars(path)
        assert len(bars) > 0
        assert np.all(bars.high >= bars.low)
