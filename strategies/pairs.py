"""Two symbols that move together: sell the dear one, buy the cheap one, wait."""

from math import log, sqrt
from typing import Any

import numpy as np

from engine import Param, SettingsError, Slice, Strategy


class Pairs(Strategy):
    """Trade the spread of two symbols back to its mean.

    Over the last `lookback` bars that both symbols have, the log price of the first is regressed on that of the second;
    the slope is the hedge ratio. When the residual of the current bar lies more than `entry` standard deviations from
    its mean, the first is bought and the second sold (or the other way round) in that ratio; at `leave` deviations, by
    default the mean itself, both are closed. Positions are left alone in between. Needs an account that may sell short.
    """

    first: str = Param("", help="symbol of the first leg; the run's first if empty")
    second: str = Param("", help="symbol of the second leg; the run's second if empty")
    lookback: int = Param(120, ge=10, le=5000, help="bars in the regression")
    entry: float = Param(2.0, gt=0, le=10, help="standard deviations at which to enter")
    leave: float = Param(0.0, ge=-5, le=5, help="standard deviations, on the side of entry, at which to leave")
    exposure: float = Param(1.0, gt=0, le=1, help="share of equity in both legs together")

    def on_start(self) -> None:
        legs = [self.first or self.symbols[0], self.second or self.symbols[min(1, len(self.symbols) - 1)]]
        if legs[0] == legs[1] or not set(legs) <= set(self.symbols):
            known = ", ".join(self.symbols)
            raise SettingsError(f"Pairs: cannot trade {legs[0]} against {legs[1]}; expected two of {known}")
        self.legs = [self.symbols.index(leg) for leg in legs]
        self.timeframe = self.stream(legs[0]).timeframe
        self.seen = 0  # bars that both legs had
        self.side = 0  # 1: long the first leg, -1: short it, 0: out
        self.logs = np.zeros((2, self.lookback))  # a ring of log closes

    def on_slice(self, slice: Slice) -> None:
        one, two = self.legs
        if slice.timeframe != self.timeframe or not (slice.present[one] and slice.present[two]):
            return
        now = self.seen % self.lookback
        self.logs[:, now] = log(slice.close[one]), log(slice.close[two])
        self.seen += 1
        if self.seen < self.lookback:
            return
        first, second = self.logs - self.logs.mean(axis=1, keepdims=True)
        ratio = float(first @ second) / (float(second @ second) or np.inf)
        residual = first - ratio * second
        deviation = sqrt(float(residual @ residual) / self.lookback)
        score = float(residual[now]) / deviation if deviation > 0 else 0.0
        if self.side == 0 and abs(score) > self.entry and ratio > 0:
            self.side = -1 if score > 0 else 1
            share = self.side * self.exposure / (1.0 + ratio)
            self.trade(share, -ratio * share, f"spread at {score:.2f} deviations, hedge ratio {ratio:.3f}")
        elif self.side != 0 and -self.side * score <= self.leave:
            self.side = 0
            self.trade(0.0, 0.0, f"spread back at {score:.2f} deviations")

    def trade(self, first: float, second: float, why: str) -> None:
        for leg, exposure in zip(self.legs, (first, second), strict=True):
            self.target(self.symbols[leg], exposure, why=why)

    def save_state(self) -> dict[str, Any]:
        return {"seen": self.seen, "side": self.side, "logs": self.logs.tolist()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.seen, self.side, self.logs = state["seen"], state["side"], np.array(state["logs"])
