"""What `main.py train` does: settings to bars, recipe and plan; a run's folder; training; its artefact."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from config.data import bars_of, feed_of
from config.recipes import ARCHITECTURES, RECIPES
from config.secrets import Redactor
from config.tft_plots import TFTPlots
from config.training_folder import Donor, donor_of, held, new_folder, resumed, write_card
from config.training_settings import TrainingSettings
from config.training_stages import add_summary
from engine.bars import Timeframe, iso, nanoseconds
from engine.clock import WallClock
from engine.errors import PluginError, SettingsError
from models.artefact import load_artefact, read_card
from models.devices import is_out_of_memory, use_threads
from models.training.checkpoints import Checkpoints, read_state
from models.training.data.splits import Split
from models.training.loop import CHECKPOINTS, Watcher, make_fabric, train
from models.training.panel import Panel
from models.training.plan import Plan
from models.training.recipe import Recipe, TrainingFacts
from models.training.records import MetricsFile, TensorBoard
from models.training.tft.recipe import TFTRecipe
from models.training.trackers import Comet, MLflow, Service, Tracker
from models.training.warm_start import WarmStart, warm_start

ARTEFACT, AUDIT = "artefact", "data.txt"


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
    try:
        return _run(kind, settings, resume, warm, watchers, say)
    except (MemoryError, RuntimeError) as exc:
        if not is_out_of_memory(exc):
            raise
        raise PluginError(
            f"{kind} does not fit into memory: {exc}; lower train.batch, raise train.accumulate, or make the network "
            "or its windows smaller"
        ) from exc


def _run(
    kind: str, settings: TrainingSettings, resume: str | None, warm: Path | None, watchers: Sequence[Watcher],
    say: Callable[[str], None] | None,
) -> TrainedRun:
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
    if resume is not None:
        folder = resumed(
            resume, settings, kind, feed.fingerprint, make_plan(settings, defaults), defaults.epochs)
    else:
        made = new_folder(settings, kind, feed.fingerprint) if fabric.is_global_zero else None
        folder = Path(fabric.broadcast(str(made)))
    began: list[WarmStart] = []
    donor = donor_of(folder) if resume is not None else None if warm is None else Donor.read(warm)
    plan = make_plan(settings, defaults, is_warm=donor is not None)
    with held(folder) if fabric.is_global_zero else nullcontext():
        if fabric.is_global_zero:
            _tell_audit(recipe, folder, say)
            write_card(folder, settings, kind, feed.fingerprint, donor)
            watchers = [
                *watchers, MetricsFile(folder), *_loggers(settings, folder, say), *_plots(settings, recipe, folder)]
        try:
            done = train(
                recipe, plan, folder, fabric=fabric, watchers=watchers, stop_after=settings.train.stop_after,
                begin=None if warm is None else lambda network: began.append(_warmed(network, recipe, warm, settings)),
            )
        except KeyboardInterrupt:
            _tell_how_it_goes_on(folder, say if fabric.is_global_zero else None)
            raise
    facts = TrainingFacts(
        int(panel.open_time.min()), trained_until(split, panel), recipe.audit.symbols,
        f"trained here: {folder.name}", done.best.metrics,
    ).joined(*([] if donor is None else [donor.facts]))
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
            "began_with": None if donor is None else donor.artefact, "finished": is_finished,
        }
        add_summary(settings.train.folder, settings.train.name, WallClock().now, line)
    return run


def _tell_how_it_goes_on(folder: Path, say: Callable[[str], None] | None) -> None:
    last = Checkpoints(folder / CHECKPOINTS, "", is_higher_better=False).last()
    if last is not None and say is not None:
        say(f"stopped after epoch {read_state(last).epoch}: --resume {folder} goes on")


def _tell_audit(recipe: Recipe, folder: Path, say: Callable[[str], None] | None) -> None:
    """Write what became of every row of the data, and say it."""
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
    embargo = given.embargo * Timeframe.parse(panel.timeframe).duration
    valid, end = cut(given.valid), cut(given.end)
    spans = (
        ("trains", first if start is None else start, valid, 0, "split.start before split.valid"),
        ("judges", valid, end, embargo, "split.valid before split.end, by more than split.embargo"),
    )
    for what, begins, ends, left_out, way_out in spans:
        if begins + left_out >= ends:
            raise SettingsError(
                f"[split] {what} from {iso(begins)} to {iso(ends)}, which is empty; set {way_out}: the data go from "
                f"{iso(first)} to {iso(last)}"
            )
    return Split.at(valid, end, start=start, embargo=embargo)


def trained_until(split: Split, panel: Panel) -> int:
    """Return the last close that training looked at, judging included."""
    last = int(panel.close_time.max())
    return last if split.valid.end is None else min(split.valid.end, last)


def make_plan(settings: TrainingSettings, defaults: Plan, *, is_warm: bool = False) -> Plan:
    """Return the recipe's own plan with what the settings say otherwise; of a run that begins with an artefact, at its
    lower rate and without a warm-up, unless the settings ask for one."""

    def said(section: Any, *names: str) -> dict[str, Any]:
        return {name: getattr(section, name) for name in names if getattr(section, name) is not None}

    given = settings.train
    changes = said(given, "epochs", "batch", "patience")
    for one, other in (("clip_norm", "clip_value"), ("clip_value", "clip_norm")):
        if (value := getattr(given, one)) is not None:
            changes |= {one: value, **({other: 0.0} if getattr(given, other) is None else {})}
    plan = replace(
        defaults, **changes, accumulate=given.accumulate, seed=given.seed, keep=given.keep, precision=given.precision,
        checkpoint_steps=given.checkpoint_steps, schedule_epochs=given.schedule_epochs,
        optimiser=replace(defaults.optimiser, **said(given.optimiser, "kind", "rate", "weight_decay", "betas")),
        schedule=replace(
            defaults.schedule, **said(given.schedule, "kind", "warm_up", "first", "last", "cycles_momentum")
        ),
    )
    if not is_warm:
        return plan
    warm_up = given.schedule.warm_up or 0.0
    return replace(
        plan, optimiser=replace(plan.optimiser, rate=plan.optimiser.rate * settings.warm_start.rate),
        schedule=replace(plan.schedule, warm_up=warm_up),
    )


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
