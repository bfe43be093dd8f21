"""What a run was made of, and one thing in which two runs differ there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.analysis.formatting import NOTHING
from engine.bars import Bars, Stream
from engine.journal.reading import JournalReader
from engine.records import DataStreamRow, InputRow, RunStart

ABSENT = "absent"
"""What a side has that lacks the thing altogether."""


@dataclass(frozen=True)
class Difference:
    """One thing that differs.

    Args:
        kind: "settings", "code", "strategy", "model", "file", "library", "seed", "data", "instrument", "assumption",
            "platform" or "commit"; name: which.
        then, now: what either side has; `ABSENT` for nothing at all.
        stops: whether a run made of the one cannot be expected to be the run made of the other.
        note: what else is known; fault: why one side could not be made at all, in place of the values.
    """

    kind: str
    name: str
    then: Any
    now: Any
    stops: bool = True
    note: str = ""
    fault: str = ""

    def __str__(self) -> str:
        if self.fault:
            return f"{self.kind}: {self.fault}"
        if self.then is None and self.now is None:
            told = f"{self.name} differs"
        elif self.kind in ("code", "strategy", "model", "file") and ABSENT not in (self.then, self.now):
            told = f"{self.name} differs (was {shortened(self.then)}, is {shortened(self.now)})"
        elif self.now == ABSENT:
            told = f"{self.name} is gone (was {shortened(self.then)})"
        elif self.then == ABSENT:
            told = f"{self.name} is new ({shortened(self.now)})"
        else:
            told = f"{self.name} was {shortened(self.then)}, is {shortened(self.now)}"
        return f"{self.kind}: {told}{'; ' if self.note else ''}{self.note}"


@dataclass(frozen=True)
class Recorded:
    """What a run was made of, from the journal or as it would be made now.

    Args:
        checked: finds the checks of a stream's data by its digest; None if nobody has them.
        bar: gives one bar of a stream by its number, if the data are at hand; None if they are not.
    """

    start: RunStart
    inputs: tuple[InputRow, ...] = ()
    streams: tuple[DataStreamRow, ...] = ()
    checked: Callable[[str], DataStreamRow | None] = lambda _: None
    bar: Callable[[Stream, int], Bars | None] = field(default=lambda _stream, _index: None)

    def of(self, kind: str) -> dict[str, str]:
        """Return the inputs of one kind by name."""
        return {row.name: row.value for row in self.inputs if row.kind == kind}


def recorded(reader: JournalReader, run_id: int, start: RunStart) -> Recorded:
    """Return what a run of a journal was made of; with the checks of its data, so that the reader may be closed."""
    streams = tuple(reader.rows(DataStreamRow, run_id))
    kept = {row.digest: row if row.blocks is not None else reader.checked_stream(row.digest) for row in streams}
    return Recorded(start, tuple(reader.rows(InputRow, run_id)), streams, kept.get)


def number_text(value: Any) -> str:
    """Return a value with all the digits that tell it from others."""
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def shortened(value: Any) -> str:
    """Return a value for a line of text: floats with all their digits, hashes without most of theirs."""
    if value is None:
        return NOTHING
    text = number_text(value)
    if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text):
        return text[:12]
    return text if len(text) <= 120 else f"{text[:117]}…"
