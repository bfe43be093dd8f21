"""Golden runs of every kind of order, time in force and link between orders."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from engine.bars import HOUR
from engine.costs import MakerTakerFees
from engine.orders import TimeInForce
from engine.semantics import Switches, profile
from engine.testing import Terms
from tests.golden.market import market
from tests.golden.runs import Setup, coins, golden
from tests.golden.strategies import Answering, Every, both, cancel_oldest, chase, leave, order

PLAIN = Terms(
    cash=Decimal(10_000), quantity_increment=Decimal("0.01"), fees=MakerTakerFees(Decimal("0.0002"), Decimal("0.0005")))


@golden
def market_orders() -> Setup:
    """Market orders, both sides, at the next open; the second sale goes short."""
    return Setup(Every(5, order("buy", 2), order("sell", 1.5), order("sell", 2.25)), market(seed=11), PLAIN)


@golden
def limit_orders() -> Setup:
    """Limit orders below and above the close: resting, crossed by a gap, and never reached."""
    return Setup(Every(4, order("buy", 1, limit=-0.7), order("sell", 1, limit=0.7), order("buy", 1, limit=0.2),
                       order("sell", 1, limit=8.0)), market(seed=12), PLAIN)


@golden
def limit_orders_touched() -> Setup:
    """The same, filled where the price is merely touched, on coarse increments where that is common."""
    bars = market(seed=13, first=300, increment="0.5")
    return Setup(Every(3, order("buy", 1, limit=-1.0), order("sell", 1, limit=1.0)), bars,
                 replace(PLAIN, price_increment=Decimal("0.5"), switches=Switches(limit_touch="touch")))


@golden
def stop_orders() -> Setup:
    """Stop orders: triggered on the path, and crossed by a gap."""
    return Setup(Every(4, order("buy", 1, stop=0.6), order("sell", 1, stop=-0.6)), market(seed=14, gap_every=3), PLAIN)


@golden
def stop_limit_orders() -> Setup:
    """Stop-limits whose limit lies beyond the stop, at it, and on its other side."""
    return Setup(Every(4, order("buy", 1, stop=0.5, limit=0.8), order("sell", 1, stop=-0.5, limit=-0.5),
                       order("buy", 1, stop=0.5, limit=0.1), order("sell", 1, stop=-0.5, limit=-0.1)),
                 market(seed=15, gap_every=4), PLAIN)


@golden
def trailing_stops() -> Setup:
    """Stand-alone trailing stops by amount and by fraction, behind positions of either side."""
    long_one = both(order("buy", 1), order("sell", 1, trail_amount=1.5))
    short_one = both(order("sell", 1), order("buy", 1, trail_fraction=0.01))
    return Setup(Every(12, long_one, leave, short_one, leave), market(seed=16, rows=160), PLAIN)


@golden
def brackets() -> Setup:
    """Brackets entered at market, at a limit and at a stop, both sides; stops and targets close them."""
    return Setup(Every(6, order("buy", 2, stop_loss=-1.2, take_profit=1.6),
                       order("sell", 1, limit=0.4, stop_loss=1.5, take_profit=-1.5),
                       order("buy", 1, stop=0.5, stop_loss=-0.8, take_profit=2.0)), market(seed=17, rows=150), PLAIN)


@golden
def brackets_with_a_trailing_stop() -> Setup:
    """Brackets whose stop trails, with a target and without."""
    return Setup(Every(10, order("buy", 1, trail_stop_fraction=0.012, take_profit=2.5),
                       order("sell", 1, trail_stop_fraction=0.015)), market(seed=18, rows=150), PLAIN)


@golden
def brackets_pay_both_costs_of_an_ambiguous_bar() -> Setup:
    """Stop and target within one bar's range: the stop comes first."""
    return Setup(Every(5, order("buy", 1, stop_loss=-0.3, take_profit=0.3)), market(seed=19, first=20_000), PLAIN)


@golden
def one_cancels_the_other() -> Setup:
    """A group of two orders on either side of the price, and one of three."""
    pair = both(order("buy", 1, limit=-0.8, oco_group="pair"), order("buy", 1, stop=0.8, oco_group="pair"))
    three = both(order("sell", 1, limit=0.5, oco_group="three"), order("sell", 1, limit=1.0, oco_group="three"),
                 order("sell", 1, stop=-0.9, oco_group="three"))
    return Setup(Every(6, pair, three), market(seed=20), PLAIN)


@golden
def immediate_or_cancel() -> Setup:
    """IOC orders: what the first price does not fill, for want of volume or at its limit, is cancelled."""
    at_once = TimeInForce.IOC
    return Setup(Every(4, order("buy", 60, time_in_force=at_once), order("sell", 5, limit=0.3, time_in_force=at_once),
                       order("sell", 10, limit=-0.5, time_in_force=at_once)), market(seed=21), PLAIN)


