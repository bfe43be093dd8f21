"""Who else looks on at a session: the dashboard, metrics, notifications. Made of plain statuses and alerts."""

import atexit
import time as wall_time
from collections.abc import Callable

from config.dashboard import Dashboard
from config.notifying import Notifier
from config.paper import Edge
from config.session import SessionFacts
from engine.live.session import Session
from engine.live.status import Status
from engine.records import AlertRow

Show = Callable[[Status], None]


class Board:
    """The dashboard, as long as the session lives; the terminal is given back however it ends."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._is_open = False
        atexit.register(self._close)

    def show(self, status: Status) -> None:
        self._open()
        self._dashboard.show(status, wall_time.time_ns())

    def began(self, session: Session, facts: SessionFacts, run_id: int) -> None:
        pass

    def beat(self, session: Session, edge: Edge, state: str) -> None:
        pass

    def told(self, level: str, text: str) -> None:
        self._open()
        self._dashboard.told(level, text)

    def ended(self, state: str) -> None:
        self._close()

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._dashboard.__enter__()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._dashboard.__exit__(None, None, None)


class Notices:
    """Tells a person what he should know: halts and their end, warnings and errors, that the session ended.

    Args:
        notifier: sends; this class only says what.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._alerts_seen: int | None = None
        self._halts: dict[tuple[str, str], str] = {}
        self._run = ""

    def began(self, session: Session, facts: SessionFacts, run_id: int) -> None:
        """Take note of where the session stands; what it was told before is not told again."""
        self._run = f"run {run_id}"
        if self._alerts_seen is None:
            self._alerts_seen = session.core.running.recorder.alert_count
            self._halts = _halts_of(session)
            self._notifier.tell("info", f"{self._run} has begun on {facts.venue} ({facts.broker})")

    def beat(self, session: Session, edge: Edge, state: str) -> None:
        """Tell what is new since the last look."""
        recorder = session.core.running.recorder
        new = recorder.alert_count - (self._alerts_seen or 0)
        self._alerts_seen = recorder.alert_count
        for row in map(AlertRow._make, recorder.latest("alerts", new)) if new > 0 else ():
            if row.level != "info":
                self._notifier.tell(row.level, f"{self._run}: {row.source}: {row.text}")
        halts = _halts_of(session)
        for key, reason in halts.items():
            if key not in self._halts:
                self._notifier.tell("error", f"{self._run} is halted by {_named(key)}: {reason}")
        for key in self._halts.keys() - halts.keys():
            self._notifier.tell("info", f"{self._run}: the halt by {_named(key)} is lifted")
        self._halts = halts

    def told(self, level: str, text: str) -> None:
        if level != "info":
            self._notifier.tell(level, f"{self._run or 'a session'}: {text}")

    def ended(self, state: str) -> None:
        self._notifier.tell("error" if state == "failed" else "info", f"{self._run or 'a session'} has {_ENDS[state]}")
        self._notifier.close()


_ENDS = {"stopped": "stopped", "failed": "failed; it goes on once what failed is mended"}


def _halts_of(session: Session) -> dict[tuple[str, str], str]:
    return {key: halt.reason for key, halt in session.core.gate.halts.items()}


def _named(key: tuple[str, str]) -> str:
    rule, symbol = key
    return f"{rule} ({symbol or 'all'})"
