"""What the fuzzer found, one test each, and faults that it cannot draw: bombs, pipes, loops."""

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from config.settings import journal_url, load_settings
from engine.bars import Timeframe
from engine.errors import DataError, SettingsError
from feeds.catalog import Catalog
from feeds.csv_files import table_of_text
from feeds.files import read_bars
from feeds.layout import FileLayout
from feeds.reports import check_file
from tests.fuzz.cases import deadline
from tests.fuzz.catalogs import imported
from tests.fuzz.files import zipped

HEADER = "time,open,high,low,close,volume\n"
ROW = "1704067200,1,2,1,2,3\n"
START = 1_704_067_200_000


def refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught, deadline(20):
        read_bars(path, timeframe="1h")
    assert path.name in str(caught.value)


# ── too much, or without an end ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped({"a.csv": data})], ids=["gzip", "zip"])
def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "bomb-1h.zip" if pack is not gzip.compress else tmp_path / "bomb-1h.csv.gz"
    path.write_bytes(pack(b"0" * 200_000_000))
    refused(path, "bytes unpack to more than 67,108,864; expected bars, which unpack to at most 200 times their size")


def test_bars_that_pack_well_are_no_bomb(tmp_path: Path) -> None:
    lines = "".join(f"{1_704_067_200 + 60 * row},100,100,100,100,0\n" for row in range(20_000))
    path = tmp_path / "flat-1m.csv.gz"
    path.write_bytes(gzip.compress((HEADER + lines).encode()))
    assert len(read_bars(path)) == 20_000


def test_a_zip_in_a_zip_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a-1h.zip"
    path.write_bytes(zipped({"b.zip": zipped({"a.csv": (HEADER + ROW).encode()})}))
    refused(path, "the file is (binary|not UTF-8 text)")


