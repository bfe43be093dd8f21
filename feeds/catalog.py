"""A store of bars: import once, then read by symbol, timeframe and range.

    catalog = Catalog("data/bars")
    catalog.write(read_bars("BTCUSDT-1m-2024-01.zip", symbol="BTC/USDT"))
    feed = catalog.feed(["BTC/USDT"], "1m", start=datetime(2024, 1, 8, tzinfo=UTC))

On disk: <symbol>/<timeframe>/<year>-<hash>.parquet, and stream.json, which names the files that count. Files are never
changed: an import writes new ones, then replaces stream.json in one step, so that a reader or a crash meets the old
content or the new. What is stored are checked bars as they came; missing ones are missing. The gap policy is applied
when they are read.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from engine.bars import Bars, Stream, Timeframe
from engine.errors import DataError, nearest_name
from engine.interfaces import Feed
from feeds.catalog_entry import CatalogEntry, folder_of, load_entries, load_entry
from feeds.catalog_feed import CatalogFeed, times_of_parts
from feeds.catalog_import import ImportResult, OnConflict, StreamImport
from feeds.chunks import CHUNK_ROWS, join, split
from feeds.files import read_bars
from feeds.fingerprints import StreamDigest, digest_of
from feeds.gaps import Calendar, GapPolicy, Gaps, find_gaps
from feeds.layout import FileLayout
from feeds.parts import read_part
from feeds.storage import storage_at
from feeds.tables import BarTable
from feeds.times import instant
from feeds.validation import BadRows, prepare_table

Progress = Callable[[int, int | None], None]
"""Told how much is done and, where it is known, of how much: rows of bars, or files."""


class Catalog:
    """The bars under one folder, or at one fsspec address such as "s3://bucket/bars".

    A folder that is not there yet is an empty catalog; the first import makes it.
    """

    def __init__(self, root: str | Path) -> None:
        self._storage = storage_at(root)

    @property
    def root(self) -> str:
        """The folder or address."""
        return self._storage.root

    def entries(self) -> tuple[CatalogEntry, ...]:
        """Return what there is: every stream with its rows, range, gaps and digest, by symbol and timeframe."""
        return load_entries(self._storage)

    def entry(self, symbol: str, timeframe: str) -> CatalogEntry:
        """Return what there is of one stream.

        Raises:
            DataError: nothing; the message names what is near.
        """
        Timeframe.parse(timeframe)
        found = load_entry(self._storage, Stream(symbol, timeframe))
        if found is None:
            raise DataError(self._not_found(symbol, timeframe))
        return found

    def write(
        self,
        bars: Bars | Iterable[Bars],
        *,
        origin: str = "memory",
        on_conflict: OnConflict = "error",
        calendar: Calendar | None = None,
        progress: Progress | None = None,
        total: int | None = None,
    ) -> tuple[ImportResult, ...]:
        """Add bars, of one or many streams: what is there already is left, what differs is a conflict.

        Args:
            bars: one set of bars, or chunks of one feed, in order. Bars that a gap policy made up are left out.
            origin: where they come from, kept in the catalog.
            on_conflict: "error" imports nothing, "keep" keeps what is there, "replace" takes the new.
            calendar: of the market; None keeps what the stream has, "24/7" at first.
            progress: called with the rows written so far and `total`.
        Returns:
            What was done, for each stream in the order of first appearance.
        Raises:
            DataError: the bars are not what bars must be, or conflict with those there. Nothing of them was imported.
        """
        chunks = [bars] if isinstance(bars, Bars) else bars
        pairs = ((origin, chunk) for chunk in chunks)
        return self._write(pairs, on_conflict=on_conflict, calendar=calendar, progress=progress, total=total)

    def write_feed(
        self,
        feed: Feed,
        *,
        origin: str = "memory",
        on_conflict: OnConflict = "error",
        calendar: Calendar | None = None,
        progress: Progress | None = None,
    ) -> tuple[ImportResult, ...]:
        """Add everything a feed publishes, chunk by chunk; see `write`."""
        return self.write(
            feed.chunks(),
            origin=origin,
            on_conflict=on_conflict,
            calendar=calendar,
            progress=progress,
            total=feed.row_count,
        )

    def import_files(
        self,
        paths: Sequence[str | Path],
        *,
        symbol: str | None = None,
        timeframe: str | None = None,
        layout: FileLayout = FileLayout(),
        closed_before: datetime | int | None = None,
        sort: bool = False,
        bad_rows: BadRows = "error",
        on_conflict: OnConflict = "error",
        calendar: Calendar | None = None,
        progress: Progress | None = None,
    ) -> tuple[ImportResult, ...]:
        """Add the bars of files, all of them or, after an error, none; see `read_bars` and `write`.

        Args:
            progress: called with the files read so far and their number.
        """

        def read() -> Iterator[tuple[str, Bars]]:
            for done, path in enumerate(sorted(Path(path) for path in paths), 1):
                yield (
                    str(path),
                    read_bars(
                        path,
                        symbol=symbol,
                        timeframe=timeframe,
                        layout=layout,
                        closed_before=closed_before,
                        sort=sort,
                        bad_rows=bad_rows,
                    ),
                )
                if progress is not None:
                    progress(done, len(paths))

        return self._write(read(), on_conflict=on_conflict, calendar=calendar)

    def read(
        self, symbol: str, timeframe: str, *, start: datetime | int | None = None, end: datetime | int | None = None
    ) -> Bars:
        """Return the stored bars of one stream in a range, all in memory, gaps and all."""
        feed = self.feed([symbol], timeframe, start=start, end=end, gap_policy="mark")
        return join(list(feed.chunks()))

    def feed(
        self,
        symbols: Sequence[str],
        timeframe: str | Sequence[str],
        *,
        start: datetime | int | None = None,
        end: datetime | int | None = None,
        gap_policy: GapPolicy = "error",
        calendar: Calendar | None = None,
        chunk_rows: int = CHUNK_ROWS,
    ) -> CatalogFeed:
        """Return a feed of some symbols in one or several timeframes.

        Args:
            start, end: aware datetimes or UTC nanoseconds; bars that open at or after `start` and close at or before
                `end`.
            gap_policy, calendar: see feeds/gaps.py; calendar None takes that of each stream.
        Raises:
            DataError: a stream or range is not there, or bars are missing under the policy "error".
        """
        timeframes = [timeframe] if isinstance(timeframe, str) else list(timeframe)
        entries = [self.entry(symbol, one) for one in timeframes for symbol in symbols]
        if not entries:
            raise DataError(f"{self.root}: no symbols were asked for; expected at least one")
        return CatalogFeed(
            self._storage,
            entries,
            start=instant(start),
            end=instant(end),
            gap_policy=gap_policy,
            calendar=calendar,
            chunk_rows=chunk_rows,
        )

    def gaps(self, symbol: str, timeframe: str, *, calendar: Calendar | None = None) -> Gaps:
        """Return every gap of a stream, under its own calendar or another."""
        entry = self.entry(symbol, timeframe)
        opens, closes = times_of_parts(self._storage, entry.parts)
        return find_gaps(entry.stream, opens, closes, calendar=calendar or entry.calendar)

    def verify(self, symbol: str, timeframe: str) -> None:
        """Read everything of a stream and compare it with its digest.

        Raises:
            DataError: a file was changed, or is damaged or gone.
        """
        entry = self.entry(symbol, timeframe)
        whole = StreamDigest()
        for part in entry.parts:
            bars = read_part(self._storage, part, entry.stream)
            whole.update(bars)
            if digest_of(bars)[:16] not in part.name or len(bars) != part.rows:
                raise DataError(
                    f"{self.root}/{part.name}: the content is not what was imported; remove the stream and import it "
                    "anew"
                )
        if whole.hexdigest() != entry.digest:
            raise DataError(
                f"{self.root}: {symbol} {timeframe} has digest {whole.hexdigest()[:16]}…; expected "
                f"{entry.digest[:16]}…; remove the stream and import it anew"
            )

    def remove(self, symbol: str, timeframe: str) -> None:
        """Take a stream out of the catalog, files and all."""
        entry = self.entry(symbol, timeframe)
        with self._storage.locked():
            self._storage.remove(f"{folder_of(entry.stream)}/stream.json")
            for name in self._storage.names(".parquet", under=folder_of(entry.stream)):
                self._storage.remove(name)

    def _write(
        self,
        pairs: Iterable[tuple[str, Bars]],
        *,
        on_conflict: OnConflict,
        calendar: Calendar | None,
        progress: Progress | None = None,
        total: int | None = None,
    ) -> tuple[ImportResult, ...]:
        """Import (origin, bars) in order; a stream's new content counts once everything has been taken."""
        imports: dict[Stream, StreamImport] = {}
        done = 0
        with self._storage.locked():
            try:
                for origin, chunk in pairs:
                    for place, rows in split(chunk):
                        stream = chunk.streams[place]
                        if stream not in imports:
                            imports[stream] = StreamImport(
                                self._storage, stream, on_conflict=on_conflict, calendar=calendar
                            )
                        table = BarTable.of_bars(rows, origin)
                        if table.flags is not None:
                            table = table.take(table.flags == 0)
                        if len(table):
                            imports[stream].add(prepare_table(table).bars(), origin)
                    done += len(chunk)
                    if progress is not None:
                        progress(done, total)
                if not done:
                    raise DataError(f"{self.root}: there are no bars to import; expected at least one")
                return tuple(one.commit() for one in imports.values())
            except BaseException:  # also when the user stops it: what was written so far does not count, so it goes
                for one in imports.values():
                    one.abandon()
                raise

    def _not_found(self, symbol: str, timeframe: str) -> str:
        streams = [entry.stream for entry in self.entries()]
        if not streams:
            return f"{self.root}: the catalog is empty; import something first: python main.py data import FILE"
        own = [entry.timeframe for entry in streams if entry.symbol == symbol]
        if own:
            known = ", ".join(own)
            return f"{self.root}: no bars of {symbol} {timeframe}; there are {known}; import or resample it"
        symbols = sorted({stream.symbol for stream in streams})
        shown = ", ".join(symbols[:10]) + (", …" if len(symbols) > 10 else "")
        return f"{self.root}: no bars of {symbol}{nearest_name(symbol, symbols)}; there are {shown}"
