"""What a venue says of our orders and account, in one form whichever venue it is.

A report is a fact with the venue's time. It is recorded before the engine acts on it, and replaying the recorded ones
through the same engine gives the same decisions. Quantities in lots, prices in ticks of the order's instrument; money
as Decimal in the currency named.
"""

from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple


class ReportKind(StrEnum):
    """What happened."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """The venue would not take it, or said with certainty that it never had it."""
    FILLED = "filled"
    """One execution; `lots`, `ticks`, `fee`, `trade_id` say which. The same trade id twice is one execution."""
    TRIGGERED = "triggered"
    CANCELLED = "cancelled"
    """`lots`: what it had filled by then, in all (0 where the venue does not say): the order ends once our books have
    as much, for executions may be told of later than the end."""
    EXPIRED = "expired"
    """As CANCELLED."""
    AMENDED = "amended"
    """`lots`, `ticks` (limit) and `stop_ticks` are the new terms."""
    CHANGE_REFUSED = "change_refused"
    """A cancel or an amendment was not taken; the order goes on as it was."""
    UNRESOLVED = "unresolved"
    """The answer was lost or ambiguous: nobody knows whether the venue has the order. It is asked, never sent again."""
    CASH = "cash"
    """Money moved other than by a fill: `amount` of `currency`, signed. `reason` is its kind ("funding", "interest",
    "transfer"), `note` says more. Of the kind "outside" nothing moves: so much of `currency` (or lots of the contract
    `currency`) is in the account from before, and not this session's."""
    DIFFERENCE = "difference"
    """Reconciliation found that the venue's books and ours differ; `note` explains. `symbol` with `lots` (venue minus
    ours) for a position, valued at `ticks`, `currency` with `amount` (venue minus ours) for cash."""


class Report(NamedTuple):
    """One fact from a venue.

    `order_id` is our number; 0 where it is about the account. `sent_at` is when our message left, `received_at` when
    this was heard (both by our clock), `time` what the venue's clock said; 0 where unknown. Of a fill,
    `reference_ticks` is the mid price when the order arrived (0: unknown) and `liquidity` "maker" or "taker".
    """

    kind: ReportKind
    time: int
    received_at: int
    order_id: int = 0
    reason: str = ""
    venue_order_id: str = ""
    sent_at: int = 0
    symbol: str = ""
    lots: int = 0
    ticks: int | None = None
    stop_ticks: int | None = None
    trade_id: str = ""
    liquidity: str = "taker"
    fee: Decimal = Decimal(0)
    fee_currency: str = ""
    reference_ticks: int = 0
    spread_cost: float = 0.0
    slippage_cost: float = 0.0
    impact_cost: float = 0.0
    currency: str = ""
    amount: Decimal = Decimal(0)
    note: str = ""
