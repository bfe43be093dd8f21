"""What ccxt's clients of all three venues can do, with the same words."""

import asyncio
import math
from decimal import Decimal

import ccxt
import pytest

from tests.venue.accounts import account
from tests.venue.cases import first, on_venue, signed_in
from tests.venue.client import connect, replace_hosts
from tests.venue.server import VenueServer
from tests.venue.sources import MarketData, steady, synthetic

BTC, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"
FIND = {"binance": lambda identity: {"origClientOrderId": identity},
        "okx": lambda identity: {"clientOrderId": identity},
        "bybit": lambda identity: {"orderLinkId": identity, "acknowledged": True}}
ACKNOWLEDGED = {"acknowledged": True}
every_venue = pytest.mark.parametrize("venue", ["binance", "okx", "bybit"])
with_perpetuals = pytest.mark.parametrize("venue", ["binance", "okx", "bybit"])


def listed(venue):
    """What a client needs to list perpetuals."""
    return {"perpetuals": True, "errors_as_at_home": True} if venue == "binance" else {}


def both(data):
    """The same bars for the spot market and the perpetual."""
    return MarketData({BTC: data.columns[BTC], PERPETUAL: data.columns[BTC]}, data.duration)


@every_venue
def test_history_is_paged_forwards_and_ends_with_the_candle_that_forms(venue):
    data = synthetic([BTC], rows=400, seed=3)
    times, closes = data.columns[BTC].open_time, data.columns[BTC].close

    async def scenario(server, client):
        server.clock.advance(60_000 * 100 + 30_000)
        pages, since = [], int(times[0])
        while len(page := await client.fetch_ohlcv(BTC, "1m", since=since, limit=60)) and page[-1][0] >= since:
            pages += page
            since = page[-1][0] + 60_000
        return pages, await client.fetch_ohlcv(BTC, "1m", limit=2), await client.fetch_ohlcv(BTC, "15m", limit=2)

    pages, last, quarters = on_venue(scenario, venue=venue, data=data)
    assert [row[0] for row in pages[:200]] == times[:200].tolist()
    assert [row[4] for row in pages[:200]] == pytest.approx(closes[:200], abs=0.06)
    assert last[-1][0] == times[200]
    assert last[-2][4] == pytest.approx(closes[199], abs=0.06)
    assert quarters[-1][0] % 900_000 == 0
    assert quarters[-1][4] == last[-1][4]


@every_venue
def test_book_trades_ticker_and_time(venue):
    async def scenario(server, client):
        server.clock.advance(60_000)
        return (await client.fetch_order_book(BTC, 5), await client.fetch_trades(BTC, limit=3),
                await client.fetch_ticker(BTC), await client.fetch_time(), server)

    book, trades, ticker, time, server = on_venue(scenario, venue=venue)
    public = server.truth.trades(BTC)[-3:]
    assert [trade["id"] for trade in trades] == [str(trade.id) for trade in public]
    assert [trade["side"] for trade in trades] == [trade.side for trade in public]
    assert book["bids"][0][0] < book["asks"][0][0]
    assert ticker["last"] == 40_000
    assert ticker["bid"] == book["bids"][0][0]
    assert abs(time - server.clock.wall) < 60_000
    assert server.unknown_requests == []


@every_venue
def test_an_order_is_placed_found_amended_and_cancelled(venue):
    async def scenario(server, client):
        placed = await client.create_order(BTC, "limit", "buy", 0.5, 30_000, {"clientOrderId": "abc123"})
        found = await client.fetch_order("" if venue == "bybit" else None, BTC, FIND[venue]("abc123"))
        listed = await client.fetch_open_orders(BTC)
        balance = await client.fetch_balance()
        edited = await client.edit_order(placed["id"], BTC, "limit", "buy", 0.4, 31_000)
        amended = await client.fetch_open_orders(BTC)
        await client.cancel_order(edited["id"], BTC)
        gone = await client.fetch_order(edited["id"], BTC, ACKNOWLEDGED if venue == "bybit" else {})
        with pytest.raises(ccxt.OrderNotFound):
            await client.cancel_order(edited["id"], BTC)
        return placed, found, listed, balance, amended, gone, server

    placed, found, listed, balance, amended, gone, server = on_venue(scenario, venue=venue)
    assert found["id"] == placed["id"] == listed[0]["id"]
    assert found["status"] == "open"
    assert found["clientOrderId"] == "abc123"
    assert balance["USDT"]["used"] == 15_000
    assert [(row["amount"], row["price"]) for row in amended] == [(0.4, 31_000)]
    assert gone["status"] == "canceled"
    assert server.truth.balance("USDT") == (100_000, 0)
    assert server.unknown_requests == []


