"""KRNN's recipe: Qlib's Alpha360, its scaler and its labels, from bars; the network reads fields over time.

Windows are gathered from the bars on the device and made relative there, which is the matrix of models.alpha360 without
the matrix. Source: microsoft/qlib, the KRNN benchmark on Alpha360, less the faults of its trainer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from engine.bars import FloatArray, IntArray
from engine.errors import SettingsError
from engine.forecasting.ranking import FEWEST, ranking_metrics, ranks
from models.alpha360 import COLUMNS, FIELDS, LOOKBACK, RobustScaler, alpha360_of_windows
from models.artefact import Artefact, ArtefactCard, library_versions, save_artefact
from models.krnn import KRNN, KRNNConfiguration, card_configuration
from models.training.data.audit import panel_audit
from models.training.data.augment import OFF, Augmentation
from models.training.data.splits import Split
from models.training.data.windows import Column
from models.training.panel import FIELDS as BAR_FIELDS
from models.training.panel import Panel
from models.training.plan import OptimiserPlan, Plan
from models.training.recipe import Draws, Goal, Loss, Moment, TrainingFacts, grouped, shuffled

LabelKind = Literal["rank", "qlib_rank", "zscore", "scaled"]

DEFAULTS = Plan(epochs=200, batch=2000, optimiser=OptimiserPlan("adam", 1e-3), clip_value=3.0, patience=20)
"""As Qlib's benchmark trains."""

_FITTED = 20_000
"""Rows that the scaler is fitted on, evenly spread over training."""
_JUDGED_AT_ONCE = 4096


@dataclass(frozen=True)
class KRNNData:
    """How bars become rows.

    Args:
        lag: bars from the decision to the trade; horizon: bars held. price: what is traded at, "close" as in Qlib,
            "open" for an engine that fills at the next open.
        label: of the return's values at one instant: "rank" centred, "qlib_rank" as Qlib's CSRankNorm, "zscore"; or
            "scaled" by the training span's deviation, the only one that says something of a single symbol.
        batching: "shuffled" rows, or "instants": whole cross-sections.
    """

    lag: int = 1
    horizon: int = 1
    price: Literal["close", "open"] = "close"
    label: LabelKind = "rank"
    batching: Literal["shuffled", "instants"] = "shuffled"

    def __post_init__(self) -> None:
        if self.lag < 0 or self.horizon < 1:
            raise SettingsError(f"krnn: lag is {self.lag}, horizon {self.horizon}; expected 0 or more, and 1 or more")


