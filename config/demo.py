"""`main.py demo`: a small KRNN trained on the first part of a made-up market; the rest is for the backtest."""

from config.settings import ROOT
from config.terminal import errors
from config.training import TrainedRun, run_training
from config.training_progress import TrainingProgress
from config.training_settings import load_training

TRAINING = ROOT / "config" / "examples" / "training" / "demo.toml"
BACKTEST = ROOT / "config" / "examples" / "training" / "demo_backtest.toml"

LESSON = (
    "Rank IC says how well the network ranked bars that it was not trained on. The made-up market has trends of days, "
    "so there is a little to find; whether it survives the costs is what follows."
)


def train_demo() -> TrainedRun:
    """Train the demonstration's network; its folder goes below runs/."""
    settings = load_training(TRAINING)
    return run_training("krnn", settings, watchers=[TrainingProgress(errors, settings.train.name)])
