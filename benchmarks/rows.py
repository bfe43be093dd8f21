"""What the benchmark says: one row for each line of the targets, and a table of everything that was timed."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

PEERS = ("backtesting", "vectorbt", "vectorbt-rust", "backtrader", "numpy", "numba")


@dataclass(frozen=True)
class Row:
    """One line of the targets.

    Args:
        ours, peer: in `unit`; ratio: ours ÷ peer unless `work` says otherwise. None where there is none.
        target: in words; is_met: whether this run met it, None without a target.
        equal: whether the check that makes the figure count came out equal; check: what was compared.
    """

    work: str
    ours: float
    peer: float | None
    ratio: float | None
    target: str | None
    equal: bool
    unit: str
    is_met: bool | None
    check: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Timed:
    """Something that was run: bars and seconds, the memory it took while it ran, the fills it made."""

    name: str
    bars: int
    cpu: float
    wall: float
    peak: float | None
    fills: int


@dataclass(frozen=True)
class Layer:
    """A run that does a little more than the one before it; µs a bar."""

    name: str
    cost: float
    more: float


@dataclass(frozen=True)
class Found:
    """What a piece of work found out."""

    rows: Sequence[Row] = ()
    timed: Sequence[Timed] = ()
    layers: Sequence[Layer] = ()

    def __add__(self, other: "Found") -> "Found":
        return Found((*self.rows, *other.rows), (*self.timed, *other.timed), (*self.layers, *other.layers))


def machine(libraries: Sequence[str] = PEERS) -> str:
    """Return what ran this: processor, cores, Python and the libraries' versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    return f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}; {versions}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def plain(found: Found, libraries: Sequence[str] = PEERS) -> str:
    """Return the tables for a terminal."""
    return "\n\n".join([machine(libraries), *map(_aligned, _tables(found))])


def markdown(found: Found, libraries: Sequence[str] = PEERS) -> str:
    """Return the tables as Markdown."""
    return "\n\n".join([f"Machine: {machine(libraries)}.", *map(_piped, _tables(found))])


def _tables(found: Found) -> list[list[tuple[str, ...]]]:
    tables: tuple[list[tuple[str, ...]], ...] = (
        [_HEAD, *map(_cells, found.rows)],
        [_TIMED_HEAD, *map(_timed_cells, found.timed)],
        [_LAYER_HEAD, *((layer.name, f"{layer.cost:.3f}", f"{layer.more:+.3f}") for layer in found.layers)],
    )
    return [table for table in tables if len(table) > 1]


_HEAD = ("work", "Barcast", "peer", "ratio", "target", "met", "equal", "what was compared")
_TIMED_HEAD = ("run", "bars/s (CPU)", "bars/s (wall)", "memory, MB", "fills")
_LAYER_HEAD = ("a run that …", "µs a bar", "more than the one above")


def _cells(row: Row) -> tuple[str, ...]:
    peer = "–" if row.peer is None else _number(row.peer)
    ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
    figures = (f"{_number(row.ours)} {row.unit}", peer, ratio)
    return (row.work, *figures, row.target or "–", _word(row.is_met), _word(row.equal), row.check)


def _timed_cells(timed: Timed) -> tuple[str, ...]:
    peak = "–" if timed.peak is None else f"{timed.peak:,.0f}"
    return timed.name, _number(timed.bars / timed.cpu), _number(timed.bars / timed.wall), peak, f"{timed.fills:,}"


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _word(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "NO"


def _aligned(table: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(cells, widths, strict=True)] for cells in table]
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _piped(table: Sequence[tuple[str, ...]]) -> str:
    head, *body = [f"| {' | '.join(cells)} |" for cells in table]
    return "\n".join([head, f"|{'---|' * len(table[0])}", *body])
