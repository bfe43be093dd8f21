"""Parameters: declared once, checked the same wherever the values come from."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine import Param, SettingsError, Strategy
from engine.parameters import Parameter, checked_parameters, declared_parameters

ROOT = Path(__file__).parents[2]


class Trend(Strategy):
    fast: int = Param(20, ge=2, le=500, help="bars")
    size: float = Param(0.5, gt=0, lt=1)
    is_long: bool = Param(True)
    average: str = Param("SMA", choices=("SMA", "EMA"))


class Faster(Trend):
    fast = 5
    depth: int = Param(3)


def test_defaults_are_set_as_plain_values_on_the_instance() -> None:
    strategy = Trend()
    assert (strategy.fast, strategy.size, strategy.is_long, strategy.average) == (20, 0.5, True, "SMA")
    assert strategy.parameters == {"fast": 20, "size": 0.5, "is_long": True, "average": "SMA"}


def test_given_values_replace_defaults() -> None:
    assert Trend(fast=30).fast == 30


def test_a_whole_number_will_do_for_a_float() -> None:
    class Sized(Strategy):
        size: float = Param(0.5, ge=0)

    value = Sized(size=1).size
    assert value == 1.0
    assert isinstance(value, float)


def test_subclasses_inherit_parameters_and_may_give_them_other_defaults() -> None:
    assert list(declared_parameters(Faster)) == ["fast", "size", "is_long", "average", "depth"]
    assert Faster().fast == 5
    assert Faster(fast=7).fast == 7
    with pytest.raises(SettingsError, match=r"Faster: parameter fast is 1; expected ≥ 2"):
        Faster(fast=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fats": 3}, r"Trend: unknown parameter 'fats'; did you mean 'fast'\? \(it has: fast, size"),
        ({"fast": 1}, r"Trend: parameter fast is 1; expected ≥ 2 \(between 2 and 500\)"),
        ({"fast": 501}, r"parameter fast is 501; expected ≤ 500"),
        ({"fast": 2.0}, r"parameter fast is 2\.0; expected int"),
        ({"fast": True}, r"parameter fast is True; expected int"),
        ({"fast": "20"}, r"parameter fast is '20'; expected int"),
        ({"size": 0}, r"parameter size is 0\.0; expected > 0"),
        ({"size": 1.0}, r"parameter size is 1\.0; expected < 1"),
        ({"size": float("nan")}, r"parameter size is nan; expected"),
        ({"is_long": 1}, r"parameter is_long is 1; expected bool"),
        ({"average": "WMA"}, r"parameter average is 'WMA'; expected one of 'SMA', 'EMA'"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        checked_parameters(Trend, values)


def test_a_default_outside_its_own_range_is_refused() -> None:
    class Contradiction(Strategy):
        fast: int = Param(1, ge=2)

    with pytest.raises(SettingsError, match=r"Contradiction: parameter fast is 1; expected ≥ 2"):
        Contradiction()


def test_a_parameter_without_a_type_is_refused() -> None:
    class Untyped(Strategy):
        fast = Param(20)

    with pytest.raises(SettingsError, match=r"Untyped: parameter fast has no type; write fast: int = Param"):
        Untyped()


def test_a_parameter_of_another_type_is_refused() -> None:
    class Listed(Strategy):
        periods: list = Param([])

    with pytest.raises(SettingsError, match=r"Listed: parameter periods has type list; write periods: int"):
        Listed()


def test_a_parameter_must_not_hide_what_a_strategy_can_do() -> None:
    class Hiding(Strategy):
        target: float = Param(0.5)

    with pytest.raises(SettingsError, match=r"Hiding: parameter target would hide Strategy\.target; take another"):
        Hiding()


def test_types_written_as_text_are_understood_and_other_annotations_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "later.py"
    file.write_text(
        "from __future__ import annotations\n"
        "from engine import Param, Strategy\n"
        "class Later(Strategy):\n"
        "    line: OnlyForTypeCheckers\n"
        "    fast: int = Param(20)\n"
        "assert Later(fast=3).fast == 3\n"
    )
    subprocess.run([sys.executable, str(file)], check=True, env={"PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        (Parameter(1), ""),
        (Parameter(1, ge=2, le=500), "≥ 2, ≤ 500"),
        (Parameter(1, gt=0, lt=1), "> 0, < 1"),
        (Parameter("a", choices=("a", "b")), "a or b"),
    ],
)
def test_ranges_read_as_words(parameter: Parameter, words: str) -> None:
    assert parameter.range == words