@golden
def fill_or_kill() -> Setup:
    """FOK orders: all of it at the first price or nothing; some are larger than the bar's volume allows."""
    whole = TimeInForce.FOK
    return Setup(Every(4, order("buy", 20, time_in_force=whole), order("sell", 30, time_in_force=whole),
                       order("buy", 2, limit=0.05, time_in_force=whole)), market(seed=22, volume=(100, 400)), PLAIN)


@golden
def good_till_date() -> Setup:
    """GTD orders that live for 2.5, for 4 and for half a bar."""
    return Setup(Every(5, order("buy", 1, limit=-0.9, lifetime=5 * HOUR // 2),
                       order("sell", 1, limit=0.9, lifetime=4 * HOUR), order("buy", 1, stop=0.9, lifetime=HOUR // 2)),
                 market(seed=23), PLAIN)


@golden
def day_orders() -> Setup:
    """DAY orders end with the UTC day in which they were decided."""
    day = TimeInForce.DAY
    buy, sell = order("buy", 1, limit=-1.1, time_in_force=day), order("sell", 1, limit=1.1, time_in_force=day)
    return Setup(Every(5, buy, sell), market(seed=24, rows=100), PLAIN)


@golden
def post_only_orders() -> Setup:
    """Post-only limits: some rest and pay the maker's fee, some would take and are rejected, when placed or later."""
    return Setup(Every(3, order("buy", 1, limit=-0.3, post_only=True), order("sell", 1, limit=0.3, post_only=True),
                       order("buy", 1, limit=0.2, post_only=True)), market(seed=25, gap_every=3), PLAIN)


@golden
def reduce_only_orders() -> Setup:
    """Reduce-only orders larger than the position are cut to it; without one they are cancelled."""
    return Setup(Every(4, order("buy", 2), order("sell", 5, limit=0.3, reduce_only=True),
                       order("sell", 1, reduce_only=True), order("buy", 1, reduce_only=True)), market(seed=26), PLAIN)


@golden
def amended_and_cancelled() -> Setup:
    """Limits that are moved towards the price and made larger, and withdrawn when they have waited."""
    return Setup(Every(2, order("buy", 1, limit=-2.0), chase, chase, order("sell", 1, limit=2.0), chase, cancel_oldest),
                 market(seed=27), PLAIN)


@golden
def parts_by_volume() -> Setup:
    """Orders that need several bars because they may take a tenth of a bar's volume; a bracket grows with its entry."""
    return Setup(Every(12, order("buy", 80), order("sell", 80),
                       order("buy", 70, stop_loss=-2.0, take_profit=2.0), leave), market(seed=28), PLAIN)


@golden
def answers_to_events() -> Setup:
    """A strategy that trades in on_fill and on_order."""
    return Setup(Answering(), market(seed=29, gap_every=3), PLAIN)


@golden
def cut_by_cash() -> Setup:
    """Orders that cannot be paid for in full, with fees: cut, or cancelled when nothing can be paid for."""
    terms = replace(PLAIN, cash=Decimal(1000), allow_short=False)
    return Setup(Every(4, order("buy", 6), order("buy", 7), order("buy", 3), leave), market(seed=30), terms)


@golden
def without_short_sales() -> Setup:
    """Sales of more than is held, with short selling off."""
    return Setup(Every(4, order("buy", 1), order("sell", 3), order("sell", 1, stop=-0.2)), market(seed=31),
                 replace(PLAIN, allow_short=False))


@golden
def venue_minimums() -> Setup:
    """Orders below the venue's minimum quantity and notional are refused, with the numbers."""
    rules = coins("USD", "AAA", min_notional=Decimal(90), min_quantity=Decimal("0.5"))
    acts = order("buy", 0.4), order("buy", 1.05), order("buy", 0.8), leave
    return Setup(Every(4, *acts), market(seed=32), PLAIN, rules)


@golden
def as_backtesting_py() -> Setup:
    """Brackets and stop-limits under the profile of backtesting.py: entries are closed oldest first."""
    return Setup(Every(5, order("buy", 2, stop_loss=-1.2, take_profit=1.6), order("sell", 1),
                       order("buy", 1, stop=0.4, limit=0.2), order("buy", 1, stop_loss=-1.0, take_profit=3.0)),
                 market(seed=33), replace(PLAIN, switches=profile("backtesting_py")))


@golden
def as_backtrader() -> Setup:
    """The same under the profile of backtrader: children outlive what they protect."""
    return Setup(Every(5, order("buy", 2, stop_loss=-1.2, take_profit=1.6), order("sell", 1),
                       order("buy", 1, stop=0.4, limit=0.2), order("buy", 1, stop_loss=-1.0, take_profit=3.0)),
                 market(seed=33), replace(PLAIN, switches=profile("backtrader")))
