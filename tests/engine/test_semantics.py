"""Switches and profiles: known names, known values, and an error that says which was meant."""

import dataclasses
from typing import Any

import pytest

from engine import SettingsError
from engine.semantics import CHOICES, PROFILES, Switches, profile
from tests.engine import test_exchange as exchange_tests


def test_the_first_choice_is_the_default() -> None:
    for name, choices in CHOICES.items():
        assert getattr(Switches(), name) == choices[0], name


def test_the_honest_defaults() -> None:
    honest = Switches()
    assert (honest.market_fill, honest.path, honest.limit_touch, honest.volume_cap) == (
        "next_open",
        "worst",
        "through",
        0.1,
    )
    assert honest.children_reduce_only


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"path": "wurst"}, "switch path is 'wurst'; did you mean 'worst'.; expected one of worst, detail, best"),
        ({"limit_touch": "xyz"}, "switch limit_touch is 'xyz'; expected one of through, touch, probability"),
        ({"volume_cap": 0.0}, "switch volume_cap is 0.0; expected a share above 0 and up to 1, or none"),
        ({"volume_cap": 1.5}, "switch volume_cap is 1.5; expected a share above 0 and up to 1, or none"),
        ({"touch_probability": -0.1}, "switch touch_probability is -0.1; expected 0 … 1"),
    ],
)
def test_values_that_are_no_choice(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Switches(**terms)


def test_profiles_are_rows_of_switch_values() -> None:
    names = {field.name for field in dataclasses.fields(Switches)}
    for name, changes in PROFILES.items():
        assert set(changes) <= names
        switches = profile(name)
        assert {key: getattr(switches, key) for key in changes} == changes
    assert profile("default") == Switches()
    assert profile("backtrader", volume_cap=0.5).volume_cap == 0.5
    assert set(profile("default").card()) == names


def test_unknown_profiles_and_switches() -> None:
    with pytest.raises(
        SettingsError, match="unknown profile 'backtrade'; did you mean 'backtrader'.; expected one of default, "
    ):
        profile("backtrade")
    with pytest.raises(
        SettingsError, match="unknown switch 'pth'; did you mean 'path'.; expected one of market_fill, "
    ):
        profile("default", pth="worst")


def test_every_choice_is_shown_in_the_tests_of_the_exchange() -> None:
    with open(exchange_tests.__file__, encoding="utf-8") as source:
        text = source.read()
    missing = [
        (name, value)
        for name, choices in CHOICES.items()
        for value in choices[1:]
        if f'"{name}": "{value}"' not in text and f'("{value}", ' not in text and f'"path": "{value}"' not in text
    ]
    assert missing == []
