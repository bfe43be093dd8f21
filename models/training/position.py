"""The position head's recipe, stage two: a policy over the features of a frozen PriceTransformer.

What is learned is growth of log-wealth after the costs of the broker, over segments of consecutive bars whose first
part only warms the state. The share chosen is fed back as what is held, a little off, as fills are. Serving snaps the
noiseless choice to a grid; how far that is from what was trained is a metric.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from engine.bars import FloatArray, IntArray, Timeframe
from engine.errors import SettingsError
from models.artefact import Artefact
from models.position import objective
from models.position.head import LEAST_TEMPERATURE, HeadSizes, PositionHead, Serving, gumbel
from models.position.loading import feature_names, load_price_transformer, save_position_head
from models.position.objective import Weights
from models.training.data.audit import panel_audit
from models.training.data.splits import Split
from models.training.panel import Panel
from models.training.plan import OptimiserPlan, Plan, Schedule
from models.training.price import inputs
from models.training.recipe import Goal, Loss, Moment, TrainingFacts, shuffled

Objective = Literal["after_cost", "original", "relative_return", "risk_cost", "opportunity_cost", "information_ratio"]
Exploration = Literal["segment", "step", "none"]

DEFAULTS = Plan(
    epochs=20, batch=64, optimiser=OptimiserPlan("adamw", 3e-4, 0.01), schedule=Schedule("cosine", 0.05),
    clip_norm=1.0, patience=6,
)
_AT_ONCE = 1024
_REGIME_BARS = 20
_YEAR = 365.25 * 86_400e9


@dataclass(frozen=True)
class PositionPlan:
    """How the head is trained.

    Args:
        steps: bars of a segment that are learned from; burn: bars before them that warm the state; every: bars from one
            segment's beginning to the next one's.
        lag: bars from the decision to the trade, at `price`, as the broker fills.
        cost: of trading the whole equity once, a fraction: fee + half spread + slippage. In training it is drawn anew
            for each segment, from half to twice that.
        first, last: temperature of the choice at the beginning and the end; serving takes the last.
        exploration: how often Gumbel noise is drawn: once for a segment, at every step, or never.
        floor: of how open choices are (see `models.position.head.openness`), the mean over a segment; entropy: what a
            lack of it costs, in deviations of a step's return.
        jitter: deviation of what is fed back from what was chosen.
        objective: what is minimised; the original's losses go by their names.
        weights: of the terms of "after_cost". bars_a_year: for Sharpe ratios; by the clock if 0.
    """

    steps: int = 20
    burn: int = 20
    every: int = 10
    lag: int = 1
    price: Literal["open", "close"] = "open"
    cost: float = 0.0012
    first: float = 1.0
    last: float = 0.3
    exploration: Exploration = "segment"
    entropy: float = 0.1
    floor: float = 0.3
    jitter: float = 0.02
    objective: Objective = "after_cost"
    weights: Weights = field(default_factory=Weights)
    bars_a_year: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 2 or self.burn < 0 or self.every < 1 or self.lag < 0 or not self.cost >= 0:
            raise SettingsError(
                f"position: steps {self.steps}, burn {self.burn}, every {self.every}, lag {self.lag}, cost "
                f"{self.cost}; expected 2 or more, 0, 1, 0, 0 or more"
            )
        if not self.entropy >= 0 or not 0 <= self.floor <= 1:
            raise SettingsError(
                f"position: entropy {self.entropy}, its floor {self.floor}; expected 0 or more, and a share from 0 to 1"
            )
        if not self.first >= self.last >= LEAST_TEMPERATURE:
            raise SettingsError(
                f"position: temperature from {self.first} to {self.last}; expected it to fall, to "
                f"{LEAST_TEMPERATURE} at least"
            )


def check_stage_one(artefact: Artefact, where: str, *, allow: bool = False) -> None:
    """Refuse a PriceTransformer that is no better than a random walk or a linear autoregression.

    Raises:
        SettingsError: it is not, or nothing says how good it is.
    """
    said = artefact.card.label.get("validation") or {}
    walk, regression = (said.get(f"skill_{name}") for name in ("walk", "ar"))
    if allow or (walk is not None and regression is not None and min(walk, regression) > 0):
        return
    if walk is None or regression is None:
        raise SettingsError(f"position.price {where} does not say how it did beside a random walk; `train` it")
    raise SettingsError(
        f"position.price {where} does not beat knowing nothing: its pinball loss is {-walk:+.2%} of a random walk's, "
        f"{-regression:+.2%} of an autoregression's; a head on it would learn noise. Train the first stage longer, on "
        "more data or at another horizon, or set position.allow_unskilled = true to go on knowingly"
    )


class PositionRecipe:
    """See models.training.recipe.

    Args:
        artefact: of the PriceTransformer. serving: how targets will be taken; its temperature is the plan's last.
    Raises:
        SettingsError: bars of another timeframe, or no segment to train on.
    """

    goal = Goal("sharpe", is_higher_better=True)
    tables: Mapping[str, Mapping[str, int]] = {}

    def __init__(
        self, panel: Panel, split: Split, artefact: Artefact, sizes: HeadSizes, plan: PositionPlan, serving: Serving
    ) -> None:
        if artefact.card.timeframe != panel.timeframe:
            raise SettingsError(
                f"position: bars of {panel.timeframe}, but the price network reads bars of {artefact.card.timeframe}"
            )
        self._panel, self._plan, self._artefact, self._serving = panel, plan, artefact, serving
        price = load_price_transformer(artefact)
        self.names = feature_names(price.sizes)
        self.sizes = sizes
        lookback, ahead = artefact.card.lookback, plan.lag + 1
        rows = panel.rows(lookback, ahead)
        self._features = torch.zeros(len(panel), len(self.names))
        self._features[torch.from_numpy(rows)] = features_of(price, panel, rows, lookback)
        traded = panel.column(plan.price)
        returns = np.zeros(len(panel))
        returns[rows] = traded[rows + ahead] / traded[rows + plan.lag] - 1
        self._returns = torch.from_numpy(returns).float()
        self._segments(split, lookback, ahead)
        self._deviation = float(returns[self.rows].std()) or 1e-8
        duration = Timeframe.parse(panel.timeframe).duration
        self._bars_a_year = plan.bars_a_year or _YEAR / duration

    def _segments(self, split: Split, lookback: int, ahead: int) -> None:
        """Find the segments that train, and the paths that judge."""
        panel, plan = self._panel, self._plan
        length = plan.burn + plan.steps
        back = max(length, _REGIME_BARS + plan.steps)
        ends = panel.rows(lookback + back - 1, ahead)
        begins = ends - plan.steps + 1
        known = panel.close_time[ends + ahead]
        self.rows: IntArray = ends[split.train.mask(panel.close_time[begins], known)][:: plan.every]
        judged = panel.rows(lookback, ahead)
        judged = judged[split.valid.mask(panel.close_time[judged], panel.close_time[judged + ahead])]
        if not len(self.rows) or not len(judged):
            raise SettingsError(
                f"position: {len(self.rows)} segments to train on and {len(judged)} bars to judge; each needs "
                f"{lookback + back} bars before and {ahead} after, within its span and without a gap"
            )
        self.audit = panel_audit(panel, lookback, ahead, self.rows, judged)
        self._ends = torch.from_numpy(self.rows)
        self.paths = [judged[panel.symbol[judged] == one] for one in np.unique(panel.symbol[judged])]

    # ── the recipe ──────────────────────────────────────────────────────────────────────────────────────────────────

    def network(self) -> nn.Module:
        """Return a fresh head."""
        return PositionHead(self.sizes)

    def to(self, device: torch.device) -> None:
        """Move features and returns there."""
        for name in ("_features", "_returns", "_ends"):
            setattr(self, name, getattr(self, name).to(device))

    def batches(self, size: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Return shuffled segments."""
        return shuffled(len(self.rows), size, generator)

    def temperature(self, moment: Moment) -> float:
        """Return the temperature at a moment: it falls by the same share at every step."""
        plan = self._plan
        return float(max(plan.first * (plan.last / plan.first) ** min(moment.through, 1.0), LEAST_TEMPERATURE))

    def loss(self, network: nn.Module, rows: Tensor, moment: Moment) -> Loss:
        """Return the objective over segments."""
        assert isinstance(network, PositionHead)
        plan, ends = self._plan, self._ends[rows]
        back = torch.arange(1 - plan.burn - plan.steps, 1, device=ends.device)
        features, temperature = self._features[ends[:, None] + back], self.temperature(moment)
        noise = self._noise(len(ends), ends.device)
        hidden = held = None
        if plan.burn:
            with torch.no_grad():
                # With the noise of what follows, if it is the same throughout: or its beginning would be a trade.
                lasting = noise if plan.exploration == "segment" else None
                before = network.unroll(features[:, : plan.burn], temperature, noise=lasting)
                hidden, held = before.hidden, before.shares[:, -1]
        made = network.unroll(features[:, plan.burn :], temperature, hidden, held, noise=noise, jitter=plan.jitter)
        returns = self._returns[ends[:, None] + back[plan.burn :]]
        cost = plan.cost * 2 ** (2 * torch.rand(len(ends), 1) - 1).to(made.shares)
        found = self._objective(made.shares, returns, cost, self._regimes(ends), held)
        # Hourly returns are so small that their gradients would drown in Adam's epsilon: told in deviations of one.
        scale = 1.0 if plan.objective == "information_ratio" else self._deviation
        openness = made.openness.mean(1)
        value = found.value / scale + plan.entropy * (plan.floor - openness).clamp_min(0).mean()
        return Loss(value, {**found.parts, "openness": openness.mean()})

    def _noise(self, count: int, device: torch.device) -> Tensor | None:
        """Return what is added to the logits of segments.

        Noise that is new at every step is paid for at every step: the shares move, and moving costs. A head soon learns
        to be deaf to it, by logits so far apart that its features move nothing either. Noise that lasts for a segment
        (as Raffin et al. 2021, arXiv 2005.05719, for robots, which it wears out) explores without that.
        """
        plan = self._plan
        if plan.exploration == "none":
            return None
        steps = plan.steps if plan.exploration == "step" else 1
        return gumbel((count, steps, self.sizes.places), None, device)

    def _regimes(self, ends: Tensor) -> Tensor:
        """Return each segment's regime, of returns that were known when it began: those of decisions long enough before
        for their trades to be over."""
        last = ends - self._plan.steps - self._plan.lag
        back = torch.arange(1 - _REGIME_BARS, 1, device=ends.device)
        return objective.regime(self._returns[(last[:, None] + back).clamp_min(0)])

    def _objective(
        self, shares: Tensor, returns: Tensor, cost: Tensor, regimes: Tensor, before: Tensor | None
    ) -> Loss:
        if self._plan.objective == "after_cost":
            made = objective.after_cost_objective(shares, returns, cost, self._plan.weights, regimes, before)
            return Loss(made.loss, {"growth": made.growth, "variance": made.variance, "drawdown": made.drawdown})
        if self._plan.objective == "information_ratio":
            net = objective.net_returns(shares, returns, cost, before)
            return Loss(-objective.information_ratio(net - 0.5 * returns, self._deviation))
        if self._plan.objective == "risk_cost":
            return Loss(objective.risk_cost(shares, returns))
        by_name: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
            "original": objective.original_loss, "relative_return": objective.relative_return,
            "opportunity_cost": objective.opportunity_cost,
        }
        return Loss(by_name[self._plan.objective](shares, returns, regimes))

    def validate(self, network: nn.Module, moment: Moment) -> dict[str, float]:
        """Return what the served policy earns after costs over contiguous paths, beside simple ones and itself on
        features in a random order, and how far serving is from what was trained."""
        assert isinstance(network, PositionHead)
        served, trained, disordered, returns = [], [], [], []
        order = torch.Generator().manual_seed(0)
        for path in self.paths:
            rows = torch.from_numpy(path).to(self._features.device)
            features = self._features[rows][None]
            served.append(network.replay(features, self._serving)[0].cpu())
            anyhow = torch.randperm(len(rows), generator=order).to(rows.device)
            disordered.append(network.replay(features[:, anyhow], self._serving)[0].cpu())
            trained.append(network.unroll(features, self._serving.temperature).shares[0].cpu())
            returns.append(self._returns[rows].cpu())
        metrics = self.judged(served, returns)
        expected = self.judged(trained, returns)
        gap = float(torch.cat([(one - other).abs() for one, other in zip(served, trained, strict=True)]).mean())
        return {
            **metrics, "gap": gap, "sharpe_expectation": expected["sharpe"],
            "sharpe_shuffled": self.judged(disordered, returns)["sharpe"],
            **{f"sharpe_{name}": self.judged(shares, returns)["sharpe"] for name, shares in simple(returns).items()},
        }

    def judged(self, shares: Sequence[Tensor], returns: Sequence[Tensor]) -> dict[str, float]:
        """Return Sharpe ratio (yearly, paths pooled), growth a year, deepest fall, turnover a bar and mean share."""
        pairs = zip(shares, returns, strict=True)
        nets = [objective.net_returns(share[None], came[None], self._plan.cost)[0] for share, came in pairs]
        net = torch.cat(nets).double()
        deviation = float(net.std())
        wealth = [objective.log_wealth(one[None]) for one in nets]
        return {
            "sharpe": float(net.mean()) / deviation * sqrt(self._bars_a_year) if deviation > 1e-12 else 0.0,
            "growth": float(torch.log1p(net.clamp_min(-0.999)).mean()) * self._bars_a_year,
            "drawdown": max(float(objective.drawdown(one)) for one in wealth),
            "turnover": float(torch.cat([one.diff().abs() for one in shares]).mean()),
            "share": float(torch.cat(list(shares)).mean()),
        }

    def export(self, network: nn.Module, folder: Path, facts: TrainingFacts) -> Artefact:
        """Write the artefact; it has seen what the network that it reads has."""
        assert isinstance(network, PositionHead)
        facts = facts.joined(TrainingFacts.of(self._artefact.card))
        return save_position_head(
            folder, network, self.names, self._serving, reads=self._artefact.hash, timeframe=self._panel.timeframe,
            validation={**facts.metrics, "cost": self._plan.cost}, source=facts.source,
            trained_from=facts.trained_from, trained_until=facts.trained_until, trained_on=facts.trained_on,
        )


