"""Combine what a model says about several targets into one exposure."""

from engine import Forecast, Param, SettingsError, Strategy


class TftMulti(Strategy):
    """Weigh the chance of a trend, the expected return and the chance of a drawdown into one exposure.

        wish = trend_weight · (2 · P(trend) − 1) + return_weight · return / return_scale
        exposure = wish, limited to 0…1 (−1…1 if short), × (1 − drawdown_weight · P(drawdown))

    The return's part is limited to ±1 before it is weighed. Which output of the model is which, its names say; an empty
    name leaves a part out. Nothing is traded for a change smaller than `least_change`. Several symbols share the
    exposure equally.
    """

    model: str = Param("tft", help="which model, by its name in the settings; of named outputs")
    every: str = Param("bar", help='how often it is asked: "bar", or a timeframe such as 4h')
    trend: str = Param("up", help="the output that is the chance of a rise")
    expected: str = Param("return", help="the output that is the log return to the horizon's end")
    drawdown: str = Param("drawdown", help="the output that is the chance of a deep fall on the way")
    trend_weight: float = Param(0.5, ge=0, le=10, help="what a sure trend adds to the wish")
    return_weight: float = Param(0.5, ge=0, le=10, help="what a return of return_scale adds")
    drawdown_weight: float = Param(1.0, ge=0, le=1, help="how much a sure drawdown takes off: 1 takes all")
    return_scale: float = Param(0.01, gt=0, lt=10, help="log return that counts as much as a sure trend")
    least_change: float = Param(0.1, ge=0, le=2, help="of the exposure, below which nothing is traded")
    short: bool = Param(False, help="whether to sell short")
    largest: float = Param(1.0, gt=0, le=1, help="share of equity at most, of all symbols together")

    def on_start(self) -> None:
        self.source = self.forecasts(self.model, every=self.every)
        spec = self.source.spec
        asked = [name for name in (self.trend, self.expected, self.drawdown) if name]
        missing = [name for name in asked if name not in spec.outputs]
        if missing or not (self.trend or self.expected):
            what = f"has no output {missing[0]!r}" if missing else "is asked for neither a trend nor a return"
            known = ", ".join(spec.outputs) or f"none: it gives {spec.kind}"
            raise SettingsError(f"TftMulti: {self.model} {what}; its outputs are {known}")
        self.share = self.largest / len(self.source.symbols)

    def on_forecast(self, forecast: Forecast) -> None:
        symbol = forecast.symbol
        whole = self.quantity_for_exposure(symbol, self.share)
        if whole <= 0:
            return  # nothing is left to trade with
        held = float(self.position(symbol)) / whole
        wish, why = self.wish(forecast)
        is_leaving = wish == 0 and held != 0
        if is_leaving or abs(wish - held) > self.least_change:
            self.target(symbol, wish * self.share, f"{why}; held {held:.2f}", rebalance=True, forecast=forecast)

    def wish(self, forecast: Forecast) -> tuple[float, str]:
        """Return the exposure wished for, −1…1, and how it came about."""
        wish, parts = 0.0, []
        if self.trend:
            part = self.trend_weight * (2 * forecast[self.trend] - 1)
            wish += part
            parts.append(f"{self.trend} {forecast[self.trend]:.0%} → {part:+.2f}")
        if self.expected:
            part = self.return_weight * min(max(forecast[self.expected] / self.return_scale, -1.0), 1.0)
            wish += part
            parts.append(f"{self.expected} {forecast[self.expected]:+.2%} → {part:+.2f}")
        wish = min(max(wish, -1.0 if self.short else 0.0), 1.0)
        if self.drawdown:
            kept = 1 - self.drawdown_weight * forecast[self.drawdown]
            wish *= kept
            parts.append(f"{self.drawdown} {forecast[self.drawdown]:.0%} → × {kept:.2f}")
        return wish, f"{', '.join(parts)}: {wish:.2f}"
