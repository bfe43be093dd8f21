"""Questions to a venue: they may be asked again after a failure that passes, for they change nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, TypeVar

from brokers.keys import Keys
from brokers.venue_errors import faulty_order, is_unknown_order, may_pass
from engine.errors import SettingsError, VenueError, VenueUnavailable
from engine.instruments import Instrument

T = TypeVar("T")
PAUSES = (0.1, 0.3, 1.0, 2.0)
"""Seconds between one try and the next."""
PARSING = (ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What ccxt's parsers raise at answers that are not what they expect."""


class VenueQuestions:
    """Asks a venue about orders, executions, balances and keys."""

    def __init__(self, client: Any, keys: Keys) -> None:
        import ccxt

        self.client = client
        self.venue: str = client.id
        self.failures: tuple[type[BaseException], ...] = (
            ccxt.BaseError, VenueError, TimeoutError, OSError, *PARSING
        )
        self._keys = keys

    def said(self, error: BaseException) -> str:
        """Return what a failure says, without keys and signatures."""
        return f"{type(error).__name__}: {self._keys.hidden(str(error))[:300]}"

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask, and again after failures that may pass.

        Raises:
            VenueUnavailable: it did not pass. Other failures as they are.
        """
        for pause in (*PAUSES, None):
            try:
                return await question()
            except self.failures as exc:
                if not may_pass(self.venue, exc) and not isinstance(exc, PARSING):
                    raise
                if pause is None:
                    raise VenueUnavailable(f"{self.venue} does not answer: {self.said(exc)}") from None
                await asyncio.sleep(pause)
        raise AssertionError("the last pause is None")

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def orders_of(self, symbol: str, client_order_id: str, *, is_replaced: bool = False) -> list[dict[str, Any]]:
        """Return the orders that the venue has under a client order id, oldest first; none if it says that it has none.

        Args:
            is_replaced: whether an amendment may have replaced the order by another of the same id.
        Raises:
            VenueUnavailable: it does not answer, or not so that it could be believed.
        """
        found: list[dict[str, Any]] = []
        try:
            found = [await self.ask(lambda: self._order(symbol, client_order_id))]
        except self.failures as exc:
            if not is_unknown_order(self.venue, exc):
                raise VenueUnavailable(f"{self.venue} cannot be asked about an order: {self.said(exc)}") from None
        if is_replaced and self.client.has.get("fetchOrders") is True:
            everything = await self.ask(lambda: self.client.fetch_orders(symbol))
            known = {order["id"] for order in found}
            found += [
                order for order in everything
                if order.get("clientOrderId") == client_order_id and order["id"] not in known
            ]
            found.sort(key=_by_age)
        return found

    async def _order(self, symbol: str, client_order_id: str) -> dict[str, Any]:
        """Return one order by its client order id; ccxt's OrderNotFound if there is none."""
        import ccxt

        client = self.client
        if self.venue.startswith("binance"):
            order = await client.fetch_order(None, symbol, {"origClientOrderId": client_order_id})
        elif self.venue.startswith(("okx", "myokx")):
            order = await client.fetch_order(None, symbol, {"clientOrderId": client_order_id})
        elif self.venue.startswith("bybit"):
            order = await self._order_of_bybit(symbol, client_order_id)
        else:
            listed = list(await client.fetch_open_orders(symbol))
            for name in ("fetchClosedOrders", "fetchCanceledOrders"):
                if client.has.get(name):
                    listed += await getattr(client, {"fetchClosedOrders": "fetch_closed_orders",
                                                     "fetchCanceledOrders": "fetch_canceled_orders"}[name])(symbol)
            order = next((each for each in listed if each.get("clientOrderId") == client_order_id), None)
            if order is None:
                raise ccxt.OrderNotFound(f"{self.venue} lists no order {client_order_id}")
        fault = faulty_order(order, symbol, client_order_id)
        if fault:
            raise ccxt.BadResponse(fault)  # it may pass: it is asked again
        return dict(order)

    async def _order_of_bybit(self, symbol: str, client_order_id: str) -> Any:
        """Return an order by its client order id, looked for among what is open, what ended of late and the history,
        conditional orders too; ccxt's OrderNotFound if it is nowhere.

        ccxt's own fetch_order asks for the venue's id as well, and an id of None is none that the venue has.
        """
        import ccxt

        client = self.client
        market = client.market(symbol)
        asked = {
            "category": "spot" if market["spot"] else "linear", "symbol": market["id"], "orderLinkId": client_order_id,
        }
        for question in (client.private_get_v5_order_realtime, client.private_get_v5_order_history):
            for part in ({}, {"orderFilter": "StopOrder"}):
                answer = await question({**asked, **part})
                listed = (answer.get("result") or {}).get("list") if isinstance(answer, dict) else None
                if not isinstance(listed, list):
                    raise ccxt.BadResponse(f"{self.venue} answered {str(answer)[:60]!r}; expected a list of orders")
                if listed:
                    return client.parse_order(listed[0], market)
        raise ccxt.OrderNotFound(f"{self.venue} has no order {client_order_id}")

    async def trades_of(self, symbol: str, venue_order_id: str) -> list[dict[str, Any]]:
        """Return the executions of an order, oldest first."""
        client = self.client
        if client.has.get("fetchOrderTrades") is True and (self.venue == "binance" or not _is_emulated(client)):
            trades = await self.ask(lambda: client.fetch_order_trades(venue_order_id, symbol))
        else:
            trades = await self.ask(lambda: client.fetch_my_trades(symbol))
        return [trade for trade in trades if trade.get("id") and str(trade.get("order")) == venue_order_id]

    # ── the account ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def totals(self, assets: set[str]) -> dict[str, Decimal]:
        """Return what the account has of each asset, free and reserved."""
        import ccxt

        async def question() -> dict[str, Decimal]:
            balance = await self.client.fetch_balance()
            if not isinstance(balance.get("total"), dict) or not isinstance(balance.get("info"), dict | list):
                raise ccxt.BadResponse("the venue's answer names no balances")
            return {asset: Decimal(str(balance["total"].get(asset) or 0)) for asset in assets}

        return await self.ask(question)

    async def contract_lots(self, instruments: list[Instrument]) -> dict[str, int]:
        """Return the signed lots held of each contract."""
        if not instruments:
            return {}
        found = await self.ask(lambda: self.client.fetch_positions([each.symbol for each in instruments]))
        steps = {each.symbol: each.quantity_increment for each in instruments}
        held = dict.fromkeys(steps, 0)
        for position in found:
            symbol = position.get("symbol")
            if symbol in held:
                lots = round(Decimal(str(position.get("contracts") or 0)) / steps[symbol])
                held[symbol] += -lots if position.get("side") == "short" else lots
        return held

    async def refuse_withdrawing_keys(self) -> str:
        """Refuse keys that can withdraw, where the venue tells; return what it told, for the record.

        Raises:
            SettingsError: they can.
        """
        client = self.client
        questions: dict[str, tuple[str, Callable[[Any], bool]]] = {
            "binance": ("sapi_get_account_apirestrictions", lambda told: bool(told.get("enableWithdrawals"))),
            "okx": ("private_get_account_config", lambda told: "withdraw" in str(
                (told.get("data") or [{}])[0].get("perm", "")
            )),
            "bybit": ("private_get_v5_user_query_api", lambda told: "Withdraw" in str(
                (told.get("result") or {}).get("permissions", {}).get("Wallet", "")
            )),
        }
        if self.venue not in questions:
            return f"{self.venue} does not tell what its keys may do"
        name, can_withdraw = questions[self.venue]
        try:
            told = await self.ask(lambda: getattr(client, name)())
        except self.failures:
            return f"{self.venue}'s test network does not tell what its keys may do"
        if isinstance(told, dict) and can_withdraw(told):
            raise SettingsError(
                f"these keys of {self.venue} may withdraw money: make keys for its test network that may trade and "
                f"read, and nothing else"
            )
        return "the keys may not withdraw"


def _by_age(order: dict[str, Any]) -> tuple[int, bool, int, str]:
    """Sort orders of one client order id by age: of two of one millisecond, the one that is open replaced the other."""
    identity = str(order["id"])
    return order.get("timestamp") or 0, order.get("status") == "open", len(identity), identity


def _is_emulated(client: Any) -> bool:
    return client.has.get("fetchOrderTrades") != True  # noqa: E712 - "emulated" is a value of it
