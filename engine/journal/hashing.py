"""The order hash: one SHA-256 over what a run asked for and what it got, the same for the same run made again."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from engine.journal.reading import columns_of
from engine.records import FillRow, OrderRow

ORDER_FIELDS = (
    "id", "time", "symbol", "side", "type", "quantity", "limit_price", "stop_price", "trail", "time_in_force",
    "expire_at", "post_only", "reduce_only", "parent_id", "oco_group",
)
FILL_FIELDS = (
    "id", "order_id", "time", "bar_close_time", "symbol", "side", "price", "quantity", "liquidity", "fee", "currency",
)
"""What is hashed, by name: a column that a later version adds leaves the hashes of earlier runs as they are."""


def order_hash(orders: Sequence[OrderRow], fills: Sequence[FillRow]) -> str:
    """Return the hash of a run's orders and fills, in the order of their ids; every number to its last bit.

    It covers what `fills_hash` leaves out: orders that never filled, their kinds and prices, and times. Taken from the
    rows, so runs of any age have one.
    """
    digest = sha256(f"barcast orders 1 {len(orders)} {len(fills)}".encode())
    for rows, row_type, names in ((orders, OrderRow, ORDER_FIELDS), (fills, FillRow, FILL_FIELDS)):
        columns = columns_of(rows, row_type)
        for name in names:
            digest.update(_bytes(columns[name]))
    return digest.hexdigest()


def _bytes(column: Any) -> bytes:
    if column.dtype == object:
        return "\n".join(map(str, column.tolist())).encode()
    little: bytes = column.astype(column.dtype.newbyteorder("<")).tobytes()
    return little