@every_venue
def test_a_market_order_fills_and_its_fee_is_in_base(venue):
    async def scenario(server, client):
        placed = await client.create_order(BTC, "market", "buy", 0.1, None, {"clientOrderId": "abc123"})
        order = await client.fetch_order(placed["id"], BTC, ACKNOWLEDGED if venue == "bybit" else {})
        return order, await client.fetch_my_trades(BTC), await client.fetch_balance(), server.truth

    order, trades, balance, truth = on_venue(scenario, venue=venue)
    assert (order["status"], order["filled"], order["average"]) == ("closed", 0.1, 40_000)
    assert trades[0]["order"] == order["id"]
    assert trades[0]["takerOrMaker"] == "taker"
    assert trades[0]["fee"]["currency"] == "BTC"
    fee = truth.fills()[0].fee
    assert trades[0]["fee"]["cost"] == pytest.approx(float(fee))
    assert balance["BTC"]["free"] == pytest.approx(1.1 - float(fee))
    assert truth.total_of("BTC") == 1
    assert truth.total_of("USDT") == 100_000


@every_venue
def test_what_a_venue_refuses_ccxt_tells_by_its_kind(venue):
    async def scenario(server, client):
        with pytest.raises(ccxt.InsufficientFunds):
            await client.create_order(BTC, "limit", "buy", 100, 30_000)
        with pytest.raises(ccxt.InsufficientFunds):
            await client.create_order(BTC, "market", "sell", 2)
        with pytest.raises(ccxt.InvalidOrder):
            await client.create_order(BTC, "limit", "buy", 0.1, 300_000)
        await client.create_order(BTC, "limit", "buy", 0.1, 30_000, {"clientOrderId": "abc123"})
        with pytest.raises(ccxt.InvalidOrder):
            await client.create_order(BTC, "limit", "buy", 0.1, 30_000, {"clientOrderId": "abc123"})
        with pytest.raises(ccxt.OrderNotFound):
            await client.cancel_order("999", BTC)
        server.delist(BTC)
        with pytest.raises((ccxt.BadSymbol, ccxt.BadRequest)):
            await client.fetch_ohlcv(BTC)
        return len(server.truth.orders())

    assert on_venue(scenario, venue=venue) == 1


@pytest.mark.parametrize("venue", ["okx", "bybit"])
def test_an_id_can_never_be_used_again_where_the_venue_remembers_it(venue):
    async def scenario(server, client):
        await client.create_order(BTC, "market", "buy", 0.1, None, {"clientOrderId": "abc123"})
        with pytest.raises(ccxt.InvalidOrder):
            await client.create_order(BTC, "market", "buy", 0.1, None, {"clientOrderId": "abc123"})
        return len(server.truth.by_client_id("abc123"))

    assert on_venue(scenario, venue=venue) == 1


@pytest.mark.parametrize("venue", ["okx", "bybit"])
def test_a_post_only_order_that_would_take_is_accepted_and_cancelled(venue):
    async def scenario(server, client):
        order = await client.create_order(BTC, "limit", "buy", 0.1, 41_000, {"postOnly": True})
        return (await client.fetch_order(order["id"], BTC, ACKNOWLEDGED if venue == "bybit" else {}))["status"]

    assert on_venue(scenario, venue=venue) == "canceled"


