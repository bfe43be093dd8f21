"""Data: the feed that settings describe."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from config.settings import (
    CATALOG,
    CatalogData,
    DataSettings,
    FileData,
    LayoutSettings,
    QlibData,
    Settings,
    SyntheticData,
    VenueData,
    section_from,
)
from engine.bars import Bars, FloatArray, Timeframe, iso, nanoseconds
from engine.errors import DataError, SettingsError
from engine.instruments import infer_price_increment
from engine.interfaces import Feed
from feeds import reports
from feeds.catalog import Catalog, Progress
from feeds.catalog_import import ImportResult, OnConflict
from feeds.chunks import join, split
from feeds.events import EventReport
from feeds.files import read_bars
from feeds.gaps import Calendar, Gap, merge_gaps
from feeds.layout import FileLayout, names_in_path
from feeds.memory import MemoryFeed
from feeds.qlib_bin import read_qlib
from feeds.reports import QualityReport
from feeds.resample import ResampledFeed
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from feeds.validation import BadRows

MOST_BARS_TO_SHOW = 5_000_000
"""Of more bars than these a report has no candles, excursions and benchmark: they would all have to be in memory."""

FILE_ENDINGS = (".csv", ".csv.gz", ".feather", ".json", ".parquet", ".txt", ".zip")
"""What files of bars may be called."""


def make_feed(settings: Settings) -> Feed:
    """Return the feed, checked.

    Raises:
        DataError: bars are missing or cannot be bars.
    """
    return feed_of(settings.data, settings.run.seed)


def feed_of(data: DataSettings, seed: int) -> Feed:
    """Return the feed that a section describes; `seed` is used for a made-up market that has none of its own."""
    feed: Feed
    match data:
        case SyntheticData():
            feed = _without_first(SyntheticFeed(make_market(data, seed)), data.skip)
        case CatalogData():
            feed = Catalog(data.folder).feed(
                data.symbols, data.timeframe, start=data.start, end=data.end, gap_policy=data.gap_policy,
                calendar=data.calendar,
            )
        case VenueData():
            raise SettingsError(
                'data.source is "venue", whose bars are yet to come; run it with `paper`, or `fetch` them and set '
                'data.source = "catalog"'
            )
        case FileData():
            feed = MemoryFeed(_bars_of_files(data), gap_policy=data.gap_policy, calendar=data.calendar or "24/7")
        case QlibData():
            feed = MemoryFeed(_bars_of_qlib(data), gap_policy=data.gap_policy, calendar=data.calendar or "sessions")
    for timeframe in data.resample:
        feed = ResampledFeed(feed, timeframe)
    return feed


def _without_first(feed: SyntheticFeed, skip: int) -> Feed:
    """Return a made-up market less its first bars.

    Raises:
        SettingsError: nothing is left.
    """
    if not skip:
        return feed
    bars = join(list(feed.chunks()))
    parts = [bars.of(stream)[skip:] for stream in bars.streams]
    if not all(len(part) for part in parts):
        raise SettingsError(f"data.skip is {skip}, and the market has {len(bars) // len(parts)} bars; expected fewer")
    return MemoryFeed(parts)


def make_market(data: SyntheticData, seed: int) -> SyntheticMarket:
    """Return the made-up market."""
    if len(data.timeframe) > 1:
        raise SettingsError(
            f"data.timeframe is {list(data.timeframe)}; a synthetic market has one; make the others with data.resample")
    chosen: dict[str, Any] = {"start": data.start} if data.start else {}
    market = SyntheticMarket(
        data.symbols, data.timeframe[0], data.bars, seed=seed if data.seed is None else data.seed,
        volatility=data.volatility, drift=data.drift, correlation=data.correlation, jumps_per_day=data.jumps_per_day,
        daily_volume=data.daily_volume, **chosen,
    )
    if data.end is None:
        return market
    duration = Timeframe.parse(market.timeframe).duration
    rows = (nanoseconds(data.end) - nanoseconds(market.start)) // duration
    return replace(market, rows=max(min(rows, market.rows), 1))


def bars_of(feed: Feed) -> Bars | None:
    """Return all bars of a feed, None if they are too many to have in memory."""
    if feed.row_count is None or feed.row_count > MOST_BARS_TO_SHOW:
        return None
    return join(list(feed.chunks()))


@dataclass(frozen=True)
class Survey:
    """What can be known of a feed by reading it once: its span (UTC ns), and the price increment of each symbol."""

    first_open: int
    last_close: int
    price_increments: Mapping[str, Decimal]


def survey(feed: Feed, *, known: Mapping[str, Decimal]) -> Survey:
    """Read a feed once.

    Args:
        known: the price increments that need not be read off the prices.
    """
    first, last = None, 0
    finest: dict[str, Decimal] = dict(known)
    for chunk in feed.chunks():
        first = int(chunk.open_time.min()) if first is None else first
        last = int(chunk.close_time[-1])
        if len(known) < len(chunk.symbols):
            for place, rows in split(chunk):
                symbol = chunk.streams[place].symbol
                for column in (rows.open, rows.high, rows.low, rows.close) if symbol not in known else ():
                    finest[symbol] = _finer(finest.get(symbol, Decimal(1)), column)
    return Survey(first or 0, last, finest)


def _finer(increment: Decimal, prices: FloatArray) -> Decimal:
    """Return the increment, made finer if the prices ask for it; one look at them where they do not."""
    decimals = -increment.adjusted()
    return infer_price_increment(prices * 10.0**decimals, most_decimals=8 - decimals).scaleb(-decimals)


def known_increments(settings: Settings, feed: Feed) -> dict[str, Decimal]:
    """Return the price increments that settings give, or that a made-up market has."""
    known: dict[str, Decimal] = {}
    for symbol in dict.fromkeys(stream.symbol for stream in feed.streams):
        described = settings.instruments.get(symbol) or settings.instruments.get("default")
        if described is not None and described.price_increment is not None:
            known[symbol] = described.price_increment
        elif isinstance(settings.data, SyntheticData):
            known[symbol] = make_market(settings.data, settings.run.seed).price_increment
    return known


def expand(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths, folders and patterns mean, sorted within each.

    Raises:
        DataError: a folder or pattern has no file of bars in it.
    """
    files: list[Path] = []
    for path in paths:
        if _is_folder(path):
            found = sorted(file for file in path.rglob("*") if file.name.lower().endswith(FILE_ENDINGS))
        elif glob.has_magic(str(path)):
            found = [Path(name) for name in sorted(glob.glob(str(path)))]
        else:
            found = [path]
        if not found:
            raise DataError(f"{path}: no file of bars is there; expected one of {', '.join(FILE_ENDINGS)}")
        files.extend(found)
    return files


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # no file can have that name, or its folder is closed to us: reading it will say so
        return False


