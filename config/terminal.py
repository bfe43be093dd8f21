"""What the command line shows: progress bars on the error stream, tables on the output."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from engine.analysis.formatting import NOTHING, number, percent
from engine.bars import MINUTE, iso
from engine.journal.reading import RunInfo
from feeds.catalog_entry import CatalogEntry
from feeds.gaps import Gap
from strategies.registry import StrategyInfo

Report = Callable[[int, int | None], None]
"""Told how much is done, and of how much where that is known."""

WIDE = 200
"""Columns where there is no terminal to say how many it has: a file or a pipe has room."""

screen = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
errors = Console(stderr=True, highlight=False)


class _Rate(ProgressColumn):
    """How many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self._unit}/s" if speed else "", style="progress.data.speed")


@contextmanager
def progress(what: str, unit: str) -> Iterator[Report | None]:
    """Show a bar with the rate while the block runs; None, and no bar, where the error stream is not a terminal."""
    if not errors.is_terminal:
        yield None
        return
    columns = (TextColumn(what), BarColumn(), TextColumn("{task.completed:,.0f}"), _Rate(unit), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()) -> Table:
    """Return a table; the columns named in `numbers` are set to the right, and only a last column of text may wrap."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        wraps = heading == headings[-1] and heading not in numbers
        made.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=not wraps)
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def strategy_lines(info: StrategyInfo) -> list[Text | Table]:
    """Return a strategy's name, what it does, and its parameters."""
    lines: list[Text | Table] = [Text.assemble((info.name, "bold"), f"  {info.doc}")]
    if info.fault:
        lines.append(Text(f"  cannot be used: {info.fault}", style="red"))
    if info.parameters:
        rows = [(f"  {one.name}", one.type, repr(one.default), one.range, one.help) for one in info.parameters]
        lines.append(table(("  parameter", "type", "default", "range", "meaning"), rows))
    return [*lines, Text("")]


def run_table(runs: Iterable[RunInfo]) -> Table:
    """Return the runs, one a row."""
    rows = []
    for run in runs:
        result = run.result
        figures = result.get("statistics", {})
        rows.append((
            run.id, iso(run.start.started_at // MINUTE * MINUTE), run.status,
            run.start.settings.get("run", {}).get("name", ""), run.start.strategy,
            f"{run.bars:,}" if run.bars is not None else NOTHING, f"{result.get('fills', 0):,}",
            percent(figures.get("total_return"), signed=True), number(figures.get("sharpe")),
            percent(figures.get("max_drawdown")),
        ))
    headings = ("run", "started", "status", "name", "strategy", "bars", "fills", "return", "Sharpe", "drawdown")
    return table(headings, rows, numbers=("run", "bars", "fills", "return", "Sharpe", "drawdown"))


def catalog_table(entries: Iterable[CatalogEntry]) -> Table:
    """Return the streams of a catalog, one a row."""
    rows = [
        (*entry.stream, f"{entry.rows:,}", iso(entry.first_open), iso(entry.last_close), f"{entry.missing_bars:,}",
         entry.calendar, entry.digest[:12])
        for entry in entries
    ]
    headings = ("symbol", "timeframe", "bars", "from", "to", "missing", "calendar", "digest")
    return table(headings, rows, numbers=("bars", "missing"))


def gap_table(gaps: Iterable[Gap]) -> Table:
    """Return gaps, one a row."""
    rows = [(iso(gap.start), iso(gap.end), f"{gap.missing:,}") for gap in gaps]
    return table(("from", "to", "missing bars"), rows, numbers=("missing bars",))
