"""The live order book of one symbol, and what our own fills have taken of it. Prices in ticks, quantities in lots.

Our fills are not real, so the venue's book goes on showing what they took. It is remembered level by level, and stays
taken until the level is gone; a level that shrinks below what we took of it has nothing left for us.
"""

from collections.abc import Sequence
from typing import NamedTuple

from engine.instruments import Instrument
from engine.live.market import Book
from engine.orders import Side


class Slice(NamedTuple):
    """So many lots at one price, and at which price they would have been had we never taken anything."""

    ticks: int
    lots: int
    untouched: float


class LiveBook:
    """What is known of a symbol's book."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._levels: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
        """What the venue shows: bids under BUY, asks under SELL, the best first."""
        self._taken: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
        self.received_at: int | None = None

    def update(self, book: Book, now: int) -> None:
        """Take a newer book; what was taken of levels that are gone is forgotten."""
        self.received_at = now
        for side, levels in ((Side.BUY, book.bids), (Side.SELL, book.asks)):
            shown: dict[int, int] = {}
            for price, quantity in levels:
                ticks = self._instrument.to_ticks(price)
                shown[ticks] = shown.get(ticks, 0) + self._lots(quantity)
            self._levels[side] = shown
            taken = self._taken[side]
            for ticks in tuple(taken):
                left = self.shown(side, ticks)
                if left is not None:
                    taken[ticks] = min(taken[ticks], left)
                    if not taken[ticks]:
                        del taken[ticks]

    def best(self, side: Side) -> int | None:
        """Return the best price of a side; None if it is empty."""
        return next(iter(self._levels[side]), None)

    def mid(self) -> float | None:
        """Return the price half way between the best bid and the best ask, in ticks; None where a side is empty."""
        bid, ask = self.best(Side.BUY), self.best(Side.SELL)
        return None if bid is None or ask is None else (bid + ask) / 2

    def shown(self, side: Side, ticks: int) -> int | None:
        """Return what the venue shows at a price; None beyond the last level that it tells of."""
        levels = self._levels[side]
        if not levels:
            return None
        if ticks in levels:
            return levels[ticks]
        worst = next(reversed(levels))
        return 0 if (ticks - worst) * side > 0 else None

    def available(self, side: Side, limit: int | None = None) -> int:
        """Return what an order of `side` could take now, up to its limit."""
        return sum(lots for _, lots in self._free(side, limit))

    def take(self, side: Side, lots: int, limit: int | None = None) -> Sequence[Slice]:
        """Take up to so many lots for an order of `side`, the best first, none worse than its limit; remember it."""
        opposite = side.opposite
        untouched = [
            (ticks, shown) for ticks, shown in self._levels[opposite].items() if shown and _within(ticks, limit, side)
        ]
        slices: list[Slice] = []
        place = passed = 0
        for ticks, free in self._free(side, limit):
            taking = min(free, lots)
            if not taking:
                break
            lots -= taking
            taken = self._taken[opposite]
            taken[ticks] = taken.get(ticks, 0) + taking
            worth, left = 0, taking
            while left:  # where these lots would have been in a book that we never touched
                here = min(left, untouched[place][1] - passed)
                worth += here * untouched[place][0]
                left, passed = left - here, passed + here
                if passed == untouched[place][1]:
                    place, passed = place + 1, 0
            slices.append(Slice(ticks, taking, worth / taking))
        return slices

    def _free(self, side: Side, limit: int | None) -> list[tuple[int, int]]:
        taken = self._taken[side.opposite]
        return [
            (ticks, shown - taken.get(ticks, 0))
            for ticks, shown in self._levels[side.opposite].items()
            if shown > taken.get(ticks, 0) and _within(ticks, limit, side)
        ]

    def _lots(self, quantity: float) -> int:
        return self._instrument.to_lots(quantity / float(self._instrument.multiplier))


def _within(ticks: int, limit: int | None, side: Side) -> bool:
    return limit is None or (ticks - limit) * side <= 0
