"""What the command line shows: progress bars on the error stream, tables on the output."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from config.risk import RiskState
from engine.analysis.forecast_view import divided
from engine.analysis.formatting import NOTHING, number, percent
from engine.bars import MINUTE, iso
from engine.journal.reading import RunInfo
from feeds.catalog_entry import CatalogEntry
from feeds.gaps import Gap
from strategies.registry import StrategyInfo

if TYPE_CHECKING:  # torch is only loaded by commands that need it
    from config.models import Shown, Verified
    from models.verification import TensorCheck

Report = Callable[[int, int | None], None]
"""Told how much is done, and of how much where that is known."""

WIDE = 200
"""Columns where there is no terminal to say how many it has: a file or a pipe has room."""

screen = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
errors = Console(stderr=True, highlight=False)


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "", style="progress.data.speed")


class RunProgress:
    """Shows how far a run is: its bars, and beside them the forecasts of each model, as soon as there are any."""

    def __init__(self, bar: Progress, what: str, unit: str) -> None:
        self._bar = bar
        self._task = bar.add_task(what, total=None, unit=unit)
        self._models: dict[str, TaskID] = {}

    def __call__(self, done: int, total: int | None) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def forecasts(self, model: str, done: int, total: int) -> None:
        """Take note of a model's forecasts; may come from another thread."""
        if model not in self._models:
            self._models[model] = self._bar.add_task(model, total=total, unit="forecasts")
        self._bar.update(self._models[model], completed=done)


@contextmanager
def progress(what: str, unit: str) -> Iterator[RunProgress | None]:
    """Show a bar with the rate while the block runs; None, and no bar, where the error stream is not a terminal."""
    if not errors.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}"), _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        yield RunProgress(bar, what, unit)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()) -> Table:
    """Return a table; the columns named in `numbers` are set to the right, and only a last column of text may wrap."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        wraps = heading == headings[-1] and heading not in numbers
        made.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=not wraps)
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def risk_lines(state: RiskState) -> list[Text | Table]:
    """Return the limits, halts and refusals of a run's risk gate."""
    lines: list[Text | Table] = [Text.assemble((f"run {state.run_id}", "bold"), f"  {state.strategy}, {state.status}")]
    limits = [(rule, ", ".join(f"{name} {value}" for name, value in of.items())) for rule, of in state.limits.items()]
    lines.append(table(("rule", "limits"), limits) if limits else Text("no rules beside the venue's own filters"))
    if state.events:
        told = [
            (iso(one.time), one.kind, one.rule, one.symbol or "all", one.action or f"by {one.actor}", one.reason)
            for one in state.events
        ]
        lines.append(table(("time", "event", "rule", "symbol", "action", "reason"), told))
    counts = ", ".join(f"{rule} {count:,}" for rule, count in state.refused.items())
    lines.append(Text(f"refused: {counts or 'nothing'}"))
    halted = ", ".join(f"{one.rule} ({one.symbol or 'all'}) since {iso(one.time)}" for one in state.halts)
    lines.append(Text(f"halted: {halted}" if halted else "not halted", style="red" if halted else ""))
    lines += [Text(f"a lift was asked for by {one.actor}: {one.why}") for one in state.wishes]
    return lines


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
        figures, forecasts = result.get("statistics", {}), result.get("forecasts") or {}
        rows.append((
            run.id, iso(run.start.started_at // MINUTE * MINUTE), run.status,
            run.start.settings.get("run", {}).get("name", ""), run.start.strategy,
            f"{run.bars:,}" if run.bars is not None else NOTHING, f"{run.fills or 0:,}",
            divided(forecasts, "total_return", lambda one: percent(one, signed=True)) or percent(
                figures.get("total_return"), signed=True),
            divided(forecasts, "sharpe", number) or number(figures.get("sharpe")),
            divided(forecasts, "max_drawdown", percent) or percent(figures.get("max_drawdown")),
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


def verified_line(check: "TensorCheck") -> Text:
    """Return a tensor's name, its largest error beside the tolerance, and whether that is right."""
    if check.skipped:
        return Text.assemble(f"  {check.name}  ", ("skipped", "yellow"), f": {check.skipped}")
    mark = ("ok", "green") if check.is_ok else ("OUT", "bold red")
    return Text.assemble(f"  {check.name}  {check.error:.2e}  tolerance {check.tolerance:.0e}  ", mark)


def verified_summary(found: "Sequence[Verified]") -> str:
    """Return how many tensors and folders are right; what was passed over counts for neither."""
    compared = sum(one.compared for one in found)
    passed = sum(len(one.checks) for one in found) - compared
    right = sum(one.is_ok and one.compared > 0 for one in found)
    unknown = sum(one.is_ok and not one.compared for one in found)
    told = f"{compared:,} tensors in {len(found)} folders{f', {passed} passed over' if passed else ''}; "
    told += f"{right} of {len(found)} folders are right"
    return told + (f", {unknown} could not be compared" if unknown else "")


def artefact_table(artefacts: Iterable["Shown"]) -> Table:
    """Return artefacts, one a row."""
    rows = [
        (one.architecture, f"{one.parameters:,}", one.timeframe or NOTHING, one.lookback or NOTHING,
         one.horizon or NOTHING, one.trained, one.hash[:12], one.folder)
        for one in artefacts
    ]
    headings = ("architecture", "numbers", "timeframe", "lookback", "horizon", "trained on", "hash", "folder")
    return table(headings, rows, numbers=("numbers", "lookback", "horizon"))


def artefact_lines(one: "Shown") -> list[Text | Table]:
    """Return what an artefact is."""
    facts: list[tuple[str, object]] = [
        ("folder", one.folder), ("numbers", f"{one.parameters:,}"), ("hash", one.hash),
        ("timeframe", one.timeframe or NOTHING), ("lookback", one.lookback or NOTHING),
        ("horizon", one.horizon or NOTHING), ("trained on bars", one.trained),
        ("symbols", ", ".join(one.trained_on) or "unknown"), ("source", one.source or NOTHING),
        ("inputs", ", ".join(one.inputs) or NOTHING),
    ]
    facts += [(f"configuration.{name}", value) for name, value in one.configuration.items()]
    facts += [(f"conventions.{name}", value) for name, value in one.conventions.items()]
    return [Text(one.architecture, style="bold"), table(("fact", "value"), facts)]
