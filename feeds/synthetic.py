"""A made-up market, for demonstrations, tests and measurements. No real prices are in it.

What it has of real ones, and where the shape comes from:

- Regimes: a Markov chain of calm, trending (up or down) and stressed states, each with its own drift and volatility.
- Volatility clustering: log volatility is the sum of a fast and a slow autoregression (stochastic volatility; the
  vectorisable cousin of GARCH, same slow decay of the autocorrelation of |returns|).
- Intraday seasonality of volatility and volume: two humps, at the European and the American opening hours, in UTC.
- Jumps: rare, double-exponential, with a burst of volume.
- Correlation: each symbol loads on one common factor, which has its own regimes and jumps.
- Highs and lows are those of a Brownian bridge between open and close (exact for one side: H = (r + sqrt(r² − 2σ² ln
  U)) / 2).
- Prices lie on a price increment, volumes on a quantity increment.

Same seed, same bytes: on one machine in any process, and for any chunk size. A symbol's bars depend on the seed, its
name and the bar's place counted from the start; not on the symbols beside it, nor on how many bars are asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from math import exp, log, sqrt

import numpy as np

from engine.bars import DAY, HOUR, Bars, FloatArray, IntArray, Stream, Timeframe, nanoseconds
from engine.errors import SettingsError
from feeds.chunks import CHUNK_ROWS, check_chunk_rows, check_field, cut, join, place_of, rechunk
from feeds.fingerprints import digests_of_chunks, fingerprint

_BLOCK = 16_384
"""Bars of one symbol that are made at a time."""
_KEPT_ROWS = 2_000_000

_FAST_HALF_LIFE, _FAST_SPREAD = 0.1, 0.30
"""Days until a shock to log volatility has halved; standard deviation of that part."""
_SLOW_HALF_LIFE, _SLOW_SPREAD = 6.0, 0.40
_TREND = 0.6
"""Drift of a day in a trend, in standard deviations of a day."""
_JUMP_SIZE = 0.4
"""Mean size of a jump, in standard deviations of a day."""
_VOLUME_SPREAD = 0.6
_HUMPS_ROOT_MEAN_SQUARE = 0.963


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
            "symbols": (
                self.symbols,
                len(self.symbols) > 0 and len(set(self.symbols)) == len(self.symbols),
                "one or more different names",
            ),
            "rows": (self.rows, self.rows >= 1, "1 or more"),
            "seed": (self.seed, self.seed >= 0, "0 or more"),
            "volatility": (
                self.volatility,
                0 < self.volatility <= 10,
                "a yearly fraction above 0, up to 10 (0.6 is 60 %)",
            ),
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


class SyntheticFeed:
    """Publish a `SyntheticMarket`. Up to two million bars are kept in memory; more are made anew, block by block, each
    time."""

    def __init__(self, market: SyntheticMarket, *, chunk_rows: int = CHUNK_ROWS) -> None:
        self._market = market
        self._streams = market.streams
        self._chunk_rows = check_chunk_rows(chunk_rows)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every stream, in feed order."""
        return self._streams

    @property
    def row_count(self) -> int:
        """How many bars there will be."""
        return self._market.rows * len(self._streams)

    @cached_property
    def digests(self) -> Mapping[Stream, str]:
        """The digest of each stream; see feeds/fingerprints.py."""
        return digests_of_chunks(self._streams, self.chunks())

    @property
    def fingerprint(self) -> str:
        """A hash of the content: equal if and only if every bar is equal."""
        return fingerprint(self.digests, self._streams)

    def chunks(self) -> Iterator[Bars]:
        """Yield the bars, oldest first."""
        if self.row_count <= _KEPT_ROWS:
            return cut(self._kept, self._chunk_rows)
        return rechunk(_blocks(self._market), self._chunk_rows)

    def column(self, stream: Stream, field: str) -> FloatArray:
        """Return a whole column of one stream, float64 [rows of the stream]."""
        place = place_of(stream, self._streams)
        check_field(field)
        if self.row_count <= _KEPT_ROWS:
            column: FloatArray = getattr(self._kept, field)
            return np.ascontiguousarray(column[place :: len(self._streams)])
        alone = replace(self._market, symbols=(stream.symbol,))
        return np.concatenate([getattr(block, field) for block in _blocks(alone)])

    @cached_property
    def _kept(self) -> Bars:
        return join(list(_blocks(self._market)))


