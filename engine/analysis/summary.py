"""The end of a run in the terminal: a screenful that says what happened, what it rests on and where to look next.

With colours and frames where there is a terminal; as plain aligned text where there is none (a file, a pipe, a log).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.analysis.bounds_view import bounds_lines, is_told
from engine.analysis.definitions import DEFINITIONS
from engine.analysis.findings import Finding, findings, headline
from engine.analysis.forecast_view import PERIODS, divided, forecast_lines, halves
from engine.analysis.formatting import NOTHING, duration, listed, money, number, percent, short, statistic
from engine.analysis.report_data import ReportData
from engine.bars import iso

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

COLUMNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Return", ("total_return", "cagr", "benchmark_return", "final_equity", "exposure_time")),
    ("Risk", ("sharpe", "sortino", "max_drawdown", "max_drawdown_duration", "volatility")),
    ("Trades", ("trades", "win_rate", "profit_factor", "expectancy", "average_duration")),
    ("Costs", ("fees", "spread_cost", "slippage_cost", "impact_cost", "holding_cost", "cost_rate")),
)
"""What is shown of the statistics; the report has all of them, with their definitions."""

NextStep = tuple[str, str]
"""A command, and what it shows."""


def print_summary(data: ReportData, *, console: "Console | None" = None, next_steps: Sequence[NextStep] = ()) -> None:
    """Print the summary of a run.

    Args:
        console: where to; rich's standard console if not given. Without a terminal behind it the text is plain.
        next_steps: commands to try, each with what it shows; `default_next_steps` if there are none.
    """
    from rich.console import Console  # deferred: only the command line needs it
    from rich.text import Text

    console = console or Console()
    steps = next_steps or default_next_steps(data)
    if console.is_terminal:
        console.print(_rich_summary(data, steps, console.width))
    else:
        console.print(Text(summary_text(data, next_steps=steps)), soft_wrap=True)


def summary_text(data: ReportData, *, next_steps: Sequence[NextStep] = ()) -> str:
    """Return the summary as plain text: no colours, no frames, one fact a line."""
    lines = [f"{data.strategy} on {listed(data.symbols, 3)}", _subtitle(data), "", headline(data), ""]
    for title, names in COLUMNS:
        lines.append(_title(title, names, data))
        lines += [f"  {_label(name):<24}{_value(name, data):>20}" for name in _shown(names, data)]
    if data.forecasts:
        lines += ["", "Forecasts", *(f"  {line}" for line in forecast_lines(data.forecasts))]
    if is_told(data):
        lines += ["", "What bars cannot tell", *(f"  {line}" for line in bounds_lines(data))]
    lines += [
        "",
        f"Assumption card {str(data.card.get('hash', ''))[:12]}, profile {data.card.get('profile', 'unknown')}",
    ]
    lines += [f"  {_mark(warning['level'])} {_warning(warning)}" for warning in data.card.get("warnings", ())]
    found = _shown_findings(data)
    if found:
        lines += ["", "Before you believe it", *(f"  {_mark(finding.level)} {finding.text}" for finding in found)]
    lines += ["", _speed(data)]
    if next_steps:
        width = max(len(command) for command, _ in next_steps)
        lines += ["", "Next", *(f"  {command:<{width}}  {shows}" for command, shows in next_steps)]
    return "\n".join(lines)


def default_next_steps(data: ReportData) -> list[NextStep]:
    """Return what is worth a look after any run."""
    run = str(data.run_id) if data.run_id is not None else "RUN"
    steps = [(f"python main.py report {run}", "the whole picture in a browser")]
    worst = _worst_exit(data)
    if worst:
        order = f"r{run}-{worst}" if data.run_id is not None else str(worst)
        steps.append((f"python main.py why {order}", "the order that closed the worst trade, back to its bar"))
    steps.append(("python main.py runs", "every run so far"))
    return steps


def _worst_exit(data: ReportData) -> int:
    closed = data.trades.closed
    return int(closed.exit_order_id[closed.net_profit.argmin()]) if len(closed) else 0


# ── with colours ────────────────────────────────────────────────────────────────────────────────────────────────────


def _rich_summary(data: ReportData, steps: Sequence[NextStep], width: int) -> "RenderableType":
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    made = data.statistics.get("total_return")
    tone = "default" if not made else "green" if made > 0 else "red"
    parts: list[RenderableType] = [Text(headline(data), style=f"bold {tone}"), Text()]

    # Four columns need about a hundred characters; a narrower terminal gets two below two.
    across = 4 if width >= 112 else 2 if width >= 60 else 1
    for first in range(0, len(COLUMNS), across):
        grid = Table.grid(padding=(0, 3), expand=True)
        chosen = COLUMNS[first : first + across]
        for _ in chosen:
            grid.add_column(ratio=1)
        grid.add_row(*(_block(title, names, data) for title, names in chosen))
        parts += [grid, Text()]

    if data.forecasts:
        stamp, *others = forecast_lines(data.forecasts)
        alarm = "red" if data.forecasts["contaminated"] else ""
        parts += [Text("Forecasts", style="bold"), Text(stamp, style=alarm), *map(Text, others), Text()]
    if is_told(data):
        parts += [Text("What bars cannot tell", style="bold"), *map(Text, bounds_lines(data)), Text()]
    card = Text.assemble(
        ("Assumption card ", "bold"),
        (str(data.card.get("hash", ""))[:12], "cyan"),
        (f"  profile {data.card.get('profile', 'unknown')}", "dim"),
    )
    parts.append(card)
    parts += [_bullet(warning["level"], _warning(warning)) for warning in data.card.get("warnings", ())]
    found = _shown_findings(data)
    if found:
        parts += [
            Text(),
            Text("Before you believe it", style="bold"),
            *(_bullet(finding.level, finding.text) for finding in found),
        ]
    parts += [Text(), Text(_speed(data), style="dim")]
    title = Text.assemble((f" {data.strategy} ", "bold"), (f"on {listed(data.symbols, 3)} ", "default"))
    panel = Panel(
        Group(*parts),
        title=title,
        title_align="left",
        subtitle=Text(f" {_subtitle(data)} ", style="dim"),
        subtitle_align="right",
        box=box.ROUNDED,
        border_style="dim",
        padding=(1, 2),
    )
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for command, shows in steps:
        table.add_row(Text(f"  {command}", style="cyan"), Text(shows, style="dim"))
    return Group(panel, table)


def _shown(names: Sequence[str], data: ReportData) -> list[str]:
    """Leave out what holding cost where it cost nothing: most accounts pay none of it."""
    return [name for name in names if name != "holding_cost" or data.statistics.get(name)]


def _block(title: str, names: Sequence[str], data: ReportData) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    block = Table.grid(padding=(0, 1), expand=True)
    block.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    block.add_column(justify="right", no_wrap=True)
    block.add_row(Text(_title(title, names, data), style="bold"), "")
    for name in _shown(names, data):
        value = data.statistics.get(name)
        style = ""
        is_toned = name in ("total_return", "cagr", "expectancy", "max_drawdown")
        if value and is_toned and halves(data.forecasts, name) is None:
            style = "green" if value > 0 else "red"
        block.add_row(Text(_label(name), style="dim"), Text(_value(name, data), style=style))
    return block


def _bullet(level: str, text: str) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 1))
    row.add_column(width=3, justify="right")
    row.add_column()
    style = {"optimistic": "yellow", "bad": "red", "good": "green"}.get(level, "dim")
    row.add_row(
        Text({"optimistic": "▲", "bad": "●", "good": "●"}.get(level, "·"), style=style),
        Text(text, style="" if level != "note" else "dim"),
    )
    return row


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _shown_findings(data: ReportData) -> list[Finding]:
    """Leave out what the card above has just said."""
    return [finding for finding in findings(data) if " optimistic: " not in finding.text][:5]


_SHORT = {
    "benchmark_return": "Buy & hold", "exposure_time": "In the market", "max_drawdown_duration": "Longest",
    "average_duration": "Time held", "benchmark_max_drawdown": "Buy & hold",
}


def _label(name: str) -> str:
    return _SHORT.get(name, DEFINITIONS[name].label)


def _title(title: str, names: Sequence[str], data: ReportData) -> str:
    """Return a block's title, and what the halves are of figures that are told apart."""
    return f"{title}, {PERIODS}" if any(halves(data.forecasts, name) for name in names) else title


