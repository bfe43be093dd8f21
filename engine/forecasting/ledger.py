"""The ledger: forecasts whose horizon is still open, scored in order as it closes. The same in backtest and paper.

What it does depends on bars and forecasts alone, never on when somebody looks.
"""

import heapq
from dataclasses import dataclass, field

import numpy as np

from engine.bars import FloatArray, Timeframe
from engine.forecasting.history import History
from engine.forecasting.scores import FEWEST_RANKED, Score, log_return, rank_correlation, score
from engine.forecasts import Forecast


@dataclass
class _Section:
    """The forecasts of one model and instant, as far as they are scored."""

    members: int
    said: list[float] = field(default_factory=list)
    realised: list[float] = field(default_factory=list)
    time: int = 0


@dataclass(frozen=True)
class _Open:
    """A forecast whose horizon is open, and what will be needed to score it."""

    forecast: Forecast
    history: History
    row: int
    past: FloatArray
    section: _Section | None


class Ledger:
    """Open forecasts, and scores that nobody has fetched yet."""

    def __init__(self) -> None:
        self._open: list[tuple[int, int, _Open]] = []
        self._scores: list[Score] = []

    def add(self, forecasts: list[Forecast], places: list[tuple[History, int]], *, is_section: bool) -> None:
        """Take in forecasts of one model and instant.

        Args:
            places: for each, the history of its symbol and the row it was made at.
            is_section: whether they are to be ranked among each other too.
        """
        section = _Section(len(forecasts)) if is_section and len(forecasts) >= FEWEST_RANKED else None
        for forecast, (history, row) in zip(forecasts, places, strict=True):
            past = np.array(history.closes(row + 1 - forecast.spec.lookback, row + 1))
            entry = _Open(forecast, history, row, past, section)
            heapq.heappush(self._open, (forecast.horizon_end, forecast.id, entry))

    def note(self, now: int) -> None:
        """Score what has closed by an instant."""
        while self._open and self._open[0][0] <= now:
            due, number, entry = heapq.heappop(self._open)
            last = entry.row + entry.forecast.spec.horizon
            # Whether it had closed when it was due, not whether it has by now: the order of scores must not depend on
            # how often this is called.
            if entry.history.closed(due) <= last:
                later = due + Timeframe.parse(entry.forecast.spec.timeframe).duration
                heapq.heappush(self._open, (later, number, entry))
                continue
            self._close(entry, last)

    def settled(self, now: int) -> list[Score]:
        """Return the scores not fetched yet of what has closed by an instant, in order."""
        self.note(now)
        scores, self._scores = self._scores, []
        return scores

    def _close(self, entry: _Open, last: int) -> None:
        forecast, history = entry.forecast, entry.history
        realised = log_return(forecast.last_close, float(history.closes(last, last + 1)[0]))
        time = int(history.close_times(last, last + 1)[0])
        self._scores.append(score(forecast, realised, time, entry.past))
        section = entry.section
        if section is None:
            return
        section.said.append(forecast.strength)
        section.realised.append(realised)
        section.time = max(section.time, time)
        if len(section.said) == section.members:
            found = rank_correlation(np.array(section.said), np.array(section.realised))
            if found is not None:
                name, members = forecast.spec.name, section.members
                self._scores.append(
                    Score(None, name, "", forecast.as_of, section.time, members=members, rank_ic=found)
                )
