"""Which names to hold by a score, a few replaced at a time: the rule behind rotation strategies on a panel."""

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.strategy import Strategy


class Rotation:
    """The names held, and which of them give way to which, as Qlib's TopkDropoutStrategy.

    The holdings are ranked together with the best `n_drop + n_hold - held` of the other names. Holdings among the last
    `n_drop` of that list are sold, so none is sold for a weaker one; the best of the others take the free places. The
    cash then at hand, times `exposure`, is split equally over the purchases. What stays is left to drift.

    Apart from Qlib: a holding younger than `min_hold` keeps its place, and nothing is bought to replace it (Qlib would
    hold one name more); nothing is sold for which there is no replacement (Qlib would hold one name less). A name
    without a score is neither ranked nor traded, but counts as held.

    Where targets are scaled by what a model's skill allows, all is a part of the book that would be held without: when
    the factor changes, holdings are traded to their share of the new one, and purchases are paid from the cash that
    would then be at hand. As long as it is 1, it changes nothing.
    """

    def __init__(self, names: int, *, n_hold: int, n_drop: int, min_hold: int, exposure: float) -> None:
        self.n_hold, self.n_drop, self.min_hold, self.exposure = n_hold, n_drop, min_hold, exposure
        self.bought_at: IntArray = np.full(names, -1)  # by `seen`, below; -1: not held
        self.factor = 1.0  # that what is held was scaled by

    def replace(
        self, strategy: Strategy, score: FloatArray, close: FloatArray, seen: int, said: str = "", factor: float = 1.0
    ) -> None:
        """Sell and buy by a new ranking.

        Args:
            score: of each symbol, the highest first; NaN is not ranked. close: of each symbol that is held and ranked.
            seen: counts up from one ranking to the next, in the unit of `min_hold`.
            said: what the ranking is by, for the orders' reasons.
            factor: what the engine multiplies targets with by now.
        """
        names = strategy.symbols
        self._forget_what_is_gone(strategy)
        is_held = self.bought_at >= 0
        held = int(np.count_nonzero(is_held))
        ranked = np.argsort(-score, kind="stable")[: np.count_nonzero(score == score)]  # the best first, no NaN
        others = ranked[~is_held[ranked]][: max(self.n_drop + self.n_hold - held, 0)]
        is_listed = is_held.copy()
        is_listed[others] = True
        listed = ranked[is_listed[ranked]]
        drops = min(self.n_drop, max(len(others) - (self.n_hold - held), 0))
        worst = listed[len(listed) - drops :]
        sold = worst[is_held[worst] & (seen - self.bought_at[worst] >= self.min_hold)]
        bought = others[: max(len(sold) + self.n_hold - held, 0)]
        kept = np.setdiff1d(np.flatnonzero(is_held), sold)
        before, self.factor = self.factor, factor
        if not len(sold) and not len(bought) and factor == before:
            return
        cash = float(strategy.cash()) + sum(float(strategy.position(names[place])) * close[place] for place in sold)
        number_of = np.empty(len(score), np.int64)  # in the ranking, from 1
        number_of[ranked] = np.arange(1, len(ranked) + 1)
        for place in sold:
            why = f"among the weakest: {number_of[place]} of {len(ranked)}{said}"
            strategy.target(names[place], 0.0, why=why)
        if before != 1.0 or factor != before:
            cash -= self._resize(strategy, kept, before, factor, said)
        if len(bought) and cash > 0:
            share = min(self.exposure * cash / len(bought) / float(strategy.equity()), 1.0)
            for place in bought:
                why = f"among the strongest: {number_of[place]} of {len(ranked)}{said}"
                strategy.target(names[place], share, rebalance=True, why=why)
            self.bought_at[bought] = seen

    @staticmethod
    def _resize(strategy: Strategy, kept: IntArray, before: float, factor: float, said: str) -> float:
        """Trade holdings to their share of a new factor, if it is one; return how much cash they would take more if
        nothing were scaled."""
        more = 0.0
        equity = float(strategy.equity())
        for place in kept:
            name = strategy.symbols[place]
            value = float(strategy.position(name)) * strategy.price(name)
            if not value or not before:
                continue  # nothing is left to be scaled: the name is bought anew
            more += value / before - value
            if factor != before:
                share = min(value / before / equity, 1.0)
                why = f"kept{said}, resized: what its skill allows is × {factor:g} now and was × {before:g}"
                strategy.target(name, share, rebalance=True, why=why)
        return more

    def _forget_what_is_gone(self, strategy: Strategy) -> None:
        names, waiting = strategy.symbols, {order.symbol for order in strategy.open_orders()}
        for place in np.flatnonzero(self.bought_at >= 0):
            if not strategy.position(names[place]) and names[place] not in waiting:
                self.bought_at[place] = -1  # sold meanwhile, or the purchase came to nothing
