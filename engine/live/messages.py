"""What leaves a session for a venue: new orders, cancels and amendments. Each is committed before it is sent.

A message's client order id follows from the session and the order's number alone, so that a session that was killed
asks the venue about the same orders, and sends none twice.
"""

from typing import NamedTuple

from engine.orders import Order

NEW, CANCEL, AMEND = "new", "cancel", "amend"


class OrderMessage(NamedTuple):
    """One message about one order. Prices in ticks and quantities in lots of its instrument; times UTC nanoseconds.

    `id` counts up within a session. An amendment carries the whole of the new terms; a cancel needs none. `why` is said
    in the journal alone. `stop_ticks` of a trailing stop is where it starts.
    """

    id: int
    kind: str
    time: int
    order_id: int
    client_order_id: str
    symbol: str
    side: int
    type: str
    lots: int
    limit_ticks: int | None = None
    stop_ticks: int | None = None
    trail_fraction: float | None = None
    trail_ticks: int | None = None
    time_in_force: str = "gtc"
    expire_at: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    decision_ticks: int = 0
    why: str = ""


def client_order_id(session: str, order_id: int) -> str:
    """Return the id that a venue knows an order by: letters and digits alone, 18 at most, as the strictest asks.

    Args:
        session: eight letters and digits, made once for each session.
    """
    assert len(session) == 8, "the session's own name"
    assert session.isalnum(), "venues take letters and digits"
    return f"bc{session}{order_id:08d}"


def message_of(
    kind: str, number: int, session: str, order: Order, time: int, *, lots: int | None = None,
    limit_ticks: int | None = None, stop_ticks: int | None = None, why: str = "",
) -> OrderMessage:
    """Return a message about an order; what is left out is as the order has it."""
    return OrderMessage(
        number, kind, time, order.id, client_order_id(session, order.id), order.symbol, int(order.side),
        order.type.value, order.lots if lots is None else lots,
        order.limit_ticks if limit_ticks is None else limit_ticks,
        order.stop_ticks if stop_ticks is None else stop_ticks,
        order.trail_fraction, order.trail_ticks, order.time_in_force.value, order.expire_at, order.post_only,
        order.reduce_only, order.decision_ticks, why,
    )
