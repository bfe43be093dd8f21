"""The venue's money: what fills, fees, funding and margin do to accounts. Exact: what clients gain, the house (the
made-up participants together) and the fees have lost.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from tests.venue.accounts import Account, Position
from tests.venue.market import Market, Trade
from tests.venue.orders import Fill, Order

FEE_STEP = Decimal("0.00000001")


class Ledger:
    """See the module."""

    def __init__(self, markets: dict[str, Market]) -> None:
        self.accounts: dict[str, Account] = {}
        self.house: dict[str, Decimal] = {}
        """What the made-up participants have won or lost, by asset."""
        self.fees: dict[str, Decimal] = {}
        self._markets = markets

    def total_of(self, asset: str) -> Decimal:
        """Return what there is of an asset at the venue; only deposits and funding between accounts move it."""
        return (sum((account.balance(asset).total for account in self.accounts.values()), Decimal(0))
                + self.house.get(asset, Decimal(0)) + self.fees.get(asset, Decimal(0)))

    def settle(self, order: Order, trade: Trade, now: int, *, is_maker: bool) -> Fill:
        """Move what one execution moves, and return it as the order's fill."""
        instrument, account = order.instrument, self.accounts[order.account]
        rate = instrument.maker_fee if is_maker else instrument.taker_fee
        value = instrument.value(trade.price * trade.quantity)
        realised = Decimal(0)
        if instrument.is_perpetual:
            asset, fee = instrument.settle or instrument.quote, _fee(value, rate)
            signed = trade.quantity if order.side == "buy" else -trade.quantity
            position = account.positions.setdefault(instrument.symbol, Position())
            realised = instrument.value(position.add(signed, trade.price))
            account.change(asset, free=realised - fee)
            self._to_house(asset, -realised)
        else:
            asset, fee = self._settle_spot(account, order, trade, value, rate)
        self.fees[asset] = self.fees.get(asset, Decimal(0)) + fee
        return Fill(trade.id, order.id, now, order.side, trade.price, trade.quantity, is_maker, fee, asset, realised)

    def release(self, order: Order) -> None:
        """Free what an order that is over has locked."""
        if order.locked:
            self.accounts[order.account].lock(order.lock_asset, -order.locked)
            order.locked = Decimal(0)

    def transfer(self, account: Account, asset: str, amount: Decimal) -> None:
        """Pay an account from the house, or the other way round."""
        account.change(asset, free=amount)
        self._to_house(asset, -amount)

    def unrealised(self, account: Account) -> Decimal:
        """Return what an account's positions would realise at the last prices."""
        return sum((self._markets[symbol].instrument.value(self._markets[symbol].last_price * position.lots
                                                          - position.cost)
                    for symbol, position in account.positions.items()), Decimal(0))

    def margin_free(self, account: Account, open_orders: list[Order]) -> Decimal:
        """Return what an account can still use as margin, in the quote currency of its perpetuals."""
        used = sum((abs(self._markets[symbol].instrument.value(position.cost)) / account.leverage
                    for symbol, position in account.positions.items()), Decimal(0))
        for order in open_orders:
            if order.instrument.is_perpetual and not order.reduce_only:
                reference = order.price or order.stop or self._markets[order.symbol].last_price
                used += order.instrument.value(reference * order.remaining) / account.leverage
        return account.balance("USDT").free + min(self.unrealised(account), Decimal(0)) - used

    def margin_for(self, account: Account, order: Order, market: Market) -> Decimal:
        """Return the margin that an order would need."""
        held = account.positions.get(order.symbol, Position()).lots
        signed = order.quantity if order.side == "buy" else -order.quantity
        opening = max(0, abs(held + signed) - abs(held))
        return order.instrument.value((order.price or market.last_price) * opening) / account.leverage

    def _settle_spot(self, account: Account, order: Order, trade: Trade, value: Decimal,
                     rate: Decimal) -> tuple[str, Decimal]:
        instrument = order.instrument
        quantity = trade.quantity * instrument.quantity_increment
        if order.side == "buy":
            if order.lock_asset:
                assert order.price is not None
                unlocked = instrument.value(order.price * trade.quantity)
                account.lock(instrument.quote, -unlocked)
                order.locked -= unlocked
            account.change(instrument.quote, free=-value)
            fee = _fee(quantity, rate)
            account.change(instrument.base, free=quantity - fee)
            return instrument.base, fee
        account.change(instrument.base, locked=-quantity)
        order.locked -= quantity
        fee = _fee(value, rate)
        account.change(instrument.quote, free=value - fee)
        return instrument.quote, fee

    def settle_house(self, order: Order, price: int, quantity: int) -> None:
        instrument = order.instrument
        if instrument.is_perpetual:
            return
        sign = 1 if order.side == "buy" else -1
        self._to_house(instrument.base, sign * quantity * instrument.quantity_increment)
        self._to_house(instrument.quote, -sign * instrument.value(price * quantity))

    def _to_house(self, asset: str, amount: Decimal) -> None:
        self.house[asset] = self.house.get(asset, Decimal(0)) + amount


def _fee(received: Decimal, rate: Decimal) -> Decimal:
    return (received * rate).quantize(FEE_STEP, rounding=ROUND_DOWN)
