"""A session's twin has its bars and nothing else, fills as a backtest does, and is explained beside it."""

from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any

import pytest
from typer.testing import CliRunner

import main
from config.explaining import explain_runs
from config.operating import find_session
from config.paper import PaperRun
from config.replaying import replay
from config.settings import Settings
from config.twins import make_twin
from engine.analysis.explain_books import DIGITS, Part
from engine.errors import JournalError
from engine.journal.lineage import load_run
from engine.journal.sql import SqlJournal
from engine.live.inputs import Commanded, Input
from tests.config.test_paper import Bars, journal_of, settings  # noqa: F401  a fixture
from tests.engine.live.market import START, run_start


class HaltedBars(Bars):
    """Bars with a person's halt before the sixtieth."""

    def open(self, *told: Any) -> Any:
        made = super().open(*told)
        inputs: list[Input] = list(self._inputs)
        self._inputs = iter([*inputs[:60], Commanded(START, "halt", "strange", "ann"), *inputs[60:]])
        return made


def ran(settings: Settings, edge: type[Bars]) -> None:  # noqa: F811
    stop = Commanded(START, "stop", "enough", "ann")
    PaperRun(settings, lambda: edge(120, lambda: stop), now=lambda: START).run()


def test_the_twin_of_an_undisturbed_session_is_the_same(settings: Settings) -> None:  # noqa: F811
    ran(settings, Bars)
    with journal_of(settings) as journal:
        assert make_twin(journal, None) == (1, 2)
        session, twin = load_run(journal, 1), load_run(journal, 2)
        assert twin.fills == session.fills
        assert twin.run.start.settings["run"]["name"].endswith("(twin of run 1)")
        assert find_session(journal, None).run.id == 1, "people operate sessions, not their twins"
        assert replay(journal, 2).is_same
    found = explain_runs(1, 2, settings.journal.url)
    assert found.gap == 0


def test_what_a_halt_kept_a_session_from_is_no_fill(
    settings: Settings, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
) -> None:
    ran(settings, HaltedBars)
    monkeypatch.setenv("BARCAST_JOURNAL", settings.journal.url)
    done = CliRunner().invoke(main.app, ["explain", "1", "--top", "3"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "run 2 is run 1 again, its bars filled as a backtest fills them" in done.output
    assert "A refused: operator: halted since" in done.output
    found = explain_runs(1, 2, settings.journal.url)
    with localcontext(DIGITS):
        moved = sum((abs(amount) for amount in found.parts.values()), Decimal(0))
        assert sum(found.parts.values()) == found.gap
    assert abs(found.parts[Part.NO_FILL]) / moved > Decimal("0.95")


def test_a_session_without_bars_has_no_twin(settings: Settings) -> None:  # noqa: F811
    with SqlJournal(settings.journal.url) as journal:
        journal.begin(replace(run_start(), kind="backtest"))
        with pytest.raises(JournalError, match="run 1 is a backtest; expected a live session"):
            make_twin(journal, 1)
