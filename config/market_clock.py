"""The time of a market that is played on this machine: faster than the wall's, or that of a day long past."""

import json
import time
from threading import Event, Thread
from urllib.error import URLError
from urllib.request import urlopen

from engine.errors import SettingsError, VenueUnavailable

EVERY = 2.0
"""Seconds of wall time between two looks at the venue's clock."""


class MarketClock:
    """Asks a loopback venue what time it is in its market, and goes on from there at its speed.

    Args:
        url: what answers with {"now": milliseconds since 1970, "speed": market seconds a second, "is_paused": …}.
    Raises:
        SettingsError: the address is not of this machine. VenueUnavailable: nothing answers there.
    """

    def __init__(self, url: str) -> None:
        from feeds.clients import is_loopback

        if not is_loopback(url):
            raise SettingsError(f"data.market_clock is {url!r}; expected an address of this machine: a market that is "
                                "played elsewhere than here runs on the wall's time")
        self._url = url
        self._stop = Event()
        self.speed = 1.0
        self._mark = (time.monotonic(), 0)
        self._last = 0
        self._look()
        self._thread = Thread(target=self._watch, name="market clock", daemon=True)
        self._thread.start()

    def __call__(self) -> int:
        """Return the market's time, UTC nanoseconds; it never goes back."""
        real, now = self._mark
        self._last = max(self._last, now + round((time.monotonic() - real) * 1e9 * self.speed))
        return self._last

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()

    def _look(self) -> None:
        try:
            with urlopen(self._url, timeout=5) as reply:
                said = json.load(reply)
            now, speed = int(said["now"]), float(said["speed"])
        except (URLError, OSError, ValueError, KeyError, TypeError) as exc:
            raise VenueUnavailable(f"the market's clock at {self._url} does not answer: {exc}") from exc
        self.speed = 0.0 if said.get("is_paused") else speed
        self._mark = (time.monotonic(), now * 1_000_000)

    def _watch(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self._look()
            except VenueUnavailable:
                continue  # it goes on at the speed it had; the feed says that the venue is away
