"""What venues say of candles, in their own words, and what is made of it."""

from types import SimpleNamespace

import ccxt
import pytest

from feeds.candles import Candle
from feeds.listening import CANDLE_WORDS, HeardCandle, Tap

T = 1_704_067_200_000
CANDLE = Candle(T * 1_000_000, 100.5, 102.0, 99.5, 101.0, 12.25)


def binance(is_final: bool) -> dict:
    return {
        "e": "kline", "E": T + 60_001, "s": "BTCUSDT",
        "k": {"t": T, "T": T + 59_999, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2, "o": "100.5", "c": "101.0",
              "h": "102.0", "l": "99.5", "v": "12.25", "n": 2, "x": is_final, "q": "0", "V": "0", "Q": "0", "B": "0"}}


def okx(is_final: bool, market: str = "BTC-USDT", volumes: tuple[str, str] = ("12.25", "1237.25")) -> dict:
    row = [str(T), "100.5", "102.0", "99.5", "101.0", *volumes, "1237.25", "1" if is_final else "0"]
    return {"arg": {"channel": "candle1m", "instId": market}, "data": [row]}


def bybit(is_final: bool) -> dict:
    return {
        "topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": T,
        "data": [{"start": T, "end": T + 59_999, "interval": "1", "open": "100.5", "close": "101.0", "high": "102.0",
                  "low": "99.5", "volume": "12.25", "turnover": "1237", "confirm": is_final, "timestamp": T}]}


def kraken() -> dict:
    return {
        "channel": "ohlc", "type": "update", "timestamp": "2024-01-01T00:00:30Z",
        "data": [{"symbol": "BTC/USDT", "open": 100.5, "high": 102, "low": 99.5, "close": 101.0, "trades": 2,
                  "volume": 12.25, "vwap": 100.9, "interval_begin": "2024-01-01T00:00:00.000000000Z", "interval": 1,
                  "timestamp": "2024-01-01T00:01:00.000000Z"}]}


@pytest.mark.parametrize(("venue", "message", "heard"), [
    ("binance", binance(False), HeardCandle("BTCUSDT", "1m", CANDLE, False)),
    ("binance", binance(True), HeardCandle("BTCUSDT", "1m", CANDLE, True)),
    ("binance", {"stream": "btcusdt@kline_1m", "data": binance(True)}, HeardCandle("BTCUSDT", "1m", CANDLE, True)),
    ("okx", okx(False), HeardCandle("BTC-USDT", "1m", CANDLE, False)),
    ("okx", okx(True), HeardCandle("BTC-USDT", "1m", CANDLE, True)),
    # A contract's first volume counts contracts.
    ("okx", okx(True, "BTC-USDT-SWAP", ("1225", "12.25")), HeardCandle("BTC-USDT-SWAP", "1m", CANDLE, True)),
    ("bybit", bybit(False), HeardCandle("BTCUSDT", "1", CANDLE, False)),
    ("bybit", bybit(True), HeardCandle("BTCUSDT", "1", CANDLE, True)),
    ("kraken", kraken(), HeardCandle("BTC/USDT", "1", CANDLE, False)),
])
def test_a_candle_is_read_with_its_final_word(venue, message, heard):
    assert CANDLE_WORDS[venue].read(message) == [heard]


@pytest.mark.parametrize(("venue", "message"), [
    ("binance", {"e": "trade", "s": "BTCUSDT", "p": "1", "q": "2"}),
    ("binance", {"result": None, "id": 1}),
    ("okx", {"event": "subscribe", "arg": {"channel": "candle1m", "instId": "BTC-USDT"}}),
    ("okx", {"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": [{}]}),
    ("bybit", {"topic": "publicTrade.BTCUSDT", "data": []}),
    ("bybit", {"op": "pong"}),
    ("kraken", {"channel": "heartbeat"}),
    ("kraken", {"method": "subscribe", "result": {"channel": "ohlc"}, "success": True}),
])
def test_any_other_message_is_left_to_ccxt(venue, message):
    assert CANDLE_WORDS[venue].read(message) is None


@pytest.mark.parametrize("prices", [("102.0", "99.5", "nan"), ("98", "99.5", "101"), ("102", "-1", "101")])
def test_a_candle_that_cannot_be_is_not_heard(prices):
    message = binance(True)
    message["k"].update(zip(("h", "l", "c"), prices, strict=True))
    assert CANDLE_WORDS["binance"].read(message) == []


class Exchange:
    """What a tap needs of a ccxt exchange."""

    id = "binance"

    def __init__(self) -> None:
        self.handled: list = []
        self.clients: dict = {}

    def handle_message(self, client, message) -> None:
        if message == "refused":
            raise ccxt.BadRequest("okx channel does not exist")
        if message == "broken":
            raise TypeError("'NoneType' object is not subscriptable")
        self.handled.append(message)

    def on_close(self, client, code) -> None:
        self.handled.append(("closed", code))

    def on_error(self, client, error) -> None:
        self.handled.append(("failed", str(error)))

    def on_connected(self, client, message=None) -> None:
        self.handled.append("connected")


def tapped(**options) -> tuple[Exchange, Tap, list, list]:
    exchange, heard, lost = Exchange(), [], []
    return exchange, Tap(exchange, on_candle=heard.append, on_lost=lost.append, **options), heard, lost


def test_candles_are_taken_and_everything_else_goes_on_to_ccxt():
    exchange, tap, heard, _ = tapped()
    exchange.handle_message(None, binance(True))
    exchange.handle_message(None, {"e": "trade"})
    exchange.handle_message(None, {"result": None, "id": 1})
    assert [one.is_final for one in heard] == [True]
    assert exchange.handled == [{"e": "trade"}, {"result": None, "id": 1}]
    assert tap.messages == 2


def test_a_message_that_breaks_a_parser_does_not_stop_the_reading():
    exchange, tap, heard, _ = tapped()
    exchange.handle_message(None, {"e": "kline", "k": {"s": "BTCUSDT"}})
    exchange.handle_message(None, "broken")
    exchange.handle_message(None, "<html>We will be back soon</html>")
    exchange.handle_message(None, binance(True))
    assert len(heard) == 1
    assert tap.not_understood == 2


def test_a_refusal_reaches_whoever_waits_and_does_not_stop_the_reading():
    exchange, _, heard, _ = tapped()
    rejected: list = []
    exchange.handle_message(SimpleNamespace(reject=rejected.append), "refused")
    exchange.handle_message(None, binance(True))
    assert [str(one) for one in rejected] == ["okx channel does not exist"]
    assert len(heard) == 1


def test_lost_connections_are_told_although_nobody_waits_for_them():
    exchange, tap, _, lost = tapped()
    exchange.on_connected(None)
    exchange.on_close(None, 1006)
    exchange.on_error(None, "ping-pong keepalive missing on time")
    assert lost == ["the venue closed the connection (1006)", "ping-pong keepalive missing on time"]
    assert tap.connections == 1
    tap.close()
    exchange.on_close(None, 1000)
    assert len(lost) == 2
