"""A made-up market, for demonstrations, tests and measurements. No real prices are in it.

What it has of real ones, and where the shape comes from:

- Regimes: a Markov chain of calm, trending (up or down) and stressed states, each with its own drift and volatility.
- Volatility clustering: log volatility is the sum of a fast and a slow autoregression (stochastic volatility; the
  vectorisable cousin of GARCH, same slow decay of the autocorrelation of |returns|).
- Intraday seasonality of volatility and volume: two humps, at the European and the American opening hours, in UTC.
- Jumps: rare, double-exponential, with a burst of volume.
- Correlation: each symbol loads on one common factor, which has its own regimes and jumps.
- Highs and lows are those of a Brownian bridge between open and close (exact for one side: H = (r + sqrt(r² − 2σ² ln U)) / 2).
- Prices lie on a price increment, volumes on a quantity increment.

Same seed, same bytes: on one machine in any process, and for any chunk size. A symbol's bars depend on the seed, its name and the bar's
place counted from the start; not on the symbols beside it, nor on how many bars are asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from zlib import crc32

import numpy as np

from engine.bars import DAY, MINUTE, Bars, FloatArray, IntArray, Stream, Timeframe, nanoseconds
from engine.errors import SettingsError
from feeds.chunks import CHUNK_ROWS, check_chunk_rows, check_field, place_of, rechunk
from feeds.fingerprints import digests_of_chunks, fingerprint

_BLOCK = 16_384
"""Bars of one symbol that are drawn at a time. Part of what a seed means: with another number, other prices."""
_YEAR = 365.0 * DAY


@dataclass(frozen=True)
class SyntheticMarket:
    """What the made-up market is like.

    Args:
        symbols: names; timeframe: of every bar; rows: bars of each symbol; start: when the first opens.
        seed: 0 or more.
        volatility: typical yearly standard deviation of log returns, a fraction (0.6 is 60 %).
        drift: yearly log return, on average.
        correlation: between the returns of two symbols, 0 to 1.
        jumps_per_day: expected of each symbol, and half as many of all together.
        first_price: in quote currency; None takes one between 10 and 1000 from the symbol's name.
        price_increment, quantity_increment: the steps of prices and volumes.
        daily_volume: typical turnover of a day, in quote currency.
    Raises:
        SettingsError: a value is out of range.
    """

    symbols: tuple[str, ...] = ("SYN/USDT",)
    timeframe: str = "1m"
    rows: int = 100_000
    start: datetime = field(default=datetime(2024, 1, 1, tzinfo=UTC))
    seed: int = 0
    volatility: float = 0.6
    drift: float = 0.0
    correlation: float = 0.5
    jumps_per_day: float = 0.5
    first_price: float | None = None
    price_increment: Decimal = Decimal("0.01")
    quantity_increment: Decimal = Decimal("0.0001")
    daily_volume: float = 50_000_000.0

    def __post_init__(self) -> None:
        checks = {
            "symbols": (self.symbols, len(self.symbols) > 0 and len(set(self.symbols)) == len(self.symbols), "one or more different names"),
            "rows": (self.rows, self.rows >= 1, "1 or more"),
            "seed": (self.seed, self.seed >= 0, "0 or more"),
            "volatility": (self.volatility, 0 < self.volatility <= 10, "a yearly fraction above 0, up to 10 (0.6 is 60 %)"),
            "drift": (self.drift, abs(self.drift) <= 10, "a yearly log return between -10 and 10"),
            "correlation": (self.correlation, 0 <= self.correlation < 1, "0 or more and below 1"),
            "jumps_per_day": (self.jumps_per_day, 0 <= self.jumps_per_day <= 100, "0 to 100"),
            "first_price": (self.first_price, self.first_price is None or self.first_price > 0, "a price above 0"),
            "price_increment": (self.price_increment, self.price_increment > 0, "a number above 0"),
            "quantity_increment": (self.quantity_increment, self.quantity_increment > 0, "a number above 0"),
            "daily_volume": (self.daily_volume, self.daily_volume > 0, "a turnover above 0"),
        }
        for name, (value, is_right, expected) in checks.items():
            if not is_right:
                raise SettingsError(f"synthetic market: {name} is {value}; expected {expected}")
        Timeframe.parse(self.timeframe)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """One stream for each symbol."""
        return tuple(Stream(symbol, self.timeframe) for symbol in self.symbols)
