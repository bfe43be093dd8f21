"""Why an order was made: fill → order → decision → forecasts → bar, and what the strategy saw.

Works on every journal. In SQL each step is a look-up by key or index, so a million rows make no difference.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import isnan
from typing import Any

from engine.bars import iso
from engine.errors import JournalError
from engine.journal.reading import ROW_TYPES, TABLE_OF, JournalReader, R, Readable, RunInfo, RunRecord, no_such_run
from engine.records import (
    DecisionForecastRow,
    DecisionRow,
    FillRow,
    ForecastRow,
    ForecastScoreRow,
    OrderEventRow,
    OrderRow,
)

_REFERENCE = re.compile(r"(?:r?(?P<run>\d+)[-:])?(?P<fill>f?)(?P<id>\d+)", re.IGNORECASE)
_NEIGHBOURS = 50
"""How far on either side of an order others of the same decision are looked for; they are numbered in a row."""


@dataclass(frozen=True)
class Reference:
    """Names an order, or a fill, of a run. `run` is None for the newest."""

    run: int | None
    is_fill: bool
    id: int

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read "r3-7" or "3:7" (order 7 of run 3), "r3-f12" (fill 12), "7" or "f12" (of the newest run).

        Raises:
            JournalError: the text is none of these.
        """
        match = _REFERENCE.fullmatch(text.strip())
        if not match:
            raise JournalError(
                f"{text!r} names no order or fill; expected r3-7 or 3:7 (order 7 of run 3), r3-f12 (fill 12), "
                f"or 7 (order 7 of the newest run)"
            )
        return cls(int(match["run"]) if match["run"] else None, bool(match["fill"]), int(match["id"]))


@dataclass(frozen=True)
class BarReference:
    """The bar that was decided on. The bar itself lies in the data that `fingerprint` names."""

    symbol: str
    timeframe: str | None
    """None if the run does not say, or had several of the symbol."""
    close_time: int
    price: float
    """The bar's close."""
    fingerprint: str


@dataclass(frozen=True)
class Lineage:
    """An order and all that led to it and came of it.

    Args:
        fill: the fill that was asked about; None if it was an order.
        fills: all fills of the order.
        saw: name and value of each of the strategy's indicator lines at the bar; None stands for a line not warm yet.
        parent: the order whose fill made this one active; children: those that this one's fill makes active.
        siblings: orders of the same OCO group, of the same parent, or made by the same decision.
        forecasts: what the decision rests on; scores: how those did whose horizon has closed since.
    """

    run: RunInfo
    order: OrderRow
    fill: FillRow | None
    fills: tuple[FillRow, ...]
    events: tuple[OrderEventRow, ...]
    decision: DecisionRow
    bar: BarReference
    saw: tuple[tuple[str, float | None], ...]
    parent: OrderRow | None
    children: tuple[OrderRow, ...]
    siblings: tuple[OrderRow, ...]
    forecasts: tuple[ForecastRow, ...] = ()
    scores: tuple[ForecastScoreRow, ...] = ()

    def __str__(self) -> str:
        return "\n".join(_told(self))


def why(journal: Readable, reference: str | Reference) -> Lineage:
    """Return what led to an order or a fill.

    Args:
        journal: a MemoryJournal, an SqlJournal, or SqlReader(connection).
        reference: see `Reference.parse`.
    Raises:
        JournalError: the reference is not understood, or names what is not there; the nearest is named.
    """
    wanted = Reference.parse(reference) if isinstance(reference, str) else reference
    with journal.snapshot() as reader:
        run = _run(reader, wanted.run)
        fill = _one(reader, FillRow, run, wanted.id) if wanted.is_fill else None
        order = _one(reader, OrderRow, run, fill.order_id if fill else wanted.id)
        decision = _one(reader, DecisionRow, run, order.decision_id)
        children = reader.rows_where(OrderRow, run.id, "parent_id", order.id)
        links = reader.rows_where(DecisionForecastRow, run.id, "decision_id", decision.id)
        forecasts = tuple(_one(reader, ForecastRow, run, link.forecast_id) for link in links)
        return Lineage(
            run, order, fill,
            fills=tuple(reader.rows_where(FillRow, run.id, "order_id", order.id)),
            events=tuple(reader.rows_where(OrderEventRow, run.id, "order_id", order.id)),
            decision=decision,
            bar=BarReference(
                decision.symbol, _timeframe(run, decision.symbol), decision.bar_close_time, decision.price,
                run.start.data_fingerprint,
            ),
            saw=_seen(decision, run.start.lines),
            parent=None if order.parent_id is None else _one(reader, OrderRow, run, order.parent_id),
            children=tuple(children),
            siblings=_siblings(reader, run.id, order, {child.id for child in children}),
            forecasts=forecasts,
            scores=tuple(
                score for one in forecasts
                for score in reader.rows_where(ForecastScoreRow, run.id, "forecast_id", one.id)
            ),
        )


