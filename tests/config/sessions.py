"""Sessions that go on until something is true of them, however slow the machine is."""

import sqlite3
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic
from typing import Any

from config.live import run_paper
from config.settings import Settings

DEADLINE = 240.0
"""Seconds after which a fact that has not come true never will; far more than a slow machine needs."""
Rows = list[tuple[Any, ...]]


def journalled(settings: Settings, query: str) -> Rows:
    """Return what a query finds in the journal of a session that runs; nothing while there is no journal."""
    path = settings.journal.url.removeprefix("sqlite:///")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()
    except sqlite3.OperationalError as exc:
        if "no such table" in str(exc) or "unable to open" in str(exc):
            return []
        raise


def run_until(settings: Settings, fact: Callable[[], bool], **options: Any) -> int:
    """Run a session until `fact` is true, stop it so that it can be gone on with, and return the run's number."""
    stop, held = Event(), Event()

    def look() -> None:
        deadline = monotonic() + DEADLINE
        while not stop.is_set() and monotonic() < deadline:
            if fact():
                held.set()
                break
            stop.wait(0.05)
        stop.set()

    looking = Thread(target=look)
    looking.start()
    try:
        run_id = run_paper(settings, stop=stop, **options)
    finally:
        stop.set()
        looking.join()
    assert held.is_set(), f"what the session was to be run for did not come within {DEADLINE:g} s"
    return run_id
