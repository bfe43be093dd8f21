"""Rules of the simulated exchange that are easily got wrong: changes under way, rounding, fees of an order, volume."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Instrument, Order, Strategy
from engine.bars import DAY, FORWARD_FILLED, HOUR, Bars
from engine.costs import (
    ConstantLatency,
    EquityFees,
    FeeTier,
    LognormalLatency,
    MakerTakerFees,
    SquareRootImpact,
    TieredFees,
)
from engine.events import Fill
from engine.semantics import Switches
from engine.testing import NEW_YEAR_2024, ScriptedStrategy, Terms, make_bars, run_bars
from tests.engine.cases import Ask, Outcome, amend, buy, cancel, merged, run, scripted, sell

D = Decimal
FLAT = 100.0
CONTRACT = Instrument("TEST", price_increment=D("0.01"), quantity_increment=D(1), multiplier=D(10))
SHARE = Instrument("TEST", price_increment=D("0.01"), quantity_increment=D(1))


def life_of(outcome: Outcome, number: int) -> list[tuple[str, int]]:
    """Return (what, hours since the year began) of everything that happened to an order, as it was told."""
    told = [*outcome.strategy.events, *outcome.strategy.fills]
    life = [(type(event).__name__, (event.time - NEW_YEAR_2024) // HOUR) for event in told if event.order.id == number]
    return sorted(life, key=lambda each: each[1])


# ── same close: the volume of its bar ───────────────────────────────────────────────────────────────────────────────


def test_an_order_at_the_close_takes_no_more_than_its_bars_share_of_volume() -> None:
    rows = [(100, 100, 100, 100, 50), (101, 102, 100, 101, 40), (103, 104, 102, 103, 1000)]
    outcome = run(rows, {0: buy(20)}, switches={"market_fill": "same_close"})
    assert outcome.quantities == [("buy", 0, 5, 100), ("buy", 1, 4, 101), ("buy", 2, 11, 103)]


def test_what_rested_in_the_bar_and_what_fills_at_its_close_share_one_cap() -> None:
    rows = [FLAT, (100, 100, 95, 99, 50), (99, 99, 99, 99, 1000)]
    outcome = run(rows, {0: buy(3, limit=96), 1: [buy(1), buy(4)]}, switches={"market_fill": "same_close"})
    assert outcome.quantities == [("buy", 1, 3, 96), ("buy", 1, 1, 99), ("buy", 1, 1, 99), ("buy", 2, 3, 99)]


def test_nothing_fills_at_the_close_of_a_bar_that_was_never_traded_in() -> None:
    bars = make_bars([FLAT, FLAT, 101.0])
    flags = np.array([0, FORWARD_FILLED, 0], np.uint8)
    gappy = Bars(bars.streams, *(getattr(bars, name) for name in _COLUMNS), None, flags)
    outcome = run(gappy, {1: buy(1)}, switches={"market_fill": "same_close", "volume_cap": None})
    assert outcome.fills == [("buy", 2, 101, "taker")]


_COLUMNS = ("open_time", "close_time", "open", "high", "low", "close", "volume")


# ── changes take as long to arrive as orders ────────────────────────────────────────────────────────────────────────


def test_an_order_may_fill_at_the_open_before_its_cancel_arrives() -> None:
    outcome = run([FLAT, FLAT, (97, 98, 96, 97), FLAT], {0: buy(limit=98), 1: cancel(1)}, latency=ConstantLatency(HOUR))
    assert outcome.fills == [("buy", 2, 97, "maker")]
    assert outcome.cancelled == []


def test_a_cancel_that_arrives_inside_a_bar_comes_before_its_path() -> None:
    outcome = run(
        [FLAT, FLAT, (100, 100, 90, 95), FLAT], {0: buy(limit=98), 1: cancel(1)}, latency=ConstantLatency(HOUR)
    )
    assert outcome.fills == []
    assert ("OrderCancelled", 2 * 24 + 1) in life_of(outcome, 1)


def newest(change: Any) -> Any:
    """Return a step that changes the newest open order, accepted or not."""
    return lambda strategy: change(strategy, strategy.open_orders("TEST")[-1])


def cancelled(strategy: Strategy, order: Order) -> None:
    strategy.cancel(order)


def test_a_cancel_that_takes_two_days_leaves_the_order_to_two_bars() -> None:
    rows = [FLAT, FLAT, FLAT, (100, 100, 97, 99), FLAT, FLAT]
    latency = ConstantLatency(2 * DAY - HOUR)
    late = run(rows, {0: buy(limit=98), 1: newest(cancelled)}, latency=latency)
    assert late.fills == []  # the order itself arrives in bar 2, the cancel at 23:00 of bar 3: before its path
    later = run(rows, {0: buy(limit=98), 2: newest(cancelled)}, latency=latency)
    assert later.fills == [("buy", 3, 98, "maker")]


def test_without_latency_a_cancel_is_there_at_once() -> None:
    outcome = run([FLAT, FLAT, (97, 98, 96, 97)], {0: buy(limit=98), 1: cancel(1)})
    assert outcome.fills == []
    assert life_of(outcome, 1)[-1] == ("OrderCancelled", 2 * 24)


def test_an_amendment_under_way_leaves_the_open_to_the_old_price() -> None:
    rows = [FLAT, FLAT, (97, 98, 96, 97), FLAT]
    outcome = run(rows, {0: buy(limit=98), 1: amend(1, limit=90)}, latency=ConstantLatency(HOUR))
    assert outcome.fills == [("buy", 2, 97, "maker")]


def test_an_amended_price_meets_what_comes_after_its_arrival() -> None:
    rows = [FLAT, FLAT, (100, 100, 95, 99.5), (100, 101, 96, 100)]
    outcome = run(rows, {0: buy(limit=98), 1: amend(1, limit=97)}, latency=ConstantLatency(HOUR))
    assert outcome.fills == [("buy", 3, 97, "maker")], "the low of bar 2 may have come before the new price was there"
    assert ("OrderAmended", 2 * 24 + 1) in life_of(outcome, 1)


def test_an_amended_quantity_holds_on_the_path_of_the_bar_it_arrives_in() -> None:
    rows = [FLAT, FLAT, (100, 100, 95, 99.5)]
    outcome = run(rows, {0: buy(5, limit=98), 1: amend(1, quantity=2)}, latency=ConstantLatency(HOUR))
    assert outcome.quantities == [("buy", 2, 2, 98)]


def test_an_amendment_that_finds_more_filled_than_it_asks_for_withdraws_the_rest() -> None:
    rows = [FLAT, (100, 100, 100, 100, 1000), (97, 98, 97, 97, 60), (97, 98, 96, 97, 1000), FLAT]
    outcome = run(rows, {0: buy(10, limit=98), 1: amend(1, quantity=3)}, latency=ConstantLatency(HOUR))
    assert outcome.quantities == [("buy", 2, 6, 97)]
    assert outcome.cancelled == [(1, "amended to 3.00000000, and 6.00000000 had filled")]


def test_amending_the_quantity_of_a_trailing_stop_under_way_leaves_its_level_alone() -> None:
    rows = [FLAT, FLAT, (101, 110, 101, 110), (110, 110, 104, 105), FLAT]
    asks = {0: [buy(4), sell(4, trail_amount=5)], 1: amend(2, quantity=2)}
    outcome = run(rows, asks, latency=ConstantLatency(HOUR))
    assert outcome.quantities == [("buy", 1, 4, 100), ("sell", 3, 2, 105)], "it trails from 110, where it was by then"


def test_a_change_never_overtakes_its_order() -> None:
    latency = LognormalLatency(HOUR * 6, 1.5, seed=3)
    asks: dict[int, Any] = {}
    for day in range(0, 40, 2):
        asks[day] = [buy(limit=99), lambda strategy: strategy.cancel_all()]
    outcome = run([(100, 101, 98, 100)] * 45, asks, latency=latency)
    for number in range(1, 21):
        names = [what for what, _ in life_of(outcome, number)]
        assert names.index("OrderAccepted") == 0


# ── events of one order stand in the order of time ──────────────────────────────────────────────────────────────────


def test_an_order_is_accepted_at_the_latest_at_the_open_it_meets() -> None:
    outcome = run([FLAT, FLAT, FLAT], {0: buy(stop_loss=90, take_profit=110)}, latency=ConstantLatency(HOUR))
    assert life_of(outcome, 1)[:2] == [("OrderAccepted", 24), ("Fill", 24)]
    assert life_of(outcome, 2)[0] == ("OrderAccepted", 24), "children arrive with their entry"


def test_an_order_that_is_on_its_way_is_not_accepted_yet() -> None:
    outcome = run([FLAT] * 4, {0: buy(limit=90)}, latency=ConstantLatency(2 * DAY + HOUR))
    assert life_of(outcome, 1) == [("OrderAccepted", 3 * 24 + 1)]


def test_a_post_only_order_is_judged_where_it_arrives() -> None:
    # at the last close it would take; at the open that it meets it does not
    outcome = run(
        [FLAT, (105, 106, 101, 105), FLAT], {0: buy(limit=102, post_only=True)}, latency=ConstantLatency(HOUR)
    )
    assert outcome.fills == [("buy", 1, 102, "maker")]
    assert outcome.rejected == []


PRICES = st.integers(9_500, 10_500).map(lambda cents: cents / 100)


@st.composite
def rows_of(draw: st.DrawFn) -> list[list[float]]:
    rows = []
    for _ in range(draw(st.integers(4, 12))):
        prices = sorted(draw(st.lists(PRICES, min_size=4, max_size=4)))
        rows.append([prices[1], prices[3], prices[0], prices[2], float(draw(st.sampled_from((20, 100, 1000))))])
    return rows


class Listener(ScriptedStrategy):
    """Remembers what it was told, fills and other events in one list."""

    def __init__(self, steps: Any) -> None:
        super().__init__(steps)
        self.told: list[Any] = []

    def on_fill(self, fill: Fill) -> None:
        self.told.append(fill)
        super().on_fill(fill)

    def on_order(self, event: Any) -> None:
        self.told.append(event)
        super().on_order(event)


@settings(max_examples=60)
@given(rows_of(), st.sampled_from([0, 1, 7, 25, 60]), st.integers(0, 2**32))
def test_events_of_an_order_never_go_back_in_time(rows: list[list[float]], hours: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    asks: dict[int, list[Any]] = {}
    for day in range(len(rows) - 1):
        price = float(np.round(generator.uniform(96, 104), 2))
        kind = generator.integers(5)
        trade = buy if generator.random() < 0.5 else sell
        asks[day] = [
            [
                trade(8),
                trade(8, limit=price),
                trade(8, stop=price),
                lambda s: s.cancel_all(),
                trade(4, trail_amount=2.0),
            ][kind]
        ]
    steps = scripted(asks).steps
    outcome = run(rows, {}, strategy=Listener(steps), latency=ConstantLatency(hours * HOUR) if hours else None)
    last: dict[int, int] = {}
    assert isinstance(outcome.strategy, Listener)
    told = outcome.strategy.told
    assert told
    for event in told:
        assert event.time >= last.get(event.order.id, 0), event
        last[event.order.id] = event.time


# ── amendments the venue would not take ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"quantity": 0.4}, "amendment refused: quantity 0.4 is no multiple of 1, the step of TEST"),
        ({"limit": 97.005}, "amendment refused: limit 97.005 is no multiple of 0.01, the step of TEST"),
        ({"quantity": 1}, "is below the venue's minimum"),
        ({"limit": 30.0}, "is below the venue's minimum"),
    ],
)
def test_an_amendment_the_venue_would_not_take_is_refused_and_the_order_stays(
    terms: dict[str, float], reason: str
) -> None:
    strict = Instrument(
        "TEST", price_increment=D("0.01"), quantity_increment=D(1), min_quantity=D(2), min_notional=D(300)
    )
    rows = [FLAT, FLAT, (100, 100, 97, 99), FLAT]
    outcome = run(rows, {0: buy(5, limit=98), 1: amend(1, **terms)}, instruments=[strict])
    assert outcome.quantities == [("buy", 2, 5, 98)]
    assert len(outcome.refused) == 1
    assert reason in outcome.refused[0][1]
    assert outcome.amended == []


# ── prices between two increments ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ask", "price"),
    [
        (buy(limit=98.009), "98.00"),
        (sell(limit=98.001), "98.01"),
        (buy(stop=102.001), "102.01"),
        (sell(stop=97.999), "97.99"),
        (buy(limit=98.0000000001), "98.00"),  # a float's error is no price between two increments
        (sell(limit=97.9999999999), "98.00"),
        (buy(limit=D("98.01")), "98.01"),
    ],
)
def test_a_price_between_two_increments_moves_in_the_orders_own_favour(ask: Ask, price: str) -> None:
    outcome = run([FLAT, FLAT], {0: ask})
    order = outcome.order(1)
    assert str(order.limit if order.limit is not None else order.stop) == price


def test_the_children_of_a_bracket_move_in_their_own_favour_too() -> None:
    outcome = run([FLAT, FLAT], {0: buy(stop_loss=90.005, take_profit=110.001)})
    assert (outcome.order(2).stop, outcome.order(3).limit) == (D("90.00"), D("110.01"))


@given(st.floats(0.02, 1e6), st.sampled_from(["0.01", "0.5", "0.00000001", "25"]))
def test_rounding_beyond_never_crosses_the_price(price: float, step: str) -> None:
    instrument = Instrument("TEST", price_increment=D(step))
    low, high = instrument.to_ticks_beyond(price, -1), instrument.to_ticks_beyond(price, 1)
    assert high - low in (0, 1)
    slack = 1e-6 + 1e-15 * abs(price / instrument.tick)
    assert low - slack <= price / instrument.tick <= high + slack


# ── fees ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_minimum_fee_is_charged_once_for_an_order_that_fills_in_parts() -> None:
    rows = [FLAT, (100, 100, 100, 100, 40), (100, 100, 100, 100, 40), (100, 100, 100, 100, 1000)]
    outcome = run(rows, {0: buy(20)}, fees=EquityFees(rate=D("0.005"), minimum=D(5)), instruments=[SHARE])
    fees = [row.fee for row in outcome.result.fills]
    assert [row.quantity for row in outcome.result.fills] == [4, 4, 12]
    assert fees == [5, 0, 5], "2, then 4, then 10 by rate: never less than 5 in all"


@settings(max_examples=80)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=6),
    st.sampled_from(["0", "0.0003", "0.02"]),
    st.sampled_from(["0", "1.5", "40"]),
)
def test_fees_of_the_parts_add_up_to_the_fee_of_the_whole(parts: list[int], rate: str, minimum: str) -> None:
    fees = EquityFees(per_share=D("0.003"), rate=D(rate), minimum=D(minimum))
    rows = [[100.0, 100, 100, 100, 1e6], *([100.0, 100, 100, 100, 10.0 * part] for part in parts)]
    split = run(rows, {0: buy(sum(parts))}, fees=fees, instruments=[SHARE])
    whole = run([FLAT, FLAT], {0: buy(sum(parts))}, fees=fees, instruments=[SHARE])
    assert len(split.fills) == len(parts)
    assert split.portfolio.accounts["USD"].cash == whole.portfolio.accounts["USD"].cash


def test_tiered_fees_start_anew_with_every_run() -> None:
    fees = TieredFees([FeeTier(D(0), D("0.001"), D("0.002")), FeeTier(D(500), D(0), D(0))])
    first, second = (run([FLAT, FLAT, FLAT], {0: buy(6), 1: sell(6)}, fees=fees) for _ in range(2))
    assert [row.fee for row in first.result.fills] == [row.fee for row in second.result.fills] == [1.2, 0]


def test_a_sale_worth_less_than_its_fee_pays_what_there_is() -> None:
    outcome = run(
        [FLAT, FLAT, 1.0, 1.0],
        {0: buy(9), 2: sell(9)},
        fees=EquityFees(minimum=D(50)),
        cash=D(950),
        instruments=[SHARE],
    )
    assert [row.fee for row in outcome.result.fills] == [50, 9]
    assert outcome.portfolio.accounts["USD"].cash == 0
    assert outcome.position == 0


@settings(max_examples=80)
@given(rows_of(), st.sampled_from([40, 700, 5_000]), st.sampled_from([1, 30, 400]), st.integers(0, 2**32))
def test_the_cash_of_a_long_only_account_never_falls_below_zero(
    rows: list[list[float]], cash: int, minimum: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    trades = [(buy, sell)[generator.integers(2)](float(generator.integers(1, 40))) for _ in range(len(rows) - 1)]
    outcome = run(
        rows,
        dict(enumerate(trades)),
        cash=D(cash),
        fees=EquityFees(rate=D("0.001"), minimum=D(minimum), stamp_duty=D("0.05")),
        allow_short=False,
        instruments=[SHARE],
    )
    assert min([row.cash_after for row in outcome.result.fills], default=0.0) >= 0
    balance = D(cash)
    for fill in outcome.strategy.fills:
        balance -= int(fill.side) * fill.price * fill.quantity + fill.fee_units * D("1e-8")
    assert outcome.portfolio.accounts["USD"].cash == balance, "to the last unit"


# ── contracts worth several units of the base asset ─────────────────────────────────────────────────────────────────


def test_the_volume_cap_counts_contracts_by_what_they_are_worth_in_base_asset() -> None:
    outcome = run([FLAT, (100, 100, 100, 100, 1000), FLAT], {0: buy(25)}, instruments=[CONTRACT])
    assert outcome.quantities == [("buy", 1, 10, 100), ("buy", 2, 15, 100)], "a tenth of 1000 BTC is 10 contracts of 10"


def test_impact_counts_contracts_by_what_they_are_worth_in_base_asset() -> None:
    def paid(instrument: Instrument, quantity: int) -> float:
        rows = [(100, 101, 99, 100 + place % 3, 10_000) for place in range(30)]
        outcome = run(rows, {20: buy(quantity)}, slippage=SquareRootImpact(), instruments=[instrument])
        return outcome.result.fills[0].price

    assert paid(CONTRACT, 5) == paid(SHARE, 50) > 100


# ── orders of several symbols that cancel each other ────────────────────────────────────────────────────────────────


def pair(
    feed_order: tuple[str, str], rows: dict[str, list[Any]], asks: list[tuple[str, dict[str, float]]]
) -> list[Any]:
    """Return (symbol, price) of what fills of purchases in one group, asked for after the first day, in that order."""

    def ask(strategy: ScriptedStrategy, bar: Any) -> None:
        for symbol, terms in asks:
            strategy.buy(symbol, 1, oco_group="g", **terms)

    bars = merged(*(make_bars(rows[symbol], symbol=symbol) for symbol in feed_order))
    return [(row.symbol, row.price) for row in run_bars(bars, ScriptedStrategy({1: ask})).fills]


@pytest.mark.parametrize("feed_order", [("A", "B"), ("B", "A")])
@pytest.mark.parametrize(
    ("rows", "asks", "fill"),
    [
        # both inside their bars: the one sent first
        (
            {"A": [FLAT, (100, 100, 90, 95)], "B": [FLAT, (100, 100, 90, 95)]},
            [("B", {"limit": 98.0}), ("A", {"limit": 97.0})],
            ("B", 98),
        ),
        # both at the open
        (
            {"A": [FLAT, (95, 96, 94, 95)], "B": [FLAT, (94, 95, 93, 94)]},
            [("A", {"limit": 98.0}), ("B", {"limit": 97.0})],
            ("A", 95),
        ),
        # an open comes before a path, whoever was sent first
        (
            {"A": [FLAT, (100, 100, 90, 95)], "B": [FLAT, (94, 95, 93, 94)]},
            [("A", {"limit": 98.0}), ("B", {"limit": 97.0})],
            ("B", 94),
        ),
    ],
)
def test_of_orders_that_cancel_each_other_across_symbols_the_first_in_time_fills_alone(
    feed_order: tuple[str, str], rows: dict[str, list[Any]], asks: list[Any], fill: tuple[str, float]
) -> None:
    assert pair(feed_order, rows, asks) == [fill]


# ── symbols that have nothing to do with each other ─────────────────────────────────────────────────────────────────


SIDE_BY_SIDE = {
    "probability": Terms(switches=Switches(limit_touch="probability", touch_probability=0.5, seed=9)),
    "random path": Terms(switches=Switches(path="random", seed=4)),
    "drawn latency": Terms(latency=LognormalLatency(12 * HOUR, 1.0, seed=2)),
    "plain": Terms(fees=MakerTakerFees(D("0.001"), D("0.002"))),
}


@pytest.mark.parametrize("terms", SIDE_BY_SIDE.values(), ids=SIDE_BY_SIDE.keys())
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("feed_order", [("A", "B"), ("B", "A")])
def test_an_unrelated_symbol_leaves_the_fills_of_another_as_they_were(
    terms: Terms, seed: int, feed_order: tuple[str, str]
) -> None:
    generator = np.random.default_rng(seed)
    rows = {symbol: random_walk(generator, 40) for symbol in feed_order}
    wishes = {symbol: generator.integers(0, 4, 40).tolist() for symbol in feed_order}

    class Each(Strategy):
        def on_bar(self, bar: Any) -> None:
            match wishes[bar.symbol][(bar.close_time - NEW_YEAR_2024) // DAY - 1]:
                case 0:
                    self.buy(bar.symbol, 1, limit=bar.close - 1, stop_loss=bar.close - 4, take_profit=bar.close + 3)
                case 1:
                    self.sell(bar.symbol, 1, limit=bar.close + 1)
                case 2:
                    self.cancel_all(bar.symbol)

    def fills(*symbols: str) -> list[Any]:
        bars = [make_bars(rows[symbol], symbol=symbol) for symbol in symbols]
        found = run_bars(merged(*bars) if len(bars) > 1 else bars[0], Each(), terms).fills
        return [(fill.time, fill.side, fill.price, fill.quantity) for fill in found if fill.symbol == "A"]

    alone = fills("A")
    assert len(alone) > 4
    assert fills(*feed_order) == alone


def random_walk(generator: np.random.Generator, days: int) -> list[list[float]]:
    """Return whole prices, so that touches are common."""
    rows, price = [], 100
    for _ in range(days):
        close = price + int(generator.integers(-2, 3))
        high, low = max(price, close) + int(generator.integers(0, 3)), min(price, close) - int(generator.integers(0, 3))
        rows.append([float(price), float(high), float(low), float(close), 1000.0])
        price = close
    return rows
