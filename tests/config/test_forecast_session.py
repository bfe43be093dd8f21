"""A session whose strategy acts on Kronos' sampled paths, stopped twice and killed once, comes about again."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from config.replaying import replay
from config.settings import load_settings
from engine.errors import JournalError
from engine.journal.lineage import load_run, unresolved_fills, why
from engine.journal.sql import SqlJournal
from models.examples import EXAMPLES
from tests.config.sessions import DEADLINE, journalled, run_until
from tests.venue.demo import settings_of
from tests.venue.server import VenueServer
from tests.venue.sources import synthetic

ROOT = Path(__file__).resolve().parents[2]
STRATEGY = """
[strategy]
name = "ForecastThreshold"
parameters = { model = "kronos", every = "2m", cost = 0.0, edge = 0.0 }

[models.kronos]
artefact = "kronos"
device = "cpu"
options = { horizon = 4, samples = 3 }

[forecasts]
store = "forecasts.db"
"""


@pytest.fixture
def venue() -> Iterator[VenueServer]:
    with VenueServer(
        synthetic(["BTC/USDT"], rows=4000, seed=7), speed=120, starts_now=True
    ).start_in_thread() as server:
        yield server


@pytest.fixture
def settings_file(venue: VenueServer, tmp_path: Path) -> Path:
    EXAMPLES["kronos"](tmp_path / "kronos")
    card = tmp_path / "kronos" / "artefact.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "timeframe": "1m"}))
    text = settings_of(venue.url).replace("history = 60", "history = 80")
    head, _, tail = text.partition("[strategy]")
    text = head + STRATEGY + "\n[account]" + tail.partition("[account]")[2]
    file = tmp_path / "session.toml"
    file.write_text(text.replace('late_after = "5m"', 'late_after = "2h"'))
    return file


def bars_of(url: str) -> int:
    """Return how many inputs a running session has recorded."""
    try:
        with SqlJournal(url, create=False) as journal:
            return len(load_run(journal, 1, ("session_inputs",)).session_inputs)
    except JournalError:  # it is not there yet, or busy
        return 0


def killed(file: Path, url: str) -> None:
    """Run the session in a process of its own and kill it once it has gone on for some bars."""
    before = bars_of(url)
    process = subprocess.Popen(
        [sys.executable, "main.py", "paper", str(file), "--plain"], cwd=ROOT, stdout=subprocess.DEVNULL)
    end = time.monotonic() + DEADLINE
    while bars_of(url) < before + 8:
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < end, "no bar came"
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_session_with_forecasts_stopped_twice_and_killed_once_replays(settings_file: Path) -> None:
    settings = load_settings(settings_file)

    def count_of(table: str) -> int:
        return len(journalled(settings, f"SELECT 1 FROM {table}"))

    run_id = run_until(settings, lambda: count_of("fills") > 0 and count_of("forecasts") >= 3)
    killed(settings_file, settings.journal.url)
    for _ in range(2):
        wanted = count_of("session_inputs") + 6
        assert run_until(settings, lambda wanted=wanted: count_of("session_inputs") >= wanted) == run_id

    with SqlJournal(settings.journal.url) as journal:
        record, came = load_run(journal, run_id), replay(journal, run_id)
        assert unresolved_fills(journal, run_id) == ()
        assert "of kronos (model " in str(why(journal, f"r{run_id}-1"))
    assert came.is_same, str(came.divergence)
    times = [row.time for row in record.session_inputs if row.kind == "bars_closed"]
    assert {later - earlier for earlier, later in pairwise(times)} == {60 * 10**9}
    assert record.forecasts
    assert record.fills
    assert record.decision_forecasts
    assert any(row.kind == "forecasts_timed" for row in record.session_inputs)