def open_catalog(folder: Path | None) -> Catalog:
    """Return the catalog in a folder, or the usual one."""
    return Catalog(folder or CATALOG)


def import_files(
    catalog: Catalog, files: Sequence[Path], *, symbol: str | None = None, timeframe: str | None = None,
    layout: FileLayout, sort: bool, bad_rows: BadRows, on_conflict: OnConflict, calendar: Calendar | None,
    progress: Progress | None = None,
) -> Iterator[ImportResult]:
    """Bring files into a catalog, one after the other, and yield what each did to its stream.

    A file is imported whole or not at all; those before it stay imported.

    Raises:
        DataError: a file cannot be read, or differs from what the catalog has.
    """
    for done, file in enumerate(files, 1):
        bars = read_bars(file, symbol=symbol, timeframe=timeframe, layout=layout, sort=sort, bad_rows=bad_rows)
        yield from catalog.write(bars, origin=str(file), on_conflict=on_conflict, calendar=calendar)
        if progress is not None:
            progress(done, len(files))


Finding = QualityReport | EventReport | DataError
"""What a check has to say of a file or stream; the error itself where it cannot be read."""


def check_paths(
    paths: Sequence[Path], symbol: str | None, timeframe: str | None, layout: Sequence[str], calendar: Calendar | None,
    *, progress: Progress | None = None,
) -> list[Finding]:
    """Return what every file is like. `layout` has "key=value" options."""
    return reports.check_files(
        expand(paths), symbol=symbol, timeframe=timeframe, layout=layout_from(layout), calendar=calendar,
        progress=progress)


