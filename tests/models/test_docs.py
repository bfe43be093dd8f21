"""The pages on models say what is so: their code runs, their commands work, their links lead somewhere."""

import dataclasses
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import main
from config.settings import ModelSettings
from models.forecasters import KronosOptions
from models.krnn import KRNN
from models.kronos.configuration import MODELS, TOKENIZERS
from models.kronos.network import Kronos
from models.kronos.tokenizer import KronosTokenizer
from models.position.head import Serving
from models.position.price_transformer import PRESETS

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "models"
PAGES = ("index.md", "kronos.md", "krnn.md", "position.md", "artefacts.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (FOLDER / page).read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the checkpoints that the pages name, of random weights and the sizes of mini."""
    folder = tmp_path_factory.mktemp("docs")
    torch.manual_seed(0)
    for name, module in (("small", Kronos(MODELS["mini"])), ("Tokenizer-base", KronosTokenizer(TOKENIZERS["base"]))):
        checkpoint = folder / "checkpoints" / f"Kronos-{name}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "config.json").write_text(json.dumps(vars(module.sizes)))
        save_file(module.state_dict(), checkpoint / "model.safetensors")
    torch.save(KRNN(cnn_dim=8, rnn_dim=8).state_dict(), folder / "krnn.pt")
    save_file({"median": torch.zeros(360), "scale": torch.ones(360)}, folder / "scaler.safetensors")
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_runs(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    namespace: dict[str, Any] = {}
    for block in blocks(page, "python"):
        exec(compile(block, f"docs/models/{page}", "exec"), namespace)  # each block goes on from the one before


@pytest.mark.parametrize("page", ["kronos.md", "krnn.md", "artefacts.md"])
def test_commands_work(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    for line in "\n".join(blocks(page, "bash")).splitlines():
        words = shlex.split(line, comments=True)
        assert words[:2] == ["python", "main.py"]
        done = CliRunner().invoke(main.app, words[2:])
        assert done.exit_code == 0, f"{line}\n{done.output}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_settings_are_those_of_a_run(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    for block in blocks(page, "toml"):
        for described in tomllib.loads(block)["models"].values():
            ModelSettings.model_validate(described)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (FOLDER / page).read_text("utf-8")):
        assert target.startswith("https://") or (FOLDER / target).exists(), target


def table(page: str, first: str) -> dict[str, str]:
    """Return the second cells of a table's rows by the names in their first, from the row on that has `first`."""
    text = (FOLDER / page).read_text("utf-8")
    rows = text[text.index(f"| `{first}`") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    return {name: row[1] for row in cells for name in re.findall(r"`(\w+)`", row[0])}


def test_every_option_of_kronos_is_listed() -> None:
    assert set(table("kronos.md", "horizon")) == {field.name for field in dataclasses.fields(KronosOptions)}


def test_every_choice_of_serving_is_listed_with_its_default() -> None:
    listed = table("position.md", "mode")
    assert set(listed) == {field.name for field in dataclasses.fields(Serving)} - {"seed"}  # named beside "sample"
    for name, value in listed.items():
        assert value.strip("`") == f"{getattr(Serving(), name)}".removesuffix(".0")


def test_presets_have_the_parameters_that_the_page_says() -> None:
    for name, words in table("position.md", "nano").items():
        number, unit = words.split()
        factor = {"M": 1e6, "G": 1e9}[unit]
        assert PRESETS[name].parameter_count / factor == pytest.approx(float(number), abs=0.51 * 10 ** -_places(number))


def _places(number: str) -> int:
    return len(number.partition(".")[2])
