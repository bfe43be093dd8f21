"""Paper trading with no account and no network: `make paper-demo`.

    python -m tests.venue.demo [--seconds 120] [--speed 60] [--folder runs/paper-demo] [--no-kill]

Starts the loopback venue, whose market passes sixty times as fast as the clock, and a real session on it: ccxt's own
client, live bars, orders filled from the live book and prints. At half time the session's process is killed with
SIGKILL and started again. In the end the report is written and the session is run again from its journal, as a proof.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.venue.client import connect

ROOT = Path(__file__).resolve().parents[2]
SYMBOL = "BTC/USDT"

SETTINGS = """\
# A session on the loopback venue, as `make paper-demo` writes it. A real exchange needs no [data.api_urls]:
# config/examples/paper/binance.toml and its neighbours are the same file for the real ones, and need no key either.
[data]
source = "venue"
venue = "binance"
symbols = [{symbol}]
timeframe = "1m"
history = 60
market_clock = {clock}

[strategy]
name = "SmaCross"
parameters = {{ fast = 3, slow = 8 }}

[account]
cash = 10_000

[live]
broker = "paper"
late_after = "5m"               # of the market's time, which flies here
reconcile_every = "1m"
heartbeat_seconds = 1

[risk]
drawdown = {{ fraction = 0.2 }}

[journal]
url = "journal.db"

"""


def settings_of(url: str) -> str:
    """Return the settings of a session on the loopback venue at an address."""
    async def addresses() -> dict[str, Any]:
        client = connect("binance", url, key="")
        await client.close()
        return dict(client.urls["api"])

    head = SETTINGS.format(symbol=json.dumps(SYMBOL), clock=json.dumps(f"{url}/admin/state"))
    return head + _table("data.api_urls", asyncio.run(addresses()))


def _table(name: str, values: dict[str, Any]) -> str:
    lines = [f"[{name}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in values.items()
                            if not isinstance(value, dict))]
    below = [_table(f"{name}.{json.dumps(key)}", value) for key, value in values.items() if isinstance(value, dict)]
    return "\n".join(lines) + "\n\n" + "".join(below)


@contextmanager
def venue(speed: float, seconds: float, *, faults: Sequence[str] = ()) -> Iterator[str]:
    """Run the loopback venue in a process of its own; yield its address."""
    command = [sys.executable, "-m", "tests.venue", "--port", "0", "--symbols", SYMBOL, "--now", "--speed", str(speed),
               "--seconds", str(seconds), "--seed", "7", *(part for one in faults for part in ("--fault", one))]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "http://" not in line:
            raise SystemExit(f"the venue did not start: {line or 'no word from it'}")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait()


def barcast(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command of main.py, its output to the terminal."""
    return subprocess.run([sys.executable, "main.py", *words], cwd=ROOT, text=True, check=check)


def trade(file: Path, seconds: float, speed: float, *, kill: bool) -> None:
    """Trade until so many seconds have passed; in between, let the process die and go on."""
    parts = [seconds / 2, seconds / 2] if kill else [seconds]
    for number, part in enumerate(parts):
        is_killed = kill and number == 0
        span = f"{max(round(part * speed), 60)}s"
        words = [sys.executable, "main.py", "paper", str(file), *(() if is_killed else ("--for", span))]
        process = subprocess.Popen(words, cwd=ROOT)
        if is_killed:
            time.sleep(part)
            process.send_signal(signal.SIGKILL)
            process.wait()
            sys.stdout.write("\n── killed with SIGKILL; the same command goes on ──\n\n")
            sys.stdout.flush()
        elif process.wait():
            raise SystemExit(process.returncode)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="Paper trading on a venue of this machine: no account, no network.")
    parser.add_argument("--seconds", type=float, default=120, help="how long to trade (120)")
    parser.add_argument("--speed", type=float, default=60, help="market seconds in a second (60)")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "paper-demo", help="where files go")
    parser.add_argument("--no-kill", action="store_true", help="do not kill the session at half time")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("journal*"):
        old.unlink()
    with venue(asked.speed, asked.seconds + 120) as url:
        file = folder / "paper.toml"
        file.write_text(settings_of(url), "utf-8")
        sys.stdout.write(f"a made-up exchange at {url}, {asked.speed:g} times as fast as the clock\n\n")
        sys.stdout.flush()
        trade(file, asked.seconds, asked.speed, kill=not asked.no_kill)
    journal = str(folder / "journal.db")
    sys.stdout.write("\n── the proof: the recorded session, run again ──\n\n")
    sys.stdout.flush()
    barcast("replay", "1", "--journal", journal)
    barcast("report", "1", "--journal", journal, "--html", str(folder / "report.html"), check=False)
    sys.stdout.write(
        f"\n{folder / 'report.html'}  the report: open it in a browser\n"
        f"main.py why r1-1 --journal {journal}  why the first order was made\n"
        f"main.py paper config/examples/paper/binance.toml  the same on a real exchange's public data; no key\n"
    )


if __name__ == "__main__":
    main()
