"""Real orders on a venue's own test network, through ccxt: a VenueLink. It can never trade real money (brokers.fence).

The engine's thread hands messages over; everything else happens in one asyncio thread. What a venue answers is believed
only if it makes sense, and what it does not answer is asked about by client order id until it is known: nothing is ever
sent twice. Executions come by the private streams where there are some, and by polling in any case.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, TypeVar

from brokers.venue_account import account_reports, lacking
from brokers.venue_errors import Verdict, faulty_order, is_unknown_order, verdict_of
from brokers.venue_questions import VenueQuestions
from brokers.venue_words import changed_increments, end_of, fill_of, lots_of, request_of
from engine.errors import VenueError, VenueUnavailable
from engine.instruments import Instrument
from engine.live.messages import CANCEL, NEW, OrderMessage
from engine.live.ports import Known, KnownOrder
from engine.live.reports import Report, ReportKind

T = TypeVar("T")
AMENDS_IN_PLACE = ("okx", "bybit")
REPLACES = ("binance",)
"""Venues whose orders can be amended through ccxt: as they are, or by another order of the same client order id."""


@dataclass(eq=False)
class Tracked:
    """An order that the venue may have.

    `venue_ids`: more than one where amendments replaced it. `filled`: lots that have been told of. `sent`: when its
    message left, by a clock that only goes forward; None if another life of the session sent it.
    """

    message: OrderMessage
    instrument: Instrument
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    venue_ids: list[str] = field(default_factory=list)
    trade_ids: set[str] = field(default_factory=set)
    filled: int = 0
    sent: float | None = None
    sent_at: int = 0
    is_replaced: bool = False
    is_known: bool = False
    """Whether the venue has said that it has it."""
    is_over: bool = False


class SandboxLink:
    """Takes messages to a venue's test network.

    Args:
        questions: asks the venue, with the fenced client.
        tell: called with each report, in the link's own thread.
        clock: gives our time, UTC nanoseconds.
        is_new: whether the session begins: what is in the account then is not the session's, but for the cash it has.
        poll_seconds: between two looks at what is open.
        settle_seconds: after which a message that the venue does not have cannot arrive any more: its receive window.
        dead_man_seconds: after which the venue withdraws every order if nothing is heard of us; None for never.
        checkpoint: told where the link is; a test kills the process there.
    """

    def __init__(
        self, questions: VenueQuestions, instruments: Sequence[Instrument], tell: Callable[[Report], None],
        clock: Callable[[], int], *, is_new: bool, poll_seconds: float = 2.0, settle_seconds: float = 12.0,
        dead_man_seconds: float | None = None, checkpoint: Callable[[str], None] = lambda place: None,
    ) -> None:
        self._questions = questions
        self._client = questions.client
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._tell = tell
        self._clock = clock
        self._is_new = is_new
        self._poll_seconds = poll_seconds
        self._settle_seconds = settle_seconds
        self._dead_man_seconds = dead_man_seconds
        self._checkpoint = checkpoint
        self._orders: dict[int, Tracked] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="sandbox", daemon=True)
        self._thread.start()
        self.keys_said = ""
        """What the venue told of the keys' permissions."""

    # ── VenueLink ───────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, timeout: float = 60.0) -> None:
        """Load the venue's markets, look at the keys, and begin to listen.

        Raises:
            SettingsError: the keys may withdraw. VenueUnavailable: the venue does not answer.
        """
        self._wait(self._start(), timeout)

    def send(self, messages: Sequence[OrderMessage]) -> None:
        """Hand over messages; what becomes of them is told as reports."""
        for message in messages:
            self._loop.call_soon_threadsafe(self._begin, message)

    def reconcile(self, known: Known, timeout: float = 120.0) -> Sequence[Report]:
        """Ask about every order, execution and balance; see engine.live.ports."""
        return self._wait(self._reconcile(known), timeout)

    def close(self) -> None:
        """Let go of the venue; orders stay."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise VenueUnavailable(f"{self._questions.venue} has not answered within {timeout:g} s") from None
        except VenueUnavailable:
            raise
        except self._questions.failures as exc:
            raise VenueUnavailable(f"{self._questions.venue}: {self._questions.said(exc)}") from None

    # ── beginning and end ───────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self) -> None:
        await self._questions.ask(self._client.load_markets)
        self.keys_said = await self._questions.refuse_withdrawing_keys()
        self._keep(self._every(self._poll_seconds, self._poll))
        if self._client.has.get("watchOrders") or hasattr(type(self._client), "watch_orders"):
            self._keep(self._listen())
        if self._dead_man_seconds is not None and self._client.has.get("cancelAllOrdersAfter"):
            self._keep(self._every(self._dead_man_seconds / 3, self._still_alive))

    async def _close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    def _keep(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except self._questions.failures:
                continue  # the next look says the same and more

    async def _still_alive(self) -> None:
        assert self._dead_man_seconds is not None, "it is asked for"
        await self._client.cancel_all_orders_after(round(self._dead_man_seconds * 1000))

    # ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, message: OrderMessage) -> None:
        tracked = self._orders.get(message.order_id)
        if tracked is None:
            tracked = self._orders[message.order_id] = Tracked(message, self._instruments[message.symbol])
        self._keep(self._take(tracked, message))

    async def _take(self, tracked: Tracked, message: OrderMessage) -> None:
        async with tracked.lock:  # messages of one order go one after the other
            if message.kind == NEW:
                await self._create(tracked)
            elif message.kind == CANCEL:
                await self._cancel(tracked)
            else:
                await self._amend(tracked, message)

    async def _create(self, tracked: Tracked) -> None:
        message = tracked.message
        try:
            request = request_of(message, tracked.instrument, self._questions.venue)
        except VenueError as exc:
            self._over(tracked, ReportKind.REJECTED, str(exc))
            return
        changed = changed_increments(self._client, request, tracked.instrument, message)
        if changed:
            self._over(tracked, ReportKind.REJECTED, f"not sent: {changed}")
            return
        tracked.sent, tracked.sent_at = time.monotonic(), self._clock()
        self._checkpoint("before the request of an order")
        try:
            found = await self._client.create_order(*request[:5], dict(request.params))
        except VenueError as exc:
            self._over(tracked, ReportKind.REJECTED, str(exc))
            return
        except self._questions.failures as exc:
            self._checkpoint("an order's answer failed")
            if verdict_of(self._questions.venue, exc) is Verdict.REFUSED:
                self._over(tracked, ReportKind.REJECTED, self._questions.said(exc))
            else:
                self._lose(tracked, self._questions.said(exc))
            return
        self._checkpoint("an order's answer heard")
        fault = faulty_order(found, message.symbol, message.client_order_id)
        if fault:
            self._lose(tracked, fault)
        else:
            await self._found(tracked, [found])

    def _lose(self, tracked: Tracked, reason: str) -> None:
        """Nobody knows whether the venue has an order: say so, and ask until somebody does."""
        self._tell(self._report(tracked, ReportKind.UNRESOLVED, reason))
        self._keep(self._resolve(tracked))

    async def _resolve(self, tracked: Tracked) -> None:
        pause = 0.05
        while not tracked.is_over and not tracked.is_known:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
            async with tracked.lock:
                try:
                    reports = await self._asked(tracked)
                except self._questions.failures:
                    continue
                for report in reports:
                    self._tell(report)

    async def _asked(self, tracked: Tracked) -> list[Report]:
        """Ask about an order; return what that tells. One that the venue cannot get any more, and has not, is over."""
        since = time.monotonic()
        is_settled = tracked.sent is not None and since - tracked.sent > self._settle_seconds
        message = tracked.message
        self._checkpoint("before asking about an order")
        orders = await self._questions.orders_of(
            message.symbol, message.client_order_id, is_replaced=tracked.is_replaced or tracked.sent is None
        )
        self._checkpoint("asked about an order")
        if orders:
            return await self._state(tracked, orders)
        if not is_settled or tracked.is_known:
            return []
        tracked.is_over = True
        return [self._report(tracked, ReportKind.REJECTED, "never reached the venue")]

    async def _cancel(self, tracked: Tracked) -> None:
        if tracked.is_over:
            self._tell(self._report(tracked, ReportKind.CHANGE_REFUSED, "the order is over"))
            return
        message = tracked.message
        try:
            if not tracked.venue_ids:
                await self._tell_asked(tracked)
            if not tracked.venue_ids or tracked.is_over:
                if not tracked.is_over:
                    self._tell(self._report(tracked, ReportKind.CHANGE_REFUSED, "nobody knows whether it is there"))
                return
            self._checkpoint("before the request of a cancel")
            await self._client.cancel_order(tracked.venue_ids[-1], message.symbol)
            self._checkpoint("a cancel's answer heard")
        except self._questions.failures as exc:
            if verdict_of(self._questions.venue, exc) is Verdict.REFUSED and not is_unknown_order(
                self._questions.venue, exc
            ):
                self._tell(self._report(tracked, ReportKind.CHANGE_REFUSED, self._questions.said(exc)))
                return
        # What the answer was is not believed: the order itself says what became of it.
        try:
            await self._tell_asked(tracked)
        except self._questions.failures as exc:
            self._tell(self._report(tracked, ReportKind.CHANGE_REFUSED, self._questions.said(exc)))
            return
        if not tracked.is_over:
            self._tell(self._report(tracked, ReportKind.CHANGE_REFUSED, "the order is still open"))

    async def _amend(self, tracked: Tracked, message: OrderMessage) -> None:
        venue = self._questions.venue
        if tracked.is_over or not tracked.venue_ids or venue not in (*AMENDS_IN_PLACE, *REPLACES):
            reason = "the order is over" if tracked.is_over else f"orders cannot be amended at {venue}"
            self._tell(self._report(tracked, ReportKind.CHANGE_REFUSED, reason))
            return
        tracked.is_replaced = tracked.is_replaced or venue in REPLACES
        lots = message.lots - (tracked.filled if venue in REPLACES else 0)
        try:
            request = request_of(message._replace(lots=lots), tracked.instrument, venue)
            self._checkpoint("before the request of an amendment")
            await self._client.edit_order(tracked.venue_ids[-1], *request[:5], dict(request.params))
            self._checkpoint("an amendment's answer heard")
        except self._questions.failures as exc:
            refused = self._questions.said(exc)
        else:
            refused = ""
        try:
            await self._tell_asked(tracked, amended=message, refused=refused)
        except self._questions.failures as exc:
            self._tell(self._report(tracked, ReportKind.CHANGE_REFUSED, self._questions.said(exc)))

    async def _tell_asked(
        self, tracked: Tracked, *, amended: OrderMessage | None = None, refused: str = ""
    ) -> None:
        """Ask about an order and tell; after an amendment, whether its terms are the new ones."""
        message = tracked.message
        orders = await self._questions.orders_of(
            message.symbol, message.client_order_id, is_replaced=tracked.is_replaced
        )
        if not orders:
            return
        if amended is not None:
            last, instrument = orders[-1], tracked.instrument
            before = sum(lots_of(order.get("filled") or 0, instrument) for order in orders[:-1])
            lots = lots_of(last.get("amount") or 0, instrument) + before
            price = last.get("price")
            is_new = lots == amended.lots and (
                amended.limit_ticks is None or (price and instrument.to_ticks(float(price)) == amended.limit_ticks)
            )
            if is_new:
                tracked.message = message._replace(
                    lots=amended.lots, limit_ticks=amended.limit_ticks, stop_ticks=amended.stop_ticks
                )
                self._tell(
                    self._report(tracked, ReportKind.AMENDED)._replace(
                        lots=amended.lots, ticks=amended.limit_ticks, stop_ticks=amended.stop_ticks
                    )
                )
            else:
                self._tell(self._report(tracked, ReportKind.CHANGE_REFUSED, refused or "its terms are as before"))
        await self._found(tracked, orders)

    # ── what the venue says ─────────────────────────────────────────────────────────────────────────────────────────

    async def _found(self, tracked: Tracked, orders: list[dict[str, Any]]) -> None:
        for report in await self._state(tracked, orders):
            self._tell(report)

    async def _state(self, tracked: Tracked, orders: list[dict[str, Any]]) -> list[Report]:
        """Return what orders that the venue has under one client order id tell beyond what was told."""
        instrument, message, reports = tracked.instrument, tracked.message, []
        if not tracked.is_known:
            tracked.is_known = True
            reports.append(self._report(tracked, ReportKind.ACCEPTED)._replace(venue_order_id=str(orders[-1]["id"])))
        filled = 0
        for order in orders:
            if str(order["id"]) not in tracked.venue_ids:
                tracked.venue_ids.append(str(order["id"]))
            filled += lots_of(order.get("filled") or 0, instrument)
        if filled > tracked.filled:
            reports += await self._fills(tracked)
        end = end_of(orders[-1], message, instrument, self._clock(), filled)
        if end is not None:
            if filled <= tracked.filled:
                tracked.is_over = True
            reports.append(end)
        elif orders[-1].get("status") == "closed" and tracked.filled >= filled:
            tracked.is_over = True
        return reports

    async def _fills(self, tracked: Tracked) -> list[Report]:
        reports = []
        for venue_id in tracked.venue_ids:
            self._checkpoint("before asking for executions")
            for trade in await self._questions.trades_of(tracked.message.symbol, venue_id):
                reports += self._fill(tracked, trade)
        return reports

    def _fill(self, tracked: Tracked, trade: dict[str, Any]) -> list[Report]:
        report = fill_of(trade, tracked.message, tracked.instrument, self._clock())._replace(sent_at=tracked.sent_at)
        if report.trade_id in tracked.trade_ids:
            return []
        tracked.trade_ids.add(report.trade_id)
        tracked.filled += report.lots
        return [report]

    async def _poll(self) -> None:
        """Look at every order that is known and open."""
        for tracked in [each for each in self._orders.values() if each.is_known and not each.is_over]:
            if not tracked.lock.locked():
                async with tracked.lock:
                    await self._tell_asked(tracked)
        for number in [number for number, each in self._orders.items() if each.is_over][:-1000]:
            del self._orders[number]

    async def _listen(self) -> None:
        """Look at an order as soon as the private stream says that something happened to it."""
        while True:
            try:
                told = await self._client.watch_orders()
                identities = {order.get("clientOrderId") for order in told} | {str(order.get("id")) for order in told}
                for tracked in list(self._orders.values()):
                    message = tracked.message
                    if tracked.is_known and not tracked.is_over and (
                        message.client_order_id in identities or identities & set(tracked.venue_ids)
                    ):
                        async with tracked.lock:
                            await self._tell_asked(tracked)
            except self._questions.failures:
                await asyncio.sleep(1.0)  # polling goes on meanwhile

    # ── reconciliation ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _reconcile(self, known: Known) -> list[Report]:
        reports: list[Report] = []
        for each in known.orders:
            reports += await self._account_for(each)
        instruments = list(self._instruments.values())
        if self._is_new and not known.orders:
            self._is_new = False
            return [*reports, *await account_reports(self._questions, instruments, known, [], self._clock(), True)]
        # Executions between two answers would look like differences: the account is read until none came in between.
        for _ in range(5):
            account = await account_reports(self._questions, instruments, known, reports, self._clock(), False)
            more = []
            for each in known.orders:
                more += await self._account_for(each)
            late = [report for report in more if report.trade_id and not lacking(report, reports)]
            if not late:
                return [*reports, *account]
            reports += late
        return reports

    async def _account_for(self, each: KnownOrder) -> list[Report]:
        """Return everything that makes our books of an order the venue's."""
        number = each.message.order_id
        tracked = self._orders.get(number)
        if tracked is None:
            tracked = Tracked(each.message, self._instruments[each.message.symbol])
            tracked.is_known = each.status not in ("in_flight", "unresolved")
            tracked.sent = time.monotonic()  # by another life, a moment ago for all we know
            tracked.is_replaced = True
            self._orders[number] = tracked
        async with tracked.lock:
            fresh = Tracked(
                tracked.message, tracked.instrument, venue_ids=list(tracked.venue_ids),
                trade_ids=set(each.trade_ids), filled=each.filled_lots, sent=tracked.sent,
                sent_at=tracked.sent_at, is_replaced=tracked.is_replaced,
                is_known=each.status not in ("in_flight", "unresolved"),
            )
            if each.venue_order_id and each.venue_order_id not in fresh.venue_ids:
                fresh.venue_ids.append(each.venue_order_id)
            reports = await self._asked(fresh)
            while not reports and not fresh.is_known and not fresh.is_over:
                await asyncio.sleep(min(0.5, self._settle_seconds / 4))
                reports = await self._asked(fresh)
            tracked.venue_ids, tracked.is_known = fresh.venue_ids, fresh.is_known
            tracked.trade_ids |= fresh.trade_ids
            tracked.filled = max(tracked.filled, fresh.filled)
            tracked.is_over = tracked.is_over or fresh.is_over
        return reports

    # ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _over(self, tracked: Tracked, kind: ReportKind, reason: str) -> None:
        tracked.is_over = True
        self._tell(self._report(tracked, kind, reason))

    def _report(self, tracked: Tracked, kind: ReportKind, reason: str = "") -> Report:
        venue_id = tracked.venue_ids[-1] if tracked.venue_ids else ""
        now = self._clock()
        return Report(
            kind, now, now, tracked.message.order_id, reason, venue_id, tracked.sent_at, tracked.message.symbol
        )
