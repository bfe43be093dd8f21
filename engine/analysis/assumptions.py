"""The assumption card: what a simulation took for granted, hashed, and how each of it differs from the market.

Two results may be compared only if their cards have the same hash. The hash covers switches, costs and instruments:
what decides how orders fill and what they cost. It leaves out the data, which has a fingerprint of its own, and the
warnings, whose words may change.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from engine.bars import DAY, iso
from engine.semantics import PROFILES
from engine.semantics import profile as profile_switches

PLAIN_ACCOUNT = {"kind": "cash", "allow_short": False}
"""What an account is that nothing need be said about."""
PANEL = 5
"""Symbols from which on it matters who chose them, and when."""
_STALE_FILTERS = 90 * DAY
_SIZE_MATTERS = ("sqrt_impact", "venue")
"""Kinds of slippage that grow with an order; "venue": its own book was walked."""
_NOT_HASHED = ("data", "profile", "hash", "warnings")


class CardWarning(NamedTuple):
    """A setting under which results look better than trading would ("optimistic"), or that should be known ("note")."""

    setting: str
    value: str
    level: str
    text: str


class Simplification(NamedTuple):
    """One thing that the simulator leaves out."""

    assumption: str
    reality: str
    effect: str
    what_to_do: str


SIMPLIFICATIONS: tuple[Simplification, ...] = (
    Simplification(
        "Our orders do not change the market",
        "Every order moves the price, and others react to it",
        "Too good, more so with size and in thin markets",
        "slippage sqrt_impact; keep volume_cap on; stop adding size where impact nears the gross edge",
    ),
    Simplification(
        "The path inside a bar is unknown; stop and target in one bar are settled by the path switch",
        "Either may have come first",
        "Default is the worse of the two; the result comes with its bounds",
        "Read the bounds (docs/bounds.md); give finer bars as data.detail",
    ),
    Simplification(
        "A resting limit order fills only when the price trades through it",
        "There is a queue; at a touch some fill, some do not",
        "Slightly too bad in calm markets, right on average in fast ones",
        "limit_touch probability; record real fills and compare",
    ),
    Simplification(
        "Spread and slippage are a model",
        "They widen when everybody trades: opens, news, crashes",
        "Too good exactly when it matters",
        "Volatility-scaled slippage; double the costs and see whether the edge survives",
    ),
    Simplification(
        "Trading is always possible",
        "Halts, outages, rejected orders, price limits, rate limits",
        "Too good around shocks",
        "Paper trade before real money; look at the worst days by hand",
    ),
    Simplification(
        "Today's fees, increments and minimums hold for all of the past",
        "Venues change them; fee tiers depend on volume",
        "Small; large for tiny accounts and cheap coins",
        "Set the fee schedule and filters that were in force",
    ),
    Simplification(
        "The symbols are those in the data",
        "Delisted and failed ones are often missing (survivorship)",
        "Too good for panels chosen with hindsight",
        "Use a universe as it was at the time",
    ),
    Simplification(
        "Cash earns nothing; shorts need collateral but borrow only what is set",
        "Interest, borrow fees, recalls, margin calls",
        "Either way, more with leverage and time held",
        "Set funding and borrow where the venue has them",
    ),
    Simplification(
        "One run is one sample",
        "The best of many tried parameters is luck in part",
        "Too good, by more the more were tried",
        "Walk forward; count the trials; keep data aside that no decision has seen",
    ),
    Simplification(
        "Taxes are left out",
        "They exist",
        "Too good",
        "Work them out for your own case",
    ),
)
"""What the simulator leaves out: the README's table and the report's."""

OPTIMISTIC: dict[str, dict[str, str]] = {
    "market_fill": {
        "same_close": "market orders fill at the close that was decided on, a price nobody can have any more",
    },
    "limit_touch": {
        "touch": "limit orders fill as soon as their price is touched, as if nobody stood before us in the queue",
    },
    "path": {"best": "whatever bars leave open is settled in our favour: for bounds, not for results"},
    "limit_gap": {"bar_extreme": "limit orders crossed by a gap fill at the bar's far end"},
    "stop_gap": {"trigger": "stops that the open jumped over fill at their trigger, a price that did not trade"},
    "children_same_bar": {
        "always": "stops and targets act inside their entry's bar even where the path does not decide what came first",
    },
    "trail_reference": {
        "high_same_bar": "trailing stops follow the same bar's extreme before its other end is tested",
    },
}
"""switch → value → why it flatters."""

NOTABLE: dict[str, dict[str, str]] = {
    "path": {
        "ohlc": "every bar is walked open, high, low, close: targets of longs and stops of shorts come first",
        "olhc": "every bar is walked open, low, high, close: stops of longs and targets of shorts come first",
        "random": "the path inside a bar is drawn at random; another seed gives another result",
        "queue": "inside a bar orders fill in the order in which they were made, whatever the path",
        "queue_stops_first": "inside a bar stops fill first, then orders in the order in which they were made",
    },
    "limit_touch": {"probability": "limit orders that are touched fill by chance; another seed gives another result"},
    "market_fill": {"next_close": "market orders wait for the next bar's close"},
    "children_reduce_only": {"False": "a bracket's child whose position is gone opens a new one"},
    "on_increments": {"False": "prices need not lie on the instrument's increments"},
}
"""switch → value → what to know about it."""


def assumption_card(
    switches: Mapping[str, Any],
    costs: Mapping[str, Any],
    instruments: Mapping[str, Mapping[str, Any]] | None = None,
    data: Mapping[str, Any] | None = None,
    *,
    profile: str = "",
    filters_as_of: int | None = None,
    notes: Sequence[str] = (),
    risk: Mapping[str, Any] | None = None,
    account: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the card, JSON-ready: switches, costs, instruments, data, profile, `hash` and `warnings`.

    Args:
        switches: name → value, as `Switches.card()`.
        costs: name → the `card()` of what is in force: "fees", "slippage", "latency", and "funding", "borrow" where
            there are any.
        instruments: symbol → increments and minimums, as text.
        data: what was read; "start" and "end" (UTC ns), "is_synthetic" and "gap_policy" are looked at where given.
        profile: the name under which the switches were chosen, for people; it is not hashed.
        filters_as_of: when increments and fees were read from the venue, UTC ns.
        notes: further warnings of the caller's, such as a model that had seen the data.
        risk: the risk gate's rules and their limits, by name; a card without rules does not speak of them.
        account: what kind of account it is: "kind", "allow_short".
    """
    card: dict[str, Any] = {
        "switches": dict(switches),
        "costs": {name: _plain(value) for name, value in costs.items()},
        "instruments": {
            symbol: {key: str(value) for key, value in rules.items()} for symbol, rules in (instruments or {}).items()
        },
        "data": dict(data or {}),
        "profile": profile or profile_of(switches),
    }
    if account:
        card["account"] = dict(account)
    if risk:
        card["risk"] = dict(risk)
    card["hash"] = card_hash(card)
    card["warnings"] = [warning._asdict() for warning in _warnings(card, filters_as_of, notes)]
    return card


