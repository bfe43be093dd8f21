"""The dashboard says everything a status has, and leaves out what there is none of."""

import io

from rich.console import Console

from config.dashboard import Dashboard, status_view
from engine.live.status import Status
from tests.engine.live.test_status import EMPTY, FULL, SECOND


def shown(status: Status, now: int = 100 * SECOND) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(status_view(status, now))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_everything_that_a_status_has_is_shown() -> None:
    text = shown(FULL)
    for word in (
        "run 3", "halted", "positions", "-0.5", "orders", "limit", "89", "last decisions", "fast below slow", "krnn",
        "1 min", "STALE", "halts", "lunch (by ann)", "it is lifted", "alerts", "reconnected", "feed lag 0.40 s",
        "forecast age 1 min", "clock -20 ms", "bar to orders 1.0 ms, p99 20.0",
    ):
        assert word in text, word


def test_what_there_is_none_of_is_left_out() -> None:
    text = shown(EMPTY)
    assert not any(title in text for title in ("positions", "orders ", "halts", "alerts", "forecasts"))
    assert "feed lag –" in text


def test_long_tables_are_cut_and_say_so() -> None:
    many = Status(**{**vars(FULL), "decisions": FULL.decisions * 30})
    assert "and 22 more" in shown(many)


def test_a_dashboard_is_drawn_and_gives_the_terminal_back() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with Dashboard(console) as dashboard:
        dashboard.show(FULL, 100 * SECOND)
        dashboard.told("warning", "the venue is away")
        dashboard.show(EMPTY, 100 * SECOND)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "the venue is away" in text
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor is shown again"
