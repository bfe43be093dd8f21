"""RankRotation: TopKDropout's rule, by a model's scores."""

import json
from typing import Any

import numpy as np
import pytest

from engine import Bars, SettingsError
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
