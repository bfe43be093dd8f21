"""Losses of several targets, and how they are weighed against each other.

A target that is not known in a row (NaN) takes no part. Each loss is a sum over rows divided by the rows times the
share of training in which the target is known: a mean over all that is known, and still a sum of rows, so that slices
and processes add up to the whole batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from engine.errors import SettingsError, nearest_name
from models.features.targets import LossName

_WIDEST = 4.0


@dataclass(frozen=True)
class TargetLoss:
    """One target's loss.

    Args:
        name: of the target; kind: of the loss. levels: of quantiles. pos_weight: of events. known: share of training
            rows in which the target is known.
    """

    name: str
    kind: LossName
    levels: tuple[float, ...] = ()
    pos_weight: float = 1.0
    known: float = 1.0

    @property
    def is_of_numbers(self) -> bool:
        return self.kind != "bce"

    def __call__(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss over the rows, a scalar.

        Args:
            raw: [n, D, size], of which the last step counts. target: [n], in scales; NaN where not known.
        """
        return self.total(raw, target) / (len(target) * max(self.known, 1e-6))

    def total(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the sum of losses over the rows in which the target is known, a scalar."""
        there = ~target.isnan()
        said, truth = raw[:, -1], torch.where(there, target, 0.0)
        if self.kind == "bce":
            weight = said.new_tensor(self.pos_weight)
            each = nn.functional.binary_cross_entropy_with_logits(
                said[:, 0], truth, reduction="none", pos_weight=weight
            )
        elif self.kind == "pinball":
            error, levels = truth[:, None] - said, said.new_tensor(self.levels)
            each = torch.maximum(levels * error, (levels - 1) * error).mean(dim=-1)
        elif self.kind == "smooth_l1":
            each = nn.functional.smooth_l1_loss(said[:, 0], truth, reduction="none")
        else:
            each = nn.functional.mse_loss(said[:, 0], truth, reduction="none")
        return torch.where(there, each, 0.0).sum()


@dataclass(frozen=True)
class Stages:
    """Weights of targets by epoch: of the latest epoch that has come, for a run that goes on as for one that began.

    Args:
        weights: first epoch (from 0) → weight of each target by name; what a stage leaves out weighs 1.
    """

    weights: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    def check(self, names: Sequence[str]) -> None:
        """Refuse weights of targets that there are not, and such that leave nothing to learn.

        Raises:
            SettingsError: naming the epoch and the target.
        """
        for epoch, of in self.weights.items():
            if epoch < 0:
                raise SettingsError(f"weights: a stage begins at epoch {epoch}; expected 0 or more")
            for name, weight in of.items():
                if name not in names:
                    raise SettingsError(
                        f"weights of epoch {epoch}: there is no target {name!r}{nearest_name(name, list(names))}; "
                        f"there are {', '.join(names)}"
                    )
                if not 0 <= weight < math.inf:
                    raise SettingsError(f"weights of epoch {epoch}: {name} has {weight}; expected 0 or more")
            if not any(of.get(name, 1.0) for name in names):
                raise SettingsError(f"weights of epoch {epoch}: every target has 0; nothing would be learned")

    def at(self, epoch: int, names: Sequence[str]) -> tuple[float, ...]:
        """Return each target's weight in an epoch."""
        begun = [first for first in self.weights if first <= epoch]
        of = self.weights[max(begun)] if begun else {}
        return tuple(float(of.get(name, 1.0)) for name in names)


    def last(self, names: Sequence[str]) -> tuple[float, ...]:
        """Return each target's weight in the last stage: by them all epochs are judged, so that they compare."""
        return self.at(max(self.weights, default=0), names)


Weighing = Literal["uncertainty", "fixed"]


class Balance(nn.Module):
    """The sum of several losses. "uncertainty": each weighed by a variance that is learned with the network.

    Σ wᵢ (½ exp(−sᵢ) Lᵢ + ½ sᵢ) of numbers, Σ wᵢ (exp(−sᵢ) Lᵢ + ½ sᵢ) of events, s = log σ² within ±4. Source: Kendall,
    Gal and Cipolla 2018, arXiv 1705.07115. σ is no error of forecasts: it says how hard a target is to fit.
    """

    def __init__(self, losses: Sequence[TargetLoss], weighing: Weighing) -> None:
        super().__init__()
        self._losses, self.weighing = tuple(losses), weighing
        self.log_variance = nn.Parameter(torch.zeros(len(losses)), requires_grad=weighing == "uncertainty")
        self.log_variance.is_undecayed = True  # type: ignore[attr-defined]
        half = [0.5 if loss.is_of_numbers else 1.0 for loss in losses]
        self.register_buffer("factors", torch.tensor(half), persistent=False)

    def forward(
        self, raw: Sequence[Tensor], targets: Tensor, weights: Sequence[float]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is minimised, and each target's own loss by name.

        Args:
            raw: of each target, [n, D, size]. targets: [n, R], in scales. weights: of targets.
        """
        each = torch.stack(
            [loss(one, targets[:, at]) for at, (loss, one) in enumerate(zip(self._losses, raw, strict=True))]
        )
        weight = each.new_tensor(weights)
        parts = {loss.name: each[at].detach() for at, loss in enumerate(self._losses)}
        if self.weighing == "fixed":
            return (weight * each).sum() / weight.sum(), parts
        spread = self.log_variance.clamp(-_WIDEST, _WIDEST)
        assert isinstance(self.factors, Tensor)
        return (weight * (self.factors * torch.exp(-spread) * each + 0.5 * spread)).sum(), parts


def mean_loss(parts: Mapping[str, float], weights: Sequence[float], names: Sequence[str]) -> float:
    """Return Σ w L / Σ w of targets whose loss is known, whatever variances have been learned; NaN if none is."""
    known = [(weight, parts[name]) for weight, name in zip(weights, names, strict=True) if not math.isnan(parts[name])]
    total = sum(weight for weight, _ in known)
    return sum(weight * part for weight, part in known) / total if total else math.nan
