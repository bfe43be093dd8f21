"""Margin terms at the ends of what they allow, messages in full, and what they print on the assumption card."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from engine import SettingsError
from engine.margin import MarginSchedule, MarginTerms, MarginTier, plain_symbol, tiers_from_brackets

D = Decimal
FIRST = MarginTier(D(0), D("0.01"), D(50))
RATES = "expected a fraction of notional between 0 and 1 (0.004 is 0.4 %)"
ORDER = "expected ascending notionals, rates that do not fall and leverage that does not rise"
FORM = "expected JSON with notionalFloor, maintMarginRatio and initialLeverage in each bracket"


def bracket(floor: float, rate: float, leverage: float, **more: Any) -> dict[str, Any]:
    return {"notionalFloor": floor, "maintMarginRatio": rate, "initialLeverage": leverage, **more}


@pytest.mark.parametrize("leverage", [D(1), D(3), D("12.5"), D(1000)])
def test_a_leverage_that_is_allowed_is_that_of_the_one_tier(leverage: Decimal) -> None:
    # 1 ÷ 3 has no end: the tier must allow 3 exactly, and not what its rate, cut off, would make
    schedule = MarginSchedule(leverage)
    assert schedule.tiers[0].max_leverage == leverage
    assert schedule.card()["leverage"] == str(leverage)


def test_tiers_may_share_a_rate_or_a_leverage() -> None:
    MarginSchedule(D(10), (FIRST, MarginTier(D(5000), D("0.01"), D(25)), MarginTier(D(9000), D("0.02"), D(25))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MarginSchedule(D("1000.5")),
            "leverage is 1000.5; expected 1 … 1000 (5 is five times the equity)",
        ),
        (lambda: MarginSchedule(D("0.99")), "leverage is 0.99; expected 1 … 1000 (5 is five times the equity)"),
        (
            lambda: MarginSchedule(D(1), (MarginTier(D(5), D("0.01")),)),
            "margin tiers start at 5; expected the first from notional 0",
        ),
        (
            lambda: MarginSchedule(D(1), (MarginTier(D(0), D(0), D(2)),)),
            f"maintenance rate of the tier from 0 is 0; {RATES}",
        ),
        (
            lambda: MarginSchedule(D(1), (MarginTier(D(0), D(1)),)),
            f"maintenance rate of the tier from 0 is 1; {RATES}",
        ),
        (
            lambda: MarginSchedule(D(1), (FIRST, MarginTier(D(0), D("0.1")))),
            f"margin tier ('0', '0.1') follows ('0', '0.01'); {ORDER}",
        ),
        (
            lambda: MarginTerms(liquidation_fee=D("0.1")),
            "liquidation fee is 0.1, a fraction of notional; expected 0 … 0.1 (0.01 is 1 %)",
        ),
        (
            lambda: MarginTerms(liquidation_fee=D("-0.01")),
            "liquidation fee is -0.01, a fraction of notional; expected 0 … 0.1 (0.01 is 1 %)",
        ),
    ],
)
def test_terms_that_are_refused_say_all_of_why(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        make()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            [],
            f"these are no leverage brackets (TypeError: no list of brackets); {FORM}",
        ),
        ({"brackets": []}, "margin tiers start at nothing; expected the first from notional 0"),
        (
            [{"symbol": f"S{number}", "brackets": []} for number in range(9)],
            "there are no brackets of XYZ/USDT; there are some of S0, S1, S2, S3, S4, S5, S6, S7; add them",
        ),
        (
            [bracket(0, 0, 2)],
            f"maintenance rate of the tier from 0 is 0; {RATES}",
        ),
        (
            [bracket(0, 0.01, 50), bracket(5000, 0.005, 25)],
            f"margin tier ('5000', '0.005') follows ('0', '0.01'); {ORDER}",
        ),
    ],
)
def test_a_file_that_is_refused_is_named_with_all_of_why(found: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape('my.json: ' + message)}$"):
        tiers_from_brackets(json.dumps(found), "XYZ/USDT", "my.json")


@pytest.mark.parametrize(
    ("first", "second", "is_right"),
    [
        (0.0, 800.0, True),
        (1e-6, 800.0, True),  # a millionth of 1 + the amount is forgiven
        (2e-6, 800.0, False),
        (0.0, 800.0005, True),
        (0.0, 800.001, False),
        (0.0, 799.999, False),
        (None, None, True),  # not all venues say it
    ],
)
def test_how_near_a_stated_amount_must_be(first: float | None, second: float | None, is_right: bool) -> None:
    text = json.dumps([bracket(0, 0.01, 50, cum=first), bracket(20_000, 0.05, 10, cum=second)])
    if is_right:
        assert len(tiers_from_brackets(text, "X", "my.json")) == 2
        return
    with pytest.raises(SettingsError, match="^my.json: the bracket from .* has cum .*; fetch the brackets again$"):
        tiers_from_brackets(text, "X", "my.json")


@pytest.mark.parametrize("ending", ["_PERP", "-PERP", "_SWAP", "-SWAP", "_perp", ":USDT"])
def test_what_names_the_kind_is_no_part_of_a_symbol(ending: str) -> None:
    assert plain_symbol(f"btc/USDT{ending}") == "BTCUSDT"
    assert plain_symbol("PERP/USDT") == "PERPUSDT"


def test_what_the_card_of_a_margin_account_says() -> None:
    tiers = (FIRST, MarginTier(D(5000), D("0.05")))
    terms = MarginTerms("isolated", MarginSchedule(D(20), tiers), {"X": MarginSchedule(D(2))}, D("0.02"), "owed")
    assert terms.card() == {
        "kind": "margin",
        "mode": "isolated",
        "leverage": "20",
        "tiers": [["0", "0.01", "50"], ["5000", "0.05", "10"]],
        "symbols": {"X": {"leverage": "2", "tiers": [["0", "0.25", "2"]]}},
        "liquidation_fee": "0.02",
        "shortfall": "owed",
    }
    assert terms.leverage == 20
    assert MarginTerms(schedules={"X": MarginSchedule(D(2))}).leverage == 2
    assert MarginTerms(liquidation_fee=D(0)).card()["liquidation_fee"] == "0"
    assert [terms.of(symbol).leverage for symbol in "XY"] == [2, 20]


@pytest.mark.parametrize(
    ("notional", "maintenance", "initial"),
    [
        (0, 0, 0),
        (100, 3, 40),
        (101, 4, 41),  # 3.03 and 40.4, rounded up
        (255, 8, 102),  # 7.65
        (260, 8, 104),  # 7 % of 260 less 10.2 is exactly 8
        (310, 12, 124),  # 11.5
        (999, 60, 400),  # 59.73 and 399.6
        (1010, 62, 505),  # 20 % of it less 140.2; and 2 is the most leverage
    ],
)
def test_margins_of_rates_and_amounts_that_are_no_whole_units(notional: int, maintenance: int, initial: int) -> None:
    tiers = (
        MarginTier(D(0), D("0.03"), D(10)),
        MarginTier(D(255), D("0.07"), D(5)),
        MarginTier(D(1000), D("0.2"), D(2)),
    )
    schedule = MarginSchedule(D("2.5"), tiers).in_units(D(1))
    assert (schedule.maintenance(notional), schedule.initial(notional)) == (maintenance, initial)
