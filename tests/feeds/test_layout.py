"""What names say."""

import pytest

from engine.bars import DAY, HOUR, MINUTE, SECOND
from engine.errors import SettingsError
from feeds.layout import FileLayout, names_in_path, timeframe_of


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("data/BTCUSDT-1m-2024-01.zip", ("BTCUSDT", "1m")),
        ("BTCUSDT-1m-2024-01-31.csv", ("BTCUSDT", "1m")),
        ("BTC_USDT-1h.feather", ("BTC_USDT", "1h")),
        ("BTC_USDT_USDT-1m-futures.feather", ("BTC_USDT_USDT", "1m")),
        ("BTCUSDT-PERP_1m.parquet", ("BTCUSDT-PERP", "1m")),
        ("EURUSD_2017H1_1m.parquet", ("EURUSD_2017H1", "1m")),
        ("XSHG_600977_5m.parquet", ("XSHG_600977", "5m")),
        ("RDS-B_1d.parquet", ("RDS-B", "1d")),
        ("AAPL.csv.gz", ("AAPL", None)),
        ("AAPL_5min.csv", ("AAPL", "5m")),
        ("btc.1h.csv", ("btc.1h", None)),
    ],
)
def test_symbol_and_timeframe_are_read_from_usual_file_names(path: str, names: tuple[str, str | None]) -> None:
    assert names_in_path(path) == names


@pytest.mark.parametrize(
    ("duration", "name"),
    [(MINUTE, "1m"), (90 * MINUTE, "90m"), (24 * HOUR, "1d"), (7 * DAY, "1w"), (SECOND // 2, None)],
)
def test_a_duration_has_its_usual_name(duration: int, name: str | None) -> None:
    assert timeframe_of(duration) == name


def test_an_unknown_stamp_is_refused() -> None:
    with pytest.raises(SettingsError, match="stamp 'end' is not known; expected open or close"):
        FileLayout(stamp="end")  # type: ignore[arg-type]
