"""Bounds from end to end: settings in, three results out, and back from the journal."""

import json
from pathlib import Path
from typing import Any

import pytest

from config.assembly import open_journal, report_of_run, run_backtest
from config.bounds import as_path
from config.settings import Settings, load_settings, settings_from
from engine.analysis.bounds_view import bounds_lines, open_trades
from engine.analysis.report import render_report
from engine.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]
TIGHT = ["strategy.parameters.stop_atr=0.6", "data.timeframe=1h", "data.bars=9000", "journal.enabled=false"]
"""Stops and targets so close that many hourly bars hold both."""


def tight(*more: str) -> Settings:
    return load_settings(ROOT / "config" / "examples" / "rsi_reversion.toml", [*TIGHT, *more])


@pytest.fixture(scope="module")
def bounds() -> dict[str, Any]:
    found: dict[str, Any] = run_backtest(tight('fills.path="adaptive"')).summary()["bounds"]
    return found


def test_one_run_has_three_results(bounds: dict[str, Any]) -> None:
    equity = [bounds[side]["final_equity"] for side in ("pessimistic", "declared", "optimistic")]
    assert equity == sorted(equity)
    assert equity[0] < equity[2]
    assert bounds["ambiguous"] == len(bounds["trades"]) > 1
    for side in ("pessimistic", "optimistic"):
        made = sum(trade[side]["net"] - trade["declared"]["net"] for trade in bounds["trades"])
        assert bounds[side]["final_equity"] == pytest.approx(bounds["declared"]["final_equity"] + made)
        assert bounds[side]["curve"]["equity"][-1] == pytest.approx(bounds[side]["final_equity"])
        assert bounds[side]["statistics"]["trades"] == bounds[side]["trades"]
    json.dumps(bounds, allow_nan=False)


def test_the_runs_made_again_say_where_they_differ(bounds: dict[str, Any]) -> None:
    again = bounds["again"]
    assert set(again) == {"pessimistic", "optimistic"}
    assert again["optimistic"]["differs"]["what"] in ("other quantities", "other orders")  # it sizes by its equity
    assert again["optimistic"]["differs"]["from"] >= bounds["trades"][0]["entry_time"]


def test_at_its_worst_already_a_run_is_made_again_only_at_its_best() -> None:
    settings = tight()

    assert as_path(settings, "worst") is None
    best = as_path(settings, "best")
    assert best is not None
    assert best.fills.switches(0).path == "best"
    assert best.fills.bounds is False
    assert not best.journal.enabled


@pytest.mark.parametrize(("path", "touch"), [("worst", "through"), ("best", "touch")])
def test_what_is_left_to_chance_is_settled_for_the_runs_made_again(path: str, touch: str) -> None:
    settings = tight('fills.limit_touch="probability"', 'fills.children_same_bar="always"')

    again = as_path(settings, path)

    assert again is not None
    switches = again.fills.switches(0)
    assert (switches.path, switches.limit_touch, switches.children_same_bar) == (path, touch, "if_path_decides")


def test_bounds_can_be_switched_off_and_bars_are_still_counted() -> None:
    bounds = run_backtest(tight("fills.bounds=false")).summary()["bounds"]

    assert bounds["pessimistic"] is None
    assert bounds["contested"] > 1
    assert bounds["note"] == "fills.bounds is false"


def test_a_run_in_which_no_orders_meet_has_one_result() -> None:
    example = ROOT / "config" / "examples" / "sma_cross.toml"
    settings = load_settings(example, ["data.bars=3000", "journal.enabled=false"])

    bounds = run_backtest(settings).summary()["bounds"]

    assert bounds["pessimistic"] == bounds["declared"] == bounds["optimistic"]
    assert (bounds["contested"], bounds["trades"]) == (0, [])


def test_the_journal_shows_them_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    done = run_backtest(tight("journal.enabled=true", f"journal.url={json.dumps(url)}"))

    with open_journal(url) as journal:
        again = report_of_run(journal, None)

    assert bounds_lines(again) == bounds_lines(done.report)
    assert open_trades(again) == open_trades(done.report)
    page = render_report(again)
    assert "What bars cannot tell" in page
    assert 'id="chart-bounds"' in page


HOUR = 3_600_000


def write(path: Path, step: int, rows: list[list[float]]) -> None:
    lines = [",".join(map(str, [1_704_067_200_000 + step * place, *row, 1000])) for place, row in enumerate(rows)]
    path.write_text("time,open,high,low,close,volume\n" + "\n".join(lines) + "\n", "utf-8")


BRACKET = '''
from engine import Strategy

class Once(Strategy):
    def on_start(self):
        self.bars = 0

    def on_bar(self, bar):
        self.bars += 1
        if self.bars == 1:
            self.buy(bar.symbol, 1, stop_loss=90, take_profit=110)
'''


@pytest.mark.parametrize(("path", "final"), [("worst", 990), ("detail", 1010)])
def test_finer_bars_close_what_is_open(tmp_path: Path, path: str, final: int) -> None:
    write(tmp_path / "a.csv", HOUR, [[100, 101, 99, 100], [100, 111, 88, 105]])
    write(tmp_path / "fine.csv", HOUR // 2, [[100, 101, 99, 100]] * 2 + [[100, 111, 99, 104], [104, 105, 88, 105]])
    (tmp_path / "once.py").write_text(BRACKET, "utf-8")
    settings = settings_from(
        {
            "data": {
                "source": "files", "paths": ["a.csv"], "symbols": "A/USD", "timeframe": "1h", "detail": ["fine.csv"],
            },
            "strategy": {"name": "Once", "folders": [str(tmp_path)]}, "account": {"cash": 1000},
            "costs": {"fees": {"maker": 0, "taker": 0}, "slippage": {"kind": "none"}},
            "fills": {"path": path}, "journal": {"enabled": False},
        },
        folder=tmp_path, origin="test",
    )

    bounds = run_backtest(settings).summary()["bounds"]

    assert bounds["declared"]["final_equity"] == final
    assert (bounds["ambiguous"], bounds["resolved"], bounds["corrected"]) == (0, 1, int(path == "worst"))
    assert bounds["optimistic"]["final_equity"] == 1010


def test_a_strange_wish_is_refused() -> None:
    with pytest.raises(SettingsError, match='bounds.*expected true, false, or "auto"'):
        tight("fills.bounds=3")
