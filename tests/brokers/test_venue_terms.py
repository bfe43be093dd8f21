"""Increments, minimums and fees of real markets, as ccxt describes them."""

from decimal import Decimal
from typing import Any

import pytest

from brokers.venue_terms import fees_of, instrument_of
from engine.errors import DataError


def market(**changes: Any) -> dict[str, Any]:
    """Return Binance's BTC/USDT, as ccxt 4.5.90 loads it."""
    return {
        "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "settle": None, "type": "spot", "spot": True,
        "swap": False, "contract": False, "taker": 0.001, "maker": 0.001, "feeSide": "get", "contractSize": None,
        "precision": {"amount": 1e-05, "price": 0.01, "base": 1e-08, "quote": 1e-08},
        "limits": {"amount": {"min": 1e-05, "max": 9000.0}, "cost": {"min": 5.0, "max": 9000000.0}},
        **changes,
    }


def test_a_spot_market() -> None:
    instrument = instrument_of(market(), "binance")
    assert (instrument.symbol, instrument.base, instrument.quote, instrument.kind) == (
        "BTC/USDT", "BTC", "USDT", "spot"
    )
    assert (instrument.price_increment, instrument.quantity_increment) == (Decimal("0.01"), Decimal("0.00001"))
    assert (instrument.min_quantity, instrument.min_notional) == (Decimal("0.00001"), Decimal(5))
    fees = fees_of(market(), "binance", "2026-11-30")
    assert (fees.maker, fees.taker, fees.fee_side) == (Decimal("0.001"), Decimal("0.001"), "get")
    assert fees.source == "binance, read on 2026-11-30"


def test_a_perpetual_is_counted_in_contracts() -> None:
    swap = market(
        symbol="BTC/USDT:USDT", settle="USDT", swap=True, contract=True, spot=False, contractSize=0.01,
        precision={"amount": 0.01, "price": 0.1}, limits={"amount": {"min": 0.01}, "cost": {"min": None}},
        taker=0.0005, maker=0.0002,
    )
    instrument = instrument_of(swap, "okx")
    assert (instrument.kind, instrument.multiplier, instrument.quantity_increment) == (
        "perpetual", Decimal("0.01"), Decimal("0.01")
    )
    assert instrument.min_quantity == Decimal("0.0001"), "in base asset"
    assert instrument.min_notional == 0
    assert fees_of(swap, "okx", "2026-11-30").fee_side == "quote"


def test_a_venue_that_always_charges_in_quote_currency() -> None:
    assert fees_of(market(feeSide=None), "kraken", "2026-11-30").fee_side == "quote"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inverse": True}, "only spot markets and linear perpetuals can be traded here"),
        ({"precision": {"price": None, "amount": 1}}, "the venue names no increments"),
    ],
)
def test_what_cannot_be_traded_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        instrument_of(market(**changes), "binance")


def test_a_market_without_fees_is_refused() -> None:
    with pytest.raises(DataError, match=r"binance BTC/USDT: the venue names no fees; set them under \[costs\]"):
        fees_of(market(maker=None), "binance", "2026-11-30")
