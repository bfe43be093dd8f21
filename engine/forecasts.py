"""Forecasts: what a model promises, what it is asked, what it answers. The contract between models and the engine.

A forecaster sees windows that the engine cut from closed bars, and nothing else: it cannot slice history itself, so it
cannot reach past the decision. Answers are typed, so that a ranking score cannot be mistaken for a return.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from engine.bars import FloatArray, IntArray
from engine.errors import PluginError

Float32Array = npt.NDArray[np.float32]


class ForecastKind(StrEnum):
    """What the numbers of a forecast mean. Shapes are per window; H is the horizon in bars."""

    SCORE = "score"
    """[1]. A ranking among symbols at one instant: neither a return nor comparable between instants."""
    RETURN = "return"
    """[H]. Log return from the window's last close to each of the next H closes."""
    QUANTILES = "quantiles"
    """[H, Q]. Quantiles of that log return, at the spec's levels, ascending."""
    PROBABILITY = "probability"
    """[C]. Probabilities of the spec's events (`outputs` names them), each in 0…1."""
    PATHS = "paths"
    """[S, H, 6]. Sample paths of open, high, low, close, volume, amount, in the units of the bars."""
    MULTI = "multi"
    """[C]. Several named targets (`outputs`), each in its own unit, as the artefact's target registry says."""


class Joined(NamedTuple):
    """Bars of another stream that a window has beside its own, as far as they had closed when each of its bars did.

    `timeframe` of those bars, and `symbol` whose they are, the window's own if empty. `memory`: how many of them must
    have closed by the close of the window's first bar.
    """

    timeframe: str
    symbol: str = ""
    memory: int = 1


class JoinedBars(NamedTuple):
    """Of one window: `values` float32 [R, F], the spec's inputs, oldest first, and `close_time` int64 [R], UTC ns. The
    first R are from `memory` bars before the close of the window's first bar on, the last had closed by `as_of`."""

    values: Float32Array
    close_time: IntArray


class JoinedRows(NamedTuple):
    """Of one window: the rows of a series that is no bars and the same for all symbols, from the one known at the close
    of the window's first bar to the last known at `as_of`: `values` float64 [R, columns], `available_at` int64 [R]."""

    values: FloatArray
    available_at: IntArray


@dataclass(frozen=True)
class ForecastSpec:
    """What a forecaster needs and gives. Everything here decides the numbers, and goes into a forecast's key.

    Args:
        name: the model's name in the settings.
        kind: what the numbers mean; outputs: names of a PROBABILITY's or MULTI's columns; levels: of QUANTILES.
        timeframe: of the bars; lookback: closed bars in a window; horizon: bars ahead.
        inputs: fields of a window's columns, in order; of open, high, low, close, volume, amount, or features that
            `features` of the forecaster's artefact defines.
        samples: paths per window (PATHS), else 1.
        model_hash: of weights, configuration and the code version of the architecture. artefact: hash of the artefact
            alone, however it is asked and by whatever code; empty if there is none.
        trained_from, trained_until: UTC nanoseconds of the first and last bar that training has seen; None: unknown,
            which counts as contaminated. trained_on: symbols; empty: unknown.
        device, dtype: where and in what it computes: results may differ in the last bits between classes of device.
        calendar: names of the integer calendar columns of bars and of the stamps ahead ("minute", "hour", "weekday",
            "day", "month"); empty if the model asks for none. clock: the wall clock they are read from, a zone name.
        future_stamps: when the bars ahead come: "24/7", one after another; "weekdays", not on Saturday and Sunday; or
            in the sessions of an exchange, by its code, such as XNYS.
        versions: of models that take over from each other: since when (UTC ns), and their hashes; `model_hash` is then
            that of all of them together.
        is_deterministic: whether answers follow from the window alone: its seeds are then all 0, and another seed of
            the run asks nothing anew.
        keeps_batches: whether a backtest fills up its last batch with copies of a window, so that the model sees only
            batches of one size: for networks whose last bits depend on how many windows they see at once. Without it,
            bars that come later would change a bit of forecasts before them.
        repairs: whether bars of PATHS that cannot be (a high below the close, a volume below 0) are made possible
            before anyone sees them; the store keeps what the model said, and a forecast so changed has a flag.
        joined: bars of other streams that a window has, in order. series: columns of each series of numbers that it
            has.
        about: what a user should know of its numbers or its cost, in words: that they are not exact, that they are
            dear. Told with every result.
        return_output, up_output: which of a PROBABILITY's or MULTI's outputs is the log return to the horizon's end,
            and which the chance that it lies above 0: what such forecasts are scored by, where they are there.
            Quantiles of the return are outputs named after it with a level in percent: return_q10.
    """

    name: str
    kind: ForecastKind
    timeframe: str
    lookback: int
    horizon: int
    inputs: tuple[str, ...] = ("open", "high", "low", "close", "volume")
    outputs: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    samples: int = 1
    model_hash: str = ""
    artefact: str = ""
    trained_from: int | None = None
    trained_until: int | None = None
    trained_on: tuple[str, ...] = ()
    device: str = "cpu"
    dtype: str = "float32"
    calendar: tuple[str, ...] = ()
    clock: str = "UTC"
    future_stamps: str = "24/7"
    is_deterministic: bool = False
    versions: tuple[tuple[int, str], ...] = ()
    keeps_batches: bool = False
    repairs: bool = False
    joined: tuple[Joined, ...] = ()
    series: tuple[tuple[str, ...], ...] = ()
    about: str = ""
    return_output: str = "return"
    up_output: str = "up"

    def hash_at(self, as_of: int) -> str:
        """Return the hash of the model that answers at an instant."""
        first = self.versions[0][1] if self.versions else self.model_hash
        return next((one for since, one in reversed(self.versions) if since <= as_of), first)

    @cached_property
    def return_quantiles(self) -> dict[float, int]:
        """Levels of the log return to the horizon's end, ascending, and the place of each among the last numbers of an
        answer; empty where the kind or the outputs have none."""
        if self.kind is ForecastKind.QUANTILES:
            return {level: place for place, level in enumerate(self.levels)}
        prefix = f"{self.return_output}_q"
        named = {name.removeprefix(prefix): place for place, name in enumerate(self.outputs) if name.startswith(prefix)}
        levels = {percent: float(percent) / 100 for percent in named if percent.replace(".", "", 1).isdecimal()}
        return {levels[one]: named[one] for one in sorted(levels, key=lambda one: levels[one]) if 0 < levels[one] < 1}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one window's values."""
        match self.kind:
            case ForecastKind.SCORE:
                return (1,)
            case ForecastKind.RETURN:
                return (self.horizon,)
            case ForecastKind.QUANTILES:
                return (self.horizon, len(self.levels))
            case ForecastKind.PATHS:
                return (self.samples, self.horizon, 6)
            case _:
                return (len(self.outputs),)


