"""A venue's markets as ccxt has them, made into instruments: increments, minimums and fees of today.

Quantities are in base asset, of contracts too: a contract of 0.01 BTC is 0.01. Fees are fractions of notional.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from engine.errors import DataError, VenueUnavailable, nearest_name
from engine.instruments import Instrument
from feeds.asking import Asker

_DECIMAL_PLACES, _TICK_SIZE = 2, 4
"""How ccxt may mean `precision`."""


@dataclass(frozen=True)
class VenueMarket:
    """What a venue says of one market today.

    Args:
        symbol: as ccxt has it; `instrument.symbol` is what it is called here.
        maker, taker: what the venue charges those who have no special terms; None where it does not say.
        contract_size: base asset in one contract; 1 on spot markets. Venues count orders and trades in contracts.
        listed_at: UTC nanoseconds since when it trades; None where the venue does not say.
    """

    symbol: str
    instrument: Instrument
    maker: Decimal | None
    taker: Decimal | None
    contract_size: Decimal
    listed_at: int | None
    is_active: bool

    def in_base(self, amount: float) -> float:
        """Return a quantity as the venue counts it, contracts where it does so, in base asset, to the last digit."""
        return float(amount) if self.contract_size == 1 else float(Decimal(repr(float(amount))) * self.contract_size)


async def load_markets(asker: Asker, exchange: Any, *, again: bool = False) -> Mapping[str, Mapping[str, Any]]:
    """Return every market of a venue as ccxt describes it, by symbol.

    Raises:
        VenueUnavailable: the venue does not say, or says nothing.
    """

    def checked(markets: Any) -> Mapping[str, Mapping[str, Any]]:
        if not isinstance(markets, dict) or not markets:
            raise VenueUnavailable(f"{exchange.id}: the list of markets is empty; expected at least one")
        return markets

    return await asker.ask("its markets", lambda: exchange.load_markets(again), checked)


def markets_of(
    exchange: Any, symbols: Iterable[str], *, prefix: str = "", needs_active: bool = True
) -> dict[str, VenueMarket]:
    """Return what a venue's loaded markets say of some symbols, in their order.

    Args:
        prefix: put before each symbol to name its instrument, where several venues trade one symbol.
    Raises:
        DataError: a symbol is not traded there; the message names the nearest.
    """
    return {symbol: _market(exchange, symbol, prefix, needs_active) for symbol in symbols}


def check_timeframe(exchange: Any, timeframe: str) -> None:
    """Refuse a timeframe that a venue has no candles of.

    Raises:
        DataError: the message lists those it has.
    """
    known = list(exchange.timeframes or ())
    if timeframe not in known:
        raise DataError(
            f"{exchange.id}: has no candles of {timeframe}{_nearest(timeframe, known)}; expected one of "
            f"{', '.join(known)}; fetch a shorter one and resample it")


def _market(exchange: Any, symbol: str, prefix: str, needs_active: bool) -> VenueMarket:
    market = exchange.markets.get(symbol)
    if market is None or market.get("type") == "option":
        known = [name for name, one in exchange.markets.items() if one.get("type") != "option"]
        raise DataError(
            f"{exchange.id}: {symbol} is not traded there{_nearest(symbol, known)}; expected one of its {len(known):,} "
            "markets, such as BTC/USDT, or BTC/USDT:USDT for a perpetual")
    is_active = market.get("active") is not False
    if needs_active and not is_active:
        raise DataError(f"{exchange.id}: {symbol} is not traded any more; leave it out")
    if market.get("contract") and not market.get("linear"):
        raise DataError(f"{exchange.id}: {symbol} is an inverse contract; expected a spot market or a linear perpetual")
    size = _decimal(market.get("contractSize")) or Decimal(1)
    precision, limits = market.get("precision") or {}, market.get("limits") or {}
    instrument = Instrument(
        f"{prefix}{symbol}", quote=str(market["quote"]), base=str(market["base"]),
        price_increment=_increment(exchange, symbol, "price", precision.get("price")),
        quantity_increment=_increment(exchange, symbol, "amount", precision.get("amount")) * size,
        min_quantity=(_minimum(limits, "amount")) * size, min_notional=_minimum(limits, "cost"), venue=exchange.id,
        kind="perpetual" if market.get("swap") else "spot",
    )
    created = market.get("created")
    return VenueMarket(
        symbol, instrument, _decimal(market.get("maker")), _decimal(market.get("taker")), size,
        int(created) * 1_000_000 if created else None, is_active)


def _increment(exchange: Any, symbol: str, what: str, value: Any) -> Decimal:
    step = _decimal(value)
    if step is not None and exchange.precisionMode == _DECIMAL_PLACES:
        step = Decimal(1).scaleb(-int(step))
    if step is None or step <= 0 or exchange.precisionMode not in (_DECIMAL_PLACES, _TICK_SIZE):
        raise DataError(
            f"{exchange.id}: {symbol} has the {what} precision {value!r}; expected the step between two valid ones; "
            f"say it in [instruments.\"{symbol}\"]")
    return step


def _minimum(limits: Mapping[str, Any], name: str) -> Decimal:
    return _decimal((limits.get(name) or {}).get("min")) or Decimal(0)


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _nearest(name: str, known: Sequence[str]) -> str:
    return nearest_name(name, tuple(known)) or nearest_name(name.upper(), tuple(known))
