"""The composite score: several metrics as one number between 0 and 1, by which checkpoints are chosen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.errors import SettingsError, nearest_name

COMPOSITE = "composite"


@dataclass(frozen=True)
class ScorePart:
    """One metric's share in the score.

    Args:
        metric: its name, such as "val_binarytrend_f1@1h". weight: above 0, whichever way is better.
        goal: "max": (value − base) / (best − base), within 0 … 1; "min": exp(−value / scale).
    Raises:
        SettingsError: a number that cannot be.
    """

    metric: str
    weight: float = 1.0
    goal: Literal["min", "max"] = "max"
    scale: float = 1.0
    base: float = 0.0
    best: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise SettingsError(
                f"score: {self.metric} has weight {self.weight}; expected one above 0, and goal = 'min' for a metric "
                "that should be small"
            )
        if self.goal == "min" and not self.scale > 0:
            raise SettingsError(f"score: {self.metric} has scale {self.scale}; expected one above 0")
        if self.goal == "max" and not self.best > self.base:
            raise SettingsError(f"score: {self.metric} has base {self.base} and best {self.best}; expected base < best")

    def goodness(self, value: float) -> float:
        """Return how good a value is, 0 … 1; NaN of NaN. Never more for a worse value."""
        if math.isnan(value):
            return math.nan
        if self.goal == "min":
            return math.exp(-max(value, 0.0) / self.scale)
        return min(max((value - self.base) / (self.best - self.base), 0.0), 1.0)


@dataclass(frozen=True)
class Composite:
    """A weighted mean of goodnesses. One that is NaN makes the score NaN: the epoch cannot be chosen."""

    parts: tuple[ScorePart, ...]

    def check(self, names: Sequence[str]) -> None:
        """Refuse metrics that this training cannot have.

        Args:
            names: all that there can be.
        Raises:
            SettingsError: naming the nearest; or a metric twice.
        """
        given = [part.metric for part in self.parts]
        for name in given:
            if name not in names:
                raise SettingsError(
                    f"score: there will be no metric {name!r}{nearest_name(name, list(names))}; metrics are called "
                    f"val_<target>_<metric>@<period>, here {', '.join(names[1:4])}, …"
                )
        if twice := sorted({name for name in given if given.count(name) > 1}):
            raise SettingsError(f"score: {', '.join(twice)} is given twice; expected each metric once")

    def of(self, metrics: Mapping[str, float]) -> float:
        """Return the score of metrics, NaN if one of them is."""
        total = sum(part.weight for part in self.parts)
        return sum(part.weight * part.goodness(metrics[part.metric]) for part in self.parts) / total

    def unknown(self, metrics: Mapping[str, float]) -> tuple[str, ...]:
        """Return the metrics that are NaN."""
        return tuple(part.metric for part in self.parts if math.isnan(metrics[part.metric]))
