"""Chance on the simulated exchange: each draw depends on the seed and on what it is for, never on earlier draws."""

from zlib import crc32

import numpy as np

from engine.bars import Bar
from engine.orders import Order
from engine.semantics import Switches


class Chance:
    """Draws for `limit_touch="probability"` and `path="random"`."""

    def __init__(self, switches: Switches) -> None:
        self._seed = switches.seed
        self._probability = switches.touch_probability if switches.limit_touch == "probability" else None

    def is_lucky(self, order: Order, bar: Bar) -> bool:
        """Return whether a limit order fills in a bar that only touches its price."""
        return self._probability is not None and self._draw(bar, order.number) < self._probability

    def rises_first(self, bar: Bar) -> bool:
        """Toss a coin for a bar: whether its high came before its low."""
        return self._draw(bar, 0) < 0.5

    def _draw(self, bar: Bar, salt: int) -> float:
        """Return a number in [0, 1) that no other symbol has a say in."""
        return float(np.random.default_rng((self._seed, crc32(bar.symbol.encode()), bar.close_time, salt)).random())
