"""Orders: what a strategy asks for, what the broker holds, and which states may follow which.

Quantities and prices of a request are in base asset and quote currency; those of an order are whole counts of the
instrument's increments (`lots`, `..._ticks`), with Decimal views for people.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any

from engine.errors import OrderError
from engine.instruments import Instrument


class Side(IntEnum):
    """The sign of what an order adds to a position."""

    BUY = 1
    SELL = -1

    # Enum hashes by name, in Python; the number's own hash is made in C, and agrees with ==.
    __hash__ = int.__hash__

    @property
    def opposite(self) -> "Side":
        return Side(-self.value)

    @property
    def word(self) -> str:
        """ "buy" or "sell"."""
        return "buy" if self > 0 else "sell"


class OrderType(Enum):
    """How an order decides at which prices it may fill."""

    __hash__ = object.__hash__  # members are unique: Enum's own hash, by name and in Python, is ten times slower

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    """A market order once the stop price trades."""
    STOP_LIMIT = "stop_limit"
    """A limit order once the stop price trades."""
    TRAILING_STOP = "trailing_stop"
    """A stop that follows the price at a distance and never retreats."""


class TimeInForce(Enum):
    """How long an order stays."""

    GTC = "gtc"
    """Until it fills or is cancelled."""
    IOC = "ioc"
    """What does not fill at the first opportunity is cancelled."""
    FOK = "fok"
    """All at the first opportunity, or nothing."""
    GTD = "gtd"
    """Until `expire_at`."""
    DAY = "day"
    """Until the venue's day in which it was decided is over."""


class OrderStatus(Enum):
    """Where an order stands. The words are those of STYLE: we refuse and cancel, the venue rejects and accepts."""

    __hash__ = object.__hash__  # as for OrderType

    CREATED = "created"
    REFUSED = "refused"
    IN_FLIGHT = "in_flight"
    UNRESOLVED = "unresolved"
    """Sent, and nobody knows whether the venue has it: the answer was lost. It is asked; in live trading alone."""
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"


_S = OrderStatus

TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    _S.CREATED: frozenset({_S.REFUSED, _S.IN_FLIGHT}),
    # A venue's fill can overtake its acceptance.
    _S.IN_FLIGHT: frozenset(
        {_S.ACCEPTED, _S.REJECTED, _S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELLED, _S.EXPIRED, _S.UNRESOLVED}
    ),
    _S.UNRESOLVED: frozenset({_S.ACCEPTED, _S.REJECTED, _S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELLED, _S.EXPIRED}),
    _S.ACCEPTED: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELLED, _S.EXPIRED, _S.REJECTED}),
    _S.PARTIALLY_FILLED: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELLED, _S.EXPIRED}),
    _S.REFUSED: frozenset(),
    _S.FILLED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.REJECTED: frozenset(),
}

FINAL = frozenset(status for status, following in TRANSITIONS.items() if not following)


@dataclass(slots=True)
class OrderRequest:
    """What a strategy asks for. The engine rounds it to increments, checks it, and makes an `Order` of it.

    Args:
        quantity: in base asset, above 0.
        limit, stop: prices in quote currency; which are needed follows from `type`.
        trail_fraction, trail_amount: distance of a trailing stop, as a fraction of price or in quote currency.
        stop_loss, take_profit: prices of protecting orders that become active once this one fills, each cancelling
            the other; trail_stop_fraction: the same, as a trailing stop in place of `stop_loss`.
        expire_at: UTC nanoseconds, for GTD.
        why: the reason, in the strategy's words; it is journalled with the decision.
    """

    symbol: str
    side: Side
    quantity: float | Decimal
    type: OrderType = OrderType.MARKET
    limit: float | Decimal | None = None
    stop: float | Decimal | None = None
    trail_fraction: float | None = None
    trail_amount: float | Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_at: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    stop_loss: float | Decimal | None = None
    take_profit: float | Decimal | None = None
    trail_stop_fraction: float | None = None
    oco_group: str | None = None
    why: str = ""


