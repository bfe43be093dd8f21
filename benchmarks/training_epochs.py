"""Epochs a minute of the documented example configurations, data, judging and checkpoints included."""

import json
import tempfile
from pathlib import Path

from benchmarks.measuring import Stopwatch
from benchmarks.rows import Found, Row
from config.settings import ROOT
from config.training import run_training
from config.training_settings import load_training

_EXAMPLES = ROOT / "config" / "examples" / "training"
_RUNS = (
    ("krnn", "krnn.toml", ""), ("kronos-tokenizer", "kronos_tokenizer.toml", ""),
    ("kronos", "kronos.toml", "kronos.tokenizer"), ("price", "price.toml", ""),
    ("position", "position.toml", "position.price"),
)


def works(*, is_quick: bool) -> Found:
    """Return a row for each network; two runs of one must come out equal."""
    rows, before = [], Path()
    with tempfile.TemporaryDirectory() as folder:
        for kind, file, needs in _RUNS:
            changes = [f"train.folder={folder}", "log.tensorboard=false", "train.patience=0"]
            changes += [f"{needs}={before}"] if needs else []
            changes += ["data.bars=400", "train.epochs=1"] if is_quick else []
            settings = load_training(_EXAMPLES / file, changes)
            hashes, best = [], 0.0
            for _ in range(2):
                with Stopwatch() as watch:
                    done = run_training(kind, settings)
                hashes.append(_weights(done.artefact))
                best = max(best, 60 * done.epochs / watch.cpu)
            before = done.artefact
            rows.append(Row(
                f"{kind}, config/examples/training/{file}", best, None, None, None, hashes[0] == hashes[1],
                "epochs/min", None, "two runs leave the same weights",
            ))
    return Found(rows)


def _weights(artefact: Path) -> str:
    return str(json.loads((artefact / "artefact.json").read_text("utf-8"))["tensors"]["model"])
