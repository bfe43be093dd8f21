"""A run with models, told: contamination divides its figures, and the page draws what the models were worth."""

import json
import re
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from engine.analysis.charts import PALETTE
from engine.analysis.findings import findings, headline
from engine.analysis.forecast_charts import model_charts
from engine.analysis.forecast_view import SPLIT
from engine.analysis.formatting import number
from engine.analysis.report import render_report
from engine.analysis.report_data import ReportData, report_from_result
from engine.analysis.summary import summary_text
from engine.bars import HOUR, iso
from engine.forecasting.testing import RandomPaths, spec_of
from engine.forecasts import ForecastKind
from engine.testing import NEW_YEAR_2024, run_bars
from tests.engine.forecasting.market import Follows, walk

UNTIL = NEW_YEAR_2024 + 1_000 * HOUR


@pytest.fixture(scope="module")
def crossing() -> ReportData:
    """Return a run of 100 days, of which the model may have seen the first 1 000 hours."""
    return report_of(trained_until=UNTIL)


def report_of(**spec: object) -> ReportData:
    bars = walk(2_400, seed=5)
    model = RandomPaths(spec_of(ForecastKind.PATHS, timeframe="1h", samples=8, **spec))
    result = run_bars(bars, Follows("8h"), forecasters={"model": model})
    return report_from_result(result, bars=bars)


def in_colours(part: Any) -> Any:
    """Return a figure with colours for the palette's names, as the page puts them in."""
    if isinstance(part, dict):
        return {key: in_colours(one) for key, one in part.items()}
    if isinstance(part, list):
        return [in_colours(one) for one in part]
    return PALETTE[part][0] if isinstance(part, str) and part in PALETTE else part


def test_a_run_that_crosses_the_cut_off_prints_no_undivided_sharpe(crossing: ReportData) -> None:
    whole = number(crossing.statistics.get("sharpe"))
    seen, unseen = (number(crossing.forecasts[part]["sharpe"]) for part in ("before", "after"))
    assert len({whole, seen, unseen}) == 3
    for text in (summary_text(crossing), re.sub(r"<script.*?</script>", "", render_report(crossing), flags=re.DOTALL)):
        assert f"{seen} | {unseen}" in text
        assert not re.search(rf"(?<![\d.,]){re.escape(whole)}(?![\d.,%])", text)


def test_every_figure_of_the_curve_is_told_in_halves(crossing: ReportData) -> None:
    text = summary_text(crossing)
    assert "Risk, seen | unseen" in text
    assert text.count(" | ") >= 9
    assert {"cagr", "sortino", "calmar", "max_drawdown", "probabilistic_sharpe", "volatility"} <= set(SPLIT)
    page = render_report(crossing)
    assert "Sharpe ratio, seen | unseen" in page
    assert "contaminated</span>" in page


def test_the_headline_speaks_of_what_no_model_had_seen(crossing: ReportData) -> None:
    assert headline(crossing).startswith(f"From {iso(UNTIL)[:10]} on, which no model had seen, ")
    assert "before, which they may have seen, " in headline(crossing)
    assert not any("contaminated" in finding.text.lower() for finding in findings(crossing))


def test_a_run_of_which_all_may_have_been_seen_says_so_first() -> None:
    found = report_of(trained_until=None)
    assert findings(found)[0].text.startswith("Contaminated: its models may have seen all of this time")
    assert " | " not in summary_text(found)
    assert "CONTAMINATED" in summary_text(found)


def test_a_clean_run_is_told_whole() -> None:
    found = report_of()
    assert not found.forecasts["contaminated"]
    assert number(found.statistics.get("sharpe")) in summary_text(found)
    assert "contaminated</span>" not in render_report(found)


def test_the_page_draws_calibration_coverage_skill_and_ic(crossing: ReportData) -> None:
    [drawn] = model_charts(crossing.forecasts)
    assert [chart.title for chart in drawn.charts] == [
        "Calibration", "Coverage by month", "Skill by month", "Rank IC by month",
    ]
    for chart in drawn.charts:
        go.Figure(in_colours(chart.figure))
    tones = drawn.charts[1].figure["data"][0]["marker"]["color"]
    assert tones == ["--benchmark", "--benchmark", "--accent", "--accent"]  # January, half of February; March, April
    assert "Grey: the model may have seen it" in drawn.charts[1].about


def test_what_a_kind_does_not_say_is_not_drawn(crossing: ReportData) -> None:
    record = crossing.forecasts["models"]["model"]["record"]
    bare = [{**one, "coverage": None, "skill_walk": None, "skill_cone": None} for one in record["periods"]]
    of = {"models": {"ranks": {"record": {**record, "calibration": {}, "periods": bare, "ic_of": "symbols"}}}}
    [drawn] = model_charts(of)
    assert [chart.title for chart in drawn.charts] == ["Rank IC by month"]
    assert "across symbols" in drawn.charts[0].about
    assert model_charts({"models": {"new": {"record": {}}}}) == []
    chances = [{"said": 0.2, "came": 0.3, "count": 4}, {"said": 0.7, "came": 0.6, "count": 9}]
    [drawn] = model_charts({"models": {"up": {"record": {**record, "reliability": chances}}}})
    assert "13 forecasts" in drawn.charts[1].about


def test_every_figure_has_its_place_on_the_page(crossing: ReportData) -> None:
    side = {"final_equity": 1.0, "total_return": 0.0, "sharpe": 1.0, "max_drawdown": 0.0, "trades": 1}
    closed = {"contested": 0, "resolved": 0, "pessimistic": side, "declared": side, "optimistic": side}
    for data in (crossing, replace(crossing, bounds=closed), replace(crossing, bounds={**closed, "contested": 3})):
        page = render_report(data)
        drawn = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
        assert drawn is not None
        for name in json.loads(drawn[1])["charts"]:
            assert f'id="chart-{name}"' in page


def test_a_lookback_that_no_symbol_reaches_is_told() -> None:
    text, enough = (
        summary_text(report_of(lookback=lookback, trained_until=0)) for lookback in (5_000, 100)
    )

    assert "no symbol had the 5,000 bars of its lookback; the longest history has 2,400" in text
    assert "bars of its lookback" not in enough


def test_words_at_a_level_stand_beside_the_bars(crossing: ReportData) -> None:
    noted = [chart.figure["layout"] for of in model_charts(crossing.forecasts) for chart in of.charts
             if "annotations" in chart.figure["layout"]]

    assert len(noted) == 2
    for layout in noted:
        assert [(note["x"], note["xanchor"]) for note in layout["annotations"]] == [(1, "left")]
        assert layout["margin"]["r"] > 60


@pytest.mark.parametrize(("unit", "count", "named"), [
    ("2024-01-{:02}", 6, 3), ("2024-01-{:02}", 5, 5), ("2024-{:02}", 7, 7),
])  # fmt: skip
def test_names_of_periods_do_not_touch(unit: str, count: int, named: int) -> None:
    periods = [{"period": unit.format(one + 1), "seen": 0.0, "ic": 0.1, "coverage": None, "skill_walk": None,
                "skill_cone": None} for one in range(count)]
    record = {"unit": "week", "periods": periods, "ic_of": "symbols"}
    charts = model_charts({"models": {"m": {"record": record}}})[0].charts

    axis = charts[0].figure["layout"]["xaxis"]
    assert len(axis.get("tickvals", periods)) == named
