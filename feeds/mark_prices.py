"""Mark prices from files of bars: what a venue reckons margins and funding by.

The files are those of bars (the klines of a venue's mark price, say), of any timeframe up to that of the run; volume is
not needed. A mark is known when its bar closes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.bars import Bars, FloatArray, IntArray
from engine.errors import DataError
from engine.margin import plain_symbol
from feeds.files import read_bars
from feeds.layout import FileLayout, names_in_path


class BarMarks:
    """Mark prices out of bars; an engine.interfaces.MarkPrices.

    Args:
        bars: of each symbol that has any, checked, in order of time.
    """

    def __init__(self, bars: Mapping[str, Bars]) -> None:
        self._bars = dict(bars)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that have mark prices."""
        return tuple(self._bars)

    def at(self, symbol: str, time: int) -> float | None:
        """Return the close of the last mark bar known at an instant; None if there is none."""
        bars = self._bars.get(symbol)
        if bars is None:
            return None
        place = int(np.searchsorted(bars.close_time, time, side="right")) - 1
        return float(bars.close[place]) if place >= 0 else None

    def within(self, symbol: str, open_time: int, close_time: int) -> tuple[float, float, float] | None:
        """Return the first open, the lowest low and the highest high of the mark bars that lie in a span; None if none
        does."""
        bars = self._bars.get(symbol)
        if bars is None:
            return None
        first = int(np.searchsorted(bars.open_time, open_time))
        last = int(np.searchsorted(bars.close_time, close_time, side="right"))
        if first >= last:
            return None
        return float(bars.open[first]), float(bars.low[first:last].min()), float(bars.high[first:last].max())

    def column(self, symbol: str, times: IntArray) -> FloatArray | None:
        """Return the price known last at each instant, NaN before the first; None if the symbol has none."""
        bars = self._bars.get(symbol)
        if bars is None:
            return None
        places = np.searchsorted(bars.close_time, times, side="right") - 1
        return np.where(places >= 0, bars.close[np.maximum(places, 0)], np.nan)


def read_marks(files: Sequence[Path], symbols: Sequence[str]) -> BarMarks:
    """Return the mark prices of the symbols that files are named for; one file and one symbol belong together.

    Raises:
        DataError: no file is of any of the symbols, or one cannot be read.
    """
    layout = FileLayout(has_volume=False)
    if len(files) == 1 and len(symbols) == 1:
        return BarMarks({symbols[0]: read_bars(files[0], symbol=symbols[0], layout=layout)})
    named: dict[str, list[Path]] = {}
    for file in files:
        named.setdefault(_symbol_in_name(file), []).append(file)
    own = {symbol: named[plain_symbol(symbol)] for symbol in symbols if plain_symbol(symbol) in named}
    if not own:
        known = ", ".join(sorted(named)[:8]) or "none"
        raise DataError(
            f"there are no mark prices of {', '.join(symbols)}; found files of {known}; add one named for "
            f"{plain_symbol(symbols[0])}"
        )
    return BarMarks({symbol: read_bars(paths, symbol=symbol, layout=layout) for symbol, paths in own.items()})


def _symbol_in_name(path: Path) -> str:
    name = names_in_path(str(path))[0]
    for word in ("-markPriceKlines", "-mark", "_mark", "_markPrice"):
        name = name.removesuffix(word)
    return plain_symbol(name)
