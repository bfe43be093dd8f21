"""Hold what the sample paths of a forecast say grows wealth fastest, after costs."""

import numpy as np

from engine import FloatArray, Forecast, Param, SettingsError, Strategy


class KronosPaths(Strategy):
    """Hold the exposure that maximises expected log wealth over a forecast's sample paths, after costs.

    Each path is an outcome as likely as any other: wealth at the horizon's end is 1 + w·r − c·|w − held| − c·|w|, of
    the exposure w, the path's return r, and the cost c of trading now and of leaving then. What is held is one of the
    exposures weighed, so that nothing is traded for less than it costs. Few paths make bold exposures: `aversion`
    above 1 asks for more (2 holds about half of what 1 does). Several symbols share the exposure equally, each judged
    by itself.
    """

    model: str = Param("kronos", help="which model, by its name in the settings; of the kind paths")
    every: str = Param("bar", help='how often it is asked: "bar", or a timeframe such as 4h')
    cost: float = Param(0.0015, ge=0, lt=0.1, help="of one trade: fee, half the spread and slippage, a fraction")
    aversion: float = Param(2.0, ge=1, le=50, help="relative risk aversion: 1 is log wealth, more is more careful")
    short: bool = Param(False, help="whether to sell short")
    exposure: float = Param(1.0, gt=0, le=1, help="share of equity at most, of all symbols together")
    steps: int = Param(20, ge=1, le=200, help="exposures weighed from none to all")

    def on_start(self) -> None:
        self.source = self.forecasts(self.model, every=self.every)
        if self.source.spec.kind != "paths":
            raise SettingsError(f"KronosPaths: {self.model} gives {self.source.spec.kind}; expected a model of paths")
        self.share = self.exposure / len(self.source.symbols)

    def on_forecast(self, forecast: Forecast) -> None:
        symbol, returns = forecast.symbol, np.expm1(forecast.path_returns)
        whole = self.quantity_for_exposure(symbol, self.share)
        if whole <= 0:
            return  # nothing is left to trade with
        held = float(self.position(symbol)) / whole
        grid = np.linspace(-1 if self.short else 0, 1, self.steps * (1 + self.short) + 1)
        slack = 1 / self.steps  # how far drift may carry a position beyond the bounds
        grid = np.append(np.clip(held, grid[0] - slack, 1 + slack), grid)  # first: ties leave things as they are
        growth = self.growth(grid, returns, held)
        best = int(np.argmax(growth))
        if best or grid[0] != held:
            why = (
                f"{len(returns)} paths: mean {returns.mean():+.2%}, {(returns > 0).mean():.0%} rise; {grid[best]:.2f} "
                f"instead of {held:.2f} grows wealth by {growth[best] - growth[0]:.3%} more"
            )
            self.target(symbol, float(grid[best]) * self.share, why, rebalance=True, forecast=forecast)

    def growth(self, exposures: FloatArray, returns: FloatArray, held: float) -> FloatArray:
        """Return the log growth of wealth that is worth as much as each exposure's lottery, [exposures].

        Args:
            exposures: [E]; returns: simple ones of the paths, [S].
        """
        costs = self.cost * (np.abs(exposures - held) + np.abs(exposures))
        wealth = np.maximum(1 + exposures[:, None] * returns - costs[:, None], 1e-9)  # ruin, not the log of it
        power = 1 - self.aversion
        if not power:
            return np.asarray(np.log(wealth).mean(axis=1))
        return np.asarray(np.log((wealth**power).mean(axis=1)) / power)
