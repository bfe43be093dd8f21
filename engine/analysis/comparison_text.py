"""A comparison of two runs in words and tables: in the terminal, and as a page of HTML."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.analysis.comparison import (
    CHANGED,
    ONLY_A,
    ONLY_B,
    SAME,
    Comparison,
    Row,
    RowDifference,
    StatisticDifference,
    TradeDifference,
    seen_by,
)
from engine.analysis.definitions import DEFINITIONS
from engine.analysis.formatting import NOTHING, money, number, price, statistic
from engine.analysis.inputs import Difference, shortened
from engine.analysis.summary import COLUMNS
from engine.analysis.trades import Trade
from engine.bars import iso
from engine.journal.reading import RunInfo
from engine.records import DecisionRow

if TYPE_CHECKING:
    from rich.console import Console

LISTED = 20
"""Rows of a table in the terminal; the page and the JSON have more."""
LISTED_ON_PAGE = 2_000

_MAIN = tuple(name for _, names in COLUMNS for name in names)
"""Statistics that are shown even where the runs agree: those of a run's summary."""
_NOT_SHOWN = ("id", "order_id", "decision_id", "cash_after", "position_after", "reference_price")
"""Columns of orders and fills that follow from others, shown where they are all that differs."""


@dataclass(frozen=True)
class Block:
    """A titled table, or a sentence; the columns named in `numbers` are set to the right."""

    title: str
    text: str = ""
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    numbers: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def blocks(comparison: Comparison, listed: int = LISTED) -> list[Block]:
    """Return what there is to say, in order: what they were made of, where they went apart, trades, statistics."""
    a, b = _names(comparison)
    found = [Block(headline(comparison)), _inputs(comparison.inputs, a, b, listed)]
    found += _decisions(comparison, a, b)
    found += [
        _row_block(f"First differing {what}", difference, a, b)
        for what, difference in (("order", comparison.order), ("fill", comparison.fill)) if difference is not None
    ]
    found.append(_trades(comparison, a, b, listed))
    found.append(_statistics(comparison, a, b, listed))
    return [one for one in found if one.title]


def headline(comparison: Comparison) -> str:
    """Return the result in a line."""
    a, b = _names(comparison)
    if comparison.is_same:
        return f"{a} and {b} made the same orders and fills (order hash {comparison.hashes[0][:12]})"
    counts = comparison.trade_counts()
    apart = counts["changed"] + counts[ONLY_A] + counts[ONLY_B]
    return (
        f"{a} and {b} differ: order hash {comparison.hashes[0][:12]} against {comparison.hashes[1][:12]}; "
        f"{apart:,} of {len(comparison.trades):,} trades"
    )


def print_comparison(comparison: Comparison, console: "Console") -> None:
    """Print a comparison as tables."""
    from rich.table import Table  # deferred: only the command line needs it
    from rich.text import Text

    for place, block in enumerate(blocks(comparison)):
        style = "bold" if place else f"bold {'green' if comparison.is_same else 'yellow'}"
        console.print(Text(block.title, style=style), soft_wrap=True)
        if block.text:
            console.print(Text(f"  {block.text}"), soft_wrap=True)
        if block.rows:
            made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
            made.add_column("")
            for heading in block.headings:
                made.add_column(heading, justify="right" if heading in block.numbers else "left", overflow="fold")
            for row in block.rows:
                made.add_row("", *map(Text, row))
            console.print(made)
        for note in block.notes:
            console.print(Text(f"  {note}", style="dim"), soft_wrap=True)
        console.print()


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Write the comparison as a page of HTML that needs nothing else, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(comparison), "utf-8")
    return path


# ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _inputs(differences: Sequence[Difference], a: str, b: str, listed: int) -> Block:
    title = "What they were made of"
    if not differences:
        return Block(title, "nothing that was recorded differs: settings, code, libraries, seeds and data are the same")
    kinds = dict.fromkeys(one.kind for one in differences)
    shown = [one for kind in kinds for one in [one for one in differences if one.kind == kind][:_of_a_kind(listed)]]
    rows = tuple((one.kind, one.name, shortened(one.then), shortened(one.now), one.note) for one in shown)
    return Block(title, "", ("kind", "what", a, b, "note"), rows, notes=_more(len(differences), len(shown)))


