"""Rules about single orders and their flow: how many, in what, at which prices, of which size beside the market's."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from engine.errors import SettingsError
from engine.orders import Order
from engine.risk.rule import Asked, RiskRule
from engine.risk.view import RiskView


class OrderRate(RiskRule):
    """Most orders sent within a window of the loop's time. What only reduces a position is counted, and let pass.

    Args:
        orders: how many may be sent in any window; window: its length, nanoseconds.
    """

    def __init__(self, orders: int, window: int) -> None:
        if orders < 1 or window < 1:
            raise SettingsError(f"{self.name}: {orders} orders in {window} ns; expected at least 1 in at least 1 ns")
        self._orders, self._window = orders, window
        self._sent: deque[int] = deque()

    def refusal(self, asked: Asked) -> str | None:
        recent = sum(time > asked.time - self._window for time in self._sent)
        if recent < self._orders or not asked.grows:
            return None
        return f"{recent} orders were sent within {_span(self._window)}; limit {self._orders}"

    def on_sent(self, order: Order, view: RiskView) -> None:
        self._sent.append(view.time)
        while self._sent[0] <= view.time - self._window:
            self._sent.popleft()

    def card(self) -> dict[str, Any]:
        return {"orders": self._orders, "window": _span(self._window)}

    def save_state(self) -> dict[str, Any]:
        return {"sent": list(self._sent)}

    def load_state(self, state: dict[str, Any]) -> None:
        self._sent = deque(state["sent"])


class MaxOpenOrders(RiskRule):
    """Most working orders at once, in all and of one symbol. What only reduces a position is counted, and let pass;
    children that wait for their entry are not counted.

    Args:
        orders: in all; per_symbol: of one symbol. None for no limit.
    """

    def __init__(self, orders: int | None = None, per_symbol: int | None = None) -> None:
        self._limits = {"orders": orders, "per_symbol": per_symbol}
        for name, limit in self._limits.items():
            if limit is not None and limit < 1:
                raise SettingsError(f"{self.name}: {name} is {limit}; expected 1 or more")

    def refusal(self, asked: Asked) -> str | None:
        if not asked.grows:
            return None
        for name, symbol in (("orders", ""), ("per_symbol", asked.symbol)):
            others = [order for order in asked.view.open_orders(symbol) if order.id != asked.order.id]
            limit, working = self._limits[name], len(others)
            if limit is not None and working >= limit:
                return f"{working} orders {f'of {symbol} ' if symbol else ''}are working; limit {limit}"
        return None

    def card(self) -> dict[str, Any]:
        return {name: limit for name, limit in self._limits.items() if limit is not None}


class AllowedInstruments(RiskRule):
    """Which symbols may be traded. A position in another may still be reduced.

    Args:
        allow: these alone; empty for all. forbid: none of these.
    """

    def __init__(self, allow: Sequence[str] = (), forbid: Sequence[str] = ()) -> None:
        self._allow, self._forbid = tuple(allow), tuple(forbid)
        both = sorted({*allow} & {*forbid})
        if both:
            raise SettingsError(f"{self.name}: {', '.join(both)} is allowed and forbidden; expected one of the two")

    def refusal(self, asked: Asked) -> str | None:
        if not asked.grows:
            return None
        if asked.symbol in self._forbid:
            return f"{asked.symbol} is forbidden"
        if self._allow and asked.symbol not in self._allow:
            return f"{asked.symbol} is not allowed; allowed are {', '.join(self._allow)}"
        return None

    def card(self) -> dict[str, Any]:
        return {name: list(one) for name, one in (("allow", self._allow), ("forbid", self._forbid)) if one}


class ReduceOnly(RiskRule):
    """Nothing but what reduces a position. An order that by itself reduces one is sent as a reduce-only order."""

    def refusal(self, asked: Asked) -> str | None:
        if asked.only_reduces:
            return None
        held = asked.instrument.to_quantity(asked.view.position(asked.symbol).lots)
        return f"only what reduces a position may be sent, and {held.normalize():f} {asked.symbol} is held"

    def card(self) -> dict[str, Any]:
        return {"reduce_only": True}


class PriceBand(RiskRule):
    """Fat fingers: a limit or stop price too far from the last close. It holds for orders that reduce, too: a wrong
    price is wrong either way.

    Args:
        fraction: how far away a price may be, of the last close (0.1 is 10 %).
    """

    def __init__(self, fraction: float) -> None:
        if not fraction > 0:
            raise SettingsError(f"{self.name}: fraction is {fraction}; expected a number above 0, such as 0.1")
        self._fraction = fraction

    def refusal(self, asked: Asked) -> str | None:
        order, instrument = asked.order, asked.instrument
        for name, ticks in (("limit", order.limit_ticks), ("stop", order.stop_ticks)):
            if ticks is None:
                continue
            close = instrument.to_ticks(asked.price)
            if abs(ticks - close) > self._fraction * close:
                away = abs(ticks / close - 1) if close else float("inf")
                return (
                    f"the {name} {instrument.to_price(ticks)} is {away:.4%} from the last close "
                    f"{instrument.to_price(close)}; limit {self._fraction:.4%}"
                )
        return None

    def card(self) -> dict[str, Any]:
        return {"fraction": self._fraction}


class VolumeShare(RiskRule):
    """Fat fingers: an order too large beside what is traded in a bar. What only reduces a position is let pass.

    Args:
        fraction: most quantity of an order ÷ average volume of the last bars; bars: how many are averaged. While fewer
            have been seen, those are.
    """

    def __init__(self, fraction: float, bars: int = 20) -> None:
        if not fraction > 0 or bars < 1:
            raise SettingsError(f"{self.name}: fraction {fraction} of {bars} bars; expected above 0, of 1 or more")
        self._fraction, self._bars = fraction, bars
        self._volumes: dict[str, deque[float]] = {}

    def on_bar(self, symbol: str, close: float, volume: float) -> None:
        seen = self._volumes.get(symbol)
        if seen is None:
            seen = self._volumes[symbol] = deque(maxlen=self._bars)
        seen.append(volume)

    def refusal(self, asked: Asked) -> str | None:
        seen = self._volumes.get(asked.symbol)
        if not seen or not asked.grows:
            return None
        average = sum(seen) / len(seen)
        quantity = asked.instrument.float_quantity(asked.order.open_lots)
        if quantity <= self._fraction * average:
            return None
        share = f"{quantity / average:.4%} of" if average else "more than"
        return f"{quantity:g} is {share} the average volume {average:g} of {len(seen)} bars; limit {self._fraction:.4%}"

    def card(self) -> dict[str, Any]:
        return {"fraction": self._fraction, "bars": self._bars}

    def save_state(self) -> dict[str, Any]:
        return {"volumes": {symbol: list(seen) for symbol, seen in self._volumes.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        self._volumes = {symbol: deque(seen, maxlen=self._bars) for symbol, seen in state["volumes"].items()}


def _span(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e9:.12g} s"
