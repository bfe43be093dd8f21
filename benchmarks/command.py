"""The command line of the benchmark."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.rows import Found, markdown, plain
from benchmarks.works import QUICK, SLOW, WORKS, Size, Work


def main(arguments: Sequence[str], works: Mapping[str, Work] = WORKS) -> int:
    """Run what was asked for, print the tables, and return 1 if anything that must be equal is not."""
    wanted = _parser().parse_args(arguments)
    size = _sized(QUICK if wanted.quick else Size(), wanted.bars)
    found = Found()
    for name, work in works.items():
        if name in wanted.only if wanted.only else not (wanted.quick and name in SLOW):
            print(f"{name} …", file=sys.stderr, flush=True)
            found += work(size)
    if wanted.json is not None:
        text = json.dumps([row.as_json() for row in found.rows], indent=2, ensure_ascii=False)
        wanted.json.write_text(text + "\n", "utf-8")
    print((markdown if wanted.markdown else plain)(found))
    return 0 if all(row.equal for row in found.rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/engine.py", description="The engine's speed beside its peers.")
    add = parser.add_argument
    add("--json", type=Path, metavar="PATH", help="write the rows to a file: work, ours, peer, ratio, target, equal …")
    add("--markdown", action="store_true", help="print Markdown, as docs/performance.md has it")
    add("--quick", action="store_true", help="a tenth of the work, without the long stream; not for the record")
    add("--only", action="append", choices=list(WORKS), metavar="NAME", help=f"{', '.join(WORKS)}; may be repeated")
    add("--bars", type=int, metavar="N", help="so many bars of the reference, the rest in proportion, one round")
    return parser


def _sized(size: Size, bars: int | None) -> Size:
    """Return the work scaled to so many bars of the reference, one round of each."""
    if bars is None or bars >= size.bars:
        return size
    scale = bars / size.bars
    return replace(
        size,
        bars=bars,
        backtrader_bars=min(bars, size.backtrader_bars),
        instants=max(int(size.instants * scale), 60),
        trades=tuple(2 * max(int(count * scale / 2), 5 + place) for place, count in enumerate(size.trades)),
        trade_bars=max(int(size.trade_bars * scale), 200),
        stream_bars=max(int(size.stream_bars * scale), 1000),
        rounds=1,
        heavy_rounds=1,
    )
