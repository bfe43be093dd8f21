"""Why one run earned another profit than another over the same time, in parts that add up to the difference exactly.

Run A is the one to be explained (paper trading, as a rule), B the one it is held against (a backtest). Their orders
are paired, each pair's fills cut into slices that both have; what differs is booked to its cause at the time it
happened, and a later order that differs because the books did passes on the causes of that difference, not its own. At
the end each part is what A has earned beyond B because of it, at B's last closes. Money is Decimal, in one currency.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from engine.analysis.explain_bars import BarPair, SymbolBars
from engine.analysis.explain_books import DIGITS, ZERO, Contribution, GapBooks, Part, only
from engine.analysis.explain_causes import Causes
from engine.analysis.explain_orders import Placed, paired
from engine.analysis.explain_pairs import PairSteps, PairWork
from engine.analysis.explain_payments import CAPITAL, Payments
from engine.bars import iso
from engine.errors import JournalError
from engine.instruments import Instrument
from engine.journal.reading import RunRecord

NEEDED = (
    "decisions", "orders", "order_events", "fills", "account_events", "forecasts", "decision_forecasts", "equity",
)
"""The tables of a record that are read here."""


@dataclass(frozen=True)
class Side:
    """A run with its rows and the bars it saw, by symbol.

    Args:
        instruments: those of the run's manifest if left out.
    """

    record: RunRecord
    bars: Mapping[str, SymbolBars]
    instruments: Mapping[str, Instrument] | None = None


@dataclass(frozen=True)
class Line:
    """One order or payment of the explanation: what it adds to the gap, by part."""

    time: int
    symbol: str
    order_a: int | None
    order_b: int | None
    parts: dict[Part, Decimal]
    text: str

    @property
    def amount(self) -> Decimal:
        return _sum(self.parts.values())


@dataclass(frozen=True)
class Explanation:
    """The gap and its parts; `sum(parts.values()) == gap`, exactly.

    Args:
        first, last: close times of the bars that both runs have, UTC ns. lines: every order and payment that adds
            something, the largest first; what they add up to is the gap.
        notes: what the reader should know before believing it.
    """

    run_a: int
    run_b: int
    currency: str
    first: int
    last: int
    profit_a: Decimal
    profit_b: Decimal
    parts: dict[Part, Decimal]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def gap(self) -> Decimal:
        return DIGITS.subtract(self.profit_a, self.profit_b)

    def as_dict(self, most: int | None = None) -> dict[str, Any]:
        """Return everything as JSON-ready values, money as text: it is exact."""
        return {
            "run_a": self.run_a, "run_b": self.run_b, "currency": self.currency, "first": iso(self.first),
            "last": iso(self.last), "profit_a": _text(self.profit_a), "profit_b": _text(self.profit_b),
            "gap": _text(self.gap), "parts": {part.value: _text(amount) for part, amount in self.parts.items()},
            "notes": list(self.notes),
            "lines": [
                {
                    "time": iso(line.time), "symbol": line.symbol, "order_a": line.order_a, "order_b": line.order_b,
                    "amount": _text(line.amount), "text": line.text,
                    "parts": {part.value: _text(amount) for part, amount in line.parts.items()},
                }
                for line in self.lines[:most]
            ],
        }


def explain(a: Side, b: Side) -> Explanation:
    """Return why A's profit differs from B's over the bars that both have.

    Raises:
        JournalError: they have no bars of one time in common, trade in several currencies, or describe an instrument
            differently.
    """
    with localcontext(DIGITS):
        return _Explaining(a, b).explanation()


class _Explaining:
    def __init__(self, a: Side, b: Side) -> None:
        self._a, self._b = Placed(a.record, a.instruments), Placed(b.record, b.instruments)
        self._currency = _one_currency(self._a, self._b)
        self._bars = _common(a, b)
        self._books = GapBooks()
        self._causes = Causes(self._a, self._b, self._bars, self._books)
        self._made: list[Contribution] = []
        self._held: tuple[dict[str, Decimal], dict[str, Decimal]] = ({}, {})
        self._notes: list[str] = []

    def explanation(self) -> Explanation:
        first, last = self._bars.first, self._bars.last
        opening = [self._opening(side, first) for side in (self._a, self._b)]
        self._book_opening(opening)
        for _, _, step in sorted(self._steps(), key=lambda one: one[:2]):
            step()
        self._book_last_marks()
        sides = zip((self._a, self._b), (True, False), opening, strict=True)
        profits = [self._profit(side, of_a, held) for side, of_a, held in sides]
        lines = [
            Line(one.time, one.symbol, one.order_a, one.order_b, parts, one.text)
            for one in self._made if (parts := one.parts(self._last_mark(one.symbol)))
        ]
        parts = dict.fromkeys(Part, ZERO)
        for line in lines:
            for part, amount in line.parts.items():
                parts[part] += amount
        lines.sort(key=lambda line: (-abs(line.amount), line.time))
        ids = [side.record.run.id for side in (self._a, self._b)]
        self._note()
        return Explanation(
            ids[0], ids[1], self._currency, first, last, profits[0], profits[1], parts, tuple(lines),
            tuple(self._notes))

    # ── the order of things ─────────────────────────────────────────────────────────────────────────────────────────

    def _steps(self) -> Iterator[tuple[int, int, Any]]:
        """Yield what is booked, with its time and its rank at that time: payments and fills before decisions.

        An order's fills are booked when each was known, but judged first, when the order was decided.
        """
        first, last = self._bars.first, self._bars.last
        instruments = {**self._b.instruments, **self._a.instruments}
        work = PairWork(self._books, self._causes, instruments, self._new, self.move)
        for pair in paired(self._a, self._b, first, last):
            steps = PairSteps(work, pair)
            yield pair.time, 2, steps.judge
            for time in steps.times():
                # What fills at the very close at which it was decided is booked after the decision.
                rank = 0 if time > pair.time else 3
                yield max(time, pair.time), rank, lambda steps=steps, time=time: steps.book(time)
        payments = Payments(self._a, self._b, self._books, self._held)
        for time, step in payments.steps(first, last, self._new):
            yield time, 1, step

    def _new(self, time: int, symbol: str, text: str, a: int | None = None, b: int | None = None) -> Contribution:
        made = Contribution(time, symbol, a, b, text)
        self._made.append(made)
        return made

    def multiplier(self, symbol: str) -> Decimal:
        side = self._a if symbol in self._a.instruments else self._b
        return side.instruments[symbol].multiplier

    def move(self, place: int, symbol: str, quantity: Decimal) -> None:
        """Keep what a run holds up to date."""
        held = self._held[place]
        held[symbol] = held.get(symbol, ZERO) + quantity

    # ── both ends of the period ─────────────────────────────────────────────────────────────────────────────────────

    def _opening(self, side: Placed, first: int) -> dict[str, Decimal]:
        """Return what a run held already when the period began."""
        held: dict[str, Decimal] = {}
        for order in side.orders:
            if order.decision.bar_close_time < first:
                symbol = order.row.symbol
                held[symbol] = held.get(symbol, ZERO) + order.sign * order.filled
        return {symbol: quantity for symbol, quantity in held.items() if quantity}

    def _book_opening(self, opening: Sequence[Mapping[str, Decimal]]) -> None:
        mine, theirs = opening
        for place, held in enumerate(opening):
            for symbol, quantity in held.items():
                self.move(place, symbol, quantity)
        for symbol in sorted(mine.keys() | theirs.keys()):
            size = self.multiplier(symbol)
            prices = [self._mark(symbol, self._bars.first, of_a=of_a) for of_a in (True, False)]
            beyond = (mine.get(symbol, ZERO) - theirs.get(symbol, ZERO)) * size
            made = self._new(self._bars.first, symbol, "what the two held already when the period began")
            self._books.book(made, symbol, held=beyond, cash=-beyond * prices[1], shares=only(Part.INTERACTION))
            revised = mine.get(symbol, ZERO) * size * (prices[1] - prices[0])
            self._books.book(made, symbol, cash=revised, shares=only(self._mark_part(symbol, self._bars.first)))
            if beyond:
                self._notes.append(
                    f"the runs held different positions of {symbol} when the period began; begin them at one time")

    def _book_last_marks(self) -> None:
        """Book what A's position is worth at its own last close beyond B's."""
        for symbol, quantity in sorted(self._held[0].items()):
            mine, theirs = (self._mark(symbol, self._bars.last, of_a=of_a) for of_a in (True, False))
            if quantity and mine != theirs:
                made = self._new(self._bars.last, symbol, "the last close differs")
                cash = quantity * self.multiplier(symbol) * (mine - theirs)
                self._books.book(made, symbol, cash=cash, shares=only(self._mark_part(symbol, self._bars.last)))

    def _mark_part(self, symbol: str, time: int) -> Part:
        return Part.MISSED_BAR if self._bars.lacks(symbol, time) else Part.DATA

    def _mark(self, symbol: str, time: int, *, of_a: bool = False) -> Decimal:
        price = self._bars.mark(symbol, time, of_a=of_a)
        if price is None:
            raise JournalError(f"{symbol} was held at {iso(time)}, and neither run has a bar of it by then to value it")
        return price

    def _last_mark(self, symbol: str) -> Decimal:
        return self._bars.mark(symbol, self._bars.last) or ZERO

    def _profit(self, side: Placed, of_a: bool, opening: Mapping[str, Decimal]) -> Decimal:
        """Return what a run earned, from its own rows and closes alone."""
        first, last = self._bars.first, self._bars.last
        held, earned = dict(opening), ZERO
        for symbol, quantity in opening.items():
            earned -= quantity * self.multiplier(symbol) * self._mark(symbol, first, of_a=of_a)
        for order in side.orders:
            symbol = order.row.symbol
            for deal in order.deals if first <= order.decision.bar_close_time <= last else ():
                earned -= order.sign * deal.quantity * deal.price * self.multiplier(symbol) + deal.fee
                held[symbol] = held.get(symbol, ZERO) + order.sign * deal.quantity
        for event in side.record.account_events:
            if first <= event.time <= last and event.kind not in CAPITAL:
                earned += Payments.amount_of(side, event)
        for symbol, quantity in held.items():
            if quantity:
                earned += quantity * self.multiplier(symbol) * self._mark(symbol, last, of_a=of_a)
        return earned

    def _note(self) -> None:
        every = [one.counts for one in self._bars.differences.values()]
        counts = [sum(numbers) for numbers in zip(*every, strict=True)]
        if any(counts):
            self._notes.append(
                f"bars: {counts[0]:,} revised, {counts[1]:,} missing in A, {counts[2]:,} missing in B")
        capital = [
            _sum(Payments.amount_of(side, event) for event in side.record.account_events if event.kind in CAPITAL)
            for side in (self._a, self._b)
        ]
        if capital[0] != capital[1]:
            self._notes.append(
                f"the runs had other capital ({_text(capital[0])} and {_text(capital[1])} {self._currency}): what was "
                "sized by equity differs for that alone, and is interaction")
        if any(not order.deals and order.ending.startswith("unresolved") for order in self._a.orders):
            self._notes.append("some of A's orders are unresolved: what became of them may change this")


def _one_currency(a: Placed, b: Placed) -> str:
    quotes = {side.instruments[order.row.symbol].quote for side in (a, b) for order in side.orders}
    quotes |= {instrument.quote for side in (a, b) for instrument in side.instruments.values()} if not quotes else set()
    if len(quotes) != 1:
        there = ", ".join(sorted(quotes)) or "no currency"
        raise JournalError(f"the runs trade in {there}; a difference can be explained in one currency")
    for symbol in a.instruments.keys() & b.instruments.keys():
        if a.instruments[symbol].multiplier != b.instruments[symbol].multiplier:
            raise JournalError(f"{symbol} has another multiplier in each run; they are not one instrument")
    return next(iter(quotes))


def _common(a: Side, b: Side) -> BarPair:
    spans = [
        (min(int(one.close_time[0]) for one in side.bars.values() if len(one.close_time)),
         max(int(one.close_time[-1]) for one in side.bars.values() if len(one.close_time)))
        for side in (a, b) if any(len(one.close_time) for one in side.bars.values())
    ]
    if len(spans) < 2:
        raise JournalError("a run has no bars to compare; explain needs those of both")
    first, last = max(span[0] for span in spans), min(span[1] for span in spans)
    if first > last or not a.bars.keys() & b.bars.keys():
        runs = " and ".join(
            f"run {side.record.run.id} ({', '.join(side.bars)}, {iso(span[0])} to {iso(span[1])})"
            for side, span in zip((a, b), spans, strict=True))
        raise JournalError(f"{runs} have no bars in common; run the backtest over the time of the paper session")
    return BarPair(a.bars, b.bars, first, last)


def _sum(amounts: Any) -> Decimal:
    found = ZERO
    for amount in amounts:
        found = DIGITS.add(found, amount)
    return found


def _text(amount: Decimal) -> str:
    return f"{amount.normalize(DIGITS):f}"
