"""RankRotation: TopKDropout's rule, by a model's scores."""

import json
from typing import Any

import numpy as np
import pytest

from engine import Bars, SettingsError
from engine.forecasting.skill import SkillRule
from engine.forecasting.testing import FunctionForecaster, spec_of
from engine.forecasts import ForecastKind
from strategies.rank_rotation import RankRotation
from strategies.top_k_dropout import TopKDropout
from tests.strategies.forecast_runs import Says, hourly, kind_of, run

SCORE = kind_of(ForecastKind.SCORE)


def panel(tools: Any, names: int, rows: int = 80) -> list[Bars]:
    return [hourly(np.round(tools.walk(rows, seed), 2), f"S{seed:02}/USD") for seed in range(names)]


def test_ranked_by_the_rise_it_trades_as_top_k_dropout_does(tools: Any) -> None:
    lookback, bars = 6, panel(tools, 9)
    spec = spec_of(ForecastKind.SCORE, timeframe="1h", lookback=lookback + 1, horizon=1, is_deterministic=True)
    rise = FunctionForecaster(spec, lambda window: [float(window[-1, 0] / window[0, 0])])
    terms = {"n_hold": 4, "n_drop": 2, "min_hold": 3}

    by_model = run(RankRotation(model="model", **terms), bars, {"model": rise}, fee="0.001")
    by_rise = run(TopKDropout(lookback=lookback, **terms), bars, {}, fee="0.001")

    assert len(by_model.fills) > 20
    assert by_model.fills_hash == by_rise.fills_hash


def test_reasons_tell_the_rank_and_whose_it_is() -> None:
    bars = [hourly([100.0] * 6, name) for name in ("A/USD", "B/USD", "C/USD")]
    scores = {"A/USD": 3.0, "B/USD": 2.0, "C/USD": 1.0}
    model = Says(SCORE, lambda symbol, bar: [scores[symbol] if bar < 3 else -scores[symbol]])

    found = run(RankRotation(model="model", n_hold=1, n_drop=1), bars, {"model": model})

    assert [(bar, why) for bar, _, why in found.decisions] == [
        (1, "among the strongest: 1 of 3 by model"),
        (3, "among the weakest: 3 of 3 by model"),
        (3, "among the strongest: 1 of 3 by model"),
    ]
    assert found.based_on == 3


def test_symbols_that_are_not_ranked_keep_their_place() -> None:
    """NaN answers never arrive; what is held of such a symbol is neither sold nor forgotten."""
    bars = [hourly([100.0] * 9, name) for name in ("A/USD", "B/USD", "C/USD")]
    scores = {"A/USD": 3.0, "B/USD": 2.0, "C/USD": 1.0}
    model = Says(SCORE, lambda symbol, bar: [np.nan if symbol == "A/USD" and bar >= 3 else scores[symbol]])

    found = run(RankRotation(model="model", n_hold=1, n_drop=1), bars, {"model": model})

    assert found.trades == [("buy", "A/USD", 2)]


def test_too_few_ranked_names_trade_nothing() -> None:
    model = Says(SCORE, lambda symbol, bar: [1.0])

    assert not run(RankRotation(model="model", n_hold=1, n_drop=1), [hourly([100.0] * 5)], {"model": model}).trades


def test_more_drops_than_names_are_refused() -> None:
    with pytest.raises(SettingsError, match="RankRotation: n_drop is 3, n_hold 2; expected at most n_hold"):
        run(RankRotation(n_hold=2, n_drop=3), [hourly([1.0] * 5)], {"krnn": Says(SCORE, lambda *_: [0.0])})


def test_a_restart_goes_on_with_the_same_holdings() -> None:
    bars = [hourly([100.0] * 6, name) for name in ("A/USD", "B/USD")]
    model = Says(SCORE, lambda symbol, bar: [float(ord(symbol[0]) * (bar + 1))])
    before, after = (RankRotation(model="model", n_hold=1, n_drop=1) for _ in range(2))
    run(before, bars, {"model": model})
    run(after, [one[:1] for one in bars], {"model": model})

    after.load_state(json.loads(json.dumps(before.save_state())))

    assert after.save_state() == before.save_state()
    assert after.rotation.bought_at.tolist() == [-1, 1]


# ── what follows the model's skill ──────────────────────────────────────────────────────────────────────────────────

NAMES = ("A/USD", "B/USD", "C/USD", "D/USD")
RULE = SkillRule(window=4, least=2, floor=0.0, scale=0.5)


def drifting(rows: int = 40) -> list[Bars]:
    """Return names of which each rises less than the one before."""
    return [hourly(100 * 1.001 ** (np.arange(rows) * (4 - place)), name) for place, name in enumerate(NAMES)]


