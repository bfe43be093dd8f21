"""What the accounts of a paper venue hold, exactly: balances of assets, contracts, and what open orders keep reserved.

Amounts are Decimal in the asset named. An order that only reduces reserves nothing, so that a stop and a target over
one position fit beside each other, as in a venue's own list of orders of which one cancels the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from engine.errors import SettingsError
from engine.instruments import SMALLEST_UNIT, Instrument, currency_unit
from engine.orders import Order, Side

ZERO = Decimal(0)


@dataclass(frozen=True)
class VenueFees:
    """What a venue charges for one symbol, as fractions of what is traded.

    Args:
        fee_side: "get": the fee of a purchase is taken out of what is bought (spot); "quote": always in quote currency.
        source: where the rates come from, and when they were read; kept with the run.
    Raises:
        SettingsError: a rate is no fraction below 0.1, or the side is unknown.
    """

    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")
    fee_side: str = "get"
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("maker", "taker"):
            rate = getattr(self, name)
            if not abs(rate) < Decimal("0.1"):
                raise SettingsError(f"{name} fee is {rate}; expected a fraction between -0.1 and 0.1, such as 0.001")
        if self.fee_side not in ("get", "quote"):
            raise SettingsError(f'fee_side is {self.fee_side!r}; expected "get" or "quote"')


@dataclass
class Contract:
    """A position in a linear contract: signed lots, and what they were bought (short: sold) for, ≥ 0."""

    lots: int = 0
    cost: Decimal = ZERO


class Ledger:
    """Balances of one paper account.

    Args:
        cash: opening balances by currency.
        leverage: how many times its equity an account may hold in contracts.
        allows_short: whether spot may be sold without holding it.
    """

    def __init__(
        self, instruments: Mapping[str, Instrument], fees: Mapping[str, VenueFees], cash: Mapping[str, Decimal], *,
        leverage: Decimal = Decimal(1), allows_short: bool = False,
    ) -> None:
        self._instruments = instruments
        self._fees = fees
        self._leverage = leverage
        self._allows_short = allows_short
        self.balances: dict[str, Decimal] = dict(cash)
        self.contracts = {name: Contract() for name, each in instruments.items() if each.is_contract}
        self._reserved: dict[int, tuple[str, Decimal]] = {}

    def free(self, asset: str) -> Decimal:
        """Return what may be spent of an asset."""
        reserved = sum((amount for name, amount in self._reserved.values() if name == asset), ZERO)
        return self.balances.get(asset, ZERO) - reserved

    def _free_for(self, order: Order, asset: str) -> Decimal:
        """Return what an order may spend of an asset: what is free, and what is reserved for it."""
        name, reserved = self._reserved.get(order.id, (asset, ZERO))
        return self.free(asset) + (reserved if name == asset else ZERO)

    def hold(self, symbol: str, lots: int, ticks: int) -> None:
        """Begin with a position that was opened before, at a price."""
        instrument = self._instruments[symbol]
        if instrument.is_contract:
            self.contracts[symbol] = Contract(lots, abs(_worth(instrument, lots, ticks)))
        else:
            self.balances[instrument.base] = _quantity(instrument, lots)

    def position(self, symbol: str) -> int:
        """Return the signed lots that are held, whole ones."""
        instrument = self._instruments[symbol]
        if instrument.is_contract:
            return self.contracts[symbol].lots
        return int(self.balances.get(instrument.base, ZERO) // _quantity(instrument, 1))

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def lack(self, order: Order, ticks: int) -> str:
        """Return what is missing to fill the open part of an order at a price, in words; empty if nothing is."""
        instrument, lots = order.instrument, order.open_lots
        if order.reduce_only:
            return "" if self.reducible(order) else "reduce-only, and there is no position to reduce"
        if instrument.is_contract:
            return self._lack_of_margin(order, lots, ticks)
        if order.side is Side.SELL:
            if self._allows_short:
                return ""
            needed, asset = _quantity(instrument, lots), instrument.base
        else:
            needed, asset = _worth(instrument, lots, ticks), instrument.quote
            if self._fees[order.symbol].fee_side == "quote":
                needed += needed * max(ZERO, self._fees[order.symbol].taker)
        free = self._free_for(order, asset)
        return "" if needed <= free else f"insufficient balance: {needed:f} {asset} needed, {free:f} free"

    def reserve(self, order: Order, ticks: int) -> None:
        """Keep back what an order needs that rests in the book or waits for its stop, at a price."""
        self.release(order)
        instrument, lots = order.instrument, order.open_lots
        if order.reduce_only or instrument.is_contract:
            return
        if order.side is Side.BUY:
            self._reserved[order.id] = (instrument.quote, _worth(instrument, lots, ticks))
        elif not self._allows_short:
            self._reserved[order.id] = (instrument.base, _quantity(instrument, lots))

    def release(self, order: Order) -> None:
        """Give back what was reserved for an order."""
        self._reserved.pop(order.id, None)

    def reducible(self, order: Order) -> int:
        """Return how many lots of its position a reduce-only order can close."""
        return max(0, -self.position(order.symbol) * order.side)

    def affordable(self, order: Order, lots: int, ticks: int) -> int:
        """Return how many of the lots can be paid for, or are there to be sold, at a price."""
        instrument = order.instrument
        if order.reduce_only:
            return min(lots, self.reducible(order))
        if instrument.is_contract or (order.side is Side.SELL and self._allows_short):
            return lots
        if order.side is Side.SELL:
            return min(lots, max(0, int(self._free_for(order, instrument.base) // _quantity(instrument, 1))))
        each = _worth(instrument, 1, ticks)
        if self._fees[order.symbol].fee_side == "quote":
            each += each * max(ZERO, self._fees[order.symbol].taker)
        return min(lots, max(0, int(self._free_for(order, instrument.quote) // each)))

    # ── what changes balances ───────────────────────────────────────────────────────────────────────────────────────

    def fill(self, order: Order, lots: int, ticks: int, *, is_maker: bool) -> tuple[Decimal, str]:
        """Book an execution; return its fee and the currency that it is paid in."""
        instrument, fees = order.instrument, self._fees[order.symbol]
        rate = fees.maker if is_maker else fees.taker
        worth, quantity = _worth(instrument, lots, ticks), _quantity(instrument, lots)
        if instrument.is_contract:
            unit = currency_unit([each for each in self._instruments.values() if each.quote == instrument.quote])
            self._add(instrument.quote, _turned(self.contracts[order.symbol], order.side, lots, worth, unit))
        else:
            self._add(instrument.quote, -order.side * worth)
            self._add(instrument.base, order.side * quantity)
        in_base = fees.fee_side == "get" and order.side is Side.BUY and not instrument.is_contract
        asset = instrument.base if in_base else instrument.quote
        fee = ((quantity if in_base else worth) * rate).quantize(SMALLEST_UNIT, ROUND_HALF_EVEN)
        self._add(asset, -fee)
        return fee, asset

    def funding(self, symbol: str, rate: Decimal, mark: Decimal) -> Decimal:
        """Pay (or receive) funding on what is held; return the amount, signed, in quote currency."""
        instrument = self._instruments[symbol]
        quantity = _quantity(instrument, self.contracts[symbol].lots)
        amount = -(quantity * mark * rate).quantize(SMALLEST_UNIT, ROUND_HALF_EVEN)
        self._add(instrument.quote, amount)
        return amount

    def _add(self, asset: str, amount: Decimal) -> None:
        self.balances[asset] = self.balances.get(asset, ZERO) + amount

    def _lack_of_margin(self, order: Order, lots: int, ticks: int) -> str:
        """Return what is missing of the margin, with every contract valued at what it was opened for."""
        instrument, held = order.instrument, self.contracts[order.symbol]
        after = held.lots + order.side * lots
        if abs(after) <= abs(held.lots):
            return ""
        used = sum(
            (each.cost for name, each in self.contracts.items() if self._instruments[name].quote == instrument.quote),
            ZERO,
        )
        opening = abs(after) - (abs(held.lots) if held.lots * after > 0 else 0)
        used -= held.cost if held.lots * after < 0 else ZERO
        needed = (used + _worth(instrument, opening, ticks)) / self._leverage
        cash = self.balances.get(instrument.quote, ZERO)
        if needed <= cash:
            return ""
        return f"insufficient margin: {needed:f} {instrument.quote} needed, {cash:f} there"


def _turned(held: Contract, side: Side, lots: int, worth: Decimal, unit: Decimal) -> Decimal:
    """Change a contract position by an execution; return what it realised. Cost is kept in whole units, as our books
    keep it: what a division leaves over stays with the open part."""
    if held.lots * side >= 0:
        held.lots, held.cost = held.lots + side * lots, held.cost + worth
        return ZERO
    closing = min(lots, abs(held.lots))
    gone = int(held.cost / unit) * closing // abs(held.lots) * unit
    part = worth / lots * closing
    result = (part - gone) if held.lots > 0 else (gone - part)
    held.lots += side * lots
    held.cost = worth - part if lots > closing else held.cost - gone
    return result


def _quantity(instrument: Instrument, lots: int) -> Decimal:
    return instrument.to_quantity(lots) * instrument.multiplier


def _worth(instrument: Instrument, lots: int, ticks: int) -> Decimal:
    return _quantity(instrument, lots) * instrument.to_price(ticks)
