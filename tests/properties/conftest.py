import pytest

from engine.orders import Side
from tests.properties.worlds import Place, Step, Walk, World


@pytest.fixture
def one_price_world() -> World:
    """Five bars of one price; two lots bought after the first, sold after the third."""
    walk = Walk("S0", (Step(),) * 5)
    return World((walk,), ((0, 0, Place(Side.BUY, 2)), (2, 0, Place(Side.SELL, 2))))
