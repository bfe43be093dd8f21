"""The pure rules of matching, one by one, in ticks. Whole runs, order type by order type, are in test_exchange."""

from typing import Any

import pytest

from engine import Instrument, Order, OrderType, Side
from engine.matching import (
    TickBar,
    at_open,
    certain_after,
    limit_at_open,
    limit_reached,
    on_leg,
    over_whole_bar,
    path_points,
    prices_of,
    stop_fill,
    stop_triggers,
    trail,
    trail_point,
    within_range,
)
from engine.semantics import Switches

INSTRUMENT = Instrument("X")
BAR = TickBar(100, 112, 94, 108)
DEFAULT = Switches()
BUY, SELL = Side.BUY, Side.SELL


def order(kind: OrderType, side: Side = BUY, **terms: Any) -> Order:
    return Order(1, 1, INSTRUMENT, side, kind, 10, 0, 100, **terms)


def test_a_seller_sees_highs_as_lows() -> None:
    assert BAR.mirrored() == TickBar(-100, -94, -112, -108)
    assert BAR.mirrored().mirrored() == BAR
    assert prices_of(order(OrderType.STOP_LIMIT, SELL, limit_ticks=98, stop_ticks=99)) == (-98, -99)
    assert prices_of(order(OrderType.MARKET)) == (None, None)


@pytest.mark.parametrize(("price", "touch", "through"), [(104, False, False), (105, True, False), (106, True, True)])
def test_a_stop_at_105_triggers(price: int, touch: bool, through: bool) -> None:
    assert stop_triggers(price, 105, DEFAULT) is touch
    assert stop_triggers(price, 105, Switches(stop_touch="through")) is through


@pytest.mark.parametrize(
    ("stop", "is_at_open", "terms", "price"),
    [
        (105, False, {}, 105),
        (98, True, {}, 100),  # gapped over: the open
        (98, True, {"stop_gap": "trigger"}, 98),
        (105, False, {"stop_price": "worst_of_trigger_and_close"}, 108),
        (110, False, {"stop_price": "worst_of_trigger_and_close"}, 110),
    ],
)
def test_the_price_of_a_triggered_stop(stop: int, is_at_open: bool, terms: dict[str, str], price: int) -> None:
    assert stop_fill(stop, is_at_open, BAR, Switches(**terms)) == price


@pytest.mark.parametrize(
    ("limit", "is_arriving", "terms", "price"),
    [
        (99, True, {}, None),
        (100, True, {}, 100),  # crosses the book as it arrives
        (100, False, {}, None),  # a touch, for one that rests
        (100, False, {"limit_touch": "touch"}, 100),
        (101, False, {}, 100),
        (105, True, {"limit_gap": "limit"}, 105),
        (105, True, {"limit_gap": "bar_extreme"}, 105),
        (120, True, {"limit_gap": "bar_extreme"}, 112),
    ],
)
def test_a_limit_at_the_open(limit: int, is_arriving: bool, terms: dict[str, str], price: int | None) -> None:
    assert limit_at_open(limit, BAR, is_arriving, Switches(**terms)) == price


@pytest.mark.parametrize(
    ("price", "touch", "is_lucky", "reached"),
    [
        (97, "through", False, True),
        (98, "through", True, False),
        (99, "touch", True, False),
        (98, "touch", False, True),
        (98, "probability", True, True),
        (98, "probability", False, False),
        (97, "probability", False, True),
    ],
)
def test_a_resting_limit_at_98_is_reached(price: int, touch: str, is_lucky: bool, reached: bool) -> None:
    assert limit_reached(98, price, is_lucky, Switches(limit_touch=touch)) is reached


def test_a_stop_that_triggers_is_marked_once() -> None:
    stop = order(OrderType.STOP, stop_ticks=105)
    assert at_open(stop, BAR, True, DEFAULT) is None
    assert not stop.is_triggered
    assert within_range(stop, BAR, False, DEFAULT) == 105
    assert stop.is_triggered
    assert within_range(stop, BAR, False, DEFAULT) is None, "what is left of it is a market order, for the next open"
    assert at_open(stop, BAR, False, DEFAULT) == 100


def test_a_triggered_stop_limit_is_a_limit_order() -> None:
    both = order(OrderType.STOP_LIMIT, stop_ticks=90, limit_ticks=95)
    assert at_open(both, BAR, True, DEFAULT) is None, "triggered at 100, and 95 is not to be had there"
    assert both.is_triggered
    assert within_range(both, BAR, False, DEFAULT) == 95


@pytest.mark.parametrize(
    ("kind", "side", "terms", "entry", "known"),
    [
        # the price was falling as it reached these: the low came after
        (OrderType.LIMIT, BUY, {"limit_ticks": 98}, 98, (98, 108, 94, 108)),
        (OrderType.LIMIT, BUY, {"limit_ticks": 100}, 100, (100, 108, 94, 108)),
        (OrderType.STOP, SELL, {"stop_ticks": 96}, 96, (96, 108, 94, 108)),
        # rising: the high came after
        (OrderType.STOP, BUY, {"stop_ticks": 105}, 105, (105, 112, 105, 108)),
        (OrderType.STOP, BUY, {"stop_ticks": 110}, 110, (110, 112, 108, 108)),
        (OrderType.LIMIT, SELL, {"limit_ticks": 105}, 105, (105, 112, 105, 108)),
        (OrderType.STOP_LIMIT, BUY, {"stop_ticks": 105, "limit_ticks": 106}, 105, (105, 112, 105, 108)),
        # on the way back, or at a price that is not its own: the close alone
        (OrderType.STOP_LIMIT, BUY, {"stop_ticks": 111, "limit_ticks": 109}, 109, (109, 109, 108, 108)),
        (OrderType.STOP, BUY, {"stop_ticks": 105}, 108, (108, 108, 108, 108)),
    ],
)
def test_what_is_certain_after_an_entry_inside_the_bar(
    kind: OrderType, side: Side, terms: Any, entry: int, known: Any
) -> None:
    assert certain_after(entry, order(kind, side, **terms), BAR) == known


