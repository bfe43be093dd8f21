"""How much a venue lets one client ask, in wall time: a window, a limit, and what each call weighs.

Who goes on asking while refused is banned, as real venues do it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Limit:
    """Args:
        weight: in one window; seconds: the window's length.
        weights: of the calls, by ccxt's name of the method; any other weighs 1.
        patience: refusals in one window before a ban; ban_seconds: how long that lasts.
    """

    weight: int
    seconds: float
    weights: Mapping[str, int]
    patience: int = 10
    ban_seconds: float = 120.0


BINANCE = Limit(6000, 60, {"fetch_markets": 20, "fetch_ohlcv": 2, "fetch_order_book": 5, "fetch_trades": 4,
                           "fetch_ticker": 2, "fetch_balance": 20, "fetch_order": 4, "fetch_open_orders": 6,
                           "fetch_orders": 20, "fetch_my_trades": 20})
OKX = Limit(600, 60, {})
BYBIT = Limit(600, 5, {})
LIMITS = {"binance": BINANCE, "okx": OKX, "bybit": BYBIT}


class Verdict(NamedTuple):
    """What becomes of a call. `used` is the window's weight, this call included; `wait` in seconds."""

    used: int
    is_refused: bool = False
    is_banned: bool = False
    wait: float = 0.0


class Meter:
    """Counts one venue's calls against its limit. Times in seconds, of any clock that does not go back."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._calls: deque[tuple[float, int]] = deque()
        self._used = self._refused = 0

    def count(self, call: str, now: float) -> Verdict:
        """Count a call and say what becomes of it; refused calls weigh nothing."""
        limit = self._limit
        while self._calls and self._calls[0][0] <= now - limit.seconds:
            self._used -= self._calls.popleft()[1]
        weight = limit.weights.get(call, 1)
        if self._used + weight > limit.weight:
            self._refused += 1
            wait = self._calls[0][0] + limit.seconds - now if self._calls else limit.seconds
            if self._refused > limit.patience:
                self._refused = 0
                return Verdict(self._used, is_refused=True, is_banned=True, wait=limit.ban_seconds)
            return Verdict(self._used, is_refused=True, wait=wait)
        if not self._calls:
            self._refused = 0
        self._calls.append((now, weight))
        self._used += weight
        return Verdict(self._used)
