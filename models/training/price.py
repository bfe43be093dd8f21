"""PriceTransformer's recipe: quantiles of the next returns in units of the window's own volatility.

It is held against a random walk (the quantiles of training's own outcomes around 0) and a linear autoregression; stage
two, the position head, starts only on a network that beats both. Source: lvchiyang/Quantification, made sound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engine.bars import FloatArray, IntArray
from engine.errors import SettingsError
from engine.forecasting.ranking import ranking_metrics
from models.artefact import Artefact
from models.position.features import SLOTS, slots, volatility, week_wave
from models.position.loading import save_price_transformer
from models.position.price_transformer import LEVELS, PriceSizes, PriceTransformer, pinball
from models.training.data.audit import panel_audit
from models.training.data.augment import OFF, Augmentation
from models.training.data.splits import Split
from models.training.data.windows import Column
from models.training.panel import Panel
from models.training.plan import OptimiserPlan, Plan, Schedule
from models.training.recipe import Draws, Goal, Loss, Moment, TrainingFacts, shuffled

DEFAULTS = Plan(
    epochs=30, batch=256, optimiser=OptimiserPlan("adamw", 2e-4, 0.1, (0.9, 0.95)),
    schedule=Schedule("cosine", 0.05, last=5e-3), clip_norm=1.0, patience=8,
)
BALANCE = 0.01
"""Weight of the experts' balance, where there are experts."""
LAGS = 8
"""Returns that the autoregression looks at."""
_LEAST = 1e-8
_AT_ONCE = 2048


@dataclass(frozen=True)
class PriceData:
    """How bars become windows: of `lookback` bars; every how manieth trains (windows of neighbours are nearly one)."""

    lookback: int = 48
    every: int = 1


