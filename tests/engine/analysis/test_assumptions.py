import json
from decimal import Decimal
from typing import Any

import pytest

from engine.analysis.assumptions import (
    NOTABLE,
    OPTIMISTIC,
    PANEL,
    PLAIN_ACCOUNT,
    SIMPLIFICATIONS,
    assumption_card,
    card_hash,
    is_free,
    profile_of,
)
from engine.bars import DAY
from engine.costs import (
    ConstantLatency,
    EquityFees,
    FeeTier,
    FixedSlippage,
    MakerTakerFees,
    NoSlippage,
    SquareRootImpact,
    TieredFees,
)
from engine.semantics import CHOICES, PROFILES, Switches, profile

START = 19_723 * DAY
FEES = MakerTakerFees(Decimal("0.0002"), Decimal("0.0005")).card()
COSTS = {"fees": FEES, "slippage": SquareRootImpact().card(), "latency": ConstantLatency(5_000_000).card()}
RULES = {"BTC/USDT": {"price_increment": "0.01"}}


def settings_of(card: dict[str, Any], level: str) -> list[str]:
    return [warning["setting"] for warning in card["warnings"] if warning["level"] == level]


def test_honest_settings_have_no_warnings() -> None:
    card = assumption_card(Switches().card(), COSTS, RULES, {"start": START}, filters_as_of=START)
    assert card["warnings"] == []
    assert card["profile"] == "default"
    json.dumps(card, allow_nan=False)


FLATTERING = [
    ({"market_fill": "same_close"}, {}, "market_fill"),
    ({"limit_touch": "touch"}, {}, "limit_touch"),
    ({"limit_gap": "bar_extreme"}, {}, "limit_gap"),
    ({"stop_gap": "trigger"}, {}, "stop_gap"),
    ({"trail_reference": "high_same_bar"}, {}, "trail_reference"),
    ({"children_same_bar": "always"}, {}, "children_same_bar"),
    ({"volume_cap": None}, {}, "volume_cap"),
    ({}, {"fees": MakerTakerFees().card()}, "fees"),
    ({}, {"slippage": NoSlippage().card()}, "slippage"),
    ({}, {"slippage": FixedSlippage().card()}, "slippage"),
    ({"path": "best"}, {}, "path"),
    ({}, {"fees": MakerTakerFees(Decimal("0.0005"), Decimal("0.0002")).card()}, "fees"),
]


@pytest.mark.parametrize(("switches", "costs", "setting"), FLATTERING)
def test_a_flattering_setting_is_warned_of(switches: dict[str, Any], costs: dict[str, Any], setting: str) -> None:
    card = assumption_card(Switches(**switches).card(), {**COSTS, **costs}, RULES)
    assert settings_of(card, "optimistic") == [setting]


def test_crossing_orders_that_pay_as_makers_do_under_a_tier_are_warned_of() -> None:
    fair = [FeeTier(Decimal(0), Decimal("0.001"), Decimal("0.001"))]
    tiers = [*fair, FeeTier(Decimal(10), Decimal("0.0005"), Decimal(0))]
    for given, expected in ((tiers, ["fees"]), (fair, [])):
        card = assumption_card(Switches().card(), {**COSTS, "fees": TieredFees(given).card()}, RULES)
        assert settings_of(card, "optimistic") == expected


SHORT = {"kind": "cash", "allow_short": True}


@pytest.mark.parametrize(
    ("account", "costs", "rules", "warned"),
    [
        (SHORT, {}, RULES, ["allow_short"]),
        (SHORT, {"borrow": {"kind": "fixed", "rate": "0.05"}}, RULES, []),
        (SHORT, {"funding": {"rate": "0.0001"}}, {"X": {"kind": "perpetual"}}, []),
        (PLAIN_ACCOUNT, {}, RULES, []),
    ],
)
def test_shorts_that_are_borrowed_for_nothing_are_warned_of(
    account: dict[str, Any], costs: dict[str, Any], rules: Any, warned: list[str]
) -> None:
    card = assumption_card(Switches().card(), {**COSTS, **costs}, rules, account=account)
    assert settings_of(card, "optimistic") == warned


