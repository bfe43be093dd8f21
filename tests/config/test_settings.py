"""Settings: what a file may say, and what is said to a file that says something else."""

import dataclasses
from decimal import Decimal
from pathlib import Path

import pytest

from config.reference import PAGE, TRAINING, settings_page, training_page
from config.settings import ROOT, FillSettings, LayoutSettings, load_settings, settings_from
from engine.errors import SettingsError
from engine.semantics import CHOICES, Switches
from feeds.layout import FileLayout

LEAST = """
[data]
source = "synthetic"
[strategy]
name = "SmaCross"
"""


@pytest.fixture
def load(tmp_path):
    """Return a function from TOML text (and overrides) to settings."""

    def load_text(text, *overrides):
        path = tmp_path / "eth.toml"
        path.write_text(text)
        return load_settings(path, overrides)

    return load_text


def faults(load, text, *overrides):
    with pytest.raises(SettingsError) as caught:
        load(text, *overrides)
    return [line.rpartition("eth.toml: ")[2] for line in str(caught.value).splitlines()]


def test_a_file_with_a_market_and_a_strategy_is_enough(load):
    settings = load(LEAST)
    assert settings.data.source == "synthetic"
    assert settings.account.cash == 10_000
    assert settings.costs.fees.taker == Decimal("0.001")


def test_a_run_is_called_after_its_file_unless_it_has_a_name(load):
    assert load(LEAST).run.name == "eth"
    assert load(LEAST, "run.name=mine").run.name == "mine"


def test_settings_cannot_be_changed_after_they_were_read(load):
    with pytest.raises(ValueError, match="frozen"):
        load(LEAST).run.seed = 3


@pytest.mark.parametrize(("text", "message"), [
    ("[account]\ncahs = 3", "unknown setting 'cahs' in [account]; did you mean 'cash'?"),
    ("[acount]\ncash = 3", "unknown setting 'acount'; did you mean 'account'?"),
    ("[run]\ncahs = 3", "unknown setting 'cahs' in [run]; did you mean 'cash' in [account]?"),
    ("[costs]\ntaker = 0", "unknown setting 'taker' in [costs]; did you mean 'taker' in [costs.fees]?"),
    ("[run]\nxyzzy = 3", "unknown setting 'xyzzy' in [run]; it has name, mode, seed"),
    ("[costs.fees]\nmakr = 0", "unknown setting 'makr' in [costs.fees]; did you mean 'maker'?"),
    ("[costs.fees]\nkind = \"tierd\"",
     "costs.fees.kind is 'tierd'; expected one of maker_taker, tiered, equity; did you mean 'tiered'?"),
    ("[costs.fees]\ntaker = 0.1", "costs.fees.taker is 0.1; expected less than 0.1"),
    ("[account]\ncash = -3",
     "account.cash is -3; expected an amount, 0 or more, or a table of them such as { USDT = 10000 }"),
    ("[account]\ncash = { USDT = 1 }\ncurrency = \"EUR\"",
     "[account] has a currency, but its cash names currencies already; expected one of the two"),
    ("[account]\nallow_short = 7", "account.allow_short is 7; expected true or false"),
    ("[run]\nseed = 1.5", "run.seed is 1.5; expected a whole number"),
    ("[run]\nmode = \"jmp\"", "run.mode is 'jmp'; expected one of auto, step, jump; did you mean 'jump'?"),
    ("[fills]\nvolume_cap = 2", 'fills.volume_cap is 2; expected a share above 0 and up to 1, or "none"'),
    ("[journal]\nurl = \"postgresql://me:secret@host/db\"",
     ("journal.url is 'postgresql://me:secret@host/db'; it holds a password; settings are recorded, so put it into the "
      "environment as PGPASSWORD")),
    ("[instruments.\"BTC/USDT\"]\nprice_increment = 0",
     'instruments."BTC/USDT".price_increment is 0; expected greater than 0'),
    ("[costs.slippage]\nkind = \"fixed\"\nbasis_points = 5000",
     "costs.slippage.basis_points is 5000; expected less than 1000"),
])  # fmt: skip
def test_a_fault_is_named_with_its_key_its_value_and_what_was_expected(load, text, message):
    assert faults(load, LEAST + text) == [message]


def test_every_fault_is_told_at_once(load):
    assert len(faults(load, LEAST + "[run]\nseed = -1\n[fills]\npath = \"wost\"\n")) == 2


def test_a_missing_table_is_told_by_what_it_is_for(load):
    assert faults(load, "") == [
        "data is missing; expected a table [data]: where the bars come from",
        "strategy is missing; expected a table [strategy]: who decides",
    ]


def test_a_source_or_a_kind_that_is_left_out_is_asked_for_or_taken_to_be_the_first(load):
    assert faults(load, "[data]\nbars = 3\n[strategy]\nname = \"x\"") == [
        "data.source is missing; expected one of synthetic, catalog, files, qlib, venue"
    ]
    assert load(LEAST + "[costs.slippage]\nbasis_points = 3").costs.slippage.basis_points == 3


@pytest.mark.parametrize(("start", "message"), [
    ("2024-01-01T00:00:00", "it has no timezone; expected 2024-01-01T00:00:00Z, or an offset"),
    ('"yesterday"', "expected a time such as 2024-01-31 or 2024-01-31T09:30:00Z"),
])
def test_a_time_that_does_not_say_which_instant_is_refused(load, start, message):
    assert faults(load, LEAST.replace("[strategy]", f"start = {start}\n[strategy]"))[0].endswith(message)


def test_times_are_taken_to_utc(load):
    settings = load(LEAST, "data.start=2024-03-01T02:00:00+02:00", "data.end=2024-03-02")
    assert settings.data.start.isoformat() == "2024-03-01T00:00:00+00:00"
    assert settings.data.end.isoformat() == "2024-03-02T00:00:00+00:00"


