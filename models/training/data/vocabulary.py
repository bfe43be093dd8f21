"""Categories and their codes, from training alone: 1 … n, and 0 for one that training has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.bars import IntArray
from models.training.data.table import UNKNOWN, Group
from models.training.data.windows import WindowSet
from models.training.recipe import Draws

Vocabulary = Mapping[str, int]


def vocabulary(names: Sequence[str]) -> dict[str, int]:
    """Return codes of names, in their order, each once; the unknown one has 0."""
    return {UNKNOWN: 0, **{name: code for code, name in enumerate(dict.fromkeys(names), 1)}}


@dataclass(frozen=True)
class Vocabularies:
    """Codes of symbols and periods (timeframes)."""

    symbol: Vocabulary
    period: Vocabulary

    @classmethod
    def fit(cls, train: WindowSet, groups: Sequence[Group]) -> "Vocabularies":
        """Return those of the training windows."""
        seen = [groups[place] for place in np.unique(train.groups)]
        return cls(vocabulary([one.symbol for one in seen]), vocabulary([one.timeframe for one in seen]))

    def codes(self, groups: Sequence[Group]) -> tuple[IntArray, IntArray]:
        """Return the codes of each group's symbol and period, int64 [groups]."""
        symbols = np.array([self.symbol.get(one.symbol, 0) for one in groups], np.int64)
        periods = np.array([self.period.get(one.timeframe, 0) for one in groups], np.int64)
        return symbols, periods

    def unknown(self, windows: WindowSet, groups: Sequence[Group]) -> tuple[str, ...]:
        """Return what windows have that training has not, as sentences."""
        found = []
        for place in np.unique(windows.groups):
            one = groups[place]
            count = int((windows.groups == place).sum())
            for what, name, known in (("symbol", one.symbol, self.symbol), ("period", one.timeframe, self.period)):
                if name not in known:
                    found.append(f"{what} {name} is not in training: {count:,} windows are coded {UNKNOWN}")
        return tuple(found)


def with_dropout(codes: Tensor, share: float, draws: Draws) -> Tensor:
    """Return codes, a share of them 0, so that what stands for unknown symbols is trained, too."""
    if share <= 0:
        return codes
    return torch.where(draws.uniform().to(codes.device) < share, torch.zeros_like(codes), codes)
