from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.analysis.findings import findings, headline
from engine.analysis.report_data import report_from_journal, report_from_result
from engine.bars import Bars

Make = Callable[..., Any]


def texts(data: Any) -> str:
    return " ".join(finding.text for finding in findings(data))


def test_costs_that_eat_the_profit_are_named_first(make_bars: Make, make_book: Make) -> None:
    bars = make_bars(100 + np.arange(800) % 20)
    book = make_book(bars)
    for place in range(40):
        book.trade(20 * place + 2, 1.0, fee=20.0)
        book.trade(20 * place + 12, -1.0, fee=20.0)
    data = report_from_result(book.result(), bars=bars)
    assert findings(data)[0].level == "bad"
    assert "Costs turned a gross profit of 400.00 USDT into a loss" in texts(data)
    assert "too few" not in texts(data)


def test_losing_before_costs_is_said_so(make_bars: Make, make_book: Make) -> None:
    book = make_book(make_bars([100, 100, 90, 80]))
    book.trade(1, 1.0)
    book.trade(3, -1.0)
    data = report_from_result(book.result())
    assert "It lost money before costs" in texts(data)
    assert "1 finished trade is too few" in texts(data)


def test_a_run_that_never_traded_is_not_called_a_result(make_bars: Make, make_book: Make) -> None:
    bars = make_bars([100, 110, 121])
    data = report_from_result(make_book(bars).result(), bars=bars)
    assert headline(data) == "Nothing was traded while buy & hold BTC/USDT made 21.00 %."
    assert "No order was made." in texts(data)
    refused = replace(data, order_count=4, refused_count=4)
    assert "4 orders were made and none filled; 4 were refused." in texts(refused)


@pytest.mark.parametrize(("cap", "volume", "said"), [(0.1, 0.0, True), (None, 0.0, False), (0.1, 5.0, False)])
def test_bars_without_volume_are_named_where_nothing_fills(
    cap: float | None, volume: float, said: bool, make_bars: Make, make_book: Make
) -> None:
    bars = make_bars([100, 110, 121])
    bars = replace(bars, volume=np.full(len(bars), volume))
    data = replace(report_from_result(make_book(bars).result(), bars=bars), order_count=4)
    data = replace(data, card={**data.card, "switches": {"volume_cap": cap}})
    assert ('The bars have no volume, and orders fill from a share of it: fills.volume_cap' in texts(data)) is said


def test_the_headline_sets_the_result_against_holding(swinging: Any, wandering: Bars) -> None:
    data = report_from_result(swinging.result(), bars=wandering)
    made, held = data.statistics["total_return"], data.statistics["benchmark_return"]
    assert made is not None
    assert held is not None
    assert headline(data).startswith(
        f"{'Made' if made >= 0 else 'Lost'} {abs(100 * made):.2f} % after costs while buy & hold"
    )
    assert f"{abs(100 * held):.2f} %; deepest fall" in headline(data)


def test_no_equity_is_no_result() -> None:
    assert headline(report_from_journal({}, fills=(), equity=())) == "No result: there is no equity curve."


@pytest.mark.parametrize(
    ("lowest", "said"),
    [
        (-40.0, "Its profit hangs on 3 trades that bars do not decide: at their worst it would have lost 40.00."),
        (10.0, "at their worst only 10.00 of it is certain."),
        (90.0, ""),
        (None, ""),
    ],
)
def test_a_profit_that_bars_do_not_decide_is_named(
    make_bars: Make, make_book: Make, lowest: float | None, said: str
) -> None:
    book = make_book(make_bars([100, 100, 150, 200]))
    book.trade(1, 1.0)
    book.trade(3, -1.0)
    data = replace(
        report_from_result(book.result()), bounds={"ambiguous": 3, "pessimistic": {"net_profit": lowest}})

    assert data.statistics["net_profit"] == 50
    assert (said in texts(data)) if said else ("hangs on" not in texts(data))
