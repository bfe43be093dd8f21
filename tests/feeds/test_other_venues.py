"""Venues without a final word, venues whose words are not known, several at once; trades, books and funding by hand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import ccxt
import pytest

from engine.bars import FORWARD_FILLED, MINUTE, SECOND
from engine.errors import SettingsError, VenueError
from engine.live.inputs import BarsClosed, FeedTold
from feeds.exchange_live import LiveFeed
from feeds.live_options import FeedOptions, VenuePlan
from feeds.venue_trades import Listener
from tests.feeds.fake_exchange import NOON, StreamingFake, ns, row

MS = 60_000
OPTIONS = FeedOptions(history=2, deadline=40 * SECOND, lag=600 * SECOND, stale_after=30 * SECOND, tick=SECOND // 50)


class Room:
    """A feed on fakes, and what came of it."""

    def __init__(self, feed: LiveFeed, *venues: StreamingFake) -> None:
        self.feed = feed
        self.venues = venues
        self.venue = venues[0]
        self.inputs: list = []

    @property
    def bars(self) -> list:
        return [bar for one in self.inputs if isinstance(one, BarsClosed) for bar in one.bars]

    @property
    def told(self) -> list[FeedTold]:
        return [one for one in self.inputs if isinstance(one, FeedTold)]

    def at(self, seconds: float) -> None:
        """Set every venue's time, in seconds after noon."""
        for venue in self.venues:
            venue.now = NOON + round(seconds * 1000)

    def eventually(self, what) -> None:
        end = time.monotonic() + 120
        while not what():
            assert time.monotonic() < end, f"waited in vain; there are {self.inputs[-5:]}"
            one = self.feed.take(0.02)
            self.inputs += [] if one is None else [one]

    def nothing_for(self, seconds: float) -> None:
        count = len(self.inputs)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            one = self.feed.take(0.02)
            self.inputs += [] if one is None else [one]
        assert len(self.inputs) == count


@contextmanager
def room(
    *venues: StreamingFake, listener: Listener | None = None, prefixes=("", "b:"), waits: bool = True, **plan,
) -> Iterator[Room]:
    plans = [
        VenuePlan(lambda venue=venue: venue, tuple(venue.known), ("1m",), prefix=prefix, **plan)
        for venue, prefix in zip(venues, prefixes, strict=False)
    ]
    feed = LiveFeed(plans, options=OPTIONS, clock=lambda: ns(venues[0].now))
    made = Room(feed, *venues)
    try:
        feed.open()
        if listener is not None:
            feed.listen(list(feed.markets), listener)
        feed.start()
        if waits:
            made.eventually(lambda: made.bars and made.bars[-1].close_time == ns(NOON))
        yield made
    finally:
        feed.close()


def fake(venue: str = "kraken", **options) -> StreamingFake:
    return StreamingFake(venue, now=NOON + 3_000, **options)


def ohlc(minute: int, *, share: float = 1.0, symbol: str = "BTC/USDT") -> dict:
    opened, *prices, volume = row(NOON + minute * MS)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime(opened / 1000))
    names = ("open", "high", "low", "close")
    return {"channel": "ohlc", "type": "update", "data": [{
        "symbol": symbol, **dict(zip(names, prices, strict=True)), "volume": volume * share, "interval": 1,
        "interval_begin": stamp}]}


