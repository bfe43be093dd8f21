"""Planted costs are found again, within the interval that is said; too few fills are refused; drift is told."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from engine import Instrument
from engine.analysis.calibration import Calibration, Estimate, calibrate, drifted
from engine.analysis.calibration_sample import CostSample
from engine.analysis.explain_bars import by_symbol
from engine.costs import MakerTakerFees, SquareRootImpact
from engine.errors import DataError
from engine.journal.lineage import load_run
from engine.journal.memory import MemoryJournal
from engine.journal.process import this_process
from engine.journal.reading import RunInfo, RunRecord
from engine.journal.testing import sample_start
from engine.loop import Engine
from engine.records import FillRow, OrderEventRow, OrderRow
from engine.testing import BarsFeed, ScriptedStrategy, Terms, parts_for
from tests.engine.forecasting.market import walk

START = 1_700_000_000_000_000_000
PLANTED = {
    "half_spread_basis_points": 0.8, "slippage_basis_points": 2.5, "latency_median_milliseconds": 80.0,
    "latency_sigma": 0.4, "maker": 0.0002, "taker": 0.0005,
}


def recorded(seed: int, count: int = 200, **planted: float) -> RunRecord:
    """Return a session's rows whose costs scatter around what is planted, as a market's do."""
    told, random = {**PLANTED, **planted}, np.random.default_rng(seed)
    orders, events, fills = [], [], []
    for number in range(1, count + 1):
        time, price, quantity = START + number * 10**12, float(random.uniform(90, 110)), float(random.uniform(0.5, 5))
        delay = told["latency_median_milliseconds"] * np.exp(told["latency_sigma"] * random.normal())
        is_maker = number % 4 == 0
        orders.append(OrderRow(number, number, time, "BTC/USDT", "buy", "limit" if is_maker else "market", quantity))
        events.append(OrderEventRow(number, number, time + int(delay * 1e6), "accepted"))
        worth = price * quantity
        spread = 0 if is_maker else worth * told["half_spread_basis_points"] * 1e-4 * random.gamma(4, 1 / 4)
        slip = 0 if is_maker else worth * told["slippage_basis_points"] * 1e-4 * random.gamma(1, 1)
        paid = price + (spread + slip) / quantity
        fee = paid * quantity * told["maker" if is_maker else "taker"]
        fills.append(FillRow(
            number, number, time, time, "BTC/USDT", "buy", paid, quantity, "maker" if is_maker else "taker", fee,
            "USDT", price, float(spread), float(slip) / 2, float(slip) / 2, quantity, 0.0))
    info = RunInfo(1, "completed", sample_start(kind="paper"), this_process())
    return RunRecord(info, orders=tuple(orders), order_events=tuple(events), fills=tuple(fills))


def fitted(record: RunRecord, **options: Any) -> Calibration:
    sample = CostSample()
    sample.add(record)
    return calibrate(sample, **{"draws": 400, **options})


def test_planted_costs_lie_within_the_intervals() -> None:
    found = fitted(recorded(seed=11, count=400)).estimates()
    assert found.keys() == PLANTED.keys()
    for name, planted in PLANTED.items():
        estimate = found[name]
        assert estimate.low <= planted <= estimate.high or planted == pytest.approx(estimate.value, rel=1e-9), name
        assert estimate.value == pytest.approx(planted, rel=0.25), name


def test_intervals_hold_what_is_planted_about_as_often_as_they_say() -> None:
    """95 % is promised; with 60 samples, fewer than 85 % would be a fault (probability below 0.1 %)."""
    names = ("half_spread_basis_points", "slippage_basis_points", "latency_median_milliseconds", "latency_sigma")
    held = dict.fromkeys(names, 0)
    for seed in range(60):
        found = fitted(recorded(seed, count=120), draws=200).estimates()
        for name in names:
            held[name] += found[name].holds(PLANTED[name])
    assert min(held.values()) >= 51, held


def test_the_square_root_law_is_found_in_fills_that_follow_it() -> None:
    """The engine's own impact, fitted from its fills and the bars before them, is what it was given."""
    market, draws = walk(600, seed=4), np.random.default_rng(1)

    def trades(number: int) -> Callable[[Any, Any], Any]:
        quantity = float(np.round(draws.lognormal(3, 2), 2))
        return lambda strategy, bar: (strategy.buy if number % 2 else strategy.sell)("TEST", quantity)

    strategy = ScriptedStrategy({row: trades(row) for row in range(50, 590, 4)})
    journal = MemoryJournal()
    terms = Terms(
        cash=Decimal(10**9), slippage=SquareRootImpact(0.7, 0.5, half_spread_basis_points=1.5),
        fees=MakerTakerFees(Decimal("0.0002"), Decimal("0.0004")))
    instrument = Instrument("TEST", "USD", price_increment=Decimal("0.000001"), quantity_increment=Decimal("0.01"))
    Engine(parts_for(BarsFeed(market), strategy, terms, instruments=(instrument,), journal=journal)).run()
    sample = CostSample()
    sample.add(load_run(journal, 1, ("orders", "order_events", "fills")), by_symbol(market))
    found = calibrate(sample, draws=200)
    assert found.law == "sqrt_impact"
    assert found.impact is not None
    assert found.impact.value == pytest.approx(0.7, rel=0.02)
    assert found.impact.low <= 0.7 <= found.impact.high or found.impact.high - found.impact.low < 0.02
    assert found.half_spread.value == pytest.approx(1.5, rel=0.01)
    assert found.taker.value == pytest.approx(0.0004, rel=1e-3)
    assert found.latency_median.value < 0.01


def test_too_few_fills_are_refused_with_the_count() -> None:
    with pytest.raises(
        DataError, match="23 orders that took liquidity in 30 fills; a calibration needs 30: let the session trade on"
    ):
        fitted(recorded(1, count=30))
    without_word = replace(recorded(1), order_events=())
    with pytest.raises(DataError, match="0 orders that were accepted in 200 fills; a calibration needs 30"):
        fitted(without_word)
    assert fitted(recorded(1, count=40), minimum=20).fills == 40


def test_the_same_sample_gives_the_same_numbers() -> None:
    assert fitted(recorded(5)) == fitted(recorded(5))
    assert fitted(recorded(5)) != fitted(recorded(5), seed=1)


def test_drift_is_told_where_the_market_changed_and_only_there() -> None:
    before = {name: (one.low, one.high) for name, one in fitted(recorded(1, count=400)).estimates().items()}
    assert not [one.name for one in drifted(before, fitted(recorded(2, count=400))) if one.name == "slippage"]
    later = fitted(recorded(2, count=400, half_spread_basis_points=2.4, latency_median_milliseconds=300.0))
    assert {"half_spread_basis_points", "latency_median_milliseconds"} <= {one.name for one in drifted(before, later)}
    drift = next(one for one in drifted(before, later) if one.name == "half_spread_basis_points")
    assert str(drift).startswith("half_spread_basis_points is 2.")
    assert ", outside 0." in str(drift)


def test_sizes_that_do_not_vary_fit_no_law() -> None:
    found = fitted(recorded(3))
    assert found.impact is None, "there were no bars to know the market by"
    assert found.law == "fixed"
    assert isinstance(found.maker, Estimate)
