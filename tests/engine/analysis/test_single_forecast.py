"""The sentence, the table and the page of one forecast."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.analysis.forecast_page import MOST_PATHS, path_figure, render_forecast
from engine.analysis.forecast_text import as_json, print_forecast
from engine.analysis.single_forecast import ForecastView, PanelRow, PricePath, facts, fan, headline
from engine.bars import HOUR
from engine.forecasting.scores import log_return, score
from engine.forecasting.testing import spec_of
from engine.forecasts import Forecast, ForecastKind
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
EVERY = [RISING, QUANTILES, SCORED, NAMED, STRAIGHT]


@pytest.mark.parametrize(("view", "sentence"), [
    (RISING, ("model expects BTC/USD at 102.499 3 bars ahead (+2.50 %), with 80% of the outcomes between +1.30 % and "
     "+3.70 %; 100% of 4 paths rise. It came out at +2.50 %, above 50% of what it held possible.")),
    (QUANTILES, ("model expects BTC/USD at 100 3 bars ahead (0.00 %), with 80% of the outcomes between -3.00 % and "
     "+3.00 %. It came out at +4.00 %, above 90% of what it held possible.")),
    (SCORED, "model scores BTC/USD +0.25, 2 of 3. What came of it is not known yet."),
    (NAMED, "model says of BTC/USD, 3 bars ahead: up 0.75, return +1.000 %. What came of it is not known yet."),
    (STRAIGHT, "model expects BTC/USD at 103 3 bars ahead (+3.00 %). What came of it is not known yet."),
    (view_of(ForecastKind.RETURN, [0, 0, 0], came=(101.0,)),
     "model expects BTC/USD at 100 3 bars ahead (0.00 %). After 1 of 3 bars it stands at +1.00 %."),
])
def test_the_headline_says_what_is_forecast_and_what_came(view: ForecastView, sentence: str) -> None:
    assert headline(view) == sentence


def test_a_broken_answer_is_called_so() -> None:
    broken = replace(RISING, forecast=replace(RISING.forecast, flags=frozenset({"nan"})))

    assert headline(broken) == "model answered with what is no number; a strategy would not be told of it."


def test_the_fan_of_paths_is_made_of_their_quantiles_at_every_step() -> None:
    drawn = fan(RISING.forecast)

    assert drawn is not None
    levels, returns = drawn
    assert returns.shape == (3, len(levels))
    np.testing.assert_allclose(returns[0], np.quantile(np.log([1.01, 1.02, 1.03, 1.04]), levels), atol=1e-6)
    assert fan(NAMED.forecast) is None


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
    from engine.analysis.forecast_page import end_figure, outputs_figure, panel_figure

    made = [figure(view) for view in EVERY for figure in (path_figure, end_figure, outputs_figure, panel_figure)]
    for figure in made:
        if figure is not None:
            graphs.Figure(_coloured(figure))
    assert sum(figure is not None for figure in made) == len(EVERY) + 4


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
