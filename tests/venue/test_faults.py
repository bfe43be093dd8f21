"""Each fault, seen through an unmodified ccxt client: what it raises, what it hides, and what the venue has done."""

import asyncio
from decimal import Decimal

import aiohttp
import ccxt
import pytest

from tests.venue.cases import first, on_venue
from tests.venue.faults import KINDS, REQUEST_KINDS, Fault, Faults
from tests.venue.limits import Limit, Meter
from tests.venue.sources import synthetic

BTC = "BTC/USDT"
QUICK = {"timeout": 400, "enableRateLimit": False}


async def place(client, identity="a"):
    return await client.create_order(BTC, "market", "buy", 0.01, None, {"clientOrderId": identity})


@pytest.mark.parametrize(("kind", "error", "executed"), [
    ("timeout_before", ccxt.RequestTimeout, 0),
    ("timeout_after", ccxt.RequestTimeout, 1),
    ("drop_before", ccxt.ExchangeNotAvailable, 0),
    ("lost_reply", ccxt.ExchangeNotAvailable, 1),
    ("server_error", ccxt.ExchangeNotAvailable, 0),
    ("bad_gateway", ccxt.ExchangeNotAvailable, 0),
    ("maintenance", ccxt.BadRequest, 0),
    ("rate_limit", ccxt.DDoSProtection, 0),
    ("ban", ccxt.DDoSProtection, 0),
    ("overloaded", ccxt.ExchangeError, 0),   # in none of the classes that one would retry
])
def test_an_order_that_a_fault_strikes_raises_and_was_executed_or_not(kind, error, executed):
    async def scenario(venue, client):
        venue.faults.add(kind, on="create_order")
        with pytest.raises(error) as caught:
            await place(client)
        return len(venue.truth.by_client_id("a")), type(caught.value), venue.faults.log

    orders, raised, log = on_venue(scenario, client=QUICK)
    assert orders == executed
    assert [struck.kind for struck in log] == [kind]
    if kind == "overloaded":
        assert not issubclass(raised, ccxt.OperationFailed)


@pytest.mark.parametrize(("kind", "executed"), [("html", 0), ("empty", 0), ("truncated", 1)])
def test_http_200_without_json_raises_nothing_and_the_order_has_no_id(kind, executed):
    async def scenario(venue, client):
        venue.faults.add(kind, times=None)
        order, candles = await place(client), await client.fetch_ohlcv(BTC)
        return order, candles, await client.fetch_ticker(BTC), len(venue.truth.by_client_id("a"))

    order, candles, ticker, orders = on_venue(scenario)
    assert order["id"] is None
    assert all(row.count(None) >= 5 for row in candles)
    assert ticker["last"] is None
    assert orders == executed


def test_an_order_whose_reply_is_lost_is_found_by_its_client_id():
    async def scenario(venue, client):
        venue.faults.add("lost_reply", on="create_order")
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await place(client)
        return await client.fetch_order(None, BTC, {"origClientOrderId": "a"})

    assert on_venue(scenario)["status"] == "closed"


def test_a_market_order_that_is_sent_again_blindly_is_a_second_order():
    async def scenario(venue, client):
        venue.faults.add("lost_reply", on="create_order")
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await place(client)
        await place(client)
        return len(venue.truth.by_client_id("a"))

    assert on_venue(scenario) == 2


def test_a_request_that_arrives_twice_is_executed_twice():
    async def scenario(venue, client):
        venue.faults.add("duplicate", on="create_order")
        await place(client)
        return len(venue.truth.by_client_id("a"))

    assert on_venue(scenario) == 2


def test_aiohttp_repeats_a_dropped_get_once_and_a_dropped_post_never():
    async def scenario(venue, client):
        await client.fetch_time()
        venue.faults.add("drop_before", on="fetch_ticker")
        ticker = await client.fetch_ticker(BTC)
        venue.faults.add("drop_before", on="create_order")
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await place(client)
        return ticker, venue.faults.calls

    ticker, calls = on_venue(scenario)
    assert ticker["last"] == 40_000
    assert calls["binance", "fetch_ticker"] == 2
    assert calls["binance", "create_order"] == 1


