"""Artefacts at work: a folder with a trained network becomes an engine.Forecaster.

What decides an answer goes into the model's hash: the artefact's own, the options, and the source of the code that runs
it. A forecast stored under another version of any of them is never taken for this one's.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from engine.errors import PluginError, SettingsError, nearest_name
from engine.forecasting.exchanges import check_exchange, clock_of
from engine.forecasting.sessions import ALWAYS, WEEKDAYS
from engine.forecasts import Explanation, Float32Array, Forecaster, ForecastKind, Forecasts, ForecastSpec, Windows
from models.alpha360 import FIELDS as FEATURES
from models.alpha360 import LOOKBACK, RobustScaler, VolumeRule, VwapRule, alpha360_of_windows
from models.artefact import Artefact, load_artefact
from models.devices import Batches, Device, choose_device, is_out_of_memory
from models.krnn import KRNN, load_krnn
from models.kronos.configuration import ModelSizes
from models.kronos.generation import Overflow, plan
from models.kronos.pipeline import KronosPipeline
from models.kronos.sampling import Sampling
from models.position.features import slots, volatility, week_times
from models.position.loading import feature_names, load_price_transformer, quantile_names
from models.position.price_transformer import LEVELS
from models.rebuilding import krnn_layout, kronos_of
from models.tft.bar_features import FIELDS, bars_before, check_features, features_of
from models.tft.explanation import explain
from models.tft.heads import Quantiles
from models.tft.joins import AGAIN, JOINS, JoinedColumns, Joins
from models.tft.keeping import pipeline_of
from models.tft.pipeline import TFTForecast
from models.tft.statements import are_quantiles_of_return, named_outputs, output_names, roles
from models.tft.windows import calendar_reals

CALENDAR = ("minute", "hour", "weekday", "day", "month")
_SOURCES = {
    "kronos": ("kronos", "blocks.py", "packing.py", "compiled"),
    "krnn": ("krnn.py", "krnn_gradient.py", "alpha360.py"),
    "price_transformer": ("position", "blocks.py"),
    "tft": ("tft", "features", "blocks.py", "../engine/indicators.py", "../engine/indicator_talib.py"),
}
"""Files and folders, seen from models/, whose code decides the numbers of an architecture."""
MEMORY = 2 * 1024**3
"""Bytes that keys and values of one batch of sample paths may take on the CPU; on a GPU, a share of what is free."""

Options = Mapping[str, Any]


def load_forecaster(
    name: str, folder: Path, *, timeframe: str = "", device: str = "auto", options: Options | None = None
) -> Forecaster:
    """Return an artefact's network, ready to forecast.

    Args:
        name: of the model in the settings. timeframe: of the bars; the artefact's own if it names one.
        device: see models.devices. options: of the architecture (see `KronosOptions`); most have none.
    Raises:
        PluginError: no artefact, or one of an architecture that forecasts nothing.
        SettingsError: an option or device that there is not, or a timeframe that is missing or another.
    """
    artefact = load_artefact(folder)
    architecture = artefact.card.architecture
    make = _MAKERS.get(architecture)
    if make is None:
        raise PluginError(
            f"model {name}: artefact {folder} is a {architecture}, which makes no forecasts; expected one of "
            f"{', '.join(_MAKERS)}"
        )
    own = artefact.card.timeframe
    if own and timeframe and own != timeframe:
        raise SettingsError(f"model {name}: timeframe is {timeframe}, but {folder} was trained on bars of {own}")
    if not (own or timeframe):
        raise SettingsError(f"model {name}: artefact {folder} does not say of which bars; give timeframe, such as 1h")
    return make(_Loaded(name, artefact, own or timeframe, choose_device(device), options or {}))


def sources_of(architecture: str) -> list[Path]:
    """Return the files whose code decides the forecasts of an architecture."""
    found: list[Path] = []
    for source in ("forecasters.py", "rebuilding.py", *_SOURCES[architecture]):
        path = (Path(__file__).parent / source).resolve()
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


@dataclass(frozen=True)
class _Loaded:
    """What every maker gets."""

    name: str
    artefact: Artefact
    timeframe: str
    device: Device
    options: Options

    def spec(
        self, kind: ForecastKind, *, clock: str = "", future_stamps: str = "", **values: Any
    ) -> ForecastSpec:
        """Return a spec with what all have in common.

        Args:
            clock, future_stamps: as settings ask for them; else the artefact's conventions; else the exchange's own
                clock, or UTC, and bars one after another.
        """
        card = self.artefact.card
        stamps = future_stamps or card.conventions.get("future_stamps", ALWAYS)
        if stamps not in (ALWAYS, WEEKDAYS):
            check_exchange(stamps, self.name)
            clock = clock or card.conventions.get("clock", "") or clock_of(stamps)
        return ForecastSpec(
            self.name, kind, self.timeframe, model_hash=self._hash(), artefact=self.artefact.hash,
            trained_from=card.trained_from, trained_until=card.trained_until, trained_on=card.trained_on,
            device=self.device.name, clock=clock or card.conventions.get("clock", "UTC"), future_stamps=stamps,
            **values,
        )

    def _hash(self) -> str:
        digest = hashlib.sha256(self.artefact.hash.encode())
        digest.update(json.dumps(dict(self.options), sort_keys=True, default=str).encode())
        for file in sources_of(self.artefact.card.architecture):
            digest.update(file.read_bytes().replace(b"\r\n", b"\n"))
        return digest.hexdigest()

    def parsed(self, kind: type[Any]) -> Any:
        """Return the options as a dataclass.

        Raises:
            SettingsError: one that there is not, naming the nearest; or a value that cannot be.
        """
        known = [one.name for one in fields(kind)]
        for option in self.options:
            if option not in known:
                there = f"there are {', '.join(known)}" if known else f"a {self.artefact.card.architecture} has none"
                near = nearest_name(option, known)
                raise SettingsError(f"model {self.name}: unknown option {option!r}; {there}{near}")
        return kind(**self.options)


@dataclass(frozen=True)
class NoOptions:
    """Of networks that leave nothing to choose."""


@contextmanager
def _fitting() -> Iterator[None]:
    """Let the engine know that a batch was too large, and leave no trace of it on the device."""
    try:
        yield
    except (MemoryError, RuntimeError) as exc:
        if not is_out_of_memory(exc):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise MemoryError(str(exc)) from exc


# ── Kronos ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class KronosOptions:
    """How Kronos is used.

    Args:
        horizon: bars ahead; lookback: bars of a window, the network's context less the horizon if left out.
        samples: paths of each window. temperature, top_k, top_p: see models.kronos.sampling.
        clock: the wall clock of the calendar; upstream's files are on the exchange's own. future_stamps: when bars
            ahead come: "24/7", "weekdays", or the code of an exchange. Both are the artefact's if left out.
        dtype: of the large matrices.
        overflow: what happens when lookback and horizon are more than the network sees at once: "exact", "budget" or
            "chunked"; see models.kronos.generation.
        repairs: whether bars that cannot be (a high below the close, a negative volume) are made possible.
    """

    horizon: int = 24
    lookback: int = 0
    samples: int = 20
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.9
    clock: str = ""
    future_stamps: str = ""
    dtype: str = "float32"
    overflow: Overflow = "exact"
    repairs: bool = False

    def __post_init__(self) -> None:
        for name, least in (("horizon", 1), ("lookback", 0), ("samples", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise SettingsError(f"kronos: {name} is {value!r}; expected a whole number of {least} or more")
        if self.dtype not in ("float32", "bfloat16"):
            raise SettingsError(f"kronos: dtype is {self.dtype!r}; expected float32 or bfloat16")
        if self.overflow not in get_args(Overflow):
            raise SettingsError(f"kronos: overflow is {self.overflow!r}; expected {', '.join(get_args(Overflow))}")
        if not isinstance(self.repairs, bool):
            raise SettingsError(f"kronos: repairs is {self.repairs!r}; expected true or false")


class KronosForecaster:
    """Sample paths: PATHS."""

    def __init__(self, loaded: _Loaded) -> None:
        options: KronosOptions = loaded.parsed(KronosOptions)
        artefact = loaded.artefact
        network, tokenizer, context = kronos_of(artefact, f"model {loaded.name}")
        lookback = options.lookback or artefact.card.lookback or min(400, max(context - options.horizon, 1))
        device = loaded.device.name
        self._pipeline = KronosPipeline(
            tokenizer.to(device), network.to(device), context, clip=artefact.card.conventions.get("clip", 5.0),
            dtype=getattr(torch, options.dtype), overflow=options.overflow,
        )
        self._sampling = Sampling(options.temperature, options.top_k, options.top_p)
        self.spec = loaded.spec(
            ForecastKind.PATHS, lookback=lookback,
            horizon=options.horizon, inputs=("open", "high", "low", "close", "volume", "amount"),
            samples=options.samples, dtype=options.dtype,
            calendar=CALENDAR, clock=options.clock, future_stamps=options.future_stamps, repairs=options.repairs,
            about=_told_of(options, lookback, context),
        )
        rows = self._bytes_a_row(network.sizes) * options.samples
        self._batches = Batches(max(1, int(_memory(loaded.device) // rows)))

    def _bytes_a_row(self, sizes: ModelSizes) -> int:
        tokens = min(self._pipeline.max_context, self.spec.lookback + self.spec.horizon)
        return 8 * sizes.n_layers * sizes.d_model * tokens

    def forecast(self, windows: Windows) -> Forecasts:
        """Return every path, float32 [N, S, H, 6]; see KronosPipeline.paths."""
        calendar = windows.calendar
        assert calendar is not None, "the spec asks for one"

        def paths(rows: slice) -> Float32Array:
            made = self._pipeline.paths(
                list(windows.values[rows]), calendar[rows], self.spec.horizon, samples=self.spec.samples,
                seeds=windows.seeds[rows].tolist(), sampling=self._sampling,
            )
            return made.values

        with _fitting():
            return Forecasts(np.concatenate(list(self._batches.run(paths, len(windows)))))


def _told_of(options: KronosOptions, lookback: int, context: int) -> str:
    """Return what a user should know of the forecasts: what they cost, and whether they are the original's."""
    told = []
    if lookback + options.horizon - 1 > context:
        told.append(plan(lookback, options.horizon, options.samples, context, options.overflow).words)
        if options.overflow == "budget":
            told.append(f"the lookback of {lookback} bars is cut to what the context of {context} leaves")
        elif options.overflow == "chunked":
            told.append("other numbers than the original's: overflow is chunked")
    if options.dtype != "float32":
        told.append(f"{options.dtype} weights: not exact, and other paths with more than two threads")
    return "; ".join(told)


