"""What `fetch` is asked for on the command line, read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from config.live_settings import FurtherVenue
from config.setting_types import instant_of
from config.settings import VenueData, load_settings
from engine.errors import SettingsError
from feeds.exchange_history import Fetched


@dataclass(frozen=True)
class Wanted:
    """Symbols of one venue in one timeframe."""

    venue: str
    symbols: tuple[str, ...]
    timeframe: str
    api_urls: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def wanted(
    venue: str | None, symbols: str | None, timeframe: str | None, config: Path | None
) -> Iterator[Wanted]:
    """Yield what is to be fetched: what options say, and for the rest a settings file whose data come from a venue.

    Raises:
        SettingsError: something is missing or not understood.
    """
    listed = tuple(name.strip() for name in (symbols or "").split(",") if name.strip())
    if config is None:
        given = {"--venue": venue, "--symbols": listed, "--timeframe": timeframe}
        missing = [name for name, value in given.items() if not value]
        if venue is None or timeframe is None or missing:
            raise SettingsError(
                f"{' and '.join(missing)} missing; expected for example --venue binance --symbols BTC/USDT,ETH/USDT "
                "--timeframe 1h --since 2024-01-01, or --config with the settings of a live session")
        yield Wanted(venue, listed, timeframe)
        return
    data = load_settings(config).data
    if not isinstance(data, VenueData):
        raise SettingsError(
            f'{config}: data.source is {data.source!r}; expected "venue", the settings of a live session')
    places: tuple[VenueData | FurtherVenue, ...] = (data, *data.further)
    for one in places:
        if venue in (None, one.venue):
            for span in (timeframe,) if timeframe is not None else data.timeframe:
                yield Wanted(one.venue, listed or one.symbols, span, one.api_urls, one.options)


def time_of(option: str, text: str) -> datetime:
    """Return the time that an option says.

    Raises:
        SettingsError: it is missing, or no time.
    """
    if not text:
        raise SettingsError(f"{option} is missing; expected a time, such as {option} 2024-01-01")
    try:
        moment = instant_of(text)
    except ValueError as exc:
        raise SettingsError(f"{option} is {text[:40]!r}; {exc}") from exc
    assert isinstance(moment, datetime)
    return moment


def fetched_as_plain(done: Fetched) -> dict[str, Any]:
    """Return what came of a symbol as JSON-ready values; times in UTC ns, gaps as [start, end, missing bars]."""
    return {
        "symbol": done.stream.symbol, "timeframe": done.stream.timeframe, "added": done.added,
        "repaired": done.repaired, "revised": done.revised, "begins_at": done.begins_at, "missing": done.missing,
        "gaps": [[gap.start, gap.end, gap.missing] for gap in done.gaps],
        "rows": done.entry.rows if done.entry else 0, "first_open": done.entry.first_open if done.entry else None,
        "last_close": done.entry.last_close if done.entry else None,
    }
