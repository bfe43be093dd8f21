"""What a fill costs. Rates are fractions of notional: 0.001 is 0.1 % or 10 basis points.

Fees are charged beside the price and are exact (Decimal, rounded half-even to the currency's unit by the books).
Spread, slippage and impact move the price itself, always against us, and only for fills that take liquidity.
Latency is the time before the venue sees an order.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise, takewhile
from math import exp, log, sqrt
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import numpy as np

from engine.bars import DAY, Bar
from engine.errors import SettingsError
from engine.events import Liquidity
from engine.orders import Side


class FillTerms(NamedTuple):
    """What a fee depends on. `notional` is price × quantity × multiplier in quote currency, ≥ 0; time in UTC ns.

    `filled_quantity` and `filled_notional` are what the same order had filled before, for what is charged once an
    order.
    """

    symbol: str
    side: Side
    quantity: Decimal
    notional: Decimal
    liquidity: Liquidity
    time: int
    filled_quantity: Decimal = Decimal(0)
    filled_notional: Decimal = Decimal(0)


class FeeSchedule(Protocol):
    """What the venue charges for a fill."""

    def fee(self, terms: FillTerms) -> Decimal:
        """Return the fee in quote currency; negative for a rebate. Must not change state."""

    def record(self, terms: FillTerms) -> None:
        """Take note of a fill that happened, for schedules that depend on past volume."""

    def constant_rates(self) -> tuple[Fraction, Fraction] | None:
        """Return (maker, taker) if the fee is always exactly rate × notional, else None. Lets the books use integers
        alone."""

    def card(self) -> dict[str, Any]:
        """Return what to print on the assumption card."""


def _check_rate(name: str, rate: Decimal) -> None:
    if not (rate.is_finite() and abs(rate) < Decimal("0.1")):
        raise SettingsError(
            f"{name} fee is {rate}, a fraction of notional; expected between -0.1 and 0.1 (0.001 means 0.1 %)"
        )


@dataclass(frozen=True)
class MakerTakerFees:
    """Percentage fees, cheaper for resting orders. A negative rate is a rebate.

    Args:
        per_symbol: (maker, taker) of the symbols that differ.
    Raises:
        SettingsError: a rate lies outside (-0.1, 0.1); the usual cause is 0.1 meant as 0.1 %.
    """

    maker: Decimal = Decimal(0)
    taker: Decimal = Decimal(0)
    per_symbol: Mapping[str, tuple[Decimal, Decimal]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_rate("maker", self.maker)
        _check_rate("taker", self.taker)
        for symbol, (maker, taker) in self.per_symbol.items():
            _check_rate(f"{symbol} maker", maker)
            _check_rate(f"{symbol} taker", taker)

    def fee(self, terms: FillTerms) -> Decimal:
        maker, taker = self.per_symbol.get(terms.symbol, (self.maker, self.taker))
        return terms.notional * (maker if terms.liquidity is Liquidity.MAKER else taker)

    def record(self, terms: FillTerms) -> None:
        """Nothing to note: past volume does not matter."""

    def constant_rates(self) -> tuple[Fraction, Fraction] | None:
        return None if self.per_symbol else (Fraction(self.maker), Fraction(self.taker))

    def card(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"kind": "maker_taker", "maker": str(self.maker), "taker": str(self.taker)}
        if self.per_symbol:
            shown["per_symbol"] = {name: [str(maker), str(taker)] for name, (maker, taker) in self.per_symbol.items()}
        return shown


class FeeTier(NamedTuple):
    """Rates from a 30-day volume upwards, in quote currency."""

    volume: Decimal
    maker: Decimal
    taker: Decimal


class TieredFees:
    """Rates that fall as the notional traded over the past 30 days (or another window) grows.

    The tier of a fill is decided by the fills before it, as venues do at best at the day's end; ours reacts at once.

    Raises:
        SettingsError: no tiers, the first does not start at 0, or volumes do not ascend.
    """

    def __init__(self, tiers: Sequence[FeeTier], *, window: int = 30 * DAY) -> None:
        if not tiers or tiers[0].volume != 0:
            raise SettingsError(
                f"fee tiers start at {tiers[0].volume if tiers else 'nothing'}; expected the first tier at volume 0"
            )
        for lower, upper in pairwise(tiers):
            if upper.volume <= lower.volume:
                raise SettingsError(f"fee tier {upper.volume} follows {lower.volume}; expected ascending volumes")
        for tier in tiers:
            _check_rate(f"tier {tier.volume} maker", tier.maker)
            _check_rate(f"tier {tier.volume} taker", tier.taker)
        self._tiers = tuple(tiers)
        self._window = window
        self._past: deque[tuple[int, Decimal]] = deque()
        self._volume = Decimal(0)

    def volume(self, now: int) -> Decimal:
        """Return the notional of the recorded fills within the window that ends at `now`, quote currency."""
        expired = takewhile(lambda fill: fill[0] <= now - self._window, self._past)
        return self._volume - sum((notional for _, notional in expired), Decimal(0))

    def tier(self, now: int) -> FeeTier:
        """Return the tier in force at `now`."""
        volume = self.volume(now)
        return next(tier for tier in reversed(self._tiers) if tier.volume <= volume)

    def fee(self, terms: FillTerms) -> Decimal:
        tier = self.tier(terms.time)
        return terms.notional * (tier.maker if terms.liquidity is Liquidity.MAKER else tier.taker)

    def record(self, terms: FillTerms) -> None:
        while self._past and self._past[0][0] <= terms.time - self._window:
            self._volume -= self._past.popleft()[1]
        self._past.append((terms.time, terms.notional))
        self._volume += terms.notional

    def constant_rates(self) -> tuple[Fraction, Fraction] | None:
        return None

    def card(self) -> dict[str, Any]:
        return {
            "kind": "tiered",
            "window_days": self._window // DAY,
            "tiers": [list(map(str, tier)) for tier in self._tiers],
        }


@dataclass(frozen=True)
class EquityFees:
    """Share dealing: an amount per share and a rate, a minimum per order, and stamp duty on sales only.

    An order that fills in parts pays the minimum with the first, and nothing more until its fills are worth more.

    Args:
        per_share: quote currency per share; rate: fraction of notional; minimum: the least charged per order, before
            duty; stamp_duty: fraction of notional on sales (0.0005 in mainland China since 2023-08-28).
    """

    per_share: Decimal = Decimal(0)
    rate: Decimal = Decimal(0)
    minimum: Decimal = Decimal(0)
    stamp_duty: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        _check_rate("broker", self.rate)
        _check_rate("stamp duty", self.stamp_duty)
        for name in ("per_share", "minimum"):
            if not getattr(self, name) >= 0:
                raise SettingsError(f"{name} fee is {getattr(self, name)}; expected 0 or more")

    def fee(self, terms: FillTerms) -> Decimal:
        commission = self._commission(
            terms.filled_quantity + terms.quantity, terms.filled_notional + terms.notional
        ) - self._commission(terms.filled_quantity, terms.filled_notional)
        return commission + (terms.notional * self.stamp_duty if terms.side is Side.SELL else 0)

    def _commission(self, quantity: Decimal, notional: Decimal) -> Decimal:
        """Return what an order has cost once so much of it has filled."""
        return max(self.minimum, quantity * self.per_share + notional * self.rate) if quantity else Decimal(0)

    def record(self, terms: FillTerms) -> None:
        """Nothing to note: past volume does not matter."""

    def constant_rates(self) -> tuple[Fraction, Fraction] | None:
        return None

    def card(self) -> dict[str, Any]:
        return {
            "kind": "equity",
            "per_share": str(self.per_share),
            "rate": str(self.rate),
            "minimum": str(self.minimum),
            "stamp_duty": str(self.stamp_duty),
        }


# ── price costs ─────────────────────────────────────────────────────────────────────────────────────────────────────


class PriceCosts(NamedTuple):
    """How far a taking fill's price lies from its reference, by cause, each ≥ 0, in quote currency per unit of base."""

    spread: float = 0.0
    slippage: float = 0.0
    impact: float = 0.0


