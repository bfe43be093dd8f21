"""Hold the strongest names of a panel, and replace only a few at a time."""

from typing import Any

import numpy as np

from engine import Param, SettingsError, Slice, Strategy
from engine.bars import FloatArray, IntArray


class TopKDropout(Strategy):
    """Hold the `n_hold` names that rose most over `lookback` bars, changing at most `n_drop` of them at a time.

    Every `rebalance_every` bars, as Qlib's TopkDropoutStrategy: rank the holdings together with the best
    `n_drop + n_hold − held` other names. Holdings among the last `n_drop` of that list are sold, so that nothing is sold
    for something weaker; the best of the other names take the places that are free. The cash then at hand, times
    `exposure`, is split equally over what is bought; what stays is left to drift.

    Apart from Qlib: a name held for fewer than `min_hold` bars keeps its place and no replacement is bought for it
    (Qlib buys one more name). A name without a bar at this instant is neither ranked nor traded, but counts as held.
    """

    n_hold: int = Param(10, ge=1, help="names to hold")
    n_drop: int = Param(2, ge=0, help="names replaced at most, each time")
    min_hold: int = Param(1, ge=1, help="bars a name is held at least")
    lookback: int = Param(20, ge=1, le=5000, help="bars over which the rise is measured")
    rebalance_every: int = Param(1, ge=1, help="bars between two looks at the ranking")
    exposure: float = Param(0.95, gt=0, le=1, help="share of the free cash that is spent")

    def on_start(self) -> None:
        if self.n_drop > self.n_hold:
            raise SettingsError(f"TopKDropout: n_drop is {self.n_drop}, n_hold {self.n_hold}; expected no more drops than names")
        self.bars_seen = 0
        self.bought_at: dict[str, int] = {}  # name → bars seen when its purchase was decided
        self.closes: FloatArray | None = None  # ring [lookback + 1, symbols]; the row of bar n is n % (lookback + 1)

    def on_slice(self, slice: Slice) -> None:
        if self.closes is None:
            self.closes = np.full((self.lookback + 1, len(slice.symbols)), np.nan)
        size = len(self.closes)
        newest, oldest = self.closes[self.bars_seen % size], self.closes[(self.bars_seen + 1) % size]
        before = self.closes[(self.bars_seen - 1) % size]
        newest[:] = np.where(slice.present, slice.close, before)  # a name that pauses keeps its last close
        self.bars_seen += 1
        if self.bars_seen >= size and (self.bars_seen - size) % self.rebalance_every == 0:
            self.rebalance(slice, np.where(slice.present, newest / oldest - 1.0, np.nan))

    def rebalance(self, slice: Slice, score: FloatArray) -> None:
        ...

    def save_state(self) -> dict[str, Any]:
        closes = None if self.closes is None else [[None if np.isnan(x) else x for x in row] for row in self.closes.tolist()]
        return {"bars_seen": self.bars_seen, "bought_at": self.bought_at, "closes": closes}

    def load_state(self, state: dict[str, Any]) -> None:
        self.bars_seen, self.bought_at = state["bars_seen"], dict(state["bought_at"])
        self.closes = None if state["closes"] is None else np.array(state["closes"], dtype=np.float64)
