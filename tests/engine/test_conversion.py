"""Several currencies: exact books in each, valued in the one that results are reported in."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from engine import DataError, Instrument, SettingsError
from engine.bars import DAY
from engine.conversion import Conversion
from engine.exchange import SimulatedExchange
from engine.journal.memory import MemoryJournal
from engine.loop import Engine, Parts
from engine.portfolio import Portfolio
from engine.results import RunResult
from engine.testing import NEW_YEAR_2024, BarsFeed, make_bars
from tests.engine.cases import merged, scripted

D = Decimal


def pair(symbol: str) -> Instrument:
    base, _, quote = symbol.partition("/")
    return Instrument(symbol, quote, base, price_increment=D("0.01"), quantity_increment=D("0.01"))


def rate(symbols: str, prices: dict[str, float], source: str, target: str) -> Fraction:
    conversion = Conversion([source, target], map(pair, symbols.split()))
    return conversion.rate(source, target, prices.get)


@pytest.mark.parametrize(
    ("symbols", "prices", "expected"),
    [
        ("EUR/USD", {"EUR/USD": 1.25}, Fraction(5, 4)),
        ("USD/EUR", {"USD/EUR": 0.80}, Fraction(5, 4)),
        ("BTC/EUR BTC/USD", {"BTC/EUR": 40_000, "BTC/USD": 50_000}, Fraction(5, 4)),
        ("EUR/CHF USD/CHF", {"EUR/CHF": 1.00, "USD/CHF": 0.80}, Fraction(5, 4)),
        ("EUR/CHF CHF/USD", {"EUR/CHF": 1.00, "CHF/USD": 1.25}, Fraction(5, 4)),
        # the pair itself goes before any way round
        ("BTC/EUR BTC/USD USD/EUR", {"BTC/EUR": 1, "BTC/USD": 9, "USD/EUR": 0.80}, Fraction(5, 4)),
    ],
)
def test_a_rate_goes_through_one_pair_or_two_either_way_round(symbols, prices, expected):
    assert rate(symbols, prices, "EUR", "USD") == expected
    assert rate(symbols, prices, "USD", "EUR") == 1 / expected
    assert rate(symbols, prices, "EUR", "EUR") == 1


def test_a_currency_that_nothing_converts_is_refused_before_the_first_bar():
    with pytest.raises(SettingsError, match="no rate from USD to EUR: .* .pairs: ETH/EUR, BTC/USD.; add USD/EUR or"):
        Portfolio({"USD": D(1), "EUR": D(1)}, [pair("ETH/EUR"), pair("BTC/USD")], converts=True)


def test_contracts_make_no_rates_and_a_currency_without_money_needs_none():
    contract = replace(pair("EUR/USD"), kind="perpetual")
    with pytest.raises(SettingsError, match="there is no rate"):
        Conversion(["EUR", "USD"], [contract])
    portfolio = Portfolio({"USD": D(1), "EUR": D(0)}, [pair("BTC/USD")], converts=True)
    assert portfolio.conversion is None
    assert portfolio.is_plain


def run(
    closes: dict[str, list[float]], act: Callable[[Any], Any], cash: dict[str, int], *, first: int = 0
) -> tuple[RunResult, Portfolio]:
    bars = merged(*(
        make_bars(rows, symbol=symbol, start=NEW_YEAR_2024 + DAY * (first if symbol == "EUR/USD" else 0))
        for symbol, rows in closes.items()))
    portfolio = Portfolio({name: D(amount) for name, amount in cash.items()}, map(pair, closes), converts=True)
    broker = SimulatedExchange(portfolio)
    result = Engine(Parts(BarsFeed(bars), scripted({0: act}), broker, portfolio, journal=MemoryJournal())).run()
    return result, portfolio


CLOSES = {"BTC/EUR": [100.0, 100.0, 120.0, 110.0], "EUR/USD": [1.25, 1.25, 1.20, 1.10]}


def test_equity_is_in_the_first_currency_and_every_book_in_its_own():
    result, portfolio = run(CLOSES, lambda s: s.buy("BTC/EUR", 4), {"USD": 1000, "EUR": 500})
    assert portfolio.accounts["USD"].cash == 1000
    assert portfolio.accounts["EUR"].cash == 100
    # 1 000 + (100 + 4 × price) × rate
    assert result.curve.equity.tolist() == pytest.approx([1625, 1625, 1000 + 580 * 1.2, 1000 + 540 * 1.1])
    assert result.curve.cash.tolist() == pytest.approx([1625, 1125, 1120, 1110])
    np.testing.assert_allclose(result.curve.exposure[2], 480 * 1.2 / 1696)
    assert result.final_equity == 1000 + 540 * D("1.10")
    assert result.curve.currency == "USD"


def test_a_target_is_a_share_of_all_the_equity():
    result, portfolio = run(CLOSES, lambda s: s.target("BTC/EUR", 0.5), {"USD": 1000, "EUR": 2000})
    # 1 000 USD are 800 EUR: half of 2 800 at 100
    assert portfolio.positions["BTC/EUR"].quantity == 14
    assert result.fills[0].currency == "EUR"


def test_the_equity_that_a_strategy_sees_is_converted_too():
    seen: list[Any] = []
    run(CLOSES, lambda s: seen.extend([s.equity(), s.equity("EUR"), s.cash("EUR")]), {"USD": 1000, "EUR": 500})
    assert seen == [1625, 1300, 500]


def test_a_rate_is_the_last_one_known():
    closes = {"BTC/EUR": [100.0] * 4, "EUR/USD": [1.25, 1.20]}
    result, _ = run(closes, lambda s: None, {"USD": 1000, "EUR": 500})
    assert result.curve.equity.tolist() == pytest.approx([1625, 1600, 1600, 1600])


def test_what_has_to_be_converted_before_its_pair_has_a_price_stops_the_run():
    closes = {"BTC/EUR": [100.0] * 4, "EUR/USD": [1.25, 1.20]}
    with pytest.raises(DataError, match="EUR cannot be valued in USD yet: EUR/USD has no bar so far; start the run"):
        run(closes, lambda s: None, {"USD": 1000, "EUR": 500}, first=2)
    result, _ = run(closes, lambda s: None, {"USD": 1000, "EUR": 0}, first=2)
    assert result.curve.equity.tolist() == [1000] * 4