@dataclass(frozen=True)
class Windows:
    """What a forecaster is asked: N windows of one spec, of any symbols and instants mixed.

    Args:
        values: float32 [N, lookback, F] in the units of the bars, oldest first; the last row is the bar that closed at
            `as_of`. A read-only view where it can be.
        calendar: int64 [N, lookback + horizon, K] of the spec's calendar columns; None if it asks for none.
        symbols: [N] names; as_of: int64 [N], close time of each window's last bar, UTC nanoseconds.
        joined: of each window, the bars of every stream that the spec joins; series: the rows of every series;
            close_time: int64 [N, lookback], of the windows' own bars. Empty and None where it joins none.
        seeds: uint64 [N], one a window, for models that sample: an answer depends on the window and its seed alone,
            never on what else is in the batch.
    """

    values: Float32Array
    symbols: tuple[str, ...]
    as_of: IntArray
    seeds: npt.NDArray[np.uint64]
    calendar: IntArray | None = None
    joined: tuple[tuple[JoinedBars, ...], ...] = ()
    close_time: IntArray | None = None
    series: tuple[tuple[JoinedRows, ...], ...] = ()

    def at(self, rows: IntArray) -> "Windows":
        """Return some of them."""
        return Windows(
            self.values[rows], tuple(self.symbols[row] for row in rows), self.as_of[rows], self.seeds[rows],
            None if self.calendar is None else self.calendar[rows],
            tuple(self.joined[row] for row in rows) if self.joined else (),
            None if self.close_time is None else self.close_time[rows],
            tuple(self.series[row] for row in rows) if self.series else (),
        )

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Forecasts:
    """A forecaster's answer: `values` float32 [N, *spec.shape], in the windows' order."""

    values: Float32Array


_ALIKE = (
    "kind", "timeframe", "lookback", "horizon", "inputs", "outputs", "levels", "samples", "calendar", "clock",
    "future_stamps", "joined", "series",
)


def check_alike(first: ForecastSpec, later: ForecastSpec) -> None:
    """Refuse a model that cannot take over from another.

    Raises:
        PluginError: it does not say the same kind of thing of the same windows.
    """
    for name in _ALIKE:
        one, other = getattr(first, name), getattr(later, name)
        if one != other:
            raise PluginError(f"model {first.name}: its {name} was {one!r}, then {other!r}; retrain it alike")


