"""Runs that are killed with SIGKILL while they write their journal: `python -m tests.engine.journal.kills --times 100`.

Each run is a process of its own with a real strategy, exchange and SQLite file. A third is killed after a time drawn by
chance, a third before a statement so many statements into its writing (BEGIN, an INSERT, COMMIT), a third within a
statement, so many thousand steps of SQLite's machine into it. Then the file is opened as anybody would, and what is in
it is held against the same run undisturbed. Ends with 1 if anything is wrong; `--seed` repeats the kills.
"""

import argparse
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine as Database

from engine import Strategy, loop
from engine.bars import Bar, Bars
from engine.journal.lineage import list_runs, load_run, unresolved_fills
from engine.journal.reading import ROW_TYPES, RunRecord
from engine.journal.sql import SqlJournal
from engine.testing import run_bars
from feeds.synthetic import SyntheticFeed, SyntheticMarket

BARS = 6_000
CHUNK, ROWS = 100, 100
"""Bars after which the loop may hand rows over, and how many rows it gathers: some fifty transactions a run."""
STEPS = 1_000
"""Of SQLite's machine, between two looks at whether it is time."""


class Restless(Strategy):
    """Buys and sells in turn, every third bar, so that every chunk of bars has every kind of row."""

    def on_start(self) -> None:
        self.line = self.indicator("SMA", "close", 3)
        self.bars_seen = 0

    def on_bar(self, bar: Bar) -> None:
        self.bars_seen += 1
        if self.bars_seen % 3 == 0:
            self.target(bar.symbol, float(self.bars_seen % 2), why=f"bar {self.bars_seen}")


@dataclass(frozen=True)
class Kill:
    """When a run is killed: after so many seconds, before a statement, or within one."""

    kind: str
    at: float
    durable: bool

    def __str__(self) -> str:
        unit = {"time": "s", "statement": "statements", "step": "thousand steps"}[self.kind]
        return f"{self.at:.3g} {unit}{', durable' if self.durable else ''}"


def market() -> Bars:
    """Return the bars that every run sees."""
    (bars,) = SyntheticFeed(SyntheticMarket(("BTC/USDT",), "1m", BARS, seed=5), chunk_rows=BARS).chunks()
    return bars


def run(path: Path, bars: Bars, *, durable: bool) -> None:
    """Run to the end, handing rows over in many small batches."""
    loop.ROWS_TO_FLUSH = ROWS
    with SqlJournal(path, durable=durable) as journal:
        run_bars(bars, Restless(), journal=journal, chunk=CHUNK)


