"""Look at the golden runs, and make what they do now what is expected of them.

    python -m tests.golden                           compare every run; ends with 1 if one differs
    python -m tests.golden --update brackets timers  rewrite two of them, and print what changed
    python -m tests.golden --update --all            rewrite all
    python -m tests.golden --hashes                  name and hashes of every run, for comparing processes
"""

from __future__ import annotations

import argparse
import sys

from tests.golden.all_runs import RUNS
from tests.golden.record import EXPECTED, Record, changes, expected, record, save


def made(name: str) -> Record:
    """Run one and return its record."""
    return record((RUNS[name].__doc__ or "").strip(), RUNS[name]())


def main() -> int:
    """Compare or rewrite."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of runs; all if none is given")
    parser.add_argument("--update", action="store_true", help="make what is found the expectation")
    parser.add_argument("--all", action="store_true", help="with --update: of every run")
    parser.add_argument("--hashes", action="store_true", help="print hashes and compare nothing")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(RUNS)):
        parser.error(f"there is no golden run {unknown[0]}; there are {', '.join(RUNS)}")
    if given.update and not given.names and not given.all:
        parser.error("--update needs the names of runs, or --all")
    EXPECTED.mkdir(exist_ok=True)
    differing = 0
    for name in given.names or RUNS:
        found = made(name)
        if given.hashes:
            sys.stdout.write(f"{name} {found['orders_hash']} {found['fills_hash']}\n")
            continue
        words = changes(expected(name), found)
        differing += bool(words)
        if words:
            sys.stdout.write(f"{name}\n" + "".join(f"  {line}\n" for line in words))
        if given.update and words:
            save(name, found)
    if not given.hashes:
        did = "rewritten" if given.update else "differ"
        sys.stdout.write(f"{len(given.names or RUNS)} golden runs, {differing} {did}\n")
    return 1 if differing and not given.update else 0


if __name__ == "__main__":
    sys.exit(main())