def test_a_span_that_ends_before_it_starts_is_refused(load):
    assert "is not before end" in faults(load, LEAST, "data.start=2024-02-01", "data.end=2024-01-01")[0]


def test_resampling_needs_a_longer_multiple(load):
    assert load(LEAST, "data.resample=1h").data.resample == ("1h",)
    assert "expected a longer multiple of 1m" in faults(load, LEAST, "data.resample=90s")[0]


def test_relative_paths_are_relative_to_the_settings_file(load, tmp_path):
    settings = load(LEAST, "report.html=out/eth.html", "journal.url=sqlite:///eth.db", "strategy.folders=mine")
    assert settings.report.html == tmp_path / "out" / "eth.html"
    assert settings.journal.url == f"sqlite:///{tmp_path / 'eth.db'}"
    assert settings.strategy.folders == (tmp_path / "mine",)


def test_a_journal_is_a_url_or_a_file(load, tmp_path):
    for text in ("here.db", "sqlite:///here.db", f"sqlite:///{tmp_path}/here.db"):
        assert load(LEAST, f"journal.url={text}").journal.url == f"sqlite:///{tmp_path}/here.db"


def test_a_database_in_memory_or_on_a_server_is_left_as_it_is(load):
    for url in ("sqlite:///:memory:", "postgresql+psycopg://me@host/db", "sqlite:////tmp/a.db"):
        assert load(LEAST, f"journal.url={url}").journal.url == url


# ── overrides ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_override_takes_toml_values_and_plain_text(load):
    settings = load(LEAST, "data.bars=500", "data.timeframe=5m", "strategy.parameters.fast=7",
                    'instruments."BTC/USDT".price_increment=0.5', "data.symbols=['A/B', 'C/B']")
    assert settings.data.bars == 500
    assert settings.data.timeframe == ("5m",)
    assert settings.strategy.parameters == {"fast": 7}
    assert settings.instruments["BTC/USDT"].price_increment == Decimal("0.5")
    assert settings.data.symbols == ("A/B", "C/B")


def test_a_table_given_by_an_override_replaces_the_file_s(load):
    text = LEAST + "[costs.slippage]\nkind = \"fixed\"\nbasis_points = 3\n"
    assert load(text, 'costs.slippage={kind="none"}').costs.slippage.kind == "none"


def test_a_wrong_override_is_named_in_place_of_the_file(load):
    with pytest.raises(SettingsError, match=r"^--set data\.bras=3: unknown setting 'bras' in \[data\]; did you"):
        load(LEAST, "data.bras=3")
    with pytest.raises(SettingsError, match="expected KEY=VALUE"):
        load(LEAST, "data.bars")
    with pytest.raises(SettingsError, match="data.bars is 3, which has nothing inside it"):
        load(LEAST, "data.bars=3", "data.bars.more=3")


def test_a_file_that_is_missing_or_no_toml_is_named(load, tmp_path):
    with pytest.raises(SettingsError, match=r"none\.toml: there is no such file"):
        load_settings(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match=r"eth\.toml: not valid TOML"):
        load("[data")


# ── held equal to what they stand for ───────────────────────────────────────────────────────────────────────────────


def test_every_switch_of_fill_simulation_is_a_setting():
    for_scenario_files_alone = {"on_increments", "unseen_bars"}
    switches = {field.name for field in dataclasses.fields(Switches)} - for_scenario_files_alone
    assert set(FillSettings.model_fields) - {"profile", "bounds"} == switches
    assert set(CHOICES) < set(FillSettings.model_fields)


def test_switches_left_out_are_the_profile_s(load):
    fills = load(LEAST, "fills.profile=backtrader", "fills.limit_touch=through", "fills.volume_cap=0.5").fills
    switches = fills.switches(7)
    assert switches.children_same_bar == "next_bar"
    assert switches.limit_touch == "through"
    assert switches.volume_cap == 0.5
    assert load(LEAST, "fills.volume_cap=none").fills.switches(0).volume_cap is None


def test_the_run_s_seed_is_used_where_chance_decides_and_nowhere_else(load):
    assert load(LEAST).fills.switches(7).seed == 0
    assert load(LEAST, "fills.path=random").fills.switches(7).seed == 7
    assert load(LEAST, "fills.path=random", "fills.seed=3").fills.switches(7).seed == 3


def test_settings_survive_the_journal(load):
    settings = load(LEAST, "data.start=2024-03-01", "account.cash={USDT=10.5}", "fills.volume_cap=none",
                    'instruments."A/B".price_increment=0.5', "report.html=r.html")
    assert settings_from(settings.model_dump(mode="json"), folder=Path("/elsewhere"), origin="journal") == settings


def test_every_option_of_a_file_s_layout_is_a_setting():
    assert set(LayoutSettings.model_fields) == {field.name for field in dataclasses.fields(FileLayout)}


def test_the_list_of_settings_in_the_documentation_is_up_to_date():
    assert PAGE.read_text("utf-8") == settings_page(), "run `make docs`"
    assert TRAINING.read_text("utf-8") == training_page(), "run `make docs`"


def test_no_setting_is_without_a_meaning():
    assert "None" not in settings_page()


@pytest.mark.parametrize("page", [settings_page, training_page])
def test_switches_of_fills_are_listed_where_fills_are_set(page):
    told = [row for row in page().splitlines() if "one of `worst`" in row]
    assert [row.split("|")[1].strip() for row in told] == (["`path`"] if page is settings_page else [])


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "examples").glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_is_valid(path):
    assert load_settings(path).run.name == path.stem
