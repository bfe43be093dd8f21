"""How long from the close of a minute, on a venue of this machine, until its bars are in the session's queue.

    python benchmarks/live.py                        500 symbols, 60 minutes of one second each
    python benchmarks/live.py --symbols 2000 --json live.json
    python benchmarks/live.py --orders               until orders for all are committed and handed to the link

The venue closes all candles at the same moment and sends each symbol's last word on its own, through one websocket.
What is measured is from that moment (wall time, one machine, so one clock) until BarsClosed with all symbols is taken
from the queue: the network, ccxt, JSON, the closing and gathering, and the hand-over between threads. With --orders a
whole session follows in the same process: strategy, risk gate, books, one commit synced to the disk, messages; its link
answers at once. It counts only if every bar is the venue's, and every symbol has an order at every bar.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.live_venue import EPOCH, MINUTE, candle, symbols_of
from benchmarks.session import Link, session_of
from engine.bars import SECOND
from engine.journal.sql import SqlJournal
from engine.live.inputs import BarsClosed, FeedTold, Input
from engine.live.sweeping import Sweeping
from engine.records import RunStart
from feeds.clients import make_client
from feeds.exchange_live import LiveFeed
from feeds.live_options import FeedOptions, VenuePlan

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Measure, print, and return 1 if a bar was not the venue's."""
    parser = argparse.ArgumentParser(prog="benchmarks/live.py", description="From a bar's close to the queue.")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--period", type=float, default=1.0, help="seconds of wall time that a minute takes")
    parser.add_argument("--orders", action="store_true", help="go on until the orders are on their way")
    parser.add_argument("--json", type=Path, metavar="PATH")
    wanted = parser.parse_args()
    found = measure(wanted.symbols, wanted.minutes, wanted.period, has_orders=wanted.orders)
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    said = "every bar is the venue’s" if found["equal"] else "BARS OR ORDERS DIFFER"
    print(
        f"{found['symbols']} symbols, {found['minutes']} minutes: close to {found['until']} p50 {found['p50_ms']:.1f}"
        f" ms, p99 {found['p99_ms']:.1f} ms, largest {found['max_ms']:.1f} ms; {found['cpu_ms_per_minute']:.0f} ms of"
        f" processor a minute; {said}; {found['told']} told")
    return 0 if found["equal"] else 1


def measure(count: int, minutes: int, period: float, *, has_orders: bool = False) -> dict[str, Any]:
    """Return what was measured; times in milliseconds."""
    start = time.time_ns() + 2 * SECOND
    venue = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.live_venue", "--symbols", str(count), "--period", str(period), "--start",
         str(start)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert venue.stdout is not None
        url = f"http://127.0.0.1:{int(venue.stdout.readline())}"
        if not has_orders:
            return {"until": "queue", **_run(url, count, minutes, period, start, Nothing())}
        with tempfile.TemporaryDirectory() as folder, SqlJournal(Path(folder) / "journal.db", durable=True) as journal:
            orders = Orders(symbols_of(count), journal)
            found = _run(url, count, minutes, period, start, orders)
            return {"until": "orders sent", **found, "equal": found["equal"] and orders.is_right(minutes)}
    finally:
        venue.kill()
        venue.wait()


class Nothing:
    """Deals with nothing: what is measured ends at the queue."""

    history = 1
    bars_taken = 0

    def take(self, one: Input) -> None:
        pass

    def rest(self) -> None:
        pass


class Orders:
    """A session that orders in every symbol at every bar, and whether it did."""

    history = 25
    """Bars: what its indicator needs, and a few more."""

    def __init__(self, names: Sequence[str], journal: SqlJournal) -> None:
        self._count, self._link, self._at = len(names), Link(), 0
        self._session = session_of(names, journal, {}, frame="1m", now=lambda: self._at)
        self._session.link = self._link
        self._session.begin(RunStart("paper", "Benchmark", {}, {}, "live", {}, started_at=EPOCH * 1_000_000))
        self._answered, self._instants, self.bars_taken = 0, 0, 0

    def take(self, one: Input) -> None:
        """Deal with an input, to the last message."""
        self._at = max(self._at, one.time)
        self._session.take([one])
        self._instants += isinstance(one, BarsClosed) and not one.is_history

    def rest(self) -> None:
        """Hear what the venue says of the orders."""
        self._session.take(self._link.answers(self._answered, self._at + 1))
        self._answered = len(self._link.sent)
        self.bars_taken = self._session.bars_taken

    def is_right(self, minutes: int) -> bool:
        """Return whether every symbol had an order at every bar."""
        return len(self._link.sent) == self._instants * self._count and self._instants > minutes


def _run(url: str, count: int, minutes: int, period: float, start: int, after: Nothing | Orders) -> dict[str, Any]:
    symbols = tuple(symbols_of(count))

    def clock() -> int:
        return EPOCH * 1_000_000 + round((time.time_ns() - start) * MINUTE / 1000 / period)

    def client() -> Any:
        urls = {"public": f"{url}/api/v3", "ws": {"spot": url.replace("http", "ws") + "/stream/ws"}}
        made = make_client("binance", symbols=symbols, api_urls=urls)
        made.enableRateLimit = False  # the history is not what is measured
        return made

    options = FeedOptions(
        history=after.history, grace=15 * SECOND, deadline=50 * SECOND, lag=600 * SECOND, tick=SECOND // 20)
    feed = LiveFeed([VenuePlan(client, symbols, ("1m",), at_once=16)], options=options, clock=clock)
    took: list[float] = []
    told, equal = 0, True
    with feed, Sweeping() as sweeping:
        feed.start()
        cpu = wall = 0.0
        while len(took) < minutes:
            one = feed.take(60)
            assert one is not None, f"nothing came; {feed.states()}"
            after.take(one)
            now = time.time_ns()
            after.rest()
            sweeping.idle(after.bars_taken)  # as a session does while nothing waits
            if isinstance(one, FeedTold):
                told += 1
            if not isinstance(one, BarsClosed) or one.is_history:
                continue
            minute = (one.time // 1_000_000 - EPOCH) // MINUTE
            if wall == 0.0:
                cpu, wall = time.process_time(), time.monotonic()  # the first is late, as history came in its way
                continue
            took.append((now - start) / 1e6 - minute * period * 1000)
            equal = equal and len(one.bars) == count and all(
                bar[3:8] == tuple(map(float, candle(place, minute - 1))) for place, bar in enumerate(one.bars))
        cpu = time.process_time() - cpu
    ordered = sorted(took)
    return {
        "symbols": count, "minutes": minutes, "period": period, "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)], "max_ms": ordered[-1],
        "cpu_ms_per_minute": cpu * 1000 / minutes, "equal": equal, "told": told,
    }


if __name__ == "__main__":
    sys.exit(main())
