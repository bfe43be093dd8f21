"""The daily report of a session: written by the session itself when the day is over, or by `daily` for any day."""

from datetime import UTC, date, datetime
from pathlib import Path

from config.operating import find_session
from engine.analysis.comparison_text import Block
from engine.analysis.daily import NEEDED, day_of, days_of, write_day
from engine.bars import iso, nanoseconds
from engine.errors import JournalError, SettingsError
from engine.journal.lineage import load_run
from engine.journal.sql import SqlJournal


def daily_report(
    journal: SqlJournal, run_id: int | None, day: str | None = None, folder: Path | None = None
) -> tuple[list[Block], tuple[Path, ...]]:
    """Return a day of a session, and the files it was written to.

    Args:
        run_id: the newest session if None. day: such as 2026-11-30, UTC; the last on which anything happened if None.
        folder: where to write it; nowhere if None.
    Raises:
        JournalError: there is no such session, or it did nothing on that day. SettingsError: the day is no date.
    """
    found = find_session(journal, run_id)
    record = load_run(journal, found.run.id, NEEDED)
    days = days_of(record)
    if not days:
        raise JournalError(f"run {found.run.id} has not done anything yet; there is nothing to report")
    wanted = days[-1] if day is None else _start_of(day)
    if wanted not in days:
        span = f"{iso(days[0])[:10]} to {iso(days[-1])[:10]}"
        raise JournalError(f"run {found.run.id} did nothing on {day}; its days are {span}")
    files = write_day(record, wanted, folder) if folder is not None else ()
    return day_of(record, wanted), files


def _start_of(day: str) -> int:
    try:
        parsed = date.fromisoformat(day)
    except ValueError:
        raise SettingsError(f"--day is {day!r}; expected a date such as 2026-11-30, UTC") from None
    return nanoseconds(datetime(parsed.year, parsed.month, parsed.day, tzinfo=UTC))
