"""The venue's back door over HTTP: the truth, the clock and the faults, for processes that cannot hold the server.

    GET  /admin/state                                         times, speed, requests that nothing serves, calls so far
    GET  /admin/orders | fills | balances | positions         ?venue=binance&account=main
    GET  /admin/faults      POST /admin/faults {"kind": …}    DELETE /admin/faults
    POST /admin/clock       {"pause": true}, {"resume": true}, {"advance": ms}, {"advance_to": ms}, {"speed": x},
                            {"skew": ms}
    POST /admin/instrument  {"symbol": …, "venue": …, "price_increment": "0.1", …}
    POST /admin/delist      {"symbol": …, "venue": …}
    POST /admin/cut_streams {"venue": …}
"""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from tests.venue.faults import Fault
from tests.venue.orders import Fill, Order
from tests.venue.truth import Truth

if TYPE_CHECKING:
    from tests.venue.server import VenueServer


def admin_routes(server: VenueServer) -> list[web.RouteDef]:
    """Return the routes below /admin."""
    door = _Admin(server)
    return [
        web.get("/admin/state", door.state), web.get("/admin/orders", door.orders),
        web.get("/admin/fills", door.fills), web.get("/admin/balances", door.balances),
        web.get("/admin/positions", door.positions), web.get("/admin/faults", door.faults),
        web.post("/admin/faults", door.add_fault), web.delete("/admin/faults", door.clear_faults),
        web.post("/admin/clock", door.clock), web.post("/admin/instrument", door.instrument),
        web.post("/admin/delist", door.delist), web.post("/admin/cut_streams", door.cut_streams),
    ]


class _Admin:
    def __init__(self, server: VenueServer) -> None:
        self._server = server

    async def state(self, request: web.Request) -> web.Response:
        server = self._server
        return _json({
            "url": server.url, "venues": list(server.exchanges), "now": server.clock.now, "wall": server.clock.wall,
            "speed": server.clock.speed, "is_paused": server.clock.is_paused,
            "is_over": all(exchange.is_over for exchange in server.exchanges.values()),
            "unknown_requests": server.unknown_requests,
            "calls": {f"{venue} {call}": number for (venue, call), number in server.faults.calls.items()},
            "streams": {venue: len(front.hub.connections) for venue, front in server.fronts.items()}})

    async def orders(self, request: web.Request) -> web.Response:
        return _json([order_content(order) for order in self._truth(request).orders(_account(request))])

    async def fills(self, request: web.Request) -> web.Response:
        truth, account = self._truth(request), _account(request)
        return _json([fill_content(order, fill) for order in truth.orders(account) for fill in order.fills])

    async def balances(self, request: web.Request) -> web.Response:
        return _json({asset: balance._asdict() for asset, balance in
                      self._truth(request).balances(_account(request)).items()})

    async def positions(self, request: web.Request) -> web.Response:
        return _json(self._truth(request).positions(_account(request)))

    async def faults(self, request: web.Request) -> web.Response:
        faults = self._server.faults
        return _json({"armed": [asdict(fault) for fault in faults.armed],
                      "struck": [struck._asdict() for struck in faults.log]})

    async def add_fault(self, request: web.Request) -> web.Response:
        try:
            fault = self._server.faults.add(Fault(**await request.json()))
        except (TypeError, ValueError) as problem:
            return _json({"error": str(problem)}, 400)
        return _json(asdict(fault))

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._server.faults.clear()
        return _json({})

    async def clock(self, request: web.Request) -> web.Response:
        clock = self._server.clock
        try:
            for name, value in (await request.json()).items():
                match name:
                    case "pause":
                        clock.pause()
                    case "resume":
                        clock.resume()
                    case "advance":
                        clock.advance(int(value))
                    case "advance_to":
                        clock.advance_to(int(value))
                    case "speed":
                        clock.set_speed(float(value))
                    case "skew":
                        clock.skew = int(value)
                    case _:
                        return _json({"error": f"the clock knows no {name!r}; it knows pause, resume, advance, "
                                               f"advance_to, speed, skew"}, 400)
        except ValueError as problem:
            return _json({"error": str(problem)}, 400)
        return await self.state(request)

    async def instrument(self, request: web.Request) -> web.Response:
        fields = await request.json()
        self._server.change_instrument(fields.pop("symbol"), venue=fields.pop("venue", None), **fields)
        return _json({})

    async def delist(self, request: web.Request) -> web.Response:
        fields = await request.json()
        self._server.delist(fields["symbol"], venue=fields.get("venue"))
        return _json({})

    async def cut_streams(self, request: web.Request) -> web.Response:
        fields = await request.json() if request.can_read_body else {}
        return _json({"cut": self._server.cut_streams(fields.get("venue"))})

    def _truth(self, request: web.Request) -> Truth:
        return self._server.truths[request.query.get("venue", self._server.setup.venues[0])]


def order_content(order: Order) -> dict[str, Any]:
    """Return an order as the back door shows it, numbers as text."""
    i = order.instrument
    return {"id": order.id, "client_id": order.client_id, "symbol": order.symbol, "side": order.side,
            "kind": order.kind, "time_in_force": order.time_in_force, "status": order.status.value,
            "why": order.why, "price": None if order.price is None else i.price(order.price),
            "stop": None if order.stop is None else i.price(order.stop), "quantity": i.quantity(order.quantity),
            "filled": i.quantity(order.filled), "value": i.value(order.value), "created": order.created,
            "updated": order.updated, "fees": order.fees}


def fill_content(order: Order, fill: Fill) -> dict[str, Any]:
    i = order.instrument
    return {"trade_id": fill.trade_id, "order_id": order.id, "client_id": order.client_id, "symbol": order.symbol,
            "time": fill.time, "side": fill.side, "price": i.price(fill.price),
            "quantity": i.quantity(fill.quantity), "is_maker": fill.is_maker, "fee": fill.fee,
            "fee_asset": fill.fee_asset}


def _account(request: web.Request) -> str:
    return request.query.get("account", "main")


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content, default=_plain), status=status, content_type="application/json")


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{value!r} cannot be shown")