@pytest.mark.parametrize(
    ("path", "up_first", "bar", "points"),
    [
        ("ohlc", False, BAR, (100, 112, 94, 108)),
        ("olhc", False, BAR, (100, 94, 112, 108)),
        ("adaptive", False, BAR, (100, 94, 112, 108)),
        ("adaptive", False, TickBar(100, 103, 94, 98), (100, 103, 94, 98)),
        ("adaptive", False, TickBar(100, 106, 94, 98), (100, 94, 106, 98)),  # equally near: the low
        ("candle_colour", False, BAR, (100, 94, 112, 108)),
        ("candle_colour", False, TickBar(100, 112, 94, 98), (100, 112, 94, 98)),
        ("candle_colour", False, TickBar(100, 112, 94, 100), (100, 94, 112, 100)),
        ("random", True, BAR, (100, 112, 94, 108)),
        ("random", False, BAR, (100, 94, 112, 108)),
    ],
)
def test_a_declared_path(path: str, up_first: bool, bar: TickBar, points: Any) -> None:
    assert path_points(bar, path, up_first) == points


@pytest.mark.parametrize(
    ("kind", "terms", "start", "end", "level"),
    [
        (OrderType.STOP, {"stop_ticks": 105}, 100, 105, 105),
        (OrderType.STOP, {"stop_ticks": 105}, 105, 100, None),  # falling away from it
        (OrderType.STOP, {"stop_ticks": 105}, 106, 112, None),  # already beyond: the next open will tell
        (OrderType.LIMIT, {"limit_ticks": 98}, 100, 98, None),  # a touch
        (OrderType.LIMIT, {"limit_ticks": 98}, 100, 97, 98),
        (OrderType.LIMIT, {"limit_ticks": 98}, 98, 97, 98),
        (OrderType.LIMIT, {"limit_ticks": 98}, 97, 96, None),
        (OrderType.STOP_LIMIT, {"stop_ticks": 105, "limit_ticks": 103}, 100, 106, 105),
        (OrderType.STOP_LIMIT, {"stop_ticks": 105, "limit_ticks": 103, "is_triggered": True}, 106, 102, 103),
        (OrderType.STOP, {"stop_ticks": 105, "is_triggered": True}, 100, 106, None),
    ],
)
def test_where_an_order_acts_on_a_leg(kind: OrderType, terms: Any, start: int, end: int, level: int | None) -> None:
    assert on_leg(order(kind, **terms), start, end, False, DEFAULT) == level


@pytest.mark.parametrize(
    ("kind", "terms", "price"),
    [
        (OrderType.MARKET, {}, 100),
        (OrderType.LIMIT, {"limit_ticks": 99}, 99),
        (OrderType.LIMIT, {"limit_ticks": 101}, 100),
        (OrderType.LIMIT, {"limit_ticks": 94}, None),
        (OrderType.STOP, {"stop_ticks": 105}, 105),
        (OrderType.STOP, {"stop_ticks": 99}, 100),
        (OrderType.STOP, {"stop_ticks": 113}, None),
    ],
)
def test_a_bar_met_as_a_whole(kind: OrderType, terms: Any, price: int | None) -> None:
    assert over_whole_bar(order(kind, **terms), BAR, Switches(path="queue")) == price


@pytest.mark.parametrize(
    ("side", "prices", "stops"),
    [
        (SELL, (100, 110, 104, 120, 119), (95, 105, 105, 115, 115)),
        (BUY, (100, 90, 96, 80, 81), (105, 95, 95, 85, 85)),
    ],
)
def test_a_trailing_stop_ratchets(side: Side, prices: Any, stops: Any) -> None:
    trailing = order(OrderType.TRAILING_STOP, side, trail_ticks=5)
    seen = []
    for price in prices:
        trail(trailing, price)
        seen.append(trailing.stop_ticks)
    assert tuple(seen) == stops


@pytest.mark.parametrize(("side", "stop"), [(SELL, 11_001 - 551), (BUY, 11_001 + 551)])
def test_a_trail_by_a_fraction_is_rounded_away_from_the_price(side: Side, stop: int) -> None:
    trailing = order(OrderType.TRAILING_STOP, side, trail_fraction=0.05)
    trail(trailing, 11_001)
    assert trailing.stop_ticks == stop, "5 % of 110.01 is 5.5005"


@pytest.mark.parametrize(
    ("reference", "side", "point"),
    [
        ("high_lagged", SELL, 112),
        ("high_lagged", BUY, 94),
        ("high_same_bar", SELL, 112),
        ("close", SELL, 108),
        ("close_after_entry", BUY, 108),
    ],
)
def test_what_a_trailing_stop_follows(reference: str, side: Side, point: int) -> None:
    assert trail_point(order(OrderType.TRAILING_STOP, side), BAR, Switches(trail_reference=reference)) == point
