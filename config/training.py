"""What `main.py train` does: settings to bars, recipe and plan; a run's folder; training; its artefact."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from config.data import bars_of, feed_of
from config.manifest import code_version
from config.recipes import ARCHITECTURES, RECIPES
from config.secrets import Redactor
from config.settings import RUNS
from config.tft_plots import TFTPlots
from config.training_settings import TrainingSettings
from config.training_stages import add_summary
from engine.bars import Timeframe, nanoseconds
from engine.clock import WallClock
from engine.errors import PluginError, SettingsError
from models.artefact import library_versions, load_artefact, read_card
from models.devices import use_threads
from models.training.data.splits import Split
from models.training.loop import Watcher, make_fabric, train
from models.training.panel import Panel
from models.training.plan import Plan
from models.training.recipe import Recipe, TrainingFacts
from models.training.records import MetricsFile, TensorBoard
from models.training.tft.recipe import TFTRecipe
from models.training.trackers import Comet, MLflow, Service, Tracker
from models.training.warm_start import WarmStart, warm_start

SETTINGS, CARD, ARTEFACT, AUDIT = "settings.json", "run.json", "artefact", "data.txt"

MAY_CHANGE = (
    "train.epochs", "train.patience", "train.keep", "train.stop_after", "train.device", "train.threads", "train.folder",
    "train.checkpoint_steps", "train.name", "log",
)
"""What a run that goes on may have other than it began with."""


@dataclass(frozen=True)
class TrainedRun:
    """A training run: its folder, the artefact, and what came of it; JSON-ready but for the paths."""

    folder: Path
    artefact: Path
    hash: str
    metric: str
    best: float | None
    best_epoch: int
    epochs: int
    steps: int
    metrics: dict[str, float]
    warm_start: str = ""
    is_finished: bool = True


def run_training(
    kind: str, settings: TrainingSettings, *, resume: str | None = None, warm: Path | None = None,
    watchers: Sequence[Watcher] = (), say: Callable[[str], None] | None = None,
) -> TrainedRun:
    """Train a network and write its artefact.

    Args:
        kind: of config.recipes.RECIPES. resume: a run's folder, or its name below the usual one. warm: an artefact to
            begin with. say: told, before training starts, what was left out of the data and why; later, what a tracking
            service does not take.
    Raises:
        SettingsError, DataError, PluginError: before the first step, if anything does not fit.
    """
    if settings.train.threads:
        use_threads(settings.train.threads)
    fabric = make_fabric(settings.train.device, settings.train.precision)
    if warm is not None:
        _check_warm_start(warm, kind)
    feed = feed_of(settings.data, settings.train.seed)
    bars = bars_of(feed)
    if bars is None:
        raise SettingsError("the data has more bars than fit into memory; train on fewer, or on longer bars")
    panel = Panel.of(bars, settings.timeframe or "", across_gaps=settings.data.calendar == "sessions")
    split = make_split(settings, panel)
    recipe, defaults = RECIPES[kind](settings, panel, split)
    plan = make_plan(settings, defaults)
    if resume is not None:
        folder = _resumed(resume, settings, kind, feed.fingerprint)
    else:
        folder = Path(fabric.broadcast(str(_new_folder(settings, kind, feed.fingerprint))))
    began: list[WarmStart] = []
    if fabric.is_global_zero:
        _tell_audit(recipe, folder, say)
        _write_card(folder, settings, kind, feed.fingerprint, warm)
        watchers = [*watchers, MetricsFile(folder), *_loggers(settings, folder, say), *_plots(settings, recipe, folder)]
    done = train(
        recipe, plan, folder, fabric=fabric, watchers=watchers, stop_after=settings.train.stop_after,
        begin=None if warm is None else lambda network: began.append(_warmed(network, recipe, warm, settings)),
    )
    facts = TrainingFacts(
        int(panel.open_time.min()), trained_until(split, panel), panel.symbols,
        f"trained here: {folder.name}", done.best.metrics,
    )
    artefact = folder / ARTEFACT
    if fabric.is_global_zero:
        recipe.export(done.network, artefact, facts)
    fabric.barrier()
    is_finished = done.state.epoch >= plan.epochs or 0 < plan.patience <= done.state.stale
    run = TrainedRun(
        folder, artefact, load_artefact(artefact).hash, recipe.goal.metric, done.best.score, done.best.epoch,
        done.state.epoch, done.state.step, done.best.metrics, str(began[0]) if began else "", is_finished,
    )
    if fabric.is_global_zero:
        line = {
            "run": folder.name, "kind": kind, "metric": run.metric, "best": run.best, "best_epoch": run.best_epoch,
            "epochs": run.epochs, "val_loss": run.metrics.get("val_loss"), "artefact": str(artefact),
            "began_with": None if warm is None else str(warm), "finished": is_finished,
        }
        add_summary(settings.train.folder, settings.train.name, WallClock().now, line)
    return run


def _tell_audit(recipe: Recipe, folder: Path, say: Callable[[str], None] | None) -> None:
    """Write what became of every row of the data, and say it."""
    if isinstance(recipe, TFTRecipe):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / AUDIT).write_text(f"{recipe.audit}\n", "utf-8")
        if say is not None:
            say(str(recipe.audit))


def _plots(settings: TrainingSettings, recipe: Recipe, folder: Path) -> list[Watcher]:
    """Return what draws the judging windows of a network of several targets."""
    if not isinstance(recipe, TFTRecipe) or not settings.tft.plots_every:
        return []
    return [TFTPlots(recipe, folder, settings.tft.plots_every)]


def make_split(settings: TrainingSettings, panel: Panel) -> Split:
    """Return which times train and which judge."""
    first, last = int(panel.open_time.min()), int(panel.close_time.max())

    def cut(value: float | datetime) -> int:
        return first + round((last - first) * value) if isinstance(value, float) else nanoseconds(value)

    given = settings.split
    start = None if given.start is None else nanoseconds(given.start)
    length = Timeframe.parse(panel.timeframe).duration
    return Split.at(cut(given.valid), cut(given.end), start=start, embargo=given.embargo * length)


def trained_until(split: Split, panel: Panel) -> int:
    """Return the last close that training looked at, judging included."""
    last = int(panel.close_time.max())
    return last if split.valid.end is None else min(split.valid.end, last)


def make_plan(settings: TrainingSettings, defaults: Plan) -> Plan:
    """Return the recipe's own plan with what the settings say otherwise."""

    def said(section: Any, *names: str) -> dict[str, Any]:
        return {name: getattr(section, name) for name in names if getattr(section, name) is not None}

    given = settings.train
    changes = said(given, "epochs", "batch", "patience")
    for one, other in (("clip_norm", "clip_value"), ("clip_value", "clip_norm")):
        if (value := getattr(given, one)) is not None:
            changes |= {one: value, **({other: 0.0} if getattr(given, other) is None else {})}
    return replace(
        defaults, **changes, accumulate=given.accumulate, seed=given.seed, keep=given.keep, precision=given.precision,
        checkpoint_steps=given.checkpoint_steps, schedule_epochs=given.schedule_epochs,
        optimiser=replace(defaults.optimiser, **said(given.optimiser, "kind", "rate", "weight_decay", "betas")),
        schedule=replace(
            defaults.schedule, **said(given.schedule, "kind", "warm_up", "first", "last", "cycles_momentum")
        ),
    )


