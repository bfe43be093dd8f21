"""The temporal fusion transformer's recipe: several targets at once, of several symbols and periods."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.bars import FloatArray, IntArray
from engine.errors import DataError, SettingsError
from models.artefact import Artefact, ArtefactCard, library_versions
from models.tft.configuration import TFTConfiguration, embedding_width
from models.tft.heads import Head, Point, Probability, Quantiles, Target, pos_weight_of
from models.tft.joins import JOINS, JoinedSeries, Joins
from models.tft.keeping import save_tft
from models.tft.loading import fill
from models.tft.network import TFT
from models.tft.scaling import TargetScales
from models.tft.tensors import TFTInputs, TFTOutput
from models.tft.windows import RELATIVE_INDEX, WindowAssembly
from models.training.data.augment import Augmentation
from models.training.data.splits import Split
from models.training.data.table import Table
from models.training.data.vocabulary import Vocabularies, with_dropout
from models.training.data.windows import Column, WindowSet
from models.training.plan import OptimiserPlan, Plan, Schedule
from models.training.recipe import Draws, Goal, Loss, Moment, TrainingFacts, shuffled
from models.training.selection.outliers import outlier_notes
from models.training.tft.losses import Balance, Stages, TargetLoss, Weighing, mean_loss
from models.training.tft.metrics import FEWEST, metric_names, of_target, unknowable
from models.training.tft.score import COMPOSITE, Composite

DEFAULTS = Plan(
    epochs=30,
    batch=256,
    optimiser=OptimiserPlan("adamw", 1.5e-3, 1e-5),
    schedule=Schedule("one_cycle", warm_up=0.3, first=1 / 25, last=1 / 2500),
    clip_norm=0.5,
    patience=8,
    keep=3,
)
_LARGEST_WEIGHT = 10.0
_AT_ONCE = 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TFTSizes:
    """How large the network is; names as in TFTConfiguration."""

    hidden_size: int = 32
    lstm_layers: int = 1
    attention_head_size: int = 4
    hidden_continuous_size: int = 8
    dropout: float = 0.1


@dataclass(frozen=True)
class TFTPlan:
    """How targets are learned.

    Args:
        weighing: "uncertainty" learns how much each target counts, on top of `stages`; "fixed": they alone.
        class_weights: events that are rare weigh more, by their share in training, at most ten times; forecasts are
            set right again. symbol_dropout: share of windows whose symbol is hidden, for symbols that come later.
        score: what checkpoints are chosen by; empty: "val_loss".
    """

    sizes: TFTSizes = field(default_factory=TFTSizes)
    weighing: Weighing = "uncertainty"
    stages: Stages = field(default_factory=Stages)
    class_weights: bool = True
    symbol_dropout: float = 0.05
    score: Composite = field(default_factory=lambda: Composite(()))
    augmentation: Augmentation = field(default_factory=Augmentation)
    outliers: bool = False


@dataclass(frozen=True)
class Validation:
    """What was said of the judging windows, and what came: for plots and reports.

    Args:
        said: by target, float64 [N, size], in the target's unit. came: float64 [N, R]. times, groups: int64 [N].
    """

    epoch: int
    said: Mapping[str, FloatArray]
    came: FloatArray
    times: IntArray
    groups: IntArray


class TrainingTFT(TFT):
    """The network with the balance of its losses; a state dict has the network's own names, and the balance's."""

    def __init__(self, configuration: TFTConfiguration, losses: Sequence[TargetLoss], weighing: Weighing) -> None:
        super().__init__(configuration)
        self.balance = Balance(losses, weighing)

    def plain(self) -> TFT:
        """Return the network alone, in eval mode."""
        network = TFT(self.configuration)
        own = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("balance.")}
        fill(network, {name: tensor.cpu() for name, tensor in own.items()})
        return network.eval()


class TFTRecipe:
    """See models.training.recipe.

    Args:
        table: features and targets of all bars; split: by time.
    Raises:
        DataError: nothing is left to train on or to judge by. SettingsError: weights or score name what there is not.
    """

    def __init__(self, table: Table, split: Split, plan: TFTPlan) -> None:
        self.table, self.plan, self._split = table, plan, split
        self.specs, names = table.plan.targets, [spec.name for spec in table.plan.targets]
        plan.stages.check(names)
        windows = table.windows()
        self._train = _places(split.train.mask(windows.times, windows.label_times), "training", split, table)
        self._valid = _places(split.valid.mask(windows.times, windows.label_times), "judging", split, table)
        train, self.valid = windows.select(self._train), windows.select(self._valid)
        self.vocabularies = Vocabularies.fit(train, table.groups)
        notes = self.vocabularies.unknown(self.valid, table.groups)
        if plan.outliers:
            notes = (*notes, *outlier_notes(table, train.rows.numpy(), self.valid.rows.numpy()))
        self.audit = replace(table.audit(), notes=notes, symbols=self._seen(train))
        self._symbols, self._periods = (torch.from_numpy(codes) for codes in self.vocabularies.codes(table.groups))
        self.periods = tuple(dict.fromkeys(one.timeframe for one in table.groups))
        plan.score.check(metric_names(self.specs, self.periods))
        self._check_that_scores_can_be_known()
        self.centre, self.scale = _scaler(table, train)
        self.targets, self.losses = self._heads(train.all_of("target"))
        self.scales = self._scales(train)
        self._windows = self._scaled(windows)
        self.validation: Validation | None = None

    def _seen(self, train: WindowSet) -> tuple[str, ...]:
        groups = self.table.groups
        places = np.union1d(train.groups, self.valid.groups)
        found = dict.fromkeys(one.symbol for place, one in enumerate(groups) if place in places)
        return tuple(found | dict.fromkeys([self.table.plan.reference] if self.table.plan.reference else []))

    def _check_that_scores_can_be_known(self) -> None:
        """Refuse a score of which a part would be NaN in every epoch, whatever the network says."""
        given = {part.metric for part in self.plan.score.parts}
        came, times = self.valid.all_of("target").double().numpy(), self.valid.times
        for period in self.periods if given else ():
            rows = np.array([one.timeframe == period for one in self.table.groups])[self.valid.groups]
            for place, spec in enumerate(self.specs):
                for metric in unknowable(spec, came[rows, place], times[rows]):
                    if (name := f"val_{spec.name}_{metric}@{period}") in given:
                        raise SettingsError(
                            f"score: {name} can be known in no epoch: of {rows.sum()} windows of {period} that judge, "
                            f"{np.isfinite(came[rows, place]).sum()} know their {spec.name}, and it takes {FEWEST} "
                            "that do not all come to the same; judge on more (split.valid, split.end), or leave it out "
                            "of tft.score"
                        )

    # ── what is fitted, on training alone ───────────────────────────────────────────────────────────────────────────

    def _heads(self, targets: Tensor) -> tuple[tuple[Target, ...], tuple[TargetLoss, ...]]:
        heads, losses = [], []
        for place, spec in enumerate(self.specs):
            column = targets[:, place]
            known = float((~column.isnan()).float().mean())
            if not known:
                raise DataError(f"target {spec.name} is known in no training window; leave it out")
            weight = 1.0
            head: Head = Quantiles(spec.quantiles) if spec.quantiles else Point()
            if spec.family.sort == "event":
                weight = pos_weight_of(column, _LARGEST_WEIGHT) if self.plan.class_weights else 1.0
                head = Probability(weight)
            heads.append(Target(spec.name, head))
            losses.append(TargetLoss(spec.name, spec.loss, spec.quantiles, weight, known))
        return tuple(heads), tuple(losses)

    def _scales(self, train: WindowSet) -> TargetScales:
        groups = torch.from_numpy(train.groups)
        return TargetScales.fit(
            train.all_of("target"),
            self._symbols[groups],
            self._periods[groups],
            symbol_count=len(self.vocabularies.symbol) - 1,
            period_count=len(self.vocabularies.period) - 1,
            scaled=tuple(spec.family.normalise for spec in self.specs),
        )

    def _scaled(self, windows: WindowSet) -> WindowSet:
        """Return the windows with features and targets in scales, once and for all."""
        group = windows.column("group").values
        values = (windows.column("values").values - self.centre) / self.scale
        raw = windows.column("target").values
        target = self.scales.normalise(raw, self._symbols[group], self._periods[group])
        return windows.with_columns(
            values=Column(values, self.table.plan.lookback), target=Column(target), came=Column(raw)
        )

    # ── the recipe ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def goal(self) -> Goal:
        """The composite score, or the loss."""
        parts = tuple(part.metric for part in self.plan.score.parts)
        return Goal(COMPOSITE, is_higher_better=True, made_of=parts) if parts else Goal("val_loss")

    @property
    def tables(self) -> Mapping[str, Mapping[str, int]]:
        """Embeddings of symbols and periods, by name."""
        of = self.configuration
        named = {"symbol": self.vocabularies.symbol, "period": self.vocabularies.period}
        return {f"input_embeddings.embeddings.{name}.weight": dict(named[name]) for name in of.static_categoricals}

    @cached_property
    def configuration(self) -> TFTConfiguration:
        """The network's, as it follows from the data."""
        plan, sizes = self.table.plan, self.plan.sizes
        categories = {"symbol": len(self.vocabularies.symbol)}
        if len(self.periods) > 1:
            categories["period"] = len(self.vocabularies.period)
        ahead = (*plan.known, RELATIVE_INDEX)
        return TFTConfiguration(
            hidden_size=sizes.hidden_size,
            lstm_layers=sizes.lstm_layers,
            dropout=sizes.dropout,
            output_size=tuple(target.head.size for target in self.targets),
            attention_head_size=sizes.attention_head_size,
            max_encoder_length=plan.lookback,
            static_categoricals=tuple(categories),
            time_varying_reals_encoder=(*self.table.names, *ahead),
            time_varying_reals_decoder=ahead,
            x_reals=(*self.table.names, *ahead),
            x_categoricals=tuple(categories),
            hidden_continuous_size=sizes.hidden_continuous_size,
            embedding_sizes={name: (n, min(embedding_width(n), sizes.hidden_size)) for name, n in categories.items()},
        )

    def network(self) -> TrainingTFT:
        """Return a fresh network."""
        return TrainingTFT(self.configuration, self.losses, self.plan.weighing)

    def to(self, device: torch.device) -> None:
        """Move the windows there."""
        self._windows = self._windows.to(device)
        self._symbols, self._periods = self._symbols.to(device), self._periods.to(device)

    def batches(self, size: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Return shuffled training windows."""
        places = torch.from_numpy(self._train)
        return [places[rows] for rows in shuffled(len(places), size, generator)]

    def loss(self, network: nn.Module, rows: Tensor, moment: Moment) -> Loss:
        """Return the balanced loss of windows, and each target's own."""
        assert isinstance(network, TrainingTFT)
        batch, draws = self._windows.gather(rows), None
        if network.training:
            draws = moment.drawn(len(rows))
            batch["values"] = self.plan.augmentation(batch["values"], draws)
        output = network(self._inputs(batch, draws))
        weights = self.plan.stages.at(moment.epoch, [spec.name for spec in self.specs])
        return Loss(*network.balance(output.raw, batch["target"], weights))

    @torch.no_grad()
    def validate(self, network: nn.Module, moment: Moment) -> dict[str, float]:
        """Return the loss, metrics of every target and period, and the score."""
        assert isinstance(network, TrainingTFT)
        said: dict[str, list[Tensor]] = {spec.name: [] for spec in self.specs}
        lost = {spec.name: 0.0 for spec in self.specs}
        for rows in torch.split(torch.from_numpy(self._valid), _AT_ONCE):
            batch = self._windows.gather(rows)
            output: TFTOutput = network(self._inputs(batch))
            scales = self.scales.of(self._symbols[batch["group"]].cpu(), self._periods[batch["group"]].cpu())
            for place, (target, loss) in enumerate(zip(self.targets, self.losses, strict=True)):
                raw = output.raw[place].float()
                lost[target.name] += float(loss.total(raw, batch["target"][:, place]))
                said[target.name].append(target.head.read(raw.cpu(), scales[:, place])[:, -1])
        self.validation = Validation(
            moment.epoch + 1,
            {name: torch.cat(parts).double().numpy() for name, parts in said.items()},
            self.valid.all_of("target").double().numpy(),
            self.valid.times,
            self.valid.groups,
        )
        known = (~np.isnan(self.validation.came)).sum(axis=0)
        means = {
            spec.name: lost[spec.name] / count if count else math.nan
            for spec, count in zip(self.specs, known.tolist(), strict=True)
        }
        return self._metrics(means, self.validation, moment)

    def _metrics(self, lost: Mapping[str, float], validation: Validation, moment: Moment) -> dict[str, float]:
        names = [spec.name for spec in self.specs]
        found = {"val_loss": mean_loss(lost, self.plan.stages.last(names), names)}
        for period in self.periods:
            rows = np.array([one.timeframe == period for one in self.table.groups])[validation.groups]
            for place, spec in enumerate(self.specs):
                of = of_target(
                    spec, validation.said[spec.name][rows], validation.came[rows, place], validation.times[rows]
                )
                found |= {f"val_{spec.name}_{metric}@{period}": value for metric, value in of.items()}
        if self.plan.score.parts:
            found[COMPOSITE] = self.plan.score.of(found)
            if unknown := self.plan.score.unknown(found):
                log.warning("epoch %d cannot be chosen: %s cannot be known", moment.epoch + 1, ", ".join(unknown))
        return found

    def _inputs(self, batch: Mapping[str, Tensor], draws: Draws | None = None) -> TFTInputs:
        """Return what the network is fed; draws: in training, of which symbols are hidden."""
        symbols = self._symbols[batch["group"]]
        if draws is not None:
            symbols = with_dropout(symbols, self.plan.symbol_dropout, draws)
        codes = {"symbol": symbols, "period": self._periods[batch["group"]]}
        return self._assembly(batch["values"], self.table.plan.steps, known=batch.get("known"), codes=codes)

    def _joins(self) -> dict[str, Any]:
        plan = self.table.plan
        series = tuple(JoinedSeries(one.names, one.step, one.tolerance) for one in self.table.series)
        joins = Joins(
            dict(plan.joined), plan.reference, plan.reference_features, plan.beta, series, plan.lag, plan.across_gaps)
        return {JOINS: joins.as_json()} if joins.names else {}

    @cached_property
    def _assembly(self) -> WindowAssembly:
        """Puts together what is in scales already."""
        return WindowAssembly(self.configuration, self.table.names, known=self.table.plan.known)

    def export(self, network: nn.Module, folder: Path, facts: TrainingFacts) -> Artefact:
        """Write the artefact that models.forecasters reads."""
        assert isinstance(network, TrainingTFT)
        plan, names = self.table.plan, self.table.names
        vocabularies = {"symbol": dict(self.vocabularies.symbol)}
        if len(self.periods) > 1:
            vocabularies["period"] = dict(self.vocabularies.period)
        card = ArtefactCard(
            "tft",
            {},
            timeframe=self.periods[0] if len(self.periods) == 1 else "",
            label={
                "horizon": plan.horizon,
                "specifications": {spec.name: spec.as_json() for spec in self.specs},
                "validation": dict(facts.metrics),
            },
            vocabularies=vocabularies,
            trained_from=facts.trained_from,
            trained_until=facts.trained_until,
            trained_on=facts.trained_on,
            conventions={"clock": plan.clock, "across_gaps": plan.across_gaps, **self._joins()},
            libraries=library_versions(),
            source=facts.source,
        )
        known = plan.known
        assembly = WindowAssembly(self.configuration, names, known=known, centre=self.centre, scale=self.scale)
        return save_tft(
            folder, network.plain(), assembly, self.targets, scales=self.scales, horizon=plan.steps, facts=card
        )


def _places(mask: np.ndarray, which: str, split: Split, table: Table) -> IntArray:
    places = np.flatnonzero(mask)
    if not len(places):
        part = split.train if which == "training" else split.valid
        raise DataError(f"no window is left for {which}, {part}; the data gives\n{table.audit()}")
    return places


def _scaler(table: Table, train: WindowSet) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each feature over the rows that training windows are made of, float32 [F]."""
    if not len(train):
        raise SettingsError("there are no training windows to fit scalers on")
    seen = np.zeros(len(table) + 1, np.int64)
    ends = train.rows.numpy()
    np.add.at(seen, ends + 1 - table.plan.lookback, 1)
    np.add.at(seen, ends + 1, -1)
    rows = table.values[np.cumsum(seen)[:-1] > 0].astype(np.float64)
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    # A feature that stands still tells nothing, and is left as it is.
    still = scale <= 1e-9 * np.maximum(np.abs(centre), 1e-30)
    return torch.from_numpy(centre).float(), torch.from_numpy(np.where(still, 1.0, scale)).float()
