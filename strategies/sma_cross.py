"""The tutorial: hold while the fast average of the closes is above the slow one."""

from engine import Bar, Param, SettingsError, Strategy


class SmaCross(Strategy):
    """Hold when the fast average is above the slow one, else stand aside.

    The oldest trend rule there is: be in while prices run ahead of their own past, be out while they lag behind it. It
    gives money away in sideways markets and earns it back, if at all, in long moves. One symbol, long only.
    """

    fast: int = Param(20, ge=2, le=500, help="bars in the fast average")
    slow: int = Param(50, ge=3, le=1000, help="bars in the slow average, more than in the fast one")

    def on_start(self) -> None:
        if self.fast >= self.slow:
            raise SettingsError(f"SmaCross: fast is {self.fast}, slow {self.slow}; expected fast below slow")
        self.fast_line = self.indicator("SMA", "close", self.fast)
        self.slow_line = self.indicator("SMA", "close", self.slow)

    def on_bar(self, bar: Bar) -> None:
        if self.fast_line[-1] > self.slow_line[-1]:
            self.target(bar.symbol, 1.0, why="fast above slow")
        else:
            self.target(bar.symbol, 0.0, why="fast below slow")
