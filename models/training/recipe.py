"""What the loop asks of a recipe: a network, batches of rows, their loss, a judgement, and an artefact at the end.

Each network has one recipe beside this file. The loop knows no network, a recipe no optimiser, device or process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from models.artefact import CARD, Artefact, ArtefactCard, read_card
from models.training.data.audit import Audit


class Draws:
    """Random numbers for some rows of a batch: those that one process would draw for them with the whole batch at hand.

    Args:
        seed: of the step. count: rows of the batch. places: int64 [n], which of them are at hand.
    """

    def __init__(self, seed: int, count: int, places: Tensor) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._count, self._places = count, places

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers from 0 to below 1, [n, *shape], on the CPU."""
        return torch.rand(self._count, *shape, generator=self._generator)[self._places]

    def normal(self, *shape: int) -> Tensor:
        """Return numbers of mean 0 and deviation 1, [n, *shape], on the CPU."""
        return torch.randn(self._count, *shape, generator=self._generator)[self._places]


class Moment(NamedTuple):
    """Where training is: the epoch and the step (from 0), and the share of all steps that is done.

    In a step also the draws of the rows at hand, and what the recipe asked of the whole batch (see WholeBatch).
    """

    epoch: int
    step: int
    through: float
    draws: Draws | None = None
    whole: Tensor | None = None

    def drawn(self, rows: int) -> Draws:
        """Return the draws of rows; outside of a step they come from torch's generator as it stands."""
        return self.draws or Draws(int(torch.randint(2**62, ())), rows, torch.arange(rows))


class Loss(NamedTuple):
    """The mean loss over the rows of a batch, a scalar with a gradient; parts of it by name, for the records."""

    value: Tensor
    parts: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class Goal:
    """The metric that checkpoints are chosen by, which way is better, and the metrics that it is made of, if it is."""

    metric: str
    is_higher_better: bool = False
    made_of: tuple[str, ...] = ()

    def is_better(self, value: float, best: float | None) -> bool:
        """Return whether a score is better than the best so far; NaN never is."""
        if value != value:
            return False
        return best is None or (value > best if self.is_higher_better else value < best)


@dataclass(frozen=True)
class TrainingFacts:
    """What an artefact's card says about its training.

    Args:
        trained_from, trained_until: UTC nanoseconds of the first open and the last close that training saw, validation
            included, for it chose the checkpoint; None if unknown. trained_on: symbols that have windows which
            train or judge; empty if unknown.
        source: the run it came from. metrics: of the checkpoint that was chosen.
    """

    trained_from: int | None
    trained_until: int | None
    trained_on: tuple[str, ...]
    source: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, card: ArtefactCard) -> "TrainingFacts":
        """Return what an artefact's card says of its training."""
        return cls(card.trained_from, card.trained_until, card.trained_on)

    @classmethod
    def read(cls, folder: Path) -> "TrainingFacts":
        """Return what the card in a folder says; of a network without a card nothing is known."""
        card = read_card(folder) if (folder / CARD).is_file() else {}
        return cls(card.get("trained_from"), card.get("trained_until"), tuple(card.get("trained_on", ())))

    def joined(self, *donors: "TrainingFacts") -> "TrainingFacts":
        """Return the facts of a network that has something of others in it: weights it began with, a tokenizer, a
        network that it reads. It has seen what any of them has; what is unknown of one is unknown of all."""
        spans = [(one.trained_from, one.trained_until) for one in (self, *donors)]
        first, last = ([known for known in some if known is not None] for some in zip(*spans, strict=True))
        symbols = [one.trained_on for one in (self, *donors)]
        return replace(
            self, trained_from=min(first) if len(first) == len(spans) else None,
            trained_until=max(last) if len(last) == len(spans) else None,
            trained_on=tuple(dict.fromkeys(chain(*symbols))) if all(symbols) else (),
        )


class Recipe(Protocol):
    """One network's way to be trained.

    `goal` is what checkpoints are chosen by. `tables` names the parameters whose rows belong to names, with the
    vocabulary of each, so that a warm start finds them again: {"symbols.weight": {"BTC/USDT": 1}}.
    """

    @property
    def goal(self) -> Goal: ...

    @property
    def audit(self) -> Audit:
        """What became of every row of the data, and which symbols were seen."""

    @property
    def tables(self) -> Mapping[str, Mapping[str, int]]: ...

    def network(self) -> nn.Module:
        """Return a fresh network, drawn from torch's generator as it stands."""

    def to(self, device: torch.device) -> None:
        """Move the data there."""

    def batches(self, size: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Return an epoch's batches, int64 row numbers each; always as many."""

    def loss(self, network: nn.Module, rows: Tensor, moment: Moment) -> Loss:
        """Return the loss of some of a batch's rows, on the data's device. Random choices come from the moment's draws,
        which do not depend on how many processes there are, or from torch's global generator, which the loop seeds for
        every step and process: dropout does."""

    def validate(self, network: nn.Module, moment: Moment) -> dict[str, float]:
        """Return metrics of rows that training does not see; called in eval mode, without gradients."""

    def export(self, network: nn.Module, folder: Path, facts: TrainingFacts) -> Artefact:
        """Write the artefact."""


@runtime_checkable
class WholeBatch(Protocol):
    """A recipe whose loss has something in it that is no mean over rows, such as an entropy of a mean."""

    def whole(self, network: nn.Module, rows: Tensor, moment: Moment) -> Tensor:
        """Return a mean over rows. The loop asks for it without gradients before a step that is taken in parts, by
        processes or slices, and hands the mean over the whole batch to the loss as `moment.whole`."""


def shuffled(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return batches of all rows in a random order; the last may be shorter."""
    return list(torch.split(torch.randperm(count, generator=generator), size))


def grouped(groups: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return batches of whole groups in a random order, as many groups in each as come to about `size` rows.

    Args:
        groups: int64 [rows], ascending: which group each row belongs to (an instant, with daily batches).
    """
    _, counts = torch.unique_consecutive(groups, return_counts=True)
    starts = counts.cumsum(0) - counts
    together = max(1, round(size * len(counts) / max(len(groups), 1)))
    order = torch.randperm(len(counts), generator=generator)
    return [
        torch.cat([torch.arange(int(starts[one]), int(starts[one] + counts[one])) for one in some])
        for some in torch.split(order, together)
    ]
