"""Listening in on a ccxt.pro exchange's websockets.

ccxt turns a venue's messages into one form, but leaves out what a live feed needs most: whether a candle is final
(Binance's `x`, OKX's and Bybit's `confirm`), that a connection was lost while nobody was waiting for it, and when
something was heard last. It also hands out one message for each call, so that those of other symbols that come at the
same moment are noticed late. So candles are taken from the messages themselves, for venues whose words are known
(`CANDLE_WORDS`); everything else goes on to ccxt.
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from feeds.candles import MILLISECOND, Candle, candle_of


class HeardCandle(NamedTuple):
    """A candle of a venue's stream; `market` and `timeframe` are the venue's own names."""

    market: str
    timeframe: str
    candle: Candle
    is_final: bool


class CandleWords(NamedTuple):
    """How a venue speaks of candles.

    Args:
        read: returns the candles of a message; None for any other message.
        market_name: the venue's name of a market in messages, from ccxt's description of it.
        is_every_change_sent: there is no final word, but every trade changes the candle at once.
    """

    read: Callable[[Mapping[str, Any]], list[HeardCandle] | None]
    market_name: Callable[[Mapping[str, Any]], str]
    is_every_change_sent: bool = False


def _heard(market: Any, timeframe: Any, time_ms: Any, values: tuple[Any, ...], is_final: bool) -> list[HeardCandle]:
    candle = candle_of((int(time_ms), *map(float, values)))
    return [HeardCandle(str(market), str(timeframe), candle, is_final)] if candle is not None else []


def _binance(message: Mapping[str, Any]) -> list[HeardCandle] | None:
    message = message.get("data", message) if "stream" in message else message
    if message.get("e") != "kline":
        return None
    k = message["k"]
    return _heard(k["s"], k["i"], k["t"], (k["o"], k["h"], k["l"], k["c"], k["v"]), k["x"] is True)


def _okx(message: Mapping[str, Any]) -> list[HeardCandle] | None:
    channel = (message.get("arg") or {}).get("channel", "")
    if not channel.startswith("candle") or "data" not in message:
        return None
    market = message["arg"]["instId"]
    place = 6 if market.count("-") > 1 else 5  # of contracts the sixth is the volume in base asset
    heard: list[HeardCandle] = []
    for row in message["data"]:
        heard += _heard(market, channel[6:], row[0], (*row[1:5], row[place]), row[8] == "1")
    return heard


def _bybit(message: Mapping[str, Any]) -> list[HeardCandle] | None:
    topic = message.get("topic") or ""
    if not topic.startswith("kline."):
        return None
    _, timeframe, market = topic.split(".")
    heard: list[HeardCandle] = []
    for one in message["data"]:
        values = (one["open"], one["high"], one["low"], one["close"], one["volume"])
        heard += _heard(market, timeframe, one["start"], values, one["confirm"] is True)
    return heard


def _kraken(message: Mapping[str, Any]) -> list[HeardCandle] | None:
    if message.get("channel") != "ohlc" or "data" not in message:
        return None
    heard: list[HeardCandle] = []
    for one in message["data"]:
        begin = datetime.fromisoformat(one["interval_begin"][:19] + "+00:00")
        values = (one["open"], one["high"], one["low"], one["close"], one["volume"])
        heard += _heard(one["symbol"], one["interval"], int(begin.timestamp()) * 1000, values, False)
    return heard


def _id(market: Mapping[str, Any]) -> str:
    return str(market["id"])


CANDLE_WORDS = {
    "binance": CandleWords(_binance, _id),
    "binanceus": CandleWords(_binance, _id),
    "binanceusdm": CandleWords(_binance, _id),
    "okx": CandleWords(_okx, _id),
    "okxus": CandleWords(_okx, _id),
    "myokx": CandleWords(_okx, _id),
    "bybit": CandleWords(_bybit, _id),
    "bybiteu": CandleWords(_bybit, _id),
    "kraken": CandleWords(_kraken, lambda market: str(market["symbol"]), is_every_change_sent=True),
}
"""By ccxt's id. The candles of any other venue's stream are only a hint: its bars are asked for."""

_NOT_UNDERSTOOD = (TypeError, AttributeError, LookupError, ValueError)


class Tap:
    """Hears every message of an exchange before ccxt does.

    Args:
        on_candle: called with each candle.
        on_lost: called with a reason when a connection that was there is gone.
    """

    def __init__(
        self, exchange: Any, *, on_candle: Callable[[HeardCandle], None], on_lost: Callable[[str], None]
    ) -> None:
        self.messages = 0
        """How many came, pings aside."""
        self.not_understood = 0
        """Messages that are not what the venue's documents say."""
        self.connections = 0
        """How often a connection was made."""
        self.heard_at = time.monotonic()
        self._words = CANDLE_WORDS.get(exchange.id)
        self._on_candle = on_candle
        self._on_lost = on_lost
        self._exchange = exchange
        self._closing = False
        self._tap()

    @property
    def knows_candles(self) -> bool:
        """Whether the candles of this venue's stream are understood; ccxt never sees them then."""
        return self._words is not None

    @property
    def seconds_silent(self) -> float:
        """How long ago market data was heard last."""
        return time.monotonic() - self.heard_at

    def restart(self, reason: str) -> None:
        """Cut every connection; whoever waits on one is told, and asks for a new one."""
        from ccxt.base.errors import NetworkError

        for client in list((self._exchange.clients or {}).values()):
            client.on_error(NetworkError(reason))

    def close(self) -> None:
        """Tell of lost connections no longer."""
        self._closing = True

    def _tap(self) -> None:
        from ccxt.base.errors import BaseError

        exchange = self._exchange
        handle, closed, failed, connected = (
            exchange.handle_message, exchange.on_close, exchange.on_error, exchange.on_connected)

        def on_message(client: Any, message: Any) -> None:
            if self._is_data(message):
                self.messages += 1
                self.heard_at = time.monotonic()
                if self._took_candles(message):
                    return
            # Whatever is raised from here makes ccxt stop reading this connection, and say nothing.
            try:
                handle(client, message)
            except BaseError as refusal:
                client.reject(refusal)
            except _NOT_UNDERSTOOD:
                self.not_understood += 1

        def on_close(client: Any, code: Any) -> None:
            closed(client, code)
            self._lost(f"the venue closed the connection ({code})")

        def on_error(client: Any, error: Any) -> None:
            failed(client, error)
            self._lost(str(error)[:120])

        def on_connected(client: Any, message: Any = None) -> None:
            self.connections += 1
            connected(client, message)

        exchange.handle_message = on_message
        exchange.on_close, exchange.on_error, exchange.on_connected = on_close, on_error, on_connected

    def _took_candles(self, message: Mapping[str, Any]) -> bool:
        if self._words is None:
            return False
        try:
            heard = self._words.read(message)
        except _NOT_UNDERSTOOD:
            self.not_understood += 1
            return True
        for one in heard or ():
            self._on_candle(one)
        return heard is not None

    def _lost(self, reason: str) -> None:
        if not self._closing:
            self._on_lost(reason)

    @staticmethod
    def _is_data(message: Any) -> bool:
        """Say whether a message is of the market, and not a pong or an answer to a subscription."""
        if not isinstance(message, dict) or message.get("channel") in ("heartbeat", "status"):
            return False
        return "e" in message or "data" in message or "k" in message or "topic" in message


def time_of_milliseconds(value: Any) -> int:
    """Return UTC nanoseconds of ccxt's milliseconds; 0 where there are none."""
    return int(value) * MILLISECOND if value else 0
