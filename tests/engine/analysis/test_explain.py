"""Two runs of the real engine that differ by one known cause: almost all of the gap lies in the part of that cause."""

import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Bar, Bars, Instrument, Strategy
from engine.analysis.explain import NEEDED, Explanation, Side, explain
from engine.analysis.explain_bars import by_symbol
from engine.analysis.explain_books import DIGITS, Part, only, shares_of, split
from engine.bars import HOUR
from engine.carry import CarryTerms, FixedFunding
from engine.costs import ConstantLatency, FixedSlippage, MakerTakerFees
from engine.errors import JournalError
from engine.forecasting.testing import FunctionForecaster, momentum, spec_of
from engine.forecasts import Forecaster, ForecastKind
from engine.journal.lineage import load_run
from engine.journal.memory import MemoryJournal
from engine.loop import Engine
from engine.margin import MarginSchedule, MarginTerms
from engine.orders import TimeInForce
from engine.testing import BarsFeed, Terms, parts_for
from tests.engine.forecasting.market import Follows, side_by_side, walk, without

D = Decimal
MARKET = walk(400, seed=7)
FEES = MakerTakerFees(D("0.001"), D("0.001"))
USUAL = Terms(cash=D(10_000), fees=FEES, slippage=FixedSlippage(2, 1))
SPOT = Instrument("TEST", "USD", price_increment=D("0.01"), quantity_increment=D("0.00000001"))


class Cross(Strategy):
    """In and out of the market by two averages, sized by equity; a limit order's worth of everything else."""

    def __init__(self, exposure: float = 0.9) -> None:
        super().__init__()
        self.exposure = exposure

    def on_start(self) -> None:
        self.lines = {
            symbol: [self.indicator("SMA", "close", bars, symbol=symbol) for bars in (5, 13)]
            for symbol in self.symbols
        }

    def on_bar(self, bar: Bar) -> None:
        fast, slow = self.lines[bar.symbol]
        self.target(bar.symbol, self.exposure if fast[-1] > slow[-1] else 0.0, why="averages")


def side(
    bars: Bars = MARKET, terms: Terms = USUAL, strategy: Strategy | None = None, models: Any = None,
    instruments: tuple[Instrument, ...] = (SPOT,),
) -> tuple[Side, Decimal]:
    """Run the engine, and return the run with what it says it earned."""
    journal = MemoryJournal()
    parts = parts_for(BarsFeed(bars), strategy or Cross(), terms, instruments=instruments, journal=journal)
    result = Engine(replace(parts, forecasters=models or {})).run()
    described = {one.symbol: one for one in instruments}
    record = load_run(journal, 1, NEEDED)
    return Side(record, by_symbol(bars), described), result.final_equity - terms.cash


def explained(a: tuple[Side, Decimal], b: tuple[Side, Decimal]) -> Explanation:
    found = explain(a[0], b[0])
    assert (found.profit_a, found.profit_b) == (a[1], b[1]), "as the runs themselves say"
    with localcontext(DIGITS):
        assert sum(found.parts.values()) == found.gap
        assert sum(line.amount for line in found.lines) == found.gap
    return found


def share(found: Explanation, part: Part) -> float:
    """How much of all that the parts move lies in one of them, whatever cancels out."""
    return float(abs(found.parts[part]) / sum(abs(amount) for amount in found.parts.values()))


BASE = side()


def revised(market: Bars, rows: Any) -> Bars:
    """Return a market with some closes as a venue corrected them: what decides, and where the next bar opens."""
    close, open_ = market.close.copy(), market.open.copy()
    for row in rows:
        close[row] = round(close[row] * (1.02 if row % 2 else 0.98), 2)
        open_[row + 1] = close[row]
    high = np.maximum.reduce([market.high, close, open_])
    low = np.minimum.reduce([market.low, close, open_])
    return replace(market, open=open_, high=high, low=low, close=close)


def perpetual(market: Bars, rate: str) -> tuple[Side, Decimal]:
    contract = replace(SPOT, kind="perpetual")
    carry = CarryTerms(funding={"TEST": FixedFunding(D(rate))})
    terms = replace(USUAL, margin=MarginTerms(schedule=MarginSchedule(leverage=D(2))), carry=carry)
    return side(market, terms, instruments=(contract,))