# ── the run's folder ────────────────────────────────────────────────────────────────────────────────────────────────


def _resolved(settings: TrainingSettings, kind: str) -> dict[str, Any]:
    return {"kind": kind, **settings.model_dump(mode="json")}


def _new_folder(settings: TrainingSettings, kind: str, fingerprint: str) -> Path:
    text = json.dumps([_resolved(settings, kind), fingerprint, code_version()[0]], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    stamp = f"{datetime.fromtimestamp(WallClock().now / 1e9).astimezone():%Y%m%d-%H%M%S}"
    folder = settings.train.folder / f"{settings.train.name}-{stamp}-{digest}"
    number = 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{settings.train.name}-{stamp}-{digest}-{number}")
    return folder


def _write_card(folder: Path, settings: TrainingSettings, kind: str, fingerprint: str, warm: Path | None) -> None:
    """Write what the run is made of; of one that goes on, what it is now."""
    folder.mkdir(parents=True, exist_ok=True)
    commit, is_changed = code_version()
    facts = {
        "kind": kind, "commit": commit, "is_changed": is_changed, "data_fingerprint": fingerprint,
        "libraries": library_versions(), "warm_start": None if warm is None else str(warm), "pid": os.getpid(),
    }
    for name, content in ((SETTINGS, _resolved(settings, kind)), (CARD, facts)):
        part = folder / f".{name}"
        part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
        part.replace(folder / name)


def _resumed(run: str, settings: TrainingSettings, kind: str, fingerprint: str) -> Path:
    """Return the folder of a run that goes on, if it may go on with these settings.

    Raises:
        SettingsError: there is none, or it began with other settings, or on other data.
    """
    folder = next((path for path in (Path(run), settings.train.folder / run, RUNS / run) if path.is_dir()), None)
    if folder is None:
        raise SettingsError(f"--resume {run}: there is no such run; expected the folder of one")
    try:
        began = json.loads((folder / SETTINGS).read_text("utf-8"))
        facts = json.loads((folder / CARD).read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise SettingsError(f"--resume {run}: {folder} is not the folder of a training run: {exc}") from exc
    if (other := began.get("kind")) != kind:
        raise SettingsError(
            f"--resume {run}: it trains {other}, not {kind}; go on with `train {other} …`, or name a run of {kind}"
        )
    for key, old, new in _differences(began, _resolved(settings, kind)):
        if not key.startswith(MAY_CHANGE):
            raise SettingsError(f"--resume {run}: it began with {key} = {old!r}, now it is {new!r}; set it back")
    if facts["data_fingerprint"] != fingerprint:
        raise SettingsError(f"--resume {run}: the data is not what it began with; begin a new run, or --warm-start it")
    return folder


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], before: str = "") -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for name in dict.fromkeys((*old, *new)):
        one, other = old.get(name), new.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differences(one, other, f"{before}{name}.")
        elif one != other:
            found.append((f"{before}{name}", one, other))
    return found


