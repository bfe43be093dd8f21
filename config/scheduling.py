"""What is due when, while a session runs: APScheduler wakes us, and does nothing else.

A job puts its name on a queue; the session's own thread takes it from there and does the work, so that nothing runs
beside the engine. A job that comes late is late, never skipped (`misfire_grace_time=None`; APScheduler's default
silently drops what is a second late), and one that was due several times meanwhile is due once (`coalesce=True`).
"""

import queue
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.bars import Timeframe, nanoseconds

BAR_CLOSE, RECONCILE, EQUITY, HEARTBEAT, SCORE, DAILY_REPORT, RETRAIN, TRAININGS = (
    "bar_close", "reconcile", "equity", "heartbeat", "score", "daily_report", "retrain", "trainings")
"""Bars should have closed; the venue's books are due for comparison; equity is written down; the status is; forecasts
whose horizon has closed are scored; the day is over; a command of the settings is due; trainings are looked after."""


class Schedule:
    """The jobs of one session.

    Args:
        timeframes: whose closes are looked after; grace: seconds after a close until its bars should be there.
        seconds: how often, by job; those left out are never due. daily_at: UTC hour and minute of the daily report.
        retrain: a span such as "1d" between trainings.
    """

    def __init__(
        self, timeframes: Sequence[str], *, grace: float = 2.0, seconds: dict[str, float] | None = None,
        daily_at: tuple[int, int] | None = (0, 1), retrain: str | None = None,
    ) -> None:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler
        from apscheduler.triggers.cron import CronTrigger
        from apscheduler.triggers.interval import IntervalTrigger

        self._due: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
            executors={"default": ThreadPoolExecutor(1)},
        )
        for timeframe in dict.fromkeys(timeframes):
            every = timedelta(seconds=Timeframe.parse(timeframe).duration / 1e9)
            first = next_close(datetime.now(UTC), timeframe) + timedelta(seconds=grace)
            trigger = IntervalTrigger(seconds=int(every.total_seconds()), start_date=first, timezone=UTC)
            self._add(f"{BAR_CLOSE}:{timeframe}", trigger)
        for name, span in (seconds or {}).items():
            self._add(name, IntervalTrigger(seconds=span, timezone=UTC))
        if daily_at is not None:
            self._add(DAILY_REPORT, CronTrigger(hour=daily_at[0], minute=daily_at[1], timezone=UTC))
        if retrain is not None:
            span = Timeframe.parse(retrain).duration / 1e9
            self._add(RETRAIN, IntervalTrigger(seconds=int(span), timezone=UTC))

    def start(self) -> None:
        """Begin to wake."""
        self._scheduler.start()

    def due(self) -> list[str]:
        """Return the names of what has become due since the last call, each once, in order; a close as
        "bar_close:1m"."""
        found: dict[str, None] = {}
        while not self._due.empty():
            found[self._due.get()] = None
        return list(found)

    def jobs(self) -> dict[str, Any]:
        """Return every job with its terms, for people and tests: (misfire grace, coalesce)."""
        return {job.id: (job.misfire_grace_time, job.coalesce) for job in self._scheduler.get_jobs()}

    def close(self) -> None:
        """End; nothing is waited for."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _add(self, name: str, trigger: Any) -> None:
        self._scheduler.add_job(
            self._due.put, trigger, args=(name,), id=name, name=name, misfire_grace_time=None, coalesce=True)


def next_close(now: datetime, timeframe: str) -> datetime:
    """Return when the next bar of a timeframe closes, in multiples since 1970 (weeks begin on Mondays, as venues')."""
    duration = Timeframe.parse(timeframe).duration
    offset = 4 * 86_400_000_000_000 if timeframe.endswith("w") else 0  # 1970-01-05 was a Monday
    time = nanoseconds(now)
    following = (time - offset) // duration * duration + offset + duration
    return datetime.fromtimestamp(following / 1e9, UTC)
