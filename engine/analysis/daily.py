"""A day of a session, out of its journal: what was earned, traded, halted, said; as text and as a page of HTML."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from html import escape
from math import isnan
from pathlib import Path

from engine.analysis.comparison_text import Block
from engine.analysis.formatting import NOTHING, money, percent, price
from engine.bars import DAY, SECOND, iso
from engine.journal.reading import RunRecord
from engine.records import FillRow

NEEDED = (
    "decisions", "orders", "order_events", "fills", "account_events", "equity", "risk_events", "commands",
    "forecast_scores", "session_inputs", "alerts",
)
"""The tables of a record that are read here."""

LISTED = 50
"""Rows of a table, the last ones; the journal has them all."""

_CAPITAL = ("deposit", "withdrawal")


def day_of(record: RunRecord, day: int) -> list[Block]:
    """Return what happened in the day that begins at `day` (UTC ns).

    Args:
        record: with the tables of NEEDED.
    """
    return [block for block in _blocks(record, day, day + DAY) if block.text or block.rows]


def days_of(record: RunRecord) -> list[int]:
    """Return the beginnings of the days on which a run did anything, UTC ns, oldest first."""
    times = [row.time for row in record.equity]
    times += [row.time for row in record.fills] + [row.time for row in record.alerts]
    # A bar that closes at midnight belongs to the day that ends.
    return sorted({(time - 1) // DAY * DAY for time in times})


def as_text(blocks: Sequence[Block]) -> str:
    """Return blocks as plain text, tables set in columns."""
    parts = []
    for block in blocks:
        lines = [block.title, "-" * len(block.title)] if block.title else []
        lines += [block.text] if block.text else []
        if block.rows:
            lines += _columns(block)
        lines += block.notes
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def as_page(blocks: Sequence[Block], title: str) -> str:
    """Return blocks as a page that needs nothing else."""
    body = []
    for number, block in enumerate(blocks):
        body.append(f"<h{1 if not number else 2}>{escape(block.title)}</h{1 if not number else 2}>")
        body += [f"<p>{escape(block.text)}</p>"] if block.text else []
        if block.rows:
            right = [heading in block.numbers for heading in block.headings]
            heads = (
                f'<th class="number">{escape(heading)}</th>' if is_number else f"<th>{escape(heading)}</th>"
                for heading, is_number in zip(block.headings, right, strict=True)
            )
            body.append("<table><tr>" + "".join(heads) + "</tr>")
            for row in block.rows:
                cells = (
                    f'<td class="number">{escape(cell)}</td>' if is_number else f"<td>{escape(cell)}</td>"
                    for cell, is_number in zip(row, right, strict=True)
                )
                body.append("<tr>" + "".join(cells) + "</tr>")
            body.append("</table>")
        body += [f"<p>{escape(note)}</p>" for note in block.notes]
    return _PAGE.format(title=escape(title), body="\n".join(body))


def write_day(record: RunRecord, day: int, folder: Path) -> tuple[Path, Path]:
    """Write a day's text and page into a folder, and return their paths. Written again, they are replaced."""
    blocks, name = day_of(record, day), f"run-{record.run.id}-{iso(day)[:10]}"
    folder.mkdir(parents=True, exist_ok=True)
    text, page = folder / f"{name}.txt", folder / f"{name}.html"
    for path, content in ((text, as_text(blocks)), (page, as_page(blocks, name))):
        partial = path.with_name(f"{path.name}.part")
        partial.write_text(content, "utf-8")
        partial.replace(path)
    return text, page


# ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _blocks(record: RunRecord, start: int, end: int) -> Iterator[Block]:
    run = record.run
    fills = [fill for fill in record.fills if start <= fill.time < end]
    state = run.status + (f": {run.error}" if run.error else "")
    yield Block(
        f"{iso(start)[:10]}: {run.start.strategy}, run {run.id}",
        f"{run.start.data.get('venue', run.start.kind)}, {state}")
    yield _result(record, fills, start, end)
    yield _by_symbol(fills)
    yield _payments(record, start, end)
    yield _orders(record, start, end)
    yield _halts(record, start, end)
    yield _forecasts(record, start, end)
    yield _feed(record, start, end)
    yield _alerts(record, start, end)


def _result(record: RunRecord, fills: Sequence[FillRow], start: int, end: int) -> Block:
    rows = []
    for currency in dict.fromkeys(row.currency for row in record.equity):
        mine = [row for row in record.equity if row.currency == currency]
        # A bar that closes at midnight belongs to the day that ends.
        today = [row for row in mine if start < row.time <= end]
        if not today:
            continue
        before = [row for row in mine if row.time <= start]
        opening = before[-1].equity if before else _opening(record, currency, today[0].equity)
        closing = today[-1].equity
        moved = sum(
            event.amount for event in record.account_events
            if event.currency == currency and event.kind in _CAPITAL and start < event.time < end and before
        )
        earned = closing - opening - moved
        low = min(row.equity for row in today)
        rows.append((
            currency, money(opening), money(closing), money(earned, signed=True),
            percent(earned / opening if opening else None, signed=True), money(low),
            money(sum(fill.fee for fill in fills if fill.currency == currency)),
            percent(today[-1].exposure),
        ))
    headings = ("currency", "opening equity", "closing equity", "earned", "of it", "lowest", "fees", "invested")
    return Block("Result", "" if rows else "no bar closed", headings, tuple(rows), headings[1:])


