"""What a run leaves in its folder while it trains: metrics as lines of JSON, and event files for TensorBoard.

Values only; wall-clock seconds stand apart, so that two equal runs leave equal lines.
"""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import SettingsError
from models.training.checkpoints import TrainingState

METRICS = "metrics.jsonl"


class MetricsFile:
    """One line an epoch: {"epoch", "step", "loss", "rate", "valid": {…}, "seconds"}."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / METRICS

    def began(self, state: TrainingState, in_epoch: int, epochs: int) -> None:
        """Drop lines of epochs that are going to be trained again, because the process ended before their
        checkpoint."""
        kept = [line for line in read_metrics(self._path) if line["epoch"] <= state.epoch]
        part = self._path.with_suffix(".part")
        part.write_text("".join(f"{json.dumps(line)}\n" for line in kept), "utf-8")
        part.replace(self._path)

    def stepped(self, state: TrainingState, loss: float, rate: float, rows: int, parts: Mapping[str, float]) -> None:
        """Nothing: a step is for bars and TensorBoard."""

    def judged(self, state: TrainingState, loss: float, rate: float, seconds: float) -> None:
        """Add the epoch's line."""
        valid = {name: value if value == value else None for name, value in state.metrics.items()}
        line = {"epoch": state.epoch, "step": state.step, "loss": loss, "rate": rate, "valid": valid,
                "seconds": round(seconds, 3)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")

    def ended(self, state: TrainingState, error: BaseException | None) -> None:
        """Nothing is open."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file; one that was cut off by the end of its process is left out."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


class TensorBoard:
    """Event files for TensorBoard, below the run's folder: loss and rate of steps, metrics of epochs.

    Args:
        every: steps between two points.
    Raises:
        SettingsError: the library that writes them is not installed.
    """

    def __init__(self, folder: Path, every: int = 20) -> None:
        made = needed("tensorboardX", "tensorboardX", "log.tensorboard = false does without")
        self._writer = made.SummaryWriter(str(folder / "tensorboard"), flush_secs=10)
        self._every = every

    def began(self, state: TrainingState, in_epoch: int, epochs: int) -> None:
        """Nothing is there yet."""

    def stepped(self, state: TrainingState, loss: float, rate: float, rows: int, parts: Mapping[str, float]) -> None:
        """Write a point, every so often."""
        if state.step % self._every == 0:
            self._writer.add_scalar("train/loss_of_step", loss, state.step)
            self._writer.add_scalar("train/rate", rate, state.step)
            for name, value in parts.items():
                self._writer.add_scalar(f"train/{name}", value, state.step)

    def judged(self, state: TrainingState, loss: float, rate: float, seconds: float) -> None:
        """Write the epoch's points."""
        self._writer.add_scalar("train/loss", loss, state.step)
        for name, value in state.metrics.items():
            self._writer.add_scalar(f"valid/{name}", value, state.step)

    def ended(self, state: TrainingState, error: BaseException | None) -> None:
        """Close the file."""
        self._writer.close()


def needed(module: str, package: str, without: str) -> Any:
    """Return a module that is only there if it was asked for.

    Args:
        package: its name to pip; without: the setting that does without it.
    Raises:
        SettingsError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise SettingsError(f"{package} is not installed; install it with pip, or {without}") from exc
