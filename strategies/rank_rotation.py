"""Hold the names that a model ranks highest, and replace only a few at a time."""

from typing import Any

import numpy as np

from engine import ForecastPanel, Param, Rotation, SettingsError, Strategy


class RankRotation(Strategy):
    """Hold the `n_hold` names that a model scores highest, replacing at most `n_drop` at each ranking.

    The rule is that of TopKDropout (see engine/rotation.py); here a model ranks, and `min_hold` counts rankings. A
    name without a forecast at an instant, for want of bars or because the model answered nonsense, keeps its place.
    Where targets follow the model's skill, holdings are resized when the factor changes, at the next ranking.
    """

    model: str = Param("krnn", help="which model, by its name in the settings; of any kind that ranks")
    every: str = Param("bar", help='how often names are ranked: "bar", or a timeframe such as 1d')
    n_hold: int = Param(10, ge=1, help="names to hold")
    n_drop: int = Param(2, ge=0, help="names replaced at most, each time")
    min_hold: int = Param(1, ge=1, help="rankings that a name is held at least")
    fewest: int = Param(2, ge=1, help="names with a score, below which nothing is traded")
    exposure: float = Param(0.95, gt=0, le=1, help="share of the free cash that is spent")

    def on_start(self) -> None:
        if self.n_drop > self.n_hold:
            raise SettingsError(f"RankRotation: n_drop is {self.n_drop}, n_hold {self.n_hold}; expected at most n_hold")
        self.source = self.forecasts(self.model, every=self.every)
        self.seen = 0  # rankings
        self.rotation = Rotation(
            len(self.symbols), n_hold=self.n_hold, n_drop=self.n_drop, min_hold=self.min_hold, exposure=self.exposure
        )

    def on_forecasts(self, panel: ForecastPanel) -> None:
        if len(panel) < self.fewest:
            return
        score, close = np.full((2, len(self.symbols)), np.nan)
        for forecast in panel:
            place = self.symbols.index(forecast.symbol)
            score[place], close[place] = forecast.strength, self.price(forecast.symbol)
        self.seen += 1
        self.rotation.replace(self, score, close, self.seen, f" by {panel.model}", self.source.scale)

    def save_state(self) -> dict[str, Any]:
        return {"seen": self.seen, "bought_at": self.rotation.bought_at.tolist(), "factor": self.rotation.factor}

    def load_state(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]
        self.rotation.bought_at = np.array(state["bought_at"])
        self.rotation.factor = state.get("factor", 1.0)
