"""The outside world of a session: ccxt's live feed on one side, and on the other whoever fills its orders."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from brokers.fence import fenced_client
from brokers.keys import keys_of
from brokers.paper import PaperVenue
from brokers.paper_ledger import VenueFees
from brokers.paper_link import PaperLink
from brokers.paper_orders import PaperTerms
from brokers.sandbox import SandboxLink
from brokers.venue_questions import VenueQuestions
from config.paper import VenueTerms
from config.session import SessionFacts, venue_data
from config.settings import Settings
from config.venues import make_live_feed
from engine.bars import Stream
from engine.costs import ConstantLatency
from engine.errors import SettingsError
from engine.live.inputs import VenueTold
from engine.live.ports import InputSource, VenueLink
from engine.live.queueing import QueueSource
from engine.live.reports import Report
from feeds.exchange_live import LiveFeed
from feeds.venue_trades import Listener

FEES_IN_QUOTE = ("kraken", "coinbase")
"""Venues that take the fee of a spot purchase in the quote currency; others take it out of what is bought."""


class CcxtEdge:
    """A venue's public market through ccxt, and the broker that settings name.

    Args:
        clock: the market's time, UTC ns; speed: how fast it passes, in seconds a second of the wall's.
        is_wall: whether that is the wall's time.
    """

    def __init__(
        self, settings: Settings, clock: Callable[[], int], *, speed: float = 1.0, is_wall: bool = True
    ) -> None:
        self._settings = settings
        self._data = venue_data(settings)
        self._clock = clock
        self._speed = speed
        self._is_wall = is_wall
        self._queue = QueueSource()
        self._feed: LiveFeed | None = None
        self._link: VenueLink | None = None

    def terms(self) -> VenueTerms:
        """Ask the venue what holds today; fees that it does not name are those of the settings."""
        from config.costs import make_fees

        feed = self._opened()
        settled = make_fees(self._settings.costs).card()
        maker, taker = (Decimal(str(settled.get(name, "0.001"))) for name in ("maker", "taker"))
        fees = {
            symbol: (market.maker if market.maker is not None else maker,
                     market.taker if market.taker is not None else taker)
            for symbol, market in feed.markets.items()
        }
        return VenueTerms(tuple(market.instrument for market in feed.markets.values()), fees)

    def open(
        self, facts: SessionFacts, last_closed: Mapping[Stream, int]
    ) -> tuple[InputSource, VenueLink | None]:
        """Begin to listen. What was missed since the last bars of a session is asked for first."""
        feed = self._opened()
        if facts.broker == "paper":
            link = self._paper_link(facts)
            self._link = link
            feed.listen(
                [instrument.symbol for instrument in facts.instruments],
                Listener(on_trade=link.on_trade, on_book=link.on_book, on_funding=link.on_funding),
            )
        elif facts.broker == "sandbox":
            self._sandbox_link(facts, is_new=not last_closed).start()
        feed.start(last_closed)
        return self._queue, self._link

    def describe(self) -> dict[str, Any]:
        """Return what the feed knows of itself, for a status."""
        states = self._feed.states() if self._feed is not None else []
        return {
            "clock_offset": max((state.clock_offset for state in states), key=abs, default=None),
            "queue_depth": self._queue.depth,
            "reconnects": sum(state.reconnects for state in states),
        }

    def close(self) -> None:
        """Let go of every connection."""
        if self._feed is not None:
            self._feed.close()
        if self._link is not None:
            self._link.close()

    def _opened(self) -> LiveFeed:
        if self._feed is None:
            clock = None if self._is_wall else self._clock
            live = self._settings.live
            network = ("demo" if live.demo else "test") if live.broker == "sandbox" else ""
            self._feed = make_live_feed(self._data, live.feed, self._queue, clock=clock, network=network)
            self._feed.open()
        return self._feed

    def _paper_link(self, facts: SessionFacts) -> PaperLink:
        read_on = f"{facts.venue}, read when session {facts.name} began"
        fees = {
            instrument.symbol: VenueFees(
                *facts.fees[instrument.symbol],
                "quote" if instrument.is_contract or instrument.venue in FEES_IN_QUOTE else "get", read_on,
            )
            for instrument in facts.instruments
        }
        account = self._settings.account
        terms = PaperTerms(
            latency=ConstantLatency(round(self._settings.live.latency_milliseconds * 1e6)),
            fees=fees, leverage=account.leverage if account.kind == "margin" else Decimal(1),
            allows_short=account.allow_short,
        )
        venue = PaperVenue(facts.instruments, facts.cash, terms)
        return PaperLink(venue, self._tell, self._clock, speed=self._speed)

    def _sandbox_link(self, facts: SessionFacts, *, is_new: bool) -> SandboxLink:
        """Return a link to the venue's own test network, not started yet, with keys from the environment or a keyring.

        Raises:
            SettingsError: there are no keys, they may withdraw, the venue has no test network, or an instrument is none
                of its spot market.
        """
        if self._data.further:
            raise SettingsError(
                f'live.broker is "sandbox" and data.further names {self._data.further[0].venue} too; expected one '
                "venue: orders go to its test network alone"
            )
        for instrument in facts.instruments:
            if instrument.is_contract:
                raise SettingsError(
                    f'{instrument.symbol} is a perpetual, and live.broker "sandbox" trades spot alone; expected "paper"'
                )
        live, data = self._settings.live, self._data
        keys = keys_of(facts.venue)
        client = fenced_client(
            facts.venue, keys, api_urls=data.api_urls, is_demo=live.demo, timeout=live.feed.timeout_seconds,
            options={"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot", **data.options},
        )
        link = self._link = SandboxLink(
            VenueQuestions(client, keys), facts.instruments, self._tell, self._clock, is_new=is_new,
            dead_man_seconds=live.dead_man_seconds,
        )
        return link

    def _tell(self, report: Report) -> None:
        self._queue.put(VenueTold(report.received_at, report))
