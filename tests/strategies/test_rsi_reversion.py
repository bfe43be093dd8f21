"""Mean reversion with brackets."""

from typing import Any

import pytest

from strategies.rsi_reversion import RsiReversion

CALM = [100 + 0.5 * (bar % 2) for bar in range(120)]


def falling_then(after: list[float]) -> list[float]:
    """Return a calm market, one sharp fall that takes the RSI below 30 at bar 120, and what comes after."""
    return [*CALM, 95.0, *after]


def test_a_sharp_fall_is_bought_with_a_stop_and_a_target(tools: Any) -> None:
    ran = tools.run(RsiReversion(reward=1.0), tools.bars_of("BTC", falling_then([95, 96, 98, 99])))
    assert ran.trades == [("buy", "BTC", 121), ("sell", "BTC", 123)]
    bought, sold = ran.fills
    assert bought.price == 95.0
    atr = 0.5 * 13 / 14 + 5.5 / 14  # Wilder's average: 0.5 a bar, then a bar of 5.5
    assert sold.price == pytest.approx(95 + 2 * atr, abs=0.01)  # the target lies as far above as the stop below


def test_being_stopped_costs_the_share_of_equity_put_at_risk(tools: Any) -> None:
    ran = tools.run(RsiReversion(risk=0.005), tools.bars_of("BTC", falling_then([95, 94, 93, 92, 91])))
    assert [side for side, _, _ in ran.trades] == ["buy", "sell"]
    assert float(ran.final_equity) == pytest.approx(100_000 * 0.995, rel=1e-4)


def test_a_position_never_takes_more_than_the_cash_allowed(tools: Any) -> None:
    ran = tools.run(RsiReversion(risk=0.1, largest=0.5), tools.bars_of("BTC", falling_then([95, 95])))
    assert ran.fills[0].price * ran.fills[0].quantity == pytest.approx(50_000, rel=1e-4)


def test_one_position_at_a_time(tools: Any) -> None:
    for seed in range(5):
        ran = tools.run(RsiReversion(period=5), tools.bars_of("BTC", tools.walk(600, seed), wick=0.003))
        assert len(ran.trades) > 4
        assert all(side == ("buy", "sell")[place % 2] for place, (side, _, _) in enumerate(ran.trades))
        assert all(fill.position_after == 0 for fill in ran.fills[1::2])


def test_symbols_are_traded_side_by_side(tools: Any) -> None:
    market = falling_then([95, 96, 98, 99])
    ran = tools.run(RsiReversion(largest=0.4), tools.bars_of("A", market), tools.bars_of("B", market))
    assert {symbol for _, symbol, _ in ran.trades} == {"A", "B"}


def test_a_market_that_stands_still_is_left_alone(tools: Any) -> None:
    assert tools.run(RsiReversion(), tools.bars_of("BTC", [100.0] * 60)).trades == []
