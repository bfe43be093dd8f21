"""The list of working orders: what may still fill, in all and by symbol, oldest first."""

from collections.abc import Iterable

from engine.orders import Order


class WorkingOrders:
    """Every order that may still fill; children that wait for their parent are not among them."""

    __slots__ = ("all", "expiring", "of_symbol")

    def __init__(self, symbols: Iterable[str]) -> None:
        self.all: dict[int, Order] = {}
        self.of_symbol: dict[str, dict[int, Order]] = {symbol: {} for symbol in symbols}
        self.expiring = 0
        """How many of them have an `expire_at`."""

    def add(self, order: Order) -> None:
        """Put an order at the end of the queue."""
        self.all[order.id] = order
        self.expiring += order.expire_at is not None
        self.of_symbol[order.symbol][order.id] = order

    def remove(self, order: Order) -> None:
        """Take an order out; one that is not there, a child that waits, is none of our business."""
        if self.all.pop(order.id, None) is not None:
            self.expiring -= order.expire_at is not None
            del self.of_symbol[order.symbol][order.id]
