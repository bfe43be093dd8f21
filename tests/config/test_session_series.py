"""Files of series become inputs of a session, new rows alone; a file that cannot be read is told."""

from dataclasses import replace
from pathlib import Path

import pytest

from config.session_series import SeriesFiles
from config.settings import SeriesSettings
from engine.errors import SettingsError
from engine.journal.memory import MemoryJournal
from engine.live.session import Session
from tests.engine.forecasting.test_joined import SPEC, WITH_SERIES, Sees, SeesRows, session_of
from tests.engine.live.market import run_start

ROWS = "known,fear,greed\n2024-01-01T00:00Z,1,10\n2024-01-02T00:00Z,2,\n"


def begun(model: Sees) -> Session:
    session, _ = session_of(MemoryJournal(), model)
    session.begin(run_start())
    return session


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "fear.csv").write_text(ROWS)
    return tmp_path / "fear.csv"


def files(path: Path, session: Session, said: list[str]) -> SeriesFiles:
    described = SeriesSettings(path=path, time="known")
    return SeriesFiles(
        [described], session.core, now=lambda: 5, tell=lambda level, text: said.append(f"{level} {text}"))


def test_what_is_new_in_a_file_is_told_once(file: Path) -> None:
    session, said = begun(SeesRows(WITH_SERIES)), list[str]()
    found = files(file, session, said)
    [first] = found.look()
    assert (first.columns, first.values[0], len(first.available_at)) == (("fear", "greed"), (1.0, 10.0), 2)
    assert first.values[1][1] != first.values[1][1], "what is not there is not a number"
    session.take([first])
    assert found.look() == []

    file.write_text(ROWS.replace("1,10", "7,70") + "2024-01-03T00:00Z,3,30\n")
    [more] = found.look()
    assert more.values == ((3.0, 30.0),), "what was told stays what it was"
    session.take([more])

    file.write_text("known\n")
    assert found.look() == []
    file.unlink()
    assert found.look() == []
    assert said[-1].startswith("warning a series cannot be read: ")
    file.write_text(ROWS)
    again = files(file, session, said)
    assert again.look() == [], "a session that is gone on with has them in its record"


def test_a_series_that_no_file_has_is_refused_and_one_that_nobody_needs_is_not_read(file: Path) -> None:
    hope = replace(WITH_SERIES, series=(("hope",),))
    with pytest.raises(SettingsError, match="a model joins the series hope; these settings have fear, greed: name its"):
        files(file, begun(SeesRows(hope)), [])
    file.unlink()
    assert files(file, begun(Sees(SPEC)), []).look() == []