def _of_a_kind(listed: int) -> int:
    return max(listed // 2, 1)


def _decisions(comparison: Comparison, a: str, b: str) -> Iterator[Block]:
    first, acted = comparison.decision, comparison.action
    if first is not None:
        yield _decision_block("First differing decision", first, comparison, a, b)
    if acted is not None and (first is None or acted.place != first.place):
        yield _decision_block("First decision that asked for something else", acted, comparison, a, b)


def _decision_block(title: str, difference: RowDifference, comparison: Comparison, a: str, b: str) -> Block:
    pair = (difference.a, difference.b)
    told = [
        _decision_in_words(row, run) if isinstance(row, DecisionRow) else {}
        for row, run in zip(pair, (comparison.a, comparison.b), strict=True)
    ]
    names = dict.fromkeys((*told[0], *told[1]))
    rows = tuple((name, told[0].get(name, NOTHING), told[1].get(name, NOTHING)) for name in names)
    return Block(title, _missing(difference, "decision", a, b), ("", a, b), rows)


def _decision_in_words(decision: DecisionRow, run: RunInfo) -> dict[str, str]:
    return {
        "decision": str(decision.id),
        "time": iso(decision.time),
        "symbol": decision.symbol,
        "close": price(decision.price),
        **{
            f"saw {name}": "not warm yet" if value is None else f"{value:.12g}"
            for name, value in seen_by(decision, run.start.lines).items()
        },
        "did": decision.action,
        "why": decision.why or "not said",
    }


def _row_block(title: str, difference: RowDifference, a: str, b: str) -> Block:
    pair = (difference.a, difference.b)
    shown = [row for row in pair if row is not None]
    names = [
        name for name in shown[0]._fields
        if (name in difference.fields or name not in _NOT_SHOWN)
        and (name == "id" or name in difference.fields or any(getattr(row, name) for row in shown))
    ]
    rows = [(shown[0]._fields[0], *(NOTHING if row is None else str(row.id) for row in pair))]
    for name in names:
        if name != "id":
            mark = " *" if name in difference.fields else ""
            rows.append((name + mark, *(_cell(name, row) for row in pair)))
    what = title.rpartition(" ")[2]
    notes = ("* differs",) if difference.fields else ()
    return Block(title, _missing(difference, what, a, b), ("", a, b), tuple(rows), notes=notes)


def _missing(difference: RowDifference, what: str, a: str, b: str) -> str:
    before = f"after {difference.place:,} that are the same" if difference.place else "the very first"
    if difference.a is not None and difference.b is not None:
        return before
    later = ""
    if difference.later is not None:
        did = f", {difference.later.action}" if isinstance(difference.later, DecisionRow) else ""
        later = f"; its next is {difference.later.id}, {iso(difference.later.time)}{did}"
    return f"{before}: {a if difference.a is None else b} made no {what} at that time{later}"


def _cell(name: str, row: Row | None) -> str:
    value: Any = None if row is None else getattr(row, name)
    if value is None:
        return NOTHING
    if name in ("time", "bar_close_time", "expire_at"):
        return iso(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _trades(comparison: Comparison, a: str, b: str, listed: int) -> Block:
    counts = comparison.trade_counts()
    kinds = ", ".join(f"{counts[name]:,} in {name}" for name in CHANGED.values() if counts[name])
    text = (
        f"{counts[SAME]:,} same, {counts['changed']:,} changed{f' ({kinds})' if kinds else ''}, "
        f"{counts[ONLY_A]:,} only in {a}, {counts[ONLY_B]:,} only in {b}"
    )
    apart = [trade for trade in comparison.trades if trade.what != SAME]
    rows = tuple(_trade_row(trade, a, b) for trade in apart[:listed])
    headings = ("what", "symbol", "side", "entered", "left", "size", "entry", "exit", "net profit")
    return Block("Trades", text, headings, rows, headings[5:], notes=_more(len(apart), listed))


def _trade_row(difference: TradeDifference, a: str, b: str) -> tuple[str, ...]:
    """Return a trade as one row; where the two differ, as "A → B"."""
    what = {ONLY_A: f"only in {a}", ONLY_B: f"only in {b}"}.get(difference.what, "changed")
    pair = [trade for trade in (difference.a, difference.b) if trade is not None]

    def both(tell: Callable[[Trade], str]) -> str:
        told = list(dict.fromkeys(tell(trade) for trade in pair))
        if len(told) == 2 and "T" in told[0] and told[0][:11] == told[1][:11]:
            told[1] = told[1][11:]  # another time of the same day
        return " → ".join(told)

    def left(trade: Trade) -> str:
        return "open" if trade.exit_time is None else iso(trade.exit_time)

    return (
        what, pair[0].symbol, "long" if pair[0].direction > 0 else "short",
        both(lambda trade: iso(trade.entry_time)), both(left), both(lambda trade: price(trade.quantity)),
        both(lambda trade: price(trade.entry_price)), both(lambda trade: price(trade.exit_price)),
        both(lambda trade: money(trade.net_profit, signed=True)),
    )


def _statistics(comparison: Comparison, a: str, b: str, listed: int) -> Block:
    """Return the statistics of the summary in the terminal, and on the page all that differ beside them."""
    shown = [
        one for one in comparison.statistics if one.name in _MAIN or (listed > LISTED and one.a != one.b)
    ]
    rows = tuple(
        (DEFINITIONS[one.name].label, statistic(one.name, one.a), statistic(one.name, one.b), _difference(one))
        for one in shown
    )
    left = [one for one in comparison.statistics if one not in shown]
    apart = sum(one.a != one.b for one in left)
    notes: tuple[str, ...] = (f"{apart:,} more differ; --html and --json have them",) if apart else ()
    notes += (f"{len(left) - apart:,} more are the same",) if len(left) > apart else ()
    headings = ("statistic", a, b, "difference")
    if not rows:
        return Block("Statistics", "neither run has any: it did not complete")
    return Block("Statistics", "", headings, rows, headings[1:], notes)


def _difference(one: StatisticDifference) -> str:
    if one.difference is None:
        return NOTHING
    if not one.difference:
        return "0"
    match DEFINITIONS[one.name].unit:
        case "percent":
            return f"{'+' if one.difference > 0 else '-'}{number(abs(100 * one.difference))} points"
        case "count":
            return f"{one.difference:+,}"
    sign = "+" if one.difference > 0 else "-"
    return f"{sign}{statistic(one.name, abs(one.difference))}"


def _more(count: int, listed: int) -> tuple[str, ...]:
    return (f"and {count - listed:,} more; --json has them all",) if count > listed else ()


def _names(comparison: Comparison) -> tuple[str, str]:
    a, b = f"run {comparison.a.id}", f"run {comparison.b.id}"
    return (a, b) if a != b else (f"{a} (A)", f"{b} (B)")


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 1200px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.35rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e5e8ec; }
th { color: #66707b; font-weight: 500; } .n { text-align: right; } p { margin: .2rem 0; } .note { color: #66707b; }
@media (prefers-color-scheme: dark) { body { background: #14171a; color: #e3e6ea; } th, td { border-color: #2b3036; }
  th, .note { color: #98a2ad; } }
"""


def _page(comparison: Comparison) -> str:
    head, *rest = blocks(comparison, LISTED_ON_PAGE)
    parts = [f"<h1>{escape(head.title)}</h1>"]
    for run in (comparison.a, comparison.b):
        name = run.start.settings.get("run", {}).get("name", "")
        told = f"run {run.id}: {run.start.strategy}{f' ({name})' if name else ''}, {run.start.kind}, {run.status}, "
        parts.append(f"<p class=note>{escape(told)}started {iso(run.start.started_at // 10**9 * 10**9)}</p>")
    for block in rest:
        parts.append(f"<h2>{escape(block.title)}</h2>")
        if block.text:
            parts.append(f"<p>{escape(block.text)}</p>")
        if block.rows:
            parts.append(_html_table(block))
        parts += [f"<p class=note>{escape(note)}</p>" for note in block.notes]
    body = "\n".join(parts)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{escape(head.title)}</title>\n<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _html_table(block: Block) -> str:
    kinds = ["class=n" if heading in block.numbers else "" for heading in block.headings]

    def line(cells: Sequence[str], tag: str) -> str:
        made = (f"<{tag} {kind}>{escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    rows = "\n".join([line(block.headings, "th"), *(line(row, "td") for row in block.rows)])
    return f"<div class=scroll><table>{rows}</table></div>"