@pytest.mark.parametrize("name", ["/etc/passwd", "../../up.csv", "C:\\x.csv", "a\nb.csv"])
def test_nothing_is_unpacked_to_where_a_zip_says(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a-1h.zip"
    path.write_bytes(zipped({name: (HEADER + ROW).encode()}))
    assert len(read_bars(path)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a-1h.zip"]


def test_parquet_that_claims_more_rows_than_there_is_memory_is_refused(tmp_path: Path) -> None:
    """A constant column of two billion rows takes a few kilobytes."""
    path = tmp_path / "a-1h.parquet"
    names = ["time", "open", "high", "low", "close", "volume"]
    group = pa.table({name: pa.repeat(1.0, 1_000_000) for name in names})
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with parquet.ParquetWriter(path, group.schema, compression="zstd") as writer:
        for _ in range(3):
            writer.write_table(group)
    content = path.read_bytes()
    rows = 3 * 8 * len(names) * 1_000_000
    if rows > memory:
        pytest.skip("this machine has no room for the honest file")
    assert len(content) < 1_000_000
    refused(path, "time 1 is not a count since 1970")  # read, since it fits; what follows says it would not

    from feeds.files import _check_size

    class Claims:
        num_rows, num_columns, num_row_groups = memory // 8, 6, 0

    with pytest.raises(
        DataError, match=r"a-1h.parquet: the file says that it holds [\d,]+ rows, [\d,]+ GiB; expected at"
    ):
        _check_size(path, Claims())


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a-1h.csv"
    os.mkfifo(path)
    refused(path, r"the file cannot be opened \(it is a pipe or a device\)")


def test_a_device_without_an_end_is_not_read() -> None:
    refused(Path("/dev/zero"), r"the file cannot be opened \(it is a pipe or a device\)")


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a-1h.csv"
    path.symlink_to(path)
    refused(path, r"the file cannot be opened \(Too many levels of symbolic links\)")


def test_a_name_that_no_file_can_have_is_named() -> None:
    refused(Path("a" * 5_000), r"the file cannot be opened \(File name too long\)")
    refused(Path("a\0b"), r"the file cannot be opened \(embedded null byte\)")


def test_millions_of_empty_lines_take_no_time(tmp_path: Path) -> None:
    path = tmp_path / "a-1h.csv"
    path.write_bytes(b"\n" * 1_000_000 + (HEADER + ROW).encode())
    with deadline(10):
        assert len(read_bars(path)) == 1


def test_the_bad_cell_of_a_million_is_found_at_once() -> None:
    lines = "".join(f"{1_704_067_200 + row},1,2,1,{2 if row != 299_998 else '1_000'},3\n" for row in range(300_000))
    with deadline(10), pytest.raises(DataError, match="line 300,000: column close is '1_000'; expected a number"):
        table_of_text((HEADER + lines).encode(), "a.csv", "A", "1s", FileLayout())


# ── damaged archives ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_any_byte_wrong_is_read_as_it_was_or_refused(tmp_path: Path, method: int) -> None:
    """Sizes and places that point before the file were a ValueError, a broken LZMA stream an LZMAError."""
    text = (HEADER + ROW).encode()
    whole = zipped({"a.csv": text}, method)
    path, said = tmp_path / "a-1h.zip", []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            bars = read_bars(path)
        except DataError as error:
            said.append(str(error))
        else:
            assert (len(bars), float(bars.close[0])) == (1, 2.0)
    assert said
    assert all("a-1h.zip" in text for text in said)


def test_a_zip_that_points_before_itself_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a-1h.zip"
    path.write_bytes(zipped({"a.csv": (HEADER + ROW).encode()})[20:])
    refused(path, "the zip file is damaged or cut off")


# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_quotation_mark_that_is_not_closed_does_not_swallow_the_bars_after_it(tmp_path: Path, place: int) -> None:
    """Every line up to the next mark was taken for text in an unused column; 4 rows were read as 2."""
    notes = ["a", "b", "c", '"d"']
    notes[place] = '"open'
    rows = "".join(f"{1_704_067_200 + 3600 * row},1,2,1,2,3,{note}\n" for row, note in enumerate(notes))
    path = tmp_path / "a-1h.csv"
    path.write_text(HEADER.replace("\n", ",note\n") + rows)
    refused(path, f"line {place + 2}: a quotation mark opens a cell that does not end in this line")


def test_quoted_cells_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a-1h.csv"
    path.write_text(
        '"time","open","high","low","close","volume","note"\n"1704067200","1","2","1","2","3","a ""b"", c"\n'
    )
    assert float(read_bars(path).close[0]) == 2.0


@pytest.mark.parametrize("cell", ["1_000", "١٢", "0x1F", "1,5", "1.234,5", "½", "true"])
def test_what_python_or_a_country_takes_for_a_number_is_named(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "a-1h.csv"
    path.write_text(HEADER.replace(",", ";") + ROW.replace(",", ";") + f"1704070800;1;2;1;{cell};3\n")
    refused(path, f"line 3: column close is '{cell}'; expected a number")


@pytest.mark.parametrize("name", ["BTC-9999w.csv", "BTC-99999999999999w.csv", "BTC-" + "9" * 200 + "s.csv"])
def test_a_timeframe_longer_than_time_is_refused_with_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(HEADER + ROW)
    with pytest.raises(SettingsError, match=rf"{name[:20]}.*timeframe .* is not understood; .* at most ten years"):
        read_bars(path)


def test_a_timeframe_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(SettingsError, match="is not understood"):
        Timeframe.parse("1" * 5_000 + "m")


# ── Arrow and lists ─────────────────────────────────────────────────────────────────────────────────────────────────


def table(**columns: object) -> pa.Table:
    usual = {
        "time": pa.array([START], pa.int64()),
        "open": [1.0],
        "high": [2.0],
        "low": [1.0],
        "close": [2.0],
        "volume": [3.0],
    }
    return pa.table({**usual, **columns})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"time": pa.array([2**64 - 1], pa.uint64())}, "is not a count since 1970 in any unit"),
        ({"time": pa.array([2**62], pa.timestamp("us", "UTC"))}, "row 1: time .* is the year 148"),
        (
            {"time": pa.array([2**62], pa.timestamp("us"))},
            r"row 1: time one that cannot be shown \(timestamp\[us\]\) has no",
        ),
        ({"close": [True]}, "column close is of type bool; expected numbers"),
        ({"close": ["1_000"]}, "row 1: column close is '1_000'; expected a number"),
        ({"close": [[2.0]]}, "row 1: column close is .*, of type list.*; expected a number"),
    ],
)
def test_a_column_of_another_kind_is_named(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    path = tmp_path / "a-1h.parquet"
    parquet.write_table(table(**columns), path)
    refused(path, message)


def test_a_column_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a-1h.parquet"
    parquet.write_table(table(), path)
    path.write_bytes(path.read_bytes().replace(b"volume", b"vol\xf9me"))
    refused(path, "the file is damaged or cut off")


def test_a_time_zone_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a-1h.feather"
    feather.write_feather(table(time=pa.array([START], pa.timestamp("ms", "Nowhere"))), path)
    path.write_bytes(path.read_bytes().replace(b"Nowhere", b"\xd4where."))
    refused(path, "the file is damaged or cut off")


@pytest.mark.parametrize("value", [True, "1.5", "1_000", [1.0], {}])
def test_a_list_takes_numbers_only(tmp_path: Path, value: object) -> None:
    """numpy took true for 1 and "1_000" for 1000."""
    path = tmp_path / "a-1h.json"
    path.write_text(json.dumps([[START, 1, 2, 1, 2, 3], [START + 3_600_000, 1, 2, 1, 2, value]]))
    refused(path, "row 2: volume is .*; expected a number")


@pytest.mark.parametrize(
    "columns",
    [
        {"price": pa.array([1, 2]), "amount": [1.0, 1.0]},
        {"price": [float("nan"), float("nan")], "amount": [1.0, 1.0]},
        {"bid": pa.array([1, 2]), "ask": [2.0, float("inf")]},
        {"bid": [0.0, 0.0], "ask": [0.0, 0.0]},
        {"funding_rate": ["a", "b"]},
        {"funding_rate": [1e308, 1e308]},
        {"Price": [1.0, 2.0], "AMOUNT": [1.0, 1.0]},
    ],
)
def test_odd_trades_and_quotes_are_reported(tmp_path: Path, columns: dict[str, object]) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"ts": pa.array([START, START + 1]), **columns}), path)
    assert "these are not bars" in check_file(path).lines()[0]


