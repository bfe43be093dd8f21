"""Models out of settings: artefacts and classes of one's own become forecasters, with the terms they run under."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from config.settings import ROOT, ModelSettings, Settings, VenueData
from config.sources import digest_of
from engine.bars import Stream
from engine.errors import EngineError, PluginError, SettingsError
from engine.forecasting.book import ForecastTerms
from engine.forecasting.computing import Told
from engine.forecasting.history import known_histories
from engine.forecasting.series import Series, series_of
from engine.forecasting.skill import SkillRule
from engine.forecasting.store import ForecastStore
from engine.forecasting.windows import WindowCutter
from engine.forecasts import Forecaster, ForecastSpec
from engine.interfaces import Feed
from engine.policies import Policy
from feeds.series import read_series


def make_forecasters(settings: Settings, timeframe: str) -> dict[str, Forecaster]:
    """Return the forecasters that settings describe, by name. Torch is loaded only if there is an artefact.

    An artefact that makes no forecasts (a position head) is passed over: it is a policy.

    Args:
        timeframe: of the bars, for artefacts that say none.

    Raises:
        PluginError: an artefact or a class that cannot be loaded.
        SettingsError: an option that it does not have.
    """
    made: dict[str, Forecaster] = {}
    for name, described in settings.models.items():
        if described.forecaster is not None:
            made[name] = _own_forecaster(name, described)
        elif described.artefact is not None and (one := _of_artefact(name, settings, timeframe)) is not None:
            made[name] = one
    return made


def _of_artefact(name: str, settings: Settings, timeframe: str) -> Forecaster | None:
    from models.artefact import read_card
    from models.forecasters import load_forecaster

    described = settings.models[name]
    assert described.artefact is not None
    card = read_card(described.artefact)
    if card["architecture"] == "position_head":
        return None
    made = load_forecaster(
        name, described.artefact, timeframe=described.timeframe or card.get("timeframe") or timeframe,
        device=described.device, options=described.options,
    )
    if described.retrain is None or isinstance(settings.data, VenueData):  # a session's take over as it goes
        return made
    from config.retraining import succession

    return succession(name, described, settings, made)


def make_policies(settings: Settings) -> dict[str, Policy]:
    """Return the policies that settings describe, by name: the artefacts of position heads.

    Raises:
        PluginError: an artefact that cannot be loaded.
        SettingsError: a setting that a policy has no use for.
    """
    made: dict[str, Policy] = {}
    for name, described in settings.models.items():
        if described.artefact is not None and _is_policy(described.artefact):
            made[name] = _policy(name, described)
    return made


def _is_policy(artefact: Path) -> bool:
    from models.artefact import read_card

    return bool(read_card(artefact)["architecture"] == "position_head")


def _policy(name: str, described: ModelSettings) -> Policy:
    from models.artefact import load_artefact
    from models.devices import choose_device
    from models.position.policy import HeadPolicy

    assert described.artefact is not None
    for setting in ("timeframe", "latency", "options", "skill"):
        if getattr(described, setting):
            raise SettingsError(
                f"models.{name} is a position head and has {setting} = {getattr(described, setting)!r}; give it to the "
                "model that the head reads"
            )
    if described.retrain is not None:
        raise SettingsError(
            f"models.{name} is a position head and has retrain; a head is not trained again in a run: leave it out"
        )
    device = choose_device(described.device).name
    made = HeadPolicy(load_artefact(described.artefact), name, device=device)
    if not made.spec.reads:
        raise SettingsError(
            f"models.{name}: {described.artefact} does not say which price network it was trained on, as heads of "
            "older versions do not; it may be that of another: train it again (train position), or write the examples "
            "anew (models examples)"
        )
    return made


def _own_forecaster(name: str, described: ModelSettings) -> Forecaster:
    """Return a forecaster of a class of the author's own, named `module:Class` or `path/file.py:Class`."""
    assert described.forecaster is not None
    where, colon, attribute = described.forecaster.rpartition(":")
    if not colon or not attribute.isidentifier():
        raise SettingsError(
            f"models.{name}.forecaster is {described.forecaster!r}; expected module:Class, or file.py:Class"
        )
    module = _module(name, where, described)
    found = getattr(module, attribute, None)
    if not callable(found):
        raise PluginError(f"models.{name}: {where} has no class {attribute!r}")
    try:
        made = found(**described.options)
        spec, forecast = getattr(made, "spec", None), getattr(made, "forecast", None)
    except TypeError as exc:
        raise SettingsError(f"models.{name}: {attribute} does not take these options: {exc}") from exc
    except EngineError:
        raise
    except Exception as exc:  # whatever the author's class raises, the message must name it
        raise PluginError(f"models.{name}: {attribute} cannot be made: {type(exc).__name__}: {exc}") from exc
    if not (isinstance(spec, ForecastSpec) and callable(forecast)):
        raise PluginError(
            f"models.{name}: {attribute} is no forecaster; expected `spec` and `forecast(windows)`: the first a "
            "ForecastSpec of engine.forecasts"
        )
    forecaster: Forecaster = made
    return forecaster


