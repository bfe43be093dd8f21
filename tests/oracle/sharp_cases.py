"""The cases in which engines differ most, each with what backtesting.py and backtrader really do.

Bars 0 and 1 are 100-101-99-100 (open, high, low, close); the bars given follow from bar 2 on. Orders are decided at the
close of bar 1 unless they say `k=`, for one unit unless they say `quantity=`. A fill is `side@price#bar`.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class SharpCase(NamedTuple):
    name: str
    bars: str
    orders: str
    backtesting_py: str
    backtrader: str

    def scenario(self) -> dict[str, Any]:
        """Return the case in the form of a scenario file."""
        rows = [[float(price) for price in bar.split("-")] for bar in ("100-101-99-100 " * 2 + self.bars).split()]
        return {
            "name": self.name, "price_increment": "0.01", "bars": [[*row, 1000] for row in rows],
            "orders": [_order(text) for text in self.orders.split("; ")],
        }

    def fills(self, peer: str) -> list[list[Any]]:
        """Return what a peer makes of it."""
        return [_fill(text) for text in getattr(self, peer).split()]


def _order(text: str) -> dict[str, Any]:
    side, kind, *options = text.split()
    order: dict[str, Any] = {"decided_at_close_of": 1, "side": side, "type": kind, "quantity": 1}
    for option in options:
        name, value = option.split("=")
        if name in ("k", "quantity"):
            order["decided_at_close_of" if name == "k" else name] = int(value)
        else:
            order[name] = float(value)
    return order


def _fill(text: str) -> list[Any]:
    side, rest = text.split("@")
    price, bar = rest.split("#")
    return [side, int(bar), float(price)]


SHARP_CASES = tuple(SharpCase(*row) for row in (
    ("SL and TP-gap in one later bar: SL wins over the open",
     "100-101-99-100 115-116-94-100", "buy bracket stop_loss=95 take_profit=110",
     "buy@100#2 sell@95#3", "buy@100#2 sell@95#3"),
    ("same on the entry bar",
     "115-116-94-100 115-116-94-100", "buy bracket stop_loss=95 take_profit=110",
     "buy@115#2 sell@95#2", "buy@115#2 sell@95#3"),
    ("entry opens beyond SL",
     "92-93-91-92 92-93-91-92", "buy bracket stop_loss=95 take_profit=110",
     "buy@92#2 sell@92#2", "buy@92#2 sell@92#3"),
    ("entry opens beyond TP",
     "115-116-114-115 115-116-114-115", "buy bracket stop_loss=95 take_profit=110",
     "buy@115#2 sell@115#2", "buy@115#2 sell@115#3"),
    ("short, both in range",
     "100-101-99-100 100-112-88-100", "sell bracket stop_loss=110 take_profit=90",
     "sell@100#2 buy@110#3", "sell@100#2 buy@110#3"),
    ("SL on bar after entry at exact low",
     "100-101-99-100 100-101-95-100", "buy bracket stop_loss=95 take_profit=110",
     "buy@100#2 sell@95#3", "buy@100#2 sell@95#3"),
    ("buy stop-limit, gap over stop, limit above open",
     "105-107-104-106", "buy stop_limit stop=102 limit=110",
     "buy@102#2", "buy@105#2"),
    ("buy stop-limit, gap over limit, comes back to limit",
     "106-107-103-104", "buy stop_limit stop=102 limit=103",
     "buy@102#2", "buy@103#2"),
    ("buy stop-limit, gap over limit, comes back to stop",
     "106-107-101-104", "buy stop_limit stop=102 limit=103",
     "buy@102#2", "buy@103#2"),
    ("buy stop-limit, open==stop, limit above",
     "102-107-101-104", "buy stop_limit stop=102 limit=103",
     "buy@102#2", "buy@102#2"),
    ("buy stop-limit, open>=stop, limit==stop, reaches",
     "104-105-101-104 104-105-101-104", "buy stop_limit stop=102 limit=102",
     "buy@102#3", "buy@102#2"),
    ("buy stop-limit, inside, limit==stop",
     "100-105-99-104 104-105-101-104", "buy stop_limit stop=102 limit=102",
     "buy@102#3", "buy@102#2"),
    ("buy stop-limit, limit<stop, red bar closing below limit",
     "101-105-97-98 98-99-97-98", "buy stop_limit stop=102 limit=100",
     "buy@98#3", "buy@100#2"),
    ("buy stop-limit, limit<stop, red bar closing at limit",
     "101-105-97-100 98-99-97-98", "buy stop_limit stop=102 limit=100",
     "buy@98#3", "buy@100#2"),
    ("buy stop-limit, limit<stop, red bar closing above limit",
     "103-105-97-102 98-99-97-98", "buy stop_limit stop=104 limit=100",
     "buy@98#3", "buy@98#3"),
    ("buy stop-limit, limit<stop, flat bar",
     "100-105-97-100 98-99-97-98", "buy stop_limit stop=102 limit=100",
     "buy@98#3", "buy@98#3"),
    ("buy stop-limit, limit<stop, green bar",
     "100-105-97-101 98-99-97-98", "buy stop_limit stop=102 limit=101",
     "buy@98#3", "buy@98#3"),
    ("sell stop-limit, limit>stop, flat bar",
     "100-105-97-100 104-105-103-104", "sell stop_limit stop=98 limit=100",
     "sell@104#3", "sell@100#2"),
    ("sell stop-limit, limit>stop, green bar closing above limit",
     "100-105-97-104 104-105-103-104", "sell stop_limit stop=98 limit=101",
     "sell@104#3", "sell@101#2"),
    ("sell stop-limit, limit>stop, red bar",
     "102-105-97-101 104-105-103-104", "sell stop_limit stop=98 limit=100",
     "sell@104#3", "sell@104#3"),
    ("sell stop-limit, limit==stop inside",
     "100-105-97-101 104-105-103-104", "sell stop_limit stop=98 limit=98",
     "sell@104#3", "sell@98#2"),
    ("sell stop-limit, gap under stop, limit below open",
     "95-96-93-94", "sell stop_limit stop=98 limit=90",
     "sell@98#2", "sell@95#2"),
    ("stop-limit far limit gap: open==stop, limit<stop, reach",
     "102-103-99-100 102-103-99-100", "buy stop_limit stop=102 limit=100",
     "buy@100#3", "buy@100#2"),
    ("stop-limit triggered at gap then plain limit later",
     "106-107-105-106 99-100-98-99", "buy stop_limit stop=102 limit=103",
     "buy@99#3", "buy@99#3"),
    ("bracket on stop, TP in bar, SL not",
     "100-112-99-111 100-101-99-100", "buy bracket stop_loss=95 take_profit=110 stop=102",
     "buy@102#2 sell@110#2", "buy@102#2"),
    ("bracket on stop, SL==low",
     "100-112-95-111 100-101-99-100", "buy bracket stop_loss=95 take_profit=110 stop=102",
     "buy@102#2", "buy@102#2"),
    ("bracket on stop, SL in bar only",
     "100-103-94-96 100-101-99-100", "buy bracket stop_loss=95 take_profit=110 stop=102",
     "buy@102#2", "buy@102#2"),
    ("bracket on stop, gap open beyond TP",
     "112-113-111-112 100-101-99-100", "buy bracket stop_loss=95 take_profit=110 stop=102",
     "buy@112#2 sell@112#2", "buy@112#2"),
    ("bracket on limit, both in bar",
     "100-112-94-100 100-101-99-100 100-112-94-100", "buy bracket stop_loss=95 take_profit=110 limit=98",
     "buy@98#2 sell@95#4", "buy@98#2 sell@95#4"),
    ("bracket invalid at decision (SL above close)",
     "100-101-99-100 100-101-99-100", "buy bracket stop_loss=101 take_profit=110",
     "", "buy@100#2 sell@100#3"),
    ("market sell closes bracket trade",
     "100-101-99-100 100-101-99-100 100-112-94-100", "buy bracket stop_loss=95 take_profit=110; sell market k=2",
     "buy@100#2 sell@100#3", "buy@100#2 sell@100#3 sell@95#4"),
    ("market sell on the SL bar",
     "100-101-99-100 100-101-94-100 100-112-94-100", "buy bracket stop_loss=95 take_profit=110; sell market k=2",
     "buy@100#2 sell@95#3 sell@100#3", "buy@100#2 sell@95#3 sell@100#3"),
    ("two-pass: refused stop-limit fills beside a market bracket",
     "100-105-99-104 104-105-103-104", "buy stop_limit stop=102 limit=101; buy bracket stop_loss=90 take_profit=120",
     "buy@100#2 buy@100#2", "buy@100#2"),
    ("two-pass: limit bracket gets its SL same bar",
     "100-101-94-100 104-105-103-104",
     "buy bracket stop_loss=95 take_profit=110 limit=98; buy bracket stop_loss=90 take_profit=120",
     "buy@98#2 buy@100#2 sell@95#2", "buy@98#2 buy@100#2"),
    ("bracket that only closes",
     "100-101-99-100 100-112-94-100 100-112-94-100", "buy market; sell bracket k=2 stop_loss=110 take_profit=90",
     "buy@100#2 sell@100#3", "buy@100#2 sell@100#3 buy@110#4"),
    ("bracket closes 1 opens 1 (quantity 2)",
     "100-101-99-100 100-112-94-100 100-112-94-100",
     "buy market; sell bracket k=2 quantity=2 stop_loss=110 take_profit=90",
     "buy@100#2 sell@100#3 buy@110#3", "buy@100#2 sell@100#3 buy@110#4"),
    ("newest SL first",
     "100-101-99-100 100-101-99-100 100-101-90-100",
     "buy bracket stop_loss=95 take_profit=110; buy bracket k=2 stop_loss=96 take_profit=110",
     "buy@100#2 buy@100#3 sell@96#4 sell@95#4", "buy@100#2 buy@100#3 sell@95#4 sell@96#4"),
    ("opposite brackets",
     "100-101-99-100 100-112-88-100",
     "buy bracket stop_loss=95 take_profit=110; sell bracket stop_loss=105 take_profit=90",
     "buy@100#2 sell@100#2", "buy@100#2 sell@100#2 sell@95#3 buy@105#3"),
    ("trailing, decision close 100, entry bar close 120",
     "110-121-109-120 113-114-94-100", "buy trailing trail_fraction=0.05",
     "buy@110#2 sell@113#3", "buy@110#2 sell@95#3"),
    ("trailing, entry bar reaches",
     "110-121-90-120 120-121-119-120", "buy trailing trail_fraction=0.05",
     "buy@110#2", "buy@110#2"),
    ("trailing short",
     "100-101-90-90 94-96-93-95 95-96-94-94", "sell trailing trail_fraction=0.05",
     "sell@100#2 buy@94.5#3", "sell@100#2"),
))
