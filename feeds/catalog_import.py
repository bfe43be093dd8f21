"""Bringing bars into a catalog: merged with those that are there, conflicts reported, all or nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from engine.bars import FIELDS, Bars, IntArray, Stream, iso
from engine.errors import DataError, SettingsError, nearest_name
from feeds.catalog_entry import CatalogEntry, folder_of, load_entry, save_entry
from feeds.chunks import join, take
from feeds.fingerprints import StreamDigest
from feeds.gaps import Calendar
from feeds.parts import ROW_GROUP, Part, periods_of, read_batches, read_part, read_times, write_part
from feeds.storage import Storage
from feeds.tables import BarTable
from feeds.validation import find_and_judge_gaps

OnConflict = Literal["error", "keep", "replace"]
_SHOWN_CONFLICTS = 100


class Conflict(NamedTuple):
    """A bar that the catalog has with other values; `old` and `new` are open, high, low, close, volume."""

    stream: Stream
    open_time: int
    old: tuple[float, ...]
    new: tuple[float, ...]

    def __str__(self) -> str:
        differing = [
            f"{name} {old} there, {new} here"
            for name, old, new in zip(FIELDS, self.old, self.new, strict=True)
            if old != new
        ]
        what = ", ".join(differing) or "another close time"
        return f"{self.stream.symbol} {self.stream.timeframe} {iso(self.open_time)}: {what}"


@dataclass(frozen=True)
class ImportResult:
    """What an import did to one stream.

    Args:
        added: bars that were not there; known: bars that were there, the same; conflicting: there with other values,
            and kept or replaced as asked. `conflicts` shows the first hundred.
        entry: the stream as the catalog now has it.
    """

    stream: Stream
    added: int
    known: int
    conflicting: int
    conflicts: tuple[Conflict, ...]
    entry: CatalogEntry

    def __str__(self) -> str:
        known = f", {self.known:,} known" if self.known else ""
        differing = f", {self.conflicting:,} in conflict" if self.conflicting else ""
        name = f"{self.stream.symbol} {self.stream.timeframe}"
        return f"{name}: {self.added:,} added{known}{differing}; now {self.entry}"


class StreamImport:
    """Takes checked, sorted bars of one stream, then commits them. Until then nothing that counts has changed."""

    def __init__(
        self, storage: Storage, stream: Stream, *, on_conflict: OnConflict = "error", calendar: Calendar | None = None
    ) -> None:
        check_on_conflict(on_conflict)
        self._storage = storage
        self._stream = stream
        self._on_conflict = on_conflict
        self._old = load_entry(storage, stream)
        self._origins = list(self._old.origins) if self._old else []
        self._origin = ""
        self._calendar: Calendar = calendar or (self._old.calendar if self._old else "24/7")
        self._parts = {part.period: part for part in self._old.parts} if self._old else {}
        self._held: list[Bars] = []
        self._held_period = ""
        self._added, self._known, self._conflicting = 0, 0, 0
        self._conflicts: list[Conflict] = []

    def add(self, bars: Bars, origin: str) -> None:
        """Take bars; best in the order of time, for then each file is written once.

        Raises:
            DataError: a bar is there with other values, and on_conflict is "error".
        """
        if origin != self._origin and self._held:
            self._merge_held()  # so that a conflict names the file it is in
        self._origin = origin
        if origin not in self._origins:
            self._origins.append(origin)
        for period, rows in periods_of(bars.open_time, self._stream.timeframe):
            later = bars[rows]
            if self._held and (period != self._held_period or later.open_time[0] < self._held[-1].close_time[-1]):
                self._merge_held()
            self._held_period = period
            self._held.append(later)

    def commit(self) -> ImportResult:
        """Make what was taken count, and say what it did.

        Raises:
            DataError: bars overlap, or do not stand on one grid.
        """
        if self._held:
            self._merge_held()
        if self._old is not None and self._old.parts == self._ordered() and self._old.calendar == self._calendar:
            return self._result(self._old)
        entry = self._described()
        save_entry(self._storage, entry)
        self._remove_unused(entry.parts)
        return self._result(entry)

    def abandon(self) -> None:
        """Remove what was written for this import; the catalog stays as it was."""
        self._remove_unused(self._old.parts if self._old else ())

    def _merge_held(self) -> None:
        period, new = self._held_period, join(self._held)
        self._held = []
        old_part = self._parts.get(period)
        if old_part is not None:
            new = self._merged(read_part(self._storage, old_part, self._stream), new)
        else:
            self._added += len(new)
        self._parts[period] = write_part(self._storage, folder_of(self._stream), period, new)

    def _merged(self, old: Bars, new: Bars) -> Bars:
        place = np.minimum(np.searchsorted(old.open_time, new.open_time), len(old) - 1)
        there = old.open_time[place] == new.open_time
        same = there & (old.close_time[place] == new.close_time)
        for name in FIELDS:
            same &= getattr(old, name)[place] == getattr(new, name)
        differing = np.flatnonzero(there & ~same)
        self._added += int(np.count_nonzero(~there))
        self._known += int(np.count_nonzero(same))
        if len(differing):
            self._note_conflicts(old, new, place, differing)
        kept = np.ones(len(old), np.bool_)
        kept[place[differing]] = self._on_conflict != "replace"
        chosen = ~there
        chosen[differing] = self._on_conflict == "replace"
        both = join([take(old, np.flatnonzero(kept)), take(new, np.flatnonzero(chosen))])
        return take(both, np.argsort(both.open_time, kind="stable"))

    def _note_conflicts(self, old: Bars, new: Bars, place: IntArray, differing: IntArray) -> None:
        self._conflicting += len(differing)
        for row in differing[: _SHOWN_CONFLICTS - len(self._conflicts)]:
            values = tuple(
                tuple(float(getattr(bars, name)[at]) for name in FIELDS) for bars, at in ((old, place[row]), (new, row))
            )
            self._conflicts.append(Conflict(self._stream, int(new.open_time[row]), values[0], values[1]))
        if self._on_conflict == "error":
            more = f" (the first of {len(differing):,} in {self._held_period})" if len(differing) > 1 else ""
            raise DataError(
                f"{self._origin}: the catalog has other values: {self._conflicts[0]}{more}; nothing was imported; "
                f'set on_conflict = "keep" or "replace" to say which values are right'
            )

    def _ordered(self) -> tuple[Part, ...]:
        return tuple(self._parts[period] for period in sorted(self._parts))

    def _described(self) -> CatalogEntry:
        parts = self._ordered()
        times = [read_times(self._storage, part) for part in parts]
        opens, closes = np.concatenate([opens for opens, _ in times]), np.concatenate([closes for _, closes in times])
        overlapping = np.flatnonzero(opens[1:] < closes[:-1])
        if len(overlapping):
            row = overlapping[0]
            raise DataError(
                f"{self._origin}: the bar of {iso(int(opens[row + 1]))} opens before that of {iso(int(opens[row]))} "
                f"closes, at {iso(int(closes[row]))}; expected bars that do not overlap with those in the catalog; "
                "check timeframe and stamp"
            )
        nothing = np.empty(0)
        table = BarTable(
            self._origin, self._stream, opens, nothing, nothing, nothing, nothing, nothing, closes, row_word="bar"
        )
        gaps = find_and_judge_gaps(table, gap_policy="mark", calendar=self._calendar)
        digest = StreamDigest()
        for bars in self._bars(parts):
            digest.update(bars)
        return CatalogEntry(
            self._stream,
            self._calendar,
            len(opens),
            int(opens[0]),
            int(closes[-1]),
            digest.hexdigest(),
            len(gaps),
            gaps.missing_bars,
            gaps.largest(),
            parts,
            tuple(self._origins),
        )

    def _bars(self, parts: tuple[Part, ...]) -> Iterator[Bars]:
        for part in parts:
            yield from read_batches(self._storage, part, self._stream, batch_rows=ROW_GROUP)

    def _remove_unused(self, used: tuple[Part, ...]) -> None:
        names = {part.name for part in used}
        for name in self._storage.names(".parquet", under=folder_of(self._stream)):
            if name not in names:
                self._storage.remove(name)

    def _result(self, entry: CatalogEntry) -> ImportResult:
        return ImportResult(self._stream, self._added, self._known, self._conflicting, tuple(self._conflicts), entry)


def check_on_conflict(on_conflict: str) -> None:
    """Refuse a way of settling conflicts that does not exist."""
    if on_conflict not in get_args(OnConflict):
        raise SettingsError(
            f"on_conflict {on_conflict!r} is not known; expected error, keep or "
            f"replace{nearest_name(on_conflict, get_args(OnConflict))}"
        )
