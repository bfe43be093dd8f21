"""What goes wrong with a database, and what the user is told."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import create_engine, update

from engine.errors import JournalError
from engine.journal.lineage import list_runs, load_run
from engine.journal.process import ProcessMark, this_process
from engine.journal.sql import SqlJournal
from engine.journal.tables import runs
from engine.journal.testing import sample_batch, sample_end, sample_start
from engine.records import Batch, RunEnd

OpenJournal = Callable[..., SqlJournal]
ROOT = Path(__file__).parents[3]


# ── opening ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_folders_on_the_way_are_made(tmp_path: Path, open_journal: OpenJournal) -> None:
    open_journal(tmp_path / "runs" / "2024" / "journal.db")

    assert (tmp_path / "runs" / "2024" / "journal.db").exists()


def test_a_journal_that_must_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"there is no journal sqlite:///.*/none.db; a backtest makes one"):
        SqlJournal(tmp_path / "none.db", create=False)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me:s3cret@host/db", "a journal cannot live in 'mysql'; expected a file such as"),
        ("postgresql://me:s3cret@host:port/db", "the journal's URL is not understood; expected a file such as"),
        ("sqlite://", "an SQLite journal needs a file; for one in memory use MemoryJournal"),
        ("sqlite:////dev/null/journal.db", "cannot make the folder /dev/null: "),
    ],
)
def test_a_url_that_cannot_be_used_says_why(url: str, message: str) -> None:
    with pytest.raises(JournalError, match=message) as caught:
        SqlJournal(url)

    assert "s3cret" not in str(caught.value)


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg")

    with pytest.raises(JournalError, match="the server is gone or cannot be reached; check that it runs") as caught:
        SqlJournal("postgresql://me:s3cret@127.0.0.1:1/runs")

    assert "postgresql+psycopg://me:***@127.0.0.1:1/runs: cannot open it: " in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_database_that_is_not_there_is_named(postgres_url: str) -> None:
    with pytest.raises(JournalError, match=r'database "nowhere" does not exist; .*(createdb|check that it runs)'):
        SqlJournal(postgres_url.replace("/journal_", "/nowhere?x=").split("?")[0] + "?" + postgres_url.split("?")[1])


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, " * 100)

    with pytest.raises(JournalError, match="file is not a database; the file is something else than an SQLite"):
        SqlJournal(path)

    assert path.read_text().startswith("not a database")


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_json_cannot_say_becomes_null(url: str, open_journal: OpenJournal) -> None:
    journal = open_journal(url)
    journal.begin(sample_start())
    journal.end(sample_end(result={"sharpe": float("nan"), "best": float("inf"), "trades": 0}))

    assert load_run(journal).run.result == {"sharpe": None, "best": None, "trades": 0}


def test_a_full_disk_stops_the_run_and_keeps_what_was_committed(tmp_path: Path) -> None:
    """A limit on the size of files is the disk that fills up."""
    code = """
import resource, signal, sys
from engine.errors import JournalError
from engine.journal.sql import SqlJournal
from engine.journal.testing import sample_batch, sample_end, sample_start

journal = SqlJournal(sys.argv[1])
journal.begin(sample_start())
journal.write(sample_batch(1, 200))
journal.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
try:
    for number in range(201, 1_000_000, 200):
        journal.write(sample_batch(number, 200))
except JournalError as error:
    print(error)
try:
    journal.end(sample_end())
except JournalError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
    path = tmp_path / "journal.db"
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)

    told = done.stdout.splitlines()
    assert len(told) == 2
    assert told[0] == told[1]
    assert "cannot write run 1: " in told[0]
    assert "; the disk is full" in told[0] or "; free some space on the disk" in told[0]
    with SqlJournal(path) as journal:
        record = load_run(journal)
    assert len(record.fills) >= 200
    assert len(record.fills) % 200 == 0
    assert record.run.status in ("failed", "crashed")


def test_a_journal_that_may_only_be_read_can_be_read(tmp_path: Path, open_journal: OpenJournal) -> None:
    with SqlJournal(tmp_path / "journal.db") as journal:
        journal.begin(sample_start())
        journal.write(sample_batch())
        journal.end(sample_end())

    read_only = open_journal(f"sqlite:///file:{tmp_path}/journal.db?mode=ro&uri=true")

    assert len(load_run(read_only).fills) == 1
    with pytest.raises(JournalError, match="cannot begin a run: attempt to write a readonly database; the file or its"):
        read_only.begin(sample_start())


