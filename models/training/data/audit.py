"""What was left out of the training data and why: a table that is read before training starts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.bars import IntArray
from engine.errors import DataError
from models.training.panel import Panel

ADVICE = {
    "warm-up": "its first rows have no features yet",
    "not finite": "a feature is NaN or infinite after its warm-up",
    "past too short": "fewer than `lookback` rows before it without a gap",
    "future too short": "its horizon reaches a gap or the data's end",
    "no target": "no target is known there",
}
"""Reasons, in the order in which a row is asked; the first that applies counts."""


@dataclass(frozen=True)
class Dropped:
    """Rows of a group that end no window, for one reason; `detail` names columns or lengths."""

    group: str
    reason: str
    rows: int
    detail: str = ""


@dataclass(frozen=True)
class Audit:
    """Rows of each group, how many of them end a window, and what became of the others.

    Args:
        rows, windows: by group. needed: rows that one window takes, warm-up, lookback and horizon together.
        notes: what else should be known: categories that training has not seen. symbols: that windows which train or
            judge are of.
    """

    rows: dict[str, int]
    windows: dict[str, int]
    dropped: tuple[Dropped, ...]
    needed: int
    notes: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()

    @property
    def empty_groups(self) -> tuple[str, ...]:
        """Groups without a window."""
        return tuple(group for group, count in self.windows.items() if not count)

    def check(self, policy: str = "skip") -> None:
        """Refuse what cannot be trained on.

        Args:
            policy: "error": a group without windows is refused; "skip": only if no group has any.
        Raises:
            DataError: naming the groups, their rows and what is needed, and the table.
        """
        empty = self.empty_groups
        if empty and (policy == "error" or len(empty) == len(self.windows)):
            short = ", ".join(f"{group} ({self.rows[group]:,} rows)" for group in empty[:5])
            more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
            raise DataError(
                f"no window can be cut from {short}{more}; a window takes {self.needed:,} rows without a gap: give "
                f"more bars, a shorter lookback or features of less memory\n{self}"
            )

    def as_rows(self) -> list[tuple[str, str, str, str]]:
        """Return the table: group, rows, what became of them, detail. Groups that fared alike share their lines."""
        alike: dict[tuple[int, int, tuple[tuple[str, int, str], ...]], list[str]] = {}
        for group, rows in self.rows.items():
            fate = tuple((one.reason, one.rows, one.detail) for one in self.dropped if one.group == group)
            alike.setdefault((rows, self.windows[group], fate), []).append(group)
        table = []
        for (rows, windows, fate), groups in alike.items():
            name = groups[0] if len(groups) == 1 else f"{groups[0]} and {len(groups) - 1} more, each"
            table.append((name, f"{rows:,}", f"{windows:,} windows", ""))
            for reason, count, detail in fate:
                table.append(("", f"{count:,}", f"left out: {reason}", detail or ADVICE.get(reason, "")))
        return [*table, *(("", "", "note", note) for note in self.notes)]

    def __str__(self) -> str:
        return aligned([("group", "rows", "become", "why"), *self.as_rows()])


def panel_audit(panel: Panel, past: int, ahead: int, trains: IntArray, judges: IntArray) -> Audit:
    """Return what became of every bar of a panel, whose numbers are finite: others are refused when it is made.

    Args:
        past, ahead: bars that a window takes up to its end, and after it. trains, judges: ends of windows, int64.
    """
    groups = [f"{symbol} {panel.timeframe}" for symbol in panel.symbols]

    def by_group(rows: IntArray) -> IntArray:
        return np.bincount(panel.symbol[rows], minlength=len(groups))

    reaches_back = panel.rows(past, 0)
    rows, short = by_group(np.arange(len(panel))), by_group(np.arange(len(panel))) - by_group(reaches_back)
    windows, trained, judged = by_group(panel.rows(past, ahead)), by_group(trains), by_group(judges)
    dropped, notes = [], []
    for place, group in enumerate(groups):
        late = int(rows[place] - short[place] - windows[place])
        for reason, count, detail in (
            ("past too short", int(short[place]), f"fewer than {past} bars up to it without a gap"),
            ("future too short", late, f"fewer than {ahead} bars after it without a gap"),
        ):
            if count:
                dropped.append(Dropped(group, reason, count, detail))
        if not trained[place]:
            end = f"; {judged[place]:,} of it judge all the same" if judged[place] else ""
            notes.append(f"{group}: no window of it trains{end}")
    neither = int(windows.sum() - trained.sum() - judged.sum())
    notes.append(
        f"{int(trained.sum()):,} windows train, {int(judged.sum()):,} judge, {neither:,} do neither: they lie "
        "outside of the split's spans, or settings leave them out"
    )
    seen = tuple(symbol for place, symbol in enumerate(panel.symbols) if trained[place] or judged[place])
    of_rows, of_windows = (dict(zip(groups, counts.tolist(), strict=True)) for counts in (rows, windows))
    return Audit(of_rows, of_windows, tuple(dropped), past + ahead, tuple(notes), seen)


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Return a table as text, its columns under each other."""
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join(lines)
