"""`retrain = "30d"` in a live session: models are trained again beside it, and take over between bars.

A training is a process of its own, niced; a thread waits for it and loads what it has made, so that the session's
thread only takes the finished model. That one takes over is an input, recorded before it takes effect: what decides is
then in the record. A training that fails or does not end is told, and the session goes on with the model that it has.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from config.retraining import (
    Training,
    Watch,
    check_donors,
    check_no_head_reads,
    judged,
    trained,
    trained_as,
    training_until,
)
from config.settings import ModelSettings, Settings
from config.training_settings import TrainingSettings, load_training
from engine.bars import Timeframe, iso
from engine.errors import EngineError, PluginError
from engine.forecasts import Forecaster, check_alike
from engine.live.core import LiveCore
from engine.live.inputs import Input, ModelSwapped, TrainingTold
from engine.live.session import Checkpoint

FOLDER = "models"
"""Beside the journal: trainings, by session and model."""
NICE = 10
"""How far a training steps back for others."""
AGAIN = 10
"""A training that failed is begun again after this part of the time between two of them."""


class Artefacts:
    """Loads the artefacts that take over in a session.

    Args:
        timeframe: of the bars, for artefacts that say none.
    """

    def __init__(self, settings: Settings, timeframe: str) -> None:
        self._settings = settings
        self._timeframe = timeframe
        self._ahead: dict[tuple[str, str], Forecaster] = {}

    def __call__(self, model: str, artefact: str, hash: str) -> Forecaster:
        """Return a model that takes over, loaded now if it was not ahead.

        Raises:
            PluginError: the artefact is not there any more, or is another.
        """
        ready = self._ahead.pop((model, hash), None)
        if ready is not None:
            return ready
        way_out = "put it back there: without it the session neither goes on nor comes about again"
        try:
            found, forecaster = self._loaded(model, Path(artefact))
        except PluginError as exc:
            raise PluginError(
                f"the session swapped {model} for the artefact {hash[:12]} in {artefact}, which cannot be loaded "
                f"({exc}); {way_out}"
            ) from exc
        if found != hash:
            raise PluginError(
                f"the session swapped {model} for the artefact {hash[:12]} in {artefact}, where {found[:12]} is now; "
                f"{way_out}"
            )
        return forecaster

    def ahead(self, model: str, artefact: Path) -> tuple[str, Forecaster]:
        """Load a model, in any thread, for when it takes over; return the hash of its artefact, and the model."""
        hash, forecaster = self._loaded(model, artefact)
        self._ahead[model, hash] = forecaster
        return hash, forecaster

    def _loaded(self, model: str, artefact: Path) -> tuple[str, Forecaster]:
        from models.artefact import load_artefact
        from models.forecasters import load_forecaster

        described = self._settings.models[model]
        loaded = load_artefact(artefact)
        forecaster = load_forecaster(
            model, artefact, timeframe=described.timeframe or loaded.card.timeframe or self._timeframe,
            device=described.device, options=described.options,
        )
        return loaded.hash, forecaster


@dataclass(frozen=True)
class Retrained:
    """A model that is trained again.

    Args:
        began: until when the artefact of the settings was trained; step: between two trainings. UTC ns.
    """

    name: str
    described: ModelSettings
    training: TrainingSettings
    kind: str
    began: int
    step: int

    def due(self, now: int) -> int | None:
        """Return the last time by now for which it is to be trained; None if there is none yet."""
        count = (now - self.began) // self.step
        return self.began + count * self.step if count > 0 else None


def retrained_models(settings: Settings) -> tuple[Retrained, ...]:
    """Return the models that settings have trained again.

    Raises:
        SettingsError, PluginError: one that cannot be, before the session begins.
    """
    found = []
    for name, described in settings.models.items():
        if described.retrain is not None and described.training is not None:
            kind, began = trained_as(name, described)
            training = load_training(described.training)
            judged(training)
            check_no_head_reads(name, described, settings)
            check_donors(name, kind, described, training)
            step = Timeframe.parse(described.retrain).duration
            found.append(Retrained(name, described, training, kind, began, step))
    return tuple(found)


class Done(NamedTuple):
    """What came of a training: a model, loaded, or what went wrong."""

    artefact: Path | None = None
    hash: str = ""
    forecaster: Forecaster | None = None
    error: str = ""


class Running:
    """A training under way, and the thread that waits for it."""

    def __init__(self, of: Retrained, training: Training, artefacts: Artefacts) -> None:
        self.of, self.training = of, training
        self._artefacts = artefacts
        self._stop = Event()
        self._done: Done | None = None
        self._thread = Thread(target=self._work, name=f"training of {of.name}", daemon=True)
        self._thread.start()

    def poll(self) -> Done | None:
        """Return what came of it; None while it goes on."""
        if self._thread.is_alive():
            return None
        return self._done or Done(error=f"models.{self.of.name}.retrain: it could not be waited for")

    def close(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(30)

    def _work(self) -> None:
        within = Timeframe.parse(self.of.described.retrain_within).duration / 1e9
        try:
            artefact = trained(self.training, Watch(within, NICE, self._stop))
            self._done = Done(artefact, *self._artefacts.ahead(self.of.name, artefact))
        except (EngineError, OSError) as exc:
            self._done = Done(error=str(exc))


class Trainer:
    """Trains the models of one session.

    Args:
        folder: where its trainings lie. now: our clock, UTC ns.
        checkpoint: told where it is; a test kills the process there.
    """

    def __init__(
        self, models: Sequence[Retrained], core: LiveCore, artefacts: Artefacts, folder: Path, *,
        now: Callable[[], int], checkpoint: Checkpoint = lambda place: None,
    ) -> None:
        asked = core.running.book.models if core.running.book is not None else ()
        self._models = [model for model in models if model.name in asked]
        self._core = core
        self._artefacts = artefacts
        self._folder = folder
        self._now = now
        self._checkpoint = checkpoint
        self._running: Running | None = None
        self._failed: dict[str, int] = {}
        """When the last training of a model failed, in the market's time."""

    def look(self) -> list[Input]:
        """Begin what is due and take what is done; return what the session is told of it. Nothing is waited for."""
        moment = self._core.running.moment.time
        if self._running is not None:
            done = self._running.poll()
            return [] if done is None else self._taken(self._running, done, moment)
        if not self._core.has_traded:
            return []
        for model in self._models:
            due = model.due(moment)
            if due is not None and due > self._swapped(model.name) and self._may_begin(model, moment):
                below = self._folder / model.name
                training = training_until(model.name, model.kind, model.described, model.training, due, below)
                self._running = Running(model, training, self._artefacts)
                return [self._told(model, "info", f"training until {iso(due)} begins ({training.folder})")]
        return []

    def close(self) -> None:
        """End a training that goes on; it is begun again when the session is gone on with."""
        if self._running is not None:
            self._running.close()

    def _swapped(self, name: str) -> int:
        """Return for when the model that answers was trained; 0 for that of the settings."""
        return max((swap.due for swap in self._core.swaps if swap.model == name), default=0)

    def _may_begin(self, model: Retrained, moment: int) -> bool:
        failed = self._failed.get(model.name)
        return failed is None or moment >= failed + model.step // AGAIN

    def _taken(self, running: Running, done: Done, moment: int) -> list[Input]:
        self._running = None
        model, due = running.of, running.training.time
        problem = done.error or self._unfit(model, done, due)
        if problem:
            self._failed[model.name] = moment
            return [self._told(model, "warning", f"{problem}; it goes on with the model that it has")]
        self._checkpoint("trained, before the swap")
        assert done.artefact is not None
        assert done.forecaster is not None
        until = done.forecaster.spec.trained_until
        assert until is not None
        used = [Path(swap.artefact) for swap in self._core.swaps if swap.model == model.name]
        tidy(self._folder / model.name, [*used, done.artefact], model.described.retrain_keep)
        swap = ModelSwapped(self._now(), model.name, str(done.artefact), done.hash, due, until)
        if until < due:
            words = f"the bars of {model.described.training} end {iso(until)}, before {iso(due)}: fetch newer ones"
            return [swap, self._told(model, "warning", words)]
        return [swap]

    def _unfit(self, model: Retrained, done: Done, due: int) -> str:
        """Return why a trained model cannot take over; empty if it can."""
        assert done.forecaster is not None
        book = self._core.running.book
        assert book is not None
        spec, answering = done.forecaster.spec, book.answering(model.name)
        try:
            check_alike(answering, spec)
        except PluginError as exc:
            return str(exc)
        until, before = spec.trained_until or 0, answering.trained_until or 0
        if not before < until <= due:
            return (
                f"models.{model.name}.retrain: trained until {iso(until)}; expected after {iso(before)}, which the "
                f"model that answers has seen, and up to {iso(due)}: fetch newer bars for {model.described.training}"
            )
        return ""

    def _told(self, model: Retrained, level: str, text: str) -> TrainingTold:
        return TrainingTold(self._now(), model.name, level, text)


def tidy(folder: Path, used: Sequence[Path], keep: int) -> None:
    """Keep the newest trainings of a model whole; of older ones only the artefacts that the session has used, for it
    needs them to be gone on with.

    Args:
        folder: of the model's trainings. used: artefacts. keep: how many.
    """
    trainings = sorted(
        (path for path in folder.glob("*") if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True)
    needed = {artefact.parent for artefact in used}
    for training in trainings[keep:]:
        for run in [path for path in training.glob("*") if path.is_dir()]:
            for part in run.glob("*") if run in needed else [run]:
                if part not in used:
                    shutil.rmtree(part) if part.is_dir() else part.unlink()
        if not any(run.parent == training for run in needed):
            shutil.rmtree(training)
