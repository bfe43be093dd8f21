"""PositionHeadStrategy: a policy with a memory decides, told what is in fact held."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine import PluginError, SettingsError
from engine.bars import HOUR
from engine.forecasts import ForecastKind
from strategies.position_head import PositionHeadStrategy
from tests.strategies.forecast_runs import CountingPolicy, Ran, Says, hourly, kind_of, run

SPEC = kind_of(ForecastKind.MULTI, outputs=("return", "mood", "hidden_1"))
FLAT = [100.0] * 8


def ran(
    mood: Callable[[str, int], float], policy: CountingPolicy, *symbols: str, closes: Any = FLAT, **parameters: Any
) -> Ran:
    model = Says(SPEC, lambda symbol, bar: [0.0, mood(symbol, bar), 7.0 + bar])
    bars = [hourly(closes, symbol) for symbol in symbols or ("BTC/USD",)]
    return run(PositionHeadStrategy(model="price", **parameters), bars, {"price": model}, policies={"head": policy})


def test_the_wish_is_held_and_what_is_held_is_told() -> None:
    policy = CountingPolicy(("mood",))

    found = ran(lambda _, bar: 0.5 if bar < 4 else 0.75, policy)

    assert found.trades == [("buy", "BTC/USD", 2), ("buy", "BTC/USD", 5)]
    assert [one[0] for one in policy.told] == pytest.approx([0, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75], abs=1e-6)
    assert policy.intervals == {HOUR}
    assert found.decisions[0][2] == "head wishes for 0.50 and holds 0.00"


def test_inputs_are_taken_by_name_in_the_head_s_own_order() -> None:
    policy = CountingPolicy(("hidden_1", "mood"))
    ran(lambda _, bar: 0.5, policy, exposure=0.01)  # wishes for 8 times its share, and gets it

    assert policy.told[1][0] == pytest.approx(8, rel=1e-3)


def test_drift_is_told_too_and_traded_back_if_the_head_wishes_so() -> None:
    policy = CountingPolicy(("mood",))

    found = ran(lambda _, bar: 0.5, policy, closes=[100, 100, 100, 110, 110, 110, 110, 110])

    assert policy.told[2][0] > 0.52
    assert found.trades[:2] == [("buy", "BTC/USD", 2), ("sell", "BTC/USD", 4)]


def test_symbols_of_an_instant_are_one_batch_with_a_memory_each_and_share_the_exposure() -> None:
    policy = CountingPolicy(("mood",))

    found = ran(lambda symbol, bar: 0.5 if symbol == "A/USD" else 0.25, policy, "A/USD", "B/USD")

    assert [len(one) for one in policy.told] == [2] * 7
    assert [action for _, action in found.actions[:2]] == ["target 0.25", "target 0.125"]


def test_a_memory_begun_anew_is_told_in_the_reason() -> None:
    found = ran(lambda _, bar: bar / 10, CountingPolicy(("mood",)))

    reasons = [why for _, _, why in found.decisions]
    assert "its memory begun anew after a gap" in reasons[2]
    assert "anew" not in reasons[1]


def test_memories_survive_a_restart() -> None:
    model = Says(SPEC, lambda symbol, bar: [0.0, bar / 10, 7.0 + bar])
    before = PositionHeadStrategy(model="price")
    run(before, [hourly(FLAT)], {"price": model}, policies={"head": CountingPolicy(("mood",))})
    after = PositionHeadStrategy(model="price")

    after.load_state(json.loads(json.dumps(before.save_state())))

    assert after.memories == {"BTC/USD": {"steps": 7}}


def test_a_model_that_the_head_was_not_trained_on_is_refused() -> None:
    with pytest.raises(SettingsError, match="head reads 2 inputs, and price has no output 'luck'; expected the model"):
        ran(lambda _, bar: 0.0, CountingPolicy(("mood", "luck")))


def test_a_model_of_the_same_outputs_that_the_head_was_not_trained_on_is_refused() -> None:
    with pytest.raises(SettingsError, match="head was trained on the artefact abcdefabcdef, and price is none; "):
        ran(lambda _, bar: 0.0, CountingPolicy(("mood",), "abcdef" * 4))


def test_a_head_that_is_not_there_is_named() -> None:
    with pytest.raises(PluginError, match=r"asks for the policy 'haed'; this run has head; did you mean 'head'\?"):
        ran(lambda _, bar: 0.0, CountingPolicy(("mood",)), head="haed")
