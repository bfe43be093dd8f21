"""The portfolio, from nothing but what the journal holds.

Exact: every number is snapped back to the whole increments that it names.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from engine.errors import JournalError
from engine.instruments import SMALLEST_UNIT, Instrument, currency_unit
from engine.journal.reading import RunInfo, RunRecord
from engine.records import FillRow


@dataclass(frozen=True)
class Books:
    """What is held at the end: cash per currency, and the signed quantity per symbol, of each that was ever touched."""

    cash: dict[str, Decimal]
    positions: dict[str, Decimal]


def rebuild(record: RunRecord) -> Books:
    """Return the books that a run's fills and account events add up to.

    A fill of what is bought and paid for moves price × quantity × multiplier, and its fee, in the quote currency; one
    of a contract moves what it realises, and its fee. An account event moves its amount.

    Args:
        record: with its `fills` and `account_events` loaded.
    Raises:
        JournalError: a fill's symbol is not among the run's instruments.
    """
    instruments = instruments_of(record.run)
    units = _units(instruments)
    cash: dict[str, Decimal] = {}
    positions: dict[str, Decimal] = {}
    costs: dict[str, int] = {}
    for event in record.account_events:
        unit = units.get(event.currency, SMALLEST_UNIT)
        cash[event.currency] = cash.get(event.currency, Decimal(0)) + snapped(event.amount, unit)
    for fill in record.fills:
        instrument = _instrument(instruments, fill, record.run)
        quantity = snapped(fill.quantity, instrument.quantity_increment) * (1 if fill.side == "buy" else -1)
        value = snapped(fill.price, instrument.price_increment) * quantity * instrument.multiplier
        unit = units.get(fill.currency, SMALLEST_UNIT)
        held = positions.get(fill.symbol, Decimal(0))
        if instrument.is_contract:
            step = instrument.quantity_increment
            result, costs[fill.symbol] = _realised(
                int(held / step), costs.get(fill.symbol, 0), int(quantity / step), int(abs(value) / unit)
            )
            moved = result * unit
        else:
            moved = -value
        cash[fill.currency] = cash.get(fill.currency, Decimal(0)) + moved - snapped(fill.fee, unit)
        positions[fill.symbol] = held + quantity
    return Books(cash, positions)


def _realised(held: int, cost: int, lots: int, value: int) -> tuple[int, int]:
    """Return what a fill of a contract realises, and the cost of what is open after it, both in currency units.

    Args:
        held, lots: before the fill and of it, in quantity increments, signed.
        cost: what the open quantity was bought or sold for; value: price × quantity of the fill; both ≥ 0.
    """
    if held * lots >= 0:
        return 0, cost + value
    closed = min(abs(lots), abs(held))
    worth = value * closed // abs(lots)
    gone = cost * closed // abs(held)  # what this rounds off stays with what is open
    result = worth - gone if held > 0 else gone - worth
    return result, cost - gone if closed == abs(lots) else value - worth


def snapped(value: float, increment: Decimal) -> Decimal:
    """Return the whole count of increments that the float64 names, as an exact value."""
    return (Decimal(value) / increment).to_integral_value(ROUND_HALF_EVEN) * increment


def instruments_of(run: RunInfo) -> dict[str, Instrument]:
    """Return the instruments that the run's manifest describes, by symbol; what it leaves out has its default."""
    return {symbol: _from_text(symbol, words) for symbol, words in run.start.instruments.items()}


def _from_text(symbol: str, words: dict[str, str]) -> Instrument:
    numbers = ("price_increment", "quantity_increment", "min_quantity", "min_notional", "multiplier")
    values: dict[str, Any] = {name: words[name] for name in ("quote", "base", "venue", "kind") if name in words}
    values |= {name: Decimal(words[name]) for name in numbers if name in words}
    return Instrument(symbol, **values)


def _units(instruments: dict[str, Instrument]) -> dict[str, Decimal]:
    """Return the unit in which each currency is counted, as the portfolio counts it."""
    currencies = {instrument.quote for instrument in instruments.values()}
    return {
        currency: currency_unit([instrument for instrument in instruments.values() if instrument.quote == currency])
        for currency in currencies
    }


def _instrument(instruments: dict[str, Instrument], fill: FillRow, run: RunInfo) -> Instrument:
    if fill.symbol not in instruments:
        known = ", ".join(instruments) or "none"
        raise JournalError(
            f"run {run.id}: fill {fill.id} is of {fill.symbol}, and the run describes {known}; without its increments "
            f"the books cannot be rebuilt exactly"
        )
    return instruments[fill.symbol]