class Forecaster(Protocol):
    """A model at work. Same windows and seeds, same answers, in any batch (float32: to 1e-5)."""

    @property
    def spec(self) -> ForecastSpec: ...

    def forecast(self, windows: Windows) -> Forecasts:
        """Answer for each window.

        Raises:
            MemoryError: the batch does not fit; the engine asks again with smaller ones.
        """


@dataclass(frozen=True)
class Explanation:
    """What one forecast was made of, as its model says itself. Shares: each group, and the bars, add up to 1.

    Args:
        weights: by group of inputs ("the past", "known ahead" …), of each input by name, how much it counted.
        bars: float64 [lookback], how much each bar of the window was looked at, oldest first; empty if it is not said.
    """

    weights: Mapping[str, Mapping[str, float]]
    bars: FloatArray


@runtime_checkable
class ExplainsItself(Protocol):
    """A forecaster that can say what its forecasts were made of. For people: nothing is stored or traded by it."""

    def explain(self, windows: Windows) -> Sequence[Explanation]:
        """Return an explanation of each window's forecast."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """One dated statement about the future, as strategies get it.

    `as_of` is the close of the last bar it was made from, `available_at` when it could be used (as_of + the model's
    latency), `horizon_end` when the last bar it speaks of closes; UTC nanoseconds. `values` has the spec's shape.
    `last_close` is the close at `as_of`. `flags` names what is odd about it ("nan", "impossible", "constant",
    "crossed", "contaminated", "gap", "filled", "repaired"); one of the first three is never delivered to on_forecast.
    """

    id: int
    spec: ForecastSpec
    symbol: str
    as_of: int
    available_at: int
    horizon_end: int
    last_close: float
    values: Float32Array
    flags: frozenset[str] = frozenset()

    @property
    def known_at(self) -> int:
        """When it became known: `available_at`."""
        return self.available_at

    @property
    def score(self) -> float:
        """The ranking score (SCORE)."""
        return float(self._of(ForecastKind.SCORE)[0])

    @property
    def expected_return(self) -> float:
        """The mean log return to the end of the horizon (RETURN, PATHS)."""
        if self.spec.kind is ForecastKind.PATHS:
            return float(self.path_returns.mean())
        return float(self._of(ForecastKind.RETURN)[-1])

    @property
    def path_returns(self) -> FloatArray:
        """Log return of every sample path to its last close, float64 [S] (PATHS)."""
        closes = self._of(ForecastKind.PATHS)[:, -1, 3].astype(np.float64)
        return np.asarray(np.log(closes / self.last_close))

    @property
    def probability_up(self) -> float:
        """The share of sample paths that end above the last close (PATHS), ties counted as one half."""
        returns = self.path_returns
        return float((returns > 0).mean() + 0.5 * (returns == 0).mean())

    def quantile(self, level: float, step: int = -1) -> float:
        """Return a quantile of the log return at a step of the horizon (QUANTILES by the spec's levels, linear in
        between; PATHS by the samples)."""
        if self.spec.kind is ForecastKind.PATHS:
            closes = self._of(ForecastKind.PATHS)[:, step, 3].astype(np.float64)
            return float(np.quantile(np.log(closes / self.last_close), level))
        return float(np.interp(level, self.spec.levels, self._of(ForecastKind.QUANTILES)[step]))

    @property
    def end_quantiles(self) -> FloatArray:
        """Quantiles of the log return to the horizon's end, float64 [Q], at the levels of the spec's `return_quantiles`
        (QUANTILES; MULTI with outputs that are such)."""
        last = self._of(ForecastKind.QUANTILES, ForecastKind.MULTI).reshape(-1, self.values.shape[-1])[-1]
        return last[list(self.spec.return_quantiles.values())].astype(np.float64)

    @property
    def strength(self) -> float:
        """One number to rank forecasts of a model by: the score, the expected return, the median of QUANTILES at the
        end, of named outputs the chance of a rise or the return if there is one, else the first."""
        match self.spec.kind:
            case ForecastKind.SCORE:
                return self.score
            case ForecastKind.RETURN | ForecastKind.PATHS:
                return self.expected_return
            case ForecastKind.QUANTILES:
                return self.quantile(0.5)
            case _:
                spec = self.spec
                wanted = (spec.up_output, spec.return_output)
                return self[next((name for name in wanted if name in spec.outputs), spec.outputs[0])]

    def __getitem__(self, output: str) -> float:
        """Return a named output (PROBABILITY, MULTI)."""
        return float(self._of(ForecastKind.PROBABILITY, ForecastKind.MULTI)[self.spec.outputs.index(output)])

    def _of(self, *kinds: ForecastKind) -> Float32Array:
        if self.spec.kind not in kinds:
            wanted = " or ".join(kinds)
            raise TypeError(f"forecast of {self.spec.name} is {self.spec.kind}; expected {wanted} for what was asked")
        return self.values
