import json
from decimal import Decimal
from typing import Any

import pytest

from engine.analysis.assumptions import (
    NOTABLE,
    OPTIMISTIC,
    SIMPLIFICATIONS,
    assumption_card,
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
]


@pytest.mark.parametrize(("switches", "costs", "setting"), FLATTERING)
def test_a_flattering_setting_is_warned_of(switches: dict[str, Any], costs: dict[str, Any], setting: str) -> None:
    card = assumption_card(Switches(**switches).card(), {**COSTS, **costs}, RULES)
    assert settings_of(card, "optimistic") == [setting]


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
