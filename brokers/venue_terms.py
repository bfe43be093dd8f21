"""What a venue charges and asks for, read from a market as ccxt describes it: today's values, kept with the run.

ccxt's own tables are kept by hand: a market that was just loaded is the source, and its `taker` and `maker` win over
the exchange's general fees.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from brokers.paper_ledger import VenueFees
from engine.errors import DataError
from engine.instruments import Instrument


def instrument_of(market: Mapping[str, Any], venue: str) -> Instrument:
    """Return the instrument that a ccxt market is (precisionMode TICK_SIZE: precisions are increments).

    Quantities of contracts are counted in contracts; the multiplier is what one of them is worth in base asset.

    Raises:
        DataError: the market is an option, a dated future or an inverse contract, or has no increments.
    """
    symbol = market["symbol"]
    if market.get("option") or market.get("inverse") or market.get("future"):
        raise DataError(f"{venue} {symbol}: only spot markets and linear perpetuals can be traded here")
    precision, limits = market["precision"], market.get("limits") or {}
    steps = {name: precision.get(name) for name in ("price", "amount")}
    if not all(steps.values()):
        raise DataError(f"{venue} {symbol}: the venue names no increments; found {steps}")
    is_contract = bool(market.get("swap") or market.get("contract"))
    size = _decimal(market.get("contractSize") or 1) if is_contract else Decimal(1)
    return Instrument(
        symbol,
        quote=market["settle"] if is_contract and market.get("settle") else market["quote"],
        base=market["base"],
        price_increment=_decimal(steps["price"]),
        quantity_increment=_decimal(steps["amount"]),
        min_quantity=_decimal(_least(limits, "amount")) * size,
        min_notional=_decimal(_least(limits, "cost")),
        multiplier=size,
        venue=venue,
        kind="perpetual" if is_contract else "spot",
    )


def fees_of(market: Mapping[str, Any], venue: str, read_on: str) -> VenueFees:
    """Return what a ccxt market says a trade costs.

    Args:
        read_on: the day it was read, for the record.
    Raises:
        DataError: the market names no fees.
    """
    maker, taker = market.get("maker"), market.get("taker")
    if maker is None or taker is None:
        raise DataError(f"{venue} {market['symbol']}: the venue names no fees; set them under [costs]")
    is_spot = not (market.get("swap") or market.get("contract"))
    # Where the venue does not say, a purchase pays in what it gets: that holds for Binance, OKX and Bybit spot.
    side = "quote" if not is_spot or market.get("feeSide") == "quote" or venue in ("kraken", "coinbase") else "get"
    return VenueFees(_decimal(maker), _decimal(taker), side, f"{venue}, read on {read_on}")


def _least(limits: Mapping[str, Any], name: str) -> Any:
    return (limits.get(name) or {}).get("min") or 0


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value))