@every_venue
def test_an_order_that_fills_at_once_or_not_is_over_at_once(venue):
    async def scenario(server, client):
        states = []
        for params, price in (({"timeInForce": "IOC"}, 39_000), ({"timeInForce": "FOK"}, 40_000)):
            order = await client.create_order(BTC, "limit", "buy", 1, price, params)
            order = await client.fetch_order(order["id"], BTC, ACKNOWLEDGED if venue == "bybit" else {})
            states.append(order["status"])
        return states

    states = on_venue(scenario, venue=venue)
    assert states[0] in ("canceled", "expired")
    assert states[1] == "closed"


@every_venue
def test_a_stop_waits_for_its_price(venue):
    data = synthetic([BTC], rows=300, seed=3)
    low = math.floor(float(data.columns[BTC].low[100:].min())) + 20

    async def scenario(server, client):
        await client.create_order(BTC, "market", "sell", 0.1, None, {"triggerPrice": low})
        waiting = [order.status.value for order in server.truth.orders()]
        server.clock.advance(60_000 * 199)
        return waiting, [order.status.value for order in server.truth.orders()]

    assert on_venue(scenario, venue=venue, data=data) == (["untriggered"], ["filled"])


@every_venue
def test_everything_is_watched(venue):
    async def scenario(server, client):
        if venue == "okx":
            await client.watch_balance()   # begins with a snapshot
        private = [asyncio.ensure_future(watch) for watch in (
            client.watch_orders(BTC), client.watch_my_trades(BTC), client.watch_balance())]
        await signed_in(server, venue, {"binance": 0, "okx": 2, "bybit": 3}[venue])
        await client.create_order(BTC, "market", "buy", 0.1, None, {"clientOrderId": "abc123"})
        orders, fills, balance = await asyncio.gather(*private)
        candles = await first(server, lambda: client.watch_ohlcv(BTC, "1m"))
        trades = await first(server, lambda: client.watch_trades(BTC))
        book = await first(server, lambda: client.watch_order_book(BTC))
        ticker = await first(server, lambda: client.watch_ticker(BTC))
        for _ in range(10):
            await first(server, lambda: client.watch_order_book(BTC), step=7_000)
        price = server.exchange.markets[BTC].instrument.price
        for _ in range(500):   # the last message may still be on its way
            if client.orderbooks[BTC]["asks"][0][0] == float(price(server.truth.levels(BTC)[1][0][0])):
                break
            await asyncio.sleep(0.01)
        return orders, fills, balance, candles, trades, book, ticker, client.orderbooks[BTC], server

    orders, fills, balance, candles, trades, book, ticker, last_book, server = on_venue(
        scenario, venue=venue, data=synthetic([BTC], rows=300))
    assert orders[-1]["clientOrderId"] == "abc123"
    assert fills[0]["amount"] == 0.1
    assert balance["BTC"]["free"] == pytest.approx(float(server.truth.balance("BTC").free))
    assert candles[-1][0] % 60_000 == 0
    assert trades[-1]["amount"] > 0
    assert book["bids"][0][0] < book["asks"][0][0]
    assert ticker["last"] > 0
    instrument = server.exchange.markets[BTC].instrument
    bids, asks = server.truth.levels(BTC)
    assert [row[:2] for row in last_book["bids"]] == [
        [float(instrument.price(price)), float(instrument.quantity(lots))] for price, lots in bids]
    assert last_book["asks"][0][0] == float(instrument.price(asks[0][0]))
    assert server.unknown_requests == []


@every_venue
def test_a_closed_candle_comes_once_over_the_websocket_and_equals_the_file(venue):
    data = synthetic([BTC], rows=300, seed=4)

    async def scenario(server, client):
        seen = {}
        for _ in range(60):
            for row in await first(server, lambda: client.watch_ohlcv(BTC, "1m"), step=5_000):
                seen[row[0]] = row
        return seen

    seen = on_venue(scenario, venue=venue, data=data)
    columns = data.columns[BTC]
    rows = [row for row in range(101, 104) if int(columns.open_time[row]) in seen]
    assert rows
    for row in rows:
        assert seen[int(columns.open_time[row])][1:5] == pytest.approx(
            [float(getattr(columns, name)[row]) for name in ("open", "high", "low", "close")], abs=0.06)