def hold_lock(path: Path, seconds: float) -> Thread:
    """Hold the write lock of an SQLite file from another connection for a while."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")

    def let_go() -> None:
        time.sleep(seconds)
        connection.close()

    thread = Thread(target=let_go)
    thread.start()
    return thread


def test_a_lock_that_goes_away_is_waited_for(sqlite_path: Path, open_journal: OpenJournal) -> None:
    journal = open_journal(sqlite_path, lock_timeout=20.0)
    journal.begin(sample_start())
    holder = hold_lock(sqlite_path, 0.3)
    journal.write(sample_batch())
    journal.end(sample_end())
    holder.join()

    assert load_run(journal).run.status == "completed"


def test_a_lock_that_stays_is_reported(sqlite_path: Path, open_journal: OpenJournal) -> None:
    journal = open_journal(sqlite_path, lock_timeout=0.1)
    journal.begin(sample_start())
    journal.write(sample_batch(1, 10))
    journal.flush()
    holder = hold_lock(sqlite_path, 1.5)
    journal.write(sample_batch(11, 10))

    with pytest.raises(JournalError, match="cannot write run 1: database is locked; another process keeps the file"):
        journal.flush()
    holder.join()

    assert len(load_run(journal).fills) == 10


def test_after_an_error_every_call_says_it_again_until_the_next_run(url: str, open_journal: OpenJournal) -> None:
    journal = open_journal(url)
    journal.begin(sample_start())
    journal.write(Batch(fills=[("one", "two")]))

    for call in (journal.flush, lambda: journal.write(sample_batch()), lambda: journal.end(sample_end())):
        with pytest.raises(JournalError, match="cannot write run 1: "):
            call()

    run = load_run(journal).run
    assert run.status == "failed"
    assert "cannot write run 1" in run.error
    assert journal.begin(sample_start()) == 2
    journal.write(sample_batch())
    journal.end(sample_end())
    assert load_run(journal, 2).run.status == "completed"


def test_what_follows_an_error_is_not_written(url: str, open_journal: OpenJournal) -> None:
    journal = open_journal(url)
    journal.begin(sample_start())
    journal.write(sample_batch(1, 5))
    half = sample_batch(6, 200)
    half.fills[100] = (*half.fills[100][:5], "hold", *half.fills[100][6:])    # a side that a CHECK forbids
    journal.write(half)
    with pytest.raises(JournalError, match="ck_fills_side.*; a row breaks a rule of its table"):
        journal.end(sample_end())

    record = load_run(journal)

    assert [len(record.orders), len(record.fills)] == [5, 5]


def test_a_server_that_drops_the_connection_is_reported(postgres_url: str, open_journal: OpenJournal) -> None:
    journal = open_journal(postgres_url)
    journal.begin(sample_start())
    journal.write(sample_batch(1, 5))
    journal.flush()
    other = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with other.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'barcast' AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    other.dispose()
    journal.write(sample_batch(6, 5))

    with pytest.raises(JournalError, match=r"cannot write run 1: .*; the server is (gone|shutting down)"):
        journal.end(sample_end())

    # The server is back: what was committed is there, and the journal goes on.
    record = load_run(journal)
    assert (record.run.status, len(record.fills)) == ("failed", 5)
    assert journal.begin(sample_start()) == 2


def test_postgres_refuses_a_fill_without_an_order(postgres_url: str, open_journal: OpenJournal) -> None:
    journal = open_journal(postgres_url)
    journal.begin(sample_start())
    journal.write(Batch(fills=sample_batch().fills))

    with pytest.raises(JournalError, match=r"violates foreign key constraint .*fk_fills_run_id_order_id"):
        journal.flush()


# ── runs whose process is gone ───────────────────────────────────────────────────────────────────────────────────────


def leave_running(url: str, mark: ProcessMark) -> None:
    """Leave a run that says it is still written by that process."""
    with SqlJournal(url) as journal:
        journal.begin(sample_start())
        journal.write(sample_batch(1, 3))
        journal.end(sample_end())
        with journal._database.begin() as connection:
            connection.execute(update(runs).values(
                status="running", result={}, bars=None, finished_at=None, pid=mark.pid, host=mark.host, boot=mark.boot,
                pid_namespace=mark.namespace, process_started=mark.started,
            ))


def gone() -> ProcessMark:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return replace(this_process(), pid=done.pid)


def test_a_run_whose_process_is_gone_is_marked_crashed(url: str, open_journal: OpenJournal) -> None:
    leave_running(url, gone())

    record = load_run(open_journal(url))

    assert (record.run.status, record.run.bars, len(record.fills)) == ("crashed", None, 3)
    assert record.run.error.startswith("its process ended without closing the run")


@pytest.mark.parametrize("mark", [this_process(), replace(this_process(), host="elsewhere", pid=999_999_999)])
def test_a_run_that_may_be_alive_is_left_alone(url: str, open_journal: OpenJournal, mark: ProcessMark) -> None:
    leave_running(url, mark)

    journal = open_journal(url)

    assert list_runs(journal)[0].status == "running"
    journal.mark_crashed(1)
    assert list_runs(journal)[0].status == "crashed"


def test_a_run_that_ended_is_never_marked(url: str, open_journal: OpenJournal) -> None:
    journal = open_journal(url)
    journal.begin(sample_start())
    journal.end(sample_end())

    journal.mark_crashed(1)

    assert list_runs(journal)[0].status == "completed"


def test_a_journal_that_may_only_be_read_shows_a_crash_too(sqlite_path: Path, open_journal: OpenJournal) -> None:
    leave_running(str(sqlite_path), gone())

    journal = open_journal(f"sqlite:///file:{sqlite_path}?mode=ro&uri=true")

    assert list_runs(journal)[0].status == "crashed"


def test_closing_twice_is_closing_once(url: str) -> None:
    journal = SqlJournal(url)
    journal.begin(sample_start())
    journal.close()
    journal.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_that_closes_leaves_the_run_alone(sqlite_path: Path, open_journal: OpenJournal) -> None:
    journal = open_journal(sqlite_path)
    journal.begin(sample_start())
    child = os.fork()
    if child == 0:
        try:
            journal.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    journal.write(sample_batch())
    journal.end(RunEnd("completed", 1, 1))

    assert load_run(journal).run.status == "completed"


def options_of(journal: SqlJournal) -> dict[str, Any]:
    with journal._database.connect() as connection:
        names = ("synchronous_commit", "lock_timeout", "application_name")
        return {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names}


def test_postgres_waits_for_its_disk_only_where_asked(postgres_url: str, open_journal: OpenJournal) -> None:
    quick, durable = open_journal(postgres_url, lock_timeout=5.0), open_journal(postgres_url, durable=True)

    assert options_of(quick) == {"synchronous_commit": "off", "lock_timeout": "5s", "application_name": "barcast"}
    assert options_of(durable)["synchronous_commit"] == "on"
