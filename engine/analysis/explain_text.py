"""An explanation in words and tables, for the terminal."""

from decimal import Decimal
from typing import TYPE_CHECKING

from engine.analysis.explain import Explanation, Line
from engine.analysis.explain_books import Part
from engine.analysis.formatting import NOTHING, money, percent
from engine.bars import iso

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LISTED = 12
"""Orders and payments that are listed; --json has them all."""

_SHOWN = Decimal("1e-8")
"""Less than that, in the currency at hand, is shown as nothing."""

MEANS = {
    Part.DATA: "the venue corrected bars after they were decided on",
    Part.LATENCY: "the market moved while orders, or decisions, were on their way",
    Part.FILL_PRICE: "spread, slippage and impact beside the price of reference",
    Part.NO_FILL: "orders filled in part, later in parts, or not at all",
    Part.FEE: "other rates, maker or taker, other currencies of fees",
    Part.FUNDING: "funding, interest and borrow fees at another rate",
    Part.FORECAST: "a model said something else, too late, or nothing",
    Part.MISSED_BAR: "one of the two never had a bar",
    Part.INTERACTION: "causes at work together, and what nothing recorded explains",
}


def print_explanation(found: Explanation, console: "Console", listed: int = LISTED) -> None:
    """Print the gap, its parts, the largest contributions and what to know before believing it."""
    currency = found.currency
    console.print(f"run {found.run_a} (A) against run {found.run_b} (B), {iso(found.first)} to {iso(found.last)}")
    console.print(
        f"A earned {money(float(found.profit_a), currency, signed=True)}, "
        f"B {money(float(found.profit_b), currency, signed=True)}: "
        f"a gap of {money(float(found.gap), currency, signed=True)}"
    )
    if not found.lines:
        console.print("every order, fill and payment is the same")
    else:
        console.print()
        console.print(_parts(found))
        console.print()
        console.print(_largest(found.lines[:listed], currency))
        if len(found.lines) > listed:
            console.print(f"and {len(found.lines) - listed:,} more; --json has them all")
    for note in found.notes:
        console.print(f"note: {note}")


def _parts(found: Explanation) -> "Table":
    size = sum(abs(float(amount)) for amount in found.parts.values())
    rows: list[tuple[str, ...]] = []
    for part, amount in found.parts.items():
        is_there = abs(amount) >= _SHOWN
        share = percent(abs(float(amount)) / size, decimals=1) if is_there else NOTHING
        rows.append((part.value, money(float(amount), signed=True) if is_there else NOTHING, share, MEANS[part]))
    rows.append(("gap", money(float(found.gap), signed=True), "", "the sum, exactly"))
    headings = ("part", found.currency, "of all that moved", "what it means")
    return _table(headings, rows, headings[1:3])


def _largest(lines: tuple[Line, ...], currency: str) -> "Table":
    rows: list[tuple[str, ...]] = []
    for line in lines:
        main = max(line.parts, key=lambda part: abs(line.parts[part]))
        orders = " / ".join(NOTHING if number is None else str(number) for number in (line.order_a, line.order_b))
        rows.append((
            iso(line.time), line.symbol, orders if (line.order_a or line.order_b) else NOTHING,
            money(float(line.amount), signed=True), main.value, line.text,
        ))
    return _table(("decided", "symbol", "order A / B", currency, "mostly", "why"), rows, (currency,))


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]], numbers: tuple[str, ...]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        is_text = heading == headings[-1]
        made.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=not is_text)
    for row in rows:
        made.add_row(*map(Text, row))
    return made
