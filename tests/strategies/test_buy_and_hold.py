"""The baseline."""

from typing import Any

import pytest

from strategies.buy_and_hold import BuyAndHold


def test_it_buys_at_the_second_open_and_never_trades_again(tools: Any) -> None:
    ran = tools.run(BuyAndHold(), tools.bars_of("BTC", [100, 110, 120, 90, 95]))
    assert ran.trades == [("buy", "BTC", 1)]
    assert float(ran.final_equity) == pytest.approx(95_000)  # bought at 100, the second open; now 95


def test_the_money_is_shared_out_equally(tools: Any) -> None:
    ran = tools.run(BuyAndHold(exposure=0.8), tools.bars_of("A", [10] * 4), tools.bars_of("B", [500] * 4))
    assert {fill.symbol: fill.price * fill.quantity for fill in ran.fills} == pytest.approx({"A": 40_000, "B": 40_000})


def test_a_symbol_that_lists_later_is_bought_when_it_lists(tools: Any) -> None:
    late = tools.bars_of("B", [500] * 6, rows=slice(3, None))
    ran = tools.run(BuyAndHold(), tools.bars_of("A", [10] * 6), late)
    assert ran.trades == [("buy", "A", 1), ("buy", "B", 4)]