def _module(name: str, where: str, described: ModelSettings) -> ModuleType:
    files = [folder / where for folder in (*described.folders, Path())] if where.endswith(".py") else []
    files += [folder / f"{where}.py" for folder in described.folders]
    file = next((file for file in files if file.is_file()), None)
    try:
        if file is None:
            if where.endswith(".py"):
                raise PluginError(f"models.{name}: there is no file {where}; name its folder in folders = [...]")
            return importlib.import_module(where)
        spec = importlib.util.spec_from_file_location(f"barcast_model_{file.stem}", file.resolve())
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    except PluginError:
        raise
    except Exception as exc:  # whatever the author's file raises, the message must name it
        raise PluginError(f"models.{name}: {where} cannot be loaded: {type(exc).__name__}: {exc}") from exc
    return module


@contextmanager
def forecast_terms(settings: Settings, told: Told | None = None) -> Iterator[ForecastTerms]:
    """Return the terms under which forecasts are made; the store is open meanwhile.

    Raises:
        DataError: the store cannot be opened.
    """
    store = None
    if settings.models and settings.forecasts.enabled:
        store = ForecastStore(settings.forecasts.store, limit=round(settings.forecasts.limit_gb * 1024**3))
    try:
        yield ForecastTerms(
            series=known_series(settings),
            seed=settings.run.seed,
            store=store,
            latency={name: round(one.latency * 1e9) for name, one in settings.models.items()},
            batch=settings.forecasts.batch,
            skill={
                name: SkillRule(one.skill.window, one.skill.least, one.skill.floor, one.skill.scale)
                for name, one in settings.models.items() if one.skill is not None
            },
            told=told,
        )
    finally:
        if store is not None:
            store.close()


def window_cutter(settings: Settings, spec: ForecastSpec, feed: Feed, streams: Sequence[Stream]) -> WindowCutter:
    """Return what cuts a model's windows of a feed that is known ahead, as a backtest does.

    Args:
        streams: of the symbols that it speaks of, in order.
    Raises:
        PluginError, DataError: a stream or a series that the model joins is not there.
    """
    histories = known_histories(feed, feed.streams if spec.joined else streams)
    series = series_of(spec, known_series(settings))
    own = [histories[stream] for stream in streams]
    return WindowCutter(spec, own, settings.run.seed, histories, series)


def known_series(settings: Settings) -> list[Series]:
    """Return the series of numbers that a backtest's models may join; none of a session's, which is told them.

    Raises:
        DataError: a file cannot be read, or has something else than numbers and times.
    """
    if isinstance(settings.data, VenueData):
        return []
    found = []
    for described in settings.series:
        read = read_series(described.path, described.time, described.columns)
        series = Series(read.names)
        series.append(read.times, read.values)
        found.append(series)
    return found


def model_hashes(forecasters: Mapping[str, Forecaster | Policy]) -> dict[str, str]:
    """Return each model's hash, for a run's inputs, and beside it that of the file of an author's own class; a model
    that has none is told as such."""
    hashes = {}
    for name, one in forecasters.items():
        hashes[name] = one.spec.model_hash or "none"
        file = getattr(sys.modules.get(type(one).__module__), "__file__", None)
        if file is not None and not Path(file).is_relative_to(ROOT / "models"):
            hashes[f"{name}/{Path(file).name}"] = digest_of(Path(file))
    return hashes


def determinism(forecasters: Mapping[str, Any]) -> str:
    """Return how far a run with these models can be made again: "bit-exact" on CPUs alone, in float32; what is rounded
    more coarsely shows how many cores there are."""
    specs = [one.spec for one in forecasters.values()]
    devices = {getattr(spec, "device", "cpu").partition(":")[0] for spec in specs}
    types = {getattr(spec, "dtype", "float32") for spec in specs}
    return "bit-exact" if devices <= {"cpu"} and types <= {"float32"} else "device-exact"