class Market(NamedTuple):
    """What a cost may depend on: the market before the bar in which the fill happens.

    `volatility` is the standard deviation of log returns over a day, `daily_volume` in base asset; both 0 while
    unknown.
    """

    volatility: float
    daily_volume: float


class Slippage(Protocol):
    """How taking liquidity moves the price against us."""

    needs_market: bool
    """Whether `Market` must be kept up to date, which costs a call a bar."""

    def costs(self, price: float, quantity: float, market: Market) -> PriceCosts:
        """Return the costs of taking `quantity` (base asset) at the reference `price`."""

    def constant_basis_points(self) -> tuple[float, float] | None:
        """Return (half spread, slippage) in basis points if they are constant and all there is, else None."""

    def card(self) -> dict[str, Any]: ...


def _check_basis_points(name: str, value: float) -> None:
    if not 0 <= value < 1000:
        raise SettingsError(f"{name} is {value} basis points; expected 0 … 1000 (1 is 0.01 %)")


@dataclass(frozen=True)
class NoSlippage:
    """Fills at the reference price. Optimistic, and the assumption card says so."""

    needs_market = False

    def costs(self, price: float, quantity: float, market: Market) -> PriceCosts:
        return PriceCosts()

    def constant_basis_points(self) -> tuple[float, float] | None:
        return 0.0, 0.0

    def card(self) -> dict[str, Any]:
        return {"kind": "none"}


