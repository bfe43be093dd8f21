"""Entries: a position seen as the orders it was opened with, of which an opposite fill closes the oldest first.

For `netting="oldest_entry_first"` alone. Books do not need it, a position is one signed quantity; but where an entry is
closed by some other order, the children that protect it go too, which a single quantity cannot tell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.orders import Order, Side


@dataclass(eq=False)
class Entry:
    """What is left of a position that one order opened, with the orders that protect it."""

    order_id: int
    side: Side
    lots: int = 0
    children: Sequence[Order] = field(default_factory=tuple)


class OpenEntries:
    """The open entries of one symbol, oldest first."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def restart(self, lots: int) -> None:
        """Take a position that was made elsewhere, signed, for one entry that nothing protects."""
        self._entries = [Entry(0, Side.BUY if lots > 0 else Side.SELL, abs(lots))] if lots else []

    def book(self, order: Order, lots: int, children: Sequence[Order]) -> tuple[int, list[Entry]]:
        """Book a fill: it closes opposite entries, the oldest first, and opens an entry with what is left of it.

        A child closes the entry it protects and no other.

        Returns:
            The lots that the order has open in its own name, and the entries that became smaller.
        """
        left, smaller = lots, []
        for entry in self._entries:
            if entry.side is order.side or (order.parent_id is not None and entry.order_id != order.parent_id):
                continue
            closed = min(left, entry.lots)
            if closed:
                entry.lots -= closed
                left -= closed
                smaller.append(entry)
        self._entries = [entry for entry in self._entries if entry.lots]
        if left:
            if not self._entries or self._entries[-1].order_id != order.id:  # else it fills in pieces
                self._entries.append(Entry(order.id, order.side, 0, children))
            self._entries[-1].lots += left
        own = self._entries[-1] if self._entries and self._entries[-1].order_id == order.id else None
        return own.lots if own else 0, smaller
