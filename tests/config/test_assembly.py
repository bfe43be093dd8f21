"""From settings to the parts of a run: accounts, instruments, costs, the manifest."""

from decimal import Decimal

import pytest

from config.assembly import make_portfolio, run_backtest
from config.costs import make_fees, make_latency, make_slippage
from config.data import known_increments, make_feed, survey
from config.manifest import code_version, library_versions
from config.settings import settings_from
from engine import SettingsError
from engine.costs import EquityFees, FixedSlippage, LognormalLatency, NoSlippage, SquareRootImpact, TieredFees

MARKET = {"source": "synthetic", "timeframe": "1h", "bars": 300, "symbols": ["AAA/EUR"]}


def settings(tmp_path, **tables):
    given = {"data": MARKET, "strategy": {"name": "BuyAndHold"}, "journal": {"enabled": False}, **tables}
    return settings_from(given, folder=tmp_path, origin="test")


def portfolio_of(chosen):
    feed = make_feed(chosen)
    return make_portfolio(chosen, feed, survey(feed, known=known_increments(chosen, feed)).price_increments)


def test_cash_that_is_a_number_is_in_what_the_first_symbol_is_quoted_in(tmp_path):
    portfolio = portfolio_of(settings(tmp_path, account={"cash": 500}))
    assert portfolio.currency == "EUR"
    assert portfolio.accounts["EUR"].cash == 500
    assert not portfolio.allow_short


@pytest.mark.parametrize(("symbol", "quote"), [("BTC/USDT:USDT", "USDT"), ("BTCUSDT", "USD"), ("VOD/GBP", "GBP")])
def test_what_a_symbol_is_paid_in_is_read_off_its_name(tmp_path, symbol, quote):
    portfolio = portfolio_of(settings(tmp_path, data={**MARKET, "symbols": [symbol]}))
    assert portfolio.instruments[symbol].quote == quote


def test_instruments_are_described_one_by_one_or_by_default(tmp_path):
    data = {**MARKET, "symbols": ["AAA/EUR", "BBB/EUR"]}
    described = {"default": {"min_notional": 5}, "BBB/EUR": {"price_increment": "0.5", "base": "bees"}}
    instruments = portfolio_of(settings(tmp_path, data=data, instruments=described)).instruments
    assert instruments["AAA/EUR"].min_notional == 5
    assert instruments["AAA/EUR"].base == "AAA"
    assert instruments["BBB/EUR"].price_increment == Decimal("0.5")
    assert instruments["BBB/EUR"].base == "bees"
    assert instruments["BBB/EUR"].min_notional == 0


def test_a_description_of_what_is_not_traded_is_refused(tmp_path):
    for tables in ({"instruments": {"AAB/EUR": {}}}, {"report": {"benchmark": "AAB/EUR"}}):
        with pytest.raises(SettingsError, match="names 'AAB/EUR', which is not in the data; .*did you mean 'AAA/EUR'"):
            run_backtest(settings(tmp_path, **tables))


def test_every_kind_of_cost_can_be_chosen(tmp_path):
    costs = settings(tmp_path, costs={
        "fees": {"kind": "tiered", "tiers": [{"volume": 0, "maker": 0.001, "taker": 0.002}]},
        "slippage": {"kind": "sqrt_impact", "coefficient": 0.7},
        "latency": {"kind": "lognormal", "median_milliseconds": 80},
    }).costs
    assert isinstance(make_fees(costs), TieredFees)
    assert make_slippage(costs) == SquareRootImpact(0.7, 0.5, 1.0)
    assert make_latency(costs, 9) == LognormalLatency(80_000_000, 0.5, 9)
    costs = settings(tmp_path, costs={"fees": {"kind": "equity", "minimum": 5}, "slippage": {"kind": "none"}}).costs
    assert make_fees(costs) == EquityFees(minimum=Decimal(5))
    assert make_slippage(costs) == NoSlippage()


def test_the_default_costs_are_not_zero(tmp_path):
    costs = settings(tmp_path).costs
    assert make_fees(costs).constant_rates() == (Decimal("0.001"), Decimal("0.001"))
    assert make_slippage(costs) == FixedSlippage(1.0, 1.0)


def test_a_run_leaves_its_statistics_and_its_card(tmp_path):
    done = run_backtest(settings(tmp_path))
    assert done.result.run_id is None
    assert done.summary()["statistics"]["fills"] == len(done.result.fills)
    assert done.summary()["assumption_card"]["instruments"]["AAA/EUR"]["price_increment"] == "0.01"


def test_the_benchmark_can_be_one_of_the_symbols(tmp_path):
    data = {**MARKET, "symbols": ["AAA/EUR", "BBB/EUR"]}
    done = run_backtest(settings(tmp_path, data=data, report={"benchmark": "BBB/EUR"}))
    assert done.report.benchmark is not None
    assert done.report.benchmark.name == "buy & hold BBB/EUR"


def test_the_manifest_names_the_code_and_the_libraries():
    commit, is_dirty = code_version()
    assert commit == "unknown" or (len(commit) == 40 and is_dirty in (True, False))
    assert {"python", "numpy", "numba"} <= set(library_versions())
