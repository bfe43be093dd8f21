"""Finer bars of the symbols of a run, as settings name them: a timeframe of the catalog, or files."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from config.data import expand, make_layout
from config.settings import CATALOG, CatalogData, FileData, Settings
from engine.bars import Bars, Timeframe
from engine.detail import DetailBars
from engine.errors import SettingsError
from engine.interfaces import Feed
from feeds.catalog import Catalog
from feeds.chunks import join
from feeds.files import read_bars
from feeds.layout import FileLayout, names_in_path
from feeds.memory import MemoryFeed


@dataclass(frozen=True)
class DetailData:
    """Finer bars, with what the assumption card says of them."""

    bars: DetailBars
    label: str


def make_detail(settings: Settings, feed: Feed) -> DetailData | None:
    """Return the finer bars that `path="detail"` looks at; None if the path is another.

    Raises:
        SettingsError: none are named, or they are not finer than the bars of the run.
        DataError: they cannot be read.
    """
    if settings.fills.switches(settings.run.seed).path != "detail":
        return None
    named = settings.data.detail
    if named is None:
        raise SettingsError(
            'fills.path is "detail", but data.detail names no finer bars; expected a timeframe of the catalog, such as '
            '"1m", or a file; or another fills.path, such as "worst"'
        )
    symbols = tuple(dict.fromkeys(stream.symbol for stream in feed.streams))
    found = _of_catalog(settings, symbols, named) if isinstance(named, str) else _of_files(settings, symbols)
    shortest = min(Timeframe.parse(stream.timeframe).duration for stream in feed.streams)
    digest = sha256()
    for symbol, bars in found.items():
        finer = bars.streams[0].timeframe
        if Timeframe.parse(finer).duration >= shortest:
            raise SettingsError(f"data.detail has {symbol} {finer}, which is not finer than the run's bars")
        digest.update(MemoryFeed([bars], gap_policy="mark").fingerprint.encode())
    frames = ", ".join(sorted({bars.streams[0].timeframe for bars in found.values()}))
    return DetailData(DetailBars(found), f"{frames} of {', '.join(found)}, sha256 {digest.hexdigest()[:16]}")


def _of_catalog(settings: Settings, symbols: Sequence[str], timeframe: str) -> dict[str, Bars]:
    data = settings.data
    catalog = Catalog(data.folder if isinstance(data, CatalogData) else CATALOG)
    there = {entry.stream.symbol for entry in catalog.entries() if entry.stream.timeframe == timeframe}
    missing = [symbol for symbol in symbols if symbol not in there]
    if len(missing) == len(symbols):
        raise SettingsError(
            f"data.detail is {timeframe!r}, but the catalog has no such bars of {', '.join(symbols)}; "
            "bring them in with `data import`, or name a file"
        )
    found: dict[str, Bars] = {}
    for symbol in symbols:
        if symbol in there:  # the others are matched at their worst, and counted
            feed = catalog.feed([symbol], timeframe, start=data.start, end=data.end, gap_policy="mark")
            found[symbol] = join(list(feed.chunks()))
    return found


def _of_files(settings: Settings, symbols: Sequence[str]) -> dict[str, Bars]:
    data = settings.data
    assert isinstance(data.detail, tuple)
    layout = make_layout(data.layout) if isinstance(data, FileData) else FileLayout()
    files: dict[str, list[Path]] = {}
    for file in expand(data.detail):
        symbol = symbols[0] if len(symbols) == 1 else names_in_path(str(file))[0]
        if symbol not in symbols:
            raise SettingsError(
                f"data.detail: {file} is of {symbol!r}, and the run has {', '.join(symbols)}; expected files with one "
                "of these symbols in their names"
            )
        files.setdefault(symbol, []).append(file)
    return {symbol: read_bars(of_symbol, symbol=symbol, layout=layout) for symbol, of_symbol in files.items()}
