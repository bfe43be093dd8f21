"""What the venue does with orders: checks, locks, matches, settles, and tells whoever listens.

Venues differ in a few rules, named in `Rules`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from tests.venue.accounts import Account, Position
from tests.venue.candles import Candle
from tests.venue.instruments import Instrument
from tests.venue.ledger import Ledger
from tests.venue.market import Market, Trade
from tests.venue.orders import Fill, Order, Reason, Rejected, Request, Status


@dataclass(frozen=True)
class Rules:
    """Where venues differ.

    Args:
        ids_stay_taken: a client order id can never be used again. If not, it is free as soon as its order is closed,
            as on Binance: a repeated market order is then a second order.
        refuses_post_only: a post-only order that would take is refused; if not, it is taken and cancelled.
        fee_in_received: fees come out of what is received (base for buys); if not, out of the quote currency.
        max_open_orders: of one account in one market.
        price_band: how many times the last price, and what part of it, a limit price may be.
        maintenance: margin of a perpetual position, a fraction of its value.
    """

    ids_stay_taken: bool = False
    refuses_post_only: bool = True
    fee_in_received: bool = True
    max_open_orders: int = 200
    price_band: Decimal = Decimal(5)
    maintenance: Decimal = Decimal("0.005")


class Listener(Protocol):
    """Who is told. All are called at once, in the middle of things: they note it and return."""

    def on_trade(self, market: Market, trade: Trade) -> None: ...

    def on_order(self, order: Order, what: str, fill: Fill | None) -> None:
        """`what` is new, fill, cancelled, expired, triggered, amended or rejected."""

    def on_balance(self, account: Account, assets: tuple[str, ...]) -> None: ...

    def on_bar_close(self, market: Market, candle: Candle) -> None: ...


class Trading:
    """Accounts, orders and fills of one venue."""

    def __init__(self, rules: Rules, markets: dict[str, Market]) -> None:
        self.rules = rules
        self.markets = markets
        self.ledger = Ledger(markets)
        self.orders: dict[int, Order] = {}
        self.listeners: list[Listener] = []
        self.now = 0
        self._ids: dict[tuple[str, str], Order] = {}
        self._of: dict[str, list[Order]] = {}
        self._open: dict[str, dict[int, Order]] = {}
        self._next_order = 1001
        self._next_place = 1
        self._triggered: deque[Order] = deque()
        self._is_triggering = False

    @property
    def accounts(self) -> dict[str, Account]:
        """Return the accounts, by name."""
        return self.ledger.accounts

    # What clients ask for

    def place(self, account: Account, request: Request) -> Order:
        """Take an order, and match it at once.

        Raises:
            Rejected: it breaks a rule. Nothing has happened then.
        """
        market = self._open_market(request.symbol)
        order = self._checked(account, market, request)
        self._lock(account, order, market)
        self._next_order += 1
        self.orders[order.id] = order
        self._of.setdefault(account.name, []).append(order)
        self._open.setdefault(account.name, {})[order.id] = order
        if order.client_id:
            self._ids[account.name, order.client_id] = order
        market.revision += 1
        if order.stop is not None:
            order.status = Status.UNTRIGGERED
            market.stops[order.id] = order
            self._tell(order, "new")
            self._tell_balance(order)
            return order
        self._tell(order, "new")
        self._execute(market, order)
        self._run_triggers()
        return order

    def cancel(self, account: Account, order: Order | None) -> Order:
        """Cancel an open order.

        Raises:
            Rejected: it is not known, or no longer open.
        """
        if order is None or not order.status.is_open or order.account != account.name:
            raise Rejected(Reason.UNKNOWN_ORDER)
        self.close(order, Status.CANCELLED, "by the client")
        return order

    def amend(self, account: Account, order: Order | None, *, price: Decimal | None = None,
              quantity: Decimal | None = None, stop_price: Decimal | None = None) -> Order:
        """Change an open order where it stands. It keeps its place in the queue only if nothing but its quantity
        changes, and that falls.

        Raises:
            Rejected: it is not known or not open, or what it would become breaks a rule.
        """
        if order is None or not order.status.is_open or order.account != account.name:
            raise Rejected(Reason.UNKNOWN_ORDER)
        market, instrument = self._open_market(order.symbol), order.instrument
        ticks = order.price if price is None else _ticks(instrument, price)
        lots = order.quantity if quantity is None else _lots(instrument, quantity)
        stop = order.stop if stop_price is None else _ticks(instrument, stop_price)
        if lots <= order.filled:
            raise Rejected(Reason.AMEND, "the new quantity is not above what is filled")
        if ticks is not None:
            _check_notional(instrument, ticks, lots)
            self._check_band(market, ticks)
        if order.lock_asset:
            wanted = self._lock_of(order, ticks, lots - order.filled)
            if wanted - order.locked > account.balance(order.lock_asset).free:
                raise Rejected(Reason.BALANCE)
            account.lock(order.lock_asset, wanted - order.locked)
            order.locked = wanted
        keeps_place = ticks == order.price and lots <= order.quantity
        rests = order.id in market.clients
        if rests and not keeps_place:
            self._take_out(market, order)
        order.price, order.quantity, order.stop = ticks, lots, stop
        order.updated, order.amendments = self.now, order.amendments + 1
        market.revision += 1
        self._tell(order, "amended")
        if rests and not keeps_place:
            self._execute(market, order)
            self._run_triggers()
        else:
            self._tell_balance(order)
        return order

    # Finding them

    def by_client_id(self, account: Account, client_id: str) -> Order | None:
        """Return the last order of an account under a client order id."""
        return self._ids.get((account.name, client_id))

    def by_id(self, account: Account, order_id: int) -> Order | None:
        order = self.orders.get(order_id)
        return order if order is not None and order.account == account.name else None

    def orders_of(self, account: Account, symbol: str | None = None) -> Iterator[Order]:
        """Yield an account's orders, oldest first."""
        return (order for order in self._of.get(account.name, ()) if symbol in (None, order.symbol))

    def open_orders(self, account: Account, symbol: str | None = None) -> list[Order]:
        """Return an account's open orders, oldest first."""
        return [order for order in self._open.get(account.name, {}).values() if symbol in (None, order.symbol)]

    def fills_of(self, account: Account, symbol: str | None = None) -> list[tuple[Order, Fill]]:
        """Return an account's fills, oldest first."""
        found = [(order, fill) for order in self.orders_of(account, symbol) for fill in order.fills]
        return sorted(found, key=lambda pair: (pair[1].trade_id, pair[0].id))

    # What happens to orders

    def close(self, order: Order, status: Status, why: str) -> None:
        """End an order: it leaves the book, and what it locked is free again."""
        market = self.markets[order.symbol]
        market.stops.pop(order.id, None)
        if order.id in market.clients:
            self._take_out(market, order)
            market.revision += 1
        self.ledger.release(order)
        order.status, order.why, order.updated = status, why, self.now
        self._open[order.account].pop(order.id, None)
        self._tell(order, status.value)
        self._tell_balance(order)

    def printed(self, market: Market, trade: Trade) -> None:
        """Tell of a public trade, and trigger the stops that waited for its price."""
        for listener in self.listeners:
            listener.on_trade(market, trade)
        if market.stops:
            self._triggered.extend(
                order for order in market.stops.values() if order.stop is not None and order not in self._triggered
                and (trade.price >= order.stop if order.triggers_above else trade.price <= order.stop))

    def after_prints(self) -> None:
        """Work off what the last prints triggered."""
        if self._triggered:
            self._run_triggers()

    def matched(self, resting: Order, incoming: Order, price: int, quantity: int) -> None:
        """Settle one execution."""
        market = self.markets[resting.symbol]
        trade = market.record(self.now, price, quantity, incoming.side)
        for order, is_maker in ((resting, True), (incoming, False)):
            order.filled += quantity
            order.value += price * quantity
            if order.account:
                self._filled(market, order, self.ledger.settle(order, trade, self.now, is_maker=is_maker))
            else:
                self.ledger.settle_house(order, price, quantity)
        self.printed(market, trade)

    def matched_self(self, resting: Order) -> None:
        """The resting order of an account that would trade with itself expires."""
        market = self.markets[resting.symbol]
        market.clients.pop(resting.id, None)
        self.close(resting, Status.EXPIRED, "it would have traded with the same account")

    # Private

    def _open_market(self, symbol: str) -> Market:
        market = self.markets.get(symbol)
        if market is None or not market.instrument.is_listed:
            raise Rejected(Reason.UNKNOWN_SYMBOL)
        if not market.instrument.is_trading:
            raise Rejected(Reason.NOT_TRADING)
        return market

    def _checked(self, account: Account, market: Market, request: Request) -> Order:
        instrument = market.instrument
        if request.client_id:
            other = self._ids.get((account.name, request.client_id))
            if other is not None and (other.status.is_open or self.rules.ids_stay_taken):
                raise Rejected(Reason.DUPLICATE)
        if len(market.clients) + len(market.stops) >= self.rules.max_open_orders and (
                len(self.open_orders(account, request.symbol)) >= self.rules.max_open_orders):
            raise Rejected(Reason.TOO_MANY)
        price = None if request.price is None else _ticks(instrument, request.price)
        stop = None if request.stop_price is None else _ticks(instrument, request.stop_price)
        if request.quantity is not None:
            lots = _lots(instrument, request.quantity)
        else:
            assert request.quote_quantity is not None
            lots = int(request.quote_quantity / instrument.value_unit / market.last_price) + 1
        if request.kind == "limit":
            assert price is not None
            self._check_band(market, price)
        reference = price or stop or market.last_price
        if not request.reduce_only:
            _check_notional(instrument, reference, lots)
        above = request.side == "buy" if request.triggers_above is None else request.triggers_above
        if stop is not None and (market.last_price >= stop if above else market.last_price <= stop):
            raise Rejected(Reason.WOULD_TRIGGER)
        order = Order(self._next_order, account.name, instrument, request.client_id, request.side, request.kind,
                      request.time_in_force, price if request.kind == "limit" else None, lots, self.now, self.now,
                      stop=stop, triggers_above=above, quote_budget=request.quote_quantity,
                      reduce_only=request.reduce_only, label=request.label)
        if request.reduce_only:
            held = account.positions.get(instrument.symbol, Position()).lots
            if held == 0 or (held > 0) == (request.side == "buy"):
                raise Rejected(Reason.REDUCE_ONLY)
            order.quantity = min(order.quantity, abs(held))
        if request.time_in_force == "POST" and self.rules.refuses_post_only and self._would_take(market, order):
            raise Rejected(Reason.WOULD_TAKE)
        return order

    def _check_band(self, market: Market, price: int) -> None:
        if not 1 <= market.last_price / price * float(self.rules.price_band) <= float(self.rules.price_band) ** 2:
            raise Rejected(Reason.FAR_PRICE)

    def _would_take(self, market: Market, order: Order) -> bool:
        bids, asks = market.levels(1)
        best = asks if order.side == "buy" else bids
        if not best or order.price is None:
            return False
        return order.price >= best[0][0] if order.side == "buy" else order.price <= best[0][0]

    def _lock_of(self, order: Order, price: int | None, lots: int) -> Decimal:
        if order.side == "sell":
            return lots * order.instrument.quantity_increment
        return order.instrument.value((price or 0) * lots)

    def _lock(self, account: Account, order: Order, market: Market) -> None:
        """Put aside what a resting order may need, and check that a market order can be paid for."""
        instrument = order.instrument
        if instrument.is_perpetual:
            free = self.ledger.margin_free(account, self.open_orders(account))
            if not order.reduce_only and free < self.ledger.margin_for(account, order, market):
                raise Rejected(Reason.BALANCE)
            return
        asset = instrument.quote if order.side == "buy" else instrument.base
        free = account.balance(asset).free
        if order.side == "buy" and order.price is None:
            if order.quote_budget is not None:
                needed = order.quote_budget
            elif order.stop is not None:
                needed = instrument.value(order.stop * order.quantity)
            else:
                needed = instrument.value(market.open_book().cost("buy", order.quantity)[1])
            if needed > free:
                raise Rejected(Reason.BALANCE)
            return
        needed = self._lock_of(order, order.price, order.quantity)
        if needed > free:
            raise Rejected(Reason.BALANCE)
        account.lock(asset, needed)
        order.locked, order.lock_asset = needed, asset

    def _execute(self, market: Market, order: Order) -> None:
        """Match an order, and rest or end what is left."""
        book = market.open_book()
        if order.time_in_force == "POST" and self._would_take(market, order):
            self.close(order, Status.CANCELLED, "post-only, and it would have matched")
            return
        if order.time_in_force == "FOK" and (
                book.available(order.side, order.price, but_not_of=order.account) < order.remaining):
            self.close(order, Status.EXPIRED, "fill-or-kill, and there was not enough to match")
            return
        account, unit = self.accounts[order.account], order.instrument.value_unit
        if order.quote_budget is not None:
            order.quantity = book.affordable(order.side, int(order.quote_budget / unit), but_not_of=order.account)
            if order.quantity == 0:
                self.close(order, Status.EXPIRED, "nothing to match for the money")
                return

        def payable(price: int) -> int:
            if order.instrument.is_perpetual or order.price is not None or order.side == "sell":
                return order.remaining
            return int(account.balance(order.instrument.quote).free / unit / price)

        book.match(order, self.matched, self.matched_self, payable)
        if order.remaining == 0 or not order.status.is_open:
            return
        if order.price is None or order.time_in_force in ("IOC", "FOK"):
            self.close(order, Status.EXPIRED, "nothing left to match")
        else:
            order.place, self._next_place = self._next_place, self._next_place + 1
            book.add(order)
            market.clients[order.id] = order
            if not order.filled:
                self._tell_balance(order)

    def _run_triggers(self) -> None:
        if self._is_triggering:
            return
        self._is_triggering = True
        while self._triggered:
            order = self._triggered.popleft()
            market = self.markets[order.symbol]
            if market.stops.pop(order.id, None) is None:
                continue
            order.status, order.is_triggered, order.updated = Status.NEW, True, self.now
            self._tell(order, "triggered")
            self._execute(market, order)
        self._is_triggering = False

    def _take_out(self, market: Market, order: Order) -> None:
        assert market.book is not None
        market.book.remove(order)
        del market.clients[order.id]

    def _filled(self, market: Market, order: Order, fill: Fill) -> None:
        order.fills.append(fill)
        order.updated = self.now
        order.status = Status.PARTIALLY_FILLED if order.remaining else Status.FILLED
        if not order.remaining:
            market.clients.pop(order.id, None)
            self._open[order.account].pop(order.id, None)
            self.ledger.release(order)
        self._tell(order, "fill", fill)
        self._tell_balance(order)

    def pay(self, account: Account, asset: str, amount: Decimal) -> None:
        """Pay an account from the house, or the other way round."""
        self.ledger.transfer(account, asset, amount)
        for listener in self.listeners:
            listener.on_balance(account, (asset,))

    def _tell(self, order: Order, what: str, fill: Fill | None = None) -> None:
        for listener in self.listeners:
            listener.on_order(order, what, fill)

    def _tell_balance(self, order: Order) -> None:
        instrument = order.instrument
        assets = (instrument.settle,) if instrument.settle else (instrument.base, instrument.quote)
        for listener in self.listeners:
            listener.on_balance(self.accounts[order.account], assets)


def _ticks(instrument: Instrument, price: Decimal) -> int:
    ticks = instrument.ticks(price)
    if ticks is None or ticks <= 0:
        raise Rejected(Reason.PRICE)
    return ticks


def _lots(instrument: Instrument, quantity: Decimal) -> int:
    lots = instrument.lots(quantity)
    if lots is None or not instrument.min_quantity <= quantity <= instrument.max_quantity:
        raise Rejected(Reason.QUANTITY)
    return lots


def _check_notional(instrument: Instrument, ticks: int, lots: int) -> None:
    if instrument.value(ticks * lots) < instrument.min_notional:
        raise Rejected(Reason.NOTIONAL)
