"""Two runs side by side: what they were made of, where they first went apart, their trades and their statistics.

A and B are two runs of one journal or of two. Rows are compared by their order, numbers to the last bit.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from engine.analysis.definitions import DEFINITIONS
from engine.analysis.forecast_view import SPLIT, is_divided
from engine.analysis.input_differences import input_differences
from engine.analysis.inputs import Difference, Recorded
from engine.analysis.report_data import report_from_journal
from engine.analysis.trades import Trade, round_trips
from engine.bars import iso
from engine.journal.hashing import order_hash
from engine.journal.reading import RunInfo, RunRecord
from engine.records import DecisionRow, FillRow, OrderRow

Row = DecisionRow | OrderRow | FillRow

SAME, ONLY_A, ONLY_B = "same", "only in A", "only in B"
CHANGED = {
    "entry_time": "entry time", "exit_time": "exit time", "entry_price": "entry price", "exit_price": "exit price",
    "quantity": "size", "costs": "costs",
}
"""What of a matched trade may differ, and how that is called."""


# Without the numbers of other rows: those differ as soon as one run has made a row more.
_ORDER_COLUMNS = tuple(name for name in OrderRow._fields if name not in ("id", "decision_id", "parent_id", "oco_group"))
_FILL_COLUMNS = tuple(name for name in FillRow._fields if name not in ("id", "order_id"))


@dataclass(frozen=True)
class Run:
    """One side of a comparison: a run, its rows, and what it was made of."""

    record: RunRecord
    made_of: Recorded

    @property
    def info(self) -> RunInfo:
        return self.record.run


class RowDifference(NamedTuple):
    """The first place at which two lists of rows go apart.

    Args:
        place: rows before it are the same; a, b: the rows there; None where a run has no more, or none at the time at
            which the other has one. fields: which columns differ where both have a row. later: the next row of the run
            that has none at that time, if it has any.
    """

    place: int
    a: Row | None
    b: Row | None
    fields: tuple[str, ...]
    later: Row | None = None


class TradeDifference(NamedTuple):
    """A trade of A beside the trade of B that it was matched with; None on a side that lacks it.

    `what` is `SAME`, `ONLY_A`, `ONLY_B`, or what changed: "exit price, size".
    """

    what: str
    a: Trade | None
    b: Trade | None


class StatisticDifference(NamedTuple):
    """A statistic of both runs; `difference` is b - a, None if either has no value."""

    name: str
    a: float | int | None
    b: float | int | None
    difference: float | int | None


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs.

    Args:
        hashes: the order hash of A and of B.
        inputs: what they were made of, where it differs.
        decision: the first decision that differs in anything, what it saw included; action: the first that asked for
            something else; order, fill: the first that differ.
        trades: every trade of either, in order of entry.
    """

    a: RunInfo
    b: RunInfo
    hashes: tuple[str, str]
    inputs: tuple[Difference, ...]
    decision: RowDifference | None
    action: RowDifference | None
    order: RowDifference | None
    fill: RowDifference | None
    trades: tuple[TradeDifference, ...]
    statistics: tuple[StatisticDifference, ...]

    @property
    def is_same(self) -> bool:
        """Whether the two made the same orders and fills."""
        return self.hashes[0] == self.hashes[1]

    def trade_counts(self) -> dict[str, int]:
        """Return how many trades are the same, changed (in what), or in one run only."""
        counts = {SAME: 0, "changed": 0, ONLY_A: 0, ONLY_B: 0}
        counts |= dict.fromkeys(CHANGED.values(), 0)
        for trade in self.trades:
            if trade.what in counts and trade.what not in CHANGED.values():
                counts[trade.what] += 1
                continue
            counts["changed"] += 1
            for name in trade.what.split(", "):
                counts[name] += 1
        return counts

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; of the trades those that differ."""
        return {
            "a": _run_as_dict(self.a, self.hashes[0]),
            "b": _run_as_dict(self.b, self.hashes[1]),
            "is_same": self.is_same,
            "inputs": [{**asdict(one), "text": str(one)} for one in self.inputs],
            "first_decision": _pair_as_dict(self.decision),
            "first_action": _pair_as_dict(self.action),
            "first_order": _pair_as_dict(self.order),
            "first_fill": _pair_as_dict(self.fill),
            "trade_counts": self.trade_counts(),
            "trades": [
                {"what": one.what, "a": _trade_as_dict(one.a), "b": _trade_as_dict(one.b)}
                for one in self.trades if one.what != SAME
            ],
            "statistics": {one.name: one._asdict() for one in self.statistics},
        }


def compare(a: Run, b: Run) -> Comparison:
    """Return what differs between two runs; A is taken as what was, B as what is now."""
    names = _names_in_words(a.info, b.info)
    return Comparison(
        a.info, b.info,
        hashes=(order_hash(a.record.orders, a.record.fills), order_hash(b.record.orders, b.record.fills)),
        inputs=tuple(input_differences(a.made_of, b.made_of)),
        decision=first_difference(a.record.decisions, b.record.decisions, names),
        action=first_difference(a.record.decisions, b.record.decisions, ("time", "symbol", "action")),
        order=first_difference(a.record.orders, b.record.orders, _ORDER_COLUMNS),
        fill=first_difference(a.record.fills, b.record.fills, _FILL_COLUMNS),
        trades=tuple(match_trades(_trades(a.record), _trades(b.record))),
        statistics=tuple(_statistics(a.record, b.record)),
    )


def first_difference(a: Sequence[Row], b: Sequence[Row], names: Sequence[str] | None = None) -> RowDifference | None:
    """Return where two lists of rows go apart, None if they do not.

    Args:
        names: the columns that count; all if left out.
    """
    for index in range(max(len(a), len(b))):
        one = a[index] if index < len(a) else None
        other = b[index] if index < len(b) else None
        if one is None or other is None:
            return RowDifference(index, one, other, ())
        if one == other:
            continue
        fields = [
            name for name, mine, theirs in zip(one._fields, one, other, strict=True)
            if (names is None or name in names) and not _equal(mine, theirs)
        ]
        if fields:
            if one.time != other.time:  # the run that did something at the earlier time; the other did nothing then
                if one.time < other.time:
                    return RowDifference(index, one, None, (), other)
                return RowDifference(index, None, other, (), one)
            return RowDifference(index, one, other, tuple(fields))
    return None


def seen_by(decision: DecisionRow, lines: Sequence[str]) -> dict[str, float | None]:
    """Return what a decision saw, by the name of each line; None stands for a line that was not warm yet."""
    values = [None if value != value else value for value in decision.saw or ()]
    names = lines if len(lines) == len(values) else [f"line {number}" for number in range(1, len(values) + 1)]
    return dict(zip(names, values, strict=True))


def match_trades(a: Sequence[Trade], b: Sequence[Trade]) -> list[TradeDifference]:
    """Return every trade beside the one of the other run that it stands for, in order of entry.

    Trades of one symbol and direction are matched if they were entered at the same instant; of those that remain, each
    with the first one that was held at the same time.
    """
    waiting: dict[tuple[str, int, int], deque[Trade]] = defaultdict(deque)
    for trade in b:
        waiting[trade.symbol, trade.direction, trade.entry_time].append(trade)
    pairs: list[tuple[Trade | None, Trade | None]] = []
    alone: list[Trade] = []
    for trade in a:
        same_entry = waiting[trade.symbol, trade.direction, trade.entry_time]
        if same_entry:
            pairs.append((trade, same_entry.popleft()))
        else:
            alone.append(trade)
    left = sorted((trade for trades in waiting.values() for trade in trades), key=lambda trade: trade.entry_time)
    pairs += _overlapping(alone, left)
    pairs.sort(key=lambda pair: min(trade.entry_time for trade in pair if trade is not None))
    return [TradeDifference(_what_changed(one, other), one, other) for one, other in pairs]


def _overlapping(a: Sequence[Trade], b: Sequence[Trade]) -> list[tuple[Trade | None, Trade | None]]:
    """Match trades that were held at the same time, in order of entry."""
    kinds: dict[tuple[str, int], tuple[deque[Trade], deque[Trade]]] = defaultdict(lambda: (deque(), deque()))
    for side, trades in enumerate((a, b)):
        for trade in trades:
            kinds[trade.symbol, trade.direction][side].append(trade)
    pairs: list[tuple[Trade | None, Trade | None]] = []
    for ours, theirs in kinds.values():
        while ours and theirs:
            if _ends_before(ours[0], theirs[0]):
                pairs.append((ours.popleft(), None))
            elif _ends_before(theirs[0], ours[0]):
                pairs.append((None, theirs.popleft()))
            else:
                pairs.append((ours.popleft(), theirs.popleft()))
        pairs += [(trade, None) for trade in ours]
        pairs += [(None, trade) for trade in theirs]
    return pairs


def _ends_before(one: Trade, other: Trade) -> bool:
    return one.exit_time is not None and one.exit_time <= other.entry_time


def _what_changed(a: Trade | None, b: Trade | None) -> str:
    if a is None or b is None:
        return ONLY_B if a is None else ONLY_A
    return ", ".join(
        word for name, word in CHANGED.items() if not _equal(getattr(a, name), getattr(b, name))
    ) or SAME


def _equal(one: Any, other: Any) -> bool:
    """Return whether two values are the same; a number that is not there equals another that is not there."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other or (one != one and other != other)