def test_reordered_requests_are_executed_in_the_other_order():
    async def scenario(venue, client):
        venue.faults.add("reorder", on="create_order", seconds=20)
        one = asyncio.ensure_future(place(client, "one"))
        while not venue.faults.log:
            await asyncio.sleep(0.01)
        await asyncio.gather(one, place(client, "two"))
        return [order.client_id for order in venue.truth.orders()]

    assert on_venue(scenario, client={"enableRateLimit": False}) == ["two", "one"]


def test_a_delayed_request_is_executed_late():
    async def scenario(venue, client):
        venue.faults.add("delay", on="create_order", seconds=0.5)
        task = asyncio.ensure_future(place(client))
        while not venue.faults.log:
            await asyncio.sleep(0.01)
        before = len(venue.truth.orders())
        return before, await task

    before, order = on_venue(scenario)
    assert before == 0
    assert order["status"] == "closed"


def test_rate_limits_and_bans_say_when_to_come_back():
    async def scenario(venue, client):
        venue.faults.add("rate_limit", on="fetch_ticker", seconds=7)
        venue.faults.add("ban", on="fetch_trades", seconds=30)
        seen = []
        async with aiohttp.ClientSession() as session:
            for path in ("ticker/24hr", "trades", "depth"):
                async with session.get(f"{venue.url}/binance/api/v3/{path}?symbol=BTCUSDT") as reply:
                    seen.append((reply.status, int(reply.headers["Retry-After"])))
            venue.clock.skew = 30_000   # the ban's end, by the venue's clock
            async with session.get(f"{venue.url}/binance/api/v3/time") as reply:
                return seen, reply.status

    seen, after = on_venue(scenario)
    assert [status for status, _ in seen] == [429, 418, 418]
    assert seen[0][1] == 7
    assert 1 <= seen[2][1] <= seen[1][1] <= 30
    assert after == 200


def test_an_empty_429_is_ddos_protection_to_ccxt():
    async def scenario(venue, client):
        venue.faults.add("status", on="fetch_ticker", status=429)
        with pytest.raises(ccxt.DDoSProtection):
            await client.fetch_ticker(BTC)

    on_venue(scenario)


def test_any_status_and_body_can_be_asked_for():
    async def scenario(venue, client):
        venue.faults.add("status", on="create_order", status=400, body='{"code":-1007,"msg":"Timeout"}', executed=True)
        with pytest.raises(ccxt.RequestTimeout):
            await place(client)
        return len(venue.truth.by_client_id("a"))

    assert on_venue(scenario) == 1


def test_a_cut_websocket_is_noticed_when_awaited_and_what_was_missed_is_lost():
    async def scenario(venue, client):
        last = (await first(venue, lambda: client.watch_trades(BTC)))[-1]
        venue.faults.add("ws_drop", on="watch_trades")
        with pytest.raises(ccxt.NetworkError):
            await first(venue, lambda: client.watch_trades(BTC))
        venue.clock.advance(60_000)
        after = await first(venue, lambda: client.watch_trades(BTC))
        ids = [int(trade["id"]) for trade in (last, *after)]
        return ids, venue.fronts["binance"].hub.opened

    ids, opened = on_venue(scenario)
    assert ids[-1] - ids[0] > len(ids) + 5
    assert opened == 2


def test_every_websocket_can_be_cut_at_once():
    async def scenario(venue, client):
        await first(venue, lambda: client.watch_trades(BTC))
        task = asyncio.ensure_future(client.watch_trades(BTC))
        await asyncio.sleep(0.05)
        assert venue.cut_streams() == 1
        with pytest.raises(ccxt.NetworkError):
            await task

    on_venue(scenario)


