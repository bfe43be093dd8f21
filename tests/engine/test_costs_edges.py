"""Costs at the ends of what they allow, of small markets, and word for word what they print on the assumption card."""

from collections.abc import Callable
from decimal import Decimal
from math import exp, log, sqrt
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from engine import SettingsError, Side
from engine.bars import DAY
from engine.costs import (
    ConstantLatency,
    EquityFees,
    FeeTier,
    FillTerms,
    FixedSlippage,
    LognormalLatency,
    MakerTakerFees,
    Market,
    MarketGauge,
    NoSlippage,
    PriceCosts,
    SquareRootImpact,
    TieredFees,
    VolatilitySlippage,
)
from engine.events import Liquidity
from engine.testing import make_bars

D = Decimal


def fill_of(notional: int, time: int) -> FillTerms:
    return FillTerms("X", Side.BUY, D(1), D(notional), Liquidity.TAKER, time)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MakerTakerFees(per_symbol={"BTC": (D(5), D(0))}), "^BTC maker fee is 5, a fraction of notional"),
        (lambda: MakerTakerFees(D("-0.1"), D(0)), "^maker fee is -0.1, a fraction of notional"),
        (lambda: TieredFees([FeeTier(D(0), D(1), D(0))]), "^tier 0 maker fee is 1, a fraction of notional"),
        (lambda: EquityFees(rate=D("0.1")), "^broker fee is 0.1, a fraction of notional"),
        (lambda: FixedSlippage(1000), "^slippage is 1000 basis points; expected 0 … 1000"),
        (lambda: VolatilitySlippage(half_spread_basis_points=-1), "^half spread is -1 basis points"),
        (lambda: VolatilitySlippage(horizon_seconds=-1), "^volatility slippage is 0.5 over -1 s"),
        (lambda: SquareRootImpact(half_spread_basis_points=-1), "^half spread is -1 basis points"),
        (lambda: SquareRootImpact(coefficient=-1), "^impact coefficient -1, exponent 0.5"),
        (lambda: SquareRootImpact(exponent=1.1), "^impact coefficient 1.0, exponent 1.1"),
        (lambda: LognormalLatency(5, -0.1), "^latency has median 5 ns and sigma -0.1"),
    ],
)
def test_what_is_just_too_much(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()


def test_what_is_just_not_too_much() -> None:
    MakerTakerFees(D("-0.099"), D("0.099"))
    FixedSlippage(999.9, 0.0)
    VolatilitySlippage(0.0, 0.0)
    SquareRootImpact(coefficient=0.0, exponent=1.0)
    EquityFees()
    assert ConstantLatency(0).delay("A", 1) == 0
    assert LognormalLatency(1, 0.0).delay("A", 1) == 1


def test_fees_by_hand() -> None:
    fees = MakerTakerFees(D("-0.0001"), D("0.001"), {"Y": (D("0.002"), D("0.003"))})
    taken = fill_of(500, 0)
    made = taken._replace(liquidity=Liquidity.MAKER)
    assert [fees.fee(terms) for terms in (taken, made)] == [D("0.5"), D("-0.05")]
    assert [fees.fee(terms._replace(symbol="Y")) for terms in (taken, made)] == [D("1.5"), D(1)]


def test_the_parts_of_an_order_pay_together_what_the_whole_would() -> None:
    fees = EquityFees(per_share=D("0.1"), rate=D("0.01"), minimum=D(5), stamp_duty=D("0.001"))
    first = fill_of(100, 0)._replace(quantity=D(20))
    second = fill_of(300, 0)._replace(quantity=D(20), filled_quantity=D(20), filled_notional=D(100), side=Side.SELL)
    assert fees.fee(first) == 5, "2 + 1 is less than the minimum"
    assert fees.fee(second) == 3 + D("0.3"), "4 + 4 in all, of which 5 are paid; and duty on what this part is worth"


def test_fixed_slippage_by_hand() -> None:
    assert FixedSlippage(4.0, 2.5).costs(200.0, 7.0, Market(0.5, 0.5)) == pytest.approx(PriceCosts(0.05, 0.08, 0.0))
    assert VolatilitySlippage(0.0, 0.0, 2.5).costs(200.0, 7.0, Market(0.5, 0.5)) == pytest.approx((0.05, 0.0, 0.0))


def test_impact_in_a_market_that_trades_less_than_one_a_day() -> None:
    costs = SquareRootImpact(exponent=1.0).costs(60_000.0, 0.1, Market(volatility=0.02, daily_volume=0.5))
    assert costs == pytest.approx(PriceCosts(0.0, 0.0, 60_000 * 0.02 * 0.2))
    assert SquareRootImpact(half_spread_basis_points=1.0).costs(100.0, 5.0, Market(0.02, 0.0)) == (0.01, 0.0, 0.0)


def test_the_gauge_follows_prices_far_below_one() -> None:
    def seen(scale: float) -> Market:
        gauge = MarketGauge(DAY)
        for close in (0.5, 0.55, 0.5):
            gauge.update(next(make_bars([(*[close * scale] * 4, 3.0)]).rows()))
        return gauge.market

    assert seen(1.0).volatility == pytest.approx(log(1.1))
    assert seen(1.0).daily_volume == pytest.approx(3.0)
    assert seen(1.0) == pytest.approx(seen(1000.0))


@pytest.mark.parametrize("days", [1, 7])
def test_a_bar_of_a_day_or_more_halves_what_was_before(days: int) -> None:
    gauge = MarketGauge(days * DAY)
    for close, volume in ((100, 0.0), (110, 10.0), (110, 40.0)):
        gauge.update(next(make_bars([(close, close, close, close, volume)]).rows()))
    assert gauge.market.volatility == pytest.approx(sqrt(log(1.1) ** 2 / 3 / days))
    assert gauge.market.daily_volume == pytest.approx((10 + 2 * 40) / 3 / days)


@pytest.mark.parametrize(("symbol", "number", "seed"), [("A", 0, 1), ("BTC/USDT", 7, 0)])
def test_a_delay_is_drawn_from_a_stream_of_its_own(symbol: str, number: int, seed: int) -> None:
    normal = np.random.default_rng((seed, crc32(symbol.encode()), number)).standard_normal()
    delay = LognormalLatency(10**6, 0.7, seed).delay(symbol, number)
    assert delay == pytest.approx(10**6 * exp(0.7 * normal), abs=1)


def test_volume_of_a_tier_is_a_decimal_whatever_has_left_the_window() -> None:
    fees = TieredFees([FeeTier(D(0), D(0), D(0))], window=10)
    assert repr(fees.volume(0)) == "Decimal('0')"
    for time, amount in ((0, 5), (1, 7), (10, 1), (11, 2)):
        fees.record(fill_of(amount, time))
    # what is ten old has left
    assert [fees.volume(now) for now in (11, 19, 20, 21)] == [3, 3, 2, 0]


@pytest.mark.parametrize(
    ("terms", "card"),
    [
        (MakerTakerFees(D("-0.0001"), D("0.001")), {"kind": "maker_taker", "maker": "-0.0001", "taker": "0.001"}),
        (
            MakerTakerFees(D(0), D("0.001"), {"X": (D("0.002"), D("0.003"))}),
            {"kind": "maker_taker", "maker": "0", "taker": "0.001", "per_symbol": {"X": ["0.002", "0.003"]}},
        ),
        (
            TieredFees([FeeTier(D(0), D("0.001"), D("0.002")), FeeTier(D(50), D(0), D("0.001"))], window=7 * DAY),
            {"kind": "tiered", "window_days": 7, "tiers": [["0", "0.001", "0.002"], ["50", "0", "0.001"]]},
        ),
        (
            EquityFees(D("0.01"), D("0.0002"), D(5), D("0.0005")),
            {"kind": "equity", "per_share": "0.01", "rate": "0.0002", "minimum": "5", "stamp_duty": "0.0005"},
        ),
        (NoSlippage(), {"kind": "none"}),
        (FixedSlippage(2.0, 1.5), {"kind": "fixed", "basis_points": 2.0, "half_spread_basis_points": 1.5}),
        (
            VolatilitySlippage(0.4, 30.0, 1.5),
            {"kind": "volatility", "fraction": 0.4, "horizon_seconds": 30.0, "half_spread_basis_points": 1.5},
        ),
        (
            SquareRootImpact(0.8, 0.6, 1.5),
            {"kind": "sqrt_impact", "coefficient": 0.8, "exponent": 0.6, "half_spread_basis_points": 1.5},
        ),
        (ConstantLatency(2_500_000), {"kind": "constant", "milliseconds": 2.5}),
        (
            LognormalLatency(2_500_000, 0.4, 9),
            {"kind": "lognormal", "median_milliseconds": 2.5, "sigma": 0.4, "seed": 9},
        ),
    ],
)
def test_what_a_card_says(terms: Any, card: dict[str, Any]) -> None:
    assert terms.card() == card
    assert repr(terms.card()) == repr(card), "of the same types: 7 days, not 7.0"
