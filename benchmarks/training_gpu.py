"""How busy a GPU is while each network is trained on it, and the memory that takes; nothing where there is none."""

import importlib.util
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, Thread

import torch

from benchmarks.rows import Found, Row
from benchmarks.training_epochs import EXAMPLES, RUNS
from config.training import run_training
from config.training_settings import load_training
from models.training.checkpoints import TrainingState

SECONDS = 0.1
"""Between two looks at the GPU, which says how much of the last moments it was at work."""
_CHECK = "training ends with a score that is a number"


class Looks:
    """A watcher of training that looks at the GPU from its beginning to its end, epochs' judgements included.

    Args:
        read: how busy it is now, per cent.
    """

    def __init__(self, read: Callable[[], float], seconds: float = SECONDS) -> None:
        self.found: list[float] = []
        self._read, self._seconds = read, seconds
        self._over = Event()
        self._thread = Thread(target=self._look, name="looks at the GPU", daemon=True)

    def began(self, state: TrainingState, in_epoch: int, epochs: int) -> None:
        self._thread.start()

    def stepped(
        self, state: TrainingState, loss: float, rate: float, rows: int, parts: Mapping[str, float]
    ) -> None:
        pass

    def judged(self, state: TrainingState, loss: float, rate: float, seconds: float) -> None:
        pass

    def ended(self, state: TrainingState, error: BaseException | None) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(self._seconds):
            self.found.append(self._read())


def works(*, is_quick: bool) -> Found:
    """Return two rows for each network: how busy the GPU was, and the most memory that its tensors took."""
    if not torch.cuda.is_available():
        print("no GPU here: nothing to tell", file=sys.stderr)
        return Found()
    read = utilisation()
    if read is None:
        print("the GPU does not say how busy it is (pip install nvidia-ml-py): memory alone", file=sys.stderr)
    rows: list[Row] = []
    before = Path()
    with tempfile.TemporaryDirectory() as folder:
        for kind, file, needs in RUNS:
            changes = [f"train.folder={folder}", "log.tensorboard=false", "train.patience=0", "train.device=cuda"]
            changes += [f"{needs}={before}"] if needs else []
            changes += ["data.bars=400", "train.epochs=1"] if is_quick else []
            torch.cuda.reset_peak_memory_stats()
            looks = Looks(read) if read is not None else None
            watchers = [] if looks is None else [looks]
            done = run_training(kind, load_training(EXAMPLES / file, changes), watchers=watchers)
            before = done.artefact
            is_sound = done.best is not None and math.isfinite(done.best)
            peak = torch.cuda.max_memory_allocated() / 1e6
            rows += rows_of(kind, file, [] if looks is None else looks.found, peak, is_sound=is_sound)
    return Found(rows)


def utilisation() -> Callable[[], float] | None:
    """Return what says how busy the GPU is, per cent; None where nothing does."""
    if not torch.cuda.is_available() or importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        torch.cuda.utilization()
    except (pynvml.NVMLError, RuntimeError):  # a part of a card, or a driver without the library
        return None
    return lambda: float(torch.cuda.utilization())


def rows_of(kind: str, file: str, busy: Sequence[float], peak: float, *, is_sound: bool) -> list[Row]:
    """Return a network's rows.

    Args:
        busy: per cent, at each look; empty if nothing was seen. peak: MB.
    """

    def row(work: str, value: float, unit: str) -> Row:
        return Row(work, value, None, None, None, is_sound, unit, None, _CHECK)

    made = [row(f"{kind}, GPU memory", peak, "MB")]
    if busy:
        what = f"{kind}, GPU at work while training config/examples/training/{file}, mean of {len(busy)} looks"
        made.insert(0, row(what, sum(busy) / len(busy), "%"))
    return made
