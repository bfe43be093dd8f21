"""Columns that a transformer has of other streams than its windows' own: slower bars, a reference symbol, its beta.

Training makes them of all history (models.training.data.table), a forecaster of the bars that the engine cut; both by
`models.features`, so that they are the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from engine.bars import FloatArray, IntArray, Timeframe
from engine.errors import PluginError
from engine.forecasts import Float32Array, Joined, JoinedBars, Windows
from models.features.features import Feature, features, matrix, memory_of
from models.features.fusion import Slow, as_of, beta, pieces
from models.features.rolling import change
from models.tft.bar_features import FIELDS

JOINS = "joins"
"""Their name among an artefact's conventions."""
AGAIN = "train it again with this one: `train tft` with the settings it was trained with"
"""The way out of artefacts that another version wrote."""


class JoinedSeries(NamedTuple):
    """A series that is the same for all symbols: its columns, ns between rows, and how many of those steps a value may
    be old."""

    names: tuple[str, ...]
    step: int
    tolerance: float


@dataclass(frozen=True)
class Joins:
    """What is joined.

    Args:
        timeframes: features of the same symbol's slower bars, as "4h_rsi(14)", each with "4h_age".
        reference, features: a symbol of whose bars of the same timeframe all have features, as "reference_rsi(14)".
        beta: bars over which "beta(20)" on its returns is taken; 0 for none.
        series: those that are the same for all symbols. lag: ns from a bar's close until it counted in training, which
            tells what of the series was known then. across_gaps: see `pieces`.
    """

    timeframes: Mapping[str, Sequence[str]]
    reference: str = ""
    features: Sequence[str] = ()
    beta: int = 0
    series: Sequence[JoinedSeries] = ()
    lag: int = 0
    across_gaps: bool = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, in training's order."""
        of = {frame: features(texts) for frame, texts in self.timeframes.items()}
        found = [f"{frame}_{one.name}" for frame, some in of.items() for one in some]
        found += [f"{frame}_age" for frame in of]
        found += [f"reference_{one.name}" for one in features(self.features)]
        found += [f"beta({self.beta})"] if self.beta else []
        return (*found, *(name for one in self.series for name in one.names))

    def as_json(self) -> dict[str, Any]:
        """Return it for an artefact's card."""
        return {
            "timeframes": {frame: list(texts) for frame, texts in self.timeframes.items()},
            "reference": self.reference, "features": list(self.features), "beta": self.beta,
            "series": [[list(one.names), one.step, one.tolerance] for one in self.series], "lag": self.lag,
            "across_gaps": self.across_gaps,
        }

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> "Joins":
        """Return what `as_json` has written.

        Raises:
            PluginError: another version of it has.
        """
        names, expected = sorted(card) if isinstance(card, Mapping) else ["?"], sorted(cls.__dataclass_fields__)
        if names != expected:
            raise PluginError(
                f"the artefact says in conventions.{JOINS} what it joins as {', '.join(names)}; expected "
                f"{', '.join(expected)}: another version wrote it; {AGAIN}"
            )
        series = tuple(JoinedSeries(tuple(names), step, tolerance) for names, step, tolerance in card["series"])
        return cls(**{**card, "series": series})


