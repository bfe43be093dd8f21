"""`retrain = "30d"`: a model is trained again as a backtest goes, each time on what was known by then.

Every training is a process of its own (`main.py train`), before the run begins; the run then sees a succession of
models that take over between bars. A training that was made before, with the same settings, is taken from its folder.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

from config.data import feed_of
from config.settings import ROOT, CatalogData, FileData, ModelSettings, Settings, SyntheticData
from config.training_settings import TrainingSettings, load_training
from engine.bars import Timeframe, iso, utc
from engine.errors import PluginError, SettingsError
from engine.forecasts import Forecaster

FOLDER = "retrained"
"""Beside the artefact that is trained again: in its run's folder."""
KINDS = {"krnn": "krnn", "kronos": "kronos", "price_transformer": "price", "tft": "tft"}
"""What trains an artefact of each architecture."""


def succession(name: str, described: ModelSettings, settings: Settings, first: Forecaster) -> Forecaster:
    """Return a model with those that take over from it during a run.

    Args:
        first: the artefact's own; it answers until the first retraining.
    Raises:
        SettingsError: it does not say until when it was trained, or the settings are no backtest's.
        PluginError: a training failed.
    """
    from models.artefact import read_card
    from models.forecasters import load_forecaster
    from models.succession import Succession, Version

    assert described.artefact is not None
    assert described.training is not None
    card = read_card(described.artefact)
    kind, began = KINDS.get(card["architecture"]), first.spec.trained_until
    if kind is None or began is None:
        raise SettingsError(
            f"models.{name}.retrain: {described.artefact} is a {card['architecture']} trained until an unknown time; "
            f"expected an artefact that `train` made, of {', '.join(KINDS)}"
        )
    training = load_training(described.training)
    made = [
        (time, _trained(name, kind, described, training, time))
        for time in retraining_times(settings, name, described, began)
    ]
    versions = [Version(began, first)]
    for time, folder in made:
        one = load_forecaster(
            name, folder, timeframe=first.spec.timeframe, device=described.device, options=described.options
        )
        if one.spec.trained_until != time:
            raise PluginError(
                f"models.{name}.retrain: trained until {iso(one.spec.trained_until or 0)}, not until {iso(time)}; let "
                f"{described.training} read bars up to then"
            )
        versions.append(Version(time, one))
    _prune(described.artefact.parent / FOLDER, [folder for _, folder in made], described.retrain_keep)
    return Succession(versions)


def retraining_times(settings: Settings, name: str, described: ModelSettings, began: int) -> list[int]:
    """Return when the model is trained again, UTC ns: every so often after it was trained, from the last time before
    the run on, until the run's end.

    Raises:
        SettingsError: the data have no known end: a live session.
    """
    assert described.retrain is not None
    if not isinstance(settings.data, SyntheticData | CatalogData | FileData):
        raise SettingsError(
            f"models.{name}.retrain is for backtests; for a session train again, and begin it with the new artefact"
        )
    first, last = None, 0
    for chunk in feed_of(settings.data, settings.run.seed).chunks():
        first = int(chunk.close_time[0]) if first is None else first
        last = int(chunk.close_time[-1])
    step = Timeframe.parse(described.retrain).duration
    times = list(range(began + step, last, step))
    return [time for time in times if first is None or time + step > first]


def _trained(name: str, kind: str, described: ModelSettings, training: TrainingSettings, time: int) -> Path:
    """Return the artefact trained until a time, made now if it is not there.

    Raises:
        PluginError: the training failed, with what it said.
    """
    end = utc(time)
    changes = [f"split.end={end.isoformat()}", f"split.valid={(end - _judged(training)).isoformat()}"]
    text = json.dumps([kind, training.model_dump(mode="json"), changes], sort_keys=True)
    assert described.artefact is not None
    folder = described.artefact.parent / FOLDER / hashlib.sha256(text.encode()).hexdigest()[:16]
    if (found := _artefact_in(folder)) is not None:
        return found
    shutil.rmtree(folder, ignore_errors=True)
    changes += [f"train.folder={json.dumps(str(folder))}", f"train.name={json.dumps(f'{name}-{end:%Y-%m-%d}')}"]
    options = [part for change in changes for part in ("--set", change)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "train", kind, str(described.training), *options],
        capture_output=True, text=True, check=False,
    )
    found = _artefact_in(folder)
    if done.returncode or found is None:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise PluginError(f"models.{name}.retrain until {iso(time)} failed: {said}")
    return found


def _judged(training: TrainingSettings) -> timedelta:
    """Return how long the end of each training is kept for judging: as long as the settings have it.

    Raises:
        SettingsError: they have shares, which of a growing span say nothing.
    """
    valid, end = training.split.valid, training.split.end
    if not isinstance(valid, datetime) or not isinstance(end, datetime):
        raise SettingsError("retrain needs split.valid and split.end as times: their distance is kept for judging")
    return end - valid


def _artefact_in(folder: Path) -> Path | None:
    found = sorted(folder.glob("*/artefact/artefact.json"))
    return found[-1].parent if found else None


def _prune(folder: Path, used: list[Path], keep: int) -> None:
    """Drop the oldest trainings below a folder beyond so many; those that this run uses stay."""
    kept = {path.parent.parent for path in used}
    others = [path for path in folder.glob("*") if path.is_dir() and path not in kept]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[max(keep - len(kept), 0) :]:
        shutil.rmtree(path, ignore_errors=True)
