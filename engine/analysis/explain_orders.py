"""The orders of two runs, paired, with their fills cut into slices of one quantity that both have."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from engine.analysis.explain_books import DIGITS, ZERO
from engine.instruments import Instrument, currency_unit
from engine.journal.reading import RunRecord
from engine.journal.rebuild import instruments_of, snapped
from engine.records import DecisionRow, ForecastRow, OrderRow


@dataclass(frozen=True)
class Deal:
    """A fill, or a part of one. `quantity` is ≥ 0 and exact, in base asset; `reference` the price before costs.

    `known_at` is when it counts from: the close of its bar, or its own time where that is later than the bar's.
    """

    bar_close_time: int
    known_at: int
    quantity: Decimal
    price: Decimal
    reference: Decimal
    fee: Decimal
    is_first: bool
    """Whether it is the first fill of its order."""

    def part(self, quantity: Decimal) -> "Deal":
        """Return a part of it with its share of the fee; the rest is `rest`."""
        if quantity == self.quantity:
            return self
        fee = (self.fee * quantity / self.quantity).quantize(Decimal("1e-18"))
        return Deal(
            self.bar_close_time, self.known_at, quantity, self.price, self.reference, fee, self.is_first)

    def rest(self, taken: "Deal") -> "Deal":
        """Return what is left of it once a part is taken away."""
        return Deal(
            self.bar_close_time, self.known_at, self.quantity - taken.quantity, self.price, self.reference,
            DIGITS.subtract(self.fee, taken.fee), self.is_first)


@dataclass(frozen=True)
class PlacedOrder:
    """An order of a run with its decision, its fills and what became of it."""

    row: OrderRow
    decision: DecisionRow
    asked: Decimal
    deals: tuple[Deal, ...]
    latency: int | None
    """From the decision to the venue's acceptance, ns; None where the venue never accepted it."""
    ending: str
    """How it ended other than by fills: "refused: …"; "" otherwise."""

    @property
    def sign(self) -> int:
        return 1 if self.row.side == "buy" else -1

    @property
    def filled(self) -> Decimal:
        return sum((deal.quantity for deal in self.deals), ZERO)


@dataclass(frozen=True)
class Pair:
    """The orders of the two runs that came of one decision; None where a run has no such order."""

    a: PlacedOrder | None
    b: PlacedOrder | None

    @property
    def one(self) -> PlacedOrder:
        """Either of them: for what both have."""
        found = self.a or self.b
        assert found is not None, "a pair has an order"
        return found

    @property
    def time(self) -> int:
        """When it was decided, in the run that did so first."""
        return min(side.row.time for side in (self.a, self.b) if side is not None)


_KINDS = {"cancelled", "expired", "rejected", "refused", "reduced", "unresolved"}


class Placed:
    """A run's orders and what else there is to look up about it."""

    def __init__(self, record: RunRecord, instruments: Mapping[str, Instrument] | None = None) -> None:
        self.record = record
        self.instruments = instruments or instruments_of(record.run)
        quotes = {instrument.quote for instrument in self.instruments.values()}
        self.units = {
            quote: currency_unit([one for one in self.instruments.values() if one.quote == quote]) for quote in quotes
        }
        self.decisions = {decision.id: decision for decision in record.decisions}
        self.forecasts = {forecast.id: forecast for forecast in record.forecasts}
        self._behind: dict[int, list[ForecastRow]] = defaultdict(list)
        for link in record.decision_forecasts:
            self._behind[link.decision_id].append(self.forecasts[link.forecast_id])
        self._of_symbol: dict[str, list[ForecastRow]] = defaultdict(list)
        for forecast in sorted(record.forecasts, key=lambda one: (one.as_of, one.id)):
            self._of_symbol[forecast.symbol].append(forecast)
        self.orders = self._placed()

    def behind(self, decision: DecisionRow) -> list[ForecastRow]:
        """Return the forecasts that a decision rests on."""
        return self._behind.get(decision.id, [])

    def last_forecasts(self, symbol: str, time: int) -> dict[str, ForecastRow]:
        """Return the last forecasts of a symbol whose bars closed by a time, by model."""
        mine = self._of_symbol.get(symbol, [])
        end = bisect_right(mine, time, key=lambda one: one.as_of)
        return {forecast.model: forecast for forecast in mine[max(0, end - 16) : end]}

    def _placed(self) -> list[PlacedOrder]:
        fills = defaultdict(list)
        for fill in self.record.fills:
            fills[fill.order_id].append(fill)
        accepted: dict[int, int] = {}
        endings: dict[int, str] = {}
        for event in self.record.order_events:
            if event.kind == "accepted":
                accepted.setdefault(event.order_id, event.time)
            elif event.kind in _KINDS:
                endings[event.order_id] = f"{event.kind}: {event.reason}" if event.reason else event.kind
        found = []
        for row in self.record.orders:
            instrument = self.instruments[row.symbol]
            step, tick = instrument.quantity_increment, instrument.price_increment
            deals = tuple(
                Deal(
                    fill.bar_close_time, max(fill.bar_close_time, fill.time), snapped(fill.quantity, step),
                    snapped(fill.price, tick), snapped(fill.reference_price or fill.price, tick),
                    snapped(fill.fee, self.units[instrument.quote]), place == 0,
                )
                for place, fill in enumerate(fills[row.id])
            )
            latency = accepted[row.id] - row.time if row.id in accepted else None
            found.append(PlacedOrder(
                row, self.decisions[row.decision_id], snapped(row.quantity, step), deals, latency,
                endings.get(row.id, "")))
        return found


def paired(a: Placed, b: Placed, first: int, last: int) -> list[Pair]:
    """Return the orders decided from `first` to `last`, in order of time.

    Two orders are a pair if they were decided on the same bar of the same symbol, on the same side and of the same
    type; of several, the first with the first.
    """
    groups: dict[tuple[object, ...], tuple[list[PlacedOrder], list[PlacedOrder]]] = defaultdict(lambda: ([], []))
    for place, side in enumerate((a, b)):
        for order in side.orders:
            if first <= order.decision.bar_close_time <= last:
                key = (order.row.symbol, order.decision.bar_close_time, order.row.side, order.row.type)
                groups[key][place].append(order)
    pairs = []
    for mine, theirs in groups.values():
        pairs += [Pair(_nth(mine, number), _nth(theirs, number)) for number in range(max(len(mine), len(theirs)))]
    return sorted(pairs, key=lambda pair: (pair.time, pair.one.row.id))


def _nth(orders: Sequence[PlacedOrder], number: int) -> PlacedOrder | None:
    return orders[number] if number < len(orders) else None


@dataclass
class Slices:
    """The fills of a pair: what both have, cut to equal quantities, and what only one has beyond."""

    both: list[tuple[Deal, Deal]] = field(default_factory=list)
    beyond_a: list[Deal] = field(default_factory=list)
    beyond_b: list[Deal] = field(default_factory=list)


def sliced(a: Sequence[Deal], b: Sequence[Deal]) -> Slices:
    """Lay the fills of two orders side by side, in order, and cut them where either ends."""
    found = Slices()
    mine, theirs = list(a), list(b)
    while mine and theirs:
        quantity = min(mine[0].quantity, theirs[0].quantity)
        cut = []
        for deals in (mine, theirs):
            taken = deals[0].part(quantity)
            if taken is deals[0]:
                deals.pop(0)
            else:
                deals[0] = deals[0].rest(taken)
            cut.append(taken)
        found.both.append((cut[0], cut[1]))
    found.beyond_a, found.beyond_b = mine, theirs
    return found
