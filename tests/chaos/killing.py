"""The kill -9 matrix: a session's process is killed at a numbered point, started again, perhaps killed again while it
recovers, and in the end compared with the venue's truth.

    python -m tests.chaos --seeds 1000 --first-seed 1

Real processes and real SIGKILLs; the unmodified ccxt client on the loopback venue, which loses answers besides. A seed
says everything: the market, what the strategy does, where it dies, and what the venue does wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.request import urlopen

import ccxt.pro  # noqa: F401 - once, here, instead of in every process

from tests.chaos.life import HISTORY, Plan, live
from tests.chaos.points import POINTS, RARE, RECOVERY, SESSION, Point
from tests.venue.accounts import account
from tests.venue.server import VenueServer
from tests.venue.sources import MarketData, synthetic

FAULTS = ("lost_reply", "timeout_after", "drop_before", "truncated", "html", "server_error", "rate_limit")
MOST_SECONDS = 120.0


class Outcome(NamedTuple):
    """What became of a seed: whether its point was reached, and what is wrong, if anything is."""

    seed: int
    point: Point
    was_killed: bool
    orders: int
    problems: tuple[str, ...]


def run_seed(seed: int, template: Path, *, bars: int = 8) -> Outcome:
    """Live, die, recover, and compare."""
    draws = Random(seed)
    point = POINTS[seed % len(POINTS)]
    first = Point(0, draws.choice(("an input dealt with", "committed", "rows handed over", "rows on disk")), 1)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-", dir=template.parent))
    shutil.copy(template, folder / "journal.db")
    data = synthetic(["BTC/USDT"], rows=HISTORY + bars + 2, seed=seed % 1000)
    venue, url = _start_venue(seed, data, draws)
    try:
        was_killed = False
        for life in (1, 2, 3, 4):
            # To die while recovering, it has to have died before: anywhere in its first life.
            kill_at = point if point.life == life else first if life == 1 else None
            often = 4 if kill_at is first else 1
            plan = Plan(seed, url, folder, bars, life, kill_at, _occurrence(draws, kill_at) + often - 1)
            status = _wait(_fork(lambda plan=plan: live(plan, data)))
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                was_killed = was_killed or kill_at == point
                continue
            if os.WEXITSTATUS(status):
                words = (folder / "failure").read_text() if (folder / "failure").exists() else f"status {status}"
                return Outcome(seed, point, was_killed, 0, (f"life {life} failed: {words}",))
            break
        orders, problems = compare(url, folder)
        return Outcome(seed, point, was_killed, orders, problems)
    finally:
        os.kill(venue, signal.SIGKILL)
        _wait(venue)
        shutil.rmtree(folder)


def _occurrence(draws: Random, point: Point | None) -> int:
    """Draw the how many-th time it comes to its point a process dies there."""
    if point is None or point.place in (*RECOVERY, *RARE):
        return 1
    return draws.choice((1, 1, 2, 3, 5)) if point.place in SESSION else draws.choice((1, 1, 2, 3))


def compare(url: str, folder: Path) -> tuple[int, tuple[str, ...]]:
    """Return how many orders there were, and where books and venue differ."""
    books = json.loads((folder / "books.json").read_text())
    orders: list[dict[str, Any]] = _ask(url, "orders")
    balances: dict[str, Any] = _ask(url, "balances")
    problems = []
    there: dict[str, list[dict[str, Any]]] = {}
    for order in orders:
        there.setdefault(order["client_id"], []).append(order)
    for name, found in there.items():
        # An amendment replaces an order by another of its name: once for each, and the one before is cancelled.
        found.sort(key=lambda order: order["id"])
        if len(found) > 1 + books["amendments"].get(name, 0) or any(
            order["status"] not in ("cancelled", "filled") for order in found[:-1]
        ):
            problems.append(f"{name} is at the venue {len(found)} times")
        if name not in books["orders"]:
            problems.append(f"{name} is at the venue and not in the books")
            continue
        status, filled = books["orders"][name]
        lots = int(sum(Decimal(order["filled"]) for order in found) / Decimal("0.00001"))
        if filled != lots:
            problems.append(f"{name} has filled {lots} at the venue, {filled} in the books")
        is_open = found[-1]["status"] not in ("filled", "cancelled", "expired", "rejected")
        if is_open != (status in ("accepted", "partially_filled")):
            problems.append(f"{name} is {found[-1]['status']} at the venue, {status} in the books")
    for name, (status, filled) in books["orders"].items():
        if name not in there and (filled or status not in ("rejected", "cancelled", "expired")):
            problems.append(f"{name} is {status} in the books and never was at the venue")
    held = books["positions"]["BTC/USDT"] * Decimal("0.00001") + Decimal(books["dust"].get("BTC/USDT", 0))
    for asset, ours in (("BTC", held), ("USDT", Decimal(books["cash"]["USDT"]))):
        total = sum(Decimal(balances[asset][part]) for part in ("free", "locked"))
        expected = ours + Decimal(books["outside"].get(asset, 0))
        if abs(total - expected) > Decimal("1e-8"):
            problems.append(f"the venue has {total} {asset}, the books {expected}")
    return len(orders), tuple(problems)


def _ask(url: str, what: str) -> Any:
    with urlopen(f"{url}/admin/{what}", timeout=30) as answer:
        return json.loads(answer.read())


def _start_venue(seed: int, data: MarketData, draws: Random) -> tuple[int, str]:
    """Start a venue in a process of its own; return its process and address."""
    chances = {kind: draws.choice((0.0, 0.0, 0.05, 0.15)) for kind in FAULTS}
    reader, writer = os.pipe()

    def serve() -> None:
        server = VenueServer(
            data, paused=True, history=HISTORY, seed=seed,
            accounts=lambda: (account(balances={"USDT": 50_000, "BTC": 1}),),
        )
        with server.start_in_thread() as venue:
            venue.faults.schedule(chances, on="create_order")
            venue.faults.schedule({"lost_reply": 0.1, "server_error": 0.1}, on="cancel_order")
            venue.faults.schedule({"server_error": 0.1, "truncated": 0.05}, on="fetch_order")
            os.write(writer, venue.url.encode())
            time.sleep(MOST_SECONDS)

    process = _fork(serve)
    os.close(writer)
    url = os.read(reader, 1000).decode()
    os.close(reader)
    assert url, "the venue has started"
    return process, url


def _fork(work: Any) -> int:
    """Do something in a new process: everything is imported already, which takes a hundred times longer than a fork."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        signal.alarm(int(MOST_SECONDS))
        work()
        status = 0
    except BaseException as exc:  # noqa: BLE001 - the end of a process: the parent must hear of it
        folder = Path(tempfile.gettempdir())
        plan = getattr(work, "__defaults__", None)
        if plan and isinstance(plan[0], Plan):
            folder = plan[0].folder
        (folder / "failure").write_text("".join(traceback.format_exception(exc))[-1500:])
    finally:
        sys.stdout.flush()
        os._exit(status)


def _wait(process: int) -> int:
    return os.waitpid(process, 0)[1]
