"""Orders as a paper venue has them: on their way, held, refused; and the venue's terms. Times in UTC nanoseconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from brokers.paper_book import LiveBook
from brokers.paper_ledger import Ledger, VenueFees
from engine.costs import ConstantLatency, Latency
from engine.instruments import Instrument
from engine.live.messages import OrderMessage
from engine.matching import trail
from engine.orders import Order, OrderStatus, OrderType, Side, TimeInForce

STOPS = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)
SECOND = 1_000_000_000


class Arrival(NamedTuple):
    """A message on its way; the earlier first, and of two at one time the one sent first."""

    time: int
    number: int
    message: OrderMessage
    sent_at: int


@dataclass(eq=False)
class Held:
    """An order that the venue has.

    `ahead`: lots that were in the book before it at its price; None as long as the book does not reach so far.
    `mid`: the mid price when it arrived, in ticks.
    """

    order: Order
    sent_at: int
    mid: float | None = None
    ahead: int | None = None
    is_resting: bool = False


@dataclass(frozen=True)
class PaperTerms:
    """How a paper venue differs from the market it looks at.

    Args:
        latency: from our sending a message to the venue's having it.
        oldest_book: nanoseconds; an order that takes waits for a book that is newer.
        fees: of each symbol; `default_fees` for others.
        leverage: how many times its equity an account may hold in contracts.
        allows_short: whether spot may be sold without holding it.
    """

    latency: Latency = field(default_factory=lambda: ConstantLatency(50_000_000))
    oldest_book: int = 10 * SECOND
    fees: Mapping[str, VenueFees] = field(default_factory=dict)
    default_fees: VenueFees = field(default_factory=VenueFees)
    leverage: Decimal = Decimal(1)
    allows_short: bool = False


def message_order(message: OrderMessage, instrument: Instrument) -> Order:
    """Return the order that a message asks for, as the venue has it."""
    order = Order(
        message.order_id, 0, instrument, Side(message.side), OrderType(message.type), message.lots, message.time,
        message.decision_ticks, limit_ticks=message.limit_ticks, stop_ticks=message.stop_ticks,
        trail_fraction=message.trail_fraction, trail_ticks=message.trail_ticks,
        time_in_force=TimeInForce(message.time_in_force), expire_at=message.expire_at, post_only=message.post_only,
        reduce_only=message.reduce_only, status=OrderStatus.IN_FLIGHT,
    )
    if order.type is OrderType.TRAILING_STOP and order.stop_ticks is None:
        trail(order, message.decision_ticks)
    return order


def fault_of(order: Order, book: LiveBook, price: int, now: int, ledger: Ledger) -> str:
    """Return why the venue does not take an order, in words; empty if it does.

    Args:
        price: at which it reckons what the order needs, in ticks.
    """
    instrument = order.instrument
    quantity = order.quantity * instrument.multiplier
    if quantity < instrument.min_quantity:
        return f"quantity {quantity} is below {instrument.min_quantity}, the smallest of {order.symbol}"
    worth, least = quantity * instrument.to_price(price), instrument.min_notional
    if worth < least and not order.reduce_only:
        return f"{worth} {instrument.quote} is below {least}, the smallest order of {order.symbol}"
    if order.expire_at is not None and order.expire_at <= now:
        return f"{order.time_in_force.value}: its time was over when it arrived"
    best = book.best(order.side.opposite)
    if order.post_only and best is not None and (best - (order.limit_ticks or 0)) * order.side <= 0:
        return f"post-only limit {order.limit} would take liquidity at {instrument.to_price(best)}"
    return ledger.lack(order, price)