@dataclass(frozen=True)
class FixedSlippage:
    """A constant number of basis points, and half a constant spread, whatever the size."""

    basis_points: float = 0.0
    half_spread_basis_points: float = 0.0
    needs_market = False

    def __post_init__(self) -> None:
        _check_basis_points("slippage", self.basis_points)
        _check_basis_points("half spread", self.half_spread_basis_points)

    def costs(self, price: float, quantity: float, market: Market) -> PriceCosts:
        return PriceCosts(price * self.half_spread_basis_points * 1e-4, price * self.basis_points * 1e-4)

    def constant_basis_points(self) -> tuple[float, float] | None:
        return self.half_spread_basis_points, self.basis_points

    def card(self) -> dict[str, Any]:
        return {
            "kind": "fixed",
            "basis_points": self.basis_points,
            "half_spread_basis_points": self.half_spread_basis_points,
        }


@dataclass(frozen=True)
class VolatilitySlippage:
    """Half a constant spread, and slippage of `fraction` of a day's volatility scaled to `horizon_seconds`.

    The longer an order takes to execute and the wilder the market, the further the price has moved.
    """

    fraction: float = 0.5
    horizon_seconds: float = 60.0
    half_spread_basis_points: float = 0.0
    needs_market = True

    def __post_init__(self) -> None:
        _check_basis_points("half spread", self.half_spread_basis_points)
        if not (self.fraction >= 0 and self.horizon_seconds >= 0):
            raise SettingsError(
                f"volatility slippage is {self.fraction} over {self.horizon_seconds} s; expected both 0 or more"
            )

    def costs(self, price: float, quantity: float, market: Market) -> PriceCosts:
        deviation = market.volatility * sqrt(self.horizon_seconds / 86_400)
        return PriceCosts(price * self.half_spread_basis_points * 1e-4, price * self.fraction * deviation)

    def constant_basis_points(self) -> tuple[float, float] | None:
        return None

    def card(self) -> dict[str, Any]:
        return {
            "kind": "volatility",
            "fraction": self.fraction,
            "horizon_seconds": self.horizon_seconds,
            "half_spread_basis_points": self.half_spread_basis_points,
        }


