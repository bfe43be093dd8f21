"""What frees cash goes before what needs it, among all symbols of one instant."""

from decimal import Decimal

import numpy as np
import pytest

from engine import Bars, Slice, Strategy, Stream
from engine.costs import NoSlippage, Slippage, VolatilitySlippage
from engine.testing import Terms, make_bars, run_bars


class Switch(Strategy):
    """Holds the second symbol, then changes to the first, which stands before it in the feed."""

    def __init__(self) -> None:
        super().__init__()
        self.instants = 0

    def on_slice(self, slice: Slice) -> None:
        self.instants += 1
        if self.instants == 2:
            self.target("B", 1.0)
        if self.instants == 5:
            self.target("A", 1.0)
            self.target("B", 0.0)


def two_symbols() -> Bars:
    """Return ten quiet bars of A and B."""
    one = make_bars([[100, 101, 99, 100]] * 10)
    return Bars(
        (Stream("A", "1d"), Stream("B", "1d")),
        *(
            np.repeat(getattr(one, name), 2)
            for name in ("open_time", "close_time", "open", "high", "low", "close", "volume")
        ),
        np.tile(np.array([0, 1], np.int32), 10),
    )


@pytest.mark.parametrize(
    "slippage", [NoSlippage(), VolatilitySlippage(fraction=0.0)], ids=["none", "that watches every bar"]
)
def test_a_sale_at_the_same_open_pays_for_a_purchase_of_an_earlier_symbol(slippage: Slippage) -> None:
    result = run_bars(two_symbols(), Switch(), Terms(cash=Decimal(10_000), slippage=slippage))
    assert [(fill.symbol, fill.side, fill.quantity) for fill in result.fills] == [
        ("B", "buy", 100.0),
        ("B", "sell", 100.0),
        ("A", "buy", 100.0),
    ]
