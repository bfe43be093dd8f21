"""Live feeds with the real ccxt client on the loopback venue."""

import time

import pytest

from engine.bars import MINUTE, SECOND, Stream
from engine.errors import DataError, SettingsError
from feeds.clients import make_client
from feeds.exchange_live import LiveFeed
from feeds.live_options import FeedOptions, VenuePlan
from tests.feeds.stage import PATIENT, SYMBOLS, stage

VENUES = ("binance", "okx", "bybit")


@pytest.mark.parametrize("venue", VENUES)
def test_history_comes_first_and_then_every_bar_as_the_venue_has_it(venue):
    with stage(venue_id=venue) as made:
        made.minutes(5)
        made.check_equal_to_truth()
        history = [one.is_history for one in made.closed]
        assert history == [True] * 5 + [False] * 5
        assert made.told() == []


def test_a_bar_is_here_before_its_grace_has_passed():
    with stage() as made:
        made.until(made.start)
        assert made.now < made.start + 2 * SECOND


def test_what_a_market_trades_in_is_told_with_today_s_fees():
    with stage(starts=False) as made:
        market = made.feed.markets["BTC/USDT"]
        assert (market.instrument.base, market.instrument.quote, market.instrument.venue) == ("BTC", "USDT", "binance")
        assert str(market.instrument.price_increment) == "0.01"
        assert str(market.maker) == "0.001"
        assert market.is_active


