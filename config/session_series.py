"""Series of numbers that models of a session join: files are looked at now and then, and new rows become inputs.

What a model is shown must be in the session's record, so a row counts only once it was told; rows that are changed in a
file afterwards stay what they were.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from config.settings import SeriesSettings
from engine.errors import DataError, SettingsError
from engine.live.core import LiveCore
from engine.live.inputs import SeriesTold
from feeds.series import Series, read_series

KEPT = 10_000
"""Rows of a series that a session begins with, the newest."""

Tell = Callable[[str, str], None]


class SeriesFiles:
    """The files that the models of one session need.

    Args:
        now: our clock, UTC ns. tell: told of a file that cannot be read.
    Raises:
        SettingsError: a model joins a series that no file has. DataError: a file cannot be read.
    """

    def __init__(
        self, described: Sequence[SeriesSettings], core: LiveCore, *, now: Callable[[], int], tell: Tell
    ) -> None:
        self._core, self._now, self._tell = core, now, tell
        self._seen: dict[Path, int] = {}
        """When a file that was read had last been written."""
        book = core.running.book
        needed = book.series if book is not None else ()
        self._files: list[SeriesSettings] = []
        read = {one: read_series(one.path, one.time, one.columns).names for one in described} if needed else {}
        for columns in needed:
            file = next((one for one, names in read.items() if set(columns) <= set(names)), None)
            if file is None:
                there = "; ".join(", ".join(names) for names in read.values()) or "none"
                raise SettingsError(
                    f"a model joins the series {', '.join(columns)}; these settings have {there}: name its file, "
                    "[[series]] with path, time and columns"
                )
            self._files.append(file)
        self._files = list(dict.fromkeys(self._files))

    def look(self) -> list[SeriesTold]:
        """Return the rows that are new in files that were written since the last look."""
        found: list[SeriesTold] = []
        for file in self._files:
            try:
                written = file.path.stat().st_mtime_ns
                if self._seen.get(file.path) == written:
                    continue
                series = read_series(file.path, file.time, file.columns)
            except (DataError, OSError) as exc:  # it is being written, say: the next look will tell
                self._tell("warning", f"a series cannot be read: {exc}")
                continue
            self._seen[file.path] = written
            found += self._new(series)
        return found

    def _new(self, series: Series) -> list[SeriesTold]:
        book = self._core.running.book
        assert book is not None
        since = book.series_known(series.names)
        first = len(series.times) - KEPT if since is None else int(series.times.searchsorted(since, side="right"))
        rows = slice(max(first, 0), None)
        if not len(series.times[rows]):
            return []
        values = tuple(tuple(row) for row in series.values[rows].tolist())
        return [SeriesTold(self._now(), series.names, tuple(series.times[rows].tolist()), values)]
