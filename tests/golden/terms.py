"""Golden runs of what fills cost, of latency, of the switches, of several symbols and timeframes, and of targets."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from engine.bars import HOUR
from engine.costs import (
    ConstantLatency,
    EquityFees,
    FeeTier,
    FixedSlippage,
    LognormalLatency,
    MakerTakerFees,
    SquareRootImpact,
    TieredFees,
    VolatilitySlippage,
)
from engine.semantics import Switches
from tests.golden.market import coarser, market, merged
from tests.golden.orders import PLAIN
from tests.golden.runs import Setup, coins, golden
from tests.golden.strategies import (
    Clockwork,
    Cross,
    CrossTargets,
    Every,
    HigherTrend,
    Rotation,
    Spread,
    both,
    leave,
    order,
)

MIXED = (order("buy", 2), order("sell", 1, limit=0.4), order("sell", 1, stop=-0.5))
IN_AND_OUT = (order("buy", 12, stop_loss=-1.2, take_profit=1.4), leave)


# ── fees ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@golden
def maker_rebate() -> Setup:
    """A negative maker fee, and rates of its own for one of two symbols."""
    fees = MakerTakerFees(Decimal("-0.0001"), Decimal("0.0007"), {"BBB": (Decimal("0.0002"), Decimal("0.001"))})
    bars = merged(market("AAA", seed=41, rows=90), market("BBB", seed=42, rows=90))
    return Setup(Every(5, *MIXED), bars, replace(PLAIN, fees=fees))


@golden
def fees_by_tier() -> Setup:
    """Rates that fall with the volume of the past 20 hours, and rise again when it has passed."""
    tiers = [FeeTier(Decimal(0), Decimal("0.001"), Decimal("0.002")),
             FeeTier(Decimal(900), Decimal("0.0005"), Decimal("0.001")),
             FeeTier(Decimal(1500), Decimal(0), Decimal("0.0004"))]
    return Setup(Every(4, *MIXED), market(seed=43), replace(PLAIN, fees=TieredFees(tiers, window=20 * HOUR)))


@golden
def share_fees_with_minimum_and_duty() -> Setup:
    """An amount per share, a minimum, and stamp duty on sales; orders that fill in parts."""
    fees = EquityFees(Decimal("0.005"), Decimal("0.0003"), Decimal(1), Decimal("0.0005"))
    return Setup(Every(8, order("buy", 60), leave, order("buy", 2), leave), market(seed=44), replace(PLAIN, fees=fees))


# ── slippage and latency ────────────────────────────────────────────────────────────────────────────────────────────


@golden
def slippage_fixed() -> Setup:
    """A constant spread and slippage: takers pay it, rounded away from them; limits never pay beyond their limit."""
    slippage = FixedSlippage(3.0, 1.5)
    return Setup(Every(4, *MIXED, order("buy", 1, limit=0.1)), market(seed=45), replace(PLAIN, slippage=slippage))


@golden
def slippage_by_volatility() -> Setup:
    """Slippage that grows with the volatility of the bars before."""
    return Setup(Every(4, *MIXED), market(seed=46), replace(PLAIN, slippage=VolatilitySlippage(0.5, 3600.0, 1.0)))


@golden
def slippage_by_square_root() -> Setup:
    """Impact by the square root of the share of a day's volume."""
    return Setup(Every(6, *IN_AND_OUT), market(seed=47), replace(PLAIN, slippage=SquareRootImpact(1.0, 0.5, 1.0)))


