"""docs/paper.md says what is true: its commands are there with those options, and its settings are understood."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import main
from config.metrics import samples
from config.paper import check_paper
from config.settings import load_settings
from tests.engine.live.test_status import FULL

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "paper.md").read_text()
COMMANDS = [line.strip().split("   ")[0] for line in PAGE.splitlines() if line.startswith("    python main.py ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_there_with_its_options(line: str) -> None:
    words = line.removeprefix("python main.py ").split()
    name = [words[0]] if words[0] != "risk" else words[:2]
    told = CliRunner().invoke(main.app, [*name, "--help"], catch_exceptions=False)
    assert told.exit_code == 0
    for option in re.findall(r" (--[a-z]+)", line):
        assert option in told.output, option


def test_its_settings_are_a_session_s(tmp_path: Path) -> None:
    [settings] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "paper.toml"
    path.write_text(settings)
    check_paper(load_settings(path))


def test_its_metrics_are_those_that_are_served() -> None:
    served = {name for name, _, _ in samples(FULL, 0)}
    assert set(re.findall(r"`(barcast_\w+)", PAGE)) == served


def test_its_pages_are_there() -> None:
    for page in re.findall(r"\]\((\w+\.md)\)", PAGE):
        assert (ROOT / "docs" / page).exists(), page
