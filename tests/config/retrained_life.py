"""A session whose model is trained again beside it, on a made-up market that plays as fast as it is taken.

Run as a process of its own (`python -m tests.config.retrained_life SETTINGS.toml`) it is killed, as by `kill -9`, once
the training is done and before the new model takes over.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.data import bars_of, feed_of
from config.paper import PaperRun
from config.session import SessionFacts
from config.settings import Settings, SyntheticData, load_settings
from engine.bars import Stream
from engine.live.inputs import BarsClosed, Commanded, Input
from engine.live.ports import InputSource, VenueLink
from engine.live.session import Session
from tests.config.played import PlayedMarket, instants

SYMBOLS = [f"{letter * 3}/USDT" for letter in "ABCD"]
MARKET = {"source": "synthetic", "symbols": SYMBOLS, "timeframe": "1h", "bars": 640, "seed": 3}
FIRST, HISTORY, PAUSE, LAST = 380, 65, 600, 610
"""Rows of the market: where the session's begin, how many of them are history, where it waits for the new model, and
where it is over."""
PATIENCE = 240.0


def market() -> list[BarsClosed]:
    """Return the market's bars as inputs, instant by instant."""
    return instants(bars_of(feed_of(SyntheticData.model_validate(MARKET), 0)), FIRST + HISTORY)


class Played(PlayedMarket):
    """An edge that plays the market up to PAUSE, waits until a model has taken over or `stop` says so, plays on to LAST
    and stops the session. It looks on, too."""

    def __init__(self) -> None:
        super().__init__(SYMBOLS, market()[FIRST:LAST])
        self.session: Session | None = None
        self.last = market()[PAUSE].time
        self.said: list[str] = []
        self.ends = time.monotonic() + PATIENCE

    def open(
        self, facts: SessionFacts, last_closed: Mapping[Stream, int]
    ) -> tuple[InputSource, VenueLink | None]:
        opened = super().open(facts, last_closed)
        self._next = next(self._inputs, None)
        return opened

    def take(self, timeout: float) -> Input | None:
        assert self.session is not None
        if self._next is None:
            return Commanded(self.last, "stop", "enough", "ann")
        if self._next.time > self.last and not self.is_awaited():
            assert time.monotonic() < self.ends, f"no model took over: {self.said}"
            time.sleep(min(timeout, 0.05))
            return None
        given, self._next = self._next, next(self._inputs, None)
        return given

    def is_awaited(self) -> bool:
        """Return whether what the session waits for has come."""
        assert self.session is not None
        return bool(self.session.core.swaps)

    def began(self, session: Session, facts: SessionFacts, run_id: int) -> None:
        self.session = session

    def beat(self, session: Session, edge: Any, state: str) -> None:
        recorder = session.core.running.recorder
        self.said = [row[-1] for row in recorder.latest("alerts", 20)]

    def told(self, level: str, text: str) -> None:
        self.said.append(text)

    def ended(self, state: str) -> None:
        pass


def play(settings: Settings, edge: Played | None = None, *, kills: Sequence[str] = ()) -> int:
    """Run the session to its end, or until it is killed at a checkpoint; return the run's number."""
    edge = edge or Played()

    def reach(place: str) -> None:
        if place in kills:
            os.kill(os.getpid(), signal.SIGKILL)

    return PaperRun(
        settings, lambda: edge, watching=[edge], now=lambda: edge.last, checkpoint=reach).run()


if __name__ == "__main__":
    play(load_settings(Path(sys.argv[1])), kills=("trained, before the swap",))
