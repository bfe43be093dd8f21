"""Margin tiers: what it takes to open and to keep a position of a given notional."""

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import SettingsError
from engine.margin import (
    MarginSchedule,
    MarginTerms,
    MarginTier,
    amounts,
    plain_symbol,
    tiers_from_brackets,
)

D = Decimal
UNIT = D("1e-8")

# Binance's brackets of a small contract, as its API gives them.
BRACKETS = [
    {"bracket": 1, "initialLeverage": 50, "notionalCap": 5000, "notionalFloor": 0, "maintMarginRatio": 0.01,
     "cum": 0.0},
    {"bracket": 2, "initialLeverage": 25, "notionalCap": 25000, "notionalFloor": 5000, "maintMarginRatio": 0.02,
     "cum": 50.0},
    {"bracket": 3, "initialLeverage": 10, "notionalCap": 100000, "notionalFloor": 25000, "maintMarginRatio": 0.05,
     "cum": 800.0},
]  # fmt: skip
TIERS = (
    MarginTier(D(0), D("0.01"), D(50)), MarginTier(D(5000), D("0.02"), D(25)), MarginTier(D(25000), D("0.05"), D(10)),
)  # fmt: skip


def units(amount: float | Decimal) -> int:
    return int(D(str(amount)) / UNIT)


@pytest.mark.parametrize(
    ("notional", "maintenance", "initial"),
    [
        (1000, 10, 50),            # 1 % of 1 000; 1 000 ÷ 20
        (5000, 50, 250),
        (6000, 70, 300),           # 2 % of 6 000 less 50
        (25000, 450, 1250),        # 2 % less 50, at the border
        (30000, 700, 3000),        # 5 % less 800; 10 is the most leverage here
        (0, 0, 0),
    ],
)  # fmt: skip
def test_margins_follow_the_tiers(notional, maintenance, initial):
    schedule = MarginSchedule(D(20), TIERS).in_units(UNIT)
    assert schedule.maintenance(units(notional)) == units(maintenance)
    assert schedule.initial(units(notional)) == units(initial)


def test_brackets_of_binance_s_form_are_read_and_their_amounts_checked():
    text = json.dumps([{"symbol": "ETHUSDT", "brackets": BRACKETS[:1]}, {"symbol": "XYZUSDT", "brackets": BRACKETS}])
    tiers = tiers_from_brackets(text, "XYZ/USDT:USDT", "brackets.json")
    assert tiers == TIERS
    assert [float(amount) for amount in amounts(tiers)] == [0, 50, 800]
    assert tiers_from_brackets(json.dumps(BRACKETS), "anything", "brackets.json") == TIERS
    assert tiers_from_brackets(json.dumps({"brackets": BRACKETS[::-1]}), "anything", "brackets.json") == TIERS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "brackets.json: these are no leverage brackets"),
        ("[]", "no list of brackets"),
        ('[{"notionalFloor": 0}]', "these are no leverage brackets \\(KeyError: 'maintMarginRatio'\\)"),
        (json.dumps([{"symbol": "ETHUSDT", "brackets": BRACKETS}]),
         "there are no brackets of XYZ/USDT; there are some of ETHUSDT"),
        (json.dumps([BRACKETS[0], BRACKETS[1] | {"cum": 60.0}]),
         "the bracket from 5000 has cum 60.0, but the rates below it make 50"),
        (json.dumps(BRACKETS[1:]), "margin tiers start at 5000; expected the first from notional 0"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_brackets_is_refused(text, message):
    with pytest.raises(SettingsError, match=message):
        tiers_from_brackets(text, "XYZ/USDT", "brackets.json")


@pytest.mark.parametrize(
    ("leverage", "tiers", "message"),
    [
        (D(0), (), "leverage is 0; expected 1 … 1000"),
        (D(5000), (), "leverage is 5000; expected 1 … 1000"),
        (D(60), TIERS, "leverage is 60, but the first margin tier .maintenance 0.01. allows at most 50"),
        (D(5), (MarginTier(D(0), D("0.2")),), "allows at most 2.5; lower the leverage"),
        (D(1), (MarginTier(D(0), D("1.5")),), "maintenance rate of the tier from 0 is 1.5"),
        (D(1), (MarginTier(D(0), D("0.5"), D(2)),), "allows leverage 2 at maintenance 0.5; a position opened so"),
        (D(1), (*TIERS, MarginTier(D(25000), D("0.1"))), "expected ascending notionals"),
        (D(1), (*TIERS, MarginTier(D(50000), D("0.01"))), "rates that do not fall"),
        (D(1), (*TIERS, MarginTier(D(50000), D("0.06"), D(12))), "leverage that does not rise"),
    ],
)
def test_terms_that_cannot_be_are_refused(leverage, tiers, message):
    with pytest.raises(SettingsError, match=message):
        MarginSchedule(leverage, tiers)


def test_without_tiers_half_of_the_initial_margin_keeps_a_position():
    schedule = MarginSchedule(D(4)).in_units(UNIT)
    assert (schedule.initial(units(1000)), schedule.maintenance(units(1000))) == (units(250), units(125))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "both"}, "margin mode is 'both'; expected one of cross, isolated"),
        ({"shortfall": "lost"}, "margin shortfall is 'lost'; expected one of covered, owed"),
        ({"liquidation_fee": D("0.5")}, "liquidation fee is 0.5, a fraction of notional"),
    ],
)
def test_margin_terms_that_cannot_be_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        MarginTerms(**changes)


@given(st.integers(0, 10**14), st.integers(0, 10**14))
def test_margins_never_fall_with_size_and_opening_takes_more_than_keeping(first, second):
    schedule = MarginSchedule(D(20), TIERS).in_units(UNIT)
    small, large = sorted((first, second))
    assert schedule.maintenance(small) <= schedule.maintenance(large)
    assert schedule.initial(small) <= schedule.initial(large)
    assert schedule.initial(small) >= schedule.maintenance(small)


@given(st.integers(1, 10**14))
def test_the_maintenance_margin_is_the_largest_of_the_tiers_lines_rounded_up(notional):
    schedule = MarginSchedule(D(20), TIERS).in_units(UNIT)
    lines = [
        notional * Fraction(tier.rate) - amount / Fraction(UNIT)
        for tier, amount in zip(TIERS, amounts(TIERS), strict=True)
    ]
    exact = max(lines)
    assert schedule.maintenance(notional) - 1 < exact <= schedule.maintenance(notional)


@pytest.mark.parametrize("symbol", ["BTC/USDT:USDT", "BTCUSDT", "BTC_USDT", "BTCUSDT-PERP", "btc-usdt-swap"])
def test_symbols_are_compared_by_letters_and_digits(symbol):
    assert plain_symbol(symbol) == "BTCUSDT"
