from decimal import Decimal
from types import SimpleNamespace

import pytest

from engine.errors import DataError
from feeds.markets import check_timeframe, markets_of

SPOT = {
    "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "type": "spot", "active": True,
    "maker": 0.001, "taker": 0.0015,
    "precision": {"price": 0.1, "amount": 1e-8}, "limits": {"amount": {"min": 1e-5}, "cost": {"min": 5}},
    "created": 1_500_000_000_000}
SWAP = {
    **SPOT, "symbol": "BTC/USDT:USDT", "type": "swap", "swap": True, "contract": True, "linear": True,
    "contractSize": 0.01, "precision": {"price": 0.1, "amount": 1.0}, "limits": {"amount": {"min": 1.0}, "cost": {}}}


def venue(*markets: dict, mode: int = 4) -> SimpleNamespace:
    return SimpleNamespace(
        id="okx", precisionMode=mode, markets={market["symbol"]: market for market in markets},
        timeframes={"1m": "1m", "1h": "1H"})


def test_increments_minimums_and_fees_are_exact():
    market = markets_of(venue(SPOT), ["BTC/USDT"])["BTC/USDT"]
    instrument = market.instrument
    assert (instrument.price_increment, instrument.quantity_increment) == (Decimal("0.1"), Decimal("1e-8"))
    assert (instrument.min_quantity, instrument.min_notional) == (Decimal("0.00001"), 5)
    assert (market.maker, market.taker, instrument.kind) == (Decimal("0.001"), Decimal("0.0015"), "spot")
    assert market.listed_at == 1_500_000_000_000_000_000


def test_contracts_are_counted_in_base_asset():
    market = markets_of(venue(SWAP), ["BTC/USDT:USDT"])["BTC/USDT:USDT"]
    assert (market.instrument.quantity_increment, market.instrument.min_quantity) == (Decimal("0.01"), Decimal("0.01"))
    assert (market.contract_size, market.instrument.kind) == (Decimal("0.01"), "perpetual")


def test_decimal_places_are_understood():
    market = {**SPOT, "precision": {"price": 2, "amount": 5}}
    instrument = markets_of(venue(market, mode=2), ["BTC/USDT"])["BTC/USDT"].instrument
    assert (instrument.price_increment, instrument.quantity_increment) == (Decimal("0.01"), Decimal("0.00001"))


def test_a_prefix_names_the_instrument():
    assert markets_of(venue(SPOT), ["BTC/USDT"], prefix="okx:")["BTC/USDT"].instrument.symbol == "okx:BTC/USDT"


@pytest.mark.parametrize(("market", "symbol", "message"), [
    (SPOT, "BTC/USD", r"okx: BTC/USD is not traded there; did you mean 'BTC/USDT'\?"),
    ({**SPOT, "active": False}, "BTC/USDT", "okx: BTC/USDT is not traded any more; leave it out"),
    ({**SWAP, "linear": False}, "BTC/USDT:USDT", "is an inverse contract; expected a spot market or a linear"),
    ({**SPOT, "precision": {"price": None, "amount": 1}}, "BTC/USDT", "has the price precision None; expected"),
])
def test_what_cannot_be_traded_here_is_refused(market, symbol, message):
    with pytest.raises(DataError, match=message):
        markets_of(venue(market), [symbol])


def test_a_timeframe_that_the_venue_lacks_is_refused_with_those_it_has():
    with pytest.raises(DataError, match="okx: has no candles of 45m; expected one of 1m, 1h; fetch a shorter one"):
        check_timeframe(venue(SPOT), "45m")
