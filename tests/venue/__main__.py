"""Start the loopback venue by hand: a made-up exchange on this machine that an unmodified ccxt client can trade on.

    python -m tests.venue                                           Binance's protocol, a synthetic market, speed 1
    python -m tests.venue --venues binance,okx,bybit --speed 60     a minute of market in a second
    python -m tests.venue --data BTC/USDT=bars/BTCUSDT_1m.parquet   the bars of a file
    python -m tests.venue --fault lost_reply:create_order:0.05      five in a hundred orders lose their answer

It prints its address, and where to look at what really happened; stop it with Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from datetime import UTC, datetime

from tests.venue.accounts import account
from tests.venue.faults import KINDS, Fault
from tests.venue.server import PROTOCOLS, VenueServer
from tests.venue.sources import MarketData, from_files, synthetic


def main() -> int:
    """Serve until stopped."""
    given = _parser().parse_args()
    try:
        server = VenueServer(
            _data(given), venues=tuple(given.venues.split(",")), history=given.history, speed=given.speed,
            paused=given.paused, seed=given.seed, starts_now=given.now, limits=given.limits,
            faults=[_fault(text) for text in given.fault],
            accounts=lambda: (account(key=given.key, secret=given.secret,
                                      balances=dict(part.split("=") for part in given.balance.split(","))),),
            host=given.host, port=given.port)
    except ValueError as problem:
        _parser().error(str(problem))
    asyncio.run(_serve(server, given))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.venue", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    add("--port", type=int, default=0, help="port; 0 is any that is free")
    add("--venues", default="binance", help=f"protocols, of {', '.join(PROTOCOLS)} (binance)")
    add("--data", action="append", default=[], metavar="SYMBOL=FILE", help="play a file of bars; may be repeated")
    add("--timeframe", help="of the files' bars, where their names do not say it")
    add("--symbols", default="BTC/USDT,ETH/USDT,SOL/USDT", help="of the synthetic market")
    add("--bars", type=int, default=20_000, help="length of the synthetic market, in 1m bars (20000)")
    add("--history", type=int, default=1500, help="bars that are past at the start (1500)")
    add("--now", action="store_true", help="shift the bars so that virtual time begins now")
    add("--speed", type=float, default=1.0, help="virtual seconds in a second (1)")
    add("--paused", action="store_true", help="virtual time waits for POST /admin/clock")
    add("--limits", action="store_true", help="limit requests as the real venues do")
    add("--seed", type=int, default=0, help="of everything that is made up (0)")
    add("--key", default="key", help="the account's key (key)")
    add("--secret", default="s3cret", help="the account's secret (s3cret)")
    add("--balance", default="USDT=100000,BTC=1", help="what the account has (USDT=100000,BTC=1)")
    add("--fault", action="append", default=[], metavar="KIND[:ON[:CHANCE]]",
        help="arm a fault: its kind, ccxt's method (*), its chance in each call (1); may be repeated. Kinds: "
             + ", ".join(KINDS))
    add("--seconds", type=float, help="stop after so many seconds")
    return parser


def _data(given: argparse.Namespace) -> MarketData:
    if given.data:
        return from_files(dict(part.split("=", 1) for part in given.data), timeframe=given.timeframe)
    return synthetic(given.symbols.split(","), rows=given.bars, seed=given.seed)


def _fault(text: str) -> Fault:
    kind, on, chance = (*text.split(":"), "*", "1")[:3] if ":" in text else (text, "*", "1")
    return Fault(kind, on=on, times=None, chance=float(chance or 1))


async def _serve(server: VenueServer, given: argparse.Namespace) -> None:
    async with server:
        starts = datetime.fromtimestamp(server.clock.now / 1000, UTC)
        sys.stdout.write(
            f"The loopback venue listens at {server.url}\n"
            f"  protocols  {', '.join(f'{server.url}/{venue}' for venue in server.exchanges)}\n"
            f"  truth      {server.url}/admin/state (also orders, fills, balances, positions, faults)\n"
            f"  account    key {given.key}, secret {given.secret}\n"
            f"  market     {', '.join(server.exchange.markets)} from {starts:%Y-%m-%d %H:%M} UTC, "
            f"{'paused' if given.paused else f'{given.speed:g} times as fast as the clock'}, seed {given.seed}\n")
        sys.stdout.flush()
        stopped = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stopped.set)
        try:
            await asyncio.wait_for(stopped.wait(), given.seconds)
        except TimeoutError:
            sys.stdout.write(f"Stopped after {given.seconds:g} seconds\n")


if __name__ == "__main__":
    raise SystemExit(main())
