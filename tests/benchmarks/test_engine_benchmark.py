"""The benchmark says what it should, at a size at which its timings mean nothing: no speed is asserted here."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.command import main
from benchmarks.market import panel_bars, reference_bars
from benchmarks.measuring import Stopwatch, take_turns
from benchmarks.ours import OneUnit, SomeTargets, SomeTrades, run_ours, trades_of
from benchmarks.rows import Found, Layer, Row, Timed, markdown, plain
from benchmarks.works import Size
from feeds.memory import MemoryFeed

ROOT = Path(__file__).resolve().parents[2]
BARS = 2_000


def row(work: str, *, equal: bool = True) -> Row:
    return Row(work, 1_250_000.0, 200_000.0, 6.25, "ratio ≥ 6", equal, "bars/s", True, "every fill")


# ── the whole of it, in a process of its own as a user runs it ──────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the rows of a quick run over a few bars."""
    path = tmp_path_factory.mktemp("benchmark") / "rows.json"
    command = [sys.executable, "benchmarks/engine.py", "--quick", "--bars", str(BARS), "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return found


def test_every_row_has_its_figures(rows: list[dict[str, Any]]) -> None:
    for found in rows:
        assert {"work", "ours", "peer", "ratio", "target", "equal"} <= found.keys()
        assert found["work"]
        assert (found["peer"] is None) == (found["ratio"] is None)
        assert (found["target"] is None) == (found["is_met"] is None)


def test_every_speed_stands_beside_a_check_that_came_out_equal(rows: list[dict[str, Any]]) -> None:
    assert [found["work"] for found in rows if not found["equal"] or not found["check"]] == []


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("per-bar strategy, journal on", "≥ 1.2 M bars/s"),
        ("per-bar, journal on ÷ backtesting.py without its statistics", "ratio ≥ 6"),
        ("target-driven strategy, journal on", "≥ 5 M bars/s"),
        ("target-driven, signals computed, journal off ÷ vectorbt rust, its signals given", "ratio ≥ 1"),
        ("cost of a trade", "ratio 0.8 … 1.2"),
        ("journal into SQLite", "≥ 200,000 rows/s"),
        ("through on_slice, TopKDropout", "≥ 2 M symbol-bars/s"),
    ],
)
def test_every_line_of_the_targets_has_a_row(rows: list[dict[str, Any]], words: str, target: str) -> None:
    assert target in [found["target"] for found in rows if words in found["work"]]


def test_peers_are_named_beside_the_ratio(rows: list[dict[str, Any]]) -> None:
    compared = " ".join(found["work"] for found in rows if found["ratio"] is not None)
    for peer in ("backtesting.py", "backtrader", "vectorbt rust", "vectorbt numba"):
        assert peer in compared


@pytest.mark.slow
def test_the_streamed_run_makes_the_fills_of_the_one_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    assert main(["--only", "stream", "--bars", "5000", "--json", str(path)]) == 0
    memory, speed = json.loads(path.read_text("utf-8"))
    assert (memory["unit"], speed["unit"]) == ("MB", "bars/s")


# ── its parts ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_with_fills_that_differ_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def differs(size: Size) -> Found:
        return Found([row("good"), row("bad", equal=False)])

    assert main(["--json", str(tmp_path / "rows.json")], {"reference": differs}) == 1
    assert "NO" in capsys.readouterr().out
    assert [found["equal"] for found in json.loads((tmp_path / "rows.json").read_text("utf-8"))] == [True, False]


def test_only_what_is_named_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []

    def note(name: str) -> Any:
        return lambda size: (ran.append(name), Found([row(name)]))[1]

    assert (
        main(["--only", "panel", "--only", "journal"], {name: note(name) for name in ("journal", "trades", "panel")})
        == 0
    )
    assert ran == ["journal", "panel"]
    capsys.readouterr()


def test_a_quick_run_leaves_out_the_long_stream(capsys: pytest.CaptureFixture[str]) -> None:
    def never(size: Size) -> Found:
        raise AssertionError("the stream takes minutes")

    assert main(["--quick"], {"stream": never}) == 0
    capsys.readouterr()


def test_all_tables_show_every_row() -> None:
    timed = Timed("per bar", 1_000_000, 0.8, 0.7, 120.0, 22_000)
    found = Found([row("a")], [timed], [Layer("makes the bars", 0.3, 0.3)]) + Found([row("b")])
    for text in (plain(found), markdown(found)):
        assert text.count("1.25 M bars/s") == 2
        for figure in ("6.25", "22,000", "0.300"):
            assert figure in text


def test_markdown_tables_have_as_many_columns_as_their_heads() -> None:
    head, rule, cells = markdown(Found([row("a")])).splitlines()[2:]
    assert head.count("|") == rule.count("|") == cells.count("|")


def test_the_best_turn_counts() -> None:
    seconds = iter([3.0, 1.0, 2.0])
    turns = take_turns({"work": lambda: ("done", next(seconds), 5.0)}, 3)
    assert (turns["work"].outcome, turns["work"].cpu, turns["work"].wall) == ("done", 1.0, 5.0)


def test_slow_contenders_take_fewer_turns() -> None:
    order: list[str] = []

    def work(name: str) -> Any:
        return lambda: (order.append(name), 1.0, 1.0)

    take_turns({"quick": work("quick"), "slow": work("slow")}, 3, {"slow": 1})
    assert order == ["quick", "slow", "quick", "quick"]


def test_the_stopwatch_tells_work_from_waiting() -> None:
    with Stopwatch() as watch:
        time.sleep(0.05)
    assert watch.wall >= 0.05 > watch.cpu


def test_a_shorter_market_is_the_beginning_of_a_longer_one() -> None:
    short, long = reference_bars(500), reference_bars(1000)
    assert np.array_equal(short.close, long.close[:500])
    assert np.array_equal(short.close_time, long.close_time[:500])


def test_made_up_bars_are_bars() -> None:
    assert MemoryFeed(reference_bars(500)).row_count == 500
    assert MemoryFeed(panel_bars(7, 30)).row_count == 210


def test_trades_of_a_run_are_what_a_peer_would_list() -> None:
    bars = reference_bars(BARS)
    run = run_ours(MemoryFeed(bars), OneUnit)[0]
    trades = trades_of(run, bars)
    assert len(trades) == run.fills > 20
    assert [side for _, side, _ in trades[:4]] == ["buy", "sell", "buy", "sell"]
    assert [price for _, _, price in trades] == [float(bars.open[place]) for place, _, _ in trades]


@pytest.mark.parametrize("kind", [SomeTrades, SomeTargets])
def test_as_many_trades_are_made_as_asked_for(kind: Any) -> None:
    feed = MemoryFeed(reference_bars(400))
    assert [run_ours(feed, lambda n=n: kind(trades=n))[0].fills for n in (2, 50, 200)] == [2, 50, 200]