@every_venue
def test_wrong_keys_and_clocks_are_refused(venue):
    async def scenario(server, client):
        other = connect(venue, server.url, secret="other")
        with pytest.raises(ccxt.AuthenticationError):
            await other.fetch_balance()
        await other.close()
        server.clock.skew = 60_000
        with pytest.raises(ccxt.InvalidNonce):
            await client.fetch_balance()

    on_venue(scenario, venue=venue)


@every_venue
def test_a_client_placed_here_can_reach_nothing_else(venue):
    def addresses(part):
        return [part] if isinstance(part, str) else [each for inner in part.values() for each in addresses(inner)]

    async def scenario(server, client):
        return server.url.partition("//")[2], [address for part in ("api", "test", "demo") if part in client.urls
                                               for address in addresses(client.urls[part])]

    host, found = on_venue(scenario, venue=venue)
    assert len(found) > 3
    assert all(address.partition("//")[2].startswith(host) for address in found)


def test_any_exchange_s_client_can_be_led_to_one_server_that_tells_them_apart():
    async def scenario():
        async with VenueServer(steady(), paused=True) as server:
            client = replace_hosts(ccxt.pro.kraken({"timeout": 2000}), server.url)
            with pytest.raises(ccxt.ExchangeError):
                await client.fetch_time()
            await client.close()
            return server.unknown_requests

    assert asyncio.run(scenario()) == ["GET /api.kraken.com/0/public/Time"]


def test_several_venues_are_served_at_once_with_accounts_of_their_own():
    async def scenario():
        async with VenueServer(steady(), paused=True, venues=("binance", "okx", "bybit")) as server:
            clients = [connect(venue, server.url) for venue in server.exchanges]
            for client, amount in zip(clients, (0.1, 0.2, 0.3), strict=True):
                await client.load_markets()
                await client.create_order(BTC, "market", "buy", amount)
                await client.close()
            return [sum(fill.quantity * truth._exchange.markets[BTC].instrument.quantity_increment
                        for fill in truth.fills()) for truth in server.truths.values()]

    assert asyncio.run(scenario()) == [Decimal("0.1"), Decimal("0.2"), Decimal("0.3")]


@with_perpetuals
def test_a_perpetual_is_bought_valued_funded_and_closed(venue):
    async def scenario(server, client):
        amount = 10 if venue == "okx" else 0.1   # OKX counts contracts of 0.01 BTC
        await client.create_order(PERPETUAL, "market", "buy", amount)
        position = (await client.fetch_positions([PERPETUAL]))[0]
        rate = await client.fetch_funding_rate(PERPETUAL)
        server.clock.advance_to(rate["fundingTimestamp"] + 60_000)
        paid = await client.fetch_funding_history(PERPETUAL)
        history = await client.fetch_funding_rate_history(PERPETUAL, limit=1)
        total = server.truth.total_of("USDT")
        await client.create_order(PERPETUAL, "market", "sell", amount, None, {"reduceOnly": True})
        with pytest.raises(ccxt.ExchangeError):
            await client.create_order(PERPETUAL, "market", "sell", amount, None, {"reduceOnly": True})
        return position, rate, paid, history, total, server

    data = both(synthetic([BTC], rows=700, seed=2))
    position, rate, paid, history, total, server = on_venue(scenario, venue=venue, data=data, client=listed(venue))
    assert position["side"] == "long"
    assert position["contracts"] * position["contractSize"] == pytest.approx(0.1)
    assert history[-1]["fundingRate"] == rate["fundingRate"]
    # Bybit tells what was paid, OKX what was received.
    sign = 1 if venue == "bybit" else -1
    assert paid[0]["amount"] == pytest.approx(sign * 0.1 * 40_000 * rate["fundingRate"], rel=0.05)
    assert total == server.truth.total_of("USDT") == 100_000
    assert server.truth.positions() == {}


