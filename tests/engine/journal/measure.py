"""Rows a second into SQLite, in CPU time of the whole process: `python tests/engine/journal/measure.py`.

The rows are those of the reference run, 1 M bars with 22 k market orders, with values in full precision.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from engine.bars import MINUTE
from engine.journal.sql import SqlJournal
from engine.journal.testing import START, sample_end, sample_start
from engine.records import Batch

TRADES = 22_000
BATCHES = 16


def reference_batches() -> list[Batch]:
    """Return the rows of the reference run as the loop hands them over, as plain tuples."""
    rng = random.Random(1)
    batches = [Batch() for _ in range(BATCHES)]
    for number in range(1, TRADES + 1):
        batch = batches[(number - 1) * BATCHES // TRADES]
        side, time_ns = ("buy" if number % 2 else "sell"), START + 45 * MINUTE * number
        price, quantity = round(30_000 + 1000 * rng.random(), 2), round(0.3 + 0.01 * rng.random(), 5)
        position, cash = (quantity if number % 2 else 0.0), round(10_000 + 10 * rng.random(), 8)
        saw, why = (price + rng.random(), price - rng.random()), "fast above slow" if number % 2 else "fast below slow"
        action = f"target {number % 2}"
        batch.decisions.append((number, time_ns, "SmaCross", "BTC/USDT", time_ns, price, action, saw, why))
        batch.orders.append((
            number, number, time_ns, "BTC/USDT", side, "market", quantity, None, None, None, "gtc", None, False, False,
            None, None,
        ))
        batch.order_events.append((2 * number - 1, number, time_ns, "accepted", ""))
        batch.order_events.append((2 * number, number, time_ns, "filled", ""))
        batch.fills.append((
            number, number, time_ns, time_ns + MINUTE, "BTC/USDT", side, price, quantity, "taker",
            round(price * quantity * 0.0005, 8), "USDT", price, 0.0, 0.0, 0.0, position, cash,
        ))
    return batches


def measure(batches: list[Batch]) -> tuple[float, float, float]:
    """Write a run; return CPU seconds until it ended, wall seconds until it ended, and CPU seconds until closed."""
    with tempfile.TemporaryDirectory() as folder:
        journal = SqlJournal(Path(folder) / "journal.db")
        wall, processor = time.perf_counter(), time.process_time()
        journal.begin(sample_start())
        for batch in batches:
            journal.write(batch)
        journal.end(sample_end())
        ended = time.process_time() - processor, time.perf_counter() - wall
        journal.close()
        return *ended, time.process_time() - processor


def main() -> None:
    batches = reference_batches()
    rows = sum(map(len, batches))
    ended, wall, closed = map(min, zip(*(measure(batches) for _ in range(8)), strict=True))
    print(f"{rows:,} rows, best of 8")  # noqa: T201
    print(f"until the run ended: {ended:.3f} s CPU = {rows / ended:,.0f} rows/s; {wall:.3f} s wall")  # noqa: T201
    print(f"until closed:        {closed:.3f} s CPU = {rows / closed:,.0f} rows/s")  # noqa: T201


if __name__ == "__main__":
    main()
