"""What a live market tells beside bars: trades, the book, funding. Times are UTC nanoseconds.

`time` is the venue's clock, `received_at` ours; prices are in quote currency, quantities in base asset (contracts'
quantities in base asset too).
"""

from typing import NamedTuple

Level = tuple[float, float]
"""Price, quantity."""


class Trade(NamedTuple):
    """A trade that the venue printed. `side` is the taker's, "buy" or "sell"; empty where the venue does not say."""

    symbol: str
    time: int
    received_at: int
    price: float
    quantity: float
    side: str
    id: str


class Book(NamedTuple):
    """The best levels of an order book at one moment, the best first; either side may be empty."""

    symbol: str
    time: int
    received_at: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    @property
    def mid(self) -> float | None:
        """Return the price half way between the best bid and the best ask; None where a side is empty."""
        return (self.bids[0][0] + self.asks[0][0]) / 2 if self.bids and self.asks else None


class FundingDue(NamedTuple):
    """A funding payment of a perpetual: longs pay `rate` of the position's worth at `mark_price`."""

    symbol: str
    time: int
    rate: float
    mark_price: float
