"""An unmodified ccxt client on the venue's Binance."""

import asyncio
from decimal import Decimal

import ccxt
import pytest

from tests.venue.accounts import account
from tests.venue.cases import first, on_venue, signed_in
from tests.venue.client import connect
from tests.venue.server import VenueServer
from tests.venue.sources import steady, synthetic

BTC = "BTC/USDT"


def RICH():  # noqa: N802
    return (account(balances={"USDT": 1_000_000, "BTC": 1}),)


def test_markets_have_the_venue_s_filters_and_fees():
    async def scenario(venue, client):
        return client.markets[BTC]

    market = on_venue(scenario)
    assert market["precision"]["price"] == 0.01
    assert market["precision"]["amount"] == 0.00001
    assert market["limits"]["cost"]["min"] == 5
    assert market["taker"] == 0.001


def test_time_is_wall_time_and_candles_carry_virtual_time():
    async def scenario(venue, client):
        return venue.clock, await client.fetch_time(), await client.fetch_ohlcv(BTC, "1m", limit=1)

    clock, time, candles = on_venue(scenario)
    assert abs(time - clock.wall) < 10_000
    assert candles[-1][0] == clock.now - 60_000


def test_candles_are_those_of_the_file_paged_forwards_and_backwards():
    data = synthetic(["BTC/USDT"], rows=300, seed=3)
    columns = data.columns[BTC]

    async def scenario(venue, client):
        venue.clock.advance(60_000 * 150)
        pages, since = [], int(columns.open_time[0])
        while page := await client.fetch_ohlcv(BTC, "1m", since=since, limit=70):
            pages += page
            since = page[-1][0] + 60_000
        last = await client.fetch_ohlcv(BTC, "1m", limit=70)
        before = await client.fetch_ohlcv(BTC, "1m", limit=70, params={"until": last[0][0] - 1})
        return pages, before + last

    forwards, backwards = on_venue(scenario, data=data)
    expected = [[int(columns.open_time[row]), *(float(getattr(columns, name)[row]) for name in
                ("open", "high", "low", "close"))] for row in range(250)]
    assert [row[:5] for row in forwards] == expected
    assert [row[:5] for row in backwards] == expected[-140:]
    assert [row[5] for row in forwards] == pytest.approx(columns.volume[:250], abs=1e-5)


def test_the_last_candle_of_rest_is_still_forming():
    async def scenario(venue, client):
        venue.clock.advance(30_000)
        half = await client.fetch_ohlcv(BTC, "1m", limit=1)
        venue.clock.advance(29_999)
        return half, await client.fetch_ohlcv(BTC, "1m", limit=1)

    half, whole = on_venue(scenario)
    assert half[0][0] == whole[0][0]
    assert half[0][5] < whole[0][5] == 10


def test_longer_candles_are_made_of_the_file_s():
    async def scenario(venue, client):
        venue.clock.advance(60_000 * 7)
        return await client.fetch_ohlcv(BTC, "5m", limit=2), await client.fetch_ohlcv(BTC, "1m", limit=7)

    fives, ones = on_venue(scenario, data=synthetic([BTC], rows=300))
    assert fives[0][1:5] == [ones[0][1], max(row[2] for row in ones[:5]), min(row[3] for row in ones[:5]), ones[4][4]]


def test_a_market_order_walks_the_book_and_pays_its_fee_in_base():
    async def scenario(venue, client):
        _, asks = venue.truth.levels(BTC)
        lots = asks[0][1] + 1
        order = await client.create_order(BTC, "market", "buy", lots / 100_000, params={"clientOrderId": "one"})
        return venue.truth, asks, order, await client.fetch_balance(), await client.fetch_my_trades(BTC)

    truth, asks, order, balance, trades = on_venue(scenario, accounts=RICH)
    assert order["status"] == "closed"
    assert order["clientOrderId"] == "one"
    assert [trade["price"] for trade in trades] == [asks[0][0] / 100, asks[1][0] / 100]
    assert order["fee"]["currency"] == "BTC"
    bought = Decimal(asks[0][1] + 1) / 100_000
    fees = sum(fill.fee for fill in truth.fills())
    assert truth.balance("BTC").free == 1 + bought - fees
    assert balance["BTC"]["free"] == pytest.approx(float(1 + bought - fees))
    assert truth.total_of("USDT") == 1_000_000
    assert truth.total_of("BTC") == 1


