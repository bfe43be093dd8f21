"""The kill -9 matrix, or with --world the simulated world: python -m tests.chaos --seeds 1000 --first-seed 1.

A failing seed is printed and comes about again with --seeds 1 --first-seed N. The last lines are the summary that
docs/reliability.md holds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.chaos.killing import Outcome, run_seed
from tests.chaos.points import POINTS
from tests.chaos.world import World, make_template


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--world", action="store_true", help="the simulated world instead of killed processes")
    parser.add_argument("--minutes", type=float, default=600, help="stop after so long, whatever is left")
    asked = parser.parse_args()
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        template = make_template(Path(folder))
        if asked.world:
            return _world(seeds, Path(folder), template, began + 60 * asked.minutes)
        return _matrix(seeds, template, asked.workers, began + 60 * asked.minutes)


def _matrix(seeds: range, template: Path, workers: int, until: float) -> int:
    """Run seeds until they or the time are over."""
    done, killed, failed, orders = 0, Counter[int](), 0, 0
    # Spawned workers: each forks the processes that it kills from one thread alone.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        step = 4 * workers
        for first in range(0, len(seeds), step):
            if time.monotonic() > until:
                break
            part = seeds[first : first + step]
            for outcome in pool.map(run_seed, part, [template] * len(part)):
                done += 1
                orders += outcome.orders
                killed[outcome.point.number] += outcome.was_killed
                failed += _told(outcome)
            print(f"{done} seeds, {sum(killed.values())} killed, {failed} failed", flush=True)
    reached = sum(count > 0 for count in killed.values())
    print(
        f"commit {_commit()}, seeds {seeds.start} to {seeds.start + done - 1}: {sum(killed.values())} processes killed "
        f"at {reached} of {len(POINTS)} points, {orders} orders at the venue, {failed} seeds failed"
    )
    return 1 if failed else 0


def _told(outcome: Outcome) -> bool:
    for problem in outcome.problems:
        print(f"seed {outcome.seed}, point {outcome.point}: {problem}", flush=True)
    return bool(outcome.problems)


def _world(seeds: range, folder: Path, template: Path, until: float) -> int:
    deaths, failed, done = Counter[str](), 0, 0
    for seed in seeds:
        if time.monotonic() > until:
            break
        world = World(seed, folder, template=template)
        try:
            world.run()
        except AssertionError as problem:
            failed += 1
            print(problem, flush=True)
        done += 1
        deaths += world.deaths
        for path in folder.glob(f"world-{seed}.db*"):
            path.unlink()
    last = seeds.start + done - 1
    print(
        f"commit {_commit()}, seeds {seeds.start} to {last}: {sum(deaths.values())} deaths, {failed} seeds failed\n"
        f"{dict(deaths)}"
    )
    return 1 if failed else 0


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
