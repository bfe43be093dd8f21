"""`replay`: a recorded session run again from the journal alone: row by row the same, or the first difference."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from config.manifest import code_version
from config.session import facts_of, session_core, settings_of
from engine.errors import DivergenceError
from engine.journal.lineage import load_run
from engine.journal.memory import MemoryJournal
from engine.journal.reading import Readable
from engine.live.rows import Divergence
from engine.live.session import Session
from engine.records import DecisionRow, FillRow, OrderEventRow, OrderRow, SessionInputRow


@dataclass(frozen=True)
class Replay:
    """What came of a replay.

    Args:
        rows: how many rows were compared until the end, or until they differed.
        hashes: SHA-256 of the recorded rows by table; equal ones came about. divergence: None if all did.
    """

    run_id: int
    inputs: int
    rows: int
    hashes: dict[str, str]
    code_recorded: str
    code_now: str
    divergence: Divergence | None = None

    @property
    def is_same(self) -> bool:
        return self.divergence is None

    def as_dict(self) -> dict[str, Any]:
        """Return the certificate, JSON-ready."""
        return {
            "run_id": self.run_id, "same": self.is_same, "inputs": self.inputs, "rows": self.rows,
            "hashes": self.hashes, "code_recorded": self.code_recorded, "code_now": self.code_now,
            "first_difference": str(self.divergence) if self.divergence else None,
        }


def replay(journal: Readable, run_id: int | None) -> Replay:
    """Run a recorded session again: the same engine and strategy, its recorded bars, reports, commands and timings.

    Args:
        run_id: None for the newest run.
    Raises:
        JournalError: there is no such run, or it is no session.
    """
    run = load_run(journal, run_id, ()).run
    facts, settings = facts_of(run), settings_of(run)
    with journal.snapshot() as reader, session_core(settings, facts, MemoryJournal()) as made:
        hashes = {
            name: _hash_of(reader.rows(kind, run.id))
            for name, kind in (
                ("inputs", SessionInputRow), ("decisions", DecisionRow), ("orders", OrderRow),
                ("order_events", OrderEventRow), ("fills", FillRow),
            )
        }
        session = Session(made.core, made.recording, timings=made.timings)
        try:
            again = session.run_again(run.id, reader)
        except DivergenceError as difference:
            done = made.recording.check.compared if made.recording.check is not None else 0
            return Replay(
                run.id, session.inputs_taken, done, hashes, run.start.code_version, code_version()[0],
                difference.args[0],
            )
    return Replay(run.id, again.inputs, again.rows, hashes, run.start.code_version, code_version()[0])


def _hash_of(rows: list[Any]) -> str:
    digest = sha256()
    for row in rows:
        digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()
