"""What a run leaves behind while it trains: metrics as lines of JSON; TensorBoard, MLflow or Comet if asked for.

Values only; wall-clock seconds stand apart, so that two equal runs leave equal lines.
"""

import importlib
import json
import os
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

    def ended(self, state: TrainingState) -> None:
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
        made = _needed("tensorboardX", "tensorboardX", "log.tensorboard = false does without")
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

    def ended(self, state: TrainingState) -> None:
        """Close the file."""
        self._writer.close()


class MLflow:
    """A run in MLflow.

    Args:
        uri: of the tracking server, or a folder's. settings: shown as its parameters.
    """

    def __init__(self, uri: str, name: str, settings: Mapping[str, Any]) -> None:
        self._mlflow = _needed("mlflow", "mlflow", "leave log.mlflow out to do without")
        self._mlflow.set_tracking_uri(uri)
        self._mlflow.set_experiment("barcast")
        self._mlflow.start_run(run_name=name)
        self._mlflow.log_params(dict(flattened(settings)))

    def began(self, state: TrainingState, in_epoch: int, epochs: int) -> None:
        """Begun when it was made."""

    def stepped(self, state: TrainingState, loss: float, rate: float, rows: int, parts: Mapping[str, float]) -> None:
        """Nothing: a call to a server for each step would take longer than the step."""

    def judged(self, state: TrainingState, loss: float, rate: float, seconds: float) -> None:
        """Send the epoch's metrics."""
        known = {name: value for name, value in state.metrics.items() if value == value}
        self._mlflow.log_metrics({"loss": loss, "rate": rate, **known}, step=state.epoch)

    def ended(self, state: TrainingState) -> None:
        """End the run."""
        self._mlflow.end_run()


class Comet:
    """An experiment in Comet; its key comes from the environment, COMET_API_KEY."""

    def __init__(self, project: str, name: str, settings: Mapping[str, Any]) -> None:
        comet = _needed("comet_ml", "comet-ml", "leave log.comet out to do without")
        if not os.environ.get("COMET_API_KEY"):
            raise SettingsError("log.comet is set, and COMET_API_KEY is not in the environment; Comet asks for it")
        self._experiment = comet.Experiment(project_name=project, auto_metric_logging=False)
        self._experiment.set_name(name)
        self._experiment.log_parameters(dict(flattened(settings)))

    def began(self, state: TrainingState, in_epoch: int, epochs: int) -> None:
        """Begun when it was made."""

    def stepped(self, state: TrainingState, loss: float, rate: float, rows: int, parts: Mapping[str, float]) -> None:
        """Nothing, as MLflow."""

    def judged(self, state: TrainingState, loss: float, rate: float, seconds: float) -> None:
        """Send the epoch's metrics."""
        self._experiment.log_metrics({"loss": loss, "rate": rate, **state.metrics}, step=state.step, epoch=state.epoch)

    def ended(self, state: TrainingState) -> None:
        """End the experiment."""
        self._experiment.end()


def flattened(tables: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Return nested tables as dotted names and texts."""
    found: list[tuple[str, str]] = []
    for name, value in tables.items():
        below = isinstance(value, Mapping)
        found += flattened(value, f"{before}{name}.") if below else [(f"{before}{name}", str(value))]
    return found


def _needed(module: str, package: str, without: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise SettingsError(f"{package} is not installed; install it with pip, or {without}") from exc