@pytest.mark.parametrize(
    ("data", "count", "noted"),
    [
        ({}, PANEL, ["symbols"]),
        ({}, PANEL - 1, []),
        ({"is_synthetic": True}, PANEL, ["data"]),
        ({"prices": "adjusted"}, 1, ["prices"]),
        ({"prices": "raw"}, 1, ["prices"]),
        ({"gap_policy": "forward_fill"}, 1, ["gap_policy"]),
        ({"gap_policy": "error"}, 1, []),
    ],
)
def test_what_is_known_about_the_data_is_noted(data: dict[str, Any], count: int, noted: list[str]) -> None:
    rules = {f"S{number}": {"price_increment": "0.01"} for number in range(count)}
    card = assumption_card(Switches().card(), COSTS, rules, data)
    assert settings_of(card, "note") == noted
    assert settings_of(card, "optimistic") == []


def test_every_part_of_a_card_is_in_its_hash_but_for_data_words_and_a_plain_account() -> None:
    card = assumption_card(Switches().card(), COSTS, RULES, account=PLAIN_ACCOUNT)
    same = card_hash(card)
    assert same == card_hash({**card, "data": {"rows": 1}, "profile": "mine", "warnings": [1], "hash": "x"})
    assert same == card_hash({name: part for name, part in card.items() if name != "account"})
    others = [{**card, "account": SHORT}, {**card, "venue_rules": {"halts": "none"}}]
    assert len({same, *map(card_hash, others)}) == 3


def test_todays_filters_on_old_data_are_warned_of() -> None:
    card = assumption_card(Switches().card(), COSTS, RULES, {"start": START}, filters_as_of=START + 400 * DAY)
    assert settings_of(card, "optimistic") == ["filters"]
    assert "as of 2025-02-04T00:00Z on data from 2024-01-01T00:00Z" in card["warnings"][0]["text"]


def test_synthetic_and_made_up_data_are_noted_and_notes_of_the_caller_come_first() -> None:
    data = {"is_synthetic": True, "gap_policy": "forward_fill"}
    card = assumption_card(Switches(limit_touch="touch").card(), COSTS, RULES, data, notes=["the model had seen this"])
    assert card["warnings"][0]["text"] == "the model had seen this"
    assert settings_of(card, "note") == ["gap_policy", "data"]


def test_the_hash_names_the_assumptions_and_nothing_else() -> None:
    def hashed(switches: Switches, costs: dict[str, Any] = COSTS, rules: Any = RULES, **more: Any) -> str:
        return str(assumption_card(switches.card(), costs, rules, **more)["hash"])

    same = hashed(Switches())
    assert same == hashed(
        Switches(), dict(reversed(list(COSTS.items()))), data={"start": 1}, profile="mine", notes=["x"]
    )
    assert same == hashed(Switches(), {**COSTS, "fees": {"kind": "maker_taker", "maker": 0.0002, "taker": "0.00050"}})
    others = {
        hashed(Switches(path="ohlc")),
        hashed(Switches(seed=1)),
        hashed(Switches(), {**COSTS, "slippage": {"kind": "none"}}),
        hashed(Switches(), COSTS, {"BTC/USDT": {"price_increment": "0.1"}}),
    }
    assert len(others | {same}) == 5


def test_profiles_are_recognised() -> None:
    for name in PROFILES:
        assert profile_of(profile(name).card()) == name
    assert profile_of(Switches(volume_cap=0.3).card()) == "custom"


@pytest.mark.parametrize(
    ("cost", "free"),
    [
        (None, True),
        ("none", True),
        ({"kind": "none"}, True),
        (EquityFees().card(), True),
        (FEES, False),
        (EquityFees(minimum=Decimal(1)).card(), False),
        (ConstantLatency().card(), True),
        (SquareRootImpact().card(), False),
        (SquareRootImpact(coefficient=0.0).card(), True),
        (
            TieredFees(
                [FeeTier(Decimal(0), Decimal(0), Decimal(0)), FeeTier(Decimal(10**6), Decimal(0), Decimal(0))]
            ).card(),
            True,
        ),
        (TieredFees([FeeTier(Decimal(0), Decimal(0), Decimal("0.001"))]).card(), False),
    ],
)
def test_costs_that_cost_nothing_are_recognised(cost: Any, free: bool) -> None:
    assert is_free(cost) is free


def test_every_warning_is_about_a_value_that_exists_and_is_not_the_default() -> None:
    for table in (OPTIMISTIC, NOTABLE):
        for switch, texts in table.items():
            assert str(Switches().card()[switch]) not in texts
            assert set(texts) <= set(CHOICES.get(switch, ("True", "False")))


def test_simplifications_are_whole_sentences_in_four_columns() -> None:
    assert len({line.assumption for line in SIMPLIFICATIONS}) == len(SIMPLIFICATIONS)
    assert all(all(line) for line in SIMPLIFICATIONS)
