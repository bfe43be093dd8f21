"""Bounds of what bars cannot tell: the truth, known tick by tick, lies within them."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.analysis.as_asked import curve_with, fills_with
from engine.bars import HOUR
from engine.bounds import ambiguity
from engine.detail import DetailBars
from engine.order_sets import Outcome
from engine.outcomes import possible_outcomes
from engine.semantics import Switches
from tests.properties.tick_paths import CASH, HOURS, Ask, Hour, Run, coarse, fine, ideas, run, tick_bars

SWITCHES = Switches(volume_cap=None)
FEWER = settings(max_examples=settings().max_examples * 6 // 10)
PATHS = ("worst", "adaptive", "ohlc", "olhc", "candle_colour", "random")


def outcome_of(hours: Sequence[Hour], ask: Ask, **switches: str) -> tuple[float, float, Run]:
    """Return the least and the most that an idea may have made, in increments, and its run on bars."""
    bars = coarse(hours)
    declared = run(bars, [ask], **switches)
    found = declared.exchange.watch.ideas({"TEST": HOUR})
    assert len(found) <= 1
    if not found:  # no bar left anything open
        return declared.made, declared.made, declared
    outcome: Outcome = possible_outcomes(found[0].legs, tick_bars(bars), replace(SWITCHES, **switches))
    return outcome.low.value, outcome.high.value, declared


@given(HOURS, ideas())
def test_the_truth_lies_within_the_possible_outcomes(hours, ask):
    low, high, _ = outcome_of(hours, ask)

    assert low <= run(fine(hours), [ask]).made <= high


@given(HOURS, ideas(), st.sampled_from(PATHS))
def test_what_a_declared_path_makes_lies_within_the_possible_outcomes(hours, ask, path):
    low, high, _ = outcome_of(hours, ask)

    made = run(coarse(hours), [ask], path=path).made

    # `worst` puts every stop before any limit, in a group even before one that lies nearer on the way.
    assert low <= made <= high or (path == "worst" and len(ask.orders) > 1)


@FEWER
@given(HOURS, ideas(), st.sampled_from(({"limit_touch": "touch"}, {"stop_touch": "through"}, {"limit_gap": "limit"})))
def test_whatever_counts_as_a_touch_the_truth_lies_within(hours, ask, switches):
    low, high, _ = outcome_of(hours, ask, **switches)

    assert low <= run(fine(hours), [ask], **switches).made <= high


@FEWER
@given(HOURS, st.lists(ideas(side="buy"), min_size=1, max_size=3))
def test_the_truth_of_a_whole_run_lies_between_its_pessimistic_and_its_optimistic_result(hours, asks):
    """Ideas of one side: one that closes another's position would no longer be the order that was asked for."""
    bars = coarse(hours)
    declared = run(bars, asks)
    left = told(declared, bars)
    truth = run(fine(hours), asks).made

    below = sum(trade.pessimistic.net - trade.declared.net for trade in left.trades)
    above = sum(trade.optimistic.net - trade.declared.net for trade in left.trades)

    assert declared.made + below <= truth <= declared.made + above
    for trade in left.trades:
        assert trade.pessimistic.net <= trade.declared.net <= trade.optimistic.net


@FEWER
@given(HOURS, st.lists(ideas(side="buy"), min_size=1, max_size=3), st.sampled_from(("pessimistic", "optimistic")))
def test_the_result_at_a_bound_is_what_its_own_fills_make(hours, asks, side):
    bars = coarse(hours)
    declared = run(bars, asks)
    left = told(declared, bars)

    curve = curve_with(declared.result.curve, left.trades, side, {"TEST": bars}, {})
    fills = fills_with(declared.result.fills, left.trades, side)

    cash = CASH - sum((1 if fill.side == "buy" else -1) * fill.price * fill.quantity for fill in fills)
    held = fills[-1].position_after if fills else 0.0
    assert curve.equity[-1] == cash + held * bars.close[-1]
    more = sum(getattr(trade, side).net - trade.declared.net for trade in left.trades)
    assert curve.equity[-1] == declared.result.curve.equity[-1] + more


@FEWER
@given(HOURS, ideas())
def test_finer_bars_tell_the_truth(hours, ask):
    bars = coarse(hours)
    declared = run(bars, [ask])
    assume(declared.exchange.watch.count)

    left = told(declared, bars, DetailBars({"TEST": fine(hours)}))

    truth = run(fine(hours), [ask])
    if not left.trades:
        assert bool(left.corrected) == (prices(truth) != prices(declared))
    for trade in left.trades:  # two orders act at one and the same price: stops first is a rule, and no knowledge
        assert trade.pessimistic.net <= truth.made <= trade.optimistic.net
        assert all(time in fine(hours).close_time for time in trade.bars)


@given(HOURS, ideas(trailing=False, groups=False, kinds=("market", "limit", "stop")))
def test_without_jumps_the_truth_lies_between_the_runs_made_at_worst_and_at_best(hours, ask):
    """Made again, a run decides bar by bar and cannot know which of two fates ends worse after a jump."""
    hours = [Hour(0, hour.moves) for hour in hours]
    truth = run(fine(hours), [ask]).made

    assert run(coarse(hours), [ask], path="worst").made <= truth <= run(coarse(hours), [ask], path="best").made


def told(declared: Run, bars, detail=None):
    """Return what bars left open in a run."""
    exchange = declared.exchange
    return ambiguity(
        exchange.watch, {"TEST": bars}, declared.result.fills, exchange.portfolio, SWITCHES, exchange.cost_of, detail)


def prices(ran: Run) -> list[tuple[int, float]]:
    return [(fill.order_id, fill.price) for fill in ran.result.fills]


def test_the_ideas_drawn_here_leave_bars_open_in_every_way():
    """The properties above would hold for ideas that nothing is unknown about."""
    found: set[tuple[str, ...]] = set()

    @settings(max_examples=300)
    @given(HOURS, ideas())
    def collect(hours, ask):
        low, high, declared = outcome_of(hours, ask)
        if low < high:
            [idea] = declared.exchange.watch.ideas({"TEST": HOUR})
            found.add(tuple(order.type.value for order in idea.orders))

    collect()

    assert {"stop", "limit", "trailing_stop"} <= {kind for kinds in found for kind in kinds[1:]}
    assert {"market", "limit", "stop"} <= {kinds[0] for kinds in found}