def wrong_between(first: int, last: int) -> Says:
    """Return a model that knows which name will rise most, and says the opposite for some bars."""

    def says(symbol: str, bar: int) -> list[float]:
        sign = -1.0 if first <= bar < last else 1.0
        return [sign * (4 - NAMES.index(symbol)) + bar / 1000]  # never the same twice, which would count as stuck

    return Says(SCORE, says)


def exposures(decisions: list[tuple[int, str, str]]) -> list[tuple[int, float]]:
    return [(bar, float(action.removeprefix("target "))) for bar, action, _ in decisions]


def test_holdings_are_resized_when_what_the_skill_allows_changes_and_only_then() -> None:
    strategy = RankRotation(model="model", n_hold=2, n_drop=0, exposure=0.8)

    found = run(strategy, drifting(), {"model": wrong_between(10, 20)}, skill={"model": RULE})

    at = exposures(found.decisions)
    bars = list(dict.fromkeys(bar for bar, _ in at))
    assert len(bars) == 3  # bought; resized down once; resized up once
    assert [len([one for one in at if one[0] == bar]) for bar in bars] == [2, 2, 2]
    assert [sum(share for bar, share in at if bar == one) for one in bars] == pytest.approx([0.8, 0.4, 0.8], abs=0.04)
    sides = {bar: {side for side, _, filled in found.trades if filled == bar + 1} for bar in bars}
    assert sides == {bars[0]: {"buy"}, bars[1]: {"sell"}, bars[2]: {"buy"}}
    down, up = (next(why for bar, _, why in found.decisions if bar == one) for one in bars[1:])
    assert down.startswith("kept by model, resized: what its skill allows is × 0.5 now and was × 1; target 0.4")
    assert down.endswith("× 0.5: model shows no skill")
    assert up == "kept by model, resized: what its skill allows is × 1 now and was × 0.5"


def test_a_factor_of_nothing_sells_all_and_what_comes_back_is_bought_anew() -> None:
    rule = SkillRule(window=4, least=2, floor=0.0, scale=0.0)
    strategy = RankRotation(model="model", n_hold=2, n_drop=0, exposure=0.8)

    found = run(strategy, drifting(), {"model": wrong_between(10, 20)}, skill={"model": rule})

    assert [side for side, _, _ in found.trades] == ["buy", "buy", "sell", "sell", "buy", "buy"]
    assert exposures(found.decisions)[-2:] == [(exposures(found.decisions)[-1][0], pytest.approx(0.4, abs=0.01))] * 2


def test_a_book_that_is_scaled_down_stays_so_however_often_it_is_turned_over(tools: Any) -> None:
    """Half of the free cash at every turn would in the end be nearly all of it."""
    bars = panel(tools, 8, 120)
    rng = np.random.default_rng(3)
    said = {(name.streams[0].symbol, bar): float(rng.normal()) for name in bars for bar in range(120)}
    model = Says(SCORE, lambda symbol, bar: [said[symbol, bar]])
    rule = SkillRule(window=4, least=2, floor=2.0, scale=0.5)  # no rank IC reaches 2
    held: list[float] = []

    class Watched(RankRotation):
        def on_forecasts(self, panel: Any) -> None:
            value = sum(float(self.position(name)) * self.price(name) for name in self.symbols)
            held.append(value / float(self.equity()))
            super().on_forecasts(panel)

    found = run(Watched(model="model", n_hold=4, n_drop=2, exposure=1.0), bars, {"model": model}, skill={"model": rule})

    assert len(found.trades) > 150
    assert max(held[10:]) < 0.56
    assert min(held[10:]) > 0.44


@pytest.mark.parametrize("skill", [{}, {"model": SkillRule(window=4, least=2, scale=1.0)}])
def test_without_a_rule_that_bites_nothing_is_other(tools: Any, skill: dict[str, SkillRule]) -> None:
    lookback, bars = 6, panel(tools, 9)
    spec = spec_of(ForecastKind.SCORE, timeframe="1h", lookback=lookback + 1, horizon=1, is_deterministic=True)
    rise = FunctionForecaster(spec, lambda window: [float(window[-1, 0] / window[0, 0])])
    terms = {"n_hold": 4, "n_drop": 2, "min_hold": 3}

    by_model = run(RankRotation(model="model", **terms), bars, {"model": rise}, fee="0.001", skill=skill)

    assert by_model.fills_hash == run(TopKDropout(lookback=lookback, **terms), bars, {}, fee="0.001").fills_hash