@with_perpetuals
def test_a_perpetual_needs_margin(venue):
    async def scenario(server, client):
        with pytest.raises(ccxt.InsufficientFunds):
            await client.create_order(PERPETUAL, "market", "buy", 100 if venue == "okx" else 1)
        await client.set_leverage(50, PERPETUAL, {"mgnMode": "cross"} if venue == "okx" else {})
        await client.create_order(PERPETUAL, "market", "buy", 100 if venue == "okx" else 1)
        return server.truth.positions()[PERPETUAL]

    held = on_venue(scenario, venue=venue, data=both(steady(volume=100)), client=listed(venue),
                    accounts=lambda: (account(balances={"USDT": 2000}),))
    assert held == (100 if venue == "okx" else 1)


def test_okx_cancels_everything_when_its_dead_man_s_switch_is_not_asked_again():
    async def scenario(server, client):
        await client.create_order(BTC, "limit", "buy", 0.1, 30_000)
        await client.cancel_all_orders_after(1000)
        await asyncio.sleep(0.3)
        before = len(server.truth.open_orders())
        while server.truth.open_orders():
            await asyncio.sleep(0.05)
        return before

    assert on_venue(scenario, venue="okx") == 1


def test_binance_s_perpetuals_are_watched_and_traded_beside_its_spot_markets_of_the_same_name():
    async def scenario(server, client):
        swap = {"type": "swap"}
        watching = [asyncio.ensure_future(watch) for watch in (
            client.watch_orders(PERPETUAL), client.watch_my_trades(PERPETUAL), client.watch_balance(swap),
            client.watch_trades(PERPETUAL), client.watch_trades(BTC))]
        await signed_in(server, "binance futures")
        await client.create_order(PERPETUAL, "market", "sell", 0.1, None, {"clientOrderId": "abc123"})
        resting = await client.create_order(PERPETUAL, "limit", "buy", 0.1, 30_000, {"postOnly": True})
        edited = await client.edit_order(resting["id"], PERPETUAL, "limit", "buy", 0.2, 31_000)
        stop = await client.create_order(PERPETUAL, "market", "buy", 0.1, None, {"stopLossPrice": 50_000})
        open_orders = await client.fetch_open_orders(PERPETUAL)
        waiting = await client.fetch_open_orders(PERPETUAL, params={"trigger": True})
        await client.cancel_order(stop["id"], PERPETUAL, {"trigger": True})
        await first(server, lambda: asyncio.shield(watching[-1]))
        with pytest.raises(ccxt.OrderNotFillable):
            await client.create_order(PERPETUAL, "limit", "buy", 0.1, 41_000, {"postOnly": True})
        book = await first(server, lambda: client.watch_order_book(PERPETUAL))
        ticker = await client.fetch_ticker(PERPETUAL)
        positions = await client.fetch_positions([PERPETUAL])
        return edited, open_orders, waiting, await asyncio.gather(*watching), positions, book, ticker, server

    edited, open_orders, waiting, watched, positions, book, ticker, server = on_venue(
        scenario, data=both(steady()), client=listed("binance"))
    orders, fills, balance, swaps, spots = watched
    assert [(row["id"], row["amount"], row["price"]) for row in open_orders] == [(edited["id"], 0.2, 31_000)]
    assert [row["triggerPrice"] for row in waiting] == [50_000]
    assert orders[0]["clientOrderId"] == "abc123"
    assert (fills[0]["symbol"], fills[0]["fee"]["currency"]) == (PERPETUAL, "USDT")
    assert balance["USDT"]["total"] < 100_000
    assert positions[0]["side"] == "short"
    assert (swaps[0]["symbol"], spots[0]["symbol"]) == (PERPETUAL, BTC)
    assert book["bids"][0][0] < book["asks"][0][0]
    assert ticker["symbol"] == PERPETUAL
    assert server.unknown_requests == []
