"""The order desk: everything between a strategy's wish and the broker, and back.

It sizes targets, rounds to increments, asks the risk gate, makes orders and their protecting children, sends them with
the latency that the model says, and journals each step with its reason.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any

from engine.bars import DAY
from engine.bus import Bus
from engine.costs import ConstantLatency, Latency
from engine.errors import OrderError
from engine.events import (
    CashMoved,
    Fill,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderHeld,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
    OrderUnresolved,
    RequestRefused,
)
from engine.instruments import Instrument
from engine.interfaces import Broker
from engine.moment import Moment
from engine.orders import FINAL, Order, OrderRequest, OrderStatus, OrderType, Side, TimeInForce
from engine.portfolio import Portfolio
from engine.recorder import Recorder
from engine.risk import Refusal, RiskGate, RiskView

_INFINITY = float("inf")

EVENT_KINDS: dict[type, str] = {
    OrderAccepted: "accepted",
    OrderRejected: "rejected",
    OrderUnresolved: "unresolved",
    RequestRefused: "refused",
    OrderTriggered: "triggered",
    OrderReduced: "reduced",
    OrderAmended: "amended",
    OrderHeld: "held",
    OrderCancelled: "cancelled",
    OrderExpired: "expired",
}


def lots_for_exposure(exposure: float, headroom: float, equity_units: int, ticks: int, value_units: int) -> int:
    """Return the signed lots worth `exposure` × equity at a price, cut towards zero.

    One formula, in float64 and in this order of operations, for the desk and for the compiled run: they must agree
    to the bit.
    """
    if exposure > headroom:
        exposure = headroom
    elif exposure < -headroom:
        exposure = -headroom
    return int(exposure * equity_units / (ticks * value_units))


class OrderDesk:
    """Turns requests into orders and broker events into facts.

    Args:
        headroom: the largest share of equity a target may use, so that fees fit beside it.
        checks_brackets: whether a bracket that would protect nothing is refused: its stop-loss or take-profit lies
            on the wrong side of the entry.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        broker: Broker,
        recorder: Recorder,
        moment: Moment,
        bus: Bus,
        *,
        risk: RiskGate | None = None,
        latency: Latency | None = None,
        headroom: float = 1.0,
        checks_brackets: bool = True,
    ) -> None:
        self._portfolio = portfolio
        self._broker = broker
        self._recorder = recorder
        self._moment = moment
        self._risk = risk or RiskGate()
        self._risk.attach(RiskView(portfolio, broker.working, moment))
        self._latency = latency
        if isinstance(latency, ConstantLatency) and latency.nanoseconds == 0:
            self._latency = None
        self._counts: dict[str, int] = {}
        """Orders that chance may touch, by symbol; `_messages`: what was sent to the venue, by symbol."""
        self._messages: dict[str, int] = {}
        self._headroom = headroom
        self._checks_brackets = checks_brackets
        self.refuses: Refusal | None = None
        """Why nothing is sent now, whatever the gate says: a live session's data are late or stale."""
        self.waits_for_ends = False
        """Whether a newer target waits until the order of the one before has ended: a venue may fill an order that it
        was asked to withdraw, and the two together would go past the target."""
        self._waiting_targets: dict[str, tuple[float, str]] = {}
        self._next_order_id = 1
        self._target_orders: dict[str, Order] = {}
        self._actions: dict[float, str] = {}
        self._groups: dict[str, int] = {}
        self._equity_key: tuple[int, int, str] = (-1, -1, "")
        self._equity = 0
        self._on_fill: tuple[Callable[[Any], None], ...] = bus.handlers(Fill)
        self._on_order: tuple[Callable[[Any], None], ...] = bus.handlers(OrderAccepted)

    @property
    def is_plain(self) -> bool:
        """Whether orders are sent at once and meet no risk rule beside the venue's filters."""
        return self._latency is None and not self._risk.has_rules

    def take_over(self, order_count: int, order: Order | None) -> None:
        """Go on from orders that were dealt with elsewhere: number the next one after them, and adopt the one left
        open."""
        self._next_order_id = order_count + 1
        if order is not None:
            self._target_orders[order.symbol] = order

    # ── from the strategy ───────────────────────────────────────────────────────────────────────────────────────────

    def target(self, symbol: str, exposure: float, why: str) -> None:
        """Trade towards a share of equity at market; an unfilled order of the target before is withdrawn first."""
        moment, portfolio = self._moment, self._portfolio
        previous = self._target_orders.get(symbol)
        if self._waiting_targets:
            self._waiting_targets.pop(symbol, None)
        if previous is not None and previous.status not in FINAL:
            self.handle(self._cancelled(previous, "replaced by a newer target"))
            if self.waits_for_ends and previous.status not in FINAL:
                self._waiting_targets[symbol] = exposure, why
                return
        price = moment.price(symbol)
        if price is None or symbol not in portfolio.positions:
            self._instrument(symbol)
            if not exposure:
                return  # nothing is held of what has not been traded yet
            price = self._price(symbol)
        position = portfolio.positions[symbol]
        instrument = position.instrument
        ticks = round(price / instrument.tick) or _no_price(instrument, price)
        equity_units = self._equity_units(position.account.currency)
        lots = lots_for_exposure(exposure, self._headroom, equity_units, ticks, position.value_units) - position.lots
        if not lots:
            return
        action = self._actions.get(exposure)
        if action is None:
            if len(self._actions) > 1000:  # targets on a continuous scale come once each
                self._actions.clear()
            action = self._actions[exposure] = f"target {exposure:g}"
        decision = self._recorder.decision(moment.time, symbol, moment.bar_close_time(symbol), price, action, why)
        side, lots = (Side.BUY, lots) if lots > 0 else (Side.SELL, -lots)
        order = self._new_order(decision, instrument, side, OrderType.MARKET, lots, ticks)
        self._target_orders[symbol] = order
        self._send(order)

    def lots_for(self, symbol: str, exposure: float) -> int:
        """Return the signed lots that make the position worth `exposure` × equity at the last close."""
        position = self._portfolio.positions[symbol]
        price = self._price(symbol)
        ticks = position.instrument.to_ticks(price) or _no_price(position.instrument, price)
        equity_units = self._equity_units(position.account.currency)
        return lots_for_exposure(exposure, self._headroom, equity_units, ticks, position.value_units)

    def _equity_units(self, currency: str) -> int:
        """Return the equity at this instant; worked out once for all the targets set at it, unless something fills
        in between."""
        key = (self._moment.time, self._recorder.fill_count, currency)
        if key != self._equity_key:
            self._equity_key = key
            equity = self._portfolio.equity_units(currency, self._moment.price)
            # What is owed is no capital: a share of it must not turn a target round.
            self._equity = equity if self._portfolio.is_cash_account else max(equity, 0)
        return self._equity

    def request(self, request: OrderRequest) -> Order:
        """Make orders of a request and send them; return the main one.

        Raises:
            OrderError: the request cannot mean anything: a quantity that is not positive, a price that is missing or
            not positive.
        """
        instrument = self._instrument(request.symbol)
        is_bare = _is_bare(request)
        _check_quantity(request)
        if not is_bare:
            _check(request)
        price = self._price(request.symbol)
        moment, action = self._moment, _describe(request, is_bare=is_bare)
        decision = self._recorder.decision(
            moment.time, request.symbol, moment.bar_close_time(request.symbol), price, action, request.why
        )
        ticks = instrument.to_ticks(price)
        order = self._new_order(
            decision, instrument, request.side, request.type, instrument.to_lots(request.quantity), ticks
        )
        if is_bare:
            order.reduce_only = request.reduce_only
            self._send(order)
            return order
        order.limit_ticks = _ticks(instrument, request.limit, -request.side)
        order.stop_ticks = _ticks(instrument, request.stop, request.side)
        order.trail_fraction = request.trail_fraction
        order.trail_ticks = _ticks(instrument, request.trail_amount, 1)
        is_dated = request.expire_at is not None and request.time_in_force is TimeInForce.GTC
        order.time_in_force = TimeInForce.GTD if is_dated else request.time_in_force
        order.expire_at = self._expiry(request)
        order.post_only = request.post_only
        order.reduce_only = request.reduce_only
        if request.oco_group is not None:
            order.group = self._groups.setdefault(request.oco_group, order.id)
        fault = _bracket_fault(order, request) if self._checks_brackets else None
        children = self._children_of(order, request)
        if self._send(order, Refusal("bracket", fault) if fault else self._fault_of_children(children)):
            self._send_children(order, children)
        return order

    def close_position(self, symbol: str, why: str, by: str) -> Order:
        """Send a reduce-only market order over all that is held of a symbol, and return it.

        Args:
            by: who decides, for the record.
        """
        moment, position, price = self._moment, self._portfolio.positions[symbol], self._price(symbol)
        bar_close_time = moment.bar_close_time(symbol)
        decision = self._recorder.decision(moment.time, symbol, bar_close_time, price, "flatten", why, by)
        side = Side.SELL if position.lots > 0 else Side.BUY
        instrument = position.instrument
        order = self._new_order(
            decision, instrument, side, OrderType.MARKET, abs(position.lots), instrument.to_ticks(price)
        )
        order.reduce_only = True
        self._send(order)
        return order

    def cancel(self, order: Order, why: str) -> None:
        """Withdraw an order."""
        self.handle(self._cancelled(order, why or "asked for"))

    def _cancelled(self, order: Order, why: str) -> Sequence[Any]:
        """Ask the broker to withdraw an order; return the events that follow at once."""
        time = self._moment.time
        if self._latency is None:
            return self._broker.cancel(order, time, why)
        return self._broker.cancel(order, time, why, arrives_at=time + self._delay(order.symbol))

    def amend(
        self,
        order: Order,
        quantity: float | Decimal | None,
        limit: float | Decimal | None,
        stop: float | Decimal | None,
    ) -> None:
        """Change a working order. What the venue or the risk gate does not allow is refused; the order stays as it was.

        Raises:
            OrderError: it is final, waits for nothing of the kind named, or would be smaller than what has filled.
        """
        if not order.is_open:
            raise OrderError(f"order {order.id} is {order.status.value} and cannot be amended")
        lots = order.lots if quantity is None else order.instrument.to_lots(quantity)
        if quantity is not None and quantity <= order.filled_quantity:
            raise OrderError(
                f"order {order.id} has filled {order.filled_quantity}; its quantity cannot be amended to {quantity}, "
                "expected more"
            )
        for name, price, present in (("limit", limit, order.limit_ticks), ("stop", stop, order.stop_ticks)):
            if price is not None and present is None:
                raise OrderError(f"order {order.id} is a {order.type.value} order and has no {name} to amend")
            if price is not None and not 0 < float(price) < float("inf"):
                raise OrderError(f"order {order.id}: {name} cannot be amended to {price}; expected a price above 0")
        limit_ticks = order.limit_ticks if limit is None else _ticks(order.instrument, limit, -order.side)
        stop_ticks = order.stop_ticks if stop is None else _ticks(order.instrument, stop, order.side)
        time = self._moment.time
        refusal = _off_increments(order.instrument, quantity, limit, stop)
        refusal = refusal or self._risk.refusal_of_amendment(order, lots, limit_ticks, stop_ticks)
        if refusal is not None:  # the order itself goes on as it was
            self.handle((RequestRefused(order, time, f"amendment refused: {refusal}"),))
            return
        self.handle(
            self._broker.amend(
                order,
                time,
                lots=lots,
                limit_ticks=limit_ticks,
                stop_ticks=stop_ticks,
                arrives_at=time + self._delay(order.symbol),
            )
        )

    # ── from the broker ─────────────────────────────────────────────────────────────────────────────────────────────

    def handle(self, events: Sequence[Any]) -> None:
        """Journal what happened, then tell the strategy."""
        recorder = self._recorder
        for event in events:
            if type(event) is Fill:
                recorder.fill(event)
            elif type(event) is CashMoved:
                recorder.cash_moved(event)
            else:
                order, time, reason = event
                recorder.order_event(order.id, time, EVENT_KINDS[type(event)], reason)
        if self._on_fill or self._on_order:
            self._publish(events)
        if self._waiting_targets:
            self._take_up_targets()

    def _take_up_targets(self) -> None:
        """Trade towards the targets whose predecessors have ended."""
        for symbol in list(self._waiting_targets):
            if self._target_orders[symbol].status in FINAL:
                exposure, why = self._waiting_targets.pop(symbol)
                self.target(symbol, exposure, why)

    def _publish(self, events: Sequence[Any]) -> None:
        for event in events:
            if type(event) is CashMoved:
                continue
            for handler in self._on_fill if type(event) is Fill else self._on_order:
                handler(event)

    def forced_order(
        self, symbol: str, side: Side, lots: int, ticks: int, time: int, bar_close_time: int, why: str,
        action: str = "liquidate",
    ) -> Order:
        """Make and journal a market order that the venue gives in our name, with the engine's decision behind it. No
        risk rule is asked, and it is not sent: the venue has it."""
        instrument = self._portfolio.instruments[symbol]
        price = instrument.float_price(ticks)
        decision = self._recorder.decision(time, symbol, bar_close_time, price, action, why, "engine")
        number = self._next_order_id
        self._next_order_id = number + 1
        order = Order(number, decision, instrument, side, OrderType.MARKET, lots, time, ticks, reduce_only=True)
        self._recorder.order(order)
        return order

    # ── making orders ───────────────────────────────────────────────────────────────────────────────────────────────

    def _new_order(
        self, decision: int, instrument: Instrument, side: Side, kind: OrderType, lots: int, ticks: int
    ) -> Order:
        number = self._next_order_id
        self._next_order_id = number + 1
        order = Order(number, decision, instrument, side, kind, lots, self._moment.time, ticks)
        if kind is not OrderType.MARKET:
            order.number = self._count(order.symbol)
        if self._latency is not None:
            order.arrives_at += self._delay(order.symbol)
        return order

    def _count(self, symbol: str) -> int:
        """Count an order of a symbol that chance may touch."""
        self._counts[symbol] = number = self._counts.get(symbol, 0) + 1
        return number

    def _delay(self, symbol: str) -> int:
        """Return how long a message to the venue takes."""
        if self._latency is None:
            return 0
        self._messages[symbol] = number = self._messages.get(symbol, 0) + 1
        return self._latency.delay(symbol, number)

    def _send(self, order: Order, fault: Refusal | None = None) -> bool:
        """Journal the order, ask the risk gate, hand it to the broker. Return whether it was let through.

        Args:
            fault: why it is refused whatever the gate says.
        """
        recorder, risk = self._recorder, self._risk
        # Asked before the order is noted: what the gate lets pass may have become reduce-only.
        refusal = fault or self.refuses or risk.refusal(order)
        recorder.order(order)
        if refusal is not None:
            order.status = OrderStatus.REFUSED
            recorder.refused_by[refusal.rule] += 1
            self.handle((RequestRefused(order, self._moment.time, str(refusal)),))
            return False
        self.handle(self._broker.submit(order))
        if risk.has_rules:
            risk.sent(order)
        return order.is_open or order.filled_lots > 0

    def _children_of(self, parent: Order, request: OrderRequest) -> list[Order]:
        """Return the protecting orders of a bracket, not numbered yet."""
        instrument = parent.instrument
        children = []
        for kind, limit, stop, trail in (
            (OrderType.STOP, None, request.stop_loss, None),
            (OrderType.TRAILING_STOP, None, None, request.trail_stop_fraction),
            (OrderType.LIMIT, request.take_profit, None, None),
        ):
            if limit is None and stop is None and trail is None:
                continue
            child = Order(
                0,
                parent.decision_id,
                instrument,
                parent.side.opposite,
                kind,
                parent.lots,
                parent.decided_at,
                parent.decision_ticks,
            )
            child.limit_ticks = _ticks(instrument, limit, -child.side)
            child.stop_ticks = _ticks(instrument, stop, child.side)
            child.number = self._count(child.symbol)
            child.trail_fraction = trail
            child.arrives_at = parent.arrives_at
            child.parent_id = parent.id
            child.reduce_only = True
            children.append(child)
        return children

    def _fault_of_children(self, children: Sequence[Order]) -> Refusal | None:
        """Return why a bracket cannot be protected as it asks, or None: an entry without its stop is not what was
        asked for."""
        for child in children:
            refusal = self._risk.refusal(child)
            if refusal is not None:
                name = "target" if child.type is OrderType.LIMIT else "stop"
                return Refusal(refusal.rule, f"its {name}: {refusal.text}")
        return None

    def _send_children(self, parent: Order, children: Sequence[Order]) -> None:
        """Send the protecting orders of a bracket, which the gate has let through; the first of them to fill cancels
        the other."""
        # The group is named after the first of them: the parent may be in a group of its own that is named after it.
        group = self._next_order_id
        for child in children:
            child.id = self._next_order_id
            self._next_order_id += 1
            child.group = group
            child.lots = parent.lots
            self._recorder.order(child)
            self.handle(self._broker.submit(child))

    def _expiry(self, request: OrderRequest) -> int | None:
        if request.time_in_force is TimeInForce.DAY:
            return (self._moment.time // DAY + 1) * DAY
        return request.expire_at

    def _instrument(self, symbol: str) -> Instrument:
        instrument = self._portfolio.instruments.get(symbol)
        if instrument is None:
            raise OrderError(
                f"no instrument {symbol!r} in this run; there are {', '.join(self._portfolio.instruments)}"
            )
        return instrument

    def _price(self, symbol: str) -> float:
        price = self._moment.price(symbol)
        if price is None:
            raise OrderError(f"{symbol} has no bar yet, so it cannot be traded; wait for its first bar")
        return price


def _ticks(instrument: Instrument, price: float | Decimal | None, direction: int) -> int | None:
    """Return a price in ticks; one between two increments is moved up (`direction` 1) or down (-1).

    A limit moves away from the market, so that it is never worse than asked for; a stop too, so that it never triggers
    earlier.
    """
    if price is None:
        return None
    return instrument.to_ticks_beyond(float(price), direction) or _no_price(instrument, price)


def _off_increments(
    instrument: Instrument,
    quantity: float | Decimal | None,
    limit: float | Decimal | None,
    stop: float | Decimal | None,
) -> Refusal | None:
    """Return why a venue would not take these terms of an amendment, or None: they lie between two increments."""
    if quantity is not None:
        steps, step = float(quantity) / instrument.lot, instrument.quantity_increment
        if abs(steps - round(steps)) > 1e-6 + 4e-16 * steps:
            return Refusal("venue", f"quantity {quantity} is no multiple of {step}, the step of {instrument.symbol}")
    for name, price in (("limit", limit), ("stop", stop)):
        if price is None:
            continue
        below, above = (instrument.to_ticks_beyond(float(price), direction) for direction in (-1, 1))
        if below != above:
            step = instrument.price_increment
            return Refusal("venue", f"{name} {price} is no multiple of {step}, the step of {instrument.symbol}")
    return None


def _no_price(instrument: Instrument, price: float | Decimal) -> int:
    steps = instrument.price_increment
    raise OrderError(f"{price} for {instrument.symbol} rounds to 0; prices there go in steps of {steps}")


_EXTRAS = (
    "limit", "stop", "trail_fraction", "trail_amount", "stop_loss", "take_profit", "trail_stop_fraction", "expire_at",
    "oco_group",
)
_extras_of = attrgetter(*_EXTRAS)
_NO_EXTRAS = (None,) * len(_EXTRAS)


def _is_bare(request: OrderRequest) -> bool:
    """Return whether a request is for a market order and nothing else, as most are: half of the desk's work falls
    away."""
    is_plain = request.type is OrderType.MARKET and request.time_in_force is TimeInForce.GTC and not request.post_only
    return is_plain and _extras_of(request) == _NO_EXTRAS


def _check_quantity(request: OrderRequest) -> None:
    if not 0 < float(request.quantity) < _INFINITY:
        raise OrderError(
            f"quantity to {request.side.word} {request.symbol} is {request.quantity}; expected a number above 0"
        )


def _check(request: OrderRequest) -> None:
    for name in ("limit", "stop", "trail_amount", "stop_loss", "take_profit"):
        price = getattr(request, name)
        if price is not None and not 0 < float(price) < float("inf"):
            raise OrderError(f"{name} for {request.symbol} is {price}; expected a price above 0")
    for name in ("trail_fraction", "trail_stop_fraction"):
        fraction = getattr(request, name)
        if fraction is not None and not 0 < fraction < 1:
            raise OrderError(
                f"{name} for {request.symbol} is {fraction}; expected a fraction between 0 and 1, such as 0.05"
            )
    kind = request.type
    for name in ("limit", "stop"):
        if getattr(request, name) is None and name in kind.value.split("_") and kind is not OrderType.TRAILING_STOP:
            raise OrderError(f"a {kind.value} order for {request.symbol} has no {name}; expected a price")
    if kind is OrderType.TRAILING_STOP:
        given = [
            name for name in ("limit", "stop", "trail_fraction", "trail_amount") if getattr(request, name) is not None
        ]
        if given not in (["trail_fraction"], ["trail_amount"]):
            raise OrderError(
                f"a trailing stop for {request.symbol} was given {', '.join(given) or 'nothing'}; "
                "expected trail_fraction or trail_amount alone"
            )
    if request.post_only and kind is not OrderType.LIMIT:
        raise OrderError(
            f"post_only asks to rest in the book, which a {kind.value} order for {request.symbol} never does; "
            "expected a limit"
        )
    if request.time_in_force is TimeInForce.GTD and request.expire_at is None:
        raise OrderError(f"{request.symbol}: good-till-date needs expire_at, UTC nanoseconds")


def _bracket_fault(entry: Order, request: OrderRequest) -> str | None:
    """Return what is wrong with a bracket's prices, or None: a stop-loss lies beyond the entry on the losing side, a
    target on the other.

    The entry is the limit, else the stop, else the last close.
    """
    if request.stop_loss is None and request.take_profit is None:
        return None
    instrument, side = entry.instrument, entry.side
    ticks = entry.decision_ticks
    word = "the last close"
    for name, given in (("its stop", entry.stop_ticks), ("its limit", entry.limit_ticks)):
        if given is not None:
            word, ticks = name, given
    for name, price, sign in (("stop_loss", request.stop_loss, side), ("take_profit", request.take_profit, -side)):
        if price is not None and (instrument.to_ticks_beyond(float(price), -sign) - ticks) * sign >= 0:
            where = "below" if sign > 0 else "above"
            bound = instrument.to_price(ticks)
            return f"{name} of a {side.word} bracket is {price}; expected a price {where} {word}, {bound}"
    return None


def _describe(request: OrderRequest, *, is_bare: bool) -> str:
    if is_bare:
        return f"{request.side.word} {float(request.quantity):g} market"
    parts = [request.side.word, f"{float(request.quantity):g}", request.type.value]
    for name in ("limit", "stop", "trail_fraction", "trail_amount", "stop_loss", "take_profit", "trail_stop_fraction"):
        value = getattr(request, name)
        if value is not None:
            parts.append(f"{name} {float(value):g}")
    return " ".join(parts)