def list_runs(journal: Readable, limit: int | None = None) -> tuple[RunInfo, ...]:
    """Return the runs, newest first, with the number of their fills: that of a run which did not end too."""
    with journal.snapshot() as reader:
        return tuple(replace(info, fills=_count_fills(reader, info.id)) for info in reader.runs(limit))


def _count_fills(reader: JournalReader, run_id: int) -> int:
    span = reader.span(FillRow, run_id)  # they are numbered without a gap
    return 0 if span is None else span[1] - span[0] + 1


def load_run(journal: Readable, run: int | None = None, tables: tuple[str, ...] = tuple(ROW_TYPES)) -> RunRecord:
    """Return a run and its rows.

    Args:
        run: its number; None for the newest.
        tables: those that are needed; the others stay empty. Some 300 000 rows load in a second.
    Raises:
        JournalError: there is no such run.
    """
    with journal.snapshot() as reader:
        info = _run(reader, run)
        rows: dict[str, Any] = {table: tuple(reader.rows(ROW_TYPES[table], info.id)) for table in tables}
        return RunRecord(info, **rows)


def unresolved_fills(journal: Readable, run: int | None = None) -> tuple[FillRow, ...]:
    """Return the fills of a run that lead to no order or no decision; there should be none.

    Raises:
        JournalError: there is no such run.
    """
    with journal.snapshot() as reader:
        return tuple(reader.unresolved_fills(_run(reader, run).id))


def _run(reader: JournalReader, run_id: int | None) -> RunInfo:
    if run_id is None:
        newest = reader.runs(limit=1)
        if not newest:
            raise JournalError("the journal has no run yet; `python main.py backtest` makes one")
        return newest[0]
    run = reader.run(run_id)
    if run is None:
        raise no_such_run(run_id, reader)
    return run


def _one(reader: JournalReader, row_type: type[R], run: RunInfo, row_id: int) -> R:
    rows = reader.rows_between(row_type, run.id, row_id, row_id)
    if rows:
        return rows[0]
    table = TABLE_OF[row_type]
    span = reader.span(row_type, run.id)
    if span is None:
        raise JournalError(f"run {run.id} ({run.status}) has no {table}")
    first, last = span
    nearest = min(max(row_id, first), last)
    raise JournalError(
        f"run {run.id} has no {table[:-1]} {row_id}; its {table} are {first} to {last}, the nearest is {nearest}"
    )


def _siblings(reader: JournalReader, run_id: int, order: OrderRow, children: set[int]) -> tuple[OrderRow, ...]:
    found = reader.rows_between(OrderRow, run_id, order.id - _NEIGHBOURS, order.id + _NEIGHBOURS)
    found = [other for other in found if other.decision_id == order.decision_id]
    if order.oco_group is not None:
        found += reader.rows_where(OrderRow, run_id, "oco_group", order.oco_group)
    if order.parent_id is not None:
        found += reader.rows_where(OrderRow, run_id, "parent_id", order.parent_id)
    known_already = {order.id, order.parent_id, *children}
    return tuple(sorted({other for other in found if other.id not in known_already}))


def _seen(decision: DecisionRow, lines: tuple[str, ...]) -> tuple[tuple[str, float | None], ...]:
    """Pair the values that were seen with the names of the lines; by number where the two do not fit."""
    values = [None if isnan(value) else value for value in decision.saw or ()]
    names = lines if len(lines) == len(values) else tuple(f"line {number}" for number in range(1, len(values) + 1))
    return tuple(zip(names, values, strict=True))


