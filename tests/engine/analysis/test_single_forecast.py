"""The sentence, the table and the page of one forecast."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.analysis.explanation_charts import attention_figure, weights_figure
from engine.analysis.forecast_page import (
    MOST_PATHS,
    end_figure,
    outputs_figure,
    panel_figure,
    path_figure,
    render_forecast,
)
from engine.analysis.forecast_text import as_json, print_forecast
from engine.analysis.single_forecast import ForecastView, PanelRow, PricePath, facts, fan, headline
from engine.bars import HOUR
from engine.forecasting.scores import log_return, score
from engine.forecasting.testing import spec_of
from engine.forecasts import Explanation, Forecast, ForecastKind
from engine.testing import NEW_YEAR_2024

HOSTILE = '</script><img src=x onerror=alert(1)>'


def bars(closes: list[float], first: int = 1) -> PricePath:
    prices = np.repeat(np.array(closes, float)[:, None], 4, axis=1)
    return PricePath(NEW_YEAR_2024 + HOUR * (first + np.arange(len(closes))), prices)


def view_of(kind: ForecastKind, values: Any, *, came: tuple[float, ...] = (), **changes: Any) -> ForecastView:
    """Return a view of a forecast from a last close of 100, over three hours."""
    spec = spec_of(kind, name="model", timeframe="1h", horizon=3, **changes)
    past = bars([98, 99, 100])
    now = int(past.time[-1])
    forecast = Forecast(
        0, spec, "BTC/USD", now, now, now + 3 * HOUR, 100.0, np.asarray(values, np.float32).reshape(spec.shape)
    )
    ahead = bars(list(came), 4)
    scored = None
    if len(came) == 3:
        scored = score(forecast, log_return(100.0, came[-1]), int(ahead.time[-1]), past.close)
    due = now + HOUR * np.arange(1, 4)
    return ForecastView(forecast, past, ahead, due, score=scored, stamp=("model: it may have",), window="abc", seed=7)


def paths(*ends: float) -> np.ndarray:
    return np.broadcast_to(np.array(ends)[:, None, None], (len(ends), 3, 6))


RISING = view_of(ForecastKind.PATHS, paths(101, 102, 103, 104), samples=4, came=(100.5, 101, 102.5))
QUANTILES = view_of(
    ForecastKind.QUANTILES, np.log([[0.99, 1.0, 1.01], [0.98, 1.0, 1.02], [0.97, 1.0, 1.03]]), levels=(0.1, 0.5, 0.9),
    came=(100, 100, 104),
)
SCORED = replace(
    view_of(ForecastKind.SCORE, [0.25]),
    panel=(PanelRow("ETH/USD", 0.5, None), PanelRow("BTC/USD", 0.25, 0.01), PanelRow("SOL/USD", -1.0, None)),
)
NAMED = view_of(ForecastKind.MULTI, [0.75, 0.01, 2.0], outputs=("up", "return", "hidden_1"))
STRAIGHT = view_of(ForecastKind.RETURN, np.log([1.01, 1.02, 1.03]))
CHANCES = view_of(ForecastKind.PROBABILITY, [0.75, 0.1], outputs=("up", "crash"))
SPREAD = view_of(
    ForecastKind.MULTI, [0.01, -0.02, 0.01, 0.03, 0.175], came=(101, 102, 105), return_output="move",
    outputs=("move", "move_q10", "move_q50", "move_q90", "drawdown"),
)
EVERY = [RISING, QUANTILES, SCORED, NAMED, STRAIGHT, CHANCES, SPREAD]


@pytest.mark.parametrize(("view", "sentence"), [
    (RISING, ("model expects BTC/USD at 102.499 in 3 bars (+2.50 %), with 80% of the outcomes between +1.30 % and "
     "+3.70 %; 100% of 4 paths rise. It came out at +2.50 %, above 50% of what it held possible.")),
    (QUANTILES, ("model expects BTC/USD at 100 in 3 bars (0.00 %), with 80% of the outcomes between -3.00 % and "
     "+3.00 %. It came out at +4.00 %, above 90% of what it held possible.")),
    (SCORED, "model scores BTC/USD +0.25, 2 of 3. What came of it is not known yet."),
    (NAMED, "model expects BTC/USD at 101.005 in 3 bars (+1.01 %); up 0.75. What came of it is not known yet."),
    (CHANCES, "model says of BTC/USD, 3 bars ahead: up 0.75, crash 0.1. What came of it is not known yet."),
    (SPREAD, ("model expects BTC/USD at 101.005 in 3 bars (+1.01 %), with 80% of the outcomes between -1.98 % and "
     "+3.05 %; drawdown 0.175. It came out at +5.00 %, above 90% of what it held possible.")),
    (STRAIGHT, "model expects BTC/USD at 103 in 3 bars (+3.00 %). What came of it is not known yet."),
    (view_of(ForecastKind.RETURN, [0, 0, 0], came=(101.0,)),
     "model expects BTC/USD at 100 in 3 bars (0.00 %). After 1 of 3 bars it stands at +1.00 %."),
])
def test_the_headline_says_what_is_forecast_and_what_came(view: ForecastView, sentence: str) -> None:
    assert headline(view) == sentence


def test_a_broken_answer_is_called_so() -> None:
    broken = replace(RISING, forecast=replace(RISING.forecast, flags=frozenset({"nan"})))

    assert headline(broken) == "model answered with what is no number; a strategy would not be told of it."


def test_the_fan_of_paths_is_made_of_their_quantiles_at_every_step() -> None:
    drawn = fan(RISING.forecast)

    assert drawn is not None
    assert drawn.returns.shape == (3, len(drawn.levels))
    assert drawn.steps.tolist() == [1, 2, 3]
    np.testing.assert_allclose(
        drawn.returns[0], np.quantile(np.log([1.01, 1.02, 1.03, 1.04]), drawn.levels), atol=1e-6)
    assert fan(CHANCES.forecast) is None


def test_several_targets_have_a_fan_to_the_horizon_s_end_alone() -> None:
    drawn = fan(SPREAD.forecast)
    figure = path_figure(SPREAD)
    median = next(trace for trace in figure["data"] if trace.get("name") == "Median")
    band = next(trace for trace in figure["data"] if trace.get("name") == "10% to 90%")

    assert drawn is not None
    assert (drawn.steps.tolist(), drawn.levels) == ([3], (0.1, 0.5, 0.9))
    assert median["x"] == ["2024-01-01 03:00", "2024-01-01 06:00"]
    np.testing.assert_allclose(median["y"], [100, 100 * np.exp(0.01)], rtol=1e-6)
    np.testing.assert_allclose(band["y"], [100, 100 * np.exp(-0.02)], rtol=1e-6)
    assert end_figure(SPREAD) is not None
    assert "drawn straight" in render_forecast(SPREAD)
    assert "drawn straight" not in render_forecast(QUANTILES)


def test_a_lone_named_return_is_a_straight_line() -> None:
    line = next(trace for trace in path_figure(NAMED)["data"] if trace.get("name") == "Expected")

    assert len(line["x"]) == 2
    np.testing.assert_allclose(line["y"], [100, 100 * np.exp(0.01)], rtol=1e-6)


@pytest.mark.parametrize("values", [[0.75, -0.001, 2.0], [-1, -2, -3], [0, 0, 0], [np.nan, 1, np.nan]])
def test_every_number_by_name_has_room_beside_its_bar(values: list[float]) -> None:
    figure = outputs_figure(view_of(ForecastKind.MULTI, values, outputs=("up", "other", "third")))

    assert figure is not None
    low, high = figure["layout"]["xaxis"]["range"]
    for value in np.nan_to_num(values):
        assert (value - low if value < 0 else high - value) > 0.18 * (high - low)
    assert figure["data"][0]["textposition"] == "outside"


def test_weights_stand_in_order_of_size_in_every_group_though_groups_share_names() -> None:
    view = replace(NAMED, window_times=NAMED.past.time, explanation=Explanation(
        {"the past": {"a": 0.2, "b": 0.5, "c": 0.3}, "known ahead": {"a": 0.6, "c": 0.1, "b": 0.3}},
        np.array([0.0, 0.7, 0.3]),
    ))

    figure = weights_figure(view)
    assert figure is not None
    labels = figure["layout"]["yaxis"]["ticktext"]
    shown = [(labels[place], share) for trace in figure["data"] for place, share in zip(
        trace["y"], trace["x"], strict=True)]
    assert labels == ["<b>the past</b>", "b", "c", "a", "<b>known ahead</b>", "a", "b", "c"]
    assert shown == [("b", 0.5), ("c", 0.3), ("a", 0.2), ("a", 0.6), ("b", 0.3), ("c", 0.1)]


def test_the_words_at_the_level_of_equal_attention_stand_beside_the_bars() -> None:
    view = replace(NAMED, window_times=NAMED.past.time, explanation=Explanation({}, np.array([0.2, 0.5, 0.3])))

    figure = attention_figure(view)
    assert figure is not None
    assert figure["layout"]["annotations"][0]["x"] == 1
    assert figure["layout"]["annotations"][0]["xanchor"] == "left"


def test_the_figure_goes_on_from_the_last_close() -> None:
    figure = path_figure(RISING)
    median = next(trace for trace in figure["data"] if trace.get("name") == "Median")
    came = next(trace for trace in figure["data"] if trace.get("name") == "What came" and trace["type"] == "scatter")

    assert median["y"][0] == 100
    assert median["x"][0] == figure["layout"]["shapes"][0]["x0"] == "2024-01-01 03:00"
    assert came["y"] == [100, 100.5, 101, 102.5]
    assert len(median["x"]) == 4


def test_many_paths_are_thinned_and_said_to_be() -> None:
    many = view_of(ForecastKind.PATHS, paths(*np.linspace(90, 110, 500)), samples=500)
    drawn = next(trace for trace in path_figure(many)["data"] if "paths" in trace.get("name", ""))

    assert drawn["name"] == f"{MOST_PATHS} of 500 paths"
    assert drawn["y"].count(None) == MOST_PATHS


@pytest.mark.parametrize("view", EVERY, ids=lambda view: view.forecast.spec.kind.value)
def test_every_kind_makes_a_page_that_fetches_nothing_and_text_and_json(view: ForecastView) -> None:
    page = render_forecast(view)
    ours = page[: page.index("<script>")] + page[page.rindex('<script type="application/json" id="figures">') :]

    assert "BTC/USD by model" in page
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", ours)
    assert "contaminated: model: it may have" in page
    console = _console()
    print_forecast(view, console)
    assert headline(view)[:30] in console.export_text()
    assert as_json(view)["symbol"] == "BTC/USD"
    assert "Made at" in facts(view)


def test_plotly_accepts_every_figure() -> None:
    graphs = pytest.importorskip("plotly.graph_objects")
    made = [figure(view) for view in EVERY for figure in (path_figure, end_figure, outputs_figure, panel_figure)]
    for figure in made:
        if figure is not None:
            graphs.Figure(_coloured(figure))
    assert sum(figure is not None for figure in made) == len(EVERY) + 7


def test_what_a_user_named_is_escaped() -> None:
    named = replace(SCORED.forecast, symbol=HOSTILE)
    panel = (PanelRow(HOSTILE, 1.0, None), PanelRow("B", 0.0, None))

    page = render_forecast(replace(SCORED, forecast=named, panel=panel))

    assert "<img src=x" not in page


def _console() -> Any:
    from rich.console import Console

    return Console(record=True, width=200, force_terminal=False)


def _coloured(node: Any) -> Any:
    """Put a real colour where the page would."""
    if isinstance(node, str) and node.startswith("--"):
        return "#123456"
    if isinstance(node, list):
        return [_coloured(part) for part in node]
    if isinstance(node, dict):
        return {key: _coloured(part) for key, part in node.items()}
    return node
