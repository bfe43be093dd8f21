"""The baseline that paths and quantiles are scored against, as a forecaster: a cone as wide as volatility says."""

import numpy as np

from engine.forecasts import ForecastKind, Forecasts, ForecastSpec, Windows

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
WIDTHS = np.array([-1.645, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.645])
"""The same levels of the standard normal distribution."""


class VolatilityCone:
    """Quantiles of log returns. The median gives back a share of the last half day: a bet that hours are reverted."""

    def __init__(self, horizon: int = 24, reversion: float = 0.25, trained_until: int = 0) -> None:
        self.reversion = reversion
        self.spec = ForecastSpec(
            name="cone", kind=ForecastKind.QUANTILES, timeframe="1h", lookback=48, horizon=horizon, inputs=("close",),
            levels=LEVELS, model_hash=f"volatility cone 1, {reversion}", trained_from=0, trained_until=trained_until,
            is_deterministic=True,
        )

    def forecast(self, windows: Windows) -> Forecasts:
        closes = np.log(windows.values[:, :, 0].astype(np.float64))    # [N, lookback]
        width = np.diff(closes, axis=1).std(axis=1)
        steps = np.arange(1, self.spec.horizon + 1)
        middle = -self.reversion * (closes[:, -1] - closes[:, -13])[:, None] * np.minimum(steps / 12, 1)   # [N, H]
        spread = (width[:, None] * np.sqrt(steps))[..., None] * WIDTHS                                     # [N, H, Q]
        return Forecasts((middle[..., None] + spread).astype(np.float32))
