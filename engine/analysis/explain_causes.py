"""Why two runs did not decide or fill alike: the evidence, in the order in which it is asked for.

What the runs saw comes first (a bar that one of them never had, other bars, other forecasts), then what they already
held (a difference of positions or of equity passes on the causes that it has), and what nothing recorded explains is
interaction, said in words.
"""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import isclose

from engine.analysis.explain_bars import BarPair
from engine.analysis.explain_books import ZERO, GapBooks, Part, only, shares_of
from engine.analysis.explain_orders import Deal, Pair, Placed, PlacedOrder
from engine.analysis.formatting import duration
from engine.bars import iso
from engine.records import ForecastRow

_SEEN_EQUAL = 1e-7
"""Lines that grow bar by bar agree with those computed ahead to 1e-9 (DESIGN, section 6)."""

Verdict = tuple[dict[Part, Decimal], str]
"""Shares that add up to 1, and the evidence in words."""


class Causes:
    """Judges pairs of orders at the time at which they were decided.

    Args:
        books: what A has beyond B by then.
    """

    def __init__(self, a: Placed, b: Placed, bars: BarPair, books: GapBooks) -> None:
        self._a, self._b, self._bars, self._books = a, b, bars, books

    # ── decisions ───────────────────────────────────────────────────────────────────────────────────────────────────

    def of_quantity(self, pair: Pair, beyond: Decimal) -> Verdict:
        """Return why A asked for so much more than B (signed as positions are), which is not 0."""
        symbol = pair.one.row.symbol
        held = self._books.held(symbol)
        gap = sum(held.values(), ZERO)
        if gap and (beyond > 0) != (gap > 0):
            share = min(Decimal(1), abs(gap / beyond))
            closing = {part: share * amount / gap for part, amount in held.items()}
            text = f"A held {abs(gap).normalize():f} {'more' if gap > 0 else 'less'} by then"
            if share == 1:
                return closing, text
            rest, more = self._seen(pair)
            for part, amount in rest.items():
                closing[part] = closing.get(part, ZERO) + (1 - share) * amount
            return closing, f"{text}; {more}"
        return self._seen(pair)

    def _seen(self, pair: Pair) -> Verdict:
        """Return what the decision saw differently, else what it stood on."""
        decision = pair.one.decision
        symbol, time = decision.symbol, decision.bar_close_time
        is_pair = pair.a is not None and pair.b is not None
        if not is_pair and self._bars.lacks(symbol, time):
            return only(Part.MISSED_BAR), f"{'B' if pair.b is None else 'A'} has no bar that closed at {iso(time)}"
        told = self._forecasts(pair)
        if told is not None:
            return told
        if not (is_pair and self._saw_the_same(pair)):
            found = self._last_difference(symbol, time)
            if found is not None:
                return found
        return self._stood_on(pair)

    def _saw_the_same(self, pair: Pair) -> bool:
        assert pair.a is not None
        assert pair.b is not None
        mine, theirs = pair.a.decision, pair.b.decision
        saw, seen = mine.saw or (), theirs.saw or ()
        return mine.price == theirs.price and len(saw) == len(seen) and all(
            isclose(one, other, rel_tol=_SEEN_EQUAL, abs_tol=_SEEN_EQUAL) or (one != one and other != other)
            for one, other in zip(saw, seen, strict=True)
        )

    def _last_difference(self, symbol: str, time: int) -> Verdict | None:
        differences = self._bars.differences.get(symbol)
        last = differences.last_by(time) if differences is not None else None
        if last is None:
            # What decides may be another symbol's bars: a ranking, a pair.
            others = [one.last_by(time) for one in self._bars.differences.values()]
            last = max((one for one in others if one is not None), default=None)
        if last is None:
            return None
        closed, is_missing = last
        part = Part.MISSED_BAR if is_missing else Part.DATA
        what = "is missing in one run" if is_missing else "differs"
        return only(part), f"the bar that closed at {iso(closed)} {what}"

    def _stood_on(self, pair: Pair) -> Verdict:
        held = self._books.held(pair.one.row.symbol)
        time = pair.one.decision.bar_close_time
        worth = self._books.worth(lambda symbol: self._bars.mark(symbol, time))
        if pair.a is not None and pair.b is not None:
            shares = shares_of(worth)
            if shares is not None:
                return shares, "sized by another equity"
            return only(Part.INTERACTION), "another size, which nothing recorded explains by itself"
        for weights, text in ((held, "another position by then"), (worth, "another equity by then")):
            shares = shares_of({part: abs(weight) for part, weight in weights.items()})
            if shares is not None:
                return shares, text
        return only(Part.INTERACTION), "only one run decided this, and nothing recorded explains it"

    # ── forecasts ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _forecasts(self, pair: Pair) -> Verdict | None:
        """Return how the forecasts behind a decision differ; None if they do not, or there are none."""
        decision = pair.one.decision
        symbol, time = decision.symbol, decision.bar_close_time
        sides = ((self._a, pair.a), (self._b, pair.b))
        mine, theirs = (self._known(side, order, symbol, time) for side, order in sides)
        for model in sorted(mine.keys() | theirs.keys()):
            a, b = mine.get(model), theirs.get(model)
            if a is None or b is None or a.as_of != b.as_of:
                there = max(one.as_of for one in (a, b) if one is not None)
                if self._bars.lacks(symbol, there):
                    return only(Part.MISSED_BAR), f"without the bar that closed at {iso(there)} there is no forecast"
                return only(Part.FORECAST), f"{model}: only one run has the forecast of {iso(there)}"
            if a.window_hash != b.window_hash and a.model_hash == b.model_hash:
                found = self._last_difference(symbol, time)
                if found is not None:
                    return found[0], f"{model} was asked about other bars: {found[1]}"
            if not _says_the_same(a, b):
                return only(Part.FORECAST), f"{model} said something else at {iso(a.as_of)}"
        return None

    def _known(self, side: Placed, order: PlacedOrder | None, symbol: str, time: int) -> Mapping[str, ForecastRow]:
        if order is not None:
            behind = side.behind(order.decision)
            if behind:
                return {one.model: one for one in behind}
        return side.last_forecasts(symbol, time)

    # ── fills ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def of_fill(self, pair: Pair, a: Deal, b: Deal) -> tuple[Part, str]:
        """Return why a slice filled at another time, or another reference price, in A than in B."""
        assert pair.a is not None
        assert pair.b is not None
        symbol, other_bar = pair.one.row.symbol, a.bar_close_time != b.bar_close_time
        if other_bar:
            for closed in (a.bar_close_time, b.bar_close_time):
                if self._bars.lacks(symbol, closed):
                    return Part.MISSED_BAR, f"the bar that closed at {iso(closed)} is missing in one run"
            if not (a.is_first and b.is_first):
                return Part.NO_FILL, "filled in other parts"
        waits = (pair.a.latency, pair.b.latency)
        if pair.a.row.time != pair.b.row.time:
            told = self._forecasts(pair) or self._later(pair)
            if told is not None:
                return next(iter(told[0])), told[1]
            return Part.LATENCY, f"decided {abs(pair.a.row.time - pair.b.row.time) / 1e9:g} s apart"
        if None not in waits and waits[0] != waits[1]:
            return Part.LATENCY, f"reached the venue after {_span(waits[0])} in A, {_span(waits[1])} in B"
        if other_bar:
            found = self._last_difference(symbol, max(a.bar_close_time, b.bar_close_time))
            return (next(iter(found[0])), found[1]) if found is not None else (Part.NO_FILL, "filled at another bar")
        if self.revision(symbol, a, b):
            return Part.DATA, f"the bar that closed at {iso(a.bar_close_time)} differs"
        return Part.FILL_PRICE, "another reference price"

    def _later(self, pair: Pair) -> Verdict | None:
        """Return that a forecast came at another time, if one did."""
        assert pair.a is not None
        assert pair.b is not None
        mine, theirs = self._a.behind(pair.a.decision), self._b.behind(pair.b.decision)
        if mine and theirs and max(one.available_at for one in mine) != max(one.available_at for one in theirs):
            return only(Part.FORECAST), "the forecast came at another time"
        return None

    def revision(self, symbol: str, a: Deal, b: Deal) -> Decimal:
        """Return how much of the difference of two reference prices of one bar is in the bar itself: of its open where
        both filled at it, all of it where another value of the bar differs; 0 where the bar does not differ."""
        bars = (self._bars.a.get(symbol), self._bars.b.get(symbol))
        if None in bars or a.bar_close_time != b.bar_close_time:
            return ZERO
        mine, theirs = (one.open_at(a.bar_close_time) for one in bars if one is not None)
        if mine is None or theirs is None:
            return ZERO
        if (a.reference, b.reference) == (mine, theirs):
            return mine - theirs
        differences = self._bars.differences.get(symbol)
        is_revised = differences is not None and a.bar_close_time in differences.revised
        return a.reference - b.reference if is_revised else ZERO


def missing(pair: Pair) -> str:
    """Return in words why what was asked did not fill."""
    endings = [f"{name} {order.ending}" for name, order in (("A", pair.a), ("B", pair.b)) if order and order.ending]
    return "; ".join(endings) or "filled in part"


def _says_the_same(a: ForecastRow, b: ForecastRow) -> bool:
    if a.says == b.says and a.flags == b.flags:
        return True
    try:
        return _close(json.loads(a.says), json.loads(b.says)) and _good(a) == _good(b)
    except ValueError:
        return False


def _good(forecast: ForecastRow) -> bool:
    return not {"nan", "impossible", "constant"} & set(forecast.flags.split(","))


def _close(one: object, other: object) -> bool:
    """Return whether two values of JSON are equal, numbers to the accuracy of float32."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return isclose(one, other, rel_tol=1e-5, abs_tol=1e-9)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_close(value, other[key]) for key, value in one.items())
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(_close, one, other))
    return one == other


def _span(nanoseconds: int | None) -> str:
    return "?" if nanoseconds is None else duration(nanoseconds)
