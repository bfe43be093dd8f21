from dataclasses import replace
from typing import Any

import pytest

from engine.analysis.bounds_view import bounds_figure, bounds_headline, bounds_lines, is_told, open_trades
from engine.analysis.report_data import ReportData, report_from_result
from engine.analysis.summary import summary_text
from engine.bars import HOUR, Bars
from tests.engine.analysis.conftest import START

FIGURES = {"total_return": 0.1, "max_drawdown": -0.02, "sharpe": 1.5, "trades": 60}
ENDING = {"net": -10.0, "time": START + HOUR, "price": 90.0, "is_held": False}
BOUNDS: dict[str, Any] = {
    **{side: {"final_equity": equity, **FIGURES} for side, equity in (
        ("pessimistic", 9000.0), ("declared", 10000.0), ("optimistic", 11000.0))},
    "contested": 5, "ambiguous": 1, "resolved": 0, "corrected": 0, "unknown": 0, "unlinked": 0, "note": "", "again": {},
    "trades": [{
        "symbol": "BTC/USDT", "side": "buy", "quantity": 1.0, "orders": [1, 2, 3], "entry_time": START,
        "bars": [START + HOUR], "closed_at": None, "currency": "USDT", "pessimistic": ENDING, "declared": ENDING,
        "optimistic": {**ENDING, "net": 20.0, "price": 120.0},
    }],
}


@pytest.fixture
def data(swinging: Any, wandering: Bars) -> ReportData:
    return replace(report_from_result(swinging.result(), bars=wandering), bounds=BOUNDS)


def test_the_terminal_says_what_is_open_and_the_three_results(data: ReportData) -> None:
    assert bounds_lines(data) == [
        "1 of 61 trades hangs on the order of prices inside a bar (5 bars could decide).",
        "pessimistic       9,000.00 USDT    +10.00 %   Sharpe   1.50   deepest fall -2.00 %",
        "declared            10,000 USDT    +10.00 %   Sharpe   1.50   deepest fall -2.00 %",
        "optimistic          11,000 USDT    +10.00 %   Sharpe   1.50   deepest fall -2.00 %",
    ]
    assert "What bars cannot tell" in summary_text(data)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ambiguous": 0, "trades": []}, "5 bars; nothing hangs on the order of prices inside them"),
        ({"contested": 0}, "pessimistic, declared and optimistic are the same"),
        ({"ambiguous": 0, "trades": [], "resolved": 7, "corrected": 3}, "in 7; 3 trades end otherwise there."),
        ({"contested": 0, "resolved": 7}, "Finer bars told what happened in 7 bars; nothing hangs"),
        ({"note": "fills.bounds is false"}, "the bounds were not worked out: fills.bounds is false"),
        ({"resolved": 2}, "(5 bars could decide; finer bars told what happened in 2)"),
    ],
)
def test_the_headline_says_how_much_hangs_on_it(data: ReportData, changes: dict[str, Any], said: str) -> None:
    assert said in bounds_headline(replace(data, bounds={**BOUNDS, **changes}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unknown": 2}, "2 more, changed or closed in part by other orders, are as declared in all three."),
        ({"unlinked": 3}, "In 3 bars orders met that are not linked to each other"),
        ({"corrected": 4}, '4 trades ended otherwise in the finer bars, which the bounds include'),
        ({"again": {
            "pessimistic": {"final_equity": 8000.0, "differs": {"from": START, "what": "other orders"}},
            "optimistic": {"final_equity": 12000.0, "differs": {}}}},
         "USDT at worst and 12,000 at best; it then asks for other orders from 2024-01-01 00:00 on (pessimistic)."),
    ],
)
def test_what_to_know_about_the_bounds_is_told(data: ReportData, changes: dict[str, Any], said: str) -> None:
    assert said in bounds_lines(replace(data, bounds={**BOUNDS, **changes}))[-1]


def test_a_run_that_met_no_such_bar_does_not_speak_of_it(data: ReportData) -> None:
    plain = replace(data, bounds={**BOUNDS, "contested": 0, "ambiguous": 0, "trades": []})

    assert not is_told(plain)
    assert not is_told(replace(data, bounds={}))
    assert "What bars cannot tell" not in summary_text(plain)
    assert bounds_figure(plain) is None


def test_the_table_names_orders_prices_times_and_what_lies_between(data: ReportData) -> None:
    [trade] = open_trades(data)

    assert (trade.orders, trade.side, trade.between) == ("r3-1 to 3", "buy", "30.00")
    assert trade.endings[0] == ("-10.00", "90", "2024-01-01 01:00")
    assert trade.endings[2] == ("+20.00", "120", "2024-01-01 01:00")


def test_the_band_is_drawn_from_pessimistic_to_optimistic_around_the_declared_curve(data: ReportData) -> None:
    curve = {"time": [START, START + HOUR], "equity": [10000.0, 9000.0]}
    figure = bounds_figure(replace(data, bounds={**BOUNDS, "pessimistic": {**BOUNDS["pessimistic"], "curve": curve}}))

    assert figure is not None
    names = [trace["name"] for trace in figure["data"]]
    assert names == ["Pessimistic", "Optimistic", "Declared"]
    assert figure["data"][0]["y"] == [10000.0, 9000.0]
    assert figure["data"][1]["fill"] == "tonexty"
    assert bounds_figure(replace(data, bounds={**BOUNDS, "optimistic": None})) is None
