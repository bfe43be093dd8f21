"""What a strategy holds of a model, and the cross-section of forecasts that it is told of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.forecasting.skill import SkillState
from engine.forecasts import Forecast, ForecastSpec


class Asked(Protocol):
    """The engine's side of `ModelForecasts`."""

    def latest(self, model: str, symbol: str | None) -> Forecast | None: ...
    def ask(self, model: str, symbols: Sequence[str] | None) -> list[Forecast]: ...
    def skill(self, model: str) -> SkillState: ...
    def scale(self, model: str) -> float: ...


@dataclass(frozen=True)
class ModelForecasts:
    """The forecasts of one model, as `Strategy.forecasts` declares them."""

    model: str
    spec: ForecastSpec
    symbols: tuple[str, ...]
    """Of which there are forecasts, in feed order."""
    book: Asked

    def latest(self, symbol: str | None = None) -> Forecast | None:
        """Return the last forecast of a symbol that is available by now; None before the first. The symbol may be left
        out where there is one."""
        return self.book.latest(self.model, symbol)

    def ask(self, symbol: str | None = None) -> Forecast | None:
        """Return a forecast made from the bars up to now, whatever the schedule.

        None while there are fewer bars than its lookback, if the model answers NaN or constants, or if it has a
        latency: `on_forecast` then gets it as soon as it is available.
        """
        found = self.book.ask(self.model, None if symbol is None else (symbol,))
        return found[0] if found else None

    def ask_all(self) -> list[Forecast]:
        """Return forecasts of all symbols from the bars up to now, asked as one batch; as `ask`."""
        return self.book.ask(self.model, self.symbols)

    @property
    def skill(self) -> SkillState:
        """How good the model's forecasts have been so far, of those whose horizon has closed by now."""
        return self.book.skill(self.model)

    @property
    def scale(self) -> float:
        """What targets that rest on the model are multiplied with by now: 1 while it shows skill, or without a rule."""
        return self.book.scale(self.model)


@dataclass(frozen=True)
class ForecastPanel:
    """All forecasts of one model from one instant, in feed order: what `on_forecasts` gets.

    `time` is when they became available, `as_of` when the bars closed that they were made from. Symbols without a bar
    at that instant, or whose forecast was flagged as NaN or constant, are missing.
    """

    model: str
    spec: ForecastSpec
    as_of: int
    time: int
    forecasts: tuple[Forecast, ...]

    def __len__(self) -> int:
        return len(self.forecasts)

    def __iter__(self) -> Iterator[Forecast]:
        return iter(self.forecasts)

    def __getitem__(self, symbol: str) -> Forecast:
        """Return the forecast of a symbol.

        Raises:
            KeyError: there is none at this instant.
        """
        for forecast in self.forecasts:
            if forecast.symbol == symbol:
                return forecast
        raise KeyError(f"no forecast of {symbol} by {self.model} at this instant")

    def ranked(self) -> tuple[Forecast, ...]:
        """Return the forecasts, best first: by score, or by the expected return; ties in feed order."""
        return tuple(sorted(self.forecasts, key=lambda one: -one.strength))
