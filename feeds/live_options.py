"""How a live feed behaves: times in UTC nanoseconds, as everywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from engine.bars import SECOND


@dataclass(frozen=True)
class FeedOptions:
    """How patient a feed is.

    Args:
        history: bars of each stream before the first decision.
        grace: after a close until the venue's answers are believed to have the whole candle.
        deadline: how long a silent symbol holds up the others.
        lag: after a close from which on bars are told to come late.
        stale_after: silence after which the venue is asked whether it still lives.
        skew: difference between our clock and the venue's that is told.
        clock_every, markets_every: how often the venue's clock is looked at, and its list of markets.
        tick: how often the feed looks whether something is due.
    """

    history: int = 500
    grace: int = 2 * SECOND
    deadline: int = 5 * SECOND
    lag: int = 5 * SECOND
    stale_after: int = 30 * SECOND
    skew: int = SECOND
    clock_every: int = 60 * SECOND
    markets_every: int = 3_600 * SECOND
    tick: int = SECOND // 4


@dataclass(frozen=True)
class VenuePlan:
    """What is wanted of one venue.

    Args:
        make_exchange: returns a new ccxt.pro exchange, for public data.
        symbols: as the venue's ccxt has them, in feed order.
        timeframes: the lengths of the bars of each symbol.
        prefix: put before each symbol to name it here, where several venues trade one symbol.
        bars_from: whose candles are believed: the venue's, or those built from its trades.
        fills_empty: a bar in which nothing traded, and which the venue leaves out, is made of the last close.
        at_once: questions under way at one time.
        chunk: symbols in one subscription; what the venue takes if 0.
        book_levels: of each side of a book.
    """

    make_exchange: Callable[[], Any]
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]
    prefix: str = ""
    bars_from: Literal["candles", "trades"] = "candles"
    fills_empty: bool = False
    at_once: int = 4
    chunk: int = 0
    book_levels: int = 20


CHUNKS = {"binance": 200, "binanceus": 200, "okx": 100, "bybit": 10, "kraken": 50}
"""Symbols in one subscription: what the venues' documents allow, with room to spare."""
ANY_CHUNK = 30
