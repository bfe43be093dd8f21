"""The fuzzer for as long as one likes: `python -m tests.fuzz.long --minutes 5`.

New cases each time (the seed is printed; `--seed` repeats them). Workers of their own, with a limit on memory, so that
a crash of the interpreter or a gigabyte too many is a finding and not the end. Ends with 1 if there is a finding.
"""

import argparse
import faulthandler
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzz import worlds
from tests.fuzz.cases import Finding

MEMORY = 6 << 30
"""Bytes of address space a worker may have; the libraries themselves map two or three GiB."""
CASES = 3_000
"""Cases of one worker."""
STUCK = 60
"""Seconds after which a case that no signal can end is ended with its worker."""


def main() -> int:
    """Run workers until the time is up, and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1_000_000)
    parser.add_argument("--only", choices=list(worlds.WORLDS), default=None)
    parser.add_argument("--worker", type=Path, default=None, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker is not None:
        _work(chosen.seed, chosen.only, chosen.worker, time.monotonic() + 60 * chosen.minutes)
        return 0
    end = time.monotonic() + 60 * chosen.minutes
    outcomes: Counter[str] = Counter()
    findings: dict[str, str] = {}
    peak, round_ = 0, 0
    print(f"seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as folder:
        while (left := end - time.monotonic()) > 0:
            log = Path(folder) / f"log{round_}"
            command = [
                sys.executable,
                "-W",
                "error",
                "-m",
                "tests.fuzz.long",
                "--worker",
                str(log),
                "--minutes",
                str(left / 60),
                "--seed",
                str(chosen.seed + round_),
                *(["--only", chosen.only] if chosen.only else []),
            ]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            peak = max(peak, _take(log, done, outcomes, findings))
            round_ += 1
    for text in findings.values():
        print(f"FINDING {text}")
    print(", ".join(f"{name}: {count:,}" for name, count in sorted(outcomes.items())))
    print(f"{sum(outcomes.values()):,} cases, {len(findings)} findings, at most {peak / 1024:,.0f} MiB resident")
    return 1 if findings else 0


def _take(log: Path, done: subprocess.CompletedProcess[str], outcomes: Counter[str], findings: dict[str, str]) -> int:
    """Take up what a worker wrote; return its peak of memory in KiB."""
    peak, last = 0, ""
    for line in log.read_text().splitlines() if log.exists() else ():
        told = json.loads(line)
        last = told.get("begins", last)
        peak = max(peak, told.get("peak", 0))
        if "outcome" in told:
            outcomes[f"{told['world']} {told['outcome']}"] += 1
        if "finding" in told:
            kind = re.sub(r"[-\d.]+|'[^']*'", "…", told["finding"].partition(" | ")[2])[:60]
            findings.setdefault(kind, told["finding"])
    if done.returncode:
        findings.setdefault(
            done.stderr[-160:], f"{last}: the worker ended with {done.returncode}: {done.stderr[-1500:]}"
        )
    return peak


def _work(seed: int, only: str | None, log: Path, end: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    random = Random(seed)
    names = [only] if only else list(worlds.WORLDS)
    with tempfile.TemporaryDirectory() as folder, log.open("w") as out:
        os.chdir(folder)
        for _ in range(CASES):
            if time.monotonic() > end:
                break
            world = random.choice(names)
            case = worlds.WORLDS[world].draw(random)
            print(json.dumps({"begins": f"{world} {case}"}), file=out, flush=True)
            faulthandler.dump_traceback_later(STUCK, exit=True)
            try:
                outcome = worlds.WORLDS[world].run(case, Path(folder))
            except Finding as finding:
                outcome = "finding"
                print(json.dumps({"finding": str(finding)}), file=out)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(json.dumps({"world": world, "outcome": outcome, "peak": peak}), file=out)
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    sys.exit(main())
