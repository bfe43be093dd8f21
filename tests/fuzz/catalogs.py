"""Catalogs with a damaged record or file: what is read from them must be what was imported, or be refused."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from engine.bars import HOUR, Bars, Stream
from engine.errors import EngineError
from feeds.catalog import Catalog
from feeds.chunks import join
from feeds.gaps import Gaps
from tests.fuzz.cases import Finding, as_rows, ours
from tests.fuzz.damage import VALUES, WAYS
from tests.fuzz.files import Draft, Row
from tests.fuzz.oracle import broken_law

WAYS_OF_RECORD = ("value", "no key", "flip", "cut", "splice", "deep", "not there", "loop", "folder")
WAYS_OF_PART = ("flip", "cut", "splice", "other part", "not there", "loop", "folder", "foreign")
YEAR_2023 = 19_358 * 24 * HOUR
ROWS = 120


@dataclass(frozen=True)
class CatalogCase:
    """A catalog of two years of one stream, damaged in one place.

    Args:
        target: "record" (stream.json) or "part" (a Parquet file).
        is_old: whether it was made before records and files carried hashes.
    """

    target: str
    way: str
    seed: int
    is_old: bool


def draw(random: Random) -> CatalogCase:
    """Return a case by chance."""
    target = random.choice(("record", "part"))
    way = random.choice(WAYS_OF_RECORD if target == "record" else WAYS_OF_PART)
    return CatalogCase(target, way, random.randrange(2**32), random.random() < 0.3)


def run(case: CatalogCase, folder: Path) -> str:
    """Read a damaged catalog in every way; return "read" or "refused".

    Raises:
        Finding: an error that is not ours, a hang, or bars that were not imported.
    """
    random = Random(f"{case.seed}")
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        root = Path(inside) / "bars"
        shutil.copytree(_template(folder), root)
        (record,) = root.rglob("stream.json")
        if case.is_old:
            _make_old(record)
        target = record if case.target == "record" else random.choice(sorted(root.rglob("*.parquet")))
        _damage(target, case.way, random)
        return _read(case, root, imported())


def imported() -> Bars:
    """Return what was imported: bars around a new year, with one gap."""
    opens = YEAR_2023 - 60 * HOUR + HOUR * np.delete(np.arange(ROWS + 1), 17)
    close = 100.0 + np.arange(ROWS) % 7
    return Bars((Stream("A/B", "1h"),), opens, opens + HOUR, close, close + 1, close - 1, close, close * 3)


def _template(folder: Path) -> Path:
    template = folder / "template"
    if not template.exists():
        Catalog(template).write(imported())
    return template


def _make_old(record: Path) -> None:
    content = json.loads(record.read_text())
    content.pop("check")
    for part in content["parts"]:
        part.pop("footer")
    record.write_text(json.dumps(content))


def _damage(path: Path, way: str, random: Random) -> None:
    match way:
        case "flip" | "cut" | "splice":
            made = Draft(path.name, "json", None, [], content=path.read_bytes())
            WAYS[way](made, random)
            path.write_bytes(made.content or b"")
        case "value" | "no key":
            content = json.loads(path.read_text())
            holder, key = random.choice(_places(content))
            if way == "value":
                holder[key] = random.choice((*VALUES, "../../x", "/etc/passwd", 1, 10**18, -5))
            else:
                del holder[key]
            path.write_text(json.dumps(content, default=str))
        case "deep":
            path.write_text("[" * 200_000)
        case "other part":
            others = sorted(other for other in path.parent.glob("*.parquet") if other != path)
            path.write_bytes(others[0].read_bytes())
        case "foreign":
            path.write_bytes(b"PAR1 but nothing else PAR1")
        case _:
            path.unlink()
            if way == "loop":
                path.symlink_to(path)
            elif way == "folder":
                path.mkdir()


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Return where every value is: its holder and its key or place."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    return [(content, key) for key in keys] + [place for key in keys for place in _places(content[key])]


def _read(case: CatalogCase, root: Path, original: Bars) -> str:
    catalog, told = Catalog(root), f"{case}"
    names = root.name
    ours(catalog.entries, f"entries {told}", names=names)
    gaps = ours(lambda: catalog.gaps("A/B", "1h"), f"gaps {told}", names=names)
    ours(lambda: catalog.verify("A/B", "1h"), f"verify {told}", names=names)
    start = int(original.open_time[30])
    later = ours(lambda: catalog.read("A/B", "1h", start=start), f"range {told}")
    fingerprint = ours(lambda: catalog.feed(["A/B"], "1h", gap_policy="mark").fingerprint, f"fingerprint {told}")
    filled = ours(lambda: join(list(catalog.feed(["A/B"], "1h", gap_policy="forward_fill").chunks())), f"fill {told}")
    close = ours(
        lambda: catalog.feed(["A/B"], "1h", gap_policy="mark").column(Stream("A/B", "1h"), "close"), f"column {told}"
    )
    whole = ours(lambda: catalog.read("A/B", "1h"), f"read {told}", names=names)
    rows = as_rows(original)
    if isinstance(whole, Bars):
        _compare(whole, rows, case, "read")
    if isinstance(later, Bars):
        _compare(later, rows[30:], case, "range")
    if isinstance(filled, Bars) and not case.is_old and len(filled) != ROWS + 1:
        raise Finding(f"{told} | {len(filled)} bars with the gap filled; expected {ROWS + 1}")
    if isinstance(close, np.ndarray) and not case.is_old and close.tolist() != original.close.tolist():
        raise Finding(f"{told} | another column of closes")
    if isinstance(gaps, Gaps) and not case.is_old and gaps.missing_bars != 1:
        raise Finding(f"{told} | {gaps.missing_bars} bars missing; expected 1")
    if isinstance(fingerprint, str) and not case.is_old and fingerprint != _fingerprint(original):
        raise Finding(f"{told} | another fingerprint")
    return "refused" if isinstance(whole, EngineError) else "read"


def _fingerprint(original: Bars) -> str:
    from feeds.memory import MemoryFeed

    return MemoryFeed(original, gap_policy="mark").fingerprint


def _compare(bars: Bars, expected: list[Row], case: CatalogCase, what: str) -> None:
    rows = as_rows(bars)
    if law := broken_law(bars.open_time.tolist(), bars.close_time.tolist(), rows):
        raise Finding(f"{what} {case} | {law}")
    # Without hashes an exchanged value passes where it obeys the law; `verify` finds it.
    if not case.is_old and rows != expected:
        raise Finding(f"{what} {case} | {len(rows)} bars that were not imported so")
