"""From settings to the finer bars that `fills.path = "detail"` looks at."""

import numpy as np
import pytest

from config.assembly import run_backtest
from config.settings import settings_from
from engine import SettingsError
from engine.bars import MINUTE
from engine.testing import NEW_YEAR_2024, make_bars
from feeds.catalog import Catalog
from feeds.chunks import join
from feeds.memory import MemoryFeed
from feeds.resample import ResampledFeed


@pytest.fixture(scope="module")
def minutes():
    """Return two days of 15m bars that never rest."""
    generator = np.random.default_rng(4)
    closes = np.round(100 + np.cumsum(generator.normal(0, 0.4, 192)), 2)
    opens = np.concatenate([[100.0], closes[:-1]])
    spread = np.round(np.abs(generator.normal(0, 0.4, (192, 2))), 2)
    highs, lows = np.maximum(opens, closes) + spread[:, 0], np.minimum(opens, closes) - spread[:, 1]
    rows = np.round(np.column_stack([opens, highs, lows, closes]), 2).tolist()
    return make_bars(rows, timeframe="15m", symbol="AAA/EUR")


@pytest.fixture
def catalog(tmp_path, minutes):
    """Return a folder with the 15m bars and the hours made of them."""
    made = Catalog(tmp_path / "catalog")
    made.write(minutes, origin="test")
    hours = join(list(ResampledFeed(MemoryFeed(minutes), "1h").chunks()))
    made.write(hours.of(next(stream for stream in hours.streams if stream.timeframe == "1h")), origin="test")
    return made


def settings(tmp_path, data, **tables):
    given = {
        "strategy": {"name": "Bracketeer", "folders": ["plugins"]}, "journal": {"enabled": False},
        "instruments": {"default": {"price_increment": "0.01"}},
        "data": {"source": "catalog", "folder": "catalog", "symbols": "AAA/EUR", "timeframe": "1h", **data}, **tables,
    }
    return settings_from(given, folder=tmp_path, origin="test")


@pytest.fixture(autouse=True)
def plugin(tmp_path):
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "bracketeer.py").write_text(
        "from engine import Strategy\n\n\n"
        "class Bracketeer(Strategy):\n"
        "    def on_bar(self, bar):\n"
        "        if not self.position(bar.symbol):\n"
        "            self.buy(bar.symbol, 1, stop_loss=bar.close - 0.8, take_profit=bar.close + 0.8)\n")


def test_a_timeframe_of_the_catalog_resolves_every_bar(tmp_path, catalog):
    backtest = run_backtest(settings(tmp_path, {"detail": "15m"}, fills={"path": "detail"}))
    worst = run_backtest(settings(tmp_path, {}, fills={"path": "worst"}))
    assert backtest.result.detail.worst == 0
    assert backtest.result.detail.resolved > 20
    assert backtest.summary()["detail"] == {"resolved": backtest.result.detail.resolved, "worst": 0}
    assert "15m of AAA/EUR, sha256" in str(backtest.result.assumptions)
    assert backtest.result.fills_hash != worst.result.fills_hash, "there are bars that hold both a stop and a target"
    assert worst.summary()["detail"] is None


def test_a_file_does_as_well(tmp_path, catalog, minutes):
    lines = ["time,open,high,low,close,volume"] + [
        f"{bar.open_time // 10**9},{bar.open},{bar.high},{bar.low},{bar.close},{bar.volume}" for bar in minutes.rows()
    ]
    (tmp_path / "fine.csv").write_text("\n".join(lines))
    by_file = run_backtest(settings(tmp_path, {"detail": "fine.csv"}, fills={"path": "detail"}))
    by_catalog = run_backtest(settings(tmp_path, {"detail": "15m"}, fills={"path": "detail"}))
    assert by_file.result.detail == by_catalog.result.detail
    assert by_file.result.fills_hash == by_catalog.result.fills_hash


def test_a_part_that_the_finer_bars_do_not_reach_is_counted(tmp_path, catalog, minutes):
    lines = ["time,open,high,low,close,volume"] + [
        f"{bar.open_time // 10**9},{bar.open},{bar.high},{bar.low},{bar.close},{bar.volume}"
        for bar in minutes.rows() if bar.open_time < NEW_YEAR_2024 + 24 * 60 * MINUTE
    ]
    (tmp_path / "fine.csv").write_text("\n".join(lines))
    found = run_backtest(settings(tmp_path, {"detail": "fine.csv"}, fills={"path": "detail"})).result.detail
    assert found.worst > 5
    assert found.resolved > 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, 'fills.path is "detail", but data.detail names no finer bars; expected a timeframe of the catalog'),
        ({"detail": "1m"}, "data.detail is '1m', but the catalog has no such bars of AAA/EUR; bring them in with"),
        ({"detail": "1h"}, "data.detail has AAA/EUR 1h, which is not finer than the run's bars"),
    ],
)
def test_detail_that_is_not_there_is_refused(tmp_path, catalog, data, message):
    with pytest.raises(SettingsError) as refused:
        run_backtest(settings(tmp_path, data, fills={"path": "detail"}))
    assert message in str(refused.value)


def test_detail_that_no_path_looks_at_is_refused(tmp_path):
    with pytest.raises(SettingsError, match='data.detail is looked at by fills.path = "detail" and for bounds, and'):
        settings(tmp_path, {"detail": "15m"}, fills={"bounds": False})


def test_files_of_several_symbols_are_found_by_their_names(tmp_path, catalog, minutes):
    catalog.write(
        make_bars([list(bar[3:7]) for bar in minutes.rows()][:48], timeframe="1h", symbol="BBB/EUR"), origin="x")
    (tmp_path / "CCC-15m.csv").write_text("time,open,high,low,close,volume\n0,1,1,1,1,1\n900,1,1,1,1,1\n")
    chosen = settings(
        tmp_path, {"detail": "CCC-15m.csv", "symbols": ["AAA/EUR", "BBB/EUR"]}, fills={"path": "detail"})
    with pytest.raises(SettingsError, match="is of 'CCC', and the run has AAA/EUR, BBB/EUR"):
        run_backtest(chosen)
