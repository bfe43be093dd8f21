"""Rules about size: of a position, an order, the whole account. Each lets pass what only reduces a position.

A limit itself is allowed; what lies above it is refused. The worst case counts: every working order on the order's side
filled, at the last close or at a limit or stop above it. A price that moves afterwards makes no order, so it may carry
notional and leverage beyond their limits; then only what reduces is let pass.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from engine.errors import SettingsError
from engine.orders import Side
from engine.risk.rule import Asked, RiskRule


class Limits:
    """A limit for every symbol: one of its own, or the one for all others (None: no limit).

    Raises:
        SettingsError: a limit is negative or not a number.
    """

    def __init__(self, rule: str, default: Decimal | None, symbols: Mapping[str, Decimal] | None = None) -> None:
        self._default = default
        self._symbols = dict(symbols or {})
        for symbol, limit in {"default": default, **self._symbols}.items():
            if limit is not None and not (limit.is_finite() and limit >= 0):
                raise SettingsError(f"{rule}: the limit of {symbol} is {limit}; expected 0 or more")

    def of(self, symbol: str) -> Decimal | None:
        return self._symbols.get(symbol, self._default)

    def card(self) -> dict[str, str]:
        every = {} if self._default is None else {"default": self._default}
        return {symbol: f"{limit:f}" for symbol, limit in {**every, **self._symbols}.items()}


class _PerSymbol(RiskRule):
    """A rule with a limit for each symbol."""

    def __init__(self, limit: Decimal | None = None, symbols: Mapping[str, Decimal] | None = None) -> None:
        self._limits = Limits(self.name, limit, symbols)

    def card(self) -> dict[str, Any]:
        return self._limits.card()


class MaxPosition(_PerSymbol):
    """Most quantity held of a symbol, long or short, in base asset."""

    def refusal(self, asked: Asked) -> str | None:
        limit = self._limits.of(asked.symbol)
        if limit is None or not asked.grows:
            return None
        reached = asked.instrument.to_quantity(asked.reached_lots)
        if reached <= limit:
            return None
        return f"{_what(asked)} could bring {asked.symbol} to {_short(reached)} {_way(asked)}; limit {_short(limit)}"


class MaxOrderNotional(_PerSymbol):
    """Most that one order may be worth, in quote currency."""

    def refusal(self, asked: Asked) -> str | None:
        limit = self._limits.of(asked.symbol)
        if limit is None or not asked.grows:
            return None
        worth = _notional(asked, asked.order.open_lots, own=True)
        if worth <= limit:
            return None
        return f"{_what(asked)} is worth {_money(worth, asked)}; limit {_short(limit)}"


class MaxPositionNotional(_PerSymbol):
    """Most that a position may be worth when an order adds to it, in quote currency."""

    def refusal(self, asked: Asked) -> str | None:
        limit = self._limits.of(asked.symbol)
        if limit is None or not asked.grows:
            return None
        worth = _notional(asked, asked.reached_lots)
        if worth <= limit:
            return None
        return f"{_what(asked)} could bring {asked.symbol} to {_money(worth, asked)}; limit {_short(limit)}"


class MaxLeverage(RiskRule):
    """Most notional of all positions ÷ equity of the account that the order is paid from.

    Args:
        gross: limit of the sum over symbols, whichever way they are held; net: of long less short (or the other way
            round). None for no limit.
    """

    def __init__(self, gross: Decimal | None = None, net: Decimal | None = None) -> None:
        self._gross, self._net = gross, net
        for name, limit in (("gross", gross), ("net", net)):
            if limit is not None and not (limit.is_finite() and limit > 0):
                raise SettingsError(f"{self.name}: {name} is {limit}; expected a number above 0, such as 2")

    def refusal(self, asked: Asked) -> str | None:
        if not asked.grows:
            return None
        view, currency = asked.view, asked.instrument.quote
        equity = Decimal(view.equity(currency))
        gross = net = Decimal(0)
        side = asked.order.side
        for symbol in sorted({*view.traded_symbols(), asked.symbol}):
            instrument = view.position(symbol).instrument
            if instrument.quote != currency:
                continue
            is_asked = symbol == asked.symbol
            reach = asked.reach if is_asked else view.reach(symbol)
            worths = {}
            for way, lots in ((Side.BUY, reach.high), (Side.SELL, reach.low)):
                ticks = view.highest_ticks(instrument, way, asked.order if is_asked else None)
                worths[way] = lots * ticks * instrument.increment_value
            gross += max(abs(worth) for worth in worths.values())
            net += worths[side]
        for name, worth, limit in (("gross", gross, self._gross), ("net", side * net, self._net)):
            if limit is not None and worth > limit * equity:
                found = f"{float(worth / equity):.4g}" if equity > 0 else f"{worth:.2f} on equity of {equity:.2f}"
                return f"{_what(asked)} could bring {name} leverage to {found}; limit {_short(limit)}"
        return None

    def card(self) -> dict[str, Any]:
        limits = (("gross", self._gross), ("net", self._net))
        return {name: f"{limit:f}" for name, limit in limits if limit is not None}


def _notional(asked: Asked, lots: int, *, own: bool = False) -> Decimal:
    """Return what so many lots are worth, in quote currency; at the order's `own` prices, or those of all on its
    side."""
    order, instrument = asked.order, asked.instrument
    if own:
        prices = (instrument.to_ticks(asked.price), order.limit_ticks or 0, order.stop_ticks or 0)
        return max(prices) * lots * instrument.increment_value
    return asked.view.highest_ticks(instrument, order.side, order) * lots * instrument.increment_value


def _what(asked: Asked) -> str:
    order = asked.order
    return f"{order.side.word}ing {_short(order.instrument.to_quantity(order.open_lots))}"


def _way(asked: Asked) -> str:
    return "long" if asked.order.side is Side.BUY else "short"


def _money(worth: Decimal, asked: Asked) -> str:
    return f"{_short(worth)} {asked.instrument.quote}"


def _short(number: Decimal) -> str:
    """Return a number without its trailing zeros."""
    return f"{number.normalize():f}"
