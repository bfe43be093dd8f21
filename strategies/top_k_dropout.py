"""Hold the strongest names of a panel, and replace only a few at a time."""

from typing import Any

import numpy as np

from engine import FloatArray, Param, SettingsError, Slice, Strategy


class TopKDropout(Strategy):
    """Hold the `n_hold` names that rose most over `lookback` bars, replacing at most `n_drop` at a time.

    Every `rebalance_every` bars, as Qlib's TopkDropoutStrategy: the holdings are ranked together with the best
    `n_drop + n_hold - held` of the other names. Holdings among the last `n_drop` of that list are sold, so none is sold
    for a weaker one; the best of the others take the free places. The cash then at hand, times `exposure`, is split
    equally over the purchases. What stays is left to drift.

    Apart from Qlib: a holding younger than `min_hold` bars keeps its place, and nothing is bought to replace it (Qlib
    would hold one name more); nothing is sold for which there is no replacement (Qlib would hold one name less). A name
    without a bar now is neither ranked nor traded, but counts as held.
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
        self.bought_at = np.full(len(self.symbols), -1)  # bars seen when a purchase was decided; -1: not held
        self.closes = np.full((self.lookback + 1, len(self.symbols)), np.nan)  # a ring: bar n in row n % (lookback + 1)

    def on_slice(self, slice: Slice) -> None:
        if slice.timeframe != self.timeframe:
            return
        size = len(self.closes)
        before, newest = self.closes[self.seen % size - 1], self.closes[self.seen % size]
        newest[:] = np.where(slice.present, slice.close, before)  # a name that pauses keeps its last close
        self.seen += 1
        if self.seen >= size and (self.seen - size) % self.rebalance_every == 0:
            self.rebalance(slice, np.where(slice.present, newest / self.closes[self.seen % size], np.nan))

    def rebalance(self, slice: Slice, score: FloatArray) -> None:
        names, waiting = self.symbols, {order.symbol for order in self.open_orders()}
        for place in np.flatnonzero(self.bought_at >= 0):
            if not self.position(names[place]) and names[place] not in waiting:
                self.bought_at[place] = -1  # sold meanwhile, or the purchase came to nothing
        is_held = self.bought_at >= 0
        held = int(np.count_nonzero(is_held))
        ranked = np.argsort(-score, kind="stable")[: np.count_nonzero(score == score)]  # the best first, no NaN
        others = ranked[~is_held[ranked]][: max(self.n_drop + self.n_hold - held, 0)]
        is_listed = is_held.copy()
        is_listed[others] = True
        listed = ranked[is_listed[ranked]]
        drops = min(self.n_drop, max(len(others) - (self.n_hold - held), 0))
        worst = listed[len(listed) - drops :]
        sold = worst[is_held[worst] & (self.seen - self.bought_at[worst] >= self.min_hold)]
        bought = others[: max(len(sold) + self.n_hold - held, 0)]
        cash = float(self.cash()) + sum(float(self.position(names[place])) * slice.close[place] for place in sold)
        for place in sold:
            self.target(names[place], 0.0, why="among the weakest")
        if len(bought) and cash > 0:
            share = min(self.exposure * cash / len(bought) / float(self.equity()), 1.0)
            for place in bought:
                self.target(names[place], share, rebalance=True, why="among the strongest")
            self.bought_at[bought] = self.seen

    def save_state(self) -> dict[str, Any]:
        closes = [[None if np.isnan(close) else close for close in row] for row in self.closes.tolist()]
        return {"seen": self.seen, "bought_at": self.bought_at.tolist(), "closes": closes}

    def load_state(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]
        self.bought_at = np.array(state["bought_at"])
        self.closes = np.array(state["closes"], dtype=np.float64)
