"""What a catalog says of one stream: the content of its stream.json."""

import json
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from engine.bars import Stream, iso
from engine.errors import DataError
from feeds.gaps import Calendar, Gap, counted
from feeds.parts import Part
from feeds.storage import Storage

FORM = "barcast catalog 1"
_FILE = "stream.json"


@dataclass(frozen=True)
class CatalogEntry:
    """One stream of a catalog. Times are UTC nanoseconds; gaps are counted under the stream's own calendar."""

    stream: Stream
    calendar: Calendar
    rows: int
    first_open: int
    last_close: int
    digest: str
    gap_count: int
    missing_bars: int
    largest_gap: Gap | None
    parts: tuple[Part, ...]
    origins: tuple[str, ...]
    """The files it was imported from, in the order of import."""

    def __str__(self) -> str:
        missing = (
            f"{counted(self.missing_bars, 'bar', 'bars')} missing in {counted(self.gap_count, 'gap', 'gaps')}"
            if self.gap_count
            else "no gaps"
        )
        return f"{counted(self.rows, 'bar', 'bars')}, {iso(self.first_open)} to {iso(self.last_close)}, {missing}"


def folder_of(stream: Stream) -> str:
    """Return the folder of a stream under the catalog's root; "BTC/USDT" becomes BTC%2FUSDT.

    Raises:
        DataError: the symbol is empty.
    """
    if not stream.symbol:
        raise DataError("a symbol is empty; expected a name; say which: symbol = \"BTC/USDT\"")
    name = quote(stream.symbol, safe="")
    # A leading dot would name the folder itself, the one above, or a hidden one.
    return f"{'%2E' + name[1:] if name.startswith('.') else name}/{stream.timeframe}"


def load_entry(storage: Storage, stream: Stream) -> CatalogEntry | None:
    """Return what the catalog says of a stream; None if it does not have it.

    Raises:
        DataError: the file is damaged, or was written by another version.
    """
    return _load(storage, f"{folder_of(stream)}/{_FILE}")


def load_entries(storage: Storage) -> tuple[CatalogEntry, ...]:
    """Return every stream of the catalog, by symbol, then timeframe."""
    found = (_load(storage, name) for name in storage.names(_FILE))
    return tuple(sorted((entry for entry in found if entry is not None), key=lambda entry: entry.stream))


def save_entry(storage: Storage, entry: CatalogEntry) -> None:
    """Replace what the catalog says of a stream. From here on the files named in it are the ones that count."""
    content = {"form": FORM, **asdict(entry), "stream": entry.stream._asdict()}
    content["largest_gap"] = (
        None
        if entry.largest_gap is None
        else [entry.largest_gap.start, entry.largest_gap.end, entry.largest_gap.missing]
    )
    with storage.replacing(f"{folder_of(entry.stream)}/{_FILE}") as file:
        file.write(json.dumps(content, indent=1).encode())


def _load(storage: Storage, name: str) -> CatalogEntry | None:
    text = storage.read(name)
    if text is None:
        return None
    try:
        content: dict[str, Any] = json.loads(text)
        if content.pop("form") != FORM:
            raise ValueError(f"not of the form {FORM!r}")
        stream = Stream(**content["stream"])
        largest = content["largest_gap"]
        return CatalogEntry(
            **{
                **content,
                "stream": stream,
                "largest_gap": None if largest is None else Gap(stream, *largest),
                "parts": tuple(Part(**part) for part in content["parts"]),
                "origins": tuple(content["origins"]),
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise DataError(
            f"{storage.root}/{name}: the catalog's record of this stream is damaged ({problem}); remove its folder and "
            "import it anew"
        ) from problem
