"""Every plan on long real series, at two fees, in us and in the peers: the tables of docs/differential.md.

    python -m tests.oracle.long_sweep                         everything: about half an hour on one core
    python -m tests.oracle.long_sweep --series BTC --plan parts
    python -m tests.oracle.long_sweep --write --workers 2     everything, and rewrite the tables of the docs

It ends with 1 if a trade or a bar's equity differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from feeds.files import read_bars
from tests.oracle.long_engines import compare
from tests.oracle.long_peers import PEERS, NotExpressible
from tests.oracle.long_plans import PLANS, Series, series_of

ROOT = Path(__file__).resolve().parents[2]
MARKET = ROOT.parent / "shared" / "market"
PAGE = ROOT / "docs" / "differential.md"
FEES = (Decimal(0), Decimal("0.0005"))
SERIES = (
    "binance_spot_5m/BTCUSDT_5m", "binance_spot_5m/DOGEUSDT_5m",
    "binance_spot_1h_long/BTCUSDT_1h", "binance_spot_1h_panel/ETHUSDT_1h", "binance_spot_1h_panel/NOTUSDT_1h",
    "binance_spot_1h_panel/SHIBUSDT_1h", "binance_perp_1m/BTCUSDT-PERP_1m",
    "us_equity_1d_panel/AAPL_1d", "us_equity_1d_panel/AMZN_1d", "us_equity_1d_panel/FB_1d",
    "us_equity_1d_panel/AGFS_1d", "us_equity_1d_panel/GE_1d", "lean_us_equity_1d/SPY_1d", "lean_us_equity_1h/SPY_1h",
    "ashare_sse50_1h_panel/600000_1h", "ashare_sse50_1h_panel/600028_1h", "ashare_sse50_1h_panel/600030_1h",
    "fx/EURUSD_1h", "freqtrade_testdata/TRXBTC_5m",
)
"""Files below shared/market, which is kept beside the repository: folder, symbol and timeframe."""


@dataclass
class Tally:
    """What comparisons found. Trades are fills, those of one bar, side and price counted as one."""

    runs: int = 0
    trades: int = 0
    equal: int = 0
    worst: float = 0.0

    def add(self, other: Tally) -> None:
        self.runs += other.runs
        self.trades += other.trades
        self.equal += other.equal
        self.worst = max(self.worst, other.worst)

    def __str__(self) -> str:
        if not self.runs:
            return "–"
        differing = "" if self.equal == self.trades else f", **{self.trades - self.equal} differ**"
        return f"{self.trades:,}{differing}; {self.worst:.0e}"


Found = dict[tuple[str, str, str], Tally]
"""By series, plan and peer, over both fees."""


def tally(series: Series, plan: str, peer: str, label: str) -> Tally:
    """Compare at both fees. After a first difference every later trade counts as differing: the books have parted."""
    found = Tally()
    for fee in FEES:
        try:
            result = compare(series, plan, fee, peer)
        except NotExpressible:
            return found
        first = max(len(result.ours), len(result.theirs)) if result.first is None else result.first
        found.add(Tally(1, max(len(result.ours), len(result.theirs)), first, result.worst))
        if not result.is_equal:
            sys.stdout.write(f"{label} {plan} {peer} at a fee of {fee}: {result}\n")
    return found


def sweep(name: str, plans: Sequence[str]) -> Found:
    """Compare on one series."""
    series = series_of(read_bars(MARKET / f"{name}.parquet"))
    label = name.split("/")[1].replace("_", " ")
    found: Found = {}
    for plan in plans:
        for peer in PEERS:
            found[label, plan, peer] = tally(series, plan, peer, label)
        cells = " | ".join(f"{peer} {found[label, plan, peer]}" for peer in PEERS)
        sys.stdout.write(f"{label} {plan}: {cells}\n")
        sys.stdout.flush()
    return found


def table(found: Found, column: int, head: str) -> list[str]:
    """Return a Markdown table with a row for each series (column 0) or plan (column 1)."""
    rows: dict[str, dict[str, Tally]] = {}
    for key, one in found.items():
        rows.setdefault(key[column], {peer: Tally() for peer in PEERS})[key[2]].add(one)
    everything = {peer: Tally() for peer in PEERS}
    for cells in rows.values():
        for peer, one in cells.items():
            everything[peer].add(one)
    lines = [f"| {head} | {' | '.join(PEERS)} |", "|---" * (len(PEERS) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(map(str, cells.values()))} |" for name, cells in rows.items()]
    return [*lines, f"| all | {' | '.join(map(str, everything.values()))} |"]


def full_table(found: Found) -> list[str]:
    """Return a Markdown table with a row for each series and plan."""
    pairs = dict.fromkeys(key[:2] for key in found)
    lines = [f"| series | strategy | {' | '.join(PEERS)} |", "|---" * (len(PEERS) + 2) + "|"]
    return lines + [f"| {series} | {plan} | {' | '.join(str(found[series, plan, peer]) for peer in PEERS)} |"
                    for series, plan in pairs]


def rewrite(page: Path, found: Found) -> None:
    """Put the tables between the page's marks."""
    text = page.read_text("utf-8")
    for mark, lines in (("series", table(found, 0, "series")), ("strategies", table(found, 1, "strategy")),
                        ("everything", full_table(found))):
        begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
        before, rest = text.split(begin, 1)
        text = before + begin + "\n".join(lines) + "\n" + end + rest.split(end, 1)[1]
    page.write_text(text, "utf-8")


def main() -> int:
    """Compare, print the figures and the first differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", default="", help="only series whose name holds this")
    parser.add_argument("--plan", choices=PLANS, action="append", help="only these plans")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with a series of its own")
    parser.add_argument("--write", action="store_true", help="rewrite the tables of docs/differential.md")
    given = parser.parse_args()
    names = [name for name in SERIES if given.series in name]
    if missing := [name for name in names if not (MARKET / f"{name}.parquet").exists()]:
        parser.error(f"{MARKET / missing[0]}.parquet is not there: market data are kept beside the repository")
    found: Found = {}
    with ProcessPoolExecutor(given.workers) as pool:
        for part in pool.map(sweep, names, [tuple(given.plan or PLANS)] * len(names)):
            found |= part
    sys.stdout.writelines(f"{line}\n" for line in (*table(found, 0, "series"), "", *table(found, 1, "strategy")))
    if given.write:
        rewrite(PAGE, found)
    return 1 if any(one.equal != one.trades or one.worst > 1e-9 for one in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