class JoinedColumns:
    """Makes the columns of windows.

    Args:
        wanted: names of those that the network has; timeframe: of the windows' own bars.
    """

    def __init__(self, joins: Joins, wanted: Sequence[str], timeframe: str) -> None:
        self.names = tuple(name for name in joins.names if name in wanted)
        self._across = joins.across_gaps
        self._duration = Timeframe.parse(timeframe).duration
        self._beta = joins.beta if f"beta({joins.beta})" in wanted else 0
        self._series = [one for one in joins.series if any(name in wanted for name in one.names)]
        self._parts: list[tuple[Joined, str, tuple[Feature, ...]]] = []
        for frame, texts in sorted(joins.timeframes.items(), key=lambda one: Timeframe.parse(one[0]).duration):
            some = _wanted(texts, frame, wanted)
            if some or f"{frame}_age" in wanted:
                self._parts.append((Joined(frame, "", memory_of(some)), frame, some))
        some = _wanted(joins.features, "reference", wanted)
        if some or self._beta:
            memory = max(memory_of(some), 2 if self._beta else 1)
            self._parts.append((Joined(timeframe, joins.reference, memory), "reference", some))

    @property
    def streams(self) -> tuple[Joined, ...]:
        """What the engine is asked for."""
        return tuple(joined for joined, _, _ in self._parts)

    @property
    def series(self) -> tuple[tuple[str, ...], ...]:
        """The columns of the series that the engine is asked for."""
        return tuple(one.names for one in self._series)

    @property
    def before(self) -> int:
        """Bars of its own that a window needs before its first row."""
        return self._beta

    def of(self, windows: Windows, rows: int) -> dict[str, Float32Array]:
        """Return each column at the last `rows` rows of windows, float32 [N, rows]."""
        assert windows.close_time is not None, "the engine gives it where something is joined"
        found = {name: np.full((len(windows), rows), np.nan, np.float32) for name in self.names}
        for place, (joined, prefix, some) in enumerate(self._parts):
            duration = Timeframe.parse(joined.timeframe).duration
            made = self._made(some, [beside[place] for beside in windows.joined], duration)
            for window, values in enumerate(made):
                times = windows.joined[window][place].close_time
                slow = Slow(tuple(one.name for one in some), times, values, duration)
                at = windows.close_time[window, -rows:]
                joined_values, age = as_of(slow, at)
                for column, one in enumerate(some):
                    found[f"{prefix}_{one.name}"][window] = joined_values[:, column]
                if f"{prefix}_age" in found:
                    found[f"{prefix}_age"][window] = age
                if prefix == "reference" and self._beta:
                    beside = windows.joined[window][place]
                    own = windows.values[window, :, FIELDS.index("close")]
                    line = self._betas(own, windows.close_time[window], beside)
                    found[f"beta({self._beta})"][window] = line[-rows:]
        for place, one_series in enumerate(self._series):
            for window, beside_it in enumerate(windows.series):
                values, times = beside_it[place]
                slow = Slow(one_series.names, times, values, one_series.step, one_series.tolerance)
                joined_values, _ = as_of(slow, windows.close_time[window, -rows:])
                for column, name in enumerate(one_series.names):
                    if name in found:
                        found[name][window] = joined_values[:, column]
        return found

    def _made(self, some: Sequence[Feature], beside: Sequence[JoinedBars], duration: int) -> list[FloatArray]:
        """Return features of each window's joined bars, float64 [R, features]; windows of one length at once."""
        found = [np.full((len(bars.values), len(some)), np.nan) for bars in beside]
        if not some:
            return found
        lengths: dict[int, list[int]] = {}
        for place, bars in enumerate(beside):
            if not len(bars.values):
                continue
            cuts = pieces(bars.close_time, duration, across_gaps=self._across)
            if len(cuts) == 1:
                lengths.setdefault(len(bars.values), []).append(place)
            else:
                found[place] = np.concatenate([_matrix(some, bars.values[cut]) for cut in cuts])
        for places in lengths.values():
            for place, values in zip(places, _matrix(some, np.stack([beside[p].values for p in places])), strict=True):
                found[place] = values
        return found

    def _betas(self, own: Float32Array, at: IntArray, beside: JoinedBars) -> FloatArray:
        cuts = pieces(at, self._duration, across_gaps=self._across)
        returns = _returns(own, cuts)
        of_reference = beside.values[:, FIELDS.index("close")]
        others = _returns(of_reference, pieces(beside.close_time, self._duration, across_gaps=self._across))
        slow = Slow(("r",), beside.close_time, others[:, None], self._duration, tolerance=0.0)
        other = as_of(slow, at)[0][:, 0]
        return np.concatenate([beta(returns[cut], other[cut], self._beta) for cut in cuts])


def _wanted(texts: Sequence[str], prefix: str, wanted: Sequence[str]) -> tuple[Feature, ...]:
    return tuple(one for one in features(texts) if f"{prefix}_{one.name}" in wanted)


def _matrix(some: Sequence[Feature], values: Float32Array) -> FloatArray:
    """Return features of bars [..., R, 5]: [..., R, features], rounded to float32 as in training."""
    columns = {name: values[..., place].astype(np.float64) for place, name in enumerate(FIELDS)}
    return matrix(some, columns).astype(np.float64)


def _returns(close: Float32Array, cuts: Sequence[slice]) -> FloatArray:
    return np.concatenate([change(np.log(close[cut].astype(np.float64))) for cut in cuts])