def check_catalog(
    catalog: Catalog, calendar: Calendar | None, *, progress: Progress | None = None
) -> list[Finding]:
    """Return what every stream of a catalog is like."""
    entries = catalog.entries()
    found: list[Finding] = []
    for done, entry in enumerate(entries, 1):
        try:
            found.append(reports.check_catalog(catalog, *entry.stream, calendar=calendar))
        except DataError as problem:
            found.append(problem)
        if progress is not None:
            progress(done, len(entries))
    return found


def gaps_in(catalog: Catalog, symbol: str, timeframe: str, calendar: Calendar | None) -> tuple[Gap, ...]:
    """Return the gaps of one stream, in order of time."""
    return merge_gaps([catalog.gaps(symbol, timeframe, calendar=calendar)])


def as_plain(report: QualityReport | EventReport) -> dict[str, Any]:
    """Return a report as JSON-ready values; gaps as [start, end, missing bars]."""
    plain = {field.name: getattr(report, field.name) for field in fields(report)}
    if isinstance(report, QualityReport):
        plain["gaps"] = [[gap.start, gap.end, gap.missing] for gap in merge_gaps([report.gaps])]
    return {**plain, "findings": list(report.findings), "is_usable": report.is_usable}


def layout_from(options: Sequence[str]) -> FileLayout:
    """Return the layout that "key=value" options describe.

    Raises:
        SettingsError: an option is unknown or has no such value.
    """
    return make_layout(section_from(LayoutSettings, options, option="--layout"))


def make_layout(settings: LayoutSettings) -> FileLayout:
    """Return how files are laid out."""
    return FileLayout(**settings.model_dump())


def _bars_of_files(data: FileData) -> list[Bars]:
    files = expand(data.paths)
    if len(data.symbols) not in (0, 1, len(files)):
        raise SettingsError(
            f"data.symbols names {len(data.symbols)} symbols for {len(files)} files; expected none, one, or one a file")
    if len(data.timeframe) > 1:
        raise SettingsError(
            f"data.timeframe is {list(data.timeframe)}; files of one setting have one; make others with data.resample")
    symbols = data.symbols or (None,)
    layout = make_layout(data.layout)
    timeframe = data.timeframe[0] if data.timeframe else None
    parts: dict[str, list[Path]] = {}
    for place, file in enumerate(files):
        parts.setdefault(symbols[place % len(symbols)] or names_in_path(str(file))[0], []).append(file)
    return [
        _between(
            read_bars(
                of_symbol, symbol=symbol, timeframe=timeframe, layout=layout, sort=data.sort, bad_rows=data.bad_rows,
            ),
            data.start, data.end,
        )
        for symbol, of_symbol in parts.items()
    ]


def _bars_of_qlib(data: QlibData) -> list[Bars]:
    if len(data.timeframe) > 1:
        raise SettingsError(f"data.timeframe is {list(data.timeframe)}; a Qlib directory is read at one")
    found = read_qlib(
        data.folder, data.symbols, market=data.market, timeframe=data.timeframe[0], timezone=data.timezone,
        prices=data.prices, members_only=data.members_only,
    )
    if not data.symbols:  # who belonged to the market at another time alone is none of this run's
        found = [bars for bars in found if len(_within(bars, data.start, data.end))] or found
    return [_between(bars, data.start, data.end) for bars in found]


def _within(bars: Bars, start: datetime | None, end: datetime | None) -> range:
    first = np.searchsorted(bars.open_time, nanoseconds(start)) if start else 0
    last = np.searchsorted(bars.close_time, nanoseconds(end), side="right") if end else len(bars)
    return range(int(first), int(last))


def _between(bars: Bars, start: datetime | None, end: datetime | None) -> Bars:
    rows = _within(bars, start, end)
    if not rows:
        stream = bars.streams[0]
        raise DataError(
            f"{stream.symbol} {stream.timeframe}: no bars within data.start and data.end; there are some from "
            f"{iso(int(bars.open_time[0]))} to {iso(int(bars.close_time[-1]))}")
    return bars[rows.start : rows.stop]
