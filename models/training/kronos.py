"""Kronos' two recipes: the tokenizer, then the predictor over a tokenizer that is left alone.

As the original fine-tunes, with its faults undone: windows are normalised on their lookback alone, validation is causal
and deterministic, and gradients of several processes are those of one. Source: shiyu-coder/Kronos, `finetune/`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.bars import IntArray
from engine.errors import PluginError, SettingsError
from models.artefact import (
    CARD,
    Artefact,
    ArtefactCard,
    Tensors,
    artefact_below,
    check_architecture,
    library_versions,
    load_artefact,
    save_artefact,
)
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.kronos.loading import fill, load_model, load_tokenizer
from models.kronos.network import Kronos, Logits, token_losses
from models.kronos.preparation import CLIP, FIELDS, stamps_of, with_amount
from models.kronos.tokenizer import KronosTokenizer, training_loss
from models.training import lora
from models.training.data.audit import Audit, panel_audit
from models.training.data.augment import OFF, Augmentation
from models.training.data.splits import Split
from models.training.data.windows import Column
from models.training.panel import FIELDS as BAR_FIELDS
from models.training.panel import Panel
from models.training.plan import OptimiserPlan, Plan, Schedule
from models.training.recipe import Draws, Goal, Loss, Moment, TrainingFacts

Tuning = Literal["all", "head", "lora"]

_SCHEDULE = Schedule("one_cycle", 0.03, first=0.1, last=0.1 / 1e4, cycles_momentum=True)
TOKENIZER_DEFAULTS = Plan(
    epochs=30, batch=50, seed=100, optimiser=OptimiserPlan("adamw", 2e-4, 0.1), schedule=_SCHEDULE, clip_norm=2.0
)
PREDICTOR_DEFAULTS = Plan(
    epochs=30, batch=50, seed=100, optimiser=OptimiserPlan("adamw", 4e-5, 0.1, (0.9, 0.95)), schedule=_SCHEDULE,
    clip_norm=3.0,
)
"""As the original fine-tunes."""

TOKENIZER = "kronos_tokenizer"
EXPORT = "export"
"""Folder inside an artefact, in the form of the original's checkpoints."""
_JUDGED_AT_ONCE = 64
_TINY = 1e-5


@dataclass(frozen=True)
class WindowPlan:
    """How bars become windows of lookback + horizon + 1.

    Args:
        lookback: bars that a window is normalised on; horizon: bars ahead that it is trained for.
        samples: windows drawn in an epoch; 0 takes every one. judged: windows that judge, evenly spread.
        clock: that calendars are read from. augmentation: of windows that train, the bars ahead left alone.
    """

    lookback: int = 90
    horizon: int = 10
    samples: int = 0
    judged: int = 400
    clock: tzinfo = UTC
    augmentation: Augmentation = OFF

    def __post_init__(self) -> None:
        if self.lookback < 2 or self.horizon < 1 or self.judged < 1 or self.samples < 0:
            raise SettingsError(
                f"kronos: lookback {self.lookback}, horizon {self.horizon}, samples {self.samples}, judged "
                f"{self.judged}; expected 2 or more, 1 or more, 0 or more, 1 or more"
            )


