"""What a catalog says of one stream: the content of its stream.json."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from engine.bars import Stream, Timeframe, iso
from engine.errors import DataError, EngineError
from feeds.gaps import Calendar, Gap, check_calendar, counted
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
    content["check"] = _check_of(content)
    with storage.replacing(f"{folder_of(entry.stream)}/{_FILE}") as file:
        file.write(json.dumps(content, indent=1).encode())


def _check_of(content: dict[str, Any]) -> str:
    """Return a hash of a record without its own: a record that was changed by a hand or a disk is not believed."""
    kept = {key: value for key, value in content.items() if key != "check"}
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _load(storage: Storage, name: str) -> CatalogEntry | None:
    text = storage.read(name)
    if text is None:
        return None
    try:
        content: dict[str, Any] = json.loads(text)
        if content.get("form") != FORM:
            raise ValueError(f"not of the form {FORM!r}")
        if content.get("check", "") not in ("", _check_of(content)):
            raise ValueError("it was changed since it was written")
        content = {key: value for key, value in content.items() if key not in ("form", "check")}
        stream = Stream(**content["stream"])
        largest = content["largest_gap"]
        entry = CatalogEntry(
            **{
                **content,
                "stream": stream,
                "largest_gap": None if largest is None else Gap(stream, *largest),
                "parts": tuple(Part(**part) for part in content["parts"]),
                "origins": tuple(content["origins"]),
            }
        )
        if fault := _fault_in(entry, name):
            raise ValueError(fault)
        return entry
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, EngineError) as problem:
        raise DataError(
            f"{storage.root}/{name}: the catalog's record of this stream is damaged ({str(problem)[:200]}); "
            "remove its folder and import it anew"
        ) from problem


def _fault_in(entry: CatalogEntry, name: str) -> str:
    """Return what cannot be in a record; "" if nothing is wrong. A record made by hand has no hash to tell."""
    Timeframe.parse(entry.stream.timeframe)
    check_calendar(entry.calendar)
    numbers = [entry.rows, entry.first_open, entry.last_close, entry.gap_count, entry.missing_bars]
    for part in entry.parts:
        numbers += [part.rows, part.first_open, part.last_close]
        if not part.name.startswith(name.removesuffix(_FILE)) or "/" in part.name[len(name) - len(_FILE) :]:
            return f"the file {part.name!r} lies elsewhere"
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        return "a number is not one"
    if name != f"{folder_of(entry.stream)}/{_FILE}":
        return f"it is of {entry.stream.symbol} {entry.stream.timeframe}"
    if entry.rows < 1 or entry.rows != sum(part.rows for part in entry.parts):
        return f"its files have other numbers of rows than {entry.rows:,}"
    texts = (entry.digest, *entry.origins, *(part.footer for part in entry.parts))
    return "" if all(isinstance(text, str) for text in texts) else "a text is not one"
