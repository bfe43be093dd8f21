"""`calibrate`: from a journal to a file of costs, and from there into a backtest that says so."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import main
from config.calibrated import CAVEAT, read_calibration
from config.settings import load_settings
from engine.errors import SettingsError
from engine.journal.sql import SqlJournal
from engine.journal.testing import sample_end
from engine.records import Batch, DecisionRow
from tests.engine.analysis.test_calibration import PLANTED, recorded

BACKTEST = '[data]\nsource = "synthetic"\ntimeframe = "1h"\nbars = 300\n[strategy]\nname = "SmaCross"\n'


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two paper sessions of 200 fills, one with 12, and one with other costs."""
    path = tmp_path / "journal.db"
    monkeypatch.setenv("BARCAST_JOURNAL", str(path))
    later = {"half_spread_basis_points": 3.0}
    with SqlJournal(path) as opened:
        for seed, count, planted in ((1, 200, {}), (2, 200, {}), (3, 12, {}), (4, 200, later)):
            record = recorded(seed, count, **planted)
            opened.begin(record.run.start)
            decisions = [
                DecisionRow(row.decision_id, row.time, "S", row.symbol, row.time, 100.0, "buy", None, "")
                for row in record.orders
            ]
            opened.write(Batch(
                decisions=list(decisions), orders=list(record.orders), order_events=list(record.order_events),
                fills=list(record.fills)))
            opened.end(sample_end())
    return path


def barcast(*arguments: Any, expect: int = 0) -> str:
    done = CliRunner().invoke(main.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == expect, done.output
    return done.output


def test_costs_go_from_fills_into_a_file_and_from_there_into_a_backtest(journal: Path, tmp_path: Path) -> None:
    file = tmp_path / "binance.toml"
    told = barcast("calibrate", "1", "2", "--out", file)
    assert "400 fills of BTC/USDT" in told
    assert "paper-only: own orders had no impact" in told
    kept = read_calibration(file)
    assert (kept.name, kept.version) == ("binance", 1)
    assert float(kept.costs["fees"]["taker"]) == pytest.approx(PLANTED["taker"])
    assert kept.costs["latency"]["kind"] == "lognormal"

    config = tmp_path / "run.toml"
    config.write_text(BACKTEST + '[costs]\ncalibrated = "binance.toml"\n')
    costs = load_settings(config).costs
    assert costs.model_dump(mode="json")["fees"]["taker"] == kept.costs["fees"]["taker"]
    assert costs.calibrated_as == f"{kept.reference} ({CAVEAT})"
    made = json.loads(barcast("backtest", config, "--json", "-"))
    assert kept.reference in json.dumps(made)
    assert CAVEAT in barcast("report", "last", "--html", tmp_path / "r.html")
    assert "the same order hash" in barcast("rerun", "last")


def test_what_is_set_by_hand_stays_and_is_named(journal: Path, tmp_path: Path) -> None:
    barcast("calibrate", "1", "--out", tmp_path / "c.toml", "--name", "mine")
    config = tmp_path / "run.toml"
    config.write_text(
        BACKTEST + '[costs]\ncalibrated = "c.toml"\nlatency = { kind = "constant", milliseconds = 7 }\n')
    costs = load_settings(config).costs
    assert costs.latency.kind == "constant"
    assert costs.calibrated_as.startswith("mine v1@")
    assert costs.calibrated_as.endswith("; set by hand: latency)")


def test_a_newer_sample_that_lies_outside_is_drift_and_a_new_version(journal: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    barcast("calibrate", "1", "--out", file)
    told = barcast("calibrate", "4", "--out", file, expect=1)
    assert "drift: half_spread_basis_points is " in told
    assert read_calibration(file).version == 2
    assert tomllib.loads(file.read_text())["calibration"]["runs"] == [4]


def test_too_few_fills_and_odd_names_are_refused(journal: Path) -> None:
    told = barcast("calibrate", "3", expect=2)
    assert "run 3: 9 orders that took liquidity in 12 fills; a calibration needs 30" in told
    assert "run 1 is named twice; its fills count once" in barcast("calibrate", "1", "1", expect=2)
    assert "there is no run 9" in barcast("calibrate", "9", expect=2)


def test_a_file_that_was_changed_or_is_another_is_refused(journal: Path, tmp_path: Path) -> None:
    file, config = tmp_path / "c.toml", tmp_path / "run.toml"
    config.write_text(BACKTEST + '[costs]\ncalibrated = "c.toml"\n')
    with pytest.raises(SettingsError, match=r"c.toml: calibrated costs cannot be read .*; `python main.py"):
        load_settings(config)
    barcast("calibrate", "1", "--out", file)
    file.write_text(file.read_text().replace('taker = "0.0005"', 'taker = "0.0001"'))
    with pytest.raises(SettingsError, match="it was changed after it was measured .*; calibrate again"):
        load_settings(config)
    file.write_text("[costs]\n")
    with pytest.raises(SettingsError, match="no file of calibrated costs: it has no hash, calibration, intervals"):
        load_settings(config)
    file.write_text("= nonsense")
    with pytest.raises(SettingsError, match="this is no file of calibrated costs"):
        load_settings(config)
