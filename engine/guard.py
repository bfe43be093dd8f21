"""Errors of plugin code come out with the bar and the line at which they happened."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from engine.bars import iso
from engine.errors import JournalError, SettingsError, StrategyError
from engine.moment import Moment, SingleMoment
from engine.strategy import Strategy

Answer = TypeVar("Answer")


class Guard:
    """Calls into a strategy, and into the loop on its behalf."""

    def __init__(self, strategy: Strategy, moment: Moment) -> None:
        self._strategy = strategy
        self._moment = moment

    def call(self, handler: str, function: Callable[[], Answer]) -> Answer:
        """Return what the function returns.

        Args:
            handler: the strategy's method being called; empty when only the traceback knows.
        Raises:
            StrategyError: code in the strategy's own file raised; anything else passes as it is.
        """
        try:
            return function()
        except Exception as error:
            where = _line_in_plugin(error, type(self._strategy))
            if where is None or isinstance(error, StrategyError | SettingsError | JournalError):
                raise
            line, method = where
            name = type(self._strategy).__name__
            raise StrategyError(
                f"{name}.{handler or method} failed{self._at()}: {type(error).__name__}: {error} ({line})"
            ) from error

    def _at(self) -> str:
        moment = self._moment
        if isinstance(moment, SingleMoment) and moment.bar is not None:
            return f" at the bar {moment.bar.symbol} {moment.bar.timeframe} that closed {iso(moment.bar.close_time)}"
        return f" at the instant {iso(moment.time)}" if moment.time else ""


def _line_in_plugin(error: BaseException, strategy: type) -> tuple[str, str] | None:
    """Return ("file, line N", function) of the deepest frame that lies in the strategy's own file, or None."""
    file = getattr(sys.modules.get(strategy.__module__), "__file__", None)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if file is not None and frame.filename == file:
            return f"{Path(frame.filename).name}, line {frame.lineno}", frame.name
    return None