def test_a_stalled_websocket_says_nothing_at_all():
    async def scenario(venue, client):
        await first(venue, lambda: client.watch_trades(BTC))
        venue.faults.add("ws_stall", on="watch_trades")
        venue.clock.advance(60_000)
        task = asyncio.ensure_future(client.watch_trades(BTC))
        for _ in range(20):
            await asyncio.sleep(0.02)
            venue.clock.advance(60_000)
        done = task.done()
        task.cancel()
        return done, len(venue.fronts["binance"].hub.connections)

    assert on_venue(scenario) == (False, 1)


async def watch_books(venue, client, count):
    for _ in range(count):
        await first(venue, lambda: client.watch_order_book(BTC))


def test_a_gap_in_the_book_is_a_checksum_error():
    async def scenario(venue, client):
        await first(venue, lambda: client.watch_order_book(BTC))
        venue.faults.add("ws_gap", on="watch_order_book")
        with pytest.raises(ccxt.ChecksumError):
            await watch_books(venue, client, 5)
        return await first(venue, lambda: client.watch_order_book(BTC))

    assert on_venue(scenario)["bids"]


async def raw(venue, topic, kind, **fields):
    """Return what a websocket is sent about a topic in two and a half minutes with a fault."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{venue.url}/binance/stream/ws/0") as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": [topic], "id": 1})
        await socket.receive_json()
        venue.faults.add(kind, **fields)
        for _ in range(30):
            venue.clock.advance(5_000)
            await asyncio.sleep(0.02)
        await asyncio.sleep(fields.get("seconds", 0) + 0.1)   # for what is late on purpose
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        received = []
        while "id" not in (one := await socket.receive_json()):
            received.append(one)
        return received


def test_trades_over_websockets_can_be_doubled_swapped_and_lost():
    async def ids(venue, kind):
        return [trade["t"] for trade in await raw(venue, "btcusdt@trade", kind, on="watch_trades", seconds=0.05)]

    doubled, swapped, gap = (on_venue(lambda venue, client, kind=kind: ids(venue, kind))
                             for kind in ("ws_duplicate", "ws_reorder", "ws_gap"))
    every = list(range(doubled[0], doubled[-1] + 1))
    assert doubled == [doubled[0], *every]
    assert swapped == [every[1], every[0], *every[2:]]
    assert gap == every[1:]


async def klines(venue, kind, **fields):
    """Return what is said of candles: open time, closed or not, close."""
    received = await raw(venue, "btcusdt@kline_1m", kind, on="watch_ohlcv", **fields)
    return [(one["k"]["t"], one["k"]["x"], one["k"]["c"]) for one in received]


def test_the_message_that_a_candle_closed_can_come_late():
    async def scenario(venue, client):
        return await klines(venue, "late_candle", seconds=0.5)

    rows = on_venue(scenario)
    closed = [place for place, row in enumerate(rows) if row[1]][-1 if rows[-1][1] else 0]
    assert any(row[0] > rows[closed][0] for row in rows[:closed])


def test_a_closed_candle_can_be_corrected_and_rest_agrees_with_the_correction():
    async def scenario(venue, client):
        rows = await klines(venue, "corrected_candle", ticks=500)
        return rows, await client.fetch_ohlcv(BTC, "1m", limit=10)

    rows, candles = on_venue(scenario)
    closed = [row for row in rows if row[1]]
    assert closed[0][0] == closed[1][0]
    assert Decimal(closed[1][2]) - Decimal(closed[0][2]) == 5
    assert next(row[4] for row in candles if row[0] == closed[0][0]) == float(closed[1][2])


def test_filters_change_and_a_market_is_closed_and_struck_from_the_list():
    async def scenario(venue, client):
        order = await client.create_order(BTC, "limit", "buy", 0.1, 30_000.01)
        venue.change_instrument(BTC, price_increment="0.1")
        with pytest.raises(ccxt.InvalidOrder, match="PRICE_FILTER"):
            await client.create_order(BTC, "limit", "buy", 0.1, 30_000.01)
        await client.load_markets(True)
        step = client.markets[BTC]["precision"]["price"]
        venue.change_instrument(BTC, is_trading=False)
        with pytest.raises(ccxt.ExchangeError, match="Market is closed"):
            await client.create_order(BTC, "limit", "buy", 0.1, 30_000)
        state = (await client.fetch_order(order["id"], BTC))["status"]
        venue.delist(BTC)
        with pytest.raises(ccxt.BadSymbol):
            await client.fetch_ohlcv(BTC)
        await client.load_markets(True)
        return step, state, list(client.markets)

    assert on_venue(scenario, data=synthetic(["BTC/USDT", "ETH/USDT"], rows=200)) == (0.1, "canceled", ["ETH/USDT"])


def test_a_step_of_the_venue_s_clock_breaks_signatures_until_it_is_measured():
    async def scenario(venue, client):
        venue.clock.skew = -30_000
        with pytest.raises(ccxt.InvalidNonce):
            await client.fetch_balance()
        await client.load_time_difference()
        return await client.fetch_balance()

    assert on_venue(scenario, client={"options": {"adjustForTimeDifference": True}})["total"]["BTC"] == 1


def test_requests_are_limited_by_weight_and_who_insists_is_banned():
    async def scenario(venue, client):
        statuses = []
        async with aiohttp.ClientSession() as session:
            for _ in range(320):
                async with session.get(f"{venue.url}/binance/api/v3/exchangeInfo") as reply:
                    statuses.append(reply.status)
            async with session.get(f"{venue.url}/binance/api/v3/time") as reply:
                return statuses, reply.status, reply.headers["Retry-After"]

    statuses, last, wait = on_venue(scenario, limits=True)
    begins = statuses.index(429)
    assert 290 <= begins <= 300
    assert statuses[begins:begins + 11] == [429] * 10 + [418]
    assert (last, wait) == (418, "120")


# Without a network


def test_a_meter_forgets_what_is_older_than_its_window():
    meter = Meter(Limit(10, 60, {"heavy": 6}, patience=1))
    assert meter.count("heavy", 0).used == 6
    assert meter.count("heavy", 1) == (6, True, False, 59)
    assert meter.count("light", 2).used == 7
    assert meter.count("heavy", 3).is_banned
    assert meter.count("heavy", 60.5).used == 7


def test_a_fault_strikes_the_calls_that_it_names_from_the_nth_on_so_many_times():
    faults = Faults()
    faults.add("empty", on="fetch_*", venue="okx", nth=2, times=2)
    calls = [("binance", "fetch_order"), ("okx", "create_order"), *[("okx", "fetch_order")] * 4]
    struck = [faults.take(REQUEST_KINDS, venue, call, None, 0) is not None for venue, call in calls]
    assert struck == [False, False, False, True, True, False]
    assert faults.armed == []


def test_a_fault_strikes_in_its_window_and_for_its_symbol():
    fault = Fault("empty", symbol=BTC, since=10, until=20)
    assert [fault.fits("binance", "x", symbol, now) for symbol, now in
            ((BTC, 9), (BTC, 10), (BTC, 19), (BTC, 20), (None, 15))] == [False, True, True, False, False]


def test_a_schedule_depends_on_its_seed_alone():
    def struck(seed):
        faults = Faults(seed)
        faults.schedule({"empty": 0.2, "html": 0.1})
        taken = [faults.take(REQUEST_KINDS, "binance", "x", None, 0) for _ in range(200)]
        return [fault.kind if fault else "" for fault in taken]

    assert struck(1) == struck(1) != struck(2)
    assert 25 < struck(1).count("empty") < 55
    assert 8 < struck(1).count("html") < 32


def test_an_unknown_fault_is_refused_by_name():
    with pytest.raises(ValueError, match="there is no fault 'lost_replies'; there are timeout_before,"):
        Fault("lost_replies")
    assert all(KINDS.values())
