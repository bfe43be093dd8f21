"""Trade when a forecast promises more than trading costs."""

from typing import Any

import numpy as np

from engine import Forecast, Param, SettingsError, Strategy, Timer

KINDS = {"return": ("return", "quantiles", "paths"), "probability": ("probability", "quantiles", "paths")}


class ForecastThreshold(Strategy):
    """Go with a forecast whose return, or whose chance of one, beats the costs of going in and out.

    By "return": the log return expected at the horizon's end lies beyond `cost + edge`. By "probability": the chance of
    a return beyond `cost` is `least` or more; of a model that gives chances alone, its "up". A position is held until a
    forecast says the opposite, or the horizon of the last one that spoke for it is over. Symbols share equally.
    """

    model: str = Param("kronos", help="which model, by its name in the settings")
    every: str = Param("bar", help='how often it is asked: "bar", or a timeframe such as 4h')
    by: str = Param("return", choices=("return", "probability"), help="what must beat the costs")
    cost: float = Param(0.003, ge=0, lt=0.2, help="of a round trip: fees, spread and slippage, as a fraction of price")
    edge: float = Param(0.0, ge=0, lt=1, help='return beyond the cost, by "return"')
    least: float = Param(0.6, gt=0.5, le=1, help='chance, by "probability"')
    short: bool = Param(False, help="whether to sell short on the opposite; else it is a reason to leave")
    exposure: float = Param(1.0, gt=0, le=1, help="share of equity, of all symbols together")

    def on_start(self) -> None:
        self.source = self.forecasts(self.model, every=self.every)
        spec = self.source.spec
        if spec.kind not in KINDS[self.by] or (spec.kind == "probability" and "up" not in spec.outputs):
            raise SettingsError(
                f"ForecastThreshold: {self.model} gives {spec.kind} {', '.join(spec.outputs)}, and trading is by "
                f'{self.by!r}; expected one of {", ".join(KINDS[self.by])} (a probability named "up")'
            )
        self.share = self.exposure / len(self.source.symbols)
        self.until: dict[str, int] = {}  # when the last horizon that spoke for a position ends

    def on_forecast(self, forecast: Forecast) -> None:
        symbol, (side, why) = forecast.symbol, self.opinion(forecast)
        if not side or forecast.horizon_end <= self.now:  # it came too late to say anything
            return
        wanted = side if side > 0 or self.short else 0
        self.target(symbol, wanted * self.share, why, forecast=forecast)
        if not wanted:
            self.until.pop(symbol, None)
            return
        if symbol not in self.until:
            self.set_timer(symbol, at=forecast.horizon_end)
        self.until[symbol] = forecast.horizon_end

    def on_timer(self, timer: Timer) -> None:
        until = self.until.get(timer.name, 0)
        if until > self.now:
            self.set_timer(timer.name, at=until)
        elif until:
            del self.until[timer.name]
            self.target(timer.name, 0.0, "the horizon is over")

    def opinion(self, forecast: Forecast) -> tuple[int, str]:
        """Return 1 for a rise beyond the costs, −1 for a fall, 0 for neither; and why."""
        if self.by == "return":
            expected = forecast.quantile(0.5) if forecast.spec.kind == "quantiles" else forecast.expected_return
            side = int(expected > self.cost + self.edge) - int(expected < -self.cost - self.edge)
            return side, f"return {expected:+.2%} against {self.cost + self.edge:.2%}"
        up, down = self.chances(forecast)
        return int(up >= self.least) - int(down >= self.least), f"chance of a rise {up:.0%}, of a fall {down:.0%}"

    def chances(self, forecast: Forecast) -> tuple[float, float]:
        """Return the chances that the return at the horizon's end is above the cost, and below minus the cost."""
        if forecast.spec.kind == "probability":
            return forecast["up"], 1 - forecast["up"]
        if forecast.spec.kind == "paths":
            return float((forecast.path_returns > self.cost).mean()), float((forecast.path_returns < -self.cost).mean())
        below = np.interp((-self.cost, self.cost), forecast.values[-1], forecast.spec.levels, left=0, right=1)
        return float(1 - below[1]), float(below[0])

    def save_state(self) -> dict[str, Any]:
        return {"until": self.until}

    def load_state(self, state: dict[str, Any]) -> None:
        self.until = state["until"]
