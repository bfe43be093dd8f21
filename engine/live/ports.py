"""The edges of a live session: where inputs come from, and where messages go. I/O lives behind these alone.

The engine's thread calls them; what they do with sockets happens in a thread of their own.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from engine.live.inputs import Input
from engine.live.messages import OrderMessage
from engine.live.reports import Report


class KnownOrder(NamedTuple):
    """An order as our books have it, for asking a venue about it. `trade_ids`: executions that were booked."""

    message: OrderMessage
    status: str
    filled_lots: int
    trade_ids: frozenset[str]
    venue_order_id: str = ""


class Known(NamedTuple):
    """What our books say at one moment: orders that are open or unresolved, positions in lots, cash.

    `dust`: base asset beyond whole increments, by symbol. `outside`: what is in the account and not this session's, by
    asset, or in lots by symbol of a contract.
    """

    orders: tuple[KnownOrder, ...]
    positions: Mapping[str, int]
    cash: Mapping[str, Decimal]
    dust: Mapping[str, Decimal] = {}
    outside: Mapping[str, Decimal] = {}


class InputSource(Protocol):
    """Where inputs come from, in one order."""

    def take(self, timeout: float) -> Input | None:
        """Return the next input; None if there is none within `timeout` seconds.

        Raises:
            VenueError: the edge has failed for good.
        """


class VenueLink(Protocol):
    """Takes messages to a venue. What comes back arrives as VenueTold among the inputs."""

    def send(self, messages: Sequence[OrderMessage]) -> None:
        """Hand over messages that are committed; return at once. A message that cannot be taken to the venue becomes a
        report too, never an exception: rejected where it certainly did not arrive, unresolved otherwise."""

    def reconcile(self, known: Known) -> Sequence[Report]:
        """Ask the venue about what our books say, and wait for the answer: at the start, before anything is decided,
        and now and then.

        Returns:
            The reports that make our books equal to the venue's: what became of each order, executions that were
            missed, money that moved, and a DIFFERENCE for what nothing explains. An order is reported as rejected only
            if the venue says with certainty that it has never had it.
        Raises:
            VenueUnavailable: the venue does not answer; nothing may be decided until it does.
        """

    def close(self) -> None:
        """Let go of the venue. Orders stay as they are unless the venue's dead-man's switch withdraws them."""
