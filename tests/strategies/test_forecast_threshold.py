"""ForecastThreshold: costs are beaten or nothing is traded, and nothing is held longer than a forecast reaches."""

import json
from typing import Any

import pytest

from engine import SettingsError
from engine.bars import HOUR
from engine.forecasts import ForecastKind
from engine.testing import NEW_YEAR_2024
from strategies.forecast_threshold import ForecastThreshold
from tests.strategies.forecast_runs import Says, hourly, kind_of, paths_to, run

FLAT = [100.0] * 16
RETURN = kind_of(ForecastKind.RETURN)


def returns(*said: float) -> Says:
    """Say a log return at each bar from the second on, 0 after the last."""
    return Says(RETURN, lambda _, bar: [0.0, 0.0, said[bar - 1] if bar - 1 < len(said) else 0.0])


def ran(model: Says, **parameters: Any) -> Any:
    return run(ForecastThreshold(model="model", **parameters), [hourly(FLAT)], {"model": model})


@pytest.mark.parametrize(("said", "edge", "short", "actions"), [
    (0.0040, 0.0, False, ["target 1"]),
    (0.0029, 0.0, False, []),  # less than going in and out costs
    (0.0040, 0.0015, False, []),  # more, but not by the edge asked for
    (0.0050, 0.0015, False, ["target 1"]),
    (-0.0040, 0.0, True, ["target -1"]),
    (-0.0029, 0.0, True, []),
])
def test_a_forecast_is_acted_on_if_it_beats_the_costs(
    said: float, edge: float, short: bool, actions: list[str]
) -> None:
    found = ran(returns(said), cost=0.003, edge=edge, short=short)

    assert [action for _, action in found.actions][:1] == actions


def test_a_position_is_left_when_the_horizon_ends_and_nothing_speaks_for_it_any_more() -> None:
    found = ran(returns(0.01))

    # made at bar 1, it speaks of bars 2 to 4
    assert found.actions == [(1, "target 1"), (4, "target 0")]
    assert found.decisions[0][2] == "return +1.00% against 0.30%"
    assert found.decisions[1][2] == "the horizon is over"


def test_a_forecast_that_speaks_for_a_position_prolongs_it() -> None:
    assert ran(returns(0.01, 0.0, 0.0, 0.01)).actions == [(1, "target 1"), (7, "target 0")]


def test_the_opposite_ends_a_position_or_turns_it_round() -> None:
    said = returns(0.01, -0.01)

    assert ran(said, short=False).actions == [(1, "target 1"), (2, "target 0")]
    assert ran(said, short=True).actions == [(1, "target 1"), (2, "target -1"), (5, "target 0")]


def test_a_position_entered_again_is_left_again() -> None:
    found = ran(returns(0.01, -0.01, 0.01), short=False)

    assert found.actions == [(1, "target 1"), (2, "target 0"), (3, "target 1"), (6, "target 0")]


@pytest.mark.parametrize(("rising", "cost", "acts"), [(7, 0.0, True), (5, 0.0, False), (7, 0.02, False)])
def test_by_probability_the_paths_beyond_the_cost_are_counted(rising: int, cost: float, acts: bool) -> None:
    model = paths_to(lambda _, bar: [101.0] * rising + [99.0] * (10 - rising), 10)  # ± 1 %

    found = ran(model, by="probability", least=0.6, cost=cost)

    assert bool(found.actions) is acts
    if acts:
        assert found.decisions[0][2] == "chance of a rise 70%, of a fall 30%"


def test_by_probability_quantiles_are_read_between_their_levels() -> None:
    spec = kind_of(ForecastKind.QUANTILES, levels=(0.1, 0.5, 0.9))
    model = Says(spec, lambda symbol, bar: [[-0.01, 0.01, 0.03]] * 3)  # below 0: 10 % + half of 40 % = 30 %

    assert ran(model, by="probability", cost=0.0, least=0.69).decisions[0][2] == "chance of a rise 70%, of a fall 30%"
    assert not ran(model, by="probability", cost=0.0, least=0.71).actions


def test_a_model_of_chances_alone_is_taken_at_its_word() -> None:
    spec = kind_of(ForecastKind.PROBABILITY, outputs=("up",))

    assert ran(Says(spec, lambda symbol, bar: [0.8]), by="probability").actions[0] == (1, "target 1")


@pytest.mark.parametrize(("kind", "changes", "by"), [
    (ForecastKind.SCORE, {}, "return"),
    (ForecastKind.RETURN, {}, "probability"),
    (ForecastKind.PROBABILITY, {"outputs": ("crash",)}, "probability"),
])
def test_a_model_that_cannot_be_read_so_is_refused(kind: ForecastKind, changes: dict[str, Any], by: str) -> None:
    model = Says(kind_of(kind, **changes), lambda symbol, bar: [0.0])

    with pytest.raises(SettingsError, match=f"model gives {kind}.*trading is by '{by}'; expected one"):
        ran(model, by=by)


def test_a_forecast_that_arrives_after_its_horizon_says_nothing() -> None:
    strategy = ForecastThreshold(model="model")

    assert not run(strategy, [hourly(FLAT)], {"model": returns(0.01)}, latency=3 * HOUR).actions


def test_symbols_share_the_exposure_and_are_timed_by_themselves() -> None:
    model = Says(RETURN, lambda symbol, bar: [0, 0, 0.01 if bar == (1 if symbol == "A/USD" else 3) else 0.0])
    bars = [hourly(FLAT, "A/USD"), hourly(FLAT, "B/USD")]

    found = run(ForecastThreshold(model="model", exposure=0.8), bars, {"model": model})

    assert found.actions == [(1, "target 0.4"), (3, "target 0.4"), (4, "target 0"), (6, "target 0")]
    assert found.based_on >= len(found.decisions)


def test_jumping_and_stepping_trade_the_same() -> None:
    closes = [100 + (7 * bar) % 13 for bar in range(200)]
    model = Says(RETURN, lambda symbol, bar: [0, 0, 0.02 * ((bar * 5) % 7 - 3) / 3])

    jumped, stepped = (
        run(ForecastThreshold(model="model", short=True), [hourly(closes)], {"model": model}, fee="0.001", mode=mode)
        for mode in ("auto", "step")
    )

    assert jumped.fills
    assert jumped.fills_hash == stepped.fills_hash
    assert jumped.decisions == stepped.decisions


def test_until_when_positions_are_held_survives_a_restart() -> None:
    before, after = ForecastThreshold(model="model"), ForecastThreshold(model="model")
    before.until = {"BTC/USD": NEW_YEAR_2024}

    after.load_state(json.loads(json.dumps(before.save_state())))

    assert after.until == before.until