def _opening(record: RunRecord, currency: str, otherwise: float) -> float:
    deposits = [e.amount for e in record.account_events if e.currency == currency and e.kind in _CAPITAL]
    return sum(deposits) if deposits else otherwise


def _by_symbol(fills: Sequence[FillRow]) -> Block:
    groups: dict[str, list[FillRow]] = defaultdict(list)
    for fill in fills:
        groups[fill.symbol].append(fill)
    rows = []
    for symbol, mine in sorted(groups.items()):
        worth = sum(fill.price * fill.quantity for fill in mine)
        costs = sum(fill.spread_cost + fill.slippage_cost + fill.impact_cost for fill in mine)
        makers = sum(fill.liquidity == "maker" for fill in mine) / len(mine)
        rows.append((
            symbol, f"{len(mine):,}", money(worth), money(sum(fill.fee for fill in mine)), money(costs),
            percent(makers, decimals=0), price(mine[-1].position_after),
        ))
    headings = ("symbol", "fills", "worth", "fees", "spread and slippage", "resting", "held after")
    return Block("Trades", "" if rows else "nothing filled", headings, tuple(rows), headings[1:])


def _payments(record: RunRecord, start: int, end: int) -> Block:
    sums: Counter[tuple[str, str]] = Counter()
    for event in record.account_events:
        if start <= event.time < end:
            sums[event.kind, event.currency] += event.amount  # type: ignore[assignment]
    rows = tuple((kind, currency, money(amount, signed=True)) for (kind, currency), amount in sorted(sums.items()))
    return Block("Payments", "", ("kind", "currency", "amount"), rows, ("amount",))


def _orders(record: RunRecord, start: int, end: int) -> Block:
    made = sum(start <= order.time < end for order in record.orders)
    kinds = Counter(event.kind for event in record.order_events if start <= event.time < end)
    odd = [
        (_at(event.time), f"r{record.run.id}-{event.order_id}", event.kind, event.reason)
        for event in record.order_events
        if start <= event.time < end and event.kind in ("refused", "rejected", "unresolved")
    ]
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    said = f"{made:,} orders{f': {counts}' if counts else ''}" if made or counts else ""
    return Block("Orders", said, ("time", "order", "became", "why"), tuple(odd[-LISTED:]), notes=_more(len(odd)))


def _halts(record: RunRecord, start: int, end: int) -> Block:
    rows = [
        (_at(one.time), one.kind, one.rule, one.symbol or "all", one.reason + _by(one.actor))
        for one in record.risk_events if start <= one.time < end
    ]
    rows += [
        (_at(one.time), f"asked: {one.kind}", one.rule or NOTHING, one.symbol or "all", f"{one.why} (by {one.actor})")
        for one in record.commands if start <= one.time < end
    ]
    rows.sort()
    return Block("Halts and commands", "", ("time", "what", "rule", "symbol", "why"), tuple(rows[-LISTED:]))


def _at(time: int) -> str:
    return iso(time // SECOND * SECOND)


def _by(actor: str) -> str:
    return f" (by {actor})" if actor else ""


def _forecasts(record: RunRecord, start: int, end: int) -> Block:
    groups: dict[str, list[tuple[float | None, float | None]]] = defaultdict(list)
    for score in record.forecast_scores:
        if start <= score.time < end and score.forecast_id is not None:
            groups[score.model].append((score.direction, score.error))
    rows = []
    for model, scores in sorted(groups.items()):
        right = [one for one, _ in scores if one is not None and not isnan(one)]
        errors = [abs(one) for _, one in scores if one is not None and not isnan(one)]
        rows.append((
            model, f"{len(scores):,}", percent(sum(right) / len(right), decimals=1) if right else NOTHING,
            f"{sum(errors) / len(errors):.4g}" if errors else NOTHING,
        ))
    headings = ("model", "scored", "right direction", "mean size of error")
    return Block("Forecasts whose horizon closed", "", headings, tuple(rows), headings[1:])


def _feed(record: RunRecord, start: int, end: int) -> Block:
    kinds: Counter[str] = Counter()
    for row in record.session_inputs:
        if start <= row.time < end and row.kind == "feed_told":
            kinds[str(json.loads(row.body).get("kind"))] += 1
    rows = tuple((kind, f"{count:,}") for kind, count in sorted(kinds.items()))
    return Block("What the feed said", "", ("what", "times"), rows, ("times",))


def _alerts(record: RunRecord, start: int, end: int) -> Block:
    found = [one for one in record.alerts if start <= one.time < end and one.level != "info"]
    rows = [(_at(one.time), one.level, one.source, one.text) for one in found[-LISTED:]]
    return Block("Alerts", "", ("time", "level", "from", "what"), tuple(rows), notes=_more(len(found)))


def _more(count: int) -> tuple[str, ...]:
    return (f"and {count - LISTED:,} before them",) if count > LISTED else ()


def _columns(block: Block) -> list[str]:
    table = [block.headings, *block.rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(block.headings))]
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if heading in block.numbers else cell.ljust(width)
            for cell, width, heading in zip(row, widths, block.headings, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.05rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; vertical-align: top; }}
th.number, td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style></head><body>
{body}
</body></html>
"""