def _timeframe(run: RunInfo, symbol: str) -> str | None:
    """Return the symbol's timeframe if the run's `data["streams"]` (pairs, or {"symbol", "timeframe"}) has just one."""
    pairs = [
        (stream.get("symbol"), stream.get("timeframe")) if isinstance(stream, Mapping) else tuple(stream)
        for stream in run.start.data.get("streams", ())
    ]
    found = {str(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] == symbol and pair[1]}
    return found.pop() if len(found) == 1 else None


def _told(lineage: Lineage) -> list[str]:
    """Return the chain in words, from the fills down to the bar."""
    run, order, decision, bar = lineage.run, lineage.order, lineage.decision, lineage.bar
    lines = [f"run {run.id}: {run.start.strategy}, {run.start.kind}, {run.status}"]
    lines += [
        f"fill {fill.id}: {fill.side} {fill.quantity:.12g} {fill.symbol} at {fill.price:.12g} ({fill.liquidity}), "
        f"fee {fill.fee:.12g} {fill.currency}, {iso(fill.time)}"
        for fill in lineage.fills if lineage.fill in (None, fill)
    ]
    lines.append(f"  order {_order_in_words(order)}, {iso(order.time)}")
    lines += [
        f"    {event.kind} {iso(event.time)}{': ' if event.reason else ''}{event.reason}" for event in lineage.events
    ]
    relatives = [("made active by", (lineage.parent,) if lineage.parent else ()), ("makes active", lineage.children)]
    for words, orders in (*relatives, ("together with", lineage.siblings)):
        lines += [f"    {words} order {_order_in_words(other)}" for other in orders]
    reason = decision.why or "not said"
    lines.append(f"    decision {decision.id} of {decision.strategy}: {decision.action}; why: {reason}")
    for name, value in lineage.saw:
        lines.append(f"      saw {name} = {'not warm yet' if value is None else format(value, '.12g')}")
    scores = {score.forecast_id: score for score in lineage.scores}
    for forecast in lineage.forecasts:
        lines += _forecast_in_words(forecast, scores.get(forecast.id))
    name = f"{bar.symbol} {bar.timeframe}" if bar.timeframe else bar.symbol
    data = bar.fingerprint if len(bar.fingerprint) <= 16 else f"{bar.fingerprint[:12]}…"
    lines.append(f"      bar {name} that closed {iso(bar.close_time)} at {bar.price:.12g} (data {data})")
    return lines


def _forecast_in_words(forecast: ForecastRow, score: ForecastScoreRow | None) -> Iterator[str]:
    """Yield a forecast: the model, what it said, the bars it was made from, and what came of it."""
    model = f"model {forecast.model_hash[:12]}" if forecast.model_hash else "a model without a hash"
    flags = f" [{forecast.flags}]" if forecast.flags else ""
    late = f", available {iso(forecast.available_at)}" if forecast.available_at != forecast.as_of else ""
    yield (
        f"      forecast {forecast.id} of {forecast.model} ({model}): {forecast.kind} of {forecast.symbol} over "
        f"{forecast.horizon} × {forecast.timeframe}{flags}"
    )
    yield f"        says {_said(json.loads(forecast.says))}"
    yield (
        f"        from {forecast.lookback} bars to {iso(forecast.as_of)}, close {forecast.last_close:.12g} (window "
        f"{forecast.window_hash[:12]}, seed {forecast.seed}){late}"
    )
    if score is not None and score.realised is not None:
        error = f", error {score.error:+.4g}" if score.error is not None else ""
        yield f"        came out at {score.realised:+.4g} by {iso(score.time)}{error}"


def _said(value: Any) -> str:
    """Return what a forecast said, numbers to four digits."""
    match value:
        case dict():
            return ", ".join(f"{name} {_said(one)}" for name, one in value.items())
        case list():
            return " ".join(map(_said, value[:8])) + (" …" if len(value) > 8 else "")
        case float():
            return f"{value:.4g}"
    return str(value)


def _order_in_words(order: OrderRow) -> str:
    prices = (("limit", order.limit_price), ("stop", order.stop_price), ("trail", order.trail))
    flags = (("post-only", order.post_only), ("reduce-only", order.reduce_only))
    told = "".join(f" {name} {price:.12g}" for name, price in prices if price is not None)
    ending = ", ".join([order.time_in_force, *(name for name, is_set in flags if is_set)])
    return f"{order.id}: {order.type} {order.side} {order.quantity:.12g} {order.symbol}{told}, {ending}"
