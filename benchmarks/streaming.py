"""The long run: a catalog is built in one process, streamed through a strategy in another, and checked in a third.

As a module it is one of these processes: `python -m benchmarks.streaming build|stream|memory CATALOG ROWS`; what it
found out goes to its standard output as JSON.
"""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measuring import memory
from benchmarks.ours import run_ours
from feeds.catalog import Catalog
from feeds.memory import MemoryFeed
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from strategies.sma_cross import SmaCross
from strategies.sma_cross_targets import SmaCrossTargets

ROOT = Path(__file__).resolve().parent.parent
SYMBOL = "SYN/USDT"


def in_own_process(rows: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the streamed run and the one in memory found: bars, cpu and wall seconds, fills, hash, peak MB."""
    with TemporaryDirectory() as folder:
        found = [_child(what, folder, rows) for what in ("build", "stream", "memory")]
    return found[1], found[2]


def _child(what: str, folder: str, rows: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.streaming", what, folder, str(rows)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _build(catalog: Catalog, rows: int) -> dict[str, Any]:
    # So much is traded that our cap of a tenth of a bar's volume does not cut fills into pieces.
    market = SyntheticMarket((SYMBOL,), timeframe="1m", rows=rows, seed=1, first_price=1000.0, daily_volume=1e12)
    (result,) = catalog.write_feed(SyntheticFeed(market), origin="synthetic")
    return {"bars": result.added}


def _run(catalog: Catalog, *, streamed: bool) -> dict[str, Any]:
    """Run the reference rule without fees: a quarter of a million fees would leave nothing to trade with."""
    feed = catalog.feed([SYMBOL], "1m") if streamed else MemoryFeed(catalog.read(SYMBOL, "1m"))
    run, cpu, wall = run_ours(feed, SmaCross if streamed else SmaCrossTargets, fee=Decimal(0))
    found = {"bars": run.bars, "cpu": cpu, "wall": wall, "fills": run.fills, "hash": run.fills_hash}
    return {**found, "peak": memory("VmHWM")}


def main(what: str, folder: str, rows: str) -> None:
    catalog = Catalog(folder)
    found = _build(catalog, int(rows)) if what == "build" else _run(catalog, streamed=what == "stream")
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
