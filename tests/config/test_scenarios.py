"""Scenario files, run in this process."""

import pytest

from config.scenarios import run_scenario
from engine.semantics import profile

BARS = [[100, 101, 99, 100, 1000], [100, 101, 99, 100, 1000], [102, 112, 94, 103, 1000], [103, 104, 102, 103, 1000]]


@pytest.mark.parametrize(("order", "fills"), [
    ({"type": "market"}, [("buy", 2, 102.0)]),
    ({"type": "limit", "limit": 95}, [("buy", 2, 95.0)]),
    ({"type": "stop", "stop": 110}, [("buy", 2, 110.0)]),
    ({"type": "bracket", "stop_loss": 95, "take_profit": 110}, [("buy", 2, 102.0), ("sell", 2, 95.0)]),
])
def test_an_order_fills_where_a_trader_expects_it(order, fills):
    scenario = {"bars": BARS, "orders": [{"decided_at_close_of": 1, "side": "buy", "quantity": 1, **order}]}
    assert run_scenario(scenario, profile("default")) == fills


def test_orders_decided_at_one_close_are_placed_in_their_order():
    order = {"decided_at_close_of": 0, "quantity": 1, "type": "market"}
    scenario = {"bars": BARS, "orders": [{**order, "side": "buy"}, {**order, "side": "sell"}]}
    assert run_scenario(scenario, profile("backtrader")) == [("buy", 1, 100.0), ("sell", 1, 100.0)]