def card_hash(card: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything on a card that decides fills and costs, as canonical JSON: sorted keys, numbers
    written one way.

    Switches, costs and instruments always; of other parts those that there are. A plain account is none.
    """
    content = {name: _canonical(card.get(name, {})) for name in ("switches", "costs", "instruments")}
    others = {name: part for name, part in card.items() if name not in (*content, *_NOT_HASHED)}
    content |= {name: _canonical(part) for name, part in others.items() if part and part != PLAIN_ACCOUNT}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """Write every number one way, so that 1, 1.0 and "1.00" hash alike."""
    if isinstance(value, Mapping):
        return {str(name): _canonical(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(part) for part in value]
    if value is None or isinstance(value, bool):
        return value
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return str(value)
    return f"{number.normalize():f}" if number.is_finite() else str(value)


def profile_of(switches: Mapping[str, Any]) -> str:
    """Return the profile that the switches equal, else "custom"."""
    for name in PROFILES:
        if all(switches.get(switch, value) == value for switch, value in profile_switches(name).card().items()):
            return name
    return "custom"


def is_free(cost: Any) -> bool:
    """Return whether a cost's description says that it costs nothing: absent, of kind "none", or all its rates zero."""
    if cost is None or (isinstance(cost, Mapping) and cost.get("kind") in ("none", "null", "zero")):
        return True
    if isinstance(cost, str):
        return cost in ("none", "null", "zero", "")
    rates = list(_numbers(cost))
    return bool(rates) and not any(rates)


_NOT_RATES = ("kind", "window_days", "seed", "sigma", "exponent", "horizon_seconds")


def _numbers(value: Any, *, key: str = "") -> list[float]:
    if key in _NOT_RATES or isinstance(value, bool) or value is None:
        return []
    if isinstance(value, Mapping):
        return [number for name, part in value.items() for number in _numbers(part, key=name)]
    if isinstance(value, list | tuple):
        # A tier is [volume, maker, taker]: its volume is no rate.
        parts = value[1:] if key == "tier" else value
        return [number for part in parts for number in _numbers(part, key="tier" if key == "tiers" else "")]
    try:
        return [float(value)]
    except ValueError:
        return []


def _crossing_is_cheaper(fees: Any) -> bool:
    """Return whether a taker pays less than a maker under any rates of a fee schedule's description."""
    if not isinstance(fees, Mapping):
        return False
    rates = [fees, *fees.get("symbols", {}).values()] if isinstance(fees.get("symbols", {}), Mapping) else [fees]
    pairs = [(rate.get("maker"), rate.get("taker")) for rate in rates if isinstance(rate, Mapping)]
    pairs += [tuple(tier[1:3]) for tier in fees.get("tiers", ()) if isinstance(tier, list | tuple) and len(tier) > 2]
    return any(Decimal(str(taker)) < Decimal(str(maker)) for maker, taker in pairs if None not in (maker, taker))


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _warnings(card: Mapping[str, Any], filters_as_of: int | None, notes: Sequence[str]) -> list[CardWarning]:
    switches, costs, data = card["switches"], card["costs"], card["data"]
    found = [CardWarning("", "", "optimistic", note) for note in notes]

    def warn(setting: str, value: Any, text: str, level: str = "optimistic") -> None:
        found.append(CardWarning(setting, str(value), level, text))

    for name, texts in OPTIMISTIC.items():
        if str(switches.get(name)) in texts:
            warn(name, switches[name], texts[str(switches[name])])
    if "volume_cap" in switches and switches["volume_cap"] is None:
        warn("volume_cap", "none", "orders fill whole, however little was traded in the bar")
    if costs.get("calibrated"):
        warn("costs", "calibrated", str(costs["calibrated"]), "note")
    if is_free(costs.get("fees")):
        warn("fees", "zero", "the venue is taken to charge nothing")
    if _crossing_is_cheaper(costs.get("fees")):
        warn("fees", "taker below maker", "orders that cross the book pay less than those that rest in it")
    account = card.get("account", {})
    has_spot = any(rules.get("kind", "spot") == "spot" for rules in card["instruments"].values())
    if account.get("allow_short") and has_spot and is_free(costs.get("borrow")):
        warn("allow_short", "true", "what is sold short is borrowed for nothing")
    if is_free(costs.get("slippage")):
        warn("slippage", "none", "fills that take liquidity pay no spread, slippage or impact")
    elif isinstance(costs.get("slippage"), Mapping) and costs["slippage"].get("kind") not in _SIZE_MATTERS:
        warn(
            "slippage",
            costs["slippage"].get("kind", "?"),
            "size does not matter to the price: a large order fills as a small one",
            "note",
        )
    if is_free(costs.get("latency")) and switches.get("market_fill") == "next_open":
        warn("latency", "zero", "an order decided at a close reaches the venue before the next open", "note")
    for name, texts in NOTABLE.items():
        if str(switches.get(name)) in texts:
            warn(name, switches[name], texts[str(switches[name])], "note")
    start = data.get("start")
    if filters_as_of is not None and isinstance(start, int) and filters_as_of - start > _STALE_FILTERS:
        warn(
            "filters",
            iso(filters_as_of),
            f"increments, minimums and fees as of {iso(filters_as_of)} on data from {iso(start)}",
        )
    symbols = len(card["instruments"])
    if symbols >= PANEL and not data.get("is_synthetic"):
        told = f"{symbols} symbols that are in the data today: those that failed or were delisted may be missing"
        warn("symbols", symbols, told, "note")
    if data.get("prices") == "adjusted":
        told = "prices are adjusted for later splits and dividends: increments and fees per share do not fit them"
        warn("prices", "adjusted", told, "note")
    if data.get("prices") == "raw":
        warn("prices", "raw", "prices are not adjusted: a split looks like a crash, a dividend like a loss", "note")
    if data.get("gap_policy") == "forward_fill":
        warn("gap_policy", "forward_fill", "missing bars were made up from the last close (volume 0)", "note")
    kinds = {rules.get("kind", "spot") for rules in card["instruments"].values()}
    if "perpetual" in kinds and is_free(costs.get("funding")):
        warn("funding", "none", "perpetuals pay no funding, as none was given")
    if isinstance(costs.get("mark_price"), Mapping) and costs["mark_price"].get("kind") == "last_close":
        warn("mark_price", "last_close", "margins and funding go by the last close, not by a mark price", "note")
    if data.get("missing_funding"):
        missing = data["missing_funding"]
        warn("funding", f"{len(missing)} gaps", f"payments of funding are missing: {missing[0]}")
    if data.get("is_synthetic"):
        warn(
            "data",
            "synthetic",
            "the market is made up: the result shows that the engine works, nothing about any strategy",
            "note",
        )
    order = {"optimistic": 0, "note": 1}
    return sorted(found, key=lambda warning: order[warning.level])
