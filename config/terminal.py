"""What the command line shows: progress bars on the error stream, tables on the output."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

Report = Callable[[int, int | None], None]
"""Told how much is done, and of how much where that is known."""

screen = Console(highlight=False)
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
    """Return a table; the columns named in `numbers` are set to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made
