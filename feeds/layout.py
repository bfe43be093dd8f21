"""How a file of bars is laid out, and what its columns are usually called."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePath
from typing import Literal, get_args

from engine.bars import Timeframe
from engine.errors import DataError, SettingsError, nearest_name
from feeds.times import check_unit

Stamp = Literal["open", "close"]
Column = str | int
"""A column by its name in the header, or by its place, counted from 0."""

USUAL_NAMES = {
    # In order of preference. Compared in lower case without spaces, underscores, < and >: "Open Time" is "opentime".
    "time": (
        "opentime",
        "ts",
        "timestamp",
        "time",
        "datetime",
        "date",
        "gmttime",
        "unix",
        "unixtime",
        "epoch",
        "t",
        "index",
        "indexlevel0",
    ),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c", "last"),
    "volume": ("volume", "vol", "v", "basevolume", "tickvol", "tickvolume"),
}

BINANCE_COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
"""data.binance.vision klines; the files of spot have no header, those of futures do, with these names."""
PLAIN_COLUMNS = ("time", "open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class FileLayout:
    """How a file is laid out. What is None is found out from the file; what cannot be is an error that says so.

    Args:
        time, open, high, low, close, volume: the columns, by name or place. `time` may be two columns, a date and a
            time of day.
        has_volume: False if the file has no volume; it becomes 0.
        header: whether the first line names the columns.
        delimiter: between cells of a text file.
        skip_lines: lines of a text file before the header, such as an advertisement.
        time_unit: s, ms, us or ns, if times are counts since 1970.
        time_format: of written times, as in strptime: "%d.%m.%Y %H:%M". None is ISO 8601.
        timezone: what written times without a zone mean: "UTC", "America/New_York", …
        stamp: whether a row's time is the open or the close of its bar.
    Raises:
        SettingsError: a value is not known.
    """

    time: Column | tuple[Column, Column] | None = None
    open: Column | None = None
    high: Column | None = None
    low: Column | None = None
    close: Column | None = None
    volume: Column | None = None
    has_volume: bool = True
    header: bool | None = None
    delimiter: str | None = None
    skip_lines: int = 0
    time_unit: str | None = None
    time_format: str | None = None
    timezone: str | None = None
    stamp: Stamp = "open"

    def __post_init__(self) -> None:
        check_unit(self.time_unit)
        if self.stamp not in get_args(Stamp):
            raise SettingsError(
                f"stamp {self.stamp!r} is not known; expected open or close{nearest_name(self.stamp, get_args(Stamp))}"
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns of numbers that are read."""
        return ("open", "high", "low", "close", "volume") if self.has_volume else ("open", "high", "low", "close")


def find_columns(layout: FileLayout, names: Sequence[str], origin: str) -> dict[str, tuple[int, ...]]:
    """Return the places of the columns that are read: one for each field, one or two for "time".

    Raises:
        DataError: a column is not there.
    """
    places: dict[str, tuple[int, ...]] = {}
    for field in ("time", *layout.fields):
        wanted = getattr(layout, field)
        if wanted is None:
            places[field] = (_usual_place(field, names, origin),)
        else:
            places[field] = tuple(
                _place(column, names, origin) for column in (wanted if isinstance(wanted, tuple) else (wanted,))
            )
    return places


def names_in_path(path: str) -> tuple[str, str | None]:
    """Return symbol and timeframe as a file's name has them: "BTCUSDT-1m-2024-01.zip" is BTCUSDT, 1m; None if there is
    no timeframe."""
    stem = PurePath(path).name
    while (suffix := PurePath(stem).suffix) and re.fullmatch(
        r"\.(csv|txt|tsv|gz|zip|parquet|pq|feather|json)", suffix.lower()
    ):
        stem = stem[: -len(suffix)]
    match = re.fullmatch(r"(.+?)[-_ ]([1-9]\d*(?:[smhdw]|min|mo))(?:[-_ ](?:futures|spot|\d{4}(?:-\d\d){0,2}))*", stem)
    if not match:
        return stem, None
    timeframe = match[2].replace("min", "m")
    return match[1], timeframe if re.fullmatch(r"\d+[smhdw]", timeframe) else None


def timeframe_of(duration: int) -> str | None:
    """Return the usual name of a duration in nanoseconds, "1h" rather than "60m"; None if it is not whole seconds."""
    for unit in "wdhms":
        one = Timeframe.parse(f"1{unit}").duration
        if duration % one == 0:
            return f"{duration // one}{unit}"
    return None


def _usual_place(field: str, names: Sequence[str], origin: str) -> int:
    plain = [_plain(name) for name in names]
    for usual in USUAL_NAMES[field]:
        if usual in plain:
            if plain.count(usual) > 1:
                raise DataError(
                    f"{origin}: there are two columns {names[plain.index(usual)]!r}; expected one; name the columns in "
                    "the layout by place"
                )
            return plain.index(usual)
    hint = " or, if the file has none, set has_volume = false" if field == "volume" else ""
    raise DataError(
        f"{origin}: there is no column for the {field}; found {_list(names)}; expected one of "
        f"{', '.join(USUAL_NAMES[field])}; "
        f'name it in the layout ({field} = "…"){hint}'
    )


def _place(column: Column, names: Sequence[str], origin: str) -> int:
    if isinstance(column, int):
        if not 0 <= column < len(names):
            raise DataError(
                f"{origin}: there is no column {column}; found {len(names)} columns, counted from 0: {_list(names)}"
            )
        return column
    if column in names:
        return list(names).index(column)
    plain = [_plain(name) for name in names]
    if plain.count(_plain(column)) == 1:
        return plain.index(_plain(column))
    close = get_close_matches(column, names, n=1)
    raise DataError(
        f"{origin}: there is no column {column!r}; found "
        f"{_list(names)}{f'; did you mean {close[0]!r}?' if close else ''}"
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_<>\"']", "", name).lower()


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(name if len(name) <= 30 else f"{name[:30]}…" for name in names[:20])
    return f"{shown}, …" if len(names) > 20 else shown