HOURLY = spec_of(ForecastKind.RETURN, timeframe="1h", is_deterministic=True)


def following(market: Bars, model: Forecaster) -> tuple[Side, Decimal]:
    return side(market, strategy=Follows(), models={"model": model})


def other_answers(window: Any) -> Any:
    """Momentum, except that every seventh window by its own content is answered the other way round."""
    mean = np.diff(np.log(window[:, 0].astype(np.float64))).mean()
    return np.cumsum(np.full(2, -mean if int(window[-1, 0] * 100) % 7 == 0 else mean))


def volume(market: Bars, each: Any) -> Bars:
    return replace(market, volume=np.full(len(market), 1.0) * each)


def thin(market: Bars) -> Bars:
    """Return a market in which little trades for a while, and then a lot."""
    return volume(market, np.where(np.arange(len(market)) % 100 < 50, 120.0, 1e9))


Runs = Callable[[Bars], tuple[Any, Any]]
ONE_CAUSE: dict[str, tuple[Part, Runs]] = {
    "fee": (Part.FEE, lambda m: (side(m, replace(USUAL, fees=MakerTakerFees(D("0.0015"), D("0.002")))), side(m))),
    "fill price": (Part.FILL_PRICE, lambda m: (side(m, replace(USUAL, slippage=FixedSlippage(12, 6))), side(m))),
    "latency": (Part.LATENCY, lambda m: (side(m, replace(USUAL, latency=ConstantLatency(2 * HOUR))), side(m))),
    "partial fills": (Part.NO_FILL, lambda m: (side(volume(m, 300.0)), side(volume(m, 1e9)))),
    "all or nothing": (
        Part.NO_FILL, lambda m: (
            side(thin(m), strategy=Once(TimeInForce.FOK)), side(thin(m), strategy=Once(TimeInForce.GTC)))),
    "data": (Part.DATA, lambda m: (side(revised(m, range(30, 380, 9))), side(m))),
    "missed bars": (Part.MISSED_BAR, lambda m: (side(without(m, range(30, 380, 11))), side(m))),
    "a day missed": (Part.MISSED_BAR, lambda m: (side(without(m, range(60, 84))), side(m))),
    "funding": (Part.FUNDING, lambda m: (perpetual(m, "0.0004"), perpetual(m, "0.0001"))),
    "forecast": (
        Part.FORECAST,
        lambda m: (following(m, FunctionForecaster(HOURLY, other_answers)), following(m, momentum(HOURLY)))),
}


class Once(Strategy):
    """Asks for more than the market has, now and then, by orders that wait or do not."""

    def __init__(self, time_in_force: TimeInForce) -> None:
        super().__init__()
        self.kind = time_in_force

    def on_bar(self, bar: Bar) -> None:
        row = round(bar.close_time / HOUR)
        if row % 50 == 3:
            self.buy(bar.symbol, 20, time_in_force=self.kind)
        elif row % 50 == 40 and self.position(bar.symbol):
            self.sell(bar.symbol, float(self.position(bar.symbol)))


@pytest.mark.parametrize("seed", [7, 9, 21])
@pytest.mark.parametrize("name", ONE_CAUSE)
def test_one_cause_lands_in_its_part(name: str, seed: int) -> None:
    part, runs = ONE_CAUSE[name]
    found = explained(*runs(walk(400, seed=seed)))
    assert abs(found.gap) > 1, found.parts
    assert share(found, part) >= 0.95, found.parts
    assert float(found.parts[part] / found.gap) == pytest.approx(1, abs=0.05), found.parts


def test_a_run_held_against_itself_has_no_gap() -> None:
    found = explained(BASE, BASE)
    assert found.gap == 0
    assert found.lines == ()
    assert not any(found.parts.values())


def test_lines_name_the_orders_and_the_evidence_the_largest_first() -> None:
    found = explained(side(terms=replace(USUAL, latency=ConstantLatency(2 * HOUR))), BASE)
    amounts = [abs(line.amount) for line in found.lines]
    assert amounts == sorted(amounts, reverse=True)
    top = next(line for line in found.lines if line.order_a and line.order_b and Part.LATENCY in line.parts)
    assert "reached the venue after 2 h in A, 0 s in B" in top.text
    assert found.as_dict(most=1)["lines"][0]["parts"].keys() <= {part.value for part in Part}
    assert D(found.as_dict()["gap"]) == found.gap


