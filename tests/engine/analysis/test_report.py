import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.analysis.definitions import DEFINITIONS
from engine.analysis.report import LISTED_TRADES, render_report, write_report
from engine.analysis.report_data import ReportData, report_from_journal, report_from_result
from engine.bars import Bars
from tests.engine.analysis.test_bounds_view import BOUNDS

Make = Callable[..., Any]
HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


class Reader(HTMLParser):
    """Notes every element, and the text of the JSON ones."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._inside = (dict(attributes).get("id") or tag) if tag in ("script", "title", "h1") else self._inside

    def handle_data(self, data: str) -> None:
        self.texts[self._inside] = self.texts.get(self._inside, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


@pytest.fixture
def data(swinging: Any, wandering: Bars) -> ReportData:
    return report_from_result(swinging.result(), bars=wandering, orders=swinging.orders, decisions=swinging.decisions)


def test_the_page_is_whole_and_fetches_nothing(data: ReportData, tmp_path: Path) -> None:
    path = write_report(data, tmp_path / "reports" / "run.html")
    page = path.read_text(encoding="utf-8")
    assert 4e6 < path.stat().st_size < 6e6
    reader = Reader(page)
    assert not any(name in attributes for _, attributes in reader.elements for name in ("src", "srcset"))
    assert all((attributes.get("href") or "#").startswith("#") for _, attributes in reader.elements)
    assert "default-src 'none'" in page
    assert '"plotlyServerURL": ""' in page or 'plotlyServerURL: ""' in page
    assert "{{" not in page.split("plotly.js v")[0]


@pytest.mark.parametrize("contested", [None, 0, 5])
def test_every_chart_has_its_place_on_the_page(data: ReportData, contested: int | None) -> None:
    bounds = {} if contested is None else {**BOUNDS, "contested": contested, "resolved": 0}
    reader = Reader(render_report(replace(data, bounds=bounds)))
    places = {attributes.get("id") for _, attributes in reader.elements}
    figures = json.loads(reader.texts["figures"])
    assert {f"chart-{name}" for name in figures["charts"]} <= places  # the script draws one after the other
    assert ("chart-bounds" in places) == bool(contested)
    assert ("bounds" in places) == (contested is not None)


def test_every_statistic_stands_there_with_its_definition(data: ReportData) -> None:
    page = render_report(data)
    for definition in DEFINITIONS.values():
        assert re.sub(r"&", "&amp;", definition.text).replace(">", "&gt;").replace("'", "&#39;") in page


def test_figures_and_run_can_be_read_back(data: ReportData) -> None:
    reader = Reader(render_report(data))
    figures, run = json.loads(reader.texts["figures"]), json.loads(reader.texts["run"])
    assert set(figures["charts"]) == {"equity", "exposure", "costs", "returns", "excursions"}
    places = {attributes.get("id") for _, attributes in reader.elements}
    assert {f"chart-{name}" for name in figures["charts"]} | {"chart-candles", "trade-list", "assumptions"} <= places
    assert run["statistics"]["trades"] == 60
    assert run["assumption_card"]["hash"] == data.card["hash"]


def test_what_users_named_cannot_become_code(make_bars: Make, make_book: Make) -> None:
    bars = make_bars([100, 100, 101, 99, 103], HOSTILE)
    book = make_book(bars)
    book.trade(1, 1.0, symbol=HOSTILE, why=HOSTILE)
    book.trade(3, -1.0, symbol=HOSTILE, why=HOSTILE)
    result = book.result(HOSTILE)
    data = report_from_result(
        result,
        bars=bars,
        orders=book.orders,
        decisions=book.decisions,
        manifest={
            "settings": {"x": HOSTILE},
            "lines": [HOSTILE, HOSTILE],
            "code_version": HOSTILE,
            "libraries": {HOSTILE: "1"},
        },
    )
    reader = Reader(render_report(data))
    assert [tag for tag, _ in reader.elements].count("script") == 5
    assert not [tag for tag, _ in reader.elements if tag == "img"]
    assert HOSTILE in reader.texts["h1"]
    figures = json.loads(reader.texts["figures"])
    # The page sets symbols and labels as text; what plotly draws is HTML to it, and must come escaped.
    drawn = [*figures["charts"].values(), *(view["figure"] for entry in figures["candles"] for view in entry["views"])]
    assert "&lt;img" in json.dumps(drawn)
    assert "<img" not in json.dumps(drawn)


def test_a_long_trade_list_is_cut_and_keeps_the_extremes(make_bars: Make, make_book: Make) -> None:
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, 2500)))
    book = make_book(make_bars(closes))
    for place in range(1200):
        book.trade(2 * place + 1, 1.0)
        book.trade(2 * place + 2, -1.0)
    data = report_from_result(book.result())
    page = render_report(data)
    listed = [int(number) for number in re.findall(r'<tr><td class="n " data-v="(\d+)"', page)]
    assert len(listed) <= LISTED_TRADES
    assert int(np.argmax(data.trades.net_profit)) + 1 in listed
    assert int(np.argmin(data.trades.net_profit)) + 1 in listed
    assert "the first 450 of 1,200, the 25 best and the 25 worst" in page


DEGENERATE = {
    "no trades": lambda bars, book: report_from_result(book(bars).result(), bars=bars),
    "no bars": lambda bars, book: report_from_result(book(bars).result()),
    "two bars": lambda bars, book: report_from_result(book(bars[slice(0, 2)]).result(), bars=bars[slice(0, 2)]),
    "one bar": lambda bars, book: report_from_result(book(bars[slice(0, 1)]).result(), bars=bars[slice(0, 1)]),
    "no cash": lambda bars, book: report_from_result(book(bars, cash=0.0).result(), bars=bars),
    "nothing at all": lambda bars, book: report_from_journal({}, fills=(), equity=(), status="failed"),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_there_is_a_page_for_the_strangest_run(case: str, wandering: Bars, make_book: Make) -> None:
    page = render_report(DEGENERATE[case](wandering, make_book))
    reader = Reader(page)
    json.loads(reader.texts["figures"])
    assert ">nan" not in page.lower().split("plotly.js v")[0]


def test_daily_returns_are_shown_where_there_is_only_one_month(make_bars: Make, make_book: Make) -> None:
    bars = make_bars(100 + np.arange(24 * 9) % 13)
    page = render_report(report_from_result(make_book(bars).result(), bars=bars))
    assert "Returns by day" in page
    assert "<th>08 Jan</th>" in page


def test_months_compound_to_the_year(swinging: Any, wandering: Bars) -> None:
    page = render_report(report_from_result(swinging.result(), bars=wandering))
    row = re.search(r"<tr><th>2024</th>(.*?)</tr>", page, re.DOTALL)
    assert row is not None
    *months, year = (float(text) for text in re.findall(r">([+-]\d+\.\d)</td>", row[1]))
    assert np.prod([1 + month / 100 for month in months]) - 1 == pytest.approx(year / 100, abs=0.002)
