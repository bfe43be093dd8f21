"""`retrain = "30d"`: a model is trained again as a run goes, each time on what was known by then.

Every training is a process of its own (`main.py train`). A backtest's come before the run begins; the run then sees a
succession of models that take over between bars. A session's run beside it: config.session_training. A training that
was made before, with the same settings, is taken from its folder.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time as wall_time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import IO

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
LOG, LOCK = "train.log", ".lock"
LOOK_SECONDS = 0.2
"""Between two looks at a training's process."""


@dataclass(frozen=True)
class Training:
    """One training, until a time (UTC ns), as a process of its own in a folder of its own.

    Args:
        command: a program and its arguments.
    """

    model: str
    time: int
    folder: Path
    command: tuple[str, ...]

    @property
    def found(self) -> Path | None:
        """The artefact that it has made; None if there is none yet."""
        made = sorted(self.folder.glob("*/artefact/artefact.json"))
        return made[-1].parent if made else None


@dataclass(frozen=True)
class Watch:
    """How a training's process is watched.

    Args:
        within: seconds after which it is ended; None waits for ever. nice: how far it steps back for others, 0 … 19.
        stop: set by another thread when the training is not wanted any more.
    """

    within: float | None = None
    nice: int = 0
    stop: Event = field(default_factory=Event)


def succession(name: str, described: ModelSettings, settings: Settings, first: Forecaster) -> Forecaster:
    """Return a model with those that take over from it during a backtest.

    Args:
        first: the artefact's own; it answers until the first retraining.
    Raises:
        SettingsError: it does not say until when it was trained, or the data have no known end.
        PluginError: a training failed.
    """
    from models.forecasters import load_forecaster
    from models.succession import Succession, Version

    assert described.artefact is not None
    kind, began = trained_as(name, described)
    assert described.training is not None
    training = load_training(described.training)
    below = described.artefact.parent / FOLDER
    times = retraining_times(settings, name, described, began)
    check_no_head_reads(name, described, settings)
    check_donors(name, kind, described, training, times[:1])
    made = [(time, trained(training_until(name, kind, described, training, time, below))) for time in times]
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
    _prune(below, [folder for _, folder in made], described.retrain_keep)
    return Succession(versions)


def trained_as(name: str, described: ModelSettings) -> tuple[str, int]:
    """Return what trains a model's artefact, and until when it was trained, UTC ns.

    Raises:
        SettingsError: it cannot be trained again.
    """
    from models.artefact import read_card

    assert described.artefact is not None
    card = read_card(described.artefact)
    kind, began = KINDS.get(card["architecture"]), card.get("trained_until")
    if card["architecture"] == "position_head":
        raise SettingsError(
            f"models.{name} is a position head and has retrain; a head is not trained again in a run: leave it out"
        )
    if kind is None or began is None:
        raise SettingsError(
            f"models.{name}.retrain: {described.artefact} is a {card['architecture']} trained until an unknown time; "
            f"expected an artefact that `train` made, of {', '.join(KINDS)}"
        )
    return kind, int(began)


def check_no_head_reads(name: str, described: ModelSettings, settings: Settings) -> None:
    """Refuse to train a model again that a position head of the same settings reads: the head would go on with another.

    Raises:
        SettingsError: one does.
    """
    from models.artefact import load_artefact, read_card

    assert described.artefact is not None
    model = load_artefact(described.artefact)
    for head, other in settings.models.items():
        if other.artefact is None or (card := read_card(other.artefact))["architecture"] != "position_head":
            continue
        if card.get("conventions", {}).get("reads") == model.hash:
            raise SettingsError(
                f"models.{name}.retrain: models.{head} was trained on {described.artefact} and would be fed by another "
                "network after it, whose outputs mean another thing; leave retrain out, and train both again by hand"
            )


def check_donors(
    name: str, kind: str, described: ModelSettings, training: TrainingSettings, first: Sequence[int] = ()
) -> None:
    """Refuse a training that begins with, or reads, a network that may have seen what comes after it.

    Args:
        first: until when the first training is, UTC ns; without one, what the networks have seen has to be known alone.
    Raises:
        SettingsError: there is such a network.
    """
    from models.training.recipe import TrainingFacts

    given = {"kronos.tokenizer": training.kronos.tokenizer, "kronos.pretrained": training.kronos.pretrained}
    for key, source in given.items():
        if kind != "kronos" or not source:
            continue
        until, where = TrainingFacts.read(Path(source)).trained_until, f"{key} {source} of {described.training}"
        if until is None:
            raise SettingsError(
                f"models.{name}.retrain: nothing says until when {where} was trained, so nobody could say what a model "
                "with it has seen; expected an artefact that `train` made, of networks that it made, too"
            )
        if first and until > first[0]:
            raise SettingsError(
                f"models.{name}.retrain: {where} was trained until {iso(until)}, and the first model with it is to "
                f"know nothing after {iso(first[0])}; name one that was trained until then, or begin the run later"
            )