def kill_one(path: Path, bars: Bars, kill: Kill) -> bool:
    """Run in a process of its own and kill it; return whether it was killed before it had finished."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _arm(kill)
            run(path, bars, durable=kill.durable)
            status = 0
        finally:
            os._exit(status)
    if kill.kind == "time":
        time.sleep(kill.at)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"the run failed by itself, before {kill}")
    return os.WIFSIGNALED(status)


def faults_in(path: Path, undisturbed: RunRecord, *, was_killed: bool) -> list[str]:
    """Return what is wrong with a journal whose writer was killed."""
    if not path.exists():
        return []
    with SqlJournal(path) as journal:
        listed = list_runs(journal)
        faults = _integrity(path)
        if not listed:
            return faults
        record, lost = load_run(journal), unresolved_fills(journal)
    # Between the end of the run and the end of its process there is nothing more to lose.
    expected = ("crashed", "completed") if was_killed else ("completed",)
    if record.run.status not in expected:
        faults.append(f"the run is {record.run.status}; expected {expected[0]}")
    if lost:
        faults.append(f"{len(lost)} fills lead nowhere, the first is {lost[0]}")
    for table in ROW_TYPES:
        rows, whole = getattr(record, table), getattr(undisturbed, table)
        if rows != whole[: len(rows)]:
            faults.append(f"{table}: {len(rows)} rows that are not the first ones of the run undisturbed")
        elif record.run.status == "completed" and len(rows) != len(whole):
            faults.append(f"{table}: {len(rows)} rows of a run that completed with {len(whole)}")
    for table in ("decisions", "orders", "order_events", "fills"):
        ids = [row.id for row in getattr(record, table)]
        if ids != list(range(1, len(ids) + 1)):
            faults.append(f"{table}: the ids have holes")
    return faults


def draw(random: Random, number: int, seconds: float, statements: int, steps: int) -> Kill:
    """Return when the next run is killed: each kind in turn, within the length of a run."""
    kind = ("time", "statement", "step")[number % 3]
    longest = {"time": seconds, "statement": statements, "step": steps}[kind]
    at = random.uniform(0, longest)
    return Kill(kind, at if kind == "time" else 1 + int(at), durable=random.random() < 0.3)


def main() -> int:
    """Kill as often as asked, and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1_000_000)
    chosen = parser.parse_args()
    random, outcomes, wrong = Random(chosen.seed), Counter[str](), 0
    kept: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        bars = market()
        undisturbed, seconds, statements, steps = _measure(Path(folder), bars)
        print(f"seed {chosen.seed}; undisturbed: {len(undisturbed.fills):,} fills in {seconds:.2f} s, "
              f"{statements:,} statements, {steps:,} thousand steps", flush=True)
        for number in range(chosen.times):
            path = Path(folder) / f"journal{number}.db"
            kill = draw(random, number, seconds, statements, steps)
            was_killed = kill_one(path, bars, kill)
            faults = faults_in(path, undisturbed, was_killed=was_killed)
            wrong += bool(faults)
            outcomes[f"{kill.kind}: {'killed' if was_killed else 'finished first'}"] += 1
            kept.append(_kept(path, undisturbed))
            for fault in faults:
                print(f"WRONG after {kill}: {fault}")
    print(", ".join(f"{name} {count}" for name, count in sorted(outcomes.items())))
    within = sum(0 < share < 1 for share in kept)
    print(f"{chosen.times} kills, {wrong} journals with a fault; {within} with a part of the run, "
          f"{kept.count(0.0)} with nothing of it, {kept.count(1.0)} with all")
    return 1 if wrong else 0


def _arm(kill: Kill) -> None:
    if kill.kind == "statement":
        _count_statements(lambda count: count == kill.at and os.kill(os.getpid(), signal.SIGKILL))
    elif kill.kind == "step":
        _count_steps(lambda count: count == kill.at and os.kill(os.getpid(), signal.SIGKILL))


def _count_statements(told: Callable[[int], Any]) -> None:
    """Call back at the beginning of every statement, with its number."""
    count = 0

    def begins(_statement: str) -> None:
        nonlocal count
        count += 1
        told(count)

    event.listen(Database, "connect", lambda connection, _record: connection.set_trace_callback(begins))


def _count_steps(told: Callable[[int], Any]) -> None:
    count = 0

    def looks() -> int:
        nonlocal count
        count += 1
        told(count)
        return 0

    event.listen(Database, "connect", lambda connection, _record: connection.set_progress_handler(looks, STEPS))


def _measure(folder: Path, bars: Bars) -> tuple[RunRecord, float, int, int]:
    """Return the run undisturbed, how long it takes, and how many statements and steps it has."""
    run(folder / "undisturbed.db", bars, durable=False)
    with SqlJournal(folder / "undisturbed.db") as journal:
        undisturbed = load_run(journal)
    started = time.perf_counter()
    kill_one(folder / "timed.db", bars, Kill("statement", -1, durable=False))
    seconds = time.perf_counter() - started
    counts = []
    for count in (_count_statements, _count_steps):
        note = folder / count.__name__
        child = os.fork()
        if child == 0:
            with note.open("w") as file:
                count(lambda so_far: print(so_far, file=file))
                run(note.with_suffix(".db"), bars, durable=False)
            os._exit(0)
        os.waitpid(child, 0)
        counts.append(len(note.read_text().splitlines()))
    return undisturbed, seconds, counts[0], counts[1]


def _kept(path: Path, undisturbed: RunRecord) -> float:
    """Return which share of the fills is in the journal."""
    if not path.exists():
        return 0.0
    with SqlJournal(path) as journal:
        fills = len(load_run(journal, tables=("fills",)).fills) if list_runs(journal) else 0
    return fills / len(undisturbed.fills)


def _integrity(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        return found + [f"foreign key: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