def _blocks(market: SyntheticMarket) -> Iterator[Bars]:
    """Yield the bars of all symbols, a block of instants at a time."""
    duration = Timeframe.parse(market.timeframe).duration
    start = nanoseconds(market.start)
    common = _ReturnPath(market, "the common factor", market.jumps_per_day / 2)
    symbols = [_SymbolPath(market, symbol) for symbol in market.symbols]
    streams = market.streams
    for first in range(0, market.rows, _BLOCK):
        count = min(_BLOCK, market.rows - first)
        opens = start + (first + np.arange(count)) * duration
        season = _season(opens, duration)
        shared = common.take(season)
        columns = [symbol.take(season, shared) for symbol in symbols]
        if len(symbols) == 1:
            o, h, l, c, v = columns[0]  # noqa: E741
            yield Bars(streams, opens, opens + duration, o, h, l, c, v)
            continue
        opens = np.repeat(opens, len(symbols))
        o, h, l, c, v = (np.stack(column, axis=1).ravel() for column in zip(*columns, strict=True))  # noqa: E741
        yield Bars(
            streams, opens, opens + duration, o, h, l, c, v, np.tile(np.arange(len(symbols), dtype=np.int32), count)
        )


class _ReturnPath:
    """Log returns of one source of risk, scaled to the market's volatility: regimes × clustering × season, and
    jumps."""

    def __init__(self, market: SyntheticMarket, name: str, jumps_per_day: float) -> None:
        seeds = np.random.SeedSequence([market.seed, int.from_bytes(sha256(name.encode()).digest()[:8])])
        self.shocks, self._fast, self._slow, self._jumps, self._sizes, regimes = (
            np.random.Generator(np.random.PCG64DXSM(seed)) for seed in seeds.spawn(6)
        )
        bar_days = Timeframe.parse(market.timeframe).duration / DAY
        self._regimes = _Regimes(regimes, bar_days)
        self._fast_volatility = _Autoregression(self._fast, 0.5 ** (bar_days / _FAST_HALF_LIFE), _FAST_SPREAD)
        self._slow_volatility = _Autoregression(self._slow, 0.5 ** (bar_days / _SLOW_HALF_LIFE), _SLOW_SPREAD)
        self._day_volatility = market.volatility / sqrt(365)
        # E[exp(2x)] = exp(2 var x): without it, clustering would raise the volatility that was asked for.
        self._scale = (
            self._day_volatility * sqrt(bar_days) / (exp(_FAST_SPREAD**2 + _SLOW_SPREAD**2) * _Regimes.root_mean_square)
        )
        self._trend = _TREND * self._day_volatility * bar_days
        self._drift = market.drift / 365 * bar_days
        self._jump_rate = jumps_per_day * bar_days

    def take(self, season: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the next log returns, their conditional standard deviations and the part that jumps made, float64
        [bars]."""
        count = len(season)
        volatility_of, trend_of = self._regimes.take(count)
        deviation = (
            self._scale
            * season
            * volatility_of
            * np.exp(self._fast_volatility.take(count) + self._slow_volatility.take(count))
        )
        jumps = np.sqrt(self._jumps.poisson(self._jump_rate, count)) * self._sizes.laplace(
            0, _JUMP_SIZE * self._day_volatility, count
        )
        returns = self._drift + self._trend * trend_of + deviation * self.shocks.standard_normal(count) + jumps
        return returns, deviation, jumps


class _SymbolPath:
    """The bars of one symbol: its share of the common factor and its own returns, put on the grid of prices."""

    def __init__(self, market: SyntheticMarket, symbol: str) -> None:
        self._own = _ReturnPath(market, symbol, market.jumps_per_day)
        seeds = np.random.SeedSequence([market.seed, int.from_bytes(sha256(symbol.encode()).digest()[8:16])])
        self._highs, self._lows, self._opens, self._volumes = (
            np.random.Generator(np.random.PCG64DXSM(seed)) for seed in seeds.spawn(4)
        )
        self._share = sqrt(market.correlation)
        self._price_step, self._quantity_step = Fraction(market.price_increment), Fraction(market.quantity_increment)
        first_price = market.first_price
        if first_price is None:
            first_price = 10.0 ** (1 + 2 * sha256(symbol.encode()).digest()[16] / 255)
        self._log_price = log(first_price)
        self._last_ticks = max(1, round(first_price / float(market.price_increment)))
        bars_a_day = DAY / Timeframe.parse(market.timeframe).duration
        self._log_turnover = log(market.daily_volume / bars_a_day) - (_VOLUME_SPREAD**2) / 2
        self._usual = market.volatility / sqrt(365 * bars_a_day)

    def take(self, season: FloatArray, shared: tuple[FloatArray, FloatArray, FloatArray]) -> tuple[FloatArray, ...]:
        """Return the next open, high, low, close and volume, float64 [bars]."""
        count = len(season)
        own_returns, own_deviation, own_jumps = self._own.take(season)
        returns = self._share * shared[0] + sqrt(1 - self._share**2) * own_returns
        deviation = np.sqrt(self._share**2 * shared[1] ** 2 + (1 - self._share**2) * own_deviation**2)
        log_price = self._log_price + np.cumsum(returns)
        self._log_price = float(log_price[-1])
        step = float(self._price_step)
        close = np.maximum(np.rint(np.exp(log_price) / step), 1)
        # The first trade of a bar is as often as not one increment away from the last of the bar before.
        open_ = np.maximum(np.append(self._last_ticks, close[:-1]) + np.rint(self._opens.random(count) * 2 - 1), 1)
        self._last_ticks = int(close[-1])
        moved = np.log(close / open_)
        above = (moved + np.sqrt(moved**2 - 2 * deviation**2 * np.log1p(-self._highs.random(count)))) / 2
        below = (moved - np.sqrt(moved**2 - 2 * deviation**2 * np.log1p(-self._lows.random(count)))) / 2
        high = np.maximum(np.rint(open_ * np.exp(above)), np.maximum(open_, close))
        low = np.maximum(np.minimum(np.rint(open_ * np.exp(below)), np.minimum(open_, close)), 1)
        jumped = np.abs(self._share * shared[2]) + np.abs(own_jumps) > 0
        turnover = np.exp(
            self._log_turnover
            + _VOLUME_SPREAD * self._volumes.standard_normal(count)
            + 0.8 * np.log(deviation / self._usual)
            + np.where(jumped, 1.5, 0.0)
        )
        volume = np.rint(turnover / (close * step) / float(self._quantity_step))
        return (
            *(_on_grid(ticks, self._price_step) for ticks in (open_, high, low, close)),
            _on_grid(volume, self._quantity_step),
        )


class _Autoregression:
    """x = φ x + noise, started in its long-run distribution."""

    def __init__(self, generator: np.random.Generator, persistence: float, spread: float) -> None:
        self._generator = generator
        self._persistence = persistence
        self._noise = spread * sqrt(1 - persistence**2)
        self._last = spread * float(generator.standard_normal())

    def take(self, count: int) -> FloatArray:
        """Return the next values, float64 [count]."""
        values = self._noise * self._generator.standard_normal(count)
        values[0] += self._persistence * self._last
        # A recursion without a loop: after the step k every value holds the last 2k shocks, each with its power of φ.
        reach, power = 1, self._persistence
        while reach < count and power > 1e-18:
            values[reach:] = values[reach:] + power * values[:-reach]
            reach, power = 2 * reach, power * power
        self._last = float(values[-1])
        return values


class _Regimes:
    """A Markov chain of market states, each with a factor on volatility and a direction of the trend."""

    volatility = np.array([0.7, 0.9, 1.0, 2.4])
    trend = np.array([0.0, 1.0, -1.0, 0.0])
    mean_days = np.array([2.0, 1.0, 1.0, 0.3])
    next_state = np.array([[0, 0.4, 0.4, 0.2], [0.5, 0, 0.3, 0.2], [0.4, 0.3, 0, 0.3], [0.6, 0.2, 0.2, 0]])
    visits = np.linalg.matrix_power(next_state, 64)[0]
    root_mean_square = sqrt(float((visits * mean_days * volatility**2).sum() / (visits * mean_days).sum()))

    def __init__(self, generator: np.random.Generator, bar_days: float) -> None:
        self._generator = generator
        self._mean_bars = np.maximum(self.mean_days / bar_days, 1.0)
        self._state, self._left = 0, 0

    def take(self, count: int) -> tuple[FloatArray, FloatArray]:
        """Return the factor on volatility and the direction of the trend of the next bars, float64 [count]."""
        states: list[int] = []
        lengths: list[int] = []
        missing = count
        while missing > 0:
            if not self._left:
                self._state = int(
                    np.searchsorted(np.cumsum(self.next_state[self._state]), self._generator.random(), side="right")
                )
                self._left = int(self._generator.geometric(1 / self._mean_bars[self._state]))
            length = min(self._left, missing)
            states.append(self._state)
            lengths.append(length)
            self._left -= length
            missing -= length
        path = np.repeat(np.array(states), lengths)
        return self.volatility[path], self.trend[path]


def _season(opens: IntArray, duration: int) -> FloatArray:
    """Return the factor of the time of day on volatility, with a mean square of about 1, float64 [bars]."""
    if duration > DAY // 4:
        return np.ones(len(opens))
    hour = (opens + duration // 2) % DAY / HOUR
    humps = 0.75 + 0.35 * np.exp(-0.5 * ((hour - 8) / 1.5) ** 2) + 0.75 * np.exp(-0.5 * ((hour - 14.5) / 2.0) ** 2)
    weekend = (opens // DAY + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    return np.where(weekend, 0.75, 1.05) * humps / _HUMPS_ROOT_MEAN_SQUARE


def _on_grid(steps: FloatArray, increment: Fraction) -> FloatArray:
    """Return whole steps as the floats nearest to their decimal values: 0.3, not 0.30000000000000004."""
    return steps * increment.numerator / increment.denominator