def test_two_causes_at_once_are_told_apart() -> None:
    terms = replace(USUAL, slippage=FixedSlippage(12, 6), fees=MakerTakerFees(D("0.002"), D("0.002")))
    found = explained(side(terms=terms), BASE)
    alone = {
        part: explained(side(terms=replace(USUAL, **change)), BASE).gap
        for part, change in ((Part.FILL_PRICE, {"slippage": terms.slippage}), (Part.FEE, {"fees": terms.fees}))
    }
    for part, gap in alone.items():
        assert float(found.parts[part]) == pytest.approx(float(gap), rel=0.1)


def test_other_capital_is_interaction_and_is_said() -> None:
    found = explained(side(terms=replace(USUAL, cash=D(5_000))), BASE)
    assert share(found, Part.INTERACTION) > 0.9
    assert any("the runs had other capital (5000 and 10000 USD)" in note for note in found.notes)


def test_only_the_time_that_both_have_is_explained() -> None:
    half = side(MARKET[100:300])
    found = explain(half[0], BASE[0])
    assert (found.first, found.last) == (int(MARKET.close_time[100]), int(MARKET.close_time[299]))
    with localcontext(DIGITS):
        assert sum(found.parts.values()) == found.gap


def test_symbols_are_explained_together() -> None:
    symbols = ("TEST", "OTHER")
    bars = side_by_side([walk(200, seed=number, symbol=name) for number, name in enumerate(symbols, 3)])
    instruments = tuple(replace(SPOT, symbol=name) for name in symbols)
    a, b = (
        side(bars, replace(USUAL, fees=MakerTakerFees(D(rate), D(rate))), Cross(0.4), instruments=instruments)
        for rate in ("0.002", "0.001")
    )
    found = explained(a, b)
    assert share(found, Part.FEE) >= 0.95
    assert {line.symbol for line in found.lines} == set(symbols)


def test_what_cannot_be_explained_is_refused() -> None:
    early, late = side(MARKET[:100])[0], side(MARKET[200:])[0]
    with pytest.raises(JournalError, match=r"run 1 \(TEST, .* and run 1 \(TEST, .* have no bars in common; run the"):
        explain(early, late)
    euro = side(terms=replace(USUAL, currency="EUR"), instruments=(replace(SPOT, quote="EUR"),))[0]
    with pytest.raises(JournalError, match="the runs trade in EUR, USD; a difference can be explained in one currency"):
        explain(euro, BASE[0])
    with pytest.raises(JournalError, match="a run has no bars to compare"):
        explain(replace(BASE[0], bars={}), BASE[0])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_parts_add_up_whatever_differs(seed: int) -> None:
    chance = random.Random(seed)
    rows = sorted(chance.sample(range(20, 140), 8))
    bars = MARKET[:150]
    if chance.random() < 0.5:
        bars = without(bars, rows)
    terms = replace(
        USUAL, latency=chance.choice([None, ConstantLatency(HOUR), ConstantLatency(3 * HOUR)]),
        fees=MakerTakerFees(D(chance.choice(["0", "0.003"])), D("0.002")),
        slippage=FixedSlippage(chance.choice([0, 20]), 3), cash=D(chance.choice([9_999, 10_000])),
    )
    strategy = chance.choice([Cross, lambda: Cross(0.3), lambda: Once(TimeInForce.IOC)])
    explained(side(bars, terms, strategy()), side(MARKET[:150], strategy=chance.choice([Cross, strategy])()))


@given(
    amount=st.decimals(-10**9, 10**9, places=8),
    weights=st.lists(st.decimals(-10**6, 10**6, places=6), min_size=1, max_size=9),
)
def test_a_split_adds_up_exactly(amount: Decimal, weights: list[Decimal]) -> None:
    shares = shares_of(dict(zip(Part, weights, strict=False)))
    if shares is None:
        shares = only(Part.INTERACTION)
    with localcontext(DIGITS):
        assert sum(split(amount, shares).values(), D(0)) == amount