# ── the catalog ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    made = Catalog(tmp_path / "bars")
    made.write(imported())
    return made


def test_one_flipped_bit_in_a_page_is_found_while_reading(catalog: Catalog) -> None:
    """Compressed pages have no checksum unless one is written; a flipped bit came out as another price."""
    file = min(Path(catalog.root).rglob("*.parquet"))
    whole = file.read_bytes()
    footer, said = int.from_bytes(whole[-8:-4], "little") + 8, []
    for place in range(4, len(whole) - footer, 37):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            bars = catalog.read("A/B", "1h")
        except DataError as error:
            said.append(str(error))
        else:
            assert bars.close.tolist() == imported().close.tolist()
    assert said
    assert all(file.name in text for text in said)


def test_files_that_changed_places_are_found_while_reading(catalog: Catalog) -> None:
    first, second = sorted(Path(catalog.root).rglob("*.parquet"))
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match=f"{first.name}: the content is not what was imported"):
        catalog.read("A/B", "1h")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rows", 7, "it was changed since it was written"),
        ("digest", "0" * 64, "it was changed since it was written"),
        ("gap_count", 0, "it was changed since it was written"),
    ],
)
def test_a_record_that_was_edited_is_not_believed(catalog: Catalog, key: str, value: object, message: str) -> None:
    (record,) = Path(catalog.root).rglob("stream.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), key: value}))
    with pytest.raises(DataError, match=message):
        catalog.read("A/B", "1h")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": "x"}, "a number is not one"),
        ({"rows": 7}, "its files have other numbers of rows than 7"),
        ({"first_open": -5}, "a number is not one"),
        ({"calendar": "always"}, "calendar 'always' is not known"),
        ({"stream": {"symbol": "C/D", "timeframe": "1h"}}, "it is of C/D 1h"),
        ({"parts": [{"name": "../../../etc/passwd", "rows": 1, "first_open": 1, "last_close": 2}]}, "lies elsewhere"),
        ({"origins": [1]}, "a text is not one"),
    ],
)
def test_a_record_without_a_hash_is_looked_at_closely(
    catalog: Catalog, change: dict[str, object], message: str
) -> None:
    (record,) = Path(catalog.root).rglob("stream.json")
    content = {**json.loads(record.read_text()), **change}
    content.pop("check")
    record.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"stream.json: the catalog's record of this stream is damaged .*{message}"):
        catalog.entries()


