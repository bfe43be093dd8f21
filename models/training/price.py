"""PriceTransformer's recipe: quantiles of the next returns in units of the window's own volatility.

It is held against a random walk (the quantiles of training's own outcomes around 0) and a linear autoregression; stage
two, the position head, starts only on a network that beats both. Source: lvchiyang/Quantification, made sound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engine.bars import FloatArray, IntArray
from engine.errors import SettingsError
from engine.forecasting.ranking import ranking_metrics
from models.artefact import Artefact
from models.position.features import SLOTS, slots, volatility
from models.position.loading import save_price_transformer
from models.position.price_transformer import LEVELS, PriceSizes, PriceTransformer, pinball
from models.training.data.audit import panel_audit
from models.training.data.splits import Split
from models.training.panel import Panel
from models.training.plan import OptimiserPlan, Plan, Schedule
from models.training.recipe import Goal, Loss, Moment, TrainingFacts, shuffled

DEFAULTS = Plan(
    epochs=30, batch=256, optimiser=OptimiserPlan("adamw", 2e-4, 0.1, (0.9, 0.95)),
    schedule=Schedule("cosine", 0.05, last=5e-3), clip_norm=1.0, patience=8,
)
BALANCE = 0.01
"""Weight of the experts' balance, where there are experts."""
LAGS = 8
"""Returns that the autoregression looks at."""
_MOST = 2 * 1024**3
_AT_ONCE = 2048


@dataclass(frozen=True)
class PriceData:
    """How bars become windows: of `lookback` bars; every how manieth trains (windows of neighbours are nearly one)."""

    lookback: int = 48
    every: int = 1


class PriceRecipe:
    """See models.training.recipe.

    Raises:
        SettingsError: no window trains or judges, or too many for memory.
    """

    goal = Goal("pinball")
    tables: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, panel: Panel, split: Split, sizes: PriceSizes, data: PriceData) -> None:
        self.sizes, self._data, self._panel = sizes, data, panel
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
        size = 4 * (len(self.rows) + len(self.valid_rows)) * data.lookback * len(SLOTS)
        if size > _MOST:
            raise SettingsError(
                f"price: {len(self.rows):,} windows of {data.lookback} bars take {size / 1e9:.1f} GB; raise "
                "price.every, or lower price.lookback"
            )
        self._x, self._y = (torch.from_numpy(part) for part in self._made(self.rows))
        self._valid_x, self._valid_y = (torch.from_numpy(part) for part in self._made(self.valid_rows))
        self.baselines = baselines(self._x.numpy(), self._y.numpy(), self._valid_x.numpy(), self._valid_y.numpy())

    def _made(self, rows: IntArray) -> tuple[np.ndarray, np.ndarray]:
        parts = [self._some(rows[start : start + _AT_ONCE]) for start in range(0, len(rows), _AT_ONCE)]
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])

    def _some(self, rows: IntArray) -> tuple[np.ndarray, np.ndarray]:
        x, sigma = inputs(self._panel, rows, self._data.lookback)
        ahead = np.arange(1, self.sizes.horizons + 1)
        close = self._panel.column("close")
        moved = np.log(close[rows[:, None] + ahead] / close[rows][:, None])
        return x, (moved / (sigma[:, None] * np.sqrt(ahead))).astype(np.float32)

    # ── the recipe ──────────────────────────────────────────────────────────────────────────────────────────────────

    def network(self) -> nn.Module:
        """Return a fresh network."""
        return PriceTransformer(self.sizes)

    def to(self, device: torch.device) -> None:
        """Move the windows there."""
        for name in ("_x", "_y", "_valid_x", "_valid_y"):
            setattr(self, name, getattr(self, name).to(device))

    def batches(self, size: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Return shuffled windows."""
        return shuffled(len(self.rows), size, generator)

    def loss(self, network: nn.Module, rows: Tensor, moment: Moment) -> Loss:
        """Return the pinball loss, with a little for experts that are used alike."""
        made = network(self._x[rows])
        loss = pinball(made.quantiles, self._y[rows])
        return Loss(loss + (BALANCE * made.balance if self.sizes.experts else 0.0), {"pinball": loss})

    def validate(self, network: nn.Module, moment: Moment) -> dict[str, float]:
        """Return the pinball loss, skill over both baselines, how many outcomes the outer quantiles hold, and how well
        medians rank outcomes."""
        made = torch.cat([network(some).quantiles for some in torch.split(self._valid_x, _AT_ONCE)])
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


def inputs(panel: Panel, rows: IntArray, lookback: int) -> tuple[np.ndarray, FloatArray]:
    """Return what the network is fed at rows of a panel, float32 [N, T, 11], and each window's volatility [N]."""
    windows = np.lib.stride_tricks.sliding_window_view(panel.values, lookback, axis=0)[rows - lookback + 1]
    times = np.lib.stride_tricks.sliding_window_view(panel.close_time, lookback)[rows - lookback + 1]
    values = windows.transpose(0, 2, 1)
    return slots(values, times), volatility(values[..., 3])


def baselines(x: np.ndarray, y: np.ndarray, valid_x: np.ndarray, valid_y: np.ndarray) -> dict[str, float]:
    """Return the pinball loss of knowing nothing, fitted on training and held against judging.

    walk: no drift, the spread of training's outcomes. ar: least squares on the last eight returns (in units of
    volatility), with the spread of what it leaves.
    """
    levels = np.array(LEVELS)

    def loss(middle: np.ndarray, spread: np.ndarray) -> float:
        quantiles = torch.from_numpy((middle[..., None] + spread.T).astype(np.float32))
        return pinball(quantiles, torch.from_numpy(valid_y)).item()

    spread = np.quantile(y, levels, axis=0) - np.median(y, axis=0)
    change = SLOTS.index("change")
    lags, valid_lags = (np.column_stack([part[:, -LAGS:, change], np.ones(len(part))]) for part in (x, valid_x))
    weights = np.linalg.lstsq(lags.astype(np.float64), y.astype(np.float64), rcond=None)[0]
    left = y - lags @ weights
    return {
        "walk": loss(np.zeros_like(valid_y), spread),
        "ar": loss(valid_lags @ weights, np.quantile(left, levels, axis=0)),
    }