@dataclass(frozen=True)
class SquareRootImpact:
    """Impact Y·σ_D·(Q/V_D)^δ beside half a spread: the square-root law when δ = 1/2.

    Source: Tóth et al. 2011; δ = 0.489 ± 0.0015 in Sato & Kanazawa, arXiv 2411.13965; on Bitcoin Donier & Bonart, arXiv
    1412.4503. Y is of order one. Decay of the impact is left out.
    """

    coefficient: float = 1.0
    exponent: float = 0.5
    half_spread_basis_points: float = 0.0
    needs_market = True

    def __post_init__(self) -> None:
        _check_basis_points("half spread", self.half_spread_basis_points)
        if not (self.coefficient >= 0 and 0 < self.exponent <= 1):
            raise SettingsError(
                f"impact coefficient {self.coefficient}, exponent {self.exponent}; "
                "expected a coefficient of 0 or more and 0 < exponent ≤ 1"
            )

    def costs(self, price: float, quantity: float, market: Market) -> PriceCosts:
        spread = price * self.half_spread_basis_points * 1e-4
        if market.daily_volume <= 0:
            return PriceCosts(spread)
        share = quantity / market.daily_volume
        return PriceCosts(spread, 0.0, price * self.coefficient * market.volatility * share**self.exponent)

    def constant_basis_points(self) -> tuple[float, float] | None:
        return None

    def card(self) -> dict[str, Any]:
        return {
            "kind": "sqrt_impact",
            "coefficient": self.coefficient,
            "exponent": self.exponent,
            "half_spread_basis_points": self.half_spread_basis_points,
        }


class MarketGauge:
    """Volatility and volume of one symbol, from closed bars, as exponential averages with a half-life of one day.

    Source: RiskMetrics' exponentially weighted variance, mean return taken as 0.
    """

    def __init__(self, duration: int) -> None:
        self._bars_a_day = DAY / duration
        self._keep = exp(-log(2) / max(self._bars_a_day, 1.0))
        self._weight = 0.0
        self._variance = 0.0
        self._volume = 0.0
        self._last_close = 0.0

    def update(self, bar: Bar) -> None:
        """Take in a closed bar."""
        keep = self._keep
        if self._last_close > 0:
            change = log(bar.close / self._last_close)
            self._variance = keep * self._variance + (1 - keep) * change * change
            self._volume = keep * self._volume + (1 - keep) * bar.volume
            self._weight = keep * self._weight + (1 - keep)
        self._last_close = bar.close

    @property
    def market(self) -> Market:
        """Return the state so far, unbiased for the short past at the start."""
        if not self._weight:
            return Market(0.0, 0.0)
        return Market(
            sqrt(self._variance / self._weight * self._bars_a_day), self._volume / self._weight * self._bars_a_day
        )


# ── latency ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Latency(Protocol):
    """The delay before the venue sees an order."""

    def delay(self, symbol: str, number: int) -> int:
        """Return nanoseconds, ≥ 0, for the nth message about a symbol; the same whatever happens to other symbols."""

    def card(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class ConstantLatency:
    """Always the same delay, nanoseconds."""

    nanoseconds: int = 0

    def __post_init__(self) -> None:
        if self.nanoseconds < 0:
            raise SettingsError(f"latency is {self.nanoseconds} ns; expected 0 or more")

    def delay(self, symbol: str, number: int) -> int:
        return self.nanoseconds

    def card(self) -> dict[str, Any]:
        return {"kind": "constant", "milliseconds": self.nanoseconds / 1e6}


@dataclass(frozen=True)
class LognormalLatency:
    """A delay drawn from a lognormal law, of given median and spread (standard deviation of its logarithm)."""

    median_nanoseconds: int
    sigma: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.median_nanoseconds <= 0 or not self.sigma >= 0:
            raise SettingsError(
                f"latency has median {self.median_nanoseconds} ns and sigma {self.sigma}; "
                "expected a median above 0 and sigma 0 or more"
            )

    def delay(self, symbol: str, number: int) -> int:
        # A generator per message: the draw must not depend on how many were made before it, for other symbols.
        normal = np.random.default_rng((self.seed, crc32(symbol.encode()), number)).standard_normal()
        return round(self.median_nanoseconds * exp(self.sigma * normal))

    def card(self) -> dict[str, Any]:
        return {
            "kind": "lognormal",
            "median_milliseconds": self.median_nanoseconds / 1e6,
            "sigma": self.sigma,
            "seed": self.seed,
        }
