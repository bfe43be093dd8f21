"""How a network is trained, apart from what it is: epochs, batches, optimiser, schedule, clipping, patience.

Schedules are functions of the step alone, so that a run that goes on after a stop follows the same curve.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from engine.errors import SettingsError

Precision = Literal["32", "bf16"]


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run, as a share of the highest one.

    Args:
        kind: "constant"; "one_cycle": up along a cosine, then down along another (Smith and Topin, arXiv 1708.07120; as
            torch's OneCycleLR); "cosine": up in a straight line, then down along a cosine.
        warm_up: share of all steps in which it rises.
        first: share that "one_cycle" begins at. last: share of the highest that the run ends at.
        cycles_momentum: whether the first beta falls from 0.95 to 0.85 while the rate rises, and goes back as it falls:
            torch's default, with which Kronos is fine-tuned; it takes the place of the optimiser's own beta.
    """

    kind: Literal["constant", "one_cycle", "cosine"] = "constant"
    warm_up: float = 0.0
    first: float = 0.04
    last: float = 0.0
    cycles_momentum: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up < 1:
            raise SettingsError(f"schedule: warm_up is {self.warm_up}; expected a share of the steps, from 0, below 1")

    def factor(self, step: int, steps: int) -> float:
        """Return the share of the highest rate at a step, counted from 0, of so many."""
        if self.kind == "constant":
            return 1.0
        if self.kind == "one_cycle":
            return self._cycle(step, steps, self.first, 1.0, self.last)
        rising = self.warm_up * steps
        if step < rising:
            return (step + 1) / math.ceil(rising)
        through = (step - rising) / max(steps - 1 - rising, 1)
        return _cosine(1.0, self.last, min(through, 1.0))

    def first_beta(self, step: int, steps: int) -> float | None:
        """Return the optimiser's first beta at a step; None: its own."""
        if self.kind != "one_cycle" or not self.cycles_momentum:
            return None
        return self._cycle(step, steps, 0.95, 0.85, 0.95)

    def _cycle(self, step: int, steps: int, first: float, middle: float, last: float) -> float:
        peak = self.warm_up * steps - 1
        if step <= peak:
            return _cosine(first, middle, step / peak if peak else 1.0)
        return _cosine(middle, last, min((step - peak) / max(steps - 1 - peak, 1e-9), 1.0))


def _cosine(first: float, last: float, through: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * through))


@dataclass(frozen=True)
class OptimiserPlan:
    """Which optimiser, and its numbers; `rate` is the highest learning rate. Biases and norms decay as all do."""

    kind: Literal["adam", "adamw", "sgd"] = "adamw"
    rate: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def made(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Return it for those parameters that are trained."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if not trained:
            raise SettingsError("nothing would be trained: every parameter is frozen; unfreeze some, or use LoRA")
        # What is no weight (the learned variances of losses) says so of itself and does not shrink.
        undecayed = [parameter for parameter in trained if getattr(parameter, "is_undecayed", False)]
        kept = {id(parameter) for parameter in undecayed}
        groups: list[dict[str, Any]] = [{"params": [one for one in trained if id(one) not in kept]}]
        if undecayed:
            groups.append({"params": undecayed, "weight_decay": 0.0})
        if self.kind == "sgd":
            return torch.optim.SGD(groups, self.rate, momentum=self.betas[0], weight_decay=self.weight_decay)
        made = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        return made(groups, self.rate, self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    Args:
        epochs: passes; batch: rows of a step, over all processes and slices together; accumulate: slices of each batch,
            one after the other, for batches that do not fit into memory.
        seed: of everything random. patience: epochs without a better score after which training ends; 0 never.
        clip_norm: largest norm of all gradients together; clip_value: largest of each. 0 leaves them alone.
        keep: best checkpoints kept, beside the last. checkpoint_steps: steps between checkpoints within an epoch; 0
            writes one at each epoch's end.
        schedule_epochs: epochs that the schedule is laid out for, if not `epochs`.
    """

    epochs: int = 10
    batch: int = 256
    accumulate: int = 1
    seed: int = 0
    optimiser: OptimiserPlan = field(default_factory=OptimiserPlan)
    schedule: Schedule = field(default_factory=Schedule)
    clip_norm: float = 0.0
    clip_value: float = 0.0
    patience: int = 0
    keep: int = 1
    precision: Precision = "32"
    checkpoint_steps: int = 0
    schedule_epochs: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("accumulate", 1), ("patience", 0), ("keep", 1), ("seed", 0)):
            if (value := getattr(self, name)) < least:
                raise SettingsError(f"train: {name} is {value}; expected {least} or more")
        if self.clip_norm and self.clip_value:
            raise SettingsError("train: both clip_norm and clip_value are given; expected one of them")

    def steps(self, in_epoch: int) -> int:
        """Return how many steps the schedule is laid out for."""
        return (self.schedule_epochs or self.epochs) * in_epoch
