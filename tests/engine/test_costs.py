"""What each schedule and law says for itself; what they do to fills is in test_exchange_money."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest

from engine import SettingsError, Side
from engine.bars import DAY, HOUR
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
    SquareRootImpact,
    TieredFees,
    VolatilitySlippage,
)
from engine.events import Liquidity
from engine.testing import make_bars

D = Decimal


def fill(
    notional: str = "1000",
    *,
    side: Side = Side.BUY,
    liquidity: Liquidity = Liquidity.TAKER,
    time: int = 0,
    quantity: str = "10",
) -> FillTerms:
    return FillTerms("X", side, D(quantity), D(notional), liquidity, time)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MakerTakerFees(D("0.1"), D(0)),
            r"maker fee is 0.1, a fraction of notional; expected between -0.1 and 0.1 \(0.001 means 0.1 %\)",
        ),
        (lambda: MakerTakerFees(D(0), D("NaN")), "taker fee is NaN, a fraction of notional"),
        (lambda: MakerTakerFees(per_symbol={"BTC": (D(0), D(5))}), "BTC taker fee is 5, a fraction of notional"),
        (lambda: TieredFees([]), "fee tiers start at nothing; expected the first tier at volume 0"),
        (lambda: TieredFees([FeeTier(D(5), D(0), D(0))]), "fee tiers start at 5; expected the first tier at volume 0"),
        (lambda: TieredFees([FeeTier(D(0), D(0), D(0))] * 2), "fee tier 0 follows 0; expected ascending volumes"),
        (lambda: TieredFees([FeeTier(D(0), D(0), D(1))]), "tier 0 taker fee is 1, a fraction of notional"),
        (lambda: EquityFees(per_share=D(-1)), "per_share fee is -1; expected 0 or more"),
        (lambda: EquityFees(minimum=D(-1)), "minimum fee is -1; expected 0 or more"),
        (lambda: EquityFees(stamp_duty=D(5)), "stamp duty fee is 5, a fraction of notional"),
        (lambda: FixedSlippage(-1), r"slippage is -1 basis points; expected 0 … 1000 \(1 is 0.01 %\)"),
        (lambda: FixedSlippage(0, float("nan")), "half spread is nan basis points"),
        (lambda: VolatilitySlippage(-1), "volatility slippage is -1 over 60.0 s; expected both 0 or more"),
        (
            lambda: SquareRootImpact(exponent=0),
            "impact coefficient 1.0, exponent 0; expected a coefficient of 0 or more and 0 < exponent ≤ 1",
        ),
        (lambda: ConstantLatency(-5), "latency is -5 ns; expected 0 or more"),
        (
            lambda: LognormalLatency(0),
            "latency has median 0 ns and sigma 0.5; expected a median above 0 and sigma 0 or more",
        ),
    ],
)
def test_terms_that_make_no_sense(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()


def test_constant_rates_are_said_only_where_they_are_all_there_is() -> None:
    assert MakerTakerFees(D("-0.0001"), D("0.001")).constant_rates() == (Fraction(-1, 10_000), Fraction(1, 1000))
    assert MakerTakerFees(per_symbol={"X": (D(0), D(0))}).constant_rates() is None
    assert EquityFees().constant_rates() is None
    assert TieredFees([FeeTier(D(0), D(0), D(0))]).constant_rates() is None
    assert FixedSlippage(2, 3).constant_basis_points() == (3, 2)
    assert NoSlippage().constant_basis_points() == (0.0, 0.0)
    assert VolatilitySlippage().constant_basis_points() is SquareRootImpact().constant_basis_points() is None


def test_a_tier_is_reached_by_the_fills_before() -> None:
    fees = TieredFees([FeeTier(D(0), D("0.01"), D("0.02")), FeeTier(D(1000), D("0.001"), D("0.002"))])
    assert fees.fee(fill()) == 20
    assert fees.fee(fill()) == 20, "asking does not change anything"
    fees.record(fill())
    assert fees.fee(fill()) == 2
    assert fees.fee(fill(liquidity=Liquidity.MAKER)) == 1


def test_volume_leaves_the_window_thirty_days_after_it_was_traded() -> None:
    fees = TieredFees([FeeTier(D(0), D("0.01"), D("0.01"))])
    for day in range(60):
        fees.record(fill("1", time=day * DAY))
        assert fees.volume(day * DAY) == min(day + 1, 30)
    assert fees.volume(60 * DAY) == 29
    assert fees.volume(200 * DAY) == 0


def test_duty_is_paid_on_sales_beside_the_minimum() -> None:
    fees = EquityFees(per_share=D("0.01"), rate=D("0.0001"), minimum=D(5), stamp_duty=D("0.0005"))
    assert fees.fee(fill()) == 5
    assert fees.fee(fill(side=Side.SELL)) == D("5.5")
    assert fees.fee(fill("1000000", quantity="10000")) == 100 + 100


def test_the_square_root_law_by_hand() -> None:
    law = SquareRootImpact(coefficient=0.8, exponent=0.5, half_spread_basis_points=2)
    costs = law.costs(100.0, 25.0, Market(volatility=0.04, daily_volume=10_000.0))
    assert costs.spread == pytest.approx(0.02)
    assert costs.impact == pytest.approx(100 * 0.8 * 0.04 * sqrt(0.0025))
    assert law.costs(100.0, 25.0, Market(0.0, 0.0)).impact == 0, "nothing known yet"


def test_volatility_slippage_by_hand() -> None:
    costs = VolatilitySlippage(0.5, 3600.0, 1.0).costs(200.0, 1.0, Market(0.03, 0.0))
    assert costs.slippage == pytest.approx(200 * 0.5 * 0.03 * sqrt(1 / 24))
    assert costs.spread == pytest.approx(0.02)


def test_the_gauge_is_an_average_with_a_half_life_of_a_day() -> None:
    generator = np.random.default_rng(3)
    closes = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, 200)))
    volumes = generator.exponential(50, 200)
    gauge = MarketGauge(HOUR)
    for close, volume in zip(closes, volumes, strict=True):
        gauge.update(next(make_bars([(close, close, close, close, volume)]).rows()))
    keep = 0.5 ** (1 / 24)
    weights = keep ** np.arange(198, -1, -1)
    returns = np.diff(np.log(closes))
    assert gauge.market.volatility == pytest.approx(sqrt(np.average(returns**2, weights=weights) * 24))
    assert gauge.market.daily_volume == pytest.approx(np.average(volumes[1:], weights=weights) * 24)
    assert keep == pytest.approx(exp(-log(2) / 24))


def test_a_gauge_that_has_seen_one_close_knows_nothing() -> None:
    gauge = MarketGauge(DAY)
    assert gauge.market == Market(0.0, 0.0)
    gauge.update(next(make_bars([100]).rows()))
    assert gauge.market == Market(0.0, 0.0)


def test_latency_depends_on_symbol_message_and_seed_alone() -> None:
    def draws(symbol: str, seed: int) -> list[int]:
        return [LognormalLatency(10**6, 0.5, seed=seed).delay(symbol, number) for number in range(2000)]

    drawn = draws("A", 1)
    assert drawn == draws("A", 1)
    assert drawn != draws("A", 2)
    assert drawn != draws("B", 1)
    assert np.median(drawn) == pytest.approx(10**6, rel=0.05)
    assert min(drawn) > 0
    assert LognormalLatency(10**6, 0.0).delay("A", 5) == 10**6
    assert ConstantLatency(7).delay("A", 1) == ConstantLatency(7).delay("B", 2) == 7


@pytest.mark.parametrize(
    ("terms", "kind"),
    [
        (MakerTakerFees(per_symbol={"X": (D(0), D("0.001"))}), "maker_taker"),
        (EquityFees(), "equity"),
        (NoSlippage(), "none"),
        (TieredFees([FeeTier(D(0), D(0), D("0.001"))]), "tiered"),
        (FixedSlippage(), "fixed"),
        (VolatilitySlippage(), "volatility"),
        (SquareRootImpact(), "sqrt_impact"),
        (ConstantLatency(5), "constant"),
        (LognormalLatency(5), "lognormal"),
    ],
)
def test_every_cost_has_a_card(terms: Any, kind: str) -> None:
    import json

    assert terms.card()["kind"] == kind
    json.dumps(terms.card())