def _names_in_words(a: RunInfo, b: RunInfo) -> tuple[str, ...]:
    """Return the columns of a decision that count: what was seen only if both runs name the same lines."""
    saw = ("saw",) if a.start.lines == b.start.lines else ()
    return ("time", "symbol", "bar_close_time", "price", "action", "why", *saw)


def _trades(record: RunRecord) -> list[Trade]:
    rules = record.run.start.instruments
    factors = {symbol: float(words.get("multiplier", 1)) for symbol, words in rules.items()}
    return list(round_trips(record.fills, multipliers=factors).rows())


def _statistics(a: RunRecord, b: RunRecord) -> list[StatisticDifference]:
    ours, theirs = _figures(a), _figures(b)
    found = []
    for name in DEFINITIONS:
        one, other = ours.get(name), theirs.get(name)
        if one is not None or other is not None:
            difference = None if one is None or other is None else other - one
            found.append(StatisticDifference(name, one, other, difference))
    return found


def _figures(record: RunRecord) -> Mapping[str, Any]:
    """Return a run's statistics as they were computed at its end, else from what the journal has of it."""
    stored = record.run.result.get("statistics")
    if stored and is_divided(record.run.result.get("forecasts") or {}):  # none of these is told of the whole run
        return {name: value for name, value in stored.items() if name not in SPLIT}
    if stored:
        return dict(stored)
    return report_from_journal(
        record.run.start, fills=record.fills, equity=record.equity, account_events=record.account_events,
    ).statistics.values if record.equity else {}


def _run_as_dict(run: RunInfo, hashed: str) -> dict[str, Any]:
    return {
        "run_id": run.id, "status": run.status, "kind": run.start.kind, "strategy": run.start.strategy,
        "name": run.start.settings.get("run", {}).get("name", ""), "order_hash": hashed,
        "data_fingerprint": run.start.data_fingerprint, "code_version": run.start.code_version,
        "is_dirty": run.start.is_dirty,
    }


def _pair_as_dict(difference: RowDifference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    rows = [None if row is None else {**row._asdict(), "at": iso(row.time)} for row in (difference.a, difference.b)]
    for row in rows:
        if row is not None and row.get("saw") is not None:
            row["saw"] = [None if value != value else value for value in row["saw"]]
    return {"place": difference.place, "a": rows[0], "b": rows[1], "fields": list(difference.fields)}


def _trade_as_dict(trade: Trade | None) -> dict[str, Any] | None:
    if trade is None:
        return None
    numbers = {name: None if value != value else value for name, value in trade._asdict().items()}
    return {**numbers, "entered": iso(trade.entry_time)}