def _memory(device: Device) -> float:
    if device.kind == "cuda":
        free, _ = torch.cuda.mem_get_info(torch.device(device.name))
        return 0.4 * free
    return MEMORY


# ── KRNN ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class KRNNForecaster:
    """A ranking score: SCORE. The horizon is that of its label: bars until the trade, and bars held."""

    def __init__(self, loaded: _Loaded) -> None:
        loaded.parsed(NoOptions)
        card, artefact = loaded.artefact.card, loaded.artefact
        self._network: KRNN = load_krnn(
            artefact.weights, krnn_layout(artefact), card.configuration.get("pool", "last")
        ).to(loaded.device.name)
        if self._network.configuration.fea_dim != len(FEATURES):
            raise PluginError(
                f"model {loaded.name}: its network reads {self._network.configuration.fea_dim} numbers a bar, and "
                f"windows give it the {len(FEATURES)} of Alpha360 ({', '.join(FEATURES)}); other features need a "
                "forecaster of one's own (docs/forecasting.md)"
            )
        scalers = artefact.tensors.get("scalers")
        self._scaler = None
        if scalers is not None:
            clip = float(card.scalers.get("clip", 3.0))
            self._scaler = RobustScaler(scalers["median"].numpy(), scalers["scale"].numpy(), clip)
        self._vwap: VwapRule = card.conventions.get("vwap", "typical")
        self._volume: VolumeRule = card.conventions.get("volume", "floor")
        self._nodes = card.vocabularies.get("symbol", {})
        self._name = loaded.name
        horizon = int(card.label.get("lag", 0)) + int(card.label.get("horizon", card.horizon or 1))
        self.spec = loaded.spec(
            ForecastKind.SCORE, lookback=card.lookback or LOOKBACK,
            horizon=horizon, inputs=("open", "high", "low", "close", "volume"), is_deterministic=True,
            keeps_batches=True,
        )

    def forecast(self, windows: Windows) -> Forecasts:
        """Return one score a window, float32 [N, 1]."""
        named = {name: windows.values[..., place].astype(np.float64) for place, name in enumerate(self.spec.inputs)}
        rows = alpha360_of_windows(named, vwap_rule=self._vwap, volume_rule=self._volume)
        rows = self._scaler.transform(rows) if self._scaler is not None else np.nan_to_num(rows)
        with _fitting(), torch.inference_mode():
            device = self._network.out_fc.weight.device
            scores = self._network.infer(torch.from_numpy(rows).to(device), self._nodes_of(windows, device))
            return Forecasts(scores.float().cpu().numpy().reshape(-1, 1))

    def _nodes_of(self, windows: Windows, device: torch.device) -> torch.Tensor | None:
        if self._network.configuration.agg != "node":
            return None
        unknown = sorted({symbol for symbol in windows.symbols if symbol not in self._nodes})
        if unknown:
            raise PluginError(
                f"model {self._name} knows single symbols, and {', '.join(unknown[:3])} is not among them; train it "
                "with them, or name the others in forecasts(symbols=…)"
            )
        return torch.tensor([self._nodes[symbol] for symbol in windows.symbols], device=device)


