"""What the command line shows of training: a bar with loss, rate, rows a second, the time left; and a line an epoch."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:  # torch is only loaded by commands that need it
    from models.training.checkpoints import TrainingState

_SMOOTHED = 0.05
"""Share of the newest step in the loss that is shown."""


class TrainingProgress:
    """Follows training on a console; models.training.loop.Watcher."""

    def __init__(self, console: Console, name: str, metric: str = "") -> None:
        self._console, self._name = console, name
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )
        self._loss: float | None = None
        self._rows, self._since = 0, time.perf_counter()

    def began(self, state: "TrainingState", in_epoch: int, epochs: int) -> None:
        """Show the bar."""
        self._in_epoch, self._epochs = in_epoch, epochs
        self._since = time.perf_counter()
        self._task = self._bar.add_task(self._name, total=in_epoch * epochs, completed=state.step, figures="")
        self._bar.start()
        if state.step:
            self._console.print(f"{self._name}: going on after epoch {state.epoch}, step {state.step:,}")

    def stepped(self, state: "TrainingState", loss: float, rate: float, rows: int, parts: Mapping[str, float]) -> None:
        """Move it."""
        self._loss = loss if self._loss is None else self._loss + _SMOOTHED * (loss - self._loss)
        self._rows += rows
        speed = self._rows / max(time.perf_counter() - self._since, 1e-9)
        figures = f"loss {self._loss:.4f}  lr {rate:.2e}  {speed:,.0f} rows/s"
        epoch = f"{self._name} epoch {min(state.epoch + 1, self._epochs)}/{self._epochs}"
        self._bar.update(self._task, completed=state.step, figures=figures, description=epoch)

    def judged(self, state: "TrainingState", loss: float, rate: float, seconds: float) -> None:
        """Say what the epoch came to."""
        valid = "  ".join(f"{name} {value:+.4f}" for name, value in list(state.metrics.items())[:4])
        best = "  best so far" if state.best_epoch == state.epoch else ""
        line = f"epoch {state.epoch}/{self._epochs}  loss {loss:.4f}  {valid}  {seconds:.1f} s{best}"
        self._console.print(line, highlight=False, soft_wrap=True)

    def ended(self, state: "TrainingState", error: BaseException | None) -> None:
        """Take it away."""
        self._bar.stop()
