"""The command line of the model benchmarks."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.models_size import QUICK, Size, Work
from benchmarks.rows import Found, markdown, plain

WORKS = ("kronos", "krnn", "tft", "position", "backtest")
LIBRARIES = ("torch", "numpy")


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for, print the table, and return 1 if anything that must be equal is not."""
    torch.set_num_threads(1)
    wanted = _parser().parse_args(arguments)
    size = replace(QUICK if wanted.quick else Size(), full=wanted.full, peers=wanted.peers)
    found = Found()
    for name in wanted.only or WORKS:
        work = work_of(name)
        if work is None:
            print(f"{name}: benchmarks/models_{name}.py is not there", file=sys.stderr, flush=True)
            continue
        print(f"{name} …", file=sys.stderr, flush=True)
        found += work(size)
    if wanted.json is not None:
        text = json.dumps([row.as_json() for row in found.rows], indent=2, ensure_ascii=False)
        wanted.json.write_text(text + "\n", "utf-8")
    print((markdown if wanted.markdown else plain)(found, LIBRARIES))
    return 0 if all(row.equal for row in found.rows) else 1


def work_of(name: str) -> Work | None:
    """Return `works` of benchmarks/models_<name>.py; None: there is no such file."""
    module = f"benchmarks.models_{name}"
    if find_spec(module) is None:
        return None
    work: Work = import_module(module).works
    return work


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/models.py", description="The networks' speed beside their peers.")
    add = parser.add_argument
    add("--json", type=Path, metavar="PATH", help="write the rows to a file: work, ours, peer, ratio, target, equal …")
    add("--markdown", action="store_true", help="print Markdown, as docs/models/index.md has it")
    add("--quick", action="store_true", help="shrunken networks, in seconds; not for the record")
    add("--only", action="append", choices=WORKS, metavar="NAME", help=f"{', '.join(WORKS)}; may be repeated")
    add("--full", action="store_true", help="run Kronos' naive loop whole instead of a few of its steps: half an hour")
    add("--peers", type=Path, metavar="VENV", help="a virtual environment with pyqlib or pytorch-forecasting")
    return parser