def values(bar) -> list:
    return [bar.open_time // 1_000_000, *bar[3:8]]


# ── a venue that sends every change, but no final word ──────────────────────────────────────────────────────────────


def test_a_newer_candle_closes_the_one_before():
    with room(fake()) as made:
        made.at(59)
        made.venue.say(ohlc(0, share=0.5))
        made.venue.say(ohlc(0))
        made.nothing_for(0.1)
        made.at(60.5)
        made.venue.say(ohlc(1, share=0.1))
        made.eventually(lambda: values(made.bars[-1]) == row(NOON))
        assert len(made.venue.calls["fetch_ohlcv"]) == 1, "the history alone was asked for"


def test_a_candle_that_was_last_heard_of_before_a_break_is_asked_for():
    with room(fake()) as made:
        made.at(30)
        made.venue.say(ohlc(0, share=0.5))
        made.venue.break_streams(ccxt.NetworkError("1006"))
        made.at(61)
        made.venue.say(ohlc(1, share=0.1))
        made.nothing_for(0.1)
        made.at(62.1)
        made.eventually(lambda: values(made.bars[-1]) == row(NOON))
        assert made.feed.states()[0].reconnects == 1


@pytest.mark.parametrize("fills_empty", [False, True])
def test_a_minute_in_which_nothing_traded_is_a_gap_or_made_of_the_last_close(fills_empty):
    with room(fake(holes=frozenset([NOON])), fills_empty=fills_empty) as made:
        made.at(123)
        made.eventually(lambda: made.bars[-1].open_time == ns(NOON + MS))
        if fills_empty:
            filled = made.bars[-2]
            assert (filled.open_time, filled.volume, filled.flags) == (ns(NOON), 0.0, FORWARD_FILLED)
            assert not made.told
        else:
            assert [(one.kind, one.value) for one in made.told] == [("gap", 1.0)]


# ── a venue whose words are not known ───────────────────────────────────────────────────────────────────────────────


def test_the_bars_of_an_unknown_venue_are_asked_for_and_never_taken_from_its_stream():
    with room(fake("anyvenue")) as made:
        made.venue.ohlcvs["BTC/USDT"] = {"1m": [[NOON, 1.0, 1.0, 1.0, 1.0, 1.0]]}
        made.venue.wake("candles")
        made.at(61)
        made.venue.ohlcvs["BTC/USDT"]["1m"].append(row(NOON + MS))
        made.venue.wake("candles")
        made.nothing_for(0.1)
        made.at(62.1)
        made.eventually(lambda: values(made.bars[-1]) == row(NOON))


def test_a_venue_without_a_stream_of_candles_is_asked_and_not_listened_to():
    venue = fake("anyvenue")
    venue.has["watchOHLCV"] = False
    with room(venue) as made:
        made.at(63)
        made.eventually(lambda: values(made.bars[-1]) == row(NOON))
        assert made.venue.calls["watch_ohlcv"] == []


def test_a_symbol_that_the_venue_has_no_bars_of_does_not_hold_up_the_others_for_ever():
    venue = fake(symbols=("BTC/USDT", "NEW/USDT"))
    venue.listed = {"NEW/USDT": NOON + 10 * MS}
    with room(venue, waits=False) as made:
        made.at(50)
        made.eventually(lambda: made.told and made.bars)
        assert {one.symbol for one in made.told if one.kind == "gap"} == {"NEW/USDT"}
        assert {bar.symbol for bar in made.bars} == {"BTC/USDT"}


# ── several venues ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_venues_share_one_order_and_a_dead_one_holds_up_the_other_no_longer_than_the_deadline():
    one, other = fake(), fake("anyvenue")
    with room(one, other) as made:
        made.at(63)
        made.eventually(lambda: made.bars[-1].open_time == ns(NOON))
        assert [bar.symbol for bar in made.bars[-2:]] == ["BTC/USDT", "b:BTC/USDT"]
        asked = len(one.calls["fetch_ohlcv"])
        other.faults["fetch_ohlcv"] = [ccxt.ExchangeNotAvailable("502")] * 1_000
        made.at(123)
        made.eventually(lambda: len(one.calls["fetch_ohlcv"]) > asked)
        made.nothing_for(0.2)
        made.at(123 + 6 * 40 + 1)
        made.eventually(lambda: made.bars[-1].open_time >= ns(NOON + MS))
        assert any(told.kind == "gap" and told.symbol == "b:BTC/USDT" for told in made.told)


def test_one_symbol_at_two_venues_needs_a_prefix():
    with (
        pytest.raises(SettingsError, match="two instruments are called BTC/USDT"),
        room(fake(), fake(), prefixes=("", "")),
    ):
        pass


def test_two_symbols_of_one_name_at_a_venue_are_refused():
    venue = fake("binance", symbols=("BTC/USDT", "BTC/USDT:USDT"))
    with (
        pytest.raises(SettingsError, match="two symbols are called BTCUSDT there, BTC/USDT:USDT is one"),
        room(venue),
    ):
        pass


def test_a_refused_key_ends_the_feed_with_what_to_do():
    with room(fake()) as made:
        made.venue.break_streams(ccxt.AuthenticationError("kraken EAPI:Invalid key"))
        with pytest.raises(VenueError, match="kraken: the venue refuses its public streams: kraken EAPI:Invalid key"):
            made.eventually(lambda: False)


# ── trades, books, funding ──────────────────────────────────────────────────────────────────────────────────────────


def a_trade(number: int, *, seconds: float = 10.0) -> dict:
    return {
        "id": str(number), "timestamp": NOON + round(seconds * 1000), "price": 100.0 + number, "amount": 1.0,
        "side": "buy"}


def test_more_trades_than_are_kept_are_told_as_missed():
    heard: list = []
    with room(fake(), listener=Listener(on_trade=heard.append)) as made:
        made.at(10)
        made.venue.trades["BTC/USDT"] = [a_trade(1)]
        made.venue.wake("trades")
        made.eventually(lambda: len(heard) == 1)
        made.venue.trades["BTC/USDT"] = [a_trade(number) for number in range(50, 60)]  # what was there is gone
        made.venue.wake("trades")
        made.eventually(lambda: len(heard) == 11)
        made.eventually(lambda: made.told)
        assert "some were missed" in made.told[0].reason


def test_trades_from_before_the_start_are_not_news():
    heard: list = []
    with room(fake(), listener=Listener(on_trade=heard.append)) as made:
        made.at(10)
        made.venue.trades["BTC/USDT"] = [a_trade(1, seconds=-30), a_trade(2, seconds=5)]
        made.venue.wake("trades")
        made.eventually(lambda: [one.id for one in heard] == ["2"])


def test_a_trade_without_a_price_is_counted_and_left_out():
    heard: list = []
    with room(fake(), listener=Listener(on_trade=heard.append)) as made:
        made.at(10)
        made.venue.trades["BTC/USDT"] = [{**a_trade(1), "price": None}, a_trade(2)]
        made.venue.wake("trades")
        made.eventually(lambda: [one.id for one in heard] == ["2"])
        assert made.feed.states()[0].not_understood == 1


def test_a_book_that_crosses_is_emptied():
    books: list = []
    with room(fake(), listener=Listener(on_book=books.append)) as made:
        made.at(10)
        made.venue.orderbooks["BTC/USDT"] = {"bids": [[99.0, 1.0]], "asks": [[101.0, 2.0]], "timestamp": NOON + 9_000}
        made.venue.wake("books")
        made.eventually(lambda: books)
        assert (books[0].bids, books[0].asks, books[0].time) == (((99.0, 1.0),), ((101.0, 2.0),), ns(NOON + 9_000))
        made.venue.orderbooks["BTC/USDT"] = {"bids": [[102.0, 1.0]], "asks": [[101.0, 2.0]], "timestamp": None}
        made.venue.wake("books")
        made.eventually(lambda: len(books) == 2)
        assert (books[1].bids, books[1].asks) == ((), ())


def test_funding_is_told_when_it_is_due_at_the_rate_that_was_settled():
    due: list = []
    venue = fake("binance", symbols=("BTC/USDT:USDT",))
    venue.known["BTC/USDT:USDT"].update(type="swap", swap=True, contract=True, linear=True, contractSize=1.0)
    venue.has["fetchFundingRateHistory"] = True
    venue.funding = [(NOON + 4_000, 0.0001, 50_000.0)]
    venue.settled = [(NOON + 4_003, 0.00012)]  # stamps are some milliseconds off
    with room(venue, listener=Listener(on_funding=due.append)) as made:
        assert due == []
        made.at(10)
        made.eventually(lambda: due)
        (one,) = due
        assert (one.symbol, one.time, one.rate, one.mark_price) == (
            "BTC/USDT:USDT", ns(NOON + 4_000), 0.00012, 50_000.0)
        assert one.time % MINUTE
