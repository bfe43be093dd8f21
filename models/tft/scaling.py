"""Scales of targets: a centre and a scale for each symbol, period and target, from training rows alone.

Row 0 of symbols and of periods stands for one that training has not seen: it has what all symbols of the period, or all
periods, have together. Arrays are [S + 1, P + 1, R] for S symbols, P periods and R targets.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from engine.errors import PluginError

LEAST_SCALE = 1e-8
LARGEST = 8.0
"""Beyond so many scales from its centre a target is cut off, in training."""


def restore(raw: Tensor, scale: Tensor) -> Tensor:
    """Return raw · scale + centre, in the target's own unit.

    Args:
        raw: [B, D, Q]; scale: [B, 2], centre and scale of each window.
    """
    return torch.addcmul(scale[:, None, 0:1], raw, scale[:, None, 1:2])


@dataclass(frozen=True)
class TargetScales:
    """Centres and scales, float32 [S + 1, P + 1, R] each."""

    centre: Tensor
    scale: Tensor

    def __post_init__(self) -> None:
        if self.centre.shape != self.scale.shape or self.centre.dim() != 3:
            raise PluginError(
                f"tft: scales of targets have shapes {list(self.centre.shape)} and {list(self.scale.shape)}; "
                "expected [symbols + 1, periods + 1, targets] twice"
            )
        if not bool((self.scale >= LEAST_SCALE).all()):
            raise PluginError(f"tft: a target's scale is {float(self.scale.min())}; expected {LEAST_SCALE} or more")

    @classmethod
    def fit(
        cls,
        targets: Tensor,
        symbols: Tensor,
        periods: Tensor,
        *,
        symbol_count: int,
        period_count: int,
        scaled: tuple[bool, ...],
        least_rows: int = 30,
    ) -> Self:
        """Return means and standard deviations of training rows; NaN is left out.

        Args:
            targets: [rows, R]; symbols, periods: int64 [rows], codes from 1 on.
            scaled: which targets are: a class or a probability is not, and has centre 0 and scale 1.
            least_rows: with fewer, a symbol takes what its period has, a period what all have.
        """
        values = targets.double()
        shape = (symbol_count + 1, period_count + 1, values.shape[1])
        centre, scale = torch.zeros(shape).double(), torch.ones(shape).double()
        for period in range(period_count + 1):
            of_period = periods == period if period else torch.ones_like(periods, dtype=torch.bool)
            for symbol in range(symbol_count + 1):
                rows = of_period & (symbols == symbol) if symbol else of_period
                for target in (place for place, wanted in enumerate(scaled) if wanted):
                    known = values[rows, target]
                    known = known[~known.isnan()]
                    # Row 0 comes first, so that what is fallen back on is there.
                    fallback = (0, period, target) if symbol else (0, 0, target)
                    enough = len(known) >= max(least_rows, 2)
                    place = (symbol, period, target)
                    centre[place] = known.mean() if enough else centre[fallback]
                    scale[place] = known.std(correction=0).clamp(min=LEAST_SCALE) if enough else scale[fallback]
        return cls(centre.float(), scale.float())

    def of(self, symbols: Tensor, periods: Tensor | None = None) -> Tensor:
        """Return centre and scale of windows, float32 [N, R, 2].

        Args:
            symbols, periods: int64 [N]; codes that are not there count as 0. periods: None where there is one only.
        """
        if periods is None:
            periods = torch.full_like(symbols, 1 if self.centre.shape[1] > 1 else 0)
        at = _known(symbols, self.centre.shape[0]), _known(periods, self.centre.shape[1])
        return torch.stack([self.centre[at], self.scale[at]], dim=-1)

    def normalise(self, targets: Tensor, symbols: Tensor, periods: Tensor | None = None) -> Tensor:
        """Return targets [N, R] in scales from their centres, cut off at ±8 where they are scaled."""
        of = self.of(symbols, periods)
        inside = ((targets - of[..., 0]) / of[..., 1]).clamp(-LARGEST, LARGEST)
        as_it_is = (of[..., 0] == 0) & (of[..., 1] == 1)
        return torch.where(as_it_is, targets, inside)

    def tensors(self) -> dict[str, Tensor]:
        """Return what an artefact keeps, by name."""
        return {"target_centre": self.centre, "target_scale": self.scale}


def _known(codes: Tensor, count: int) -> Tensor:
    return torch.where((codes >= 0) & (codes < count), codes, torch.zeros_like(codes))
