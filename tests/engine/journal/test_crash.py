"""Real processes that are killed, interrupted, or write at the same time."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.journal.lineage import list_runs, load_run, unresolved_fills
from engine.journal.reading import RunRecord
from engine.journal.sql import SqlJournal
from engine.journal.testing import sample_batch

OpenJournal = Callable[..., SqlJournal]
StartWriting = Callable[..., subprocess.Popen[str]]
ROOT = Path(__file__).parents[3]
TRADES = 40
"""Trades in a batch: each adds a decision, an order, two events, a fill and an equity row."""

WRITE = """
import sys
from engine.journal.sql import SqlJournal
from engine.journal.testing import sample_batch, sample_end, sample_start

url, batches, trades = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with SqlJournal(url) as journal:
    journal.begin(sample_start())
    print("begun", flush=True)
    for number in range(batches):
        journal.write(sample_batch(1 + number * trades, trades))
    journal.end(sample_end())
"""


@pytest.fixture
def start_writing() -> Iterator[StartWriting]:
    """Starts processes that write a run each, and waits until they have begun it; ends them after the test."""
    with ExitStack() as stack:
        def start(url: str, batches: int, *, wait: bool = True) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", WRITE, url, str(batches), str(TRADES)]
            pipe = subprocess.PIPE
            writing = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True))
            stack.callback(writing.kill)
            if wait:
                assert writing.stdout is not None
                assert writing.stdout.readline() == "begun\n"
            return writing

        yield start


def assert_whole(record: RunRecord) -> None:
    """Every table holds the same whole number of batches."""
    batches, rest = divmod(len(record.fills), TRADES)
    assert rest == 0
    expected = sample_batch(1, batches * TRADES)
    assert list(record.decisions) == expected.decisions
    assert list(record.orders) == expected.orders
    assert list(record.order_events) == expected.order_events
    assert list(record.fills) == expected.fills
    assert list(record.equity) == expected.equity


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_is_marked_crashed_and_what_it_wrote_is_whole(
    url: str, open_journal: OpenJournal, start_writing: StartWriting, seed: int
) -> None:
    writing = start_writing(url, 100_000)
    time.sleep(random.Random(seed).uniform(0.0, 0.4))
    writing.kill()
    writing.wait()

    journal = open_journal(url)

    record = load_run(journal)
    assert record.run.status == "crashed"
    assert list_runs(journal)[0].fills == len(record.fills), "counted, though the run never said how many"
    assert_whole(record)
    assert unresolved_fills(journal) == ()
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()


def test_ctrl_c_leaves_the_run_interrupted_and_whole(
    url: str, open_journal: OpenJournal, start_writing: StartWriting
) -> None:
    writing = start_writing(url, 100_000)
    time.sleep(0.2)
    writing.send_signal(signal.SIGINT)
    _, told = writing.communicate(timeout=120)

    record = load_run(open_journal(url))

    assert told.rstrip().endswith("KeyboardInterrupt")
    assert (record.run.status, record.run.error) == ("interrupted", "KeyboardInterrupt")
    assert_whole(record)


def test_a_process_that_forgets_to_close_leaves_the_run_interrupted_and_whole(
    url: str, open_journal: OpenJournal
) -> None:
    forgetful = WRITE.replace("with SqlJournal(url) as journal:", "journal = SqlJournal(url)\nif True:").replace(
        "    journal.end(sample_end())\n", ""
    )
    subprocess.run([sys.executable, "-c", forgetful, url, "5", str(TRADES)], cwd=ROOT, capture_output=True, check=True)

    record = load_run(open_journal(url))

    assert (record.run.status, len(record.fills)) == ("interrupted", 5 * TRADES)
    assert_whole(record)


def test_several_processes_write_into_one_new_journal_at_once(
    url: str, open_journal: OpenJournal, start_writing: StartWriting
) -> None:
    together = [start_writing(url, 30, wait=False) for _ in range(3)]
    for writing in together:
        _, told = writing.communicate(timeout=60)
        assert (writing.returncode, told) == (0, "")

    journal = open_journal(url)

    assert [(run.id, run.status) for run in list_runs(journal)] == [(number, "completed") for number in (3, 2, 1)]
    for run_id in (1, 2, 3):
        record = load_run(journal, run_id)
        assert len(record.fills) == 30 * TRADES
        assert_whole(record)


def test_opening_a_journal_leaves_a_run_that_another_process_writes_alone(
    url: str, open_journal: OpenJournal, start_writing: StartWriting
) -> None:
    writing = start_writing(url, 100_000)

    journal = open_journal(url)

    assert list_runs(journal)[0].status == "running"
    writing.kill()
    writing.wait()
    assert list_runs(journal)[0].status == "crashed"
