"""Which bars leave open what filled, what the two endings are, and that nothing is noted where nothing is in doubt."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from engine.bars import DAY, Bars
from engine.bounds import Ambiguity, ambiguity
from engine.costs import FixedSlippage, MakerTakerFees
from engine.detail import DetailBars
from engine.semantics import Switches
from engine.testing import NEW_YEAR_2024, make_bars
from tests.engine.cases import Outcome, amend, buy, cancel, run, sell, target

CALM = [100, 101, 99, 100]
WILD = [100, 111, 88, 105]
"""A stop at 90 and a target at 110 lie in it."""


def told(outcome: Outcome, rows: Any, detail: Bars | None = None, **switches: Any) -> Ambiguity:
    exchange: Any = outcome.engine.broker
    return ambiguity(
        exchange.watch, {"TEST": make_bars(rows)}, outcome.result.fills, outcome.portfolio, Switches(**switches),
        exchange.cost_of, DetailBars({"TEST": detail}) if detail is not None else None,
    )


@dataclass(frozen=True)
class Open:
    """What is asked after the first bar, the bars, and the net of the pessimistic, declared and optimistic ending; None
    where nothing is open."""

    why: str
    asks: Any
    rows: Any
    nets: tuple[float, float, float] | None
    switches: dict[str, Any] = field(default_factory=dict)


BRACKET = {"stop_loss": 90, "take_profit": 110}
INSIDE = {"limit": 98, "stop_loss": 95, "take_profit": 110}

CASES = [
    Open("stop and target in one bar", buy(**BRACKET), [CALM, CALM, WILD], (-10, -10, 10)),
    Open("the same, settled the other way", buy(**BRACKET), [CALM, CALM, WILD], (-10, 10, 10), {"path": "ohlc"}),
    Open("the entry's own bar has both", buy(**BRACKET), [CALM, WILD], (-10, -10, 10)),
    Open("the open is beyond the target: it came first", buy(**BRACKET), [CALM, CALM, [115, 116, 88, 100]], None),
    Open("only the stop", buy(**BRACKET), [CALM, CALM, [100, 105, 88, 100]], None),
    Open("a target that is touched and not crossed", buy(**BRACKET), [CALM, CALM, [100, 110, 88, 100]], None),
    Open("the high may have come before a limit entry", buy(**INSIDE), [CALM, [100, 112, 97, 100]], (2, 2, 12)),
    Open("closed beyond the target: it came after", buy(**INSIDE), [CALM, [100, 112, 97, 111]], None),
    Open("the stop lies beyond the entry", buy(limit=98, stop_loss=95), [CALM, [100, 101, 94, 99]], None),
    Open("the low may have come before a stop entry", buy(stop=102, stop_loss=95, take_profit=120),
         [CALM, [100, 104, 94, 103]], (-7, -7, 1)),
    Open("what was held on to may fall further, by a jump", buy(stop=102, stop_loss=95, take_profit=120),
         [CALM, [100, 104, 94, 103], [80, 81, 79, 80]], (-22, -7, -7)),
    Open("a target that was missed may be jumped over", buy(**INSIDE),
         [CALM, [100, 112, 97, 100], [130, 131, 129, 130]], (12, 32, 32)),
    Open("a group: the first to fill withdraws the other",
         [buy(limit=95, oco_group="g"), buy(stop=105, oco_group="g")], [CALM, [100, 106, 94, 100]], (-5, -5, 5)),
    Open("a market order and no children", buy(), [CALM, WILD], None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why.replace(" ", "_"))
def test_what_a_bar_leaves_open(case: Open) -> None:
    switches = {"volume_cap": None, **case.switches}

    left = told(run(case.rows, {0: case.asks}, switches=switches), case.rows, **switches)

    if case.nets is None:
        assert left.is_clear
    else:
        [trade] = left.trades
        assert (trade.pessimistic.net, trade.declared.net, trade.optimistic.net) == case.nets


def test_an_ambiguous_trade_names_its_orders_bar_prices_and_times() -> None:
    rows = [CALM, CALM, CALM, WILD]

    [trade] = told(run(rows, {0: buy(2, **BRACKET)}), rows).trades

    opened, closed = NEW_YEAR_2024 + DAY, NEW_YEAR_2024 + 4 * DAY
    assert (trade.symbol, trade.side, trade.quantity, trade.orders) == ("TEST", "buy", 2.0, (1, 2, 3))
    assert (trade.entry_time, trade.bars) == (opened, (closed,))
    assert (trade.pessimistic.price, trade.pessimistic.time) == (90.0, closed)
    assert (trade.optimistic.price, trade.optimistic.is_held) == (110.0, False)


def test_notes_name_the_bar_the_orders_and_their_prices() -> None:
    watch: Any = run([CALM, CALM, WILD], {0: buy(**BRACKET)}).engine.broker.watch

    [note] = watch.notes
    assert note == (NEW_YEAR_2024 + 3 * DAY, "TEST", (2, 3), (90.0, 110.0))


@pytest.mark.parametrize("asks", [buy(), buy(limit=95), [buy(), sell(limit=105)]])
def test_a_run_without_linked_orders_notes_nothing(asks: Any) -> None:
    watch: Any = run([CALM, WILD, WILD], {0: asks}).engine.broker.watch

    assert (watch.count, watch.notes, watch.asked) == (0, [], [])


def test_costs_are_in_both_endings() -> None:
    rows = [CALM, CALM, WILD]
    fees = MakerTakerFees(maker=Decimal("0.001"), taker=Decimal("0.002"))

    [trade] = told(run(rows, {0: buy(**BRACKET)}, fees=fees, slippage=FixedSlippage(10.0)), rows).trades

    entry = 100.10 * 1.002
    assert trade.pessimistic.net == pytest.approx(89.91 * 0.998 - entry)
    assert trade.declared.net == trade.pessimistic.net
    assert trade.optimistic.net == pytest.approx(110 * 0.999 - entry)


def test_a_position_closed_by_another_order_is_closed_so_in_every_ending() -> None:
    rows = [CALM, [100, 112, 97, 100], CALM, [103, 104, 102, 103], CALM]

    [trade] = told(run(rows, {0: buy(**INSIDE), 2: sell()}), rows).trades

    assert (trade.pessimistic.net, trade.declared.net, trade.optimistic.net) == (5, 5, 12)
    assert (trade.declared.time, trade.declared.price) == (NEW_YEAR_2024 + 3 * DAY, 103.0)


def test_a_group_that_entered_is_closed_in_every_ending_by_the_order_that_closed_it() -> None:
    rows = [CALM, [100, 106, 94, 100], CALM, [103, 104, 102, 103], [150, 151, 149, 150]]
    asks = {0: [buy(95, oco_group="g", limit=95), buy(95, stop=105, oco_group="g")], 2: target(0.0)}

    [trade] = told(run(rows, asks), rows).trades

    assert (trade.pessimistic.net, trade.optimistic.net) == (95 * (103 - 105), 95 * (103 - 95))
    assert not trade.declared.is_held


def test_a_position_that_another_order_closes_in_part_is_not_worked_out() -> None:
    rows = [CALM, CALM, CALM, WILD]

    left = told(run(rows, {0: buy(2, **BRACKET), 1: sell(1)}), rows)

    assert (left.trades, left.unknown) == ((), 1)


def test_orders_withdrawn_by_the_strategy_are_gone_in_every_ending() -> None:
    rows = [CALM, [100, 112, 97, 100], [100, 101, 94, 100], [100, 101, 99, 100]]

    [trade] = told(run(rows, {0: buy(**INSIDE), 1: [cancel(2), cancel(3)]}), rows).trades

    assert (trade.pessimistic.net, trade.declared.net, trade.optimistic.net) == (2, 2, 12)
    assert trade.declared.is_held


def test_amended_orders_are_counted_and_not_worked_out() -> None:
    rows = [CALM, CALM, CALM, WILD]

    left = told(run(rows, {0: buy(**BRACKET), 1: amend(2, stop=92)}), rows)

    assert (left.trades, left.unknown) == ((), 1)


def test_reduce_only_orders_side_by_side_are_counted() -> None:
    rows = [CALM, CALM, WILD]

    left = told(run(rows, {0: [buy(), sell(stop=90, reduce_only=True), sell(limit=110, reduce_only=True)]}), rows)

    assert (left.contested, left.unlinked, left.trades) == (1, 1, ())



@pytest.mark.parametrize(
    ("hours", "corrected"),
    [
        ([[100, 111, 100, 104], [104, 105, 88, 105]], [(-10, 10)]),
        ([[100, 101, 88, 100], [100, 111, 100, 105]], []),
    ],
)
def test_finer_bars_tell_which_came_first(hours: Any, corrected: list[Any]) -> None:
    rows = [CALM, CALM, WILD]
    finer = make_bars(hours, timeframe="12h", start=NEW_YEAR_2024 + 2 * DAY)

    left = told(run(rows, {0: buy(**BRACKET)}), rows, finer)

    assert left.trades == ()
    assert left.resolved == 1
    assert [(trade.declared.net, trade.optimistic.net) for trade in left.corrected] == corrected


def test_finer_bars_that_are_ambiguous_themselves_leave_it_open() -> None:
    rows = [CALM, CALM, WILD]
    finer = make_bars([[*WILD[:3], 104], [104, 105, 104, 105]], timeframe="12h", start=NEW_YEAR_2024 + 2 * DAY)

    [trade] = told(run(rows, {0: buy(**BRACKET)}), rows, finer).trades

    assert trade.bars == (NEW_YEAR_2024 + 2 * DAY + DAY // 2,)


def test_what_is_over_and_was_never_in_doubt_is_forgotten() -> None:
    rows = [CALM] * 6000
    asks = {bar: buy(stop_loss=99.5, take_profit=120) for bar in range(5500)}

    watch: Any = run(rows, asks).engine.broker.watch

    assert len(watch.asked) == 5500
    assert len(watch._linked) < 5000
