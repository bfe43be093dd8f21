"""The model benchmarks say what they should, on shrunken networks whose timings mean nothing: no speed is asserted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.models_command import WORKS, main, work_of
from benchmarks.models_krnn import networks
from benchmarks.models_kronos import Case, beside_naive, divergence_of, network_of, tokens_of
from benchmarks.models_size import QUICK
from benchmarks.peer_process import PeerProcess
from models.kronos.decoder import FusedKronos

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the rows of a quick run, as a user starts it."""
    path = tmp_path_factory.mktemp("models") / "rows.json"
    only = [argument for name in ("kronos", "krnn", "position", "backtest") for argument in ("--only", name)]
    command = [sys.executable, "benchmarks/models.py", "--quick", "--full", "--json", str(path), *only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return found


def test_every_row_has_its_figures_and_came_out_equal(rows: list[dict[str, Any]]) -> None:
    for found in rows:
        assert {"work", "ours", "peer", "ratio", "target", "equal"} <= found.keys()
        if found["ratio"] is not None:
            assert found["ratio"] == pytest.approx(found["ours"] / found["peer"])
        assert (found["target"] is None) == (found["is_met"] is None)
        assert found["equal"]
        assert found["check"]


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("Kronos mini × 1,", "ratio ≥ 13"),
        ("Kronos small × 1,", "ratio ≥ 16"),
        ("Kronos small × 5,", "ratio ≥ 45"),
        ("Kronos small batch of 8", "ratio ≥ 45"),
        ("Kronos small × 5, window full, exact", "ratio ≥ 4"),
        ("Kronos small × 5, window full, chunked (inexact)", "ratio ≥ 14"),
        ("Kronos base × 1,", "ratio ≥ 24"),
        ("Kronos small × 1, 12 bars, bfloat16 weights", "ratio ≥ 1.4"),
        ("Kronos base × 1, 12 bars, bfloat16 weights", "ratio ≥ 1.6"),
        ("KRNN, 32 windows, 1 layer", "ratio ≥ 2.0"),
        ("KRNN, 32 windows, 2 layers", "ratio ≥ 1.6"),
        ("KRNN, one window", "ratio ≥ 1.5"),
        ("position head, a step of 50 symbols", None),
        ("whole backtest, KRNN over 5 symbols", "ratio ≥ 10"),
        ("second run of the same backtest", "0 model calls"),
    ],
)
def test_every_line_of_the_targets_has_a_row(rows: list[dict[str, Any]], words: str, target: str | None) -> None:
    assert target in [found["target"] for found in rows if words in found["work"]]


def test_what_is_not_exact_says_so(rows: list[dict[str, Any]]) -> None:
    for found in rows:
        if "chunked" in found["work"] or "bfloat16" in found["work"]:
            assert "inexact" in found["work"] + found["check"]


def test_without_full_the_row_says_that_the_time_was_scaled() -> None:
    network = network_of("mini", QUICK)
    found = beside_naive(Case("mini", 1, 2, 13), network, FusedKronos(network), QUICK)
    assert found.check == "tokens of 3 steps; the loop's time from 3 of 12 steps"
    assert found.equal
    assert found.is_met is (found.ours / found.peer >= 13)


@pytest.mark.parametrize("case", [Case("mini", 1, 2), Case("mini", 1, 2, overflow="chunked", is_sliding=True)])
def test_another_network_is_not_equal(case: Case) -> None:
    network = network_of("mini", QUICK)
    fused = FusedKronos(network)
    with torch.no_grad():
        network.head.proj_s1.weight.neg_()
    assert not beside_naive(case, network, fused, QUICK).equal


def test_a_run_made_again_asks_nothing(rows: list[dict[str, Any]]) -> None:
    [found] = [row for row in rows if "second run" in row["work"]]
    assert (found["ours"], found["is_met"]) == (0, True)
    assert found["peer"] > 0


def test_the_table_names_the_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--quick", "--only", "position", "--markdown", "--json", str(tmp_path / "rows.json")]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Machine: ")
    assert "torch" in text.splitlines()[0]
    assert "| position head, a step of 50 symbols" in text


def test_a_work_that_is_not_there_is_passed_over() -> None:
    assert work_of("nothing") is None
    assert {name for name in WORKS if work_of(name) is not None} == set(WORKS)


def test_an_environment_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"there is no bin/python; expected a virtual environment"):
        PeerProcess(tmp_path, tmp_path / "script.py", {}, tmp_path)


def test_a_peer_answers_once_a_turn_and_its_death_is_told(tmp_path: Path) -> None:
    environment = tmp_path / "venv" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").symlink_to(sys.executable)
    script = tmp_path / "peer.py"
    script.write_text(
        'print("ready", flush=True)\n'
        "import json, sys\n"
        "for number, _ in enumerate(sys.stdin):\n"
        '    print(json.dumps({"cpu": 1.5, "wall": 2.5, "outcome": number}), flush=True)\n'
    )
    with PeerProcess(tmp_path / "venv", script, {"x": torch.ones(2)}, tmp_path) as peer:
        assert [peer.turn() for _ in range(2)] == [(0, 1.5, 2.5), (1, 1.5, 2.5)]
    script.write_text("raise SystemExit('no such library')\n")
    with pytest.raises(SystemExit, match=r"peer\.py did not start under"):
        PeerProcess(tmp_path / "venv", script, {"x": torch.ones(2)}, tmp_path).__enter__()


def test_the_loop_that_krnn_is_held_against_has_its_weights() -> None:
    ours, loop = networks(2)
    x = torch.randn(3, 60, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loop(x), ours(x))


def test_the_divergence_of_a_network_from_itself_is_nothing() -> None:
    fused = FusedKronos(network_of("mini", QUICK))
    assert divergence_of(fused, fused, QUICK) == (0.0, 1.0)
    assert divergence_of(fused, FusedKronos(network_of("mini", QUICK), torch.bfloat16), QUICK)[0] > 0
    assert tokens_of(fused.sizes, 2, 5, 3)[2].shape == (2, 8, 5)
    assert Case("mini", 8, 1).words == "Kronos mini batch of 8"
