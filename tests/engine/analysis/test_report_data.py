import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from engine.analysis.report_data import Reason, report_from_journal, report_from_result, with_statistics
from engine.bars import Bars
from engine.records import EquityRow, RunStart


def started(swinging: Any) -> RunStart:
    card = {name: part for name, part in swinging.result().assumptions.items() if name not in ("hash", "warnings")}
    return RunStart(
        "backtest",
        "sma_cross",
        {"cash": 10_000},
        card,
        "f" * 64,
        {"streams": [{"symbol": "BTC/USDT", "timeframe": "1h"}]},
        lines=("fast", "slow"),
        instruments={"BTC/USDT": {"multiplier": "1"}},
        code_version="abc",
        is_dirty=False,
    )


def equity_rows(swinging: Any, every: int = 7) -> list[EquityRow]:
    curve = swinging.curve()
    places = np.unique(np.append(np.arange(0, len(curve.time), every), len(curve.time) - 1)).tolist()
    return [
        EquityRow(
            int(curve.time[place]),
            "USDT",
            *(float(column[place]) for column in (curve.equity, curve.cash, curve.exposure)),
        )
        for place in places
    ]


def test_a_run_in_memory_becomes_a_report(swinging: Any, wandering: Bars) -> None:
    data = report_from_result(
        swinging.result(),
        bars=wandering,
        manifest=started(swinging),
        orders=swinging.orders,
        decisions=swinging.decisions,
    )
    assert len(data.trades.closed) == 60
    assert data.benchmark is not None
    assert data.reasons[1] == Reason("trip 0 <b>&</b>", "fast 1.5 · slow 2")
    assert (data.timeframes, data.bars_per_second, data.notes) == (("1h",), 2 * len(wandering), ())
    assert data.card["hash"] == swinging.result().assumptions["hash"]


def test_a_journalled_run_gives_the_same_report_as_the_run_itself(swinging: Any, wandering: Bars) -> None:
    alive = report_from_result(swinging.result(), bars=wandering, manifest=started(swinging), orders=swinging.orders,
                               decisions=swinging.decisions)
    result = {"statistics": alive.statistics.as_dict(), "fills_hash": alive.fills_hash, "bars": alive.bar_count}
    stored = [decision._replace(saw=json.dumps(decision.saw)) for decision in swinging.decisions]  # as SQL keeps it
    read = report_from_journal(
        asdict(started(swinging)), fills=[tuple(fill) for fill in swinging.fills], equity=equity_rows(swinging),
        orders=swinging.orders, decisions=stored, result=json.loads(json.dumps(result)), bars=wandering, run_id=3,
    )
    assert read.statistics == alive.statistics
    assert list(read.trades.rows()) == list(alive.trades.rows())
    assert read.reasons == alive.reasons
    assert (read.fills_hash, read.card["hash"], read.bar_count) == (
        alive.fills_hash,
        alive.card["hash"],
        alive.bar_count,
    )
    assert read.is_thinned
    assert read.notes == ()


def test_a_journalled_run_without_bars_or_statistics_says_what_it_lacks(swinging: Any) -> None:
    read = report_from_journal(started(swinging), fills=swinging.fills, equity=equity_rows(swinging), status="crashed")
    assert "did not complete (status: crashed)" in read.notes[0]
    assert any("bars are not at hand" in note for note in read.notes)
    assert any("decisions are not at hand" in note for note in read.notes)
    assert any("thinned points" in note for note in read.notes)
    assert read.benchmark is None
    # The one open position is valued from equity and cash.
    assert read.trades.net_profit.sum() == pytest.approx(read.curve.equity[-1] - 10_000)


def test_an_empty_journal_is_still_a_report() -> None:
    read = report_from_journal({}, fills=(), equity=(), status="failed")
    assert read.statistics.get("total_return") is None
    assert read.strategy == "unnamed strategy"


def test_statistics_are_filled_in_and_are_json(swinging: Any, wandering: Bars) -> None:
    result = with_statistics(swinging.result(), bars=wandering)
    assert result.statistics["trades"] == 60
    assert result.statistics["sampling"]["frequency"] == "daily"
    assert result.statistics == report_from_result(swinging.result(), bars=wandering).statistics.as_dict()
    json.dumps(result.statistics, allow_nan=False)
