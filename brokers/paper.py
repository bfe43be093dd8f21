"""A paper venue: it fills orders from a real venue's live book and trades, and says what each fill assumes.

Nothing here does I/O or knows a clock: what happens follows from messages, trades, books and the times they come with,
in the order they come, so that a session can be lived through again. What each fill assumes: docs/paper_fills.md.

    market, or crossing limit   walks the book as it stands when the order arrives; what it took stays taken
    resting limit               waits for the quantity that was there before it, then fills by printed volume
    stop, trailing stop         wake by prints, then walk the book
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from heapq import heappop, heappush

from brokers.paper_book import LiveBook
from brokers.paper_fills import fill_report, resting_share
from brokers.paper_ledger import Ledger
from brokers.paper_orders import STOPS, Arrival, Held, PaperTerms, fault_of, message_order
from engine.instruments import Instrument
from engine.live.market import Book, FundingDue, Trade
from engine.live.messages import CANCEL, NEW, OrderMessage
from engine.live.ports import Known
from engine.live.reports import Report, ReportKind
from engine.matching import trail
from engine.orders import Order, OrderStatus, OrderType, TimeInForce

MOST_REMEMBERED = 5_000
"""Orders of which everything said is remembered."""


class PaperVenue:
    """One account at a venue that exists here alone.

    Args:
        instruments: with the venue's increments and minimums.
        cash: opening balances by currency.
    """

    def __init__(
        self, instruments: Sequence[Instrument], cash: Mapping[str, Decimal], terms: PaperTerms | None = None
    ) -> None:
        self.terms = terms = terms or PaperTerms()
        self.instruments = {instrument.symbol: instrument for instrument in instruments}
        fees = {symbol: terms.fees.get(symbol, terms.default_fees) for symbol in self.instruments}
        self.ledger = Ledger(
            self.instruments, fees, cash, leverage=terms.leverage, allows_short=terms.allows_short
        )
        self.books = {symbol: LiveBook(instrument) for symbol, instrument in self.instruments.items()}
        self._last_trades: dict[str, int] = {}
        self._orders: dict[str, dict[int, Held]] = {symbol: {} for symbol in self.instruments}
        """Open orders, oldest first, by symbol."""
        self._arrivals: list[Arrival] = []
        self._messages: dict[str, int] = {}
        self._last_arrival = 0
        self._seen: set[int] = set()
        self._count = 0
        self.now = 0
        self._reports: list[Report] = []
        self._history: dict[int, list[Report]] = {}
        """What was said of each order, those that are over up to a limit."""

    # ── what comes in ───────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, message: OrderMessage, now: int) -> None:
        """Let a message leave; it arrives later, and never before one that left earlier."""
        self._messages[message.symbol] = number = self._messages.get(message.symbol, 0) + 1
        arrives_at = max(now + self.terms.latency.delay(message.symbol, number), self._last_arrival)
        self._last_arrival = arrives_at
        heappush(self._arrivals, Arrival(arrives_at, message.id, message, now))

    def on_time(self, now: int) -> list[Report]:
        """Let arrive and expire what is due."""
        self._advance(now)
        return self._told()

    def on_book(self, book: Book, now: int) -> list[Report]:
        """Take a newer book: orders that wait for one meet it, and queues are no longer than what it shows."""
        self._advance(now)
        live = self.books[book.symbol]
        live.update(book, self.now)
        for held in tuple(self._orders[book.symbol].values()):
            if held.is_resting:
                self._shorten_queue(held, live)
            elif held.order.type not in STOPS or held.order.is_triggered:
                self._meet_book(held)
        return self._told()

    def on_trade(self, trade: Trade, now: int) -> list[Report]:
        """Let a print fill what rests in its way, and wake stops."""
        self._advance(now)
        instrument = self.instruments[trade.symbol]
        ticks = instrument.to_ticks(trade.price)
        self._last_trades[trade.symbol] = ticks
        lots = instrument.to_lots(trade.quantity / float(instrument.multiplier))
        self._fill_resting(trade, ticks, lots)
        for held in tuple(self._orders[trade.symbol].values()):
            self._watch_stop(held, ticks)
        return self._told()

    def on_funding(self, due: FundingDue, now: int) -> list[Report]:
        """Pay funding on what is held."""
        self._advance(now)
        if due.symbol not in self.ledger.contracts or not self.ledger.contracts[due.symbol].lots:
            return self._told()
        amount = self.ledger.funding(due.symbol, Decimal(repr(due.rate)), Decimal(repr(due.mark_price)))
        currency = self.instruments[due.symbol].quote
        note = f"{due.symbol}: rate {due.rate:g} at mark price {due.mark_price:g}"
        self._tell(
            Report(
                ReportKind.CASH, due.time, self.now, reason="funding", symbol=due.symbol, currency=currency,
                amount=amount, note=note,
            )
        )
        return self._told()

    def open_orders(self) -> list[Order]:
        """Return the orders that it has and that may still fill."""
        return [held.order for held in self._held()]

    def next_due(self) -> int | None:
        """Return when `on_time` has something to do, whatever the market does; None for never."""
        times = [self._arrivals[0].time] if self._arrivals else []
        times += [held.order.expire_at for held in self._held() if held.order.expire_at is not None]
        return min(times, default=None)

    def restore(self, known: Known, price_of: Callable[[str], int | None], now: int) -> list[Report]:
        """Begin anew from what a session's books say, after it was stopped or killed: the venue lived in its process.

        Orders that were accepted go on, at the back of their queue; those on their way never arrived.

        Args:
            price_of: the last price of a symbol, in ticks; None if there is none.
        """
        self.now = max(self.now, now)
        self.ledger.balances = dict(known.cash)
        for symbol, lots in known.positions.items():
            if lots:
                self.ledger.hold(symbol, lots, price_of(symbol) or 1)
        for each in known.orders:
            message = each.message
            self._seen.add(message.order_id)
            # An order's executions are known by their ids, those of the life before among them.
            self._count = max([self._count, *(int(identity[1:]) for identity in each.trade_ids)])
            if each.status in ("in_flight", "unresolved"):
                reason = "never reached the venue: the session ended first"
                self._tell(Report(ReportKind.REJECTED, self.now, self.now, message.order_id, reason))
                continue
            order = message_order(message, self.instruments[message.symbol])
            order.filled_lots = each.filled_lots
            order.status = OrderStatus.ACCEPTED
            held = Held(order, message.time)
            self._orders[message.symbol][order.id] = held
            if order.type not in STOPS:
                self._rest(held)
            self.ledger.reserve(order, order.limit_ticks or order.stop_ticks or 1)
        return self._told()

    def account_for(self, known: Known) -> list[Report]:
        """Return all that was ever said of the orders in question, executions left out that are booked; an order that
        never came and is not on its way was never here."""
        reports: list[Report] = []
        underway = {arrival.message.order_id for arrival in self._arrivals if arrival.message.kind == NEW}
        for each in known.orders:
            number = each.message.order_id
            if number not in underway and number not in self._seen:
                reports.append(Report(ReportKind.REJECTED, self.now, self.now, number, "never reached the venue"))
            else:
                reports += _still_true(self._history.get(number, []), each.trade_ids)
        return reports

    # ── arrivals ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _advance(self, now: int) -> None:
        """Let arrive and expire, in order of time, what is due by now. Time does not go back."""
        now = max(now, self.now)
        while True:
            arrival = self._arrivals[0].time if self._arrivals else None
            expiry = min((held.order.expire_at or 0 for held in self._held() if held.order.expire_at), default=None)
            due = min((time for time in (arrival, expiry) if time is not None), default=None)
            if due is None or due > now:
                break
            self.now = max(self.now, due)
            if arrival == due:
                self._arrive(heappop(self._arrivals))
            else:
                self._expire(due)
        self.now = now

    def _expire(self, time: int) -> None:
        for held in tuple(self._held()):
            order = held.order
            if order.expire_at is not None and order.expire_at <= time:
                self._end(held, ReportKind.EXPIRED, f"{order.time_in_force.value} ended")

    def _arrive(self, arrival: Arrival) -> None:
        message = arrival.message
        if message.kind == NEW:
            if message.order_id not in self._seen:  # a client order id counts once
                self._seen.add(message.order_id)
                self._take_new(message, arrival.sent_at)
            return
        held = self._orders[message.symbol].get(message.order_id)
        if held is None:
            reason = "the order is not open"
            self._tell(
                Report(
                    ReportKind.CHANGE_REFUSED, self.now, self.now, message.order_id, reason, sent_at=arrival.sent_at
                )
            )
        elif message.kind == CANCEL:
            self._end(held, ReportKind.CANCELLED, "asked for")
        else:
            self._amend(held, message)

    def _take_new(self, message: OrderMessage, sent_at: int) -> None:
        order = message_order(message, self.instruments[message.symbol])
        held = Held(order, sent_at, self.books[order.symbol].mid())
        reason = fault_of(order, self.books[order.symbol], self._price_for(order), self.now, self.ledger)
        if reason:
            self._tell_of(held, ReportKind.REJECTED, reason)
            return
        order.status = OrderStatus.ACCEPTED
        self._tell_of(held, ReportKind.ACCEPTED)
        self._orders[order.symbol][order.id] = held
        self.ledger.reserve(order, self._price_for(order))
        if order.type not in STOPS:
            self._meet_book(held)
        elif order.symbol in self._last_trades:
            self._watch_stop(held, self._last_trades[order.symbol])

    def _price_for(self, order: Order) -> int:
        """Return the price at which the venue reckons what an order needs, in ticks."""
        if order.limit_ticks is not None:
            return order.limit_ticks
        if order.stop_ticks is not None:
            return order.stop_ticks
        best = self.books[order.symbol].best(order.side.opposite)
        return best if best is not None else order.decision_ticks

    def _amend(self, held: Held, message: OrderMessage) -> None:
        """Change an order. With a new price, or more of it, it goes to the back of the queue, and may take."""
        order = held.order
        if message.lots <= order.filled_lots:
            self._end(held, ReportKind.CANCELLED, f"amended to what had filled, {order.filled_quantity}")
            return
        before = (order.lots, order.limit_ticks, order.stop_ticks, order.reference)
        loses_place = message.limit_ticks != order.limit_ticks or message.lots > order.lots
        order.lots, order.limit_ticks = message.lots, message.limit_ticks
        if order.type is not OrderType.TRAILING_STOP:
            order.stop_ticks = message.stop_ticks
        elif message.stop_ticks is not None and (message.stop_ticks - (order.stop_ticks or 0)) * order.side < 0:
            order.stop_ticks = message.stop_ticks  # tightened; it never retreats
        reason = fault_of(order, self.books[order.symbol], self._price_for(order), self.now, self.ledger)
        if reason:
            order.lots, order.limit_ticks, order.stop_ticks, order.reference = before
            self._tell_of(held, ReportKind.CHANGE_REFUSED, reason)
            return
        self.ledger.reserve(order, self._price_for(order))
        self._tell_of(held, ReportKind.AMENDED, lots=order.lots, ticks=order.limit_ticks, stop_ticks=order.stop_ticks)
        if held.is_resting and loses_place:
            held.is_resting = False
            self._meet_book(held)

    # ── fills ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _meet_book(self, held: Held) -> None:
        """Let an order take what the book offers within its limit, then rest, wait or end by its time in force."""
        order, live = held.order, self.books[held.order.symbol]
        if live.received_at is None or self.now - live.received_at > self.terms.oldest_book:
            return  # nobody knows the prices: it waits for the next book
        if held.mid is None or order.is_triggered:
            held.mid = live.mid()
        best = live.best(order.side.opposite)
        wanted = order.open_lots
        if order.time_in_force is TimeInForce.FOK and live.available(order.side, order.limit_ticks) < wanted:
            self._end(held, ReportKind.CANCELLED, "fill or kill: the book does not hold all of it")
            return
        for each in live.take(order.side, wanted, order.limit_ticks):
            lots = self.ledger.affordable(order, each.lots, each.ticks)
            if lots:
                self._fill(held, lots, each.ticks, best=best, untouched=each.untouched)
            if lots < each.lots:
                self._end(held, ReportKind.CANCELLED, "reduce-only, to the position" if order.reduce_only else (
                    f"insufficient balance for the rest at {order.instrument.to_price(each.ticks)}"
                ))
                return
        if not order.open_lots:
            return
        if order.limit_ticks is None:
            rest = order.instrument.to_quantity(order.open_lots)
            self._end(held, ReportKind.EXPIRED, f"the book that is known holds no more: {rest} left")
        elif order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
            self._end(held, ReportKind.CANCELLED, "immediate or cancel")
        else:
            self._rest(held)

    def _rest(self, held: Held) -> None:
        """Put an order at the end of the queue at its price."""
        held.is_resting = True
        order = held.order
        assert order.limit_ticks is not None, "only limits rest"
        held.ahead = self.books[order.symbol].shown(order.side, order.limit_ticks)

    @staticmethod
    def _shorten_queue(held: Held, live: LiveBook) -> None:
        order = held.order
        assert order.limit_ticks is not None, "only limits rest"
        shown = live.shown(order.side, order.limit_ticks)
        if shown is not None:
            held.ahead = shown if held.ahead is None else min(held.ahead, shown)

    def _fill_resting(self, trade: Trade, ticks: int, lots: int) -> None:
        """Share a print among the orders that rest in its way: the better price first, then the older."""
        resting = [held for held in self._orders[trade.symbol].values() if held.is_resting]
        resting.sort(key=lambda held: -(held.order.limit_ticks or 0) * held.order.side)
        left = lots
        for held in resting:
            share, held.ahead = resting_share(held.order, held.ahead, ticks, trade.side, lots, left)
            share = self.ledger.affordable(held.order, share, held.order.limit_ticks or 0)
            if share:
                left -= share
                self._fill(held, share, held.order.limit_ticks or 0, is_maker=True)

    def _watch_stop(self, held: Held, ticks: int) -> None:
        """Let a stop follow a print, and wake it if its price has traded."""
        order = held.order
        if order.type not in STOPS or order.is_triggered or not order.is_open:
            return
        stop = order.stop_ticks
        if stop is not None and (ticks - stop) * order.side >= 0:
            order.is_triggered = True
            self._tell_of(held, ReportKind.TRIGGERED)
            self._meet_book(held)
        elif order.type is OrderType.TRAILING_STOP:
            trail(order, ticks)

    def _fill(
        self, held: Held, lots: int, ticks: int, *, best: int | None = None, untouched: float = 0.0,
        is_maker: bool = False,
    ) -> None:
        order = held.order
        order.record_fill(lots)
        fee, currency = self.ledger.fill(order, lots, ticks, is_maker=is_maker)
        if order.is_open:
            self.ledger.reserve(order, self._price_for(order))
        else:
            self._forget(held)
        self._count += 1
        report = fill_report(order, lots, ticks, self.now, held.sent_at, f"p{self._count}", fee, currency)
        self._tell(report.as_maker() if is_maker else report.as_taker(held.mid, best, untouched))

    # ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self, held: Held, kind: ReportKind, reason: str) -> None:
        order = held.order
        order.become(OrderStatus.EXPIRED if kind is ReportKind.EXPIRED else OrderStatus.CANCELLED)
        self._forget(held)
        self._tell_of(held, kind, reason, lots=order.filled_lots)

    def _forget(self, held: Held) -> None:
        self._orders[held.order.symbol].pop(held.order.id, None)
        self.ledger.release(held.order)

    def _held(self) -> list[Held]:
        return [held for orders in self._orders.values() for held in orders.values()]

    def _tell_of(
        self, held: Held, kind: ReportKind, reason: str = "", *, lots: int = 0, ticks: int | None = None,
        stop_ticks: int | None = None,
    ) -> None:
        order = held.order
        self._tell(
            Report(
                kind, self.now, self.now, order.id, reason, f"paper-{order.id}", held.sent_at, order.symbol, lots,
                ticks, stop_ticks,
            )
        )

    def _tell(self, report: Report) -> None:
        self._reports.append(report)
        if report.order_id:
            self._history.setdefault(report.order_id, []).append(report)
            if len(self._history) > MOST_REMEMBERED and len(self._history) > 2 * len(self._held()):
                del self._history[next(iter(self._history))]

    def _told(self) -> list[Report]:
        reports, self._reports = self._reports, []
        return reports


def _still_true(told: Sequence[Report], trade_ids: frozenset[str]) -> list[Report]:
    """Return what was said of an order without what has been booked, refused or amended again since."""
    amended = [report for report in told if report.kind is ReportKind.AMENDED][-1:]
    return [
        report for report in told
        if report.trade_id not in trade_ids and report.kind is not ReportKind.CHANGE_REFUSED
        and (report.kind is not ReportKind.AMENDED or report is amended[0])
    ]
