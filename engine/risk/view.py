"""What the gate may look at: books, working orders, last closes, the time. Nothing here changes anything."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from engine.instruments import Instrument
from engine.orders import Order, Side
from engine.portfolio import Portfolio, Position


class Now(Protocol):
    """The instant the loop is at; an engine.moment.Moment is one."""

    @property
    def time(self) -> int: ...

    def price(self, symbol: str) -> float | None:
        """Return the last close of a symbol; None before its first bar."""


class Reach(NamedTuple):
    """The lowest and the highest position, in signed lots, that working orders can lead to, whichever of them fill."""

    low: int
    high: int


class RiskView:
    """Read-only answers, as of this instant.

    Args:
        working: the broker's working orders by id, always the same object.
    """

    def __init__(self, portfolio: Portfolio, working: Mapping[int, Order], now: Now) -> None:
        self.portfolio = portfolio
        self.working = working
        self._now = now
        self.forecast_times: Callable[[str], Sequence[int]] = lambda symbol: ()
        """Returns when the bars closed that the last forecasts of a symbol were made of, one for each model."""

    @property
    def time(self) -> int:
        """The loop's time, UTC nanoseconds."""
        return self._now.time

    def price(self, symbol: str) -> float:
        """Return the last close of a symbol, in quote currency; 0 before its first bar, when it cannot be traded."""
        return self._now.price(symbol) or 0.0

    def position(self, symbol: str) -> Position:
        return self.portfolio.positions[symbol]

    def open_orders(self, symbol: str = "") -> list[Order]:
        """Return the working orders, oldest first; of one symbol, or of all."""
        return [order for order in self.working.values() if not symbol or order.symbol == symbol]

    def equity(self, currency: str) -> float:
        """Return cash + market value of the positions quoted in a currency, at the last closes."""
        units = self.portfolio.equity_units(currency, self._now.price)
        return float(units * self.portfolio.accounts[currency].unit)

    def closes(self, order: Order) -> bool:
        """Return whether an order by itself only reduces the position there is."""
        held = self.portfolio.positions[order.symbol].lots
        return held * order.side < 0 and order.open_lots <= abs(held)

    def reach(self, symbol: str, asked: Order | None = None) -> Reach:
        """Return how far the position of a symbol can go.

        A reduce-only order takes it to flat at most. Of an OCO group only the largest order counts, since a fill of one
        takes the others with it. Children that wait for their entry are left out: they protect what it fills.

        Args:
            asked: an order to reckon with beside the working ones, in place of the one that has its number.
        """
        orders = [order for order in self.working.values() if order.symbol == symbol and order is not asked]
        if asked is not None:
            orders = [order for order in orders if order.id != asked.id or not asked.id] + [asked]
        held = self.portfolio.positions[symbol].lots
        sells, closing_sells = _lots_of(orders, Side.SELL)
        buys, closing_buys = _lots_of(orders, Side.BUY)
        low = (max(0, held - closing_sells) if held > 0 else held) - sells
        high = (min(0, held + closing_buys) if held < 0 else held) + buys
        if not self.portfolio.allow_short:
            low = max(low, min(held, 0))
        return Reach(low, high)

    def highest_ticks(self, instrument: Instrument, side: Side, asked: Order | None = None) -> int:
        """Return the highest price, in ticks, at which orders of one side are known to trade: the last close, or a
        limit or stop above it. Notional is reckoned at it."""
        orders: Iterable[Order] = (order for order in self.working.values() if order.symbol == instrument.symbol)
        prices = [instrument.to_ticks(self.price(instrument.symbol))]
        for order in (*orders, *([asked] if asked is not None else [])):
            if order.side is side:
                prices += [ticks for ticks in (order.limit_ticks, order.stop_ticks) if ticks is not None]
        return max(prices)

    def traded_symbols(self) -> set[str]:
        """Return the symbols that are held or have a working order."""
        held = {symbol for symbol, position in self.portfolio.positions.items() if position.lots}
        return held | {order.symbol for order in self.working.values()}


def _lots_of(orders: Iterable[Order], side: Side) -> tuple[int, int]:
    """Return how many lots the orders of one side may fill: those that may open a position, and the reduce-only."""
    free: dict[object, int] = {}
    closing: dict[object, int] = {}
    for order in orders:
        if order.side is side:
            found = closing if order.reduce_only else free
            key = ("group", order.group) if order.group is not None else id(order)
            found[key] = max(found.get(key, 0), order.open_lots)
    return sum(free.values()), sum(closing.values())
