"""Orders and fills as the venue keeps them, and why it may refuse one."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from tests.venue.instruments import Instrument

Side = str
"""buy or sell."""


class Status(StrEnum):
    """Where an order is. What the venues call these differs; their protocols translate."""

    UNTRIGGERED = "untriggered"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"

    @property
    def is_open(self) -> bool:
        return self in (Status.UNTRIGGERED, Status.NEW, Status.PARTIALLY_FILLED)


class Reason(StrEnum):
    """Why a request is refused."""

    UNKNOWN_SYMBOL = "unknown symbol"
    NOT_TRADING = "the market is closed"
    PRICE = "the price is no multiple of the increment"
    QUANTITY = "the quantity is no multiple of the increment, or outside the limits"
    NOTIONAL = "the order is worth too little"
    FAR_PRICE = "the price is too far from the market"
    BALANCE = "insufficient balance"
    DUPLICATE = "the client order id is in use"
    WOULD_TAKE = "post-only, and it would match at once"
    WOULD_TRIGGER = "the stop would trigger at once"
    UNKNOWN_ORDER = "no such order"
    TOO_MANY = "too many open orders"
    NO_LIQUIDITY = "nothing to match a market order with"
    REDUCE_ONLY = "reduce-only, and it would not reduce"
    AMEND = "the order cannot be amended like this"


class Rejected(Exception):
    """The venue refuses a request."""

    def __init__(self, reason: Reason, words: str = "") -> None:
        super().__init__(words or reason.value)
        self.reason = reason


class Fill(NamedTuple):
    """One execution of one order. `price` in ticks, `quantity` in lots, `time` in virtual milliseconds."""

    trade_id: int
    order_id: int
    time: int
    side: Side
    price: int
    quantity: int
    is_maker: bool
    fee: Decimal
    fee_asset: str
    realised: Decimal = Decimal(0)


@dataclass(frozen=True)
class Request:
    """What a client asks for. Prices in quote currency, quantities in base currency (contracts where a venue counts
    them); `quote_quantity` instead of `quantity` spends so much of the quote currency."""

    symbol: str
    side: Side
    kind: str
    """market or limit."""
    quantity: Decimal | None = None
    price: Decimal | None = None
    time_in_force: str = "GTC"
    """GTC, IOC, FOK or POST (post-only)."""
    client_id: str = ""
    stop_price: Decimal | None = None
    triggers_above: bool | None = None
    """Whether the stop waits for a price at or above it; None takes the stop-loss side: above for buys."""
    quote_quantity: Decimal | None = None
    reduce_only: bool = False
    label: str = ""
    """How the protocol named the type; given back as it is."""


@dataclass(slots=True, eq=False)
class Order:
    """An order the venue has taken. `price`, `stop` in ticks, quantities in lots, times in virtual milliseconds."""

    id: int
    account: str
    instrument: Instrument
    client_id: str
    side: Side
    kind: str
    time_in_force: str
    price: int | None
    quantity: int
    created: int
    updated: int
    stop: int | None = None
    triggers_above: bool = False
    quote_budget: Decimal | None = None
    reduce_only: bool = False
    label: str = ""
    status: Status = Status.NEW
    why: str = ""
    filled: int = 0
    value: int = 0
    """Sum of ticks × lots over the fills."""
    locked: Decimal = Decimal(0)
    lock_asset: str = ""
    fills: list[Fill] = field(default_factory=list)
    place: int = 0
    """When it took its place in the queue; smaller is earlier."""
    is_triggered: bool = False
    amendments: int = 0

    @property
    def symbol(self) -> str:
        return self.instrument.symbol

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled

    @property
    def average(self) -> Decimal | None:
        """Mean price of the fills, in quote currency."""
        return self.value * self.instrument.price_increment / self.filled if self.filled else None

    @property
    def fees(self) -> dict[str, Decimal]:
        totals: dict[str, Decimal] = {}
        for fill in self.fills:
            totals[fill.fee_asset] = totals.get(fill.fee_asset, Decimal(0)) + fill.fee
        return totals