@golden
def latency_of_a_third_of_a_bar() -> Setup:
    """A latency shorter than a bar: orders still meet the next open."""
    return Setup(Every(4, *MIXED, leave), market(seed=48), replace(PLAIN, latency=ConstantLatency(HOUR // 3)))


@golden
def latency_of_bars() -> Setup:
    """A latency of two and a half bars: orders arrive inside a bar and meet its close."""
    return Setup(Every(5, *MIXED, leave), market(seed=49), replace(PLAIN, latency=ConstantLatency(HOUR * 5 // 2)))


@golden
def latency_drawn() -> Setup:
    """A latency drawn for each order, half a bar in the middle."""
    latency = LognormalLatency(HOUR // 2, 1.0, seed=5)
    return Setup(Every(4, *MIXED, leave), market(seed=50), replace(PLAIN, latency=latency), draws=True)


# ── switches ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _switched(market_seed: int, *, draws: bool = False, **switches: object) -> Setup:
    acts = (order("buy", 1, stop_loss=-0.4, take_profit=0.5), order("sell", 1, limit=0.3, stop_loss=0.9,
            take_profit=-0.9), order("buy", 1, stop=0.4), order("sell", 1, stop=-0.3, limit=-0.2), leave)
    bars = market(seed=market_seed, gap_every=4)
    return Setup(Every(4, *acts), bars, replace(PLAIN, switches=Switches(**switches)), draws=draws)  # type: ignore[arg-type]


@golden
def fills_at_the_same_close() -> Setup:
    """Market orders at the close that they were decided on."""
    return _switched(51, market_fill="same_close")


@golden
def fills_at_the_next_close() -> Setup:
    """Market orders at the close of the next bar."""
    return _switched(52, market_fill="next_close")


@golden
def path_to_the_nearer_extreme() -> Setup:
    """The price walks to the nearer extreme first; children may act in the bar of their entry."""
    return _switched(53, path="adaptive")


@golden
def path_by_the_candle_s_colour() -> Setup:
    """A green bar fell first. Touches fill, gaps fill limits at their limit, stops get the worse of stop and close."""
    return _switched(54, path="candle_colour", limit_touch="touch", limit_gap="limit",
                     stop_price="worst_of_trigger_and_close")


@golden
def path_and_touch_by_chance() -> Setup:
    """Coins tossed for each bar's path and each touched limit."""
    return _switched(55, path="random", limit_touch="probability", touch_probability=0.5, seed=9, draws=True)


@golden
def stops_at_their_trigger() -> Setup:
    """Optimistic stops: at their price even over a gap, and only when traded through; children wait a bar."""
    return _switched(56, stop_gap="trigger", stop_touch="through", children_same_bar="next_bar")


# ── several symbols, currencies and timeframes ──────────────────────────────────────────────────────────────────────


@golden
def three_symbols() -> Setup:
    """The same orders in three symbols of one account, one of which begins late."""
    late = market("CCC", seed=63, rows=60)
    late = late[30:]
    bars = merged(market("AAA", seed=61, rows=60), market("BBB", seed=62, rows=60), late)
    return Setup(Every(5, *MIXED, leave), bars, replace(PLAIN, cash=Decimal(500)))


@golden
def two_currencies() -> Setup:
    """Two symbols quoted in two currencies, each with cash of its own."""
    bars = merged(market("AAA", seed=64, rows=80), market("BBB", seed=65, rows=80))
    return Setup(Every(5, *MIXED, leave), bars, PLAIN, (*coins("USD", "AAA"), *coins("EUR", "BBB")))


@golden
def long_and_short() -> Setup:
    """A spread: long one symbol and short the other, turned round."""
    return Setup(Spread(), merged(market("AAA", seed=66), market("BBB", seed=67)), PLAIN)


@golden
def cross_sections() -> Setup:
    """on_slice: the two of four symbols that rose most."""
    bars = merged(*(market(symbol, seed=68 + place) for place, symbol in enumerate(("AAA", "BBB", "CCC", "DDD"))))
    return Setup(Rotation(), bars, PLAIN)


@golden
def two_timeframes() -> Setup:
    """Hours traded in the direction of four hours; the longer bar comes after the shorter of its instant."""
    hours = market(seed=72, rows=160)
    return Setup(HigherTrend(), merged(hours, coarser(hours, "4h")), PLAIN)


@golden
def timers() -> Setup:
    """Repeating and single timers, between bars and at them, in a strategy that looks at no bar."""
    return Setup(Clockwork(), market(seed=73), PLAIN)


# ── targets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@golden
def targets_one_by_one() -> Setup:
    """Targets set bar by bar and dealt with at once; -0.5 … 1, so that they reverse."""
    return Setup(Cross(1.0, -0.5), market(seed=74, rows=200), PLAIN, parts={"mode": "step", "compile_from": 10**9})


@golden
def targets_in_bulk() -> Setup:
    """The same, collected and dealt with by the compiled run."""
    return Setup(Cross(1.0, -0.5), market(seed=74, rows=200), PLAIN, parts={"compile_from": 0})


@golden
def targets_by_jumping() -> Setup:
    """Targets as a column: bars at which nothing can happen are skipped."""
    return Setup(CrossTargets(1.0, -0.5), market(seed=75, rows=200), PLAIN, parts={"compile_from": 10**9})


@golden
def targets_by_jumping_in_bulk() -> Setup:
    """The same by the compiled run."""
    return Setup(CrossTargets(1.0, -0.5), market(seed=75, rows=200), PLAIN, parts={"compile_from": 0})


@golden
def targets_with_costs() -> Setup:
    """Targets under spread, slippage and a volume cap that they exceed, long only."""
    terms = replace(PLAIN, slippage=FixedSlippage(2.0, 1.0), allow_short=False)
    return Setup(Cross(1.0, 0.0), market(seed=76, rows=200), terms, parts={"compile_from": 0})


@golden
def children_of_several_entries() -> Setup:
    """Entries on top of each other with a bracket each, closed in parts at market."""
    add = order("buy", 1, stop_loss=-2.0, take_profit=2.2)
    return Setup(Every(4, add, add, order("sell", 1), both(add, order("sell", 2, limit=1.0))),
                 market(seed=77, rows=150), PLAIN)