# ── PriceTransformer ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class PriceOptions:
    """What a PriceTransformer is to give.

    Args:
        gives: "quantiles" of the log return; or "outputs", by name: the median log return to the horizon's end
            ("return"), the quantiles in units of volatility, the hidden state: what a position head reads.
    """

    gives: str = "quantiles"

    def __post_init__(self) -> None:
        if self.gives not in ("quantiles", "outputs"):
            raise SettingsError(f"price transformer: gives is {self.gives!r}; expected quantiles or outputs")


class PriceTransformerForecaster:
    """Quantiles of log returns 1 … P bars ahead: QUANTILES. Or all that the network makes of a window: MULTI."""

    def __init__(self, loaded: _Loaded) -> None:
        options: PriceOptions = loaded.parsed(PriceOptions)
        card = loaded.artefact.card
        self._network = load_price_transformer(loaded.artefact).to(loaded.device.name)
        if card.lookback < 2:
            raise PluginError(f"model {loaded.name}: its artefact has lookback {card.lookback}; expected 2 or more")
        inputs = card.inputs or ("open", "high", "low", "close", "volume")
        sizes = self._network.sizes
        self._gives_outputs = options.gives == "outputs"
        values: dict[str, Any] = {"levels": LEVELS}
        if self._gives_outputs:
            hidden = feature_names(sizes)[: sizes.d_model]
            values = {"outputs": ("return", *quantile_names(sizes), *hidden)}
        self.spec = loaded.spec(
            ForecastKind.MULTI if self._gives_outputs else ForecastKind.QUANTILES,
            lookback=card.lookback, inputs=inputs, horizon=sizes.horizons, calendar=("weekday", "hour", "minute"),
            is_deterministic=True, **values,
        )

    def forecast(self, windows: Windows) -> Forecasts:
        """Return quantiles of the log returns, float32 [N, P, 3]: the network's, times σ √h. Or outputs [N, C]."""
        values, calendar = windows.values, windows.calendar
        assert calendar is not None, "the spec asks for one"
        fed = slots(values, week_times(calendar[:, : self.spec.lookback], self.spec.timeframe))
        with _fitting(), torch.inference_mode():
            device = self._network.embed.weight.device
            made = self._network(torch.from_numpy(fed).to(device))
            scaled, features = made.quantiles.float().cpu().numpy(), made.features.float().cpu().numpy()
        sigma = volatility(values[..., 3].astype(np.float64))
        returns = scaled * (sigma[:, None] * np.sqrt(np.arange(1, self.spec.horizon + 1)))[..., None]
        if not self._gives_outputs:
            return Forecasts(returns.astype(np.float32))
        hidden = features[:, : self._network.sizes.d_model]
        end = returns[:, -1:, LEVELS.index(0.5)]
        return Forecasts(np.concatenate([end, scaled.reshape(len(scaled), -1), hidden], axis=1, dtype=np.float32))


