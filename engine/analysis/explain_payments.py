"""Money that moved other than by fills, in two runs: funding, interest, borrow fees; laid side by side by time."""

from collections.abc import Callable, Iterator
from decimal import Decimal

from engine.analysis.explain_books import ZERO, Contribution, GapBooks, Part, only, shares_of
from engine.analysis.explain_orders import Placed
from engine.bars import MINUTE
from engine.instruments import SMALLEST_UNIT
from engine.journal.rebuild import snapped
from engine.records import AccountEventRow

CAPITAL = ("deposit", "withdrawal")
"""What is put in or taken out is no profit."""
_PART_OF = {
    "funding": Part.FUNDING, "interest": Part.FUNDING, "borrow": Part.FUNDING, "fee": Part.FEE, "dust": Part.FEE,
}
"""Kinds of account events; of others (a liquidation's fee, what reconciliation found) nobody can say the cause."""
_NEAR = MINUTE
"""Payments of one kind are one if their times, rounded to this, are equal: venues stamp them some milliseconds off."""

New = Callable[[int, str, str], Contribution]


class Payments:
    """Books the difference of each payment: by what was held where that differs, else as funding.

    Args:
        held: what each run holds, A's first; kept by whoever books fills.
    """

    def __init__(
        self, a: Placed, b: Placed, books: GapBooks, held: tuple[dict[str, Decimal], dict[str, Decimal]]
    ) -> None:
        self._sides, self._books, self._held = (a, b), books, held

    @staticmethod
    def amount_of(side: Placed, event: AccountEventRow) -> Decimal:
        """Return what moved, exactly."""
        return snapped(event.amount, side.units.get(event.currency, SMALLEST_UNIT))

    def steps(self, first: int, last: int, new: New) -> Iterator[tuple[int, Callable[[], None]]]:
        """Yield when a payment is booked, and what books it."""
        found: dict[tuple[str, str, int], list[Decimal]] = {}
        times: dict[tuple[str, str, int], int] = {}
        for place, side in enumerate(self._sides):
            for event in side.record.account_events:
                if event.kind in CAPITAL or not first <= event.time <= last:
                    continue
                symbol = event.note.partition(": ")[0]
                key = (event.kind, symbol if symbol in side.instruments else "", round(event.time / _NEAR))
                found.setdefault(key, [ZERO, ZERO])[place] += self.amount_of(side, event)
                times[key] = min(times.get(key, event.time), event.time)
        for key, amounts in found.items():
            if amounts[0] != amounts[1]:
                yield times[key], lambda key=key, amounts=amounts: self._book(  # type: ignore[misc]
                    key[0], key[1], times[key], amounts[0], amounts[1], new)

    def _book(self, kind: str, symbol: str, time: int, mine: Decimal, theirs: Decimal, new: New) -> None:
        any_symbol = symbol or next(iter(self._sides[0].instruments), "")
        made = new(time, any_symbol, f"{kind}: {mine.normalize():f} in A, {theirs.normalize():f} in B")
        passed_on = self._by_position(symbol, mine, theirs)
        shares = shares_of(self._books.held(symbol))
        if passed_on and shares is not None:
            self._books.book(made, any_symbol, cash=passed_on, shares=shares)
        else:
            passed_on = ZERO
        part = _PART_OF.get(kind, Part.INTERACTION)
        self._books.book(made, any_symbol, cash=mine - theirs - passed_on, shares=only(part))

    def _by_position(self, symbol: str, mine: Decimal, theirs: Decimal) -> Decimal:
        """Return how much of the difference lies in another position: at B's rate, or at A's where B held nothing."""
        held = [side.get(symbol, ZERO) for side in self._held]
        if not symbol or held[0] == held[1]:
            return ZERO
        if held[1] and theirs:
            return (theirs * (held[0] - held[1]) / held[1]).quantize(Decimal("1e-12"))
        return mine if held[0] and not held[1] else ZERO