def test_a_resting_order_is_filled_in_parts_as_the_market_trades():
    async def scenario(venue, client):
        bid = venue.truth.levels(BTC)[0][0][0] / 100
        order = await client.create_order(BTC, "limit", "buy", 2, bid)
        locked = (await client.fetch_balance())["USDT"]["used"]
        seen = []
        while not seen or seen[-1]["status"] == "open":
            venue.clock.advance(3_000)
            seen.append(await client.fetch_order(order["id"], BTC))
        return order, locked, seen, await client.fetch_balance()

    order, locked, seen, balance = on_venue(scenario, data=synthetic([BTC], rows=300))
    assert order["status"] == "open"
    assert locked == pytest.approx(2 * order["price"])
    assert any(0 < state["filled"] < 2 for state in seen)
    assert seen[-1]["status"] == "closed"
    assert balance["USDT"]["used"] == 0


def test_orders_are_found_by_client_id_listed_cancelled_and_replaced():
    async def scenario(venue, client):
        order = await client.create_order(BTC, "limit", "buy", 0.1, 30_000, {"clientOrderId": "abc"})
        by_client = await client.fetch_order(None, BTC, {"origClientOrderId": "abc"})
        listed = await client.fetch_open_orders(BTC)
        edited = await client.edit_order(order["id"], BTC, "limit", "buy", 0.2, 30_001)
        again = await client.fetch_open_orders(BTC)
        await client.cancel_order(edited["id"], BTC)
        return order, by_client, listed, again, await client.fetch_open_orders(BTC), venue.truth.orders()

    order, by_client, listed, again, left, orders = on_venue(scenario)
    assert by_client["id"] == order["id"] == listed[0]["id"]
    assert [(row["amount"], row["price"]) for row in again] == [(0.2, 30_001)]
    assert left == []
    assert [order.status.value for order in orders] == ["cancelled", "cancelled"]


def test_a_stop_order_waits_for_its_price_and_then_fills():
    async def scenario(venue, client):
        stop = await client.create_order(BTC, "market", "sell", 0.1, None, {"stopLossPrice": low})
        states = [(await client.fetch_order(stop["id"], BTC))["status"]]
        venue.clock.advance(60_000 * 199)
        states.append((await client.fetch_order(stop["id"], BTC))["status"])
        return states

    data = synthetic([BTC], rows=300, seed=3)
    lows = data.columns[BTC].low
    low = round(float(lows[100:].min() + 20), 2)
    assert lows[100] > low
    assert on_venue(scenario, data=data) == ["open", "closed"]


@pytest.mark.parametrize(("request_", "error", "words"), [
    (("limit", "buy", 0.1, 30_000.001), ccxt.InvalidOrder, "PRICE_FILTER"),
    (("limit", "buy", 0.000001, 30_000), ccxt.InvalidOrder, "LOT_SIZE"),
    (("limit", "buy", 0.0001, 30_000), ccxt.BadRequest, "NOTIONAL"),
    (("limit", "buy", 100, 30_000), ccxt.InsufficientFunds, "insufficient balance"),
    (("market", "sell", 2, None), ccxt.InsufficientFunds, "insufficient balance"),
    (("limit", "buy", 0.1, 300_000), ccxt.InvalidOrder, "PERCENT_PRICE"),
])
def test_what_breaks_a_filter_is_refused_in_binance_s_words(request_, error, words):
    async def scenario(venue, client):
        client.amount_to_precision = client.price_to_precision = lambda symbol, number: str(number)
        with pytest.raises(error, match=words):
            await client.create_order(BTC, *request_)
        return venue.truth.orders()

    assert on_venue(scenario) == []


def test_a_post_only_order_that_would_take_is_refused():
    async def scenario(venue, client):
        with pytest.raises(ccxt.OrderImmediatelyFillable):
            await client.create_order(BTC, "limit", "buy", 0.1, 41_000, {"postOnly": True})

    on_venue(scenario)


def test_a_client_id_is_refused_while_its_order_is_open_and_free_again_after():
    async def scenario(venue, client):
        resting = await client.create_order(BTC, "limit", "buy", 0.1, 30_000, {"clientOrderId": "abc"})
        with pytest.raises(ccxt.InvalidOrder, match="Duplicate order sent"):
            await client.create_order(BTC, "limit", "buy", 0.1, 30_000, {"clientOrderId": "abc"})
        await client.cancel_order(resting["id"], BTC)
        for _ in range(2):
            await client.create_order(BTC, "market", "buy", 0.1, None, {"clientOrderId": "abc"})
        return venue.truth.by_client_id("abc")

    assert [order.status.value for order in on_venue(scenario)] == ["cancelled", "filled", "filled"]


