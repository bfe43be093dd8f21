"""[risk] in the settings: the gate it makes, rules of one's own, and what a run's journal says of its gate."""

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from config.assembly import run_backtest
from config.risk import ask_lift, find_rule, make_gate, named_symbols, risk_state, run_number
from config.settings import RiskSettings, load_settings, settings_from
from engine.errors import JournalError, PluginError, SettingsError
from engine.journal.lineage import load_run
from engine.journal.sql import SqlJournal
from engine.journal.testing import sample_end, sample_start
from engine.records import Batch, RiskEventRow

RULE = '''
"""A rule of an author's."""

from engine import Param
from engine.risk import Asked, RiskRule


class QuietHours(RiskRule):
    """Opens nothing at night."""

    until: int = Param(6, ge=1, le=23, help="UTC hour at which trading begins")

    def refusal(self, asked: Asked) -> str | None:
        hour = asked.time // 3_600_000_000_000 % 24
        return f"it is {hour}; limit {self.until}" if asked.grows and hour < self.until else None
'''

BASE: dict[str, Any] = {
    "data": {"source": "synthetic", "bars": 2000, "timeframe": "1h", "symbols": ["A/USDT"], "seed": 3},
    "strategy": {"name": "SmaCross"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "night.py").write_text(RULE)
    return tmp_path


def made(risk: dict[str, Any], folder: Path | None = None) -> RiskSettings:
    return settings_from({**BASE, "risk": risk}, folder=folder or Path("/"), origin="test.toml").risk


def run(risk: dict[str, Any], folder: Path, **more: Any) -> Any:
    given = {**BASE, "risk": risk, "journal": {"url": str(folder / "journal.db")}, **more}
    return run_backtest(settings_from(given, folder=folder, origin="test.toml"))


EVERY = {
    "max_position": {"default": 2, "A/USDT": 0.5},
    "max_order_notional": 1000,
    "max_position_notional": 2000,
    "max_gross_leverage": 2,
    "max_net_leverage": 1,
    "allow": ["A/USDT"],
    "reduce_only": True,
    "max_open_orders": {"orders": 5},
    "order_rate": {"orders": 3, "window": "1h"},
    "fat_finger": {"price_band": 0.1, "volume_share": 0.05},
    "daily_loss": {"fraction": 0.03, "action": "flatten", "lift_after": "next_day"},
    "drawdown": {"fraction": 0.2, "lift_after": "30d"},
    "cool_down": {"losses": 3, "pause": "4h", "per": "account"},
    "stale_data": {"seconds": 30, "lift_after": "fresh"},
    "feed_lag": {"seconds": 2.5, "action": "cancel"},
    "clock_skew": {"seconds": 0.5},
    "forecast_age": {"limit": "2h", "lift_after": "1d"},
}


def test_every_setting_is_a_rule_and_on_the_card() -> None:
    assert make_gate(made(EVERY)).card() == {
        "allowed_instruments": {"allow": ["A/USDT"]},
        "reduce_only": {"reduce_only": True},
        "price_band": {"fraction": 0.1},
        "volume_share": {"fraction": 0.05, "bars": 20},
        "max_open_orders": {"orders": 5},
        "order_rate": {"orders": 3, "window": "3600 s"},
        "max_position": {"default": "2", "A/USDT": "0.5"},
        "max_order_notional": {"default": "1000"},
        "max_position_notional": {"default": "2000"},
        "max_leverage": {"gross": "2", "net": "1"},
        "daily_loss": {"fraction": 0.03, "hour": 0, "action": "flatten", "lift_after": "next_day"},
        "drawdown": {"fraction": 0.2, "action": "refuse", "lift_after": "2592000 s"},
        "cool_down": {"losses": 3, "per": "account", "action": "refuse", "lift_after": "14400 s"},
        "stale_data": {"seconds": 30.0, "action": "refuse", "lift_after": "fresh"},
        "feed_lag": {"seconds": 2.5, "action": "cancel", "lift_after": "never"},
        "clock_skew": {"seconds": 0.5, "action": "refuse", "lift_after": "never"},
        "forecast_age": {"limit": "7200 s", "action": "refuse", "lift_after": "86400 s"},
    }
    assert named_symbols(made(EVERY)) == [("risk.allow", "A/USDT"), ("risk.max_position", "A/USDT")]


def test_without_settings_there_is_no_rule() -> None:
    gate = make_gate(made({}))
    assert not gate.has_rules
    assert gate.card() == {}


@pytest.mark.parametrize(
    ("risk", "message"),
    [
        ({"max_postion": 1}, r"unknown setting 'max_postion' in \[risk\]; did you mean 'max_position'"),
        ({"daily_los": {}}, r"unknown setting 'daily_los' in \[risk\]; did you mean 'daily_loss'"),
        ({"max_position": -1}, 'risk.max_position is -1; expected a number, 0 or more, or a table such as'),
        ({"max_position": {"A/USDT": "x"}}, "risk.max_position is .*; expected a number, 0 or more, or a table"),
        ({"daily_loss": {}}, r"\[risk.daily_loss\] has no limit; expected a fraction such as 0.03, an amount, or both"),
        ({"daily_loss": {"fraction": 3}}, "risk.daily_loss.fraction is 3; expected less than 1"),
        ({"daily_loss": {"fraction": 0.1, "action": "flaten"}},
         "risk.daily_loss.action is 'flaten'; expected one of refuse, cancel, flatten; did you mean 'flatten'"),
        ({"drawdown": {"fraction": 0.1, "lift_after": "next_day"}}, "risk.drawdown.lift_after is 'next_day'; expected"),
        ({"drawdown": {"fraction": 0.1, "lift_after": "soon"}}, "timeframe 'soon' is not understood"),
        ({"cool_down": {"losses": 2}}, "risk.cool_down.pause is missing; expected for how long nothing may be opened"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_with_the_nearest(risk: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        made(risk)


def test_a_symbol_that_is_not_traded_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match="risk.max_position names 'A/USDC', which is not in the data; .* did you mean 'A/USDT'"
    ):
        run({"max_position": {"A/USDC": 1}}, tmp_path)


# ── rules of one's own ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["night:QuietHours", "QuietHours", "quiet_hours"])
def test_a_rule_from_a_file_refuses_with_its_parameters(name: str, folder: Path) -> None:
    rules = [{"rule": name, "parameters": {"until": 22}}]
    backtest = run({"rules": rules, "folders": "rules"}, folder)
    assert set(backtest.result.refused_by) == {"quiet_hours"}
    assert backtest.result.assumptions["risk"] == {"quiet_hours": {"until": 22}}
    assert backtest.summary()["refused_by"] == backtest.result.refused_by
    assert f"quiet_hours {backtest.result.refused_count:,}" in json.dumps(
        [finding.text for finding in _findings(backtest)]
    )


def _findings(backtest: Any) -> Any:
    from engine.analysis.findings import findings

    return findings(backtest.report)


def test_rules_may_be_named_alone(folder: Path) -> None:
    assert make_gate(made({"rules": ["night:QuietHours"], "folders": ["rules"]}, folder)).card() == {
        "quiet_hours": {"until": 6}
    }
    assert make_gate(made({"rules": "night:QuietHours", "folders": "rules"}, folder)).has_rules


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("night:QuietHour", "night:QuietHour: no 'QuietHour'; did you mean 'QuietHours'. .its rules: QuietHours"),
        ("QuietHors", "unknown risk rule 'QuietHors'; did you mean 'QuietHours'. .there are: QuietHours"),
        ("no_such_module:X", "no module 'no_such_module'; put its folder into .risk. folders, or on PYTHONPATH"),
        ("json:JSONDecoder", "json:JSONDecoder is no risk rule; expected a class derived from engine.risk.RiskRule"),
        ("broken:X", r"broken.py: ZeroDivisionError: division by zero"),
    ],
)
def test_a_rule_that_cannot_be_had_is_said_so(rule: str, message: str, folder: Path) -> None:
    (folder / "rules" / "broken.py").write_text("1 / 0\n") if rule.startswith("broken") else None
    with pytest.raises(PluginError, match=message):
        find_rule(rule, [folder / "rules"])


def test_parameters_folders_and_waits_of_own_rules_are_checked(folder: Path) -> None:
    for risk, error, message in (
        ({"rules": [{"rule": "QuietHours", "parameters": {"untill": 3}}]}, SettingsError, "did you mean 'until'"),
        ({"rules": [{"rule": "QuietHours", "parameters": {"until": 99}}]}, SettingsError, "until is 99; expected ≤ 23"),
        ({"rules": [{"rule": "QuietHours", "lift_after": "next_day"}]}, SettingsError, "which is for daily_loss alone"),
        ({"rules": ["QuietHours", "QuietHours"]}, SettingsError, "two risk rules are called 'quiet_hours'"),
        ({"rules": ["QuietHours"], "folders": "nowhere"}, PluginError, "nowhere, which is no folder"),
    ):
        with pytest.raises(error, match=message):
            make_gate(made({"folders": "rules", **risk}, folder))  # type: ignore[dict-item]


def test_an_installed_rule_is_found_by_its_entry_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "site"
    (package / "night_rules-1.dist-info").mkdir(parents=True)
    (package / "night_rules.py").write_text(RULE)
    about = package / "night_rules-1.dist-info"
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: night-rules\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[barcast.risk_rules]\nnight = night_rules:QuietHours\n")
    monkeypatch.syspath_prepend(package)
    assert find_rule("night").__name__ == "QuietHours"
    assert EntryPoint("night", "night_rules:QuietHours", "barcast.risk_rules").load() is find_rule("night")


# ── what the journal says ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_s_state_is_read_from_its_journal(tmp_path: Path) -> None:
    result = run({"drawdown": {"fraction": 0.02}, "max_position": 1000}, tmp_path).result
    with SqlJournal(tmp_path / "journal.db") as journal:
        state = risk_state(journal)
        assert [halt.rule for halt in state.halts] == ["drawdown"]
        assert state.limits["drawdown"] == {"fraction": 0.02, "action": "refuse", "lift_after": "never"}
        assert state.refused == result.refused_by
        assert state.refused["drawdown"] > 0
        told = r"run 1 is a backtest \(completed\); nobody .* lift_after = .1d. in \[risk.drawdown\]"
        with pytest.raises(JournalError, match=told):
            ask_lift(journal, 1, "let it go on")


HALT = RiskEventRow(1, 5, "halt", "drawdown", "", 0.2, 0.1, "refuse", None, "too deep", "")


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[SqlJournal]:
    with SqlJournal(tmp_path / "paper.db") as journal:
        journal.begin(sample_start(kind="paper"))
        journal.write(Batch(risk_events=[HALT]))
        journal.flush()
        yield journal


def test_a_lift_is_written_beside_a_run_that_goes_on(paper: SqlJournal, tmp_path: Path) -> None:
    with SqlJournal(tmp_path / "paper.db") as other:
        assert ask_lift(other, 1, "bad print") == (HALT,)
        ask_lift(other, 1, "once more", rule="drawdown")
    paper.write(Batch(risk_events=[HALT._replace(id=2, kind="lift", reason="bad print", actor="ann")]))
    paper.end(sample_end())
    state = risk_state(paper)
    wishes = [(wish.id, wish.why, wish.rule) for wish in state.wishes]
    assert wishes == [(1, "bad print", ""), (2, "once more", "drawdown")]
    assert state.halts == ()
    assert len(load_run(paper).risk_events) == 2


def test_what_cannot_be_lifted_is_said(paper: SqlJournal) -> None:
    with pytest.raises(SettingsError, match="a lift needs a reason"):
        ask_lift(paper, 1, " ")
    with pytest.raises(JournalError, match=r"no halt of drawdwn to lift; in force: drawdown \(all\); did you mean"):
        ask_lift(paper, 1, "x", rule="drawdwn")
    with pytest.raises(JournalError, match="there is no run 7"):
        ask_lift(paper, 7, "x")
    with pytest.raises(JournalError, match="'seven' is no run; expected its number, such as 3, or last"):
        run_number("seven")


# ── the rest of a run ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_card_s_hash_is_what_it_was_without_rules_and_another_with_them(tmp_path: Path) -> None:
    cards = [run(risk, tmp_path).result.assumptions for risk in ({}, {"max_position": 1}, {"max_position": 2})]
    assert "risk" not in cards[0]
    assert len({card["hash"] for card in cards}) == 3


@pytest.mark.parametrize("mode", ["auto", "jump", "step"])
def test_modes_agree_under_rules_that_watch_and_rules_that_do_not(mode: str, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "config" / "examples" / "sma_cross_targets.toml"
    for risk in ("risk.max_position_notional=9000", 'risk.drawdown={fraction=0.05,action="flatten",lift_after="1d"}'):
        hashes = {
            run_backtest(load_settings(example, [risk, "journal.enabled=false", f'run.mode="{one}"'])).result.fills_hash
            for one in {mode, "step"}
        }
        assert len(hashes) == 1
