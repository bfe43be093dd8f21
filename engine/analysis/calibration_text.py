"""A calibration in words, for the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.analysis.calibration import Calibration
from engine.bars import iso

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = {
    "half_spread_basis_points": ("half spread", "bp", 1.0),
    "slippage_basis_points": ("slippage and impact", "bp", 1.0),
    "impact_coefficient": ("impact Y of Y·σ·√(Q/V)", "", 1.0),
    "latency_median_milliseconds": ("latency, median", "ms", 1.0),
    "latency_sigma": ("latency, sigma of its logarithm", "", 1.0),
    "maker": ("maker's fee", "bp", 1e4),
    "taker": ("taker's fee", "bp", 1e4),
}


def print_calibration(made: Calibration, console: "Console", *, notes: Sequence[str] = ()) -> None:
    """Print every number with its interval, and what to know of it."""
    from rich.table import Table

    console.print(
        f"{made.fills:,} fills of {', '.join(made.symbols[:8])}{' …' if len(made.symbols) > 8 else ''}, "
        f"{iso(made.first)} to {iso(made.last)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, side in (("", "left"), ("fitted", "right"), ("95 % interval", "right"), ("from", "right")):
        table.add_column(heading, justify="right" if side == "right" else "left")
    for name, one in made.estimates().items():
        words, unit, scale = _SHOWN[name]
        value, low, high = (f"{number * scale:.5g}" for number in one[:3])
        table.add_row(words, f"{value} {unit}".strip(), f"{low} … {high}", f"{one.observations:,}")
    console.print(table)
    p50, p90, p99 = made.latency_quantiles
    console.print(f"latency: half within {p50:.4g} ms, 90 % within {p90:.4g}, 99 % within {p99:.4g}")
    law = "the square-root law" if made.law == "sqrt_impact" else "a constant"
    console.print(f"slippage is described better by {law}, and written so")
    console.print("paper-only: own orders had no impact on the market; for large orders the truth is worse")
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True)
