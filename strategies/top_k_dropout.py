"""Hold the strongest names of a panel, and replace only a few at a time."""

from typing import Any

import numpy as np

from engine import Param, Rotation, SettingsError, Slice, Strategy


class TopKDropout(Strategy):
    """Hold the `n_hold` names that rose most over `lookback` bars, replacing at most `n_drop` at a time.

    Every `rebalance_every` bars, as Qlib's TopkDropoutStrategy; engine/rotation.py has the rule, and where it
    departs from Qlib's. A name without a bar now is neither ranked nor traded, but counts as held. What stays is left
    to drift.
    """

    n_hold: int = Param(10, ge=1, help="names to hold")
    n_drop: int = Param(2, ge=0, help="names replaced at most, each time")
    min_hold: int = Param(1, ge=1, help="bars a name is held at least")
    lookback: int = Param(20, ge=1, le=5000, help="bars over which the rise is measured")
    rebalance_every: int = Param(1, ge=1, help="bars from one look at the ranking to the next")
    exposure: float = Param(0.95, gt=0, le=1, help="share of the free cash that is spent")

    def on_start(self) -> None:
        if self.n_drop > self.n_hold:
            raise SettingsError(f"TopKDropout: n_drop is {self.n_drop}, n_hold {self.n_hold}; expected at most n_hold")
        self.timeframe = self.stream(self.symbols[0]).timeframe
        self.seen = 0  # bars
        self.rotation = Rotation(
            len(self.symbols), n_hold=self.n_hold, n_drop=self.n_drop, min_hold=self.min_hold, exposure=self.exposure
        )
        self.closes = np.full((self.lookback + 1, len(self.symbols)), np.nan)  # a ring: bar n in row n % (lookback + 1)

    def on_slice(self, slice: Slice) -> None:
        if slice.timeframe != self.timeframe:
            return
        size = len(self.closes)
        before, newest = self.closes[self.seen % size - 1], self.closes[self.seen % size]
        newest[:] = np.where(slice.present, slice.close, before)  # a name that pauses keeps its last close
        self.seen += 1
        if self.seen >= size and (self.seen - size) % self.rebalance_every == 0:
            rise = np.where(slice.present, newest / self.closes[self.seen % size], np.nan)
            self.rotation.replace(self, rise, slice.close, self.seen)

    def save_state(self) -> dict[str, Any]:
        closes = [[None if np.isnan(close) else close for close in row] for row in self.closes.tolist()]
        return {"seen": self.seen, "bought_at": self.rotation.bought_at.tolist(), "closes": closes}

    def load_state(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]
        self.rotation.bought_at = np.array(state["bought_at"])
        self.closes = np.array(state["closes"], dtype=np.float64)
