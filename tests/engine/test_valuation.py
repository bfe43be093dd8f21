"""Equity is cash plus market value at every instant, whatever traded, in whichever symbols, timeframes and gaps."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from engine import Bar, Bars, Instrument, Strategy, Stream
from engine.bars import HOUR
from engine.costs import FixedSlippage, MakerTakerFees
from engine.results import RunResult
from engine.testing import NEW_YEAR_2024, Terms, engine_for, make_bars, run_bars
from engine.valuation import CURVE_ROWS, base_streams
from tests.engine.cases import ListJournal, buy, merged, run, sell

D = Decimal
FLAT = 100.0


def walk(
    symbol: str, count: int, seed: int, *, timeframe: str = "1h", start: int = 0, missing: Sequence[int] = ()
) -> Bars:
    generator = np.random.default_rng(seed)
    close = np.maximum(20, np.round(100 + np.cumsum(generator.normal(0, 1, count)), 2))
    open_ = np.round(close + generator.normal(0, 0.4, count), 2)
    rows = np.column_stack(
        [open_, np.maximum(open_, close) + 0.5, np.minimum(open_, close) - 0.5, close, np.full(count, 1e5)]
    ).round(2)
    bars = make_bars(rows.tolist(), symbol=symbol, timeframe=timeframe, start=NEW_YEAR_2024 + start * HOUR)
    keep = np.array([row for row in range(count) if row not in missing], np.int64)
    names = ("open_time", "close_time", "open", "high", "low", "close", "volume")
    return replace(bars, **{name: getattr(bars, name)[keep] for name in names})


class Trades(Strategy):
    """Trades whatever closes, by the bar's digits."""

    def on_bar(self, bar: Bar) -> None:
        digit = round(bar.close * 100) % 7
        if digit < 3:
            self.target(bar.symbol, (0.3, 0.0, -0.2)[digit])
        elif digit == 3:
            self.buy(bar.symbol, 2, stop_loss=bar.close - 1, take_profit=bar.close + 1)


def recomputed(bars: Bars, result: RunResult, cash: Decimal) -> dict[int, tuple[Decimal, Decimal]]:
    """Return (equity, cash) at every instant, in Decimal, from fills and closes alone."""
    base = set(base_streams(bars.streams).values())
    closes: dict[str, Decimal] = {}
    held: dict[str, Decimal] = {}
    fills = list(result.fills)
    values = {}
    for time in sorted({int(time) for time in bars.close_time}):
        for bar in bars.rows():
            if bar.close_time == time and Stream(bar.symbol, bar.timeframe) in base:
                closes[bar.symbol] = D(str(bar.close))
        while fills and fills[0].bar_close_time <= time:
            fill = fills.pop(0)
            sign = 1 if fill.side == "buy" else -1
            held[fill.symbol] = held.get(fill.symbol, D(0)) + sign * D(str(fill.quantity))
            cash -= sign * D(str(fill.price)) * D(str(fill.quantity)) + D(str(fill.fee))
        values[time] = (cash + sum((lots * closes[symbol] for symbol, lots in held.items()), D(0)), cash)
    return values


WORLDS = {
    "one symbol": lambda: walk("A", 80, 1),
    "one symbol with holes": lambda: walk("A", 80, 1, missing=(3, 4, 30, 60)),
    "three symbols": lambda: merged(walk("A", 60, 1), walk("B", 60, 2), walk("C", 60, 3)),
    "a late one and one that ends": lambda: merged(walk("A", 60, 1), walk("B", 30, 2, start=30), walk("C", 20, 3)),
    "holes here and there": lambda: merged(walk("A", 60, 1, missing=(5, 6, 7)), walk("B", 60, 2, missing=(6, 40))),
    "two timeframes of one": lambda: merged(walk("A", 60, 1), walk("A", 15, 4, timeframe="4h")),
    "two symbols, two timeframes": lambda: merged(walk("A", 60, 1), walk("B", 15, 4, timeframe="4h")),
}


