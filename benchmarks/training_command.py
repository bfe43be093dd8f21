"""The command line of the training benchmarks."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import training_epochs, training_gpu, training_krnn, training_tft
from benchmarks.rows import Found, markdown, plain

LIBRARIES = ("torch", "numpy", "lightning-fabric")
WORKS = {
    "krnn": training_krnn.works, "tft": training_tft.works, "epochs": training_epochs.works, "gpu": training_gpu.works,
}


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for, print the table, and return 1 if anything that must be equal is not."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(prog="benchmarks/training.py", description="The speed of training.")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the rows: work, ours, peer, ratio, target …")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, as docs/training.md has it")
    parser.add_argument("--quick", action="store_true", help="shrunken, in seconds; not for the record")
    parser.add_argument("--only", action="append", choices=tuple(WORKS), metavar="NAME", help="may be repeated")
    parser.add_argument("--peers", type=Path, metavar="VENV", help="a virtual environment with pytorch-forecasting")
    wanted = parser.parse_args(arguments)
    found = Found()
    for name in wanted.only or WORKS:
        print(f"{name} …", file=sys.stderr, flush=True)
        of_peers = {"peers": wanted.peers} if name == "tft" else {}
        found += WORKS[name](is_quick=wanted.quick, **of_peers)
    if wanted.json is not None:
        text = json.dumps([row.as_json() for row in found.rows], indent=2, ensure_ascii=False)
        wanted.json.write_text(text + "\n", "utf-8")
    print((markdown if wanted.markdown else plain)(found, LIBRARIES))
    return 0 if all(row.equal for row in found.rows) else 1
