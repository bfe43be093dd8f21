"""The jobs of a session's schedule that take longer than a moment: they run beside it, and never in its way."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

from config.settings import ROOT
from engine.analysis.daily import NEEDED, write_day
from engine.bars import DAY, iso
from engine.errors import EngineError
from engine.journal.lineage import load_run
from engine.journal.sql import SqlJournal

Tell = Callable[[str, str], None]


def report_yesterday(url: str, run_id: int, now: int, folder: Path, tell: Tell) -> Thread:
    """Write the report of the day before `now` (UTC ns), in a thread of its own with its own connection.

    Args:
        tell: told where it is, or why there is none.
    """

    def write() -> None:
        try:
            with SqlJournal(url, create=False) as journal:
                text, _ = write_day(load_run(journal, run_id, NEEDED), now // DAY * DAY - DAY, folder)
        except (EngineError, OSError) as exc:
            tell("warning", f"no daily report: {exc}")
        else:
            tell("info", f"daily report: {text}")

    thread = Thread(target=write, name="daily report", daemon=True)
    thread.start()
    return thread


def start_training(command: Sequence[str], folder: Path, now: int, tell: Tell) -> subprocess.Popen[bytes] | None:
    """Begin a training in a process of its own; its output goes to a file. The session goes on with the models it has.

    Args:
        command: a program and its arguments; no shell reads them.
    """
    log = folder / f"retrain-{iso(now // 10**9 * 10**9).replace(':', '')}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    except OSError as exc:
        tell("warning", f"the training did not begin: {exc}")
        return None
    tell("info", f"training has begun (process {process.pid}); {log} has what it says")
    return process
