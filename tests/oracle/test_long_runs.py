"""A moving-average cross over tens of thousands of bars: the same trades at the same prices, and the same money."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from engine.bars import Bars
from engine.loop import whole
from feeds.files import read_bars
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from tests.oracle.long_runs import PEERS, cross, run_ours

ROOT = Path(__file__).resolve().parents[2]
BITCOIN = ROOT.parent / "shared" / "market" / "binance_spot_5m" / "BTCUSDT_5m.parquet"
FIVE_BASIS_POINTS = Decimal("0.0005")
ROWS = 20_000


@pytest.fixture(scope="module", params=["synthetic", "bitcoin"])
def bars(request) -> Bars:
    if request.param == "synthetic":
        market = SyntheticMarket(("SYN/USD",), rows=ROWS, seed=3, first_price=250.0)
        return whole(SyntheticFeed(market))
    if not BITCOIN.exists():
        pytest.skip(f"{BITCOIN} is not there: market data are kept beside the repository")
    return read_bars(BITCOIN)[-ROWS:]


@pytest.mark.parametrize("profile_name", PEERS)
def test_a_moving_average_cross_makes_the_peer_s_trades_and_its_money(bars, profile_name):
    wishes = cross(bars.close)

    ours = run_ours(bars, wishes, FIVE_BASIS_POINTS, profile_name)
    theirs = PEERS[profile_name](bars, wishes, FIVE_BASIS_POINTS)

    assert len(ours.fills) > 500
    assert ours.fills == theirs.fills
    np.testing.assert_allclose(ours.equity, theirs.equity, rtol=1e-9, atol=0)
