"""Let a network with a memory decide what to hold, out of what another network makes of the bars."""

from typing import Any

import numpy as np

from engine import ForecastPanel, Param, SettingsError, Strategy, Timeframe


class PositionHeadStrategy(Strategy):
    """Hold the share of equity that a position head wishes for.

    A model (PriceTransformer) turns the bars of each symbol into outputs; the head, a recurrent policy, reads them
    together with the position that is in fact held, not the one it wished for, and wishes for a share. It remembers
    each symbol by itself, and what it remembers is saved with the strategy. All symbols of an instant are one batch.
    Several symbols share the exposure equally.
    """

    model: str = Param("price", help="which model makes the head's inputs, by its name in the settings")
    head: str = Param("head", help="which position head, by its name in the settings")
    every: str = Param("bar", help='how often it is asked: "bar", or a timeframe such as 4h')
    exposure: float = Param(1.0, gt=0, le=1, help="share of equity at most, of all symbols together")

    def on_start(self) -> None:
        self.source = self.forecasts(self.model, every=self.every)
        self.decides = self.policy(self.head)
        outputs, inputs = self.source.spec.outputs, self.decides.spec.inputs
        missing = [name for name in inputs if name not in outputs]
        if missing:
            raise SettingsError(
                f"PositionHeadStrategy: {self.head} reads {len(inputs)} inputs, and {self.model} has no output "
                f"{missing[0]!r}; expected the model that the head was trained on"
            )
        reads, given = self.decides.spec.reads, self.source.spec.artefact
        if reads and reads != given:
            raise SettingsError(
                f"PositionHeadStrategy: {self.head} was trained on the artefact {reads[:12]}, and {self.model} is "
                f"{given[:12] or 'none'}; outputs of the same names mean another thing there: name the artefact that "
                "position.price named, or train the head again on this one"
            )
        self.columns = [outputs.index(name) for name in inputs]
        self.interval = Timeframe.parse(self.source.spec.timeframe if self.every == "bar" else self.every).duration
        self.share = self.exposure / len(self.source.symbols)
        self.memories: dict[str, Any] = {}

    def on_forecasts(self, panel: ForecastPanel) -> None:
        wholes = [self.quantity_for_exposure(forecast.symbol, self.share) for forecast in panel]
        asked = [(forecast, whole) for forecast, whole in zip(panel, wholes, strict=True) if whole > 0]
        if not asked:
            return  # nothing is left to trade with
        held = np.array([float(self.position(forecast.symbol)) / whole for forecast, whole in asked])
        features = np.stack([forecast.values[self.columns] for forecast, _ in asked])
        before = [self.memories.get(forecast.symbol) for forecast, _ in asked]
        names = [forecast.symbol for forecast, _ in asked]
        step = self.decides.step(features, before, held, panel.as_of, self.interval, names)
        for place, (forecast, _) in enumerate(asked):
            if step.faults and step.faults[place]:
                continue  # nothing was said: what is held and remembered stays; the run's record has an alert
            self.memories[forecast.symbol] = step.memories[place]
            wish = float(step.shares[place])
            if wish != held[place]:
                why = f"{self.head} wishes for {wish:.2f} and holds {held[place]:.2f}"
                why += ", its memory begun anew after a gap" if step.restarted[place] else ""
                self.target(forecast.symbol, wish * self.share, why, rebalance=True, forecast=forecast)

    def save_state(self) -> dict[str, Any]:
        return {"memories": self.memories}

    def load_state(self, state: dict[str, Any]) -> None:
        self.memories = state["memories"]
