"""Where two prices are equal: what the rules of matching do at the very edge, in ticks, for buyers and sellers."""

from typing import Any

import pytest

from engine import Instrument, Order, OrderType, Side
from engine.matching import TickBar, at_open, certain_after, on_leg, over_whole_bar, trail, within_range
from engine.semantics import Switches

INSTRUMENT = Instrument("X")
BAR = TickBar(100, 112, 94, 108)
DEFAULT = Switches()
BUY, SELL = Side.BUY, Side.SELL


def order(kind: OrderType, side: Side = BUY, **terms: Any) -> Order:
    return Order(1, 1, INSTRUMENT, side, kind, 10, 0, 100, **terms)


def stop_limit(stop: int, limit: int, side: Side = BUY) -> Order:
    return order(OrderType.STOP_LIMIT, side, stop_ticks=stop, limit_ticks=limit)


@pytest.mark.parametrize(("limit", "price"), [(100, 100), (99, None)])
def test_a_stop_limit_triggered_by_the_open_crosses_the_book_at_its_limit(limit: int, price: int | None) -> None:
    assert at_open(stop_limit(99, limit), BAR, True, DEFAULT) == price


@pytest.mark.parametrize(
    ("kind", "terms", "switches", "price"),
    [
        (OrderType.MARKET, {}, {}, 100),
        (OrderType.STOP, {"stop_ticks": 99}, {}, 100),  # gapped over
        (OrderType.STOP, {"stop_ticks": 99}, {"stop_gap": "trigger"}, 99),
        (OrderType.STOP, {"stop_ticks": 99}, {"stop_price": "worst_of_trigger_and_close"}, 108),
        (OrderType.STOP, {"stop_ticks": 101}, {}, None),
        (OrderType.LIMIT, {"limit_ticks": 101}, {}, 100),
        (OrderType.LIMIT, {"limit_ticks": 101}, {"limit_gap": "limit"}, 101),
        (OrderType.LIMIT, {"limit_ticks": 100}, {}, 100),
        (OrderType.LIMIT, {"limit_ticks": 99}, {}, None),
        (OrderType.STOP_LIMIT, {"stop_ticks": 120, "limit_ticks": 101, "is_triggered": True}, {}, 100),
        (OrderType.STOP_LIMIT, {"stop_ticks": 120, "limit_ticks": 99, "is_triggered": True}, {}, None),
    ],
)
def test_what_the_open_does_to_an_order_that_arrives(kind: OrderType, terms: Any, switches: Any, price: Any) -> None:
    assert at_open(order(kind, **terms), BAR, True, Switches(**switches)) == price


def test_an_open_at_its_limit_does_not_fill_an_order_that_rests() -> None:
    assert at_open(order(OrderType.LIMIT, limit_ticks=100), BAR, False, DEFAULT) is None
    assert at_open(order(OrderType.LIMIT, limit_ticks=100), BAR, False, Switches(limit_touch="touch")) == 100


@pytest.mark.parametrize(
    ("limit", "limit_touch", "is_lucky", "price"),
    [
        (109, "through", False, 109),  # the bar closes at 108, after the stop at 110 was reached
        (108, "through", False, None),
        (108, "touch", False, 108),
        (108, "probability", True, 108),
        (108, "probability", False, None),
        (107, "touch", True, None),
    ],
)
def test_a_stop_limit_that_triggers_inside_the_bar_fills_if_the_close_says_so(
    limit: int, limit_touch: str, is_lucky: bool, price: int | None
) -> None:
    assert within_range(stop_limit(110, limit), BAR, is_lucky, Switches(limit_touch=limit_touch)) == price


@pytest.mark.parametrize(
    ("limit", "limit_touch", "is_lucky", "price"),
    [(94, "through", True, None), (94, "touch", False, 94), (94, "probability", True, 94), (93, "touch", True, None)],
)
def test_a_limit_at_the_low_is_touched(limit: int, limit_touch: str, is_lucky: bool, price: int | None) -> None:
    resting = order(OrderType.LIMIT, limit_ticks=limit)
    assert within_range(resting, BAR, is_lucky, Switches(limit_touch=limit_touch)) == price


def test_a_stop_inside_the_bar_may_be_filled_at_its_close() -> None:
    stop = order(OrderType.STOP, stop_ticks=105)
    assert within_range(stop, BAR, False, Switches(stop_price="worst_of_trigger_and_close")) == 108


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_trail_that_is_a_whole_number_of_increments_but_for_float_is_that_number(side: Side) -> None:
    trailing = order(OrderType.TRAILING_STOP, side, trail_fraction=0.07)
    trail(trailing, 100)
    assert 100 * 0.07 > 7
    assert trailing.stop_ticks == 100 + side * 7


@pytest.mark.parametrize("limit", [105, 106])
def test_a_stop_limit_with_its_limit_at_the_stop_or_above_fills_at_the_stop(limit: int) -> None:
    assert within_range(stop_limit(105, limit), BAR, False, DEFAULT) == 105


@pytest.mark.parametrize(
    ("limit", "low", "limit_touch", "price"),
    [
        (100, 100, "through", 100),  # an open at the limit is taken, were it the only price
        (94, 94, "through", None),
        (94, 94, "probability", None),  # no luck is drawn for a bar met as a whole
        (94, 94, "touch", 94),
        (95, 94, "through", 95),
    ],
)
def test_a_limit_in_a_bar_met_as_a_whole(limit: int, low: int, limit_touch: str, price: int | None) -> None:
    bar = BAR._replace(low=low)
    assert over_whole_bar(order(OrderType.LIMIT, limit_ticks=limit), bar, Switches(limit_touch=limit_touch)) == price


