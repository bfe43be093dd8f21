"""Epochs a minute of the documented example configurations, and their memory; data, judging, checkpoints and all."""

import json
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measuring import Stopwatch, take_turns
from benchmarks.rows import Found, Row
from config.settings import ROOT
from config.training import run_training
from config.training_settings import TrainingSettings, load_training

EXAMPLES = ROOT / "config" / "examples" / "training"
RUNS = (
    ("krnn", "krnn.toml", ""), ("tft", "tft.toml", ""), ("kronos-tokenizer", "kronos_tokenizer.toml", ""),
    ("kronos", "kronos.toml", "kronos.tokenizer"), ("price", "price.toml", ""),
    ("position", "position.toml", "position.price"),
)
_CHECK = "two runs leave the same weights"


def works(*, is_quick: bool) -> Found:
    """Return two rows for each network: epochs a minute, and how far the process grew; two runs come out equal."""
    rows, before = [], Path()
    with tempfile.TemporaryDirectory() as folder:
        for kind, file, needs in RUNS:
            changes = [f"train.folder={folder}", "log.tensorboard=false", "train.patience=0"]
            changes += [f"{needs}={before}"] if needs else []
            changes += ["data.bars=400", "train.epochs=1"] if is_quick else []
            work = partial(_trained, kind, load_training(EXAMPLES / file, changes))
            turns = take_turns({"first": work, "second": work}, 1)
            artefacts = [turns[name].outcome[0] for name in ("first", "second")]
            before, epochs = turns["second"].outcome
            is_equal = _weights(artefacts[0]) == _weights(artefacts[1])
            what = f"{kind}, config/examples/training/{file}"
            rate = max(60 * epochs / turn.cpu for turn in turns.values())
            rows.append(Row(what, rate, None, None, None, is_equal, "epochs/min", None, _CHECK))
            peaks = [turn.peak for turn in turns.values() if turn.peak is not None]
            if peaks:
                rows.append(Row(f"{kind}, memory", max(peaks), None, None, None, is_equal, "MB", None, _CHECK))
    return Found(rows)


def _trained(kind: str, settings: TrainingSettings) -> tuple[tuple[Path, int], float, float]:
    with Stopwatch() as watch:
        done = run_training(kind, settings)
    return (done.artefact, done.epochs), watch.cpu, watch.wall


def _weights(artefact: Path) -> str:
    return str(json.loads((artefact / "artefact.json").read_text("utf-8"))["tensors"]["model"])
