"""What may fill, when and at which price, whatever the switches."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bars import HOUR
from engine.events import (
    Fill,
    Liquidity,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
    RequestRefused,
)
from engine.orders import FINAL, TRANSITIONS, OrderStatus, OrderType, Side, TimeInForce
from engine.semantics import Switches
from tests.properties.worlds import Outcome, Place, Step, Terms, Walk, World, bars_by_key, run, worlds

OFF_THE_BAR = ("stop_gap", "trigger"), ("limit_gap", "limit"), ("stop_limit_same_bar", "limit_beyond_stop")
"""Switch values that declare fills at prices which did not trade: docs/fills.md."""


def fills_of(outcome: Outcome) -> list[Fill]:
    return [event for event in outcome.actor.told if isinstance(event, Fill)]


@given(worlds())
def test_no_fill_lies_outside_its_bar_except_where_a_switch_declares_it(world):
    outcome = run(world)
    bars = bars_by_key(outcome.bars)
    switches = world.terms.switches
    declared = any(getattr(switches, name) == value for name, value in OFF_THE_BAR)

    for fill in fills_of(outcome):
        bar = bars[fill.symbol, fill.bar_close_time]
        low, high = map(fill.order.instrument.to_ticks, (bar.low, bar.high))
        assert declared or low <= fill.reference_ticks <= high
        assert (fill.price_ticks - fill.reference_ticks) * fill.side >= 0, "costs are against us"
        assert fill.liquidity is Liquidity.TAKER or fill.price_ticks == fill.reference_ticks, "makers pay no spread"


@given(worlds())
def test_no_order_fills_at_a_price_worse_than_its_limit(world):
    if _amends(world):
        return  # the limit that was in force is no longer known

    for fill in fills_of(run(world)):
        limit = fill.order.limit_ticks
        assert limit is None or (limit - fill.price_ticks) * fill.side >= 0


def _amends(world: World) -> bool:
    return any(type(action).__name__ == "Amend" for _, _, action in world.script)


@given(worlds())
def test_no_fill_comes_before_its_order_or_in_the_bar_it_was_decided_on(world):
    outcome = run(world)
    made = outcome.orders_made()
    at_once = world.terms.switches.market_fill == "same_close"

    for fill in outcome.rows["fills"]:
        order = made[fill.order_id]
        assert fill.time >= order.time
        assert fill.bar_close_time > order.time or (at_once and order.type == "market" and fill.time == order.time)


@given(worlds())
def test_no_order_fills_before_it_can_have_arrived(world):
    """A latency shorter than the bar still meets the open that follows; a longer one does not (rule 0)."""
    if _amends(world):
        return  # an amended order arrives anew; when it arrived first is no longer known

    outcome = run(world)
    bars = bars_by_key(outcome.bars)

    for fill in fills_of(outcome):
        bar, order = bars[fill.symbol, fill.bar_close_time], fill.order
        assert order.arrives_at <= fill.bar_close_time
        if fill.time == bar.open_time:
            is_quick = order.arrives_at - order.decided_at < HOUR and order.decided_at <= bar.open_time
            assert order.arrives_at <= bar.open_time or is_quick or order.parent_id is not None


@given(worlds())
def test_no_more_is_filled_than_was_asked_for(world):
    outcome = run(world)
    filled: dict[int, int] = defaultdict(int)

    for fill in fills_of(outcome):
        assert fill.lots > 0
        filled[fill.order.id] += fill.lots
        assert filled[fill.order.id] <= fill.order.lots
        assert fill.order.filled_lots <= fill.order.lots


@given(worlds())
def test_no_bar_fills_more_than_our_share_of_its_volume(world):
    outcome = run(world)
    cap = world.terms.switches.volume_cap
    bars = bars_by_key(outcome.bars)
    taken: dict[tuple[str, int], float] = defaultdict(float)

    for fill in outcome.rows["fills"]:
        if fill.time != outcome.orders_made()[fill.order_id].time:  # filled as it was decided: that bar had closed
            taken[fill.symbol, fill.bar_close_time] += fill.quantity
    assert cap is None or all(quantity <= bars[key].volume * cap + 1e-9 for key, quantity in taken.items())


@given(worlds())
def test_every_order_goes_through_its_states_as_the_table_says(world):
    outcome = run(world)
    status: dict[int, OrderStatus] = defaultdict(lambda: OrderStatus.IN_FLIGHT)
    filled: dict[int, int] = defaultdict(int)
    follows = {
        OrderAccepted: OrderStatus.ACCEPTED, OrderRejected: OrderStatus.REJECTED, OrderCancelled: OrderStatus.CANCELLED,
        OrderExpired: OrderStatus.EXPIRED,
    }
    for event in outcome.actor.told:
        order = event.order
        before = status[order.id]
        if isinstance(event, RequestRefused):
            status[order.id] = OrderStatus.REFUSED
            continue
        if isinstance(event, OrderTriggered | OrderReduced | OrderAmended):
            assert before not in FINAL
            continue
        if isinstance(event, Fill):
            filled[order.id] += event.lots
            # Its quantity may be cut later, so that what has filled is all: only the last fill must complete it.
            is_last = filled[order.id] == order.filled_lots and order.status is OrderStatus.FILLED
            after = OrderStatus.FILLED if is_last else OrderStatus.PARTIALLY_FILLED
        else:
            after = follows[type(event)]
        assert after in TRANSITIONS[before], f"{order}: {before} to {after}"
        status[order.id] = after
    for order in {event.order.id: event.order for event in outcome.actor.told}.values():
        assert order.status is status[order.id]


@given(worlds())
def test_events_of_an_order_come_in_the_order_of_their_times(world):
    outcome = run(world)
    last: dict[int, int] = {}

    for event in outcome.rows["order_events"]:
        # An order under way meets the open before it is there, and is said to be accepted ahead. What others do to it
        # may have its time from another symbol's bar, or from an order that comes later in a queue.
        if event.kind not in ("accepted", "reduced", "amended") and "of its group" not in event.reason:
            assert event.time >= last.get(event.order_id, event.time)
            last[event.order_id] = event.time
    times = [fill.bar_close_time for fill in outcome.rows["fills"]]
    assert times == sorted(times)


@given(worlds())
def test_every_fill_resolves_to_its_order_and_decision(world):
    outcome = run(world)

    with outcome.journal.snapshot() as reader:
        assert reader.unresolved_fills(1) == []
    for table in ("decisions", "orders", "order_events", "fills"):
        ids = [row.id for row in outcome.rows[table]]
        assert ids == list(range(1, len(ids) + 1)), table


@given(worlds())
def test_reduce_only_orders_neither_open_nor_turn_a_position(world):
    held: dict[str, int] = defaultdict(int)

    for fill in fills_of(run(world)):
        before, after = held[fill.symbol], held[fill.symbol] + fill.side * fill.lots
        if fill.order.reduce_only:
            assert abs(after) < abs(before)
            assert after * before >= 0
        held[fill.symbol] = after


@given(worlds())
def test_time_in_force_is_kept(world):
    outcome = run(world)
    made = outcome.orders_made()
    bars: dict[int, set[int]] = defaultdict(set)
    filled: dict[int, float] = defaultdict(float)

    for fill in outcome.rows["fills"]:
        order = made[fill.order_id]
        bars[order.id].add(fill.bar_close_time)
        filled[order.id] += fill.quantity
        if order.expire_at is not None:
            assert fill.time <= order.expire_at
    for number, closes in bars.items():
        if made[number].time_in_force in ("ioc", "fok"):
            assert len(closes) == 1
        if made[number].time_in_force == "fok" and not _amends(world):
            assert filled[number] == made[number].quantity, "all or nothing"


@given(worlds())
def test_post_only_orders_take_no_liquidity(world):
    assert all(fill.liquidity is Liquidity.MAKER for fill in fills_of(run(world)) if fill.order.post_only)


@given(worlds())
def test_children_trade_only_after_their_parent_and_together_no_more_than_it(world):
    if _amends(world):
        return  # a child may be amended to protect more

    filled: dict[int, int] = defaultdict(int)
    left: dict[int, int] = defaultdict(int)
    entered: dict[int, int] = {}

    for fill in fills_of(run(world)):
        filled[fill.order.id] += fill.lots
        entered.setdefault(fill.order.id, fill.time)
        if (parent := fill.order.parent_id) is not None:
            left[parent] += fill.lots
            assert fill.time >= entered[parent]
            assert left[parent] <= filled[parent]


@given(worlds())
def test_a_trailing_stop_only_tightens(world):
    outcome = run(world)
    sides = {event.order.id: event.order.side for event in outcome.actor.told}
    last: dict[int, int] = {}

    for number, stop in outcome.actor.stops:
        assert (stop - last.get(number, stop)) * sides[number] <= 0
        last[number] = stop


STEPS = st.builds(
    Step, gap=st.integers(-5, 5), body=st.integers(-10, 10), above=st.integers(0, 12), below=st.integers(0, 12),
    volume=st.just(1_000_000))


@given(
    st.lists(STEPS, min_size=3, max_size=20), st.sampled_from(Side), st.integers(1, 25), st.integers(1, 25),
    st.sampled_from(("adaptive", "ohlc", "olhc", "candle_colour", "random")), st.integers(0, 3))
def test_for_a_bracket_at_market_the_default_path_is_the_worst_of_all(steps, side, loss, gain, path, seed):
    bracket = Place(side, 10, stop_loss=-side * loss, take_profit=side * gain)
    world = World((Walk("S0", tuple(steps)),), ((0, 0, bracket),))

    worst = run(world)
    other = run(replace(world, terms=Terms(Switches(path=path, seed=seed))))

    assert worst.result.final_equity <= other.result.final_equity


@given(worlds(most_symbols=1, terms=lambda pick: Terms()))
def test_under_the_default_switches_no_order_waits_for_a_parent_that_is_gone(world):
    outcome = run(world)
    orders = {event.order.id: event.order for event in outcome.actor.told}

    for order in orders.values():
        if order.parent_id is not None and order.is_open:
            assert orders[order.parent_id].is_open or orders[order.parent_id].filled_lots


def test_the_kinds_of_orders_in_these_worlds_are_all_there():
    """The properties above would hold for orders that are never made."""
    found: set[OrderType] = set()
    forces: set[TimeInForce] = set()
    filled: set[OrderType] = set()

    @settings(max_examples=200)
    @given(worlds())
    def collect(world):
        for event in run(world).actor.told:
            found.add(event.order.type)
            forces.add(event.order.time_in_force)
            if isinstance(event, Fill):
                filled.add(event.order.type)

    collect()

    assert found == filled == set(OrderType)
    assert forces == set(TimeInForce)