class KRNNRecipe:
    """See models.training.recipe.

    Raises:
        SettingsError: no row trains or judges, or a label that a single symbol cannot have.
    """

    goal = Goal("rank_ic", is_higher_better=True)

    def __init__(
        self, panel: Panel, split: Split, configuration: KRNNConfiguration, data: KRNNData,
        augmentation: Augmentation = OFF,
    ) -> None:
        self.configuration, self._data, self._panel = configuration, data, panel
        self._augmentation = augmentation
        rows = panel.rows(LOOKBACK, data.lag + data.horizon)
        price = panel.column(data.price)
        bought, sold = (panel.later(price, rows, bars) for bars in (data.lag, data.lag + data.horizon))
        returns = sold / bought - 1
        decided, known = panel.close_time[rows], panel.close_time[rows + data.lag + data.horizon]
        trains, judges = split.train.mask(decided, known), split.valid.mask(decided, known)
        for name, chosen in (("training", trains), ("judging", judges)):
            if not chosen.any():
                raise SettingsError(f"krnn: no row is left for {name}: it needs {LOOKBACK} bars before and "
                                    f"{data.lag + data.horizon} after, within its span")
        self._symbols = torch.from_numpy(panel.symbol)
        order = np.argsort(decided[trains], kind="stable")
        self.rows, self.valid_rows = rows[trains][order], rows[judges]
        self.audit = panel_audit(panel, LOOKBACK, data.lag + data.horizon, self.rows, self.valid_rows)
        self._instants, self._valid_instants = decided[trains][order], decided[judges]
        self._came = returns[judges]
        anything = np.random.default_rng(0).random(len(self._came))
        if np.isnan(ranking_metrics(anything, self._came, self._valid_instants)["rank_ic"]):
            raise SettingsError(
                "krnn: rank IC, by which its epochs are chosen, can be known in none: at no instant that judges do "
                f"{FEWEST} symbols' returns differ; train on {FEWEST} symbols or more, or on one, with label scaled, "
                "whose rank is over time"
            )
        self._labels = torch.from_numpy(labels(returns[trains][order], self._instants, data.label).astype(np.float32))
        self._fields = Column(torch.from_numpy(_fields(panel)), LOOKBACK)
        self._scaler = RobustScaler.fit(self._matrix(self.rows[:: max(len(self.rows) // _FITTED, 1)]))
        self._median, self._scale = (_stepwise(part) for part in (self._scaler.median, self._scaler.scale))

    def _matrix(self, rows: IntArray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(self._panel.values, LOOKBACK, axis=0)  # [·, 5, 60]
        chosen = windows[rows - LOOKBACK + 1]
        return alpha360_of_windows({name: chosen[:, place] for place, name in enumerate(BAR_FIELDS)})

    # ── the recipe ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def tables(self) -> Mapping[str, Mapping[str, int]]:
        """Weights of the recurrent networks, where each symbol has its own."""
        return {"node_weights.weight": self._vocabulary} if self.configuration.agg == "node" else {}

    @property
    def _vocabulary(self) -> dict[str, int]:
        return {symbol: place for place, symbol in enumerate(self._panel.symbols)}

    def network(self) -> nn.Module:
        """Return a fresh KRNN."""
        return KRNN(self.configuration)

    def to(self, device: torch.device) -> None:
        """Move the bars there; a window is made of them when it is asked for."""
        for name in ("_fields", "_labels", "_median", "_scale", "_symbols"):
            setattr(self, name, getattr(self, name).to(device))
        self._ends = torch.from_numpy(self.rows).to(device)

    def batches(self, size: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Return shuffled rows, or whole cross-sections."""
        if self._data.batching == "instants":
            return grouped(torch.from_numpy(self._instants), size, generator)
        return shuffled(len(self.rows), size, generator)

    def loss(self, network: nn.Module, rows: Tensor, moment: Moment) -> Loss:
        """Return the mean squared error between scores and labels."""
        assert isinstance(network, KRNN)
        draws = moment.drawn(len(rows)) if network.training else None
        scores = self._scores(network, self._ends[rows], draws)
        return Loss(nn.functional.mse_loss(scores, self._labels[rows]))

    def validate(self, network: nn.Module, moment: Moment) -> dict[str, float]:
        """Return how well scores rank returns."""
        assert isinstance(network, KRNN)
        return ranking_metrics(self.said(network, self.valid_rows), self._came, self._valid_instants)

    def said(self, network: KRNN, rows: IntArray) -> FloatArray:
        """Return the scores of rows of the panel, float64."""
        ends = torch.from_numpy(rows).to(self._median.device)
        with torch.no_grad():
            parts = [self._scores(network, some).double().cpu() for some in torch.split(ends, _JUDGED_AT_ONCE)]
        return np.asarray(torch.cat(parts).numpy())

    def _scores(self, network: KRNN, ends: Tensor, draws: Draws | None = None) -> Tensor:
        steps = self.inputs(ends, draws)
        if self.configuration.layout == "qlib_raw":  # qlib's reading takes the field-major row for steps of fields
            steps = steps.transpose(1, 2).reshape(len(steps), -1)
        # The gradient that is written out is one of full precision.
        is_written_out = steps.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        nodes = self._symbols[ends] if self.configuration.agg == "node" else None
        scores: Tensor = network.wavefront(steps, nodes) if is_written_out else network(steps, nodes)
        return scores

    def inputs(self, ends: Tensor, draws: Draws | None = None) -> Tensor:
        """Return what the network reads at rows of the panel, float32 [N, 60, 6]: relative to the current bar, scaled,
        clipped; draws: in training, of changes."""
        windows = self._fields.gather(ends)
        if draws is not None:
            windows = self._augmentation.of_bars(windows, draws, prices=len(FIELDS) - 1, close=0)
        now = windows[:, -1]
        base = now[:, :1].expand(-1, len(FIELDS)).clone()
        base[:, -1] = _volume_base(windows[..., -1])
        relative = (windows / base[:, None]).float()
        return ((relative - self._median) / self._scale).clamp(-self._scaler.clip, self._scaler.clip).nan_to_num()

    def export(self, network: nn.Module, folder: Path, facts: TrainingFacts) -> Artefact:
        """Write the artefact that models.forecasters reads."""
        assert isinstance(network, KRNN)
        data = self._data
        vocabularies = {"symbol": self._vocabulary} if self.configuration.agg == "node" else {}
        card = ArtefactCard(
            "krnn", card_configuration(self.configuration), inputs=FIELDS, layout=self.configuration.layout,
            timeframe=self._panel.timeframe, lookback=LOOKBACK, horizon=data.horizon,
            label={"kind": f"{data.label} of forward return", "lag": data.lag, "horizon": data.horizon,
                   "price": data.price, "validation": dict(facts.metrics)},
            scalers={"kind": "robust", "clip": self._scaler.clip}, vocabularies=vocabularies,
            trained_from=facts.trained_from, trained_until=facts.trained_until, trained_on=facts.trained_on,
            conventions={"vwap": "typical", "volume": "floor"}, libraries=library_versions(), source=facts.source,
        )
        scalers = {"median": torch.from_numpy(self._scaler.median), "scale": torch.from_numpy(self._scaler.scale)}
        return save_artefact(folder, card, network.state_dict(), scalers=scalers)


def labels(returns: FloatArray, instants: IntArray, kind: LabelKind) -> FloatArray:
    """Return what is learned, float64 [rows], with about unit variance."""
    _, group, counts = np.unique(instants, return_inverse=True, return_counts=True)
    if kind == "scaled":
        return np.clip(returns / max(float(returns.std()), 1e-12), -5, 5)
    if counts.max() == 1:
        raise SettingsError(f"krnn: label {kind!r} compares symbols, and there is one at a time; expected 'scaled'")
    if kind == "rank":
        return ((ranks(returns, instants) - 0.5) / counts[group] - 0.5) * 12**0.5
    if kind == "qlib_rank":
        return (ranks(returns, instants) / counts[group] - 0.5) * 3.46
    mean = np.bincount(group, weights=returns) / counts
    apart = returns - mean[group]
    deviation = np.sqrt(np.bincount(group, weights=apart**2) / counts)
    return np.clip(apart / np.maximum(deviation, 1e-12)[group], -5, 5)


def _fields(panel: Panel) -> FloatArray:
    """Return Alpha360's six fields of every bar, float64 [rows, 6]."""
    of = {name: panel.column(name) for name in BAR_FIELDS}
    of["vwap"] = (of["high"] + of["low"] + of["close"]) / 3
    return np.stack([of[name] for name in FIELDS], axis=1)


def _volume_base(volumes: Tensor) -> Tensor:
    """Return what volumes [N, 60] are relative to, [N]; as models.alpha360's rule "floor"."""
    now = volumes[:, -1]
    middle = volumes.sort(dim=1).values[:, LOOKBACK // 2 - 1 : LOOKBACK // 2 + 1].mean(1)
    floor = torch.where(middle > 0, 1e-3 * middle, torch.ones_like(middle))
    return torch.where(now > 0, now + 1e-12, floor)


def _stepwise(columns: np.ndarray) -> Tensor:
    """Return numbers of the 360 columns as [60, 6]."""
    assert len(columns) == len(COLUMNS)
    return torch.from_numpy(columns.reshape(len(FIELDS), LOOKBACK).T.copy())
