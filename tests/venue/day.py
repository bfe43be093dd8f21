"""A day of paper trading in a few minutes: is a bar missed or doubled, and does memory grow?

    python -m tests.venue.day [--hours 24] [--speed 360] [--faults] [--folder runs/paper-day]

The loopback venue plays a market `speed` times as fast as the clock; a session of `main.py paper` trades on it in a
process of its own, whose memory is looked at every second. Then its journal is read: every bar once and in order; the
recorded session runs again to equality. With --faults the venue drops connections, stalls and answers nonsense, by
a seeded schedule. Ends with status 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from config.replaying import replay
from engine.bars import MINUTE, iso
from engine.journal.lineage import load_run, unresolved_fills
from engine.journal.sql import SqlJournal
from tests.venue.demo import ROOT, settings_of, venue

FAULTS = (
    "ws_drop:watch_*:0.0005", "html:fetch_ohlcv:0.02", "server_error:fetch_*:0.02", "late_candle:watch_ohlcv:0.01",
)
SETTINGS = (
    "live.late_after=1h", "live.feed.grace_seconds=60", "live.feed.deadline_seconds=300", "live.feed.late_seconds=600",
    "live.feed.stale_after=3600", "live.reconcile_every=1m", "risk={}",
)


def memory_of(process: subprocess.Popen[bytes]) -> float:
    """Return the resident memory of a process, MiB; 0 once it is gone."""
    try:
        line = next(
            line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return 0.0
    return int(line.split()[1]) / 1024


def slope(samples: Sequence[tuple[float, float]], speed: float) -> float:
    """Return by how many MiB memory grows in an hour of the market, over the last three quarters of the samples."""
    late = np.array(samples[len(samples) // 4 :])
    return float(np.polyfit(late[:, 0] * speed / 3600, late[:, 1], 1)[0]) if len(late) > 2 else 0.0


def main() -> int:
    """Run a day."""
    parser = argparse.ArgumentParser(description="A day of paper trading in a few minutes.")
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--speed", type=float, default=360)
    parser.add_argument("--faults", action="store_true", help="let the venue break now and then")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "paper-day")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("journal*"):
        old.unlink()
    samples: list[tuple[float, float]] = []
    wall = asked.hours * 3600 / asked.speed
    with venue(asked.speed, wall + 120, faults=FAULTS if asked.faults else ()) as url:
        (folder / "paper.toml").write_text(settings_of(url), "utf-8")
        command = [sys.executable, "main.py", "paper", str(folder / "paper.toml"), "--plain", "--for",
                   f"{round(asked.hours * 3600)}s", *(part for one in SETTINGS for part in ("--set", one))]
        process = subprocess.Popen(command, cwd=ROOT)
        began = time.monotonic()
        while process.poll() is None:
            time.sleep(1.0)
            if memory := memory_of(process):
                samples.append((time.monotonic() - began, memory))
    return 1 if _faults_found(folder, samples, asked.speed) or process.returncode else 0


def _faults_found(folder: Path, samples: Sequence[tuple[float, float]], speed: float) -> int:
    with SqlJournal(folder / "journal.db") as journal:
        record, came = load_run(journal), replay(journal, None)
        unresolved = unresolved_fills(journal)
    bars = [json.loads(row.body) for row in record.session_inputs if row.kind == "bars_closed"]
    times = [bar["time"] for bar in bars]
    steps = np.diff(times)
    missed, doubled = int((steps > MINUTE).sum()), int((steps <= 0).sum())
    feed = sum(row.kind == "feed_told" for row in record.session_inputs)
    found = {
        "bars": len(times), "from": iso(times[0]), "to": iso(times[-1]), "missed": missed, "doubled": doubled,
        "told of the feed": feed, "orders": len(record.orders), "fills": len(record.fills),
        "fills without a decision": len(unresolved), "inputs": len(record.session_inputs),
        "replay": "the same" if came.is_same else str(came.divergence),
        "memory at a quarter, MiB": round(samples[len(samples) // 4][1], 1),
        "memory at the end, MiB": round(samples[-1][1], 1),
        "growth, MiB an hour of market": round(slope(samples, speed), 3),
    }
    for name, value in found.items():
        sys.stdout.write(f"{name:<32} {value}\n")
    return missed + doubled + len(unresolved) + (not came.is_same)


if __name__ == "__main__":
    sys.exit(main())
