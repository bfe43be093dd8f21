"""The tutorial's rule, decided for all bars at once: the same trades as sma_cross.py, an order of magnitude sooner."""

import numpy as np

from engine import Bars, FloatArray, Param, SettingsError, Strategy, compute


class SmaCrossTargets(Strategy):
    """Hold when the fast average is above the slow one, else stand aside; vectorised.

    Makes the trades of `SmaCross`, to the last unit. Nothing here is called once a bar, so the engine can jump from
    one change of mind to the next.
    """

    fast: int = Param(20, ge=2, le=500, help="bars in the fast average")
    slow: int = Param(50, ge=3, le=1000, help="bars in the slow average, more than in the fast one")

    def on_start(self) -> None:
        if self.fast >= self.slow:
            raise SettingsError(f"SmaCrossTargets: fast is {self.fast}, slow {self.slow}; expected fast below slow")

    def targets(self, bars: Bars) -> FloatArray:
        fast = compute("SMA", bars.close, self.fast)
        slow = compute("SMA", bars.close, self.slow)
        exposure = np.where(fast > slow, 1.0, 0.0)
        exposure[np.isnan(slow)] = np.nan  # no opinion before the averages are warm
        return exposure
