"""The broker of backtests: the simulated exchange under the switches and costs given."""

from decimal import Decimal

from brokers.simulated import simulated_broker
from engine import Instrument, Order, OrderType, Side
from engine.costs import FixedSlippage, MakerTakerFees, VolatilitySlippage
from engine.events import Fill
from engine.portfolio import Portfolio
from engine.semantics import Switches
from engine.testing import make_bars


def test_it_fills_under_the_terms_it_was_given() -> None:
    instrument = Instrument("TEST", quantity_increment=Decimal(1))
    portfolio = Portfolio({"USD": Decimal(1000)}, [instrument])
    broker = simulated_broker(
        portfolio,
        Switches(market_fill="next_close"),
        fees=MakerTakerFees(Decimal(0), Decimal("0.001")),
        slippage=FixedSlippage(100),
    )
    first, second = make_bars([100, (100, 111, 99, 110)]).rows()
    broker.submit(Order(1, 1, instrument, Side.BUY, OrderType.MARKET, 2, first.close_time, 10_000))
    (fill,) = broker.on_bar(second)
    assert isinstance(fill, Fill)
    assert (fill.price, fill.quantity, fill.fee_units * portfolio.accounts["USD"].unit) == (
        Decimal("111.10"),
        2,
        Decimal("0.2222"),
    )
    assert portfolio.accounts["USD"].cash == Decimal("777.5778")


def test_it_follows_the_market_only_where_its_costs_ask_for_it() -> None:
    portfolio = Portfolio({"USD": Decimal(1)}, [])
    assert not simulated_broker(portfolio, Switches()).needs_every_bar
    assert not simulated_broker(portfolio, Switches(), slippage=FixedSlippage(1)).needs_every_bar
    assert simulated_broker(portfolio, Switches(), slippage=VolatilitySlippage()).needs_every_bar