def features_of(price: nn.Module, panel: Panel, rows: IntArray, lookback: int) -> Tensor:
    """Return what a position head reads at rows of a panel, float32 [N, F]."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(rows), _AT_ONCE):
            fed, _ = inputs(panel, rows[start : start + _AT_ONCE], lookback)
            parts.append(price.eval()(torch.from_numpy(fed)).features)
    return torch.cat(parts)


def simple(returns: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """Return the shares of policies that know little: all in; as much as makes volatility even; all in while the last
    twenty known returns rose."""

    def past(of: Tensor, figure: Callable[[FloatArray], FloatArray]) -> Tensor:
        known = np.concatenate([np.zeros(_REGIME_BARS + 1), of.numpy()[:-2]]) if len(of) > 2 else np.zeros(len(of))
        windows = np.lib.stride_tricks.sliding_window_view(known, _REGIME_BARS)[: len(of)]
        return torch.from_numpy(np.pad(figure(windows), (0, len(of) - len(windows))).astype(np.float32))

    target = max(float(torch.cat(list(returns)).std()), 1e-12)
    return {
        "hold": [torch.ones_like(one) for one in returns],
        "even_volatility": [
            past(one, lambda some: np.clip(target / np.maximum(some.std(axis=1), target / 4), 0, 1)) for one in returns
        ],
        "momentum": [past(one, lambda some: (some.sum(axis=1) > 0).astype(np.float64)) for one in returns],
    }