@pytest.mark.parametrize("venue", VENUES)
def test_a_session_that_is_gone_on_with_gets_what_it_missed_and_no_history(venue):
    with stage(venue_id=venue, starts=False, options=FeedOptions(**{**vars_of(PATIENT), "lag": 5 * SECOND})) as made:
        made.venue.clock.advance(10 * 60_000)
        last = made.now // MINUTE * MINUTE - 7 * MINUTE
        made.feed.start({Stream(symbol, "1m"): last for symbol in SYMBOLS})
        made.advance(3)
        made.until(last + 7 * MINUTE)
        made.minutes(1)
        assert [one.time for one in made.closed] == [last + nth * MINUTE for nth in range(1, 9)]
        assert not any(one.is_history for one in made.closed)
        minutes_late = [round(one.value) // 60 for one in made.told("lag")]
        assert [late for late in minutes_late if late] == [6, 5, 4, 3, 2, 1]  # those that were missed, and no later one
        made.check_equal_to_truth()


STREAM_FAULTS = {
    "lost connections, again and again": ("ws_drop", {"chance": 0.05, "times": None}),
    "a stream that falls silent": ("ws_stall", {"nth": 3}),
    "lost messages": ("ws_gap", {"chance": 0.3, "times": None}),
    "doubled messages": ("ws_duplicate", {"chance": 0.5, "times": None}),
    "messages out of order": ("ws_reorder", {"chance": 0.3, "times": None}),
    "final words that come late": ("late_candle", {"chance": 0.5, "times": None, "seconds": 0.2}),
}


@pytest.mark.parametrize("fault", [pytest.param(fault, id=name) for name, fault in STREAM_FAULTS.items()])
def test_bars_are_the_venue_s_whatever_happens_to_the_stream(fault):
    with stage() as made:
        kind, how = fault
        made.venue.faults.add(kind, on="watch_ohlcv", **how)
        made.minutes(4)
        assert made.venue.faults.log
        made.check_equal_to_truth()
        assert made.told("gap", "revised") == []


REQUEST_FAULTS = {
    "answers that say nothing, which ccxt passes on": {"html": {}, "empty": {}, "truncated": {}},
    "a venue that wants to be left alone": {"rate_limit": {"seconds": 1}, "ban": {"seconds": 1}},
    "a venue that is ill": {"overloaded": {}, "bad_gateway": {}, "maintenance": {"seconds": 1}, "lost_reply": {}},
}


@pytest.mark.parametrize("faults", [pytest.param(faults, id=name) for name, faults in REQUEST_FAULTS.items()])
def test_bars_are_the_venue_s_whatever_happens_to_answers(faults):
    with stage(starts=False) as made:
        for nth, (kind, how) in enumerate(faults.items(), 1):
            made.venue.faults.add(kind, on="fetch_ohlcv", nth=nth, **how)
        made.venue.faults.add("ws_gap", on="watch_ohlcv", times=None, chance=0.3)
        made.feed.start()
        made.advance(3)
        made.minutes(4)
        assert set(faults) <= {struck.kind for struck in made.venue.faults.log}
        made.check_equal_to_truth()


@pytest.mark.parametrize("venue", VENUES)
def test_bars_are_the_venue_s_or_told_to_be_missing_when_everything_goes_wrong_at_once(venue):
    with stage(venue_id=venue, seed=len(venue), starts=False) as made:
        made.venue.faults.schedule(
            {"html": 0.1, "empty": 0.1, "truncated": 0.1, "overloaded": 0.05, "lost_reply": 0.05}, on="fetch_ohlcv")
        made.venue.faults.schedule(
            {"ws_drop": 0.02, "ws_gap": 0.1, "ws_duplicate": 0.1, "ws_reorder": 0.1, "late_candle": 0.1},
            on="watch_ohlcv")
        made.feed.start()
        made.advance(3)
        made.minutes(6)
        times = [one.time for one in made.closed]
        assert times == sorted(set(times))
        for symbol in SYMBOLS:
            ours = [(bar.open_time, *bar[3:8]) for bar in made.bars(symbol)]
            truth = made.truth(symbol, times[0], times[-1])
            missing = sum(int(one.value) for one in made.told("gap") if one.symbol == symbol)
            assert set(ours) <= set(truth)
            assert len(ours) + missing == len(truth)


def test_a_lost_connection_is_counted_and_what_was_missed_is_asked_for_before_any_later_bar():
    with stage() as made:
        made.minutes(1)
        made.venue.faults.add("ws_drop", on="watch_ohlcv", times=None)
        made.minutes(3)
        made.venue.faults.clear()
        made.minutes(2)
        (state,) = made.feed.states()
        assert state.reconnects >= 1
        made.check_equal_to_truth()


def test_a_corrected_candle_is_told_and_what_was_published_stays():
    with stage() as made:
        made.minutes(1)
        made.venue.faults.add("corrected_candle", on="watch_ohlcv", symbol="BTC/USDT", ticks=50)
        made.minutes(2)
        made.eventually(lambda: made.told("revised"))
        (told,) = made.told("revised")
        assert told.symbol == "BTC/USDT"
        assert "close" in told.reason
        bar = next(bar for bar in made.bars("BTC/USDT") if f"{bar.close:g}" in told.reason)
        assert told.value == pytest.approx(0.5 / bar.close)


def test_a_stream_that_keeps_silent_of_one_symbol_is_begun_anew():
    with stage() as made:
        made.venue.faults.add("ws_gap", on="watch_ohlcv", symbol="ETH/USDT", times=None)
        made.minutes(4)
        made.check_equal_to_truth()
        assert made.feed.states()[0].connections > 1


def test_a_venue_that_is_silent_and_does_not_answer_is_stale_and_fresh_again_when_heard():
    with stage(options=FeedOptions(**{**vars_of(PATIENT), "stale_after": SECOND})) as made:
        made.minutes(1)
        made.venue.faults.add("ws_stall", on="watch_*", times=None)
        made.venue.faults.add("server_error", on="fetch_*", times=None)
        made.advance(5)
        made.eventually(lambda: made.told("stale"))
        stale = made.told("stale")[-1]
        assert stale.value >= 1
        assert "nothing heard for" in stale.reason
        made.venue.faults.clear()
        made.eventually(lambda: made.told("fresh"))
        made.minutes(3)
        made.check_equal_to_truth()


def test_a_quiet_market_is_not_stale():
    with stage(options=FeedOptions(**{**vars_of(PATIENT), "stale_after": SECOND // 2})) as made:
        made.minutes(1)
        time.sleep(1.5)  # the market stands still, as nothing advances it
        made.gather()
        assert made.told("stale") == []
        assert made.feed.states()[0].reconnects == 0


def test_a_clock_that_differs_from_the_venue_s_is_told():
    options = FeedOptions(**{**vars_of(PATIENT), "clock_every": SECOND // 2})
    with stage(options=options) as made:
        made.venue.clock.skew = -60_000
        made.eventually(lambda: made.told("skew"))
        assert made.told("skew")[0].value == pytest.approx(60, abs=5)
        assert "ahead of the venue's" in made.told("skew")[0].reason
        made.venue.clock.skew = 0
        made.eventually(lambda: abs(made.told("skew")[-1].value) < 0.5)


def test_a_delisted_symbol_is_told_and_holds_up_nobody():
    options = FeedOptions(**{**vars_of(PATIENT), "markets_every": SECOND // 2})
    with stage(options=options) as made:
        made.minutes(1)
        made.venue.delist("ETH/USDT")
        made.eventually(lambda: made.told("gap"))
        assert made.told("gap")[0].symbol == "ETH/USDT"
        assert "not traded any more" in made.told("gap")[0].reason
        made.minutes(2)
        assert [bar.symbol for bar in made.closed[-1].bars] == ["BTC/USDT"]


def test_bars_built_from_trades_are_the_venue_s():
    with stage(bars_from="trades") as made:
        made.minutes(5)
        made.check_equal_to_truth()
        assert ("binance", "watch_ohlcv") not in made.venue.faults.calls


def test_trades_of_a_broken_stream_build_no_wrong_bar():
    with stage(bars_from="trades") as made:
        made.venue.faults.add("ws_drop", on="watch_trades", chance=0.02, times=None)
        made.venue.faults.add("ws_gap", on="watch_trades", chance=0.02, times=None)
        made.minutes(4)
        made.check_equal_to_truth()


def test_many_symbols_share_a_few_subscriptions():
    symbols = tuple(f"S{nth:02}/USDT" for nth in range(40))
    with stage(symbols=symbols, chunk=15, rows=620) as made:
        made.minutes(2)
        made.check_equal_to_truth(symbols)
        assert made.feed.states()[0].connections == 1


# ── trades and books ────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_trade_is_published_once_and_in_order():
    with stage(listens=True) as made:
        made.minutes(3)
        made.advance(1)
        for symbol in SYMBOLS:
            instrument = made.venue.exchange.markets[symbol].instrument
            theirs = [
                (one.time * 1_000_000, float(instrument.price(one.price)), float(instrument.quantity(one.quantity)))
                for one in made.venue.truth.trades(symbol)]
            ours = [(one.time, one.price, one.quantity) for one in made.trades if one.symbol == symbol]
            assert len(ours) > 20
            assert ours == theirs[theirs.index(ours[0]) :]


@pytest.mark.parametrize(("venue", "size"), [("okx", 0.01), ("bybit", 1.0)])
def test_contracts_are_counted_in_base_asset_in_bars_trades_and_books_alike(venue, size):
    with stage(venue_id=venue, symbols=("BTC/USDT:USDT",), listens=True) as made:
        made.minutes(2)
        theirs = [row[-1] for row in made.truth("BTC/USDT:USDT", made.closed[0].time, made.closed[-1].time)]
        bars = made.bars("BTC/USDT:USDT")
        assert [bar.volume for bar in bars] == pytest.approx([volume * size for volume in theirs], rel=1e-12)
        of_last = [one for one in made.trades if bars[-1].open_time <= one.time < bars[-1].close_time]
        assert sum(one.quantity for one in of_last) == pytest.approx(bars[-1].volume, rel=1e-12)
        lot = made.feed.markets["BTC/USDT:USDT"].instrument
        assert all(float(lot.round_quantity(level[1])) == level[1] for one in made.books for level in one.bids)


def test_no_trade_is_doubled_or_out_of_order_when_the_line_breaks():
    with stage(listens=True) as made:
        made.venue.faults.add("ws_drop", on="watch_trades", chance=0.05, times=None)
        made.minutes(4)
        for symbol in SYMBOLS:
            ours = [(one.time, one.price, one.quantity) for one in made.trades if one.symbol == symbol]
            assert [one[0] for one in ours] == sorted(one[0] for one in ours)
            assert len(set(ours)) == len(ours)


def test_trades_whose_stream_stalls_while_candles_go_on_are_heard_again():
    with stage(listens=True) as made:
        made.minutes(1)
        made.venue.faults.add("ws_stall", on="watch_trades")
        made.minutes(2)
        made.eventually(lambda: made.feed.states()[0].reconnects)
        made.minutes(1)
        made.advance(30)
        made.eventually(lambda: made.trades[-1].time > made.closed[-1].time)


def test_a_book_never_crosses_and_is_empty_while_the_line_is_broken():
    with stage(listens=True) as made:
        made.minutes(1)
        assert made.books
        made.venue.faults.add("ws_gap", on="watch_order_book", chance=0.1, times=None)
        made.minutes(2)
        made.venue.faults.clear()
        made.venue.cut_streams()
        made.eventually(lambda: any(not one.bids and not one.asks for one in made.books))
        for _ in range(100):  # a new book begins with a message, so the market has to move
            if made.books[-1].bids:
                break
            made.advance(1)
        assert made.books[-1].bids
        assert all(not one.bids or not one.asks or one.bids[0][0] < one.asks[0][0] for one in made.books)
        assert all(len(one.bids) <= 20 for one in made.books)


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_key_is_used():
    client = make_client("binance")
    assert not client.apiKey
    assert not client.secret
    assert client.enableRateLimit


def test_an_unknown_symbol_is_refused_at_once_with_the_nearest():
    with stage(starts=False) as made:
        other = LiveFeed([VenuePlan(made.make_exchange, ("BTC/USDTT",), ("1m",))])
        with pytest.raises(DataError, match=r"binance: BTC/USDTT is not traded there; did you mean 'BTC/USDT'\?"):
            other.open()


def test_two_instruments_of_one_name_are_refused():
    plan = VenuePlan(lambda: make_client("binance"), ("BTC/USDT",), ("1m",))
    with pytest.raises(SettingsError, match="two instruments are called BTC/USDT; give one venue a prefix"):
        LiveFeed([plan, plan])


def vars_of(options: FeedOptions) -> dict:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}