# ── TFT ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class TFTForecaster:
    """What a transformer says of its targets, by name, at the end of its horizon: MULTI. One whose only target is
    quantiles of the log return ("return") to every bar of the horizon: QUANTILES."""

    def __init__(self, loaded: _Loaded) -> None:
        loaded.parsed(NoOptions)
        card = loaded.artefact.card
        self._pipeline = pipeline_of(loaded.artefact, device=loaded.device.name)
        self._targets, steps = self._pipeline.targets, self._pipeline.horizon
        self._inputs, self._name = card.inputs, loaded.name
        self._joined = _joined_of(loaded, card.inputs)
        self._features = tuple(name for name in card.inputs if name not in self._joined.names)
        self._own_before = bars_before(self._features)
        self._before = max(self._own_before, self._joined.before)
        self._known: tuple[str, ...] = tuple(card.conventions.get("known_ahead", ()))
        self._codes = list(card.vocabularies)
        self._vocabularies = card.vocabularies
        horizon = int(card.label.get("horizon", steps))
        if horizon < steps:
            raise PluginError(f"model {loaded.name}: its label speaks of {horizon} bars, its network of {steps} steps")
        columns = (*(name.rpartition("_")[0] for name in self._known), *self._codes)
        self._gives_quantiles = are_quantiles_of_return(self._targets, steps, horizon)
        head = self._targets[0].head
        values: dict[str, Any] = {"outputs": output_names(self._targets)}
        values |= roles(self._targets, card.label.get("specifications", {}), horizon)
        if self._gives_quantiles and isinstance(head, Quantiles):
            values = {"levels": head.levels}
        self.spec = loaded.spec(
            ForecastKind.QUANTILES if self._gives_quantiles else ForecastKind.MULTI,
            lookback=card.lookback + self._before, horizon=horizon, inputs=FIELDS, is_deterministic=True,
            calendar=tuple(name for name in CALENDAR if name in columns), joined=self._joined.streams,
            series=self._joined.series, keeps_batches=True, **values,
        )

    def forecast(self, windows: Windows) -> Forecasts:
        """Return outputs [N, C], or quantiles of the log return [N, H, Q], float32."""
        made = self._made(windows)
        if self._gives_quantiles:
            return Forecasts(made.values[self._targets[0].name].float().cpu().numpy())
        return Forecasts(named_outputs(self._targets, made.values))

    def explain(self, windows: Windows) -> list[Explanation]:
        """Return how much each input and each bar counted; bars that only warm features up count nothing."""
        made = explain(self._made(windows).output, self._pipeline.configuration)
        groups = {"static": made.static, "the past": made.past, "known ahead": made.ahead}
        unseen = np.zeros(self._before)
        return [
            Explanation(
                {group: {name: float(one[row]) for name, one in of.items()} for group, of in groups.items() if of},
                np.concatenate([unseen, made.bars[row].double().numpy()]),
            )
            for row in range(len(windows))
        ]

    def _made(self, windows: Windows) -> TFTForecast:
        seen = slice(self._before, self.spec.lookback + self._pipeline.horizon)
        calendar = known = None
        if windows.calendar is not None:
            calendar = torch.from_numpy(np.ascontiguousarray(windows.calendar[:, seen]))
        if self._known and calendar is not None:
            known = calendar_reals(calendar, self.spec.calendar, self._known)
        values = torch.from_numpy(self.columns(windows))
        with _fitting():
            return self._pipeline.forecast(
                values, known=known, codes=self._coded(windows, calendar), symbols=self._symbols(windows),
                periods=self._periods(windows),
            )

    def columns(self, windows: Windows) -> Float32Array:
        """Return what the network is fed of windows, float32 [N, T, F], before it is scaled."""
        own = features_of(windows.values[:, self._before - self._own_before :], self._features)
        if not self._joined.names:
            return own
        beside = self._joined.of(windows, own.shape[1])
        places = {name: place for place, name in enumerate(self._features)}
        columns = [own[..., places[name]] if name in places else beside[name] for name in self._inputs]
        return np.ascontiguousarray(np.stack(columns, axis=-1))

    def _symbols(self, windows: Windows) -> torch.Tensor:
        """Return codes of the symbols; 0 for one that training has not seen."""
        known = self._vocabularies.get("symbol", {})
        return torch.tensor([known.get(symbol, 0) for symbol in windows.symbols], dtype=torch.int64)

    def _periods(self, windows: Windows) -> torch.Tensor | None:
        """Return the code of the bars' timeframe, None of a network that knows only one."""
        known = self._vocabularies.get("period")
        return None if known is None else torch.full((len(windows),), known.get(self.spec.timeframe, 0))

    def _coded(self, windows: Windows, calendar: torch.Tensor | None) -> dict[str, torch.Tensor]:
        codes = {}
        for name in self._codes:
            if name == "symbol":
                codes[name] = self._symbols(windows)
            elif name == "period" and (periods := self._periods(windows)) is not None:
                codes[name] = periods
            elif calendar is not None and name in self.spec.calendar:
                codes[name] = calendar[..., self.spec.calendar.index(name)]
            else:
                raise PluginError(
                    f"model {self._name}: nothing is known of its categorical {name!r}; expected symbol, or one of "
                    f"{', '.join(CALENDAR)}"
                )
        return codes


