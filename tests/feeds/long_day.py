"""A day of live bars on the loopback venue, as fast as it goes: is every bar there once, and does memory stay?

    python -m tests.feeds.long_day --minutes 1440 --seed 1

Connections are lost, messages lost, doubled and delayed, and answers are ill all the while. Ends with 1 if a bar is
missing, doubled or not the venue's.
"""

import argparse
import gc
import sys
import time
from pathlib import Path

from tests.feeds.stage import PATIENT, SYMBOLS, stage


def resident() -> float:
    """Return this process's memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.feeds.long_day")
    parser.add_argument("--minutes", type=int, default=1_440)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    began = time.monotonic()
    with stage(rows=600 + wanted.minutes + 20, seed=wanted.seed, options=PATIENT, listens=True) as made:
        made.venue.faults.schedule(
            {"ws_drop": 0.002, "ws_gap": 0.02, "ws_duplicate": 0.02, "ws_delay": 0.01, "late_candle": 0.02},
            on="watch_ohlcv")
        made.venue.faults.schedule({"html": 0.05, "truncated": 0.05, "overloaded": 0.02}, on="fetch_ohlcv")
        sizes = []
        for hour in range(wanted.minutes // 60):
            made.minutes(60)
            made.trades.clear()
            made.books.clear()
            gc.collect()
            sizes.append(resident())
            sys.stdout.write(f"hour {hour + 1}: {sizes[-1]:.0f} MB, {len(made.closed)} instants, "
                             f"{made.feed.states()[0].reconnects} lost connections\n")
            sys.stdout.flush()
        try:
            made.check_equal_to_truth()
            is_equal = made.told("gap", "revised") == []
        except AssertionError as problem:
            is_equal = False
            sys.stdout.write(f"{problem}\n")
        state = made.feed.states()[0]
    half = sizes[len(sizes) // 2 :]
    slope = (half[-1] - half[0]) / max(len(half) - 1, 1)
    sys.stdout.write(
        f"{wanted.minutes} minutes of {len(SYMBOLS)} symbols in {time.monotonic() - began:.0f} s, seed {wanted.seed}: "
        f"{'every bar once, as the venue has it' if is_equal else 'BARS DIFFER'}; {state.reconnects} lost connections, "
        f"{state.failed} ill answers; memory {slope:+.2f} MB an hour in the second half\n")
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
