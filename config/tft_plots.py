"""Plots of a transformer's judging windows: said against came, calls against outcomes, calibration. PNG files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # torch is loaded by training alone
    from models.features.targets import TargetSpec
    from models.training.checkpoints import TrainingState
    from models.training.tft.recipe import TFTRecipe, Validation

MOST_POINTS = 5000
FOLDER = "plots"


class TFTPlots:
    """Writes plots every so many epochs; models.training.loop.Watcher.

    plots/epoch-0005/<target>.png: of a number, what was said against what came; of an event, the confusion matrix
    beside how often it happened where so much was said.
    """

    def __init__(self, recipe: "TFTRecipe", folder: Path, every: int) -> None:
        self._recipe, self._folder, self._every = recipe, folder / FOLDER, every

    def began(self, state: "TrainingState", in_epoch: int, epochs: int) -> None:
        """Nothing yet."""

    def stepped(self, state: "TrainingState", loss: float, rate: float, rows: int, parts: Mapping[str, float]) -> None:
        """Nothing."""

    def judged(self, state: "TrainingState", loss: float, rate: float, seconds: float) -> None:
        """Write the epoch's plots, if it is one for them."""
        if self._recipe.validation is not None and state.epoch % self._every == 0:
            draw(self._recipe.validation, self._recipe.specs, self._folder / f"epoch-{state.epoch:04d}")

    def ended(self, state: "TrainingState", error: BaseException | None) -> None:
        """Nothing is open."""


def draw(validation: "Validation", specs: "tuple[TargetSpec, ...]", folder: Path) -> list[Path]:
    """Write a plot of each target and return their files; one of which nothing is known has none."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for place, spec in enumerate(specs):
        came, said = validation.came[:, place], validation.said[spec.name]
        there = np.isfinite(came) & np.isfinite(said).all(axis=1)
        if not there.any():
            continue
        # Without pyplot a figure belongs to nobody else, and is gone with its name.
        is_event = spec.family.sort == "event"
        figure = Figure(figsize=(9, 4) if is_event else (5, 5), layout="constrained")
        if is_event:
            left, right = figure.subplots(1, 2)
            _confusion(left, said[there, 0], came[there])
            _calibration(right, said[there, 0], came[there])
        else:
            _scatter(figure.subplots(), said[there], came[there], spec)
        figure.suptitle(f"{spec.name}, {spec.horizon} bars ahead, epoch {validation.epoch}, {there.sum():,} windows")
        path = folder / f"{spec.name}.png"
        figure.savefig(path, dpi=90)
        files.append(path)
    return files


def _scatter(axes: Any, said: Any, came: Any, spec: "TargetSpec") -> None:
    middle = said[:, said.shape[1] // 2]
    step = max(len(came) // MOST_POINTS, 1)
    axes.scatter(middle[::step], came[::step], s=4, alpha=0.4, linewidths=0)
    ends = [float(np.min(middle)), float(np.max(middle))]
    axes.plot(ends, ends, color="grey", linewidth=1)
    axes.set(xlabel="said" + (" (median)" if spec.quantiles else ""), ylabel="came")


def _confusion(axes: Any, said: Any, came: Any) -> None:
    called, true = said > 0.5, came > 0.5
    counts = np.array([[(one & other).sum() for one in (~called, called)] for other in (~true, true)])
    axes.imshow(counts / max(counts.sum(), 1), cmap="Blues", vmin=0, vmax=1)
    for row in range(2):
        for column in range(2):
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center")
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=["no", "yes"], yticklabels=["no", "yes"], xlabel="called",
             ylabel="came")  # fmt: skip


def _calibration(axes: Any, said: Any, came: Any) -> None:
    from models.training.tft.metrics import calibration

    mean, share, count = calibration(said, came)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.plot(mean, share, marker="o")
    for x, y, rows in zip(mean, share, count, strict=True):
        axes.annotate(f"{rows:,}", (x, y), fontsize=7)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability said", ylabel="share that happened")
