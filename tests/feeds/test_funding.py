"""Funding rates from files: forms, faults, gaps."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from engine import DataError
from engine.bars import HOUR, SECOND, iso
from engine.carry import FundingHistory
from feeds.funding import funding_of, missing_funding, read_funding, symbol_in_name

D = Decimal
MARKET = Path(__file__).parents[3] / "shared" / "market"
START = 1_704_067_200_000_000_000
TIMES = START + 8 * HOUR * np.arange(4)
RATES = [0.0001, -0.00002, 0.0, 1e-8]


def tidy(path: Path, times=TIMES, rates=RATES, name="funding_rate") -> Path:
    stamps = pa.array(times, pa.int64()).cast(pa.timestamp("ns", "UTC"))
    parquet.write_table(pa.table({"ts": stamps, name: rates}), path)
    return path


def csv(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_parquet_feather_and_csv_give_the_same(tmp_path):
    ms = TIMES // 1_000_000
    files = [
        tidy(tmp_path / "a.parquet"),
        csv(tmp_path / "binance.csv", "calc_time,funding_interval_hours,last_funding_rate",
            [f"{time},8,{rate!r}" for time, rate in zip(ms, RATES, strict=True)]),
        csv(tmp_path / "api.csv", "symbol,fundingTime,fundingRate",
            [f"BTCUSDT,{time},{rate!r}" for time, rate in zip(ms, RATES, strict=True)]),
        csv(tmp_path / "written.csv", "time,rate", [f"{iso(time)},{rate!r}" for time, rate in
                                                    zip(TIMES.tolist(), RATES, strict=True)]),
    ]
    stamps = pa.array(TIMES, pa.int64()).cast(pa.timestamp("ns", "UTC"))
    frame = pa.table({"date": stamps, "open": RATES, "high": [0.0] * 4, "low": [0.0] * 4, "close": [0.0] * 4})
    feather.write_feather(frame, tmp_path / "BTC_USDT_USDT-8h-funding_rate.feather")
    files.append(tmp_path / "BTC_USDT_USDT-8h-funding_rate.feather")
    for file in files:
        history = read_funding(file)
        assert list(history.times) == TIMES.tolist()
        assert list(history.rates) == [D("0.0001"), D("-0.00002"), D("0.0"), D("1E-8")]


def test_a_stamp_some_milliseconds_late_means_the_whole_minute(tmp_path):
    late = TIMES + np.array([0, 1_000_000, 999_000_000, 2 * SECOND])
    history = read_funding(tidy(tmp_path / "a.parquet", late))
    assert list(history.times) == [*TIMES[:3].tolist(), int(TIMES[3]) + 2 * SECOND]


def test_months_are_joined_in_order_of_time(tmp_path):
    late = tidy(tmp_path / "b.parquet", TIMES[2:], RATES[2:])
    early = tidy(tmp_path / "a.parquet", TIMES[:2], RATES[:2])
    assert list(read_funding([late, early]).times) == TIMES.tolist()
    with pytest.raises(DataError, match="expected ascending times"):
        read_funding([early, tidy(tmp_path / "c.parquet", TIMES[1:], RATES[1:])])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: csv(path, "time,price", ["2024-01-01T00:00Z,1"]),
         "there is no column of rates among time, price; expected one of funding_rate"),
        (lambda path: csv(path, "when,rate", ["2024-01-01T00:00Z,1"]), "there is no column of times among when, rate"),
        (lambda path: csv(path, "time,rate", ["2024-01-01T00:00Z,0.75"]),
         "f.csv line 2, 2024-01-01T00:00Z: funding rate is 0.75; expected a fraction of notional below 0.1"),
        (lambda path: csv(path, "time,rate", ["2024-01-01T00:00Z,much"]), "line 2: column rate is .much.; expected"),
        (lambda path: csv(path, "time,rate", ["2024-01-01T00:00Z,"]), "line 2: column rate is .*; expected a number"),
        (lambda path: csv(path, "time,rate", ["2024-01-01T08:00Z,0", "2024-01-01T00:00Z,0"]),
         "line 3: funding at 2024-01-01T00:00Z follows 2024-01-01T08:00Z; expected rows sorted by time"),
        (lambda path: csv(path, "time,rate", []), "there are no rows; expected at least one funding payment"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00") and path, "cannot be read as a table of funding rates"),
        (lambda path: path, "there is no such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_funding_is_refused(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        read_funding(make(tmp_path / "f.csv"))


@pytest.mark.parametrize("name", [
    "BTCUSDT-PERP_funding.parquet", "BTCUSDT-fundingRate-2024-01.csv", "BTC_USDT_funding.csv", "btcusdt_funding.csv"])
def test_files_are_found_by_their_names(tmp_path, name):
    assert symbol_in_name(Path(name)) == "BTCUSDT"
    other = tidy(tmp_path / "ETHUSDT_funding.parquet", rates=[0.0] * 4)
    own = tmp_path / name
    (tidy(own) if name.endswith("parquet") else csv(own, "time,rate", ["2024-01-01T00:00Z,0.0001"]))
    assert funding_of([other, own], ["BTC/USDT:USDT"])["BTC/USDT:USDT"].rates[0] == D("0.0001")


def test_a_perpetual_without_a_file_is_named(tmp_path):
    files = [tidy(tmp_path / "BTCUSDT_funding.parquet"), tidy(tmp_path / "ETHUSDT_funding.parquet")]
    with pytest.raises(DataError, match="SOL/USDT:USDT: there is no file of its funding; found files of BTCUSDT, ETH"):
        funding_of(files, ["SOL/USDT:USDT"])


def history(*hours: int) -> FundingHistory:
    return FundingHistory([START + hour * HOUR for hour in hours], [D(0)] * len(hours))


@pytest.mark.parametrize(
    ("hours", "missing"),
    [
        ((0, 8, 16, 24, 32), []),
        ((0, 8, 24, 32), [(8, 24, 1)]),
        ((0, 8, 16, 40, 48), [(16, 40, 2)]),
        ((0, 8, 16, 20, 24), []),                     # the venue went from 8 to 4 hours
        ((0, 4, 8, 16, 24), []),                      # and back
        ((0, 1, 2, 4, 5), [(2, 4, 1)]),
    ],
)  # fmt: skip
def test_missing_payments_are_found_and_a_new_interval_is_none(hours, missing):
    found = missing_funding("X", history(*hours), START, START + hours[-1] * HOUR)
    assert [((gap.start - START) // HOUR, (gap.end - START) // HOUR, gap.missing) for gap in found] == missing


def test_a_history_that_begins_late_or_ends_early_lacks_payments():
    found = missing_funding("X", history(24, 32, 40), START, START + 60 * HOUR)
    assert [str(gap) for gap in found] == [
        "X: 3 funding payments missing between 2024-01-01T00:00Z and 2024-01-02T00:00Z",
        "X: 2 funding payments missing between 2024-01-02T16:00Z and 2024-01-03T12:00Z"]


@pytest.mark.skipif(not MARKET.exists(), reason="the market data beside the checkout is not here")
def test_real_histories_have_no_gaps_and_payments_at_whole_hours():
    files = sorted((MARKET / "binance_perp_funding").glob("*.parquet"))
    assert len(files) == 12
    for file in files:
        found = read_funding(file)
        assert missing_funding("X", found, found.times[0], found.times[-1]) == ()
        assert all(time % HOUR == 0 for time in found.times)