@pytest.mark.parametrize(
    ("stop", "limit", "terms", "price"),
    [
        (100, 96, {}, 96),  # triggered by the open: the whole bar came after
        (99, 101, {"limit_gap": "limit"}, 101),
        (101, 96, {}, None),  # triggered later: the low may have come before
        (105, 105, {}, 105),
        (110, 109, {}, 109),  # the close lies below the limit, and came after
        (110, 108, {}, None),
        (110, 108, {"limit_touch": "touch"}, 108),
        (110, 108, {"limit_touch": "probability"}, None),
        (110, 107, {"limit_touch": "touch"}, None),
        (90, 94, {"stop_limit_same_bar": "limit_beyond_stop"}, 90),  # the low touches the limit
        (90, 93, {"stop_limit_same_bar": "limit_beyond_stop"}, None),
        (105, 105, {"stop_limit_same_bar": "limit_beyond_stop"}, None),  # a limit at the stop is not beyond it
        (105, 105, {"stop_limit_same_bar": "falling_close"}, 105),
    ],
)
def test_a_stop_limit_in_a_bar_met_as_a_whole(stop: int, limit: int, terms: Any, price: int | None) -> None:
    both = stop_limit(stop, limit)
    assert over_whole_bar(both, BAR, Switches(path="queue", **terms)) == price
    assert both.is_triggered is True


@pytest.mark.parametrize(
    ("side", "bar", "price"),
    [
        (BUY, TickBar(102, 112, 94, 98), 98),  # fell, and the close touches the limit
        (BUY, TickBar(102, 112, 94, 99), None),
        (BUY, TickBar(98, 112, 94, 98), None),  # ended where it began: has not turned round for a buyer …
        (SELL, TickBar(98, 112, 94, 98), 98),  # … and has for a seller
    ],
)
def test_the_falling_close_of_backtrader(side: Side, bar: TickBar, price: int | None) -> None:
    sign = side.value
    both = stop_limit(sign * 105, sign * 98, side)  # the bar and the price are as a buyer sees them
    rule = Switches(path="queue", stop_limit_same_bar="falling_close")
    assert over_whole_bar(both, bar, rule) == price


def test_a_stop_limit_that_triggers_unfilled_in_a_whole_bar_is_a_limit_order_from_then_on() -> None:
    both = stop_limit(105, 96)
    assert over_whole_bar(both, BAR, Switches(path="queue")) is None
    assert over_whole_bar(both, TickBar(98, 99, 95, 97), Switches(path="queue")) == 96, "its stop is not asked again"


def test_after_an_entry_at_a_stop_that_is_its_limit_too_only_the_close_is_known() -> None:
    # It may have triggered bars ago and filled as the price came back.
    assert certain_after(105, stop_limit(105, 105), BAR) == (105, 108, 105, 108)
    assert certain_after(96, stop_limit(96, 96, SELL), BAR) == (96, 108, 96, 108)


@pytest.mark.parametrize(("side", "best", "stop"), [(SELL, 110, 105), (BUY, 90, 95)])
def test_a_stop_loosened_by_hand_stays_there_until_there_is_a_better_price(side: Side, best: int, stop: int) -> None:
    trailing = order(OrderType.TRAILING_STOP, side, trail_ticks=5)
    trail(trailing, best)
    assert (trailing.stop_ticks, trailing.reference) == (stop, best)
    trailing.stop_ticks = stop + side * 3
    for price in (best, best + side):
        trail(trailing, price)
        assert (trailing.stop_ticks, trailing.reference) == (stop + side * 3, best), f"{price} is no better than {best}"
    trail(trailing, best - side)
    assert (trailing.stop_ticks, trailing.reference) == (stop - side, best - side)


@pytest.mark.parametrize(("side", "tightened"), [(SELL, 108), (BUY, 92)])
def test_a_stop_tightened_by_hand_waits_for_the_trail_to_reach_it(side: Side, tightened: int) -> None:
    trailing = order(OrderType.TRAILING_STOP, side, trail_ticks=5)
    trail(trailing, 100 - side * 10)
    trailing.stop_ticks = tightened
    trail(trailing, 100 - side * 12)
    assert trailing.stop_ticks == tightened
    trail(trailing, 100 - side * 14)
    assert trailing.stop_ticks == 100 - side * 9


@pytest.mark.parametrize(
    ("kind", "terms", "start", "end", "touch", "level"),
    [
        (OrderType.STOP, {"stop_ticks": 105}, 105, 105, "touch", None),  # no move, no price that was not met before
        (OrderType.STOP, {"stop_ticks": 105}, 105, 106, "touch", 105),
        (OrderType.LIMIT, {"limit_ticks": 98}, 98, 98, "touch", None),
        (OrderType.LIMIT, {"limit_ticks": 98}, 99, 98, "touch", 98),
    ],
)
def test_a_leg_that_starts_or_ends_at_the_order_s_price(
    kind: OrderType, terms: Any, start: int, end: int, touch: str, level: int | None
) -> None:
    assert on_leg(order(kind, **terms), start, end, False, Switches(limit_touch=touch)) == level


@pytest.mark.parametrize("is_lucky", [True, False])
def test_a_limit_touched_at_the_end_of_a_leg_fills_by_luck(is_lucky: bool) -> None:
    touched = on_leg(order(OrderType.LIMIT, limit_ticks=98), 100, 98, is_lucky, Switches(limit_touch="probability"))
    assert touched == (98 if is_lucky else None)
