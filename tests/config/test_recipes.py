"""What a recipe takes from settings: the position head pays what the broker takes."""

import pytest

from config.assembly import run_backtest
from config.recipes import cost_of_trading
from config.settings import settings_from
from engine.errors import SettingsError

FEES = {
    "cheap": {"fees": {"maker": "0.0002", "taker": "0.0004"}, "slippage": {"kind": "none"}},
    "usual": {},
    "dear": {
        "fees": {"taker": "0.002"},
        "slippage": {"kind": "fixed", "basis_points": 5, "half_spread_basis_points": 3},
    },
    "one symbol's own": {"fees": {"taker": "0.002", "symbols": {"AAA/USDT": {"maker": "0.001", "taker": "0.0007"}}}},
    "by volume": {"fees": {"kind": "tiered", "tiers": [{"volume": 0, "maker": "0.001", "taker": "0.0015"}]}},
}


def settings(tmp_path, costs):
    return settings_from({
        "data": {"source": "synthetic", "symbols": ["AAA/USDT"], "timeframe": "1h", "bars": 50},
        "strategy": {"name": "BuyAndHold"}, "journal": {"enabled": False}, "costs": costs,
    }, folder=tmp_path, origin="t")


@pytest.mark.parametrize("name", FEES)
def test_the_head_pays_what_the_broker_takes(name, tmp_path):
    given = settings(tmp_path, FEES[name])
    (fill,) = run_backtest(given).result.fills
    opened = float(fill.reference_price)
    paid = float(fill.fee) / float(fill.quantity) / opened + (float(fill.price) - opened) / opened
    # Prices are rounded to increments, and the fee is of the price that was paid.
    assert cost_of_trading(given.costs, ("AAA/USDT",)) == pytest.approx(paid, abs=2e-5)


def test_costs_that_differ_by_symbol_or_size_are_refused(tmp_path):
    own = settings(tmp_path, FEES["one symbol's own"]).costs
    with pytest.raises(SettingsError, match=r"takers pay AAA/USDT 0.0007, BBB/USDT 0.002; expected the same for all"):
        cost_of_trading(own, ("AAA/USDT", "BBB/USDT"))
    impact = settings(tmp_path, {"slippage": {"kind": "sqrt_impact", "coefficient": 0.1}}).costs
    with pytest.raises(SettingsError, match="costs.slippage is sqrt_impact, which depends on the order"):
        cost_of_trading(impact, ("AAA/USDT",))
