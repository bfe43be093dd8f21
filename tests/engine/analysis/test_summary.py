import io
from dataclasses import replace
from typing import Any

import pytest

from engine.analysis.report_data import ReportData, report_from_journal, report_from_result
from engine.analysis.summary import COLUMNS, default_next_steps, print_summary, summary_text
from engine.bars import Bars


@pytest.fixture
def data(swinging: Any, wandering: Bars) -> ReportData:
    return report_from_result(swinging.result(), bars=wandering)


def printed(data: ReportData, *, terminal: bool, width: int = 120) -> str:
    console = pytest.importorskip("rich.console")
    out = io.StringIO()
    print_summary(data, console=console.Console(file=out, force_terminal=terminal, width=width))
    return out.getvalue()


def test_without_a_terminal_the_summary_is_plain_text(data: ReportData) -> None:
    text = printed(data, terminal=False, width=40)
    assert text.rstrip("\n") == summary_text(data, next_steps=default_next_steps(data))
    assert "\x1b" not in text
    assert "─" not in text
    assert f"Assumption card {data.card['hash'][:12]}, profile default" in text
    assert "  Win rate" in text


@pytest.mark.parametrize("width", [50, 80, 120, 200])
def test_a_terminal_of_any_width_shows_every_figure(data: ReportData, width: int) -> None:
    text = printed(data, terminal=True, width=width)
    for title, _ in COLUMNS:
        assert title in text
    assert "python main.py report 3" in text
    lines = io.StringIO(text).readlines()
    assert len(lines) < 70


def test_strange_names_are_not_taken_for_markup(data: ReportData) -> None:
    odd = replace(data, strategy="[red]x[/red] [/]")
    assert "[red]x[/red] [/]" in printed(odd, terminal=False)
    assert "[red]x[/red] [/]" in printed(odd, terminal=True)


def test_the_worst_trade_is_the_next_thing_to_look_at(data: ReportData) -> None:
    closed = data.trades.closed
    worst = int(closed.exit_order_id[closed.net_profit.argmin()])
    assert (
        f"python main.py why r3-{worst}",
        "the order that closed the worst trade, back to its bar",
    ) in default_next_steps(data)


def test_a_run_without_anything_has_a_summary() -> None:
    empty = report_from_journal({}, fills=(), equity=(), status="failed")
    assert "No result" in printed(empty, terminal=False)
    assert "FAILED" in printed(empty, terminal=True)
