"""A venue's balances and positions beside our books: what is not ours there, and what nothing explains."""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from brokers.venue_questions import VenueQuestions
from engine.instruments import Instrument
from engine.live.ports import Known
from engine.live.reports import Report, ReportKind

ZERO = Decimal(0)
SMALLEST_DIFFERENCE = Decimal("1e-6")
"""Of cash, in its own currency: less is the venue's rounding."""


def expected(known: Known, instruments: Sequence[Instrument], reports: Sequence[Report]) -> dict[str, Decimal]:
    """Return what the account should have of each asset (of contracts: lots, by symbol) once the reports are booked."""
    of = {instrument.symbol: instrument for instrument in instruments}
    sides = {each.message.order_id: each.message.side for each in known.orders}
    found: dict[str, Decimal] = dict(known.outside)

    def add(asset: str, amount: Decimal) -> None:
        found[asset] = found.get(asset, ZERO) + amount

    for currency, cash in known.cash.items():
        add(currency, cash)
    for symbol, instrument in of.items():
        lots = known.positions.get(symbol, 0)
        if instrument.is_contract:
            add(symbol, Decimal(lots))
        else:
            add(instrument.base, instrument.to_quantity(lots) + known.dust.get(symbol, ZERO))
    for report in reports:
        if report.kind is not ReportKind.FILLED or report.ticks is None:
            continue
        instrument, side = of[report.symbol], sides[report.order_id]
        quantity = side * instrument.to_quantity(report.lots)
        if instrument.is_contract:
            add(report.symbol, Decimal(side * report.lots))
        else:
            add(instrument.base, quantity)
            add(instrument.quote, -quantity * instrument.to_price(report.ticks))
        if report.fee_currency:
            add(report.fee_currency, -report.fee)
    return found


async def account_reports(
    questions: VenueQuestions, instruments: Sequence[Instrument], known: Known, reports: Sequence[Report], now: int,
    is_new: bool,
) -> list[Report]:
    """Return what the account has beyond our books: at the start of a session as what is not its own, later as
    differences.

    Cash of contracts moves by results and funding that no execution tells: it is compared for spot markets alone.
    """
    contracts = [each for each in instruments if each.is_contract]
    assets = {each.quote for each in instruments} | {each.base for each in instruments if not each.is_contract}
    found: dict[str, Decimal] = dict(await questions.totals(assets))
    found |= {symbol: Decimal(lots) for symbol, lots in (await questions.contract_lots(contracts)).items()}
    wanted = expected(known, instruments, reports)
    told = []
    margined = {each.quote for each in contracts}
    for name, amount in sorted(found.items()):
        difference = amount - wanted.get(name, ZERO)
        if is_new:
            if difference:
                told.append(Report(ReportKind.CASH, now, now, reason="outside", currency=name, amount=difference))
            continue
        if name not in margined:
            told += _differences(name, difference, instruments, now)
    return told


def _differences(name: str, difference: Decimal, instruments: Sequence[Instrument], now: int) -> list[Report]:
    held = next((each for each in instruments if each.symbol == name or (
        each.base == name and not each.is_contract
    )), None)
    quoted = {each.quote for each in instruments}
    if name in quoted and (held is None or held.symbol != name):
        if abs(difference) < SMALLEST_DIFFERENCE:
            return []
        note = f"the venue has {difference:+f} {name} that nothing explains"
        return [Report(ReportKind.DIFFERENCE, now, now, currency=name, amount=difference, note=note)]
    if held is None:
        return []
    step = Decimal(1) if held.is_contract else held.quantity_increment
    lots = int((difference / step).to_integral_value(ROUND_HALF_EVEN))
    if not lots:
        return []
    note = f"the venue holds {held.to_quantity(lots):+f} {held.base or name} that nothing explains"
    return [Report(ReportKind.DIFFERENCE, now, now, symbol=held.symbol, lots=lots, note=note)]


def lacking(report: Report, reports: Sequence[Report]) -> bool:
    """Say whether an execution is among those that are to be told anyway."""
    return any(each.trade_id == report.trade_id and each.order_id == report.order_id for each in reports)
