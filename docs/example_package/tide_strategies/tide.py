"""Tide: hold in a slow upward move."""

from engine import Bar, Param, Strategy


class Tide(Strategy):
    """Hold while the close lies above where it was `bars` bars ago."""

    bars: int = Param(60, ge=2, le=2000, help="bars to look back")

    def on_start(self) -> None:
        """Declare the line: the change of the close over so many bars."""
        self.change = self.indicator("MOM", "close", self.bars)

    def on_bar(self, bar: Bar) -> None:
        """Hold after a rise, stand aside after a fall."""
        is_rising = self.change[-1] > 0
        self.target(bar.symbol, float(is_rising), why="risen" if is_rising else "fallen")