def _loggers(settings: TrainingSettings, folder: Path, say: Callable[[str], None] | None) -> list[Watcher]:
    made: list[Watcher] = []
    if settings.log.tensorboard:
        made.append(TensorBoard(folder))
    shown = {name: value for name, value in settings.model_dump(mode="json").items() if name != "log"}
    tell = say or (lambda text: None)
    if settings.log.mlflow:
        way_out = "expected a server's address, or a database such as sqlite:///mlflow.db; or leave log.mlflow out"
        service: Service = MLflow(settings.log.mlflow, folder, shown)
        made.append(Tracker(service, f"log.mlflow {Redactor().hidden(settings.log.mlflow)}", way_out, tell=tell))
    if settings.log.comet:
        way_out = (
            "look at COMET_API_KEY and the connection; or unset it and set COMET_OFFLINE_DIRECTORY to a folder that "
            "keeps the run for `comet upload`; or leave log.comet out"
        )
        service = Comet(settings.log.comet, folder, shown)
        made.append(Tracker(service, f"log.comet {settings.log.comet}", way_out, tell=tell))
    return made


def _check_warm_start(warm: Path, kind: str) -> None:
    """Refuse an artefact of another network before anything is begun."""
    found, expected = read_card(warm)["architecture"], ARCHITECTURES[kind]
    if found != expected:
        raise SettingsError(f"--warm-start {warm}: it is a {found}; expected a {expected}, whose weights these are")


def _warmed(network: Any, recipe: Recipe, warm: Path, settings: TrainingSettings) -> WarmStart:
    artefact = load_artefact(warm)
    try:
        return warm_start(
            network, dict(artefact.weights), least=settings.warm_start.least, tables=recipe.tables,
            old_vocabularies=artefact.card.vocabularies,
        )
    except PluginError as exc:
        raise PluginError(f"--warm-start {warm}: {exc}") from exc