def _joined_of(loaded: _Loaded, inputs: Sequence[str]) -> JoinedColumns:
    """Return what makes the columns of other streams and of series.

    Raises:
        PluginError: in training bars counted later than they do in the engine, and with them what was known by then;
            or the artefact is one of another version, which does not say what is joined.
    """
    card = loaded.artefact.card.conventions.get(JOINS)
    try:
        joins = Joins({}) if card is None else Joins.of(card)
    except PluginError as exc:
        raise PluginError(f"model {loaded.name}: {exc}") from exc
    try:
        check_features([name for name in inputs if name not in joins.names])
    except PluginError as exc:
        raise PluginError(
            f"model {loaded.name}: {exc}; if it is a column of other bars or of a series, the artefact does not say "
            f"how it is joined, as other versions did not: {AGAIN}"
        ) from exc
    made = JoinedColumns(joins, inputs, loaded.timeframe)
    if made.series and joins.lag:
        raise PluginError(
            f"model {loaded.name} joins the series {', '.join(made.series[0])} as known {joins.lag / 1e9:g} s after "
            "each bar's close (tft.lag), and the engine decides at the close; train it without tft.lag"
        )
    return made


_MAKERS: Mapping[str, Callable[[_Loaded], Forecaster]] = {
    "kronos": KronosForecaster,
    "krnn": KRNNForecaster,
    "price_transformer": PriceTransformerForecaster,
    "tft": TFTForecaster,
}