@pytest.mark.parametrize("chunk", [None, 1, 13])
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_equity_is_cash_and_market_value_at_every_instant(world: Any, chunk: int | None) -> None:
    bars = world()
    terms = Terms(cash=D(10_000), fees=MakerTakerFees(D("0.0002"), D("0.0007")), slippage=FixedSlippage(3))
    result = run_bars(bars, Trades(), terms, chunk=chunk)
    expected = recomputed(bars, result, D(10_000))
    curve = result.curve
    assert curve.time.tolist() == sorted(expected)
    assert len(result.fills) > 15
    for time, equity, cash, exposure in zip(curve.time.tolist(), curve.equity, curve.cash, curve.exposure, strict=True):
        exact_equity, exact_cash = expected[time]
        assert equity == pytest.approx(float(exact_equity), rel=1e-12)
        assert cash == pytest.approx(float(exact_cash), rel=1e-12, abs=1e-9)
        assert exposure == pytest.approx(float((exact_equity - exact_cash) / exact_equity), abs=1e-12)
    assert result.final_equity == expected[max(expected)][0], "and the last one to the unit"


def test_the_books_agree_with_the_curve_as_the_run_goes() -> None:
    class Compares(Trades):
        def on_bar(self, bar: Bar) -> None:
            self.seen.append(float(self.equity()))
            super().on_bar(bar)

    compares = Compares()
    compares.seen = []
    assert run_bars(walk("A", 80, 1), compares).curve.equity.tolist() == pytest.approx(compares.seen, rel=1e-13)


def test_what_is_held_in_another_currency_is_left_out() -> None:
    bars = merged(make_bars([FLAT, FLAT, 120.0], symbol="A"), make_bars([50.0, 50.0, 80.0], symbol="B"))
    asks = {0: lambda s: s.buy("A", 2), 1: lambda s: s.buy("B", 3)}
    outcome = run(bars, asks, cash=D(1000), instruments=[Instrument("A", "USD"), Instrument("B", "EUR")])
    assert outcome.result.curve.currency == "USD"
    assert outcome.result.curve.equity.tolist() == [1000, 1000, 1040]
    assert outcome.result.final_equity == 1040


def test_a_short_position_counts_against_equity() -> None:
    outcome = run([FLAT, FLAT, 90.0, 110.0], {0: sell(5)}, cash=D(1000))
    assert outcome.result.curve.equity.tolist() == [1000, 1000, 1050, 950]
    assert outcome.result.curve.cash.tolist() == [1000, 1500, 1500, 1500]
    assert outcome.result.curve.exposure.tolist() == [0, -500 / 1000, -450 / 1050, -550 / 950]


def test_equity_of_nothing_has_no_exposure() -> None:
    outcome = run([FLAT, (100, 100, 100, 100), 0.01], {0: buy(10)}, cash=D(1000))
    assert outcome.result.curve.exposure[-1] == pytest.approx(1.0)
    assert run([FLAT], {}, cash=D(0)).result.curve.exposure.tolist() == [0]


def test_an_order_filled_at_the_close_it_was_decided_at_counts_from_there() -> None:
    outcome = run([FLAT, 110.0], {0: buy(5)}, cash=D(1000), switches={"market_fill": "same_close"})
    assert outcome.result.curve.equity.tolist() == [1000, 1050]
    assert outcome.result.curve.cash.tolist() == [500, 500]


@pytest.mark.parametrize("count", [10, CURVE_ROWS + 1, 3 * CURVE_ROWS + 7])
def test_the_journal_gets_a_few_thousand_rows_and_the_last_instant(count: int) -> None:
    journal = ListJournal()
    engine_for(walk("A", count, 1), Trades(), journal=journal).run()
    rows = journal.tables()["equity"]
    times = [row[0] for row in rows]
    assert min(count, CURVE_ROWS // 2) <= len(rows) <= 2 * CURVE_ROWS
    assert times == sorted(set(times))
    assert times[0] == NEW_YEAR_2024 + HOUR
    assert times[-1] == NEW_YEAR_2024 + count * HOUR


def test_rows_of_the_journal_are_points_of_the_curve() -> None:
    journal = ListJournal()
    result = engine_for(walk("A", 300, 1), Trades(), journal=journal, chunk=77).run()
    curve = result.curve
    at = {int(time): place for place, time in enumerate(curve.time)}
    for time, currency, equity, cash, exposure in journal.tables()["equity"]:
        place = at[time]
        assert (currency, equity, cash, exposure) == (
            "USD",
            curve.equity[place],
            curve.cash[place],
            curve.exposure[place],
        )


def test_orders_meet_and_values_follow_the_shortest_timeframe_of_each_symbol() -> None:
    streams = (Stream("A", "4h"), Stream("B", "1h"), Stream("A", "30m"), Stream("A", "1h"))
    assert base_streams(streams) == {"A": Stream("A", "30m"), "B": Stream("B", "1h")}
