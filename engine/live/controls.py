"""What a person wants of a session, from outside its process: rows in the journal, and a file whose presence halts.

The session asks now and then; what it hears becomes an input like any other, so that a replay hears it too.
"""

from collections.abc import Callable
from pathlib import Path

from engine.journal.reading import Readable
from engine.live.inputs import Commanded
from engine.records import CommandRow

HALT, LIFT, FLATTEN, CANCEL_ALL, STOP = "halt", "lift", "flatten", "cancel_all", "stop"
KILL_SWITCH = "kill switch"
"""Who commands when the file is there."""

_ALL = 2**62


class Controls:
    """Hears the commands of one run that were not heard before, and looks whether the kill-switch file is there.

    While the file is there, a lift is followed by a halt at once: a person removes the file first. Its first line is
    the reason; if that begins with "flatten", positions are closed too.

    Args:
        journal: read, never written. heard: the largest `number` among the commands recorded
            before, for a session that goes on after a stop.
        kill_switch: a path; None for none. now: our clock, UTC nanoseconds.
    """

    def __init__(
        self, journal: Readable, run_id: int, *, now: Callable[[], int], heard: int = 0, kill_switch: Path | None = None
    ) -> None:
        self._journal = journal
        self._run_id = run_id
        self._now = now
        self._kill_switch = kill_switch
        self._is_killed = False
        self.heard = heard

    def poll(self) -> list[Commanded]:
        """Return what is new, oldest first, the kill switch last. Times are our clock's at which it was heard.

        Raises:
            JournalError: the journal cannot be read now; ask again later, nothing is lost.
        """
        found = [*self._commands()]
        file = self._kill_switch
        text = None if file is None else _first_line(file)
        if text is None:
            self._is_killed = False
        elif not self._is_killed or any(one.kind == LIFT for one in found):
            self._is_killed = True
            kind = FLATTEN if text.lower().startswith(FLATTEN) else HALT
            found.append(Commanded(self._now(), kind, f"{file} is there{text and f': {text}'}", KILL_SWITCH))
        return found

    def _commands(self) -> list[Commanded]:
        with self._journal.snapshot() as reader:
            rows = reader.rows_between(CommandRow, self._run_id, self.heard + 1, _ALL)
        if rows:
            self.heard = rows[-1].id
        now = self._now()
        return [Commanded(now, row.kind, row.why, row.actor, row.symbol, row.rule, row.id) for row in rows]


def _first_line(file: Path) -> str | None:
    """Return the first line of the file; "" if it is empty or cannot be read, None if it is not there."""
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    except OSError:
        return ""  # a folder, or not ours to read: it is there
    return lines[0].strip()[:200] if lines else ""
