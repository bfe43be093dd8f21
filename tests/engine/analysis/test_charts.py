from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.analysis import charts
from engine.analysis.report_data import ReportData, report_from_result
from engine.bars import DAY, Bars

Make = Callable[..., Any]


@pytest.fixture
def data(swinging: Any, wandering: Bars) -> ReportData:
    return report_from_result(swinging.result(), bars=wandering, orders=swinging.orders, decisions=swinging.decisions)


def coloured(node: Any) -> Any:
    """Put the light colours in, as the page does."""
    if isinstance(node, str):
        return charts.PALETTE[node][0] if node in charts.PALETTE else node
    if isinstance(node, dict):
        return {key: coloured(part) for key, part in node.items()}
    return [coloured(part) for part in node] if isinstance(node, list) else node


def every_figure(data: ReportData) -> list[charts.Figure]:
    makers = (
        charts.equity_figure,
        charts.exposure_figure,
        charts.costs_figure,
        charts.returns_figure,
        charts.excursions_figure,
        charts.symbols_figure,
    )
    single = [figure for make in makers if (figure := make(data)) is not None]
    return single + [view["figure"] for entry in charts.candle_views(data) for view in entry["views"]]


def test_plotly_accepts_every_figure(data: ReportData) -> None:
    graphs = pytest.importorskip("plotly.graph_objects")
    figures = every_figure(data)
    assert len(figures) >= 6
    for figure in figures:
        graphs.Figure(coloured(figure))


def test_equity_ends_where_the_curve_ends_and_shares_its_axis_with_the_drawdown(data: ReportData) -> None:
    figure = charts.equity_figure(data)
    benchmark, equity, _, fall = figure["data"]
    assert equity["y"][-1] == pytest.approx(data.curve.equity[-1])
    assert benchmark["y"][0] == equity["y"][0]
    assert min(fall["y"]) == pytest.approx(data.statistics["max_drawdown"])
    assert fall["yaxis"] == "y2"
    assert "xaxis" not in fall
    assert equity["x"] == fall["x"]


def test_the_waterfall_leads_from_gross_to_net(data: ReportData) -> None:
    figure = charts.costs_figure(data)
    assert figure is not None
    values = figure["data"][0]["y"]
    assert sum(values[:-1]) == pytest.approx(values[-1])
    assert values[-1] == pytest.approx(data.statistics["net_profit"])


def test_no_bar_of_the_distribution_mixes_losses_with_gains(data: ReportData) -> None:
    figure = charts.returns_figure(data)
    assert figure is not None
    (bars,) = figure["data"]
    assert sum(bars["y"]) == 60
    half = bars["width"] / 2
    assert all(abs(middle) >= half for middle in bars["x"])


def test_marks_tell_why_and_at_what_and_escape_what_users_wrote(data: ReportData) -> None:
    (entry,) = charts.candle_views(data)
    texts = [text for trace in entry["views"][0]["figure"]["data"] for text in trace.get("text", ())]
    assert any("trip 0 &lt;b&gt;&amp;&lt;/b&gt;" in text and "Sold short 5 at" in text for text in texts)
    assert any("net " in text and "held 10 h" in text for text in texts)
    assert not any("<b>&</b>" in text for text in texts)


def test_a_million_bars_make_a_few_thousand_candles(make_bars: Make, make_book: Make) -> None:
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-4, 300_000)))
    book = make_book(make_bars(closes, timeframe="1m"))
    for place in range(2000):
        book.trade(10 + 140 * place, 1.0)
        book.trade(60 + 140 * place, -1.0)
    data = report_from_result(book.result(), bars=book.bars["BTC/USDT"])
    (entry,) = charts.candle_views(data)
    labels = [view["label"] for view in entry["views"]]
    assert [label.split(" · ")[0] for label in labels] == ["Whole run", "Busiest", "Best trade", "Worst trade", "Last"]
    candles = [len(view["figure"]["data"][0]["open"]) for view in entry["views"]]
    assert sum(candles) <= charts.MOST_CANDLES
    marks = [trace for trace in entry["views"][0]["figure"]["data"] if trace.get("mode") == "markers"]
    assert sum(len(trace["x"]) for trace in marks) <= 2 * charts.MOST_MARKERS
    assert "250 of them, evenly picked, are marked" in entry["views"][0]["note"]
    # Two thousand positions side by side would be a block of colour.
    exposure = charts.exposure_figure(data)
    assert exposure is not None
    assert [trace["name"] for trace in exposure["data"]] == ["lowest", "highest", "mean"]


def test_markets_with_nights_are_drawn_without_holes(make_bars: Make, make_book: Make) -> None:
    bars = make_bars(100 + np.arange(240) % 9)
    awake = bars.open_time % DAY < DAY // 4
    kept = Bars(bars.streams, *(getattr(bars, name)[awake] for name in
                                ("open_time", "close_time", "open", "high", "low", "close", "volume")))
    book = make_book(kept)
    book.trade(3, 1.0)
    book.trade(40, -1.0)
    (entry,) = charts.candle_views(report_from_result(book.result(), bars=kept))
    figure = entry["views"][0]["figure"]
    assert figure["layout"]["xaxis"]["type"] == "category"
    names = figure["data"][0]["x"]
    assert names[0] == "2024-01-01"
    marked = [x for trace in figure["data"] if trace.get("mode") == "markers" for x in trace["x"]]
    assert set(marked) <= set(names)


def test_a_run_without_trades_or_bars_has_no_such_figures(make_bars: Make, make_book: Make) -> None:
    book = make_book(make_bars([100, 101, 102]))
    data = report_from_result(book.result())
    assert charts.candle_views(data) == []
    for make in (
        charts.exposure_figure,
        charts.costs_figure,
        charts.returns_figure,
        charts.excursions_figure,
        charts.symbols_figure,
    ):
        assert make(data) is None


def test_every_symbol_has_its_profit_and_the_busiest_get_candles(make_bars: Make, make_book: Make) -> None:
    closes = [100, 101, 102, 103, 104, 105, 106, 107]
    book = make_book(*(make_bars(closes, f"S{number}") for number in range(12)), cash=1e6)
    for number in range(12):
        for bar in range(1, 3 + number // 3 * 2):
            book.trade(min(bar, 7), 1.0 if bar % 2 else -1.0, symbol=f"S{number}")
    data = report_from_result(book.result())
    figure = charts.symbols_figure(data)
    assert figure is not None
    assert len(figure["data"][0]["y"]) == 12
