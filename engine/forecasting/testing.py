"""Small models for tests, ours and those of authors: pure functions of a window, and models that misbehave."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from engine.forecasts import Float32Array, ForecastKind, Forecasts, ForecastSpec, Windows

Window = Float32Array
"""[lookback, F], oldest bar first."""


class FunctionForecaster:
    """A model made of a function of one window, asked window by window; it counts what it is asked.

    Args:
        function: gets a window and answers with what its spec's kind says.
        most: windows it takes at once; more run out of memory.
    """

    def __init__(
        self, spec: ForecastSpec, function: Callable[[Window], npt.ArrayLike], *, most: int | None = None
    ) -> None:
        self.spec = spec
        self.calls = 0
        self.asked: list[tuple[str, int]] = []
        """Symbol and time of every window, in the order of asking."""
        self.batches: list[int] = []
        self._function = function
        self._most = most

    def forecast(self, windows: Windows) -> Forecasts:
        if self._most is not None and len(windows) > self._most:
            raise MemoryError(f"{len(windows)} windows")
        self.calls += 1
        self.batches.append(len(windows))
        self.asked += zip(windows.symbols, windows.as_of.tolist(), strict=True)
        values = [np.asarray(self._function(window), np.float32) for window in windows.values]
        return Forecasts(np.stack(values).reshape(len(windows), *self.spec.shape))


class RandomPaths:
    """Sample paths of a random walk as volatile as the window, drawn with each window's own seed: PATHS."""

    def __init__(self, spec: ForecastSpec) -> None:
        self.spec = replace(spec, kind=ForecastKind.PATHS)
        self.calls = 0

    def forecast(self, windows: Windows) -> Forecasts:
        self.calls += 1
        samples, horizon = self.spec.samples, self.spec.horizon
        paths = np.empty((len(windows), samples, horizon, 6), np.float32)
        close = self.spec.inputs.index("close")
        for place, seed in enumerate(windows.seeds.tolist()):
            closes = windows.values[place, :, close].astype(np.float64)
            deviation = max(float(np.diff(np.log(closes)).std()), 1e-6)
            moves = np.random.default_rng(seed).normal(0, deviation, (samples, horizon))
            price = closes[-1] * np.exp(np.cumsum(moves, axis=1))
            paths[place] = np.stack([price, price, price, price, np.ones_like(price), price], axis=-1)
        return Forecasts(paths)


def spec_of(kind: ForecastKind, *, name: str = "fake", version: str = "1", **changes: object) -> ForecastSpec:
    """Return a spec for tests: daily bars, a window of five closes, a horizon of two bars, trained on nothing ever.

    Args:
        version: goes into the model's hash.
    """
    values: dict[str, object] = {
        "name": name, "kind": kind, "timeframe": "1d", "lookback": 5, "horizon": 2, "inputs": ("close",),
        "model_hash": sha256(f"{name} {version}".encode()).hexdigest(), "trained_until": 0,
    }
    return ForecastSpec(**{**values, **changes})  # type: ignore[arg-type]


def momentum(spec: ForecastSpec | None = None, *, most: int | None = None) -> FunctionForecaster:
    """Return a model that expects the window's mean log return to go on: RETURN."""
    of = spec or spec_of(ForecastKind.RETURN, is_deterministic=True)

    def expected(window: Window) -> npt.NDArray[np.float64]:
        closes = window[:, of.inputs.index("close")].astype(np.float64)
        return np.asarray(np.log(closes[-1] / closes[0]) / (len(closes) - 1) * np.arange(1, of.horizon + 1))

    return FunctionForecaster(of, expected, most=most)


def last_change(spec: ForecastSpec | None = None) -> FunctionForecaster:
    """Return a model that ranks symbols by their last bar's log return: SCORE."""
    of = spec or spec_of(ForecastKind.SCORE, is_deterministic=True)
    return FunctionForecaster(of, lambda window: [float(np.log(window[-1, 0] / window[-2, 0]))])