def _value(name: str, data: ReportData) -> str:
    both = divided(data.forecasts, name, lambda value: _shown_value(name, value, data))
    return _shown_value(name, data.statistics.get(name), data) if both is None else both


def _shown_value(name: str, value: float | int | None, data: ReportData) -> str:
    if value is None:
        return NOTHING
    if DEFINITIONS[name].unit == "money":
        return money(value, signed=name == "expectancy")
    if name in ("total_return", "cagr", "benchmark_return"):
        return percent(value, signed=True)
    return statistic(name, value)


def _warning(warning: dict[str, str]) -> str:
    setting = f"{warning['setting']} = {warning['value']}: " if warning["setting"] else ""
    return f"{setting}{warning['text']}"


def _mark(level: str) -> str:
    return {"optimistic": "!", "bad": "!", "good": "+"}.get(level, "-")


def _subtitle(data: ReportData) -> str:
    time = data.curve.time
    parts = [f"run {data.run_id}" if data.run_id is not None else "", ", ".join(data.timeframes)]
    if len(time):
        start, end = (iso(int(moment)).partition("T")[0] for moment in (time[0], time[-1]))
        parts += [f"{start} to {end}", duration(int(time[-1] - time[0]))]
    parts.append(data.curve.currency)
    if data.status != "completed":
        parts.append(data.status.upper())
    return " · ".join(part for part in parts if part)


def _speed(data: ReportData) -> str:
    text = f"{data.bar_count:,} bars"
    if data.loop_seconds > 0:
        text += f" in {number(data.loop_seconds)} s, {short(data.bars_per_second)} bars/s"
    text += f"; {data.order_count:,} orders, {data.statistics.get('fills') or 0:,} fills"
    return text + (f", {data.refused_count:,} refused" if data.refused_count else "")