class Order:
    """A request that passed the risk gate, as the broker holds it. Changed only through `become` and `record_fill`.

    `id` counts up within a run. `group` links orders of which the first to fill cancels the rest (OCO);
    `parent_id` names the order whose fill makes this one active (OTO).
    """

    # What most orders leave alone is said once, on the class: an order is made in 0.5 µs instead of 1.2.
    limit_ticks: int | None = None
    stop_ticks: int | None = None
    trail_fraction: float | None = None
    trail_ticks: int | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_at: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    parent_id: int | None = None
    group: int | None = None
    status: OrderStatus = OrderStatus.CREATED
    filled_lots: int = 0
    has_rested: bool = False
    """Whether the order has met a price before; until then it arrives, and may take liquidity."""
    is_triggered: bool = False
    """A stop whose price has traded."""
    reference: int | None = None
    """The best price, in ticks, that a trailing stop has followed so far."""
    number: int = 0
    """Counts the orders of one symbol that chance may touch: a draw for one must not depend on other symbols."""
    changes_at: int | None = None
    """When the first change reaches the venue that was asked for and is still on its way; UTC nanoseconds."""
    filled_notional_units: int = 0
    """What its fills were worth, in currency units; kept where the fee asks for it."""

    def __init__(
        self,
        id: int,
        decision_id: int,
        instrument: Instrument,
        side: Side,
        type: OrderType,
        lots: int,
        decided_at: int,
        decision_ticks: int = 0,
        **terms: Any,
    ) -> None:
        """Make an order.

        Args:
            decision_ticks: the last close when the order was decided; a trailing stop starts from it.
            terms: any of the class attributes above that differ from what they say there.
        """
        self.id = id
        self.decision_id = decision_id
        self.instrument = instrument
        self.symbol = instrument.symbol
        self.side = side
        self.type = type
        self.lots = lots
        self.decided_at = self.arrives_at = decided_at
        self.decision_ticks = decision_ticks
        for name, value in terms.items():
            if not hasattr(Order, name):
                raise TypeError(f"an order has no {name!r}")
            setattr(self, name, value)

    @property
    def open_lots(self) -> int:
        """What is still to be filled, in quantity increments."""
        return self.lots - self.filled_lots

    @property
    def quantity(self) -> Decimal:
        return self.instrument.to_quantity(self.lots)

    @property
    def filled_quantity(self) -> Decimal:
        return self.instrument.to_quantity(self.filled_lots)

    @property
    def limit(self) -> Decimal | None:
        return None if self.limit_ticks is None else self.instrument.to_price(self.limit_ticks)

    @property
    def stop(self) -> Decimal | None:
        return None if self.stop_ticks is None else self.instrument.to_price(self.stop_ticks)

    @property
    def is_open(self) -> bool:
        """Whether the order can still fill."""
        return self.status not in FINAL

    def become(self, status: OrderStatus, event: str = "") -> None:
        """Move to another state.

        Raises:
            OrderError: the transition table has no such step.
        """
        if status not in TRANSITIONS[self.status]:
            raise OrderError(f"order {self.id} is {self.status.value} and cannot take {event or status.value}")
        self.status = status

    def record_fill(self, lots: int) -> None:
        """Count an execution and move to partially filled or filled.

        Raises:
            OrderError: the order is final, or the fill is larger than what is open.
        """
        before = self.filled_lots
        if self.status in FINAL:
            self.become(OrderStatus.FILLED, "Fill")
        if not 0 < lots <= self.lots - before:
            raise OrderError(
                f"order {self.id} has {self.instrument.to_quantity(self.open_lots)} open and cannot take a fill of "
                f"{self.instrument.to_quantity(lots)}"
            )
        self.filled_lots = filled = before + lots
        # From any state that is not final either step is in the table (a test holds it): no look-up here.
        self.status = OrderStatus.FILLED if filled == self.lots else OrderStatus.PARTIALLY_FILLED

    def record_late_fill(self, lots: int) -> None:
        """Count an execution that a venue told of after the order's end: what happened there wins over what we knew."""
        assert self.status in FINAL, "an order that is open takes fills by record_fill"
        self.filled_lots += lots
        if self.filled_lots >= self.lots:
            self.status = OrderStatus.FILLED

    def __repr__(self) -> str:
        price = "".join(
            f" {name} {value}" for name, value in (("limit", self.limit), ("stop", self.stop)) if value is not None
        )
        what = f"{self.side.word} {self.quantity} {self.symbol} {self.type.value}{price}"
        return f"<Order {self.id} {what}, {self.status.value}>"