class PriceRecipe:
    """See models.training.recipe.

    Raises:
        SettingsError: no window trains or judges.
    """

    goal = Goal("pinball")
    tables: Mapping[str, Mapping[str, int]] = {}

    def __init__(
        self, panel: Panel, split: Split, sizes: PriceSizes, data: PriceData,
        augmentation: Augmentation = OFF,
    ) -> None:
        self.sizes, self._data, self._panel, self._augmentation = sizes, data, panel, augmentation
        rows = panel.rows(data.lookback, sizes.horizons)
        decided, known = panel.close_time[rows], panel.close_time[rows + sizes.horizons]
        trains, judges = split.train.mask(decided, known), split.valid.mask(decided, known)
        self.rows, self.valid_rows = rows[trains][:: data.every], rows[judges]
        for name, chosen in (("training", self.rows), ("judging", self.valid_rows)):
            if not len(chosen):
                raise SettingsError(
                    f"price: no window is left for {name}: it needs {data.lookback} bars before and {sizes.horizons} "
                    "after, within its span and without a gap"
                )
        self.audit = panel_audit(panel, data.lookback, sizes.horizons, self.rows, self.valid_rows)
        self._bars = Column(torch.from_numpy(panel.values), data.lookback)
        self._waves = Column(torch.from_numpy(week_wave(panel.close_time)), data.lookback)
        self._ends, self._valid_ends = torch.from_numpy(self.rows), torch.from_numpy(self.valid_rows)
        self._y, self._valid_y = self._targets(self.rows), self._targets(self.valid_rows)
        self.baselines = baselines(
            self._lags(self._ends), self._y.numpy(), self._lags(self._valid_ends), self._valid_y.numpy())

    def _lags(self, ends: Tensor) -> np.ndarray:
        """Return the last returns in units of volatility, float32 [N, LAGS], the only part of windows kept at once."""
        change = SLOTS.index("change")
        parts = [self.inputs(some)[:, -LAGS:, change] for some in torch.split(ends, _AT_ONCE)]
        return np.asarray(torch.cat(parts).numpy())

    def _targets(self, rows: IntArray) -> Tensor:
        """Return what came, float32 [N, horizons]: log returns in units of the window's volatility."""
        ahead = np.arange(1, self.sizes.horizons + 1)
        close = self._panel.column("close")
        windows = np.lib.stride_tricks.sliding_window_view(close, self._data.lookback)
        begins = rows - self._data.lookback + 1
        parts = [volatility(windows[begins[at : at + _AT_ONCE]]) for at in range(0, len(rows), _AT_ONCE)]
        moved = np.log(close[rows[:, None] + ahead] / close[rows][:, None])
        sigma = np.concatenate(parts)[:, None]
        return torch.from_numpy((moved / (sigma * np.sqrt(ahead))).astype(np.float32))

    def inputs(self, ends: Tensor, draws: Draws | None = None) -> Tensor:
        """Return what the network is fed at rows of the panel, float32 [N, T, 11]; draws: in training, of changes."""
        bars = self._bars.gather(ends)
        if draws is not None:
            bars = self._augmentation.of_bars(bars, draws)
        return slots_of(bars, self._waves.gather(ends))

    # ── the recipe ──────────────────────────────────────────────────────────────────────────────────────────────────

    def network(self) -> nn.Module:
        """Return a fresh network."""
        return PriceTransformer(self.sizes)

    def to(self, device: torch.device) -> None:
        """Move the bars there; a window is made of them when it is asked for."""
        if device.type == "mps":  # which has no float64
            self._bars = replace(self._bars, values=self._bars.values.float())
        for name in ("_bars", "_waves", "_ends", "_valid_ends", "_y", "_valid_y"):
            setattr(self, name, getattr(self, name).to(device))

    def batches(self, size: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Return shuffled windows."""
        return shuffled(len(self.rows), size, generator)

    def loss(self, network: nn.Module, rows: Tensor, moment: Moment) -> Loss:
        """Return the pinball loss, with a little for experts that are used alike."""
        made = network(self.inputs(self._ends[rows], moment.drawn(len(rows)) if network.training else None))
        loss = pinball(made.quantiles, self._y[rows])
        return Loss(loss + (BALANCE * made.balance if self.sizes.experts else 0.0), {"pinball": loss})

    def validate(self, network: nn.Module, moment: Moment) -> dict[str, float]:
        """Return the pinball loss, skill over both baselines, how many outcomes the outer quantiles hold, and how well
        medians rank outcomes."""
        made = torch.cat([network(self.inputs(some)).quantiles for some in torch.split(self._valid_ends, _AT_ONCE)])
        loss = pinball(made, self._valid_y).item()
        held = (self._valid_y >= made[..., 0]) & (self._valid_y <= made[..., -1])
        median, came = (part[:, -1].double().cpu().numpy() for part in (made[..., 1], self._valid_y))
        ranked = ranking_metrics(median, came, np.zeros(len(came), np.int64))
        skill = {f"skill_{name}": 1 - loss / value if value else 0.0 for name, value in self.baselines.items()}
        return {"pinball": loss, **skill, "coverage": held.double().mean().item(), "rank_ic": ranked["rank_ic"]}

    def export(self, network: nn.Module, folder: Path, facts: TrainingFacts) -> Artefact:
        """Write the artefact; its label says what it was worth beside the baselines."""
        assert isinstance(network, PriceTransformer)
        return save_price_transformer(
            folder, network, timeframe=self._panel.timeframe, lookback=self._data.lookback,
            validation=dict(facts.metrics), trained_from=facts.trained_from, trained_until=facts.trained_until,
            trained_on=facts.trained_on, source=facts.source,
        )


def slots_of(bars: Tensor, waves: Tensor) -> Tensor:
    """Return what the network is fed, as models.position.features.slots, on the bars' device, float32 [N, T, 11].

    Args:
        bars: [N, T, 5], float64. waves: float32 [N, T], of the hour of the week.
    """
    logs, volume = bars[..., :4].log(), bars[..., 4]
    moves = logs[..., 3].diff(dim=1)
    sigma = moves.std(dim=1, correction=0).clamp_min(_LEAST)[:, None]
    mean_volume = volume.mean(dim=1, keepdim=True).clamp_min(_LEAST)
    amount = volume * bars[..., 1:4].mean(dim=-1)
    columns = [
        *(logs - logs[:, -1:, 3:]).unbind(-1), nn.functional.pad(moves, (1, 0)) / sigma,
        (logs[..., 1] - logs[..., 2]) / sigma, *(_standardised(one.log1p()) for one in (
            volume, amount, volume / mean_volume)), torch.zeros_like(volume), waves.to(bars.dtype),
    ]
    return torch.stack(columns, dim=-1).float()


def _standardised(values: Tensor) -> Tensor:
    deviation = values.std(dim=1, correction=0, keepdim=True)
    return (values - values.mean(dim=1, keepdim=True)) / torch.where(deviation > _LEAST, deviation, 1.0)


def inputs(panel: Panel, rows: IntArray, lookback: int) -> tuple[np.ndarray, FloatArray]:
    """Return what the network is fed at rows of a panel, float32 [N, T, 11], and each window's volatility [N]."""
    windows = np.lib.stride_tricks.sliding_window_view(panel.values, lookback, axis=0)[rows - lookback + 1]
    times = np.lib.stride_tricks.sliding_window_view(panel.close_time, lookback)[rows - lookback + 1]
    values = windows.transpose(0, 2, 1)
    return slots(values, times), volatility(values[..., 3])


def baselines(lagged: np.ndarray, y: np.ndarray, valid_lagged: np.ndarray, valid_y: np.ndarray) -> dict[str, float]:
    """Return the pinball loss of knowing nothing, fitted on training and held against judging.

    walk: no drift, the spread of training's outcomes. ar: least squares on the last eight returns (in units of
    volatility), with the spread of what it leaves.
    """
    levels = np.array(LEVELS)

    def loss(middle: np.ndarray, spread: np.ndarray) -> float:
        quantiles = torch.from_numpy((middle[..., None] + spread.T).astype(np.float32))
        return pinball(quantiles, torch.from_numpy(valid_y)).item()

    spread = np.quantile(y, levels, axis=0) - np.median(y, axis=0)
    lags, valid_lags = (np.column_stack([part, np.ones(len(part))]) for part in (lagged, valid_lagged))
    weights = np.linalg.lstsq(lags.astype(np.float64), y.astype(np.float64), rcond=None)[0]
    left = y - lags @ weights
    return {
        "walk": loss(np.zeros_like(valid_y), spread),
        "ar": loss(valid_lags @ weights, np.quantile(left, levels, axis=0)),
    }