def test_keys_signatures_and_clocks_are_checked():
    async def scenario(venue, client):
        for wrong, error in (({"secret": "other"}, "Signature"), ({"key": "other"}, "Invalid API-key")):
            other = connect("binance", venue.url, **wrong)
            with pytest.raises(ccxt.AuthenticationError, match=error):
                await other.fetch_balance()
            await other.close()
        for skew in (-2_000, 20_000):
            venue.clock.skew = skew
            with pytest.raises(ccxt.InvalidNonce):
                await client.fetch_balance()

    on_venue(scenario)


def test_everything_is_watched_over_websockets():
    async def scenario(venue, client):
        watching = [asyncio.ensure_future(watch) for watch in (
            client.watch_orders(), client.watch_my_trades(), client.watch_balance())]
        await signed_in(venue, "binance")
        await client.create_order(BTC, "limit", "buy", 0.5, 40_000, {"clientOrderId": "abc"})
        candle = await first(venue, lambda: client.watch_ohlcv(BTC, "1m"))
        trade = await first(venue, lambda: client.watch_trades(BTC))
        book = await first(venue, lambda: client.watch_order_book(BTC))
        ticker = await first(venue, lambda: client.watch_ticker(BTC))
        return candle, trade, book, ticker, await asyncio.gather(*watching)

    candle, trade, book, ticker, (orders, fills, balance) = on_venue(scenario)
    assert candle[-1][4] == trade[-1]["price"] == ticker["last"] == 40_000
    assert orders[0]["clientOrderId"] == fills[0]["info"]["c"] == "abc"
    assert balance["BTC"]["free"] > 1
    assert book["bids"][0][0] < book["asks"][0][0]


def test_a_watched_book_stays_equal_to_the_venue_s():
    async def scenario(venue, client):
        await first(venue, lambda: client.watch_order_book(BTC))
        for _ in range(40):
            await first(venue, lambda: client.watch_order_book(BTC), step=4_000)
        client_book = client.orderbooks[BTC]
        while client_book["nonce"] != venue.fronts["binance"].depths[BTC].revision:
            await asyncio.sleep(0.01)
        bids, asks = venue.truth.levels(BTC)
        return client_book, [[price / 100, lots / 100_000] for price, lots in bids], asks[0][0] / 100

    book, bids, ask = on_venue(scenario, data=synthetic([BTC], rows=300))
    assert book["bids"] == bids
    assert book["asks"][0][0] == ask


def test_a_venue_in_a_thread_serves_a_client_in_another_and_answers_at_once():
    async def scenario(url):
        client = connect("binance", url)
        try:
            await client.load_markets()
            return await client.create_order(BTC, "market", "buy", 0.01)
        finally:
            await client.close()

    with VenueServer(steady(), speed=100).start_in_thread() as venue:
        order = asyncio.run(scenario(venue.url))
        now = venue.clock.now
        assert venue.clock.advance(60_000) >= now + 60_000
        assert [str(kept.id) for kept in venue.truth.orders()] == [order["id"]]


def test_a_session_played_in_steps_is_the_same_every_time():
    async def scenario(venue, client):
        for step in range(20):
            await client.create_order(BTC, "limit", "buy" if step % 2 else "sell", 0.03,
                                      float(venue.truth.last_price(BTC)) + (10 if step % 3 else -10))
            venue.clock.advance(7_000)
        return venue.truth.fills(), venue.truth.balances(), venue.truth.trades(BTC), venue.truth.levels(BTC)

    data = synthetic([BTC], rows=300)
    assert on_venue(scenario, data=data) == on_venue(scenario, data=data)
    assert on_venue(scenario, data=data, seed=1) != on_venue(scenario, data=data)


def test_accounts_are_apart():
    async def scenario(venue, client):
        await client.create_order(BTC, "limit", "buy", 0.1, 30_000)
        other = connect("binance", venue.url, key="other", secret="x")
        try:
            return await other.fetch_open_orders(BTC), await other.fetch_balance()
        finally:
            await other.close()

    accounts = lambda: (account(), account("two", key="other", secret="x", balances={"USDT": 5}))  # noqa: E731
    orders, balance = on_venue(scenario, accounts=accounts)
    assert orders == []
    assert balance["total"] == {"USDT": 5}
