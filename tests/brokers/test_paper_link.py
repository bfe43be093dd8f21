"""The shell around a paper venue: reports come from its own thread, in order, and the start is a recovery."""

from decimal import Decimal
from queue import Queue
from time import time_ns

from brokers.paper import PaperVenue
from brokers.paper_link import PaperLink
from brokers.paper_orders import PaperTerms
from engine import Instrument, Order, OrderStatus, OrderType, Side
from engine.costs import ConstantLatency
from engine.live.broker import VenueBroker
from engine.live.market import Book, Trade
from engine.live.reports import Report, ReportKind
from engine.portfolio import Portfolio

BTC = Instrument("BTC/USDT", quote="USDT", base="BTC", quantity_increment=Decimal("0.001"))


def linked(reports: "Queue[Report]") -> PaperLink:
    venue = PaperVenue([BTC], {"USDT": Decimal(1_000)}, PaperTerms(latency=ConstantLatency(1_000_000)))
    return PaperLink(venue, reports.put, time_ns)


def test_an_order_goes_to_the_venue_and_its_fill_comes_back_into_the_books() -> None:
    reports: Queue[Report] = Queue()
    link = linked(reports)
    portfolio = Portfolio({"USDT": Decimal(1_000)}, [BTC])
    broker = VenueBroker(portfolio, "linktest")
    assert list(link.reconcile(broker.known())) == []
    link.on_book(Book("BTC/USDT", 0, 0, ((99.0, 1.0),), ((100.0, 1.0),)))
    link.on_trade(Trade("BTC/USDT", 0, 0, 100.0, 1.0, "buy", "1"))
    order = Order(1, 1, BTC, Side.BUY, OrderType.MARKET, 1000, time_ns(), 10_000)
    broker.submit(order)
    link.send(broker.take_messages())
    told = [reports.get(timeout=30), reports.get(timeout=30)]
    assert [report.kind for report in told] == [ReportKind.ACCEPTED, ReportKind.FILLED], "it arrived in a quiet market"
    for report in told:
        broker.apply(report)
    assert order.status is OrderStatus.FILLED
    assert portfolio.positions["BTC/USDT"].lots == 999, "the fee was taken out of what was bought"
    assert portfolio.accounts["USDT"].cash == 900
    assert list(link.reconcile(broker.known())) == []
    link.close()


def test_a_link_that_begins_with_open_orders_sets_them_up_again() -> None:
    reports: Queue[Report] = Queue()
    portfolio = Portfolio({"USDT": Decimal(1_000)}, [BTC])
    broker = VenueBroker(portfolio, "linktest")
    resting = Order(1, 1, BTC, Side.BUY, OrderType.LIMIT, 1000, 0, 10_000, limit_ticks=9_900)
    flying = Order(2, 1, BTC, Side.BUY, OrderType.LIMIT, 1000, 0, 10_000, limit_ticks=9_900)
    for order in (resting, flying):
        broker.submit(order)
    broker.take_messages()
    broker.apply(Report(ReportKind.ACCEPTED, 1, 1, 1))
    link = linked(reports)
    for report in link.reconcile(broker.known()):
        broker.apply(report)
    assert (resting.status, flying.status) == (OrderStatus.ACCEPTED, OrderStatus.REJECTED)
    link.on_trade(Trade("BTC/USDT", 0, 0, 98.0, 0.4, "sell", "1"))
    report = reports.get(timeout=30)
    assert (report.order_id, report.kind, report.lots) == (1, ReportKind.FILLED, 400)
    link.close()