def retraining_times(settings: Settings, name: str, described: ModelSettings, began: int) -> list[int]:
    """Return when the model is trained again in a backtest, UTC ns: every so often after it was trained, from the last
    time before the run on, until the run's end.

    Raises:
        SettingsError: the data have no known end.
    """
    assert described.retrain is not None
    if not isinstance(settings.data, SyntheticData | CatalogData | FileData):
        raise SettingsError(
            f'models.{name}.retrain: data.source is "{settings.data.source}", whose end nobody knows; expected '
            "synthetic, catalog or files for a backtest, or venue for a session"
        )
    first, last = None, 0
    for chunk in feed_of(settings.data, settings.run.seed).chunks():
        first = int(chunk.close_time[0]) if first is None else first
        last = int(chunk.close_time[-1])
    step = Timeframe.parse(described.retrain).duration
    times = list(range(began + step, last, step))
    return [time for time in times if first is None or time + step > first]


def training_until(
    name: str, kind: str, described: ModelSettings, training: TrainingSettings, time: int, below: Path
) -> Training:
    """Return the training of a model until a time, in a folder that is that of the same settings and time alone.

    Raises:
        SettingsError: the settings of training do not say how long the end is kept for judging.
    """
    end = utc(time)
    changes = [f"split.end={end.isoformat()}", f"split.valid={(end - judged(training)).isoformat()}"]
    text = json.dumps([kind, training.model_dump(mode="json"), changes], sort_keys=True)
    folder = below / hashlib.sha256(text.encode()).hexdigest()[:16]
    changes += [f"train.folder={json.dumps(str(folder))}", f"train.name={json.dumps(f'{name}-{end:%Y-%m-%d}')}"]
    options = [part for change in changes for part in ("--set", change)]
    command = (sys.executable, str(ROOT / "main.py"), "train", kind, str(described.training), *options)
    return Training(name, time, folder, command)


def judged(training: TrainingSettings) -> timedelta:
    """Return how long the end of each training is kept for judging: as long as the settings have it.

    Raises:
        SettingsError: they have shares, which of a growing span say nothing.
    """
    valid, end = training.split.valid, training.split.end
    if not isinstance(valid, datetime) or not isinstance(end, datetime):
        raise SettingsError("retrain needs split.valid and split.end as times: their distance is kept for judging")
    return end - valid


def trained(training: Training, watch: Watch | None = None) -> Path:
    """Return the artefact of a training, made now if it is not there. One that another process makes at this moment is
    waited for.

    Raises:
        PluginError: it failed, with what it said, or was not done in time.
    """
    watch = watch or Watch()
    training.folder.mkdir(parents=True, exist_ok=True)
    began = wall_time.monotonic()
    with (training.folder / LOCK).open("w") as lock, _locked(lock, training, watch, began):
        if (found := training.found) is not None:
            return found
        log = training.folder / LOG
        with log.open("wb") as output:
            process = subprocess.Popen(
                training.command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                pass_fds=(lock.fileno(),),  # held for as long as it trains, even if we are killed
            )
        if watch.nice:
            os.setpriority(os.PRIO_PGRP, process.pid, watch.nice)
        code = _waited(process, training, watch, began)
    found = training.found
    if code or found is None:
        said = (log.read_text("utf-8", "replace").strip().splitlines() or ["nothing"])[-1].strip()
        raise PluginError(f"models.{training.model}.retrain until {iso(training.time)} failed: {said} ({log})")
    return found


def _waited(process: "subprocess.Popen[bytes]", training: Training, watch: Watch, began: float) -> int:
    try:
        while process.poll() is None:
            _go_on(training, watch, began)
        return process.returncode
    finally:
        if process.poll() is None:  # it is not wanted any more, with everything that it has started
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _go_on(training: Training, watch: Watch, began: float) -> None:
    """Wait a moment.

    Raises:
        PluginError: it has lasted too long, or is not wanted any more.
    """
    if watch.within is not None and wall_time.monotonic() - began > watch.within:
        raise _too_long(training, watch)
    if watch.stop.wait(LOOK_SECONDS):
        raise PluginError(f"models.{training.model}.retrain until {iso(training.time)} was given up")


def _too_long(training: Training, watch: Watch) -> PluginError:
    return PluginError(
        f"models.{training.model}.retrain until {iso(training.time)} was not done within {watch.within:g} s and was "
        f"ended ({training.folder / LOG}); train on less, or set models.{training.model}.retrain_within"
    )


@contextmanager
def _locked(lock: IO[str], training: Training, watch: Watch, began: float) -> Iterator[None]:
    """Have a training's folder for ourselves: a process that trains there, of another run or of one that was killed, is
    waited for."""
    if sys.platform != "win32":
        import fcntl

        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _go_on(training, watch, began)
    yield


def _prune(folder: Path, used: Sequence[Path], keep: int) -> None:
    """Drop the oldest trainings below a folder beyond so many; those that this run uses stay."""
    kept = {path.parent.parent for path in used}
    others = [path for path in folder.glob("*") if path.is_dir() and path not in kept]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[max(keep - len(kept), 0) :]:
        shutil.rmtree(path, ignore_errors=True)
