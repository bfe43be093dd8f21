"""From settings to accounts: margin terms, holding costs, trading rules, currencies."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from config.accounts import make_carry, make_clearing, make_margin
from config.assembly import make_portfolio, run_backtest
from config.data import Survey, known_increments, make_feed, survey
from config.settings import settings_from
from engine import DataError, SettingsError
from engine.bars import HOUR
from engine.carry import FixedFunding, FundingHistory
from engine.journal.lineage import load_run
from engine.journal.rebuild import rebuild
from engine.journal.sql import SqlJournal
from engine.testing import NEW_YEAR_2024

D = Decimal
ROOT = Path(__file__).parents[2]
MARKET = ROOT.parent / "shared" / "market"
SYMBOL = "BTC/USDT:USDT"
DATA = {"source": "synthetic", "timeframe": "1h", "bars": 300, "symbols": [SYMBOL]}
MARGIN = {"kind": "margin", "leverage": 5}
START = NEW_YEAR_2024
SEEN = Survey(START, START + 100 * HOUR, {})


def settings(tmp_path, **tables):
    given = {"data": DATA, "strategy": {"name": "BuyAndHold"}, "journal": {"enabled": False}, **tables}
    return settings_from(given, folder=tmp_path, origin="test")


def portfolio_of(chosen):
    feed = make_feed(chosen)
    return make_portfolio(chosen, feed, survey(feed, known=known_increments(chosen, feed)).price_increments)


def test_a_cash_account_is_what_there_is_without_settings(tmp_path):
    chosen = settings(tmp_path)
    portfolio = portfolio_of(chosen)
    assert portfolio.is_plain
    assert make_clearing(chosen, portfolio, SEEN) is None


def test_terms_of_an_instrument_go_before_the_account_s(tmp_path):
    brackets = [{"notionalFloor": 0, "maintMarginRatio": 0.004, "initialLeverage": 100}]
    (tmp_path / "brackets.json").write_text(json.dumps(brackets))
    chosen = settings(
        tmp_path,
        data={**DATA, "symbols": ["A/USDT", "B/USDT", "C/USDT", "D/USDT"]},
        account={**MARGIN, "maintenance_rate": 0.02, "liquidation_fee": 0.005, "shortfall": "owed"},
        instruments={
            "A/USDT": {"leverage": 10},
            "B/USDT": {"margin_tiers": [{"notional": 0, "rate": 0.01}, {"notional": 5000, "rate": 0.05}]},
            "C/USDT": {"margin_brackets": "brackets.json", "leverage": 50},
        })
    terms = make_margin(chosen, ["A/USDT", "B/USDT", "C/USDT", "D/USDT"])
    assert terms is not None
    assert (terms.mode, terms.liquidation_fee, terms.shortfall, terms.leverage) == ("cross", D("0.005"), "owed", 50)
    found = {symbol: (terms.of(symbol).leverage, [tier[:2] for tier in terms.of(symbol).tiers])
             for symbol in ("A/USDT", "B/USDT", "C/USDT", "D/USDT")}
    assert found == {
        "A/USDT": (10, [(0, D("0.02"))]), "B/USDT": (5, [(0, D("0.01")), (5000, D("0.05"))]),
        "C/USDT": (50, [(0, D("0.004"))]), "D/USDT": (5, [(0, D("0.02"))])}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"account": {"leverage": 5}}, ".account. has leverage, which a cash account knows nothing of; expected kind"),
        ({"account": {**MARGIN, "maintenance_rate": 0.1, "margin_brackets": "x"}},
         "has maintenance_rate and margin_brackets; expected one of them"),
        ({"account": {"kind": "margins"}}, "account.kind is 'margins'; expected one of cash, margin; did you mean"),
        ({"account": {**MARGIN, "leverage": 0}}, "account.leverage is 0; expected"),
        ({"instruments": {SYMBOL: {"kind": "future"}}}, "kind is 'future'; expected one of spot, perpetual"),
    ],
)  # fmt: skip
def test_settings_that_contradict_themselves_are_refused_as_they_are_read(tmp_path, tables, message):
    with pytest.raises(SettingsError, match=message):
        settings(tmp_path, **tables)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"instruments": {SYMBOL: {"kind": "perpetual"}}}, "is a perpetual, which a cash account cannot hold; set"),
        ({"instruments": {SYMBOL: {"leverage": 3}}}, "instruments: BTC/USDT:USDT has leverage, which a cash account"),
        ({"account": {**MARGIN, "margin_mode": "isolated"}}, "is a spot instrument, and isolated margins are for"),
        ({"account": {**MARGIN, "maintenance_rate": 0.2}}, "account: leverage is 5, but the first .* at most 2.5"),
        ({"account": {**MARGIN, "margin_brackets": "none.json"}}, "none.json: cannot be read"),
        ({"account": {"cash": {"USDT": 1, "EUR": 5}}}, "there is no rate from USDT to EUR"),
        ({"data": {**DATA, "symbols": ["BTC/USD:BTC"]}, "account": MARGIN,
          "instruments": {"BTC/USD:BTC": {"kind": "perpetual"}}}, "settles in BTC and is quoted in USD: inverse"),
    ],
)  # fmt: skip
def test_accounts_that_cannot_be_are_refused_before_the_first_bar(tmp_path, tables, message):
    with pytest.raises(SettingsError, match=message):
        portfolio_of(settings(tmp_path, **tables))


PERPETUAL = {SYMBOL: {"kind": "perpetual"}}


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        ({"instruments": {SYMBOL: {"funding_rate": 0.0001}}}, SettingsError, "has a funding_rate, but is spot; set"),
        ({"data": {**DATA, "funding": "f.csv"}}, SettingsError, "data.funding is given, but no instrument is a perp"),
        ({"data": {**DATA, "mark_prices": "f.csv"}}, SettingsError, "data.mark_prices are given, but no instrument"),
        ({"data": {**DATA, "funding": "f.csv"}, "instruments": {SYMBOL: {"kind": "perpetual", "funding_rate": 0.0001}}},
         SettingsError, "BTC/USDT:USDT has a funding_rate too; expected one source of funding"),
        ({"data": {**DATA, "funding": "none.csv"}, "instruments": PERPETUAL}, DataError, "none.csv: there is no such"),
        ({"data": {**DATA, "funding": "f.csv"}, "instruments": PERPETUAL}, DataError,
         'funding payments missing between .*; fetch the history again, or set gap_policy = "mark" to go without'),
        ({"instruments": {SYMBOL: {"timezone": "Mars", "settlement_days": 1}}}, SettingsError, "timezone is 'Mars'"),
    ],
)  # fmt: skip
def test_holding_costs_that_cannot_be_are_refused_before_the_first_bar(tmp_path, tables, error, message):
    (tmp_path / "f.csv").write_text("time,rate\n2024-01-01T00:00Z,0.0001\n2024-01-01T08:00Z,0.0001\n")
    chosen = settings(tmp_path, account=MARGIN, **tables)
    with pytest.raises(error, match=message):
        make_clearing(chosen, portfolio_of(chosen), SEEN)


def test_funding_comes_from_files_or_a_fixed_rate(tmp_path):
    rows = "\n".join(f"{START // 10**9 + hour * 3600},0.0001" for hour in range(0, 104, 8))
    (tmp_path / "BTCUSDT_funding.csv").write_text(f"time,rate\n{rows}\n")
    chosen = settings(tmp_path, account=MARGIN, data={**DATA, "funding": "*.csv"}, instruments=PERPETUAL)
    source = make_carry(chosen, portfolio_of(chosen), SEEN).funding[SYMBOL]
    assert isinstance(source, FundingHistory)
    assert len(source.times) == 13
    fixed = {SYMBOL: {"kind": "perpetual", "funding_rate": 0.0003, "funding_interval_hours": 4}}
    chosen = settings(tmp_path, account=MARGIN, instruments=fixed)
    assert make_carry(chosen, portfolio_of(chosen), SEEN).funding[SYMBOL] == FixedFunding(D("0.0003"), 4 * HOUR)


def test_the_card_says_what_is_in_force_and_a_spot_run_s_stays_as_it_was(tmp_path):
    chosen = settings(tmp_path, account={**MARGIN, "interest_rate": 0.05}, instruments={
        SYMBOL: {"kind": "perpetual", "settlement_days": 1}})
    card = run_backtest(chosen).result.assumptions
    assert card["costs"]["margin"]["leverage"] == "5"
    assert card["costs"]["borrow"]["interest_rate"] == "0.05"
    assert card["costs"]["mark_price"] == {"kind": "last_close"}
    assert card["costs"]["trading_rules"][SYMBOL]["settlement_days"] == 1
    assert card["instruments"][SYMBOL]["kind"] == "perpetual"
    warned = {warning["setting"]: warning["level"] for warning in card["warnings"]}
    assert (warned["funding"], warned["mark_price"]) == ("optimistic", "note")
    plain = run_backtest(settings(tmp_path)).result.assumptions
    assert set(plain["costs"]) == {"fees", "slippage", "latency"}
    assert "kind" not in plain["instruments"][SYMBOL]


def test_funding_is_a_cost_of_holding_and_the_journal_rebuilds_the_books(tmp_path):
    url = f"sqlite:///{tmp_path}/journal.db"
    chosen = settings(
        tmp_path, account=MARGIN, journal={"url": url},
        instruments={SYMBOL: {"kind": "perpetual", "funding_rate": 0.001, "quantity_increment": 0.001}})
    done = run_backtest(chosen)
    statistics = done.result.statistics
    with SqlJournal(url, create=False) as journal:
        record = load_run(journal)
    paid = -sum(event.amount for event in record.account_events if event.kind == "funding")
    assert paid > 0
    assert statistics["holding_cost"] == pytest.approx(paid)
    parts = ("fees", "spread_cost", "slippage_cost", "impact_cost", "holding_cost")
    assert statistics["total_costs"] == pytest.approx(sum(statistics[name] for name in parts))
    [cash] = rebuild(record).cash.values()
    assert float(cash) == pytest.approx(done.result.curve.cash[-1], rel=1e-12)


@pytest.mark.skipif(not MARKET.exists(), reason="the market data beside the checkout is not here")
def test_a_month_of_a_real_perpetual_pays_its_real_funding(tmp_path):
    (tmp_path / "twice_long.py").write_text(
        "from engine import Strategy\n\n\nclass TwiceLong(Strategy):\n    def on_bar(self, bar):\n"
        "        self.target(bar.symbol, 2.0)\n")
    chosen = settings(
        tmp_path,
        data={"source": "files", "paths": [str(MARKET / "binance_perp_1m" / "BTCUSDT-PERP_1m.parquet")],
              "symbols": ["BTC/USDT:USDT"], "funding": str(MARKET / "binance_perp_funding"), "gap_policy": "mark"},
        strategy={"name": "TwiceLong", "folders": [str(tmp_path)]}, account=MARGIN,
        instruments={SYMBOL: {"kind": "perpetual", "quantity_increment": 0.001}})
    result = run_backtest(chosen).result
    paid = [row for row in result.account_events if row[2] == "funding"]
    held = result.fills[0].quantity
    # From 2025-05-04T15:33 on: the payments of 16:00 and after, every eight hours, until the history ends on 06-03.
    assert len(paid) == 89 == (paid[-1][1] - paid[0][1]) // (8 * HOUR) + 1
    first = paid[0]
    assert first[5].startswith("BTC/USDT:USDT: rate 0.0000")
    rate, price = (D(text) for text in (first[5].split("rate ")[1].split(" ")[0], first[5].split(" at ")[1]))
    assert D(str(first[4])) == pytest.approx(-rate * D(str(held)) * price, abs=D("1e-8"))
    card = result.assumptions
    assert any(warning["setting"] == "funding" and "gap" in warning["value"] for warning in card["warnings"])
