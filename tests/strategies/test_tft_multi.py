"""TftMulti: several statements about the future become one exposure, and the reason says how."""

from typing import Any

import pytest

from engine import SettingsError
from engine.forecasts import ForecastKind
from strategies.tft_multi import TftMulti
from tests.strategies.forecast_runs import Ran, Says, hourly, kind_of, run

FLAT = [100.0] * 8
OUTPUTS = ("up", "return", "drawdown")


def ran(*said: tuple[float, float, float], outputs: tuple[str, ...] = OUTPUTS, **parameters: Any) -> Ran:
    spec = kind_of(ForecastKind.MULTI, outputs=outputs)
    model = Says(spec, lambda symbol, bar: said[min(bar - 1, len(said) - 1)][: len(outputs)])
    return run(TftMulti(model="model", **parameters), [hourly(FLAT)], {"model": model})


@pytest.mark.parametrize(("said", "parameters", "action"), [
    # ½ (2 · 0.9 − 1) + ½ · 0.005/0.01 = 0.65
    ((0.9, 0.005, 0.0), {}, "target 0.65"),
    # the return counts no more than a sure trend, however large
    ((0.9, 0.500, 0.0), {}, "target 0.9"),
    # a drawdown of chance 40 % takes 40 % off, or half of that
    ((0.9, 0.005, 0.4), {}, "target 0.39"),
    ((0.9, 0.005, 0.4), {"drawdown_weight": 0.5}, "target 0.52"),
    ((0.1, -0.01, 0.0), {"short": True}, "target -0.9"),
    # parts without a name are left out
    ((0.9, 0.005, 0.4), {"expected": "", "drawdown": ""}, "target 0.4"),
    ((0.9, 0.005, 0.4), {"trend": "", "drawdown": "", "return_weight": 1.0}, "target 0.5"),
    ((1.0, 0.010, 0.0), {"largest": 0.6}, "target 0.6"),
])
def test_the_parts_are_weighed(said: tuple[float, float, float], parameters: dict[str, Any], action: str) -> None:
    assert ran(said, **parameters).actions[0] == (1, action)


def test_a_fall_is_no_reason_to_sell_short_unless_it_may() -> None:
    assert not ran((0.1, -0.01, 0.0)).actions


def test_the_reason_tells_every_part() -> None:
    assert ran((0.9, 0.005, 0.4)).decisions[0][2] == (
        "up 90% → +0.40, return +0.50% → +0.25, drawdown 40% → × 0.60: 0.39; held 0.00"
    )


def test_small_changes_of_mind_are_not_traded_but_leaving_always_is() -> None:
    sure, less_sure, neither = (0.9, 0.005, 0.0), (0.86, 0.005, 0.0), (0.5, 0.0, 0.0)

    assert [action for _, action in ran(sure, less_sure, neither).actions] == ["target 0.65", "target 0"]
    assert [action for _, action in ran(sure, less_sure, neither, least_change=0.03).actions] == [
        "target 0.65", "target 0.61", "target 0"]


@pytest.mark.parametrize(("parameters", "message"), [
    ({"trend": "trend"}, "TftMulti: model has no output 'trend'; its outputs are up, return, drawdown"),
    ({"trend": "", "expected": ""}, "TftMulti: model is asked for neither a trend nor a return"),
])
def test_outputs_that_are_not_there_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ran((0.5, 0.0, 0.0), **parameters)


def test_a_model_without_names_is_refused() -> None:
    model = Says(kind_of(ForecastKind.RETURN), lambda symbol, bar: [0.0])

    with pytest.raises(SettingsError, match="its outputs are none: it gives return"):
        run(TftMulti(model="model"), [hourly(FLAT)], {"model": model})
