"""A ring that keeps the last rows of features of each symbol, for forecasts bar by bar."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engine.bars import FloatArray
from engine.errors import PluginError, nearest_name


class FeatureRing:
    """The last rows of features of each symbol, always at hand as one piece.

    Every row is written twice, T apart, so that the last T rows are one slice wherever the ring stands.

    Args:
        symbols: names; lookback: T, rows of a window; features: F, columns.
    """

    def __init__(self, symbols: Sequence[str], lookback: int, features: int) -> None:
        self._place = {symbol: place for place, symbol in enumerate(symbols)}
        self._lookback = lookback
        self._rows = torch.zeros(len(self._place), 2 * lookback, features)
        self._seen = [0] * len(self._place)

    def push(self, symbol: str, row: Tensor | FloatArray) -> None:
        """Take a closed bar's features, [F].

        Raises:
            PluginError: the symbol is not one of the ring's.
        """
        place = self._of(symbol)
        at = self._seen[place] % self._lookback
        values = torch.from_numpy(row) if isinstance(row, np.ndarray) else row
        self._rows[place, at] = values
        self._rows[place, at + self._lookback] = values
        self._seen[place] += 1

    def is_ready(self, symbol: str) -> bool:
        """Return whether a symbol has a whole window."""
        return self._seen[self._of(symbol)] >= self._lookback

    def window(self, symbol: str) -> Tensor:
        """Return the last T rows of a symbol, oldest first, float32 [T, F]: a view, good until the next push.

        Raises:
            PluginError: there are not enough rows yet.
        """
        place = self._of(symbol)
        seen = self._seen[place]
        if seen < self._lookback:
            raise PluginError(f"tft: {symbol} has {seen} bars; expected {self._lookback} before its first forecast")
        at = seen % self._lookback
        return self._rows[place, at : at + self._lookback]

    def windows(self, symbols: Sequence[str]) -> Tensor:
        """Return the last T rows of several symbols, float32 [N, T, F]; a view for one, else a copy.

        Raises:
            PluginError: as `window`.
        """
        if len(symbols) == 1:
            return self.window(symbols[0])[None]
        return torch.stack([self.window(symbol) for symbol in symbols])

    def _of(self, symbol: str) -> int:
        if symbol not in self._place:
            raise PluginError(f"tft: the ring has no {symbol!r}{nearest_name(symbol, list(self._place))}")
        return self._place[symbol]
