"""One pair of orders of two runs: judged when it was decided, its fills booked when each was known."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from engine.analysis.explain_books import ZERO, Contribution, GapBooks, Part, Shares, only
from engine.analysis.explain_causes import Causes, missing
from engine.analysis.explain_orders import Deal, Pair, sliced
from engine.instruments import Instrument


class New(Protocol):
    """Opens a line of the explanation."""

    def __call__(
        self, time: int, symbol: str, text: str, a: int | None = None, b: int | None = None
    ) -> Contribution: ...


class Move(Protocol):
    """Keeps what a run holds up to date: A's with place 0, B's with 1."""

    def __call__(self, place: int, symbol: str, quantity: Decimal) -> None: ...


@dataclass(frozen=True)
class PairWork:
    """What booking a pair needs."""

    books: GapBooks
    causes: Causes
    instruments: Mapping[str, Instrument]
    new: New
    move: Move

    def multiplier(self, symbol: str) -> Decimal:
        return self.instruments[symbol].multiplier


class PairSteps:
    """Books one pair of orders: judged when it was decided, each fill when it was known."""

    def __init__(self, work: PairWork, pair: Pair) -> None:
        self._work, self._pair = work, pair
        self._slices = sliced(pair.a.deals if pair.a else (), pair.b.deals if pair.b else ())
        self._asked: Shares = only(Part.NO_FILL)
        self._is_other_size = False
        self._made: Contribution | None = None
        self._texts: list[str] = []

    def times(self) -> list[int]:
        """Return when something is to be booked."""
        deals = [deal for both in self._slices.both for deal in both]
        return sorted({deal.known_at for deal in (*deals, *self._slices.beyond_a, *self._slices.beyond_b)})

    def judge(self) -> None:
        """Find out why the orders differ, from the books as they are now."""
        pair, work = self._pair, self._work
        self._made = work.new(
            pair.time, pair.one.row.symbol, "", pair.a.row.id if pair.a else None, pair.b.row.id if pair.b else None)
        beyond = pair.one.sign * ((pair.a.asked if pair.a else ZERO) - (pair.b.asked if pair.b else ZERO))
        if beyond and (self._slices.beyond_a or self._slices.beyond_b):
            self._asked, text = work.causes.of_quantity(pair, beyond)
            self._is_other_size = True
            self._say(text)

    def book(self, time: int) -> None:
        """Book what was known at a time."""
        sign = self._pair.one.sign
        for a, b in self._slices.both:
            self._book_slice(a, b, time, sign)
        for side, deals in ((1, self._slices.beyond_a), (-1, self._slices.beyond_b)):
            left = self._size_beyond(side)
            for deal in deals:
                wanted = min(deal.quantity, left)
                left -= wanted
                if deal.known_at == time:
                    self._book_beyond(deal, wanted, side, sign)
        assert self._made is not None, "an order is judged before it fills"
        self._made.text = "; ".join(self._texts)

    def _size_beyond(self, side: int) -> Decimal:
        """Return how much of what only one run filled lies in its having asked for more."""
        if not self._is_other_size:
            return ZERO
        a, b = self._pair.a, self._pair.b
        return max(ZERO, side * ((a.asked if a else ZERO) - (b.asked if b else ZERO)))

    def _book_slice(self, a: Deal, b: Deal, time: int, sign: int) -> None:
        if time not in (a.known_at, b.known_at):
            return
        work, symbol = self._work, self._pair.one.row.symbol
        size, made = work.multiplier(symbol), self._made
        assert made is not None, "an order is judged before it fills"
        part, text = Part.FILL_PRICE, ""
        if a.reference != b.reference or a.known_at != b.known_at:
            part, text = work.causes.of_fill(self._pair, a, b)
        self._say(text)
        amount = sign * a.quantity * size
        revised = work.causes.revision(symbol, a, b) if part is not Part.DATA else ZERO
        rate = (b.fee / (b.quantity * b.price * size)).quantize(Decimal("1e-18")) if b.quantity * b.price else ZERO
        if time == a.known_at:
            work.move(0, symbol, sign * a.quantity)
            work.books.book(made, symbol, held=amount, cash=-amount * (a.reference - revised), shares=only(part))
            work.books.book(made, symbol, cash=-amount * revised, shares=only(Part.DATA))
            work.books.book(made, symbol, cash=-amount * (a.price - a.reference), shares=only(Part.FILL_PRICE))
            usual = rate * a.quantity * a.price * size
            work.books.book(made, symbol, cash=-usual, shares=only(part))
            work.books.book(made, symbol, cash=usual - a.fee, shares=only(Part.FEE))
        if time == b.known_at:
            work.move(1, symbol, sign * b.quantity)
            work.books.book(made, symbol, held=-amount, cash=amount * b.reference, shares=only(part))
            work.books.book(made, symbol, cash=amount * (b.price - b.reference), shares=only(Part.FILL_PRICE))
            usual = rate * b.quantity * b.price * size
            work.books.book(made, symbol, cash=usual, shares=only(part))
            work.books.book(made, symbol, cash=b.fee - usual, shares=only(Part.FEE))

    def _book_beyond(self, deal: Deal, wanted: Decimal, side: int, sign: int) -> None:
        work, symbol = self._work, self._pair.one.row.symbol
        size, made = work.multiplier(symbol), self._made
        assert made is not None, "an order is judged before it fills"
        work.move(0 if side == 1 else 1, symbol, sign * deal.quantity)
        beside = self._slices.both[-1][1 if side == 1 else 0] if self._slices.both else deal
        other = beside.price if beside.bar_close_time == deal.bar_close_time else deal.price
        asked = deal.part(wanted) if wanted else None
        rest = deal if asked is None else deal.rest(asked)
        short = only(self._why_short(rest.quantity))
        for one, shares in ((asked, self._asked), (rest, short)):
            if one is None or not one.quantity:
                continue
            amount = side * sign * one.quantity * size
            work.books.book(made, symbol, held=amount, cash=-amount * other - side * one.fee, shares=shares)
            # That it filled elsewhere than the part that both have is the work of two causes at once, unless it is one.
            cross = self._price_part() if one.price != other else Part.INTERACTION
            is_one = set(shares) == {cross}
            work.books.book(
                made, symbol, cash=-amount * (one.price - other), shares=only(cross if is_one else Part.INTERACTION))
        if rest.quantity:
            words = "the fee was taken out of what was bought" if Part.FEE in short else missing(self._pair)
            self._say("" if Part.LATENCY in short else words)

    def _price_part(self) -> Part:
        """Return why what both filled has another price in A than in B."""
        mine, theirs = self._slices.both[-1]
        if mine.reference != theirs.reference:
            return self._work.causes.of_fill(self._pair, mine, theirs)[0]
        return Part.FILL_PRICE

    def _why_short(self, short: Decimal) -> Part:
        """Return why one run's order filled less than the other's although it asked for as much."""
        if self._fee_was_taken_out(short):
            return Part.FEE
        a, b = self._pair.a, self._pair.b
        is_cut = any(order is not None and order.ending.startswith("reduced") for order in (a, b))
        if is_cut and self._slices.both:  # cash did not go as far, at the price at which it filled
            mine, theirs = self._slices.both[-1]
            if mine.price != theirs.price:
                return self._price_part()
        if a is not None and b is not None:
            less = min(a, b, key=lambda order: order.filled)
            is_under_way = less.row.type == "market" and not less.deals and not less.ending
            if is_under_way and a.latency != b.latency:
                self._say("still on its way when the period ended")
                return Part.LATENCY
        return Part.NO_FILL

    def _fee_was_taken_out(self, short: Decimal) -> bool:
        """Return whether what one run's order filled less is the fee of it, as spot markets take it of a purchase."""
        pair, symbol = self._pair, self._pair.one.row.symbol
        if pair.a is None or pair.b is None or pair.one.sign < 0:
            return False
        less = min(pair.a, pair.b, key=lambda order: order.filled)
        fee = sum((deal.fee / deal.price for deal in less.deals if deal.price), ZERO)
        step = self._work.instruments[symbol].quantity_increment
        return bool(fee) and not less.ending and abs(short - fee) <= max(2 * step, fee / 50)

    def _say(self, text: str) -> None:
        if text and text not in self._texts:
            self._texts.append(text)