def test_a_catalog_from_before_there_were_hashes_is_read(catalog: Catalog) -> None:
    (record,) = Path(catalog.root).rglob("stream.json")
    content = json.loads(record.read_text())
    content.pop("check")
    for part in content["parts"]:
        part.pop("footer")
    record.write_text(json.dumps(content))
    assert catalog.read("A/B", "1h").close.tolist() == imported().close.tolist()


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────────

GOOD = '[data]\nsource = "synthetic"\nbars = 50\n[strategy]\nname = "SmaCross"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = " + "[" * 5_000, "not valid TOML"),
        ("x = " + "9" * 5_000, "not valid TOML: Exceeds the limit"),
        (GOOD.replace("50", '"' + "x" * 5_000 + '"'), "data.bars is 'x{199}…; expected a whole number"),
        (GOOD + "[data2]\n", "unknown setting 'data2'"),
        (
            (
                '[data]\nsource = "catalog"\nsymbols = ["A"]\nfolder = "~nobody-of-that-name/x"\n'
                '[strategy]\nname = "SmaCross"\n'
            ),
            "data.folder is .*; expected a path that leads somewhere",
        ),
        (
            '[data]\nsource = "catalog"\nsymbols = ["A"]\nfolder = "a\\u0000b"\n[strategy]\nname = "SmaCross"\n',
            "data.folder",
        ),
        (
            GOOD.replace("bars = 50", "start = 9999-12-31T23:59:59-14:00"),
            "data.start is .*; expected a time whose UTC",
        ),
    ],
)
def test_settings_that_break_the_reader_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=f"a.toml: .*{message}") as caught:
        load_settings(path)
    assert len(str(caught.value)) < 1_000


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(GOOD, "utf-8-sig")
    assert load_settings(path).strategy.name == "SmaCross"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("#=1", "expected KEY=VALUE"),
        ("[x]\n[y]\nb=1", "expected KEY=VALUE"),
        ("data.bars=" + "9" * 5_000, "not a value: Exceeds the limit"),
        ("data.bars=" + "[" * 5_000, "not a value"),
        ("data.bars=1\nrun.seed = 3", "expected one value; give each setting its own --set"),
        ("x" * 5_000, "--set x{200}…: expected KEY=VALUE"),
    ],
)
def test_an_override_that_breaks_the_parser_is_named(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(GOOD)
    with pytest.raises(SettingsError, match=message):
        load_settings(path, [override])


def test_a_journal_in_the_home_of_nobody_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="journal '~nobody-of-that-name/x': expected a path that leads somewhere"):
        journal_url("~nobody-of-that-name/x", tmp_path)


def test_the_helper_makes_the_same_zip_each_time() -> None:
    assert zipped({"a": b"b"}) == zipped({"a": b"b"})
    assert zipfile.ZipFile(io.BytesIO(zipped({"a": b"b"}))).namelist() == ["a"]
