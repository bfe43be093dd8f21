"""The baseline: what everything else has to beat."""

from engine import Bar, Param, Strategy


class BuyAndHold(Strategy):
    """Buy at the first bar and never sell.

    The money is shared out equally over the symbols of the run, each bought when it trades for the first time and left
    alone from then on. If your strategy does not do better than this after costs, it is not worth running.
    """

    exposure: float = Param(1.0, gt=0, le=1, help="share of equity to put to work, over all symbols")

    def on_start(self) -> None:
        self.share = self.exposure / len(self.symbols)

    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, self.share, why="buy and hold")
