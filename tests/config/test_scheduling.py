"""APScheduler only wakes: what is late is late, never skipped; what was due several times is due once."""

import time
from datetime import UTC, datetime

import pytest

from config.scheduling import Schedule, next_close


def waited(schedule: Schedule, count: int) -> list[str]:
    found: list[str] = []
    deadline = time.monotonic() + 120
    while len(set(found)) < count and time.monotonic() < deadline:
        found += schedule.due()
        time.sleep(0.02)
    return found


def test_jobs_put_their_names_on_a_queue_and_nothing_else() -> None:
    schedule = Schedule(["1s"], grace=0.0, seconds={"heartbeat": 1}, daily_at=None)
    schedule.start()
    assert set(waited(schedule, 2)) == {"bar_close:1s", "heartbeat"}
    schedule.close()
    schedule.due()
    assert schedule.due() == []


def test_no_job_is_ever_skipped_for_being_late() -> None:
    schedule = Schedule(["1m", "1h"], seconds={"reconcile": 300, "heartbeat": 5, "score": 60}, retrain="1d")
    assert set(schedule.jobs()) == {
        "bar_close:1m", "bar_close:1h", "reconcile", "heartbeat", "score", "daily_report", "retrain"}
    assert set(schedule.jobs().values()) == {(None, True)}, "APScheduler's own default drops what is a second late"


def test_what_was_due_several_times_is_due_once() -> None:
    schedule = Schedule([], seconds={"heartbeat": 1}, daily_at=None)
    for name in ("heartbeat", "score", "heartbeat"):
        schedule._due.put(name)
    assert schedule.due() == ["heartbeat", "score"]


@pytest.mark.parametrize(
    ("now", "timeframe", "close"),
    [
        ("2026-11-30T20:27:13", "1m", "2026-11-30T20:28:00"),
        ("2026-11-30T20:27:00", "1m", "2026-11-30T20:28:00"),  # this one has just closed
        ("2026-11-30T20:27:13", "4h", "2026-12-01T00:00:00"),
        ("2026-11-30T20:27:13", "1d", "2026-12-01T00:00:00"),
        ("2026-12-02T20:27:13", "1w", "2026-12-07T00:00:00"),  # a Monday
    ],
)
def test_bars_close_at_multiples_of_their_length(now: str, timeframe: str, close: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert next_close(at, timeframe) == datetime.fromisoformat(close).replace(tzinfo=UTC)
