"""docs/strategies_with_models.md says what the strategies do."""

import re
import tomllib
from pathlib import Path

from config.settings import load_settings
from strategies.registry import find
from strategies.tft_multi import TftMulti

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "strategies_with_models.md").read_text()


def test_every_strategy_of_the_page_is_there_and_runs_by_the_settings_named() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| `(\w+\.toml)` \|$", TEXT, re.MULTILINE)

    assert len(rows) == 5
    for name, file in rows:
        settings = load_settings(ROOT / "config" / "examples" / file)
        assert settings.strategy.name == name
        assert find(name)(**settings.strategy.parameters).parameters.keys() >= {"model", "every"}


def test_settings_shown_are_settings(tmp_path: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL):
        tables = tomllib.loads(block)
        if "strategy" not in tables:
            block += '\n[strategy]\nname = "PositionHeadStrategy"\n'
        (tmp_path / "shown.toml").write_text(block + '\n[data]\nsource = "synthetic"\n')
        strategy = load_settings(tmp_path / "shown.toml").strategy
        find(strategy.name)(**strategy.parameters)


def test_commands_shown_name_files_that_are_there() -> None:
    for file in re.findall(r"config/examples/\w+\.toml", TEXT):
        assert (ROOT / file).is_file()


def test_the_formula_s_names_are_parameters() -> None:
    names = TftMulti().parameters

    for name in ("trend_weight", "return_weight", "return_scale", "drawdown_weight", "least_change"):
        assert name in TEXT
        assert name in names