class KronosWindows:
    """Windows of a panel, normalised and clipped, with their calendar.

    Raises:
        SettingsError: no window trains or judges.
    """

    def __init__(self, panel: Panel, split: Split, plan: WindowPlan) -> None:
        self.panel, self.plan = panel, plan
        ahead = plan.horizon + 1
        rows = panel.rows(plan.lookback, ahead)
        decided, known = panel.close_time[rows], panel.close_time[rows + ahead]
        chosen = {"training": rows[split.train.mask(decided, known)], "judging": rows[split.valid.mask(decided, known)]}
        for name, some in chosen.items():
            if not len(some):
                raise SettingsError(
                    f"kronos: no window is left for {name}: it needs {plan.lookback} bars before and {ahead} after, "
                    "within its span and without a gap"
                )
        self.train_rows, judging = chosen.values()
        places = np.unique(np.linspace(0, len(judging) - 1, min(plan.judged, len(judging))).round().astype(np.int64))
        self.judged_rows: IntArray = judging[places]
        self.audit = panel_audit(panel, plan.lookback, ahead, self.train_rows, self.judged_rows)
        fields = {name: panel.column(name) for name in BAR_FIELDS}
        values = torch.from_numpy(with_amount(fields).astype(np.float32))
        self._values = Column(values, plan.lookback, ahead)
        self._stamps = Column(torch.from_numpy(stamps_of(panel.open_time, plan.clock)), plan.lookback, ahead)
        self._rows = torch.from_numpy(self.train_rows)

    def to(self, device: torch.device) -> None:
        """Move the bars there."""
        self._values, self._stamps = self._values.to(device), self._stamps.to(device)
        self._rows = self._rows.to(device)

    def batches(self, size: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Return an epoch's windows: all of them, or as many as are drawn."""
        count = len(self.train_rows)
        order = torch.randperm(count, generator=generator)
        if self.plan.samples:
            order = order.repeat(-(-self.plan.samples // count))[: self.plan.samples]
        return list(torch.split(order, size))

    def of(self, places: Tensor, draws: Draws | None = None) -> tuple[Tensor, Tensor]:
        """Return training windows float32 [N, W, 6] and their stamps int64 [N, W, 5]; draws: of changes."""
        rows, plan = self._rows[places], self.plan
        if draws is None or not plan.augmentation.is_on:
            return self.at(rows)
        bars = plan.augmentation.of_bars(self._values.gather(rows), draws, ahead=plan.horizon + 1)
        return normalised(bars, plan.lookback), self._stamps.gather(rows)

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the windows whose lookback ends at rows of the panel."""
        return normalised(self._values.gather(rows), self.plan.lookback), self._stamps.gather(rows)

    def judged(self) -> list[tuple[Tensor, Tensor]]:
        """Return the windows that judge, in batches."""
        rows = torch.from_numpy(self.judged_rows).to(self._rows.device)
        return [self.at(some) for some in torch.split(rows, _JUDGED_AT_ONCE)]


def normalised(windows: Tensor, lookback: int, clip: float = CLIP) -> Tensor:
    """Return windows [N, W, 6] less the mean of their first `lookback` bars, over the deviation + 1e-5, clipped; a
    field that does not change there is 0 there, as models.kronos.preparation has it."""
    past = windows[:, :lookback]
    mean, deviation = past.mean(1, keepdim=True), past.std(1, correction=0, keepdim=True)
    is_constant = (past == past[:, :1]).all(1, keepdim=True)
    mean = torch.where(is_constant, past[:, :1], mean)
    scale = torch.where(is_constant, torch.zeros_like(deviation), deviation) + _TINY
    return ((windows - mean) / scale).clamp(-clip, clip)


class TokenizerRecipe:
    """See models.training.recipe.

    Args:
        pretrained: a tokenizer to begin with: a folder, a Hub id or an artefact; its sizes are then its own.
    """

    goal = Goal("mse")
    tables: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, windows: KronosWindows, sizes: TokenizerSizes, pretrained: str = "") -> None:
        self._windows, self._pretrained = windows, pretrained
        self._donors = [TrainingFacts.read(Path(pretrained))] if pretrained else []
        self.sizes = self._begun_with().sizes if pretrained else sizes

    @property
    def audit(self) -> Audit:
        """What became of every bar."""
        return self._windows.audit

    def network(self) -> nn.Module:
        """Return a fresh tokenizer, or the one to begin with."""
        return self._begun_with() if self._pretrained else KronosTokenizer(self.sizes)

    def _begun_with(self) -> KronosTokenizer:
        return tokenizer_of(self._pretrained, "kronos_tokenizer.pretrained")

    def to(self, device: torch.device) -> None:
        """Move the bars there."""
        self._windows.to(device)

    def batches(self, size: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Return windows."""
        return self._windows.batches(size, generator)

    def loss(self, network: nn.Module, rows: Tensor, moment: Moment) -> Loss:
        """Return (coarse + fine reconstruction + quantiser) / 2. The entropy of the codebook is one of the whole batch,
        whatever part of it the rows are."""
        x, _ = self._windows.of(rows, moment.drawn(len(rows)))
        return tokenizer_loss(network, x, moment.whole)

    def whole(self, network: nn.Module, rows: Tensor, moment: Moment) -> Tensor:
        """Return the mean chance of each bit to be 1 and 0."""
        assert isinstance(network, KronosTokenizer)
        return network.probabilities(self._windows.of(rows, moment.drawn(len(rows)))[0])

    def validate(self, network: nn.Module, moment: Moment) -> dict[str, float]:
        """Return the error of the bars rebuilt, from all bits and from the coarse ones, and the share of codes used."""
        assert isinstance(network, KronosTokenizer)
        fine = coarse = 0.0
        count, used = 0, set()
        for x, _ in self._windows.judged():
            made = network(x)
            fine += nn.functional.mse_loss(made.fine, x).item() * len(x)
            coarse += nn.functional.mse_loss(made.coarse, x).item() * len(x)
            used |= set(made.indices.unique().tolist())
            count += len(x)
        share = len(used) / min(2**self.sizes.bits, count * x.shape[1])
        return {"mse": fine / count, "mse_coarse": coarse / count, "codes_used": share}

    def export(self, network: nn.Module, folder: Path, facts: TrainingFacts) -> Artefact:
        """Write the artefact, and inside it a folder as the original's. It has seen what the one it began with has."""
        assert isinstance(network, KronosTokenizer)
        facts = facts.joined(*self._donors)
        panel = self._windows.panel
        card = ArtefactCard(
            TOKENIZER, asdict(network.sizes), inputs=FIELDS, timeframe=panel.timeframe,
            lookback=self._windows.plan.lookback,
            label={"kind": "the bars themselves", "validation": dict(facts.metrics)},
            trained_from=facts.trained_from, trained_until=facts.trained_until, trained_on=facts.trained_on,
            conventions={"clip": CLIP}, libraries=library_versions(), source=facts.source,
        )
        export_checkpoint(folder / EXPORT / "tokenizer", asdict(network.sizes), network)
        return save_artefact(folder, card, _shed(network.state_dict()))


def tokenizer_loss(network: nn.Module, x: Tensor, probabilities: Tensor | None = None) -> Loss:
    """Return the tokenizer's loss of normalised bars [N, T, 6]; probabilities: of the bits in the batch that they are a
    part of."""
    made = network(x, probabilities)
    parts = {"fine": nn.functional.mse_loss(made.fine, x), "coarse": nn.functional.mse_loss(made.coarse, x),
             "quantiser": made.quantiser.loss}
    return Loss(training_loss(made, x), parts)


class PredictorRecipe:
    """See models.training.recipe.

    Args:
        tokenizer: a folder, a Hub id, or an artefact of a tokenizer or of a whole Kronos.
        pretrained: a predictor to begin with; its sizes are then its own. max_context: tokens that it is used with.
        tuning: "all" parameters, the "head" alone, or "lora": matrices of low rank beside those of the blocks.
        teacher: whether the fine half is predicted with the coarse half that came, not with one that is drawn, as the
            original trains.
    Raises:
        PluginError: networks that cannot be loaded, or do not belong together.
    """

    goal = Goal("loss")
    tables: Mapping[str, Mapping[str, int]] = {}

    def __init__(
        self, windows: KronosWindows, sizes: ModelSizes, tokenizer: str, *, pretrained: str = "",
        max_context: int = 512, tuning: Tuning = "all", rank: int = 8, teacher: bool = False,
    ) -> None:
        self._windows, self._pretrained, self._max_context = windows, pretrained, max_context
        self._tuning, self._rank, self._teacher = tuning, rank, teacher
        self.tokenizer = tokenizer_of(tokenizer, "kronos.tokenizer").requires_grad_(False).eval()
        self._donors = [TrainingFacts.read(Path(one)) for one in (tokenizer, pretrained) if one]
        self.sizes = _predictor(pretrained).sizes if pretrained else sizes
        ours = (self.tokenizer.sizes.s1_bits, self.tokenizer.sizes.s2_bits)
        if ours != (self.sizes.s1_bits, self.sizes.s2_bits):
            raise PluginError(
                f"kronos: the tokenizer makes tokens of {ours} bits, the model reads "
                f"{(self.sizes.s1_bits, self.sizes.s2_bits)}; they do not belong together"
            )
        if tuning != "all" and not pretrained:
            raise SettingsError(f"kronos: tuning is {tuning!r} without a pretrained predictor; expected one, or 'all'")
        if windows.plan.lookback + windows.plan.horizon > max_context:
            raise SettingsError(
                f"kronos: lookback {windows.plan.lookback} and horizon {windows.plan.horizon} are more than "
                f"max_context {max_context}; expected them to fit"
            )

    @property
    def audit(self) -> Audit:
        """What became of every bar."""
        return self._windows.audit

    def network(self) -> nn.Module:
        """Return a fresh predictor, or the one to begin with, with what is not tuned frozen."""
        network = _predictor(self._pretrained) if self._pretrained else Kronos(self.sizes)
        if self._tuning == "head":
            network.requires_grad_(False)
            network.head.requires_grad_(True)
        elif self._tuning == "lora":
            network.requires_grad_(False)
            lora.attach(network, self._rank, lambda name: name.startswith(("transformer.", "dep_layer.")))
        return network

    def to(self, device: torch.device) -> None:
        """Move bars and tokenizer there."""
        self._windows.to(device)
        self.tokenizer.to(device)

    def batches(self, size: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Return windows."""
        return self._windows.batches(size, generator)

    def loss(self, network: nn.Module, rows: Tensor, moment: Moment) -> Loss:
        """Return the mean cross-entropy of both halves of every next token."""
        draws = moment.drawn(len(rows))
        s1, s2, stamps = self._tokens(*self._windows.of(rows, draws))
        seen, came = (s1[:, :-1], s2[:, :-1]), (s1[:, 1:], s2[:, 1:])
        chance = None if self._teacher else draws.uniform(s1.shape[1] - 1)
        return predictor_loss(network, seen, came, stamps[:, :-1], chance)

    def validate(self, network: nn.Module, moment: Moment) -> dict[str, float]:
        """Return the cross-entropies of windows that judge, each s2 given the s1 that came and nothing later; and the
        loss over the bars ahead alone."""
        sums = np.zeros(4)
        count = 0
        for x, stamp in self._windows.judged():
            s1, s2, stamps = self._tokens(x, stamp)
            logits = network(s1[:, :-1], s2[:, :-1], stamps[:, :-1], s1[:, 1:])
            every = token_losses(logits, s1[:, 1:], s2[:, 1:])
            horizon = self._windows.plan.horizon
            last = slice(-horizon - 1, None)
            ahead = token_losses(Logits(*(part[:, last] for part in logits)), s1[:, last], s2[:, last])
            sums += np.array([one.item() for one in (*every, ahead.loss)]) * len(x)
            count += len(x)
        return dict(zip(("loss", "loss_s1", "loss_s2", "loss_ahead"), (sums / count).tolist(), strict=True))

    def _tokens(self, x: Tensor, stamps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            return (*self.tokenizer.encode(x), stamps)

    def export(self, network: nn.Module, folder: Path, facts: TrainingFacts) -> Artefact:
        """Write the artefact, and inside it two folders as the original's. It has seen what its tokenizer has, and
        what the predictor it began with has."""
        assert isinstance(network, Kronos)
        facts = facts.joined(*self._donors)
        lora.merge(network)
        plan = self._windows.plan
        card = ArtefactCard(
            "kronos",
            {"model": asdict(network.sizes), "tokenizer": asdict(self.tokenizer.sizes),
             "max_context": self._max_context},
            inputs=FIELDS, timeframe=self._windows.panel.timeframe, lookback=plan.lookback, horizon=plan.horizon,
            label={"kind": "the next token", "validation": dict(facts.metrics)},
            trained_from=facts.trained_from, trained_until=facts.trained_until, trained_on=facts.trained_on,
            conventions={"calendar": f"open times, {plan.clock}", "clip": CLIP}, libraries=library_versions(),
            source=facts.source,
        )
        export_checkpoint(folder / EXPORT / "model", asdict(network.sizes), network)
        export_checkpoint(folder / EXPORT / "tokenizer", asdict(self.tokenizer.sizes), self.tokenizer)
        return save_artefact(
            folder, card, _shed(network.state_dict()), tokenizer=_shed(self.tokenizer.state_dict())
        )


def predictor_loss(
    network: nn.Module, seen: tuple[Tensor, Tensor], came: tuple[Tensor, Tensor], stamps: Tensor,
    chance: Tensor | None = None,
) -> Loss:
    """Return the predictor's loss: tokens seen [N, T] with their stamps [N, T, 5], and those that came after each.

    Args:
        chance: [N, T], what the s1 that s2 is predicted with is drawn by; None takes the one that came.
    """
    logits = network(*seen, stamps, came[0] if chance is None else None, chance=chance)
    losses = token_losses(logits, *came)
    return Loss(losses.loss, {"s1": losses.s1, "s2": losses.s2})


def export_checkpoint(folder: Path, sizes: Mapping[str, Any], network: nn.Module) -> None:
    """Write config.json and model.safetensors as the original's Hub mixin does: all buffers, sorted keys."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dict(sizes), indent=2, sort_keys=True)
    (folder / "config.json").write_text(text, "utf-8")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")


def tokenizer_of(source: str, what: str = "the tokenizer") -> KronosTokenizer:
    """Return a tokenizer: of a folder or Hub id in the original's form, or of an artefact.

    Args:
        what: names it in messages, such as the setting.
    Raises:
        PluginError: there is none.
    """
    artefact = _artefact_of(source, what)
    if artefact is None:
        return load_tokenizer(source)
    check_architecture(artefact, TOKENIZER, "kronos", what=f"{what} {source}", made_by="train kronos-tokenizer")
    if artefact.card.architecture == TOKENIZER:
        sizes, tensors = artefact.card.configuration, artefact.weights
    else:
        sizes, tensors = artefact.card.configuration["tokenizer"], artefact.tensors["tokenizer"]
    network = KronosTokenizer(TokenizerSizes(**sizes))
    fill(network, dict(tensors), source)
    return network


def _predictor(source: str) -> Kronos:
    artefact = _artefact_of(source, "kronos.pretrained")
    if artefact is None:
        return load_model(source)
    check_architecture(artefact, "kronos", what=f"kronos.pretrained {source}", made_by="train kronos")
    network = Kronos(ModelSizes(**artefact.card.configuration["model"]))
    fill(network, dict(artefact.weights), source)
    return network


def _artefact_of(source: str, what: str) -> Artefact | None:
    """Return the artefact in a folder; None: it is a checkpoint in the original's form, or no folder."""
    folder = Path(source)
    if (folder / CARD).is_file():
        return load_artefact(folder)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise PluginError(
            f"{what} {source} is neither an artefact, with {CARD}, nor a checkpoint as the original's, with "
            f"config.json{artefact_below(folder)}"
        )
    return None


def _shed(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(("inv_freq", "basis"))}
