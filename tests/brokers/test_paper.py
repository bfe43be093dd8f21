"""The paper venue: what each kind of order gets from a live book and live prints, and never more."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.paper import PaperVenue
from brokers.paper_ledger import VenueFees
from brokers.paper_orders import PaperTerms
from engine import Instrument, OrderType, Side
from engine.costs import ConstantLatency
from engine.errors import SettingsError
from engine.live.market import Book, FundingDue, Trade
from engine.live.messages import AMEND, CANCEL, NEW, OrderMessage
from engine.live.ports import Known, KnownOrder
from engine.live.reports import Report, ReportKind

SPOT = Instrument(
    "BTC/USDT", quote="USDT", base="BTC", price_increment=Decimal("0.01"), quantity_increment=Decimal("0.001"),
    min_quantity=Decimal("0.001"), min_notional=Decimal("0.5"),
)
PERP = Instrument(
    "BTC/USDT:USDT", quote="USDT", base="BTC", quantity_increment=Decimal(1), multiplier=Decimal("0.001"),
    kind="perpetual",
)
FREE = VenueFees(Decimal(0), Decimal(0), "quote")
MS = 1_000_000
F = ReportKind.FILLED


class Market:
    """A paper venue with the shortest way to say what happens at it. Prices in ticks of 0.01, quantities in lots of
    0.001; a millisecond passes between two happenings, and messages take ten."""

    def __init__(self, cash: int = 100_000, **terms: Any) -> None:
        terms.setdefault("latency", ConstantLatency(10 * MS))
        terms.setdefault("default_fees", FREE)
        self.venue = PaperVenue([SPOT, PERP], {"USDT": Decimal(cash)}, PaperTerms(**terms))
        self.now = 1_000 * MS
        self.number = self.message = self.prints = 0

    def book(
        self, bids: Sequence[tuple[int, int]], asks: Sequence[tuple[int, int]], symbol: str = "BTC/USDT"
    ) -> list[tuple[Any, ...]]:
        self.now += MS
        levels = [tuple((ticks / 100, lots / 1000) for ticks, lots in side) for side in (bids, asks)]
        return brief(self.venue.on_book(Book(symbol, self.now, self.now, *levels), self.now))

    def trade(self, ticks: int, lots: int, side: str = "", symbol: str = "BTC/USDT") -> list[tuple[Any, ...]]:
        self.now += MS
        self.prints += 1
        trade = Trade(symbol, self.now, self.now, ticks / 100, lots / 1000, side, str(self.prints))
        return brief(self.venue.on_trade(trade, self.now))

    def send(self, kind: str, order_id: int, side: Side, type: OrderType, lots: int, **terms: Any) -> None:
        self.message += 1
        symbol = terms.pop("symbol", "BTC/USDT")
        self.venue.take(
            OrderMessage(
                self.message, kind, self.now, order_id, f"c{order_id}", symbol, int(side), type.value, lots, **terms
            ),
            self.now,
        )

    def order(self, side: Side, type: OrderType, lots: int, **terms: Any) -> list[tuple[Any, ...]]:
        """Send an order and let it arrive."""
        self.number += 1
        self.send(NEW, self.number, side, type, lots, **terms)
        return self.wait()

    def wait(self, time: int = 10 * MS) -> list[tuple[Any, ...]]:
        self.now += time
        return brief(self.venue.on_time(self.now))

    def full(self, side: Side, type: OrderType, lots: int, **terms: Any) -> list[Report]:
        """As `order`, with whole reports."""
        self.number += 1
        self.send(NEW, self.number, side, type, lots, **terms)
        self.now += 10 * MS
        return self.venue.on_time(self.now)

    @property
    def cash(self) -> Decimal:
        return self.venue.ledger.balances["USDT"]


def brief(reports: Sequence[Report]) -> list[tuple[Any, ...]]:
    return [
        (report.kind.value, report.lots, report.ticks) if report.kind is F else (report.kind.value, report.reason)
        for report in reports
    ]


@pytest.fixture
def market() -> Market:
    market = Market()
    market.book([(9_999, 100), (9_998, 200)], [(10_001, 100), (10_002, 200)])
    return market


ACCEPTED = ("accepted", "")


# ── orders that take ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_market_order_walks_the_book_that_stands_when_it_arrives(market: Market) -> None:
    market.send(NEW, 1, Side.BUY, OrderType.MARKET, 250)
    market.now += 5 * MS
    assert market.book([(9_999, 100)], [(10_005, 100), (10_006, 200)]) == []
    market.now += 5 * MS
    assert market.book([(9_999, 100)], [(10_900, 900)]) == [
        ACCEPTED, ("filled", 100, 10_005), ("filled", 150, 10_006)
    ], "not the book it was decided on, nor one that came later"


def test_what_we_took_stays_taken_until_the_level_is_gone(market: Market) -> None:
    assert market.order(Side.BUY, OrderType.MARKET, 60)[1:] == [("filled", 60, 10_001)]
    assert market.order(Side.BUY, OrderType.MARKET, 60)[1:] == [("filled", 40, 10_001), ("filled", 20, 10_002)]
    market.book([(9_999, 100)], [(10_001, 130), (10_002, 200)])
    assert market.order(Side.BUY, OrderType.MARKET, 40)[1:] == [("filled", 30, 10_001), ("filled", 10, 10_002)]
    market.book([(9_999, 100)], [(10_001, 50), (10_002, 200)])
    market.book([(9_999, 100)], [(10_001, 60), (10_002, 200)])
    assert market.order(Side.BUY, OrderType.MARKET, 10)[1:] == [("filled", 10, 10_001)], "ten more came"
    market.book([(9_999, 100)], [(10_002, 200)])
    market.book([(9_999, 100)], [(10_001, 100), (10_002, 200)])
    assert market.order(Side.BUY, OrderType.MARKET, 60)[1:] == [("filled", 60, 10_001)], "a new level"


def test_the_rest_of_a_market_order_expires_where_the_known_book_ends(market: Market) -> None:
    assert market.order(Side.SELL, OrderType.MARKET, 400, symbol="BTC/USDT", reduce_only=False) == [
        ("rejected", "insufficient balance: 0.400 BTC needed, 0 free")
    ]
    assert market.order(Side.BUY, OrderType.MARKET, 400) == [
        ACCEPTED, ("filled", 100, 10_001), ("filled", 200, 10_002),
        ("expired", "the book that is known holds no more: 0.100 left"),
    ]


def test_an_order_waits_for_a_book_that_is_not_too_old(market: Market) -> None:
    market.now += 60_000 * MS
    assert market.order(Side.BUY, OrderType.MARKET, 10) == [ACCEPTED]
    assert market.book([(9_000, 100)], [(9_100, 100)]) == [("filled", 10, 9_100)]


def test_a_crossing_limit_takes_up_to_its_price_and_rests(market: Market) -> None:
    assert market.order(Side.BUY, OrderType.LIMIT, 150, limit_ticks=10_001) == [ACCEPTED, ("filled", 100, 10_001)]
    assert market.trade(10_001, 30, "sell") == [("filled", 30, 10_001)]


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        (
            {"time_in_force": "ioc", "limit_ticks": 10_001},
            [ACCEPTED, ("filled", 100, 10_001), ("cancelled", "immediate or cancel")],
        ),
        (
            {"time_in_force": "fok", "limit_ticks": 10_001},
            [ACCEPTED, ("cancelled", "fill or kill: the book does not hold all of it")],
        ),
        (
            {"time_in_force": "fok", "limit_ticks": 10_002},
            [ACCEPTED, ("filled", 100, 10_001), ("filled", 50, 10_002)],
        ),
        (
            {"post_only": True, "limit_ticks": 10_001},
            [("rejected", "post-only limit 100.01 would take liquidity at 100.01")],
        ),
        ({"post_only": True, "limit_ticks": 10_000}, [ACCEPTED]),
        (
            {"limit_ticks": 10_000, "time_in_force": "gtd", "expire_at": 1},
            [("rejected", "gtd: its time was over when it arrived")],
        ),
    ],
)
def test_times_in_force(market: Market, terms: dict[str, Any], told: list[tuple[Any, ...]]) -> None:
    assert market.order(Side.BUY, OrderType.LIMIT, 150, **terms) == told


def test_an_order_expires_at_its_time_in_a_quiet_market(market: Market) -> None:
    end = market.now + 50 * MS
    market.order(Side.BUY, OrderType.LIMIT, 10, limit_ticks=9_000, time_in_force="gtd", expire_at=end)
    assert market.venue.next_due() == end
    assert market.wait(39 * MS) == []
    assert market.wait(MS) == [("expired", "gtd ended")]
    assert market.venue.next_due() is None


def test_every_fill_says_what_lies_between_the_mid_price_and_its_own(market: Market) -> None:
    _, fill = market.full(Side.BUY, OrderType.MARKET, 100)
    assert (fill.reference_ticks, fill.liquidity) == (10_000, "taker")
    assert (fill.spread_cost, fill.slippage_cost, fill.impact_cost) == pytest.approx((0.001, 0, 0))
    _, fill = market.full(Side.BUY, OrderType.MARKET, 100)
    assert fill.ticks == 10_002
    assert (fill.spread_cost, fill.slippage_cost, fill.impact_cost) == pytest.approx((0.001, 0, 0.001)), (
        "without us it would have filled at the best"
    )
    _, *fills = market.full(Side.SELL, OrderType.MARKET, 150)
    costs = [(each.spread_cost, each.slippage_cost, each.impact_cost) for each in fills]
    assert costs == [pytest.approx((0.001, 0, 0)), pytest.approx((0.0005, 0.0005, 0))]
    for each in fills:
        assert each.ticks is not None
        assert (each.reference_ticks - each.ticks) * 0.01 * each.lots * 0.001 == pytest.approx(
            each.spread_cost + each.slippage_cost + each.impact_cost
        )
        assert each.time - each.sent_at == 10 * MS


# ── orders that rest ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_resting_limit_waits_for_the_queue_and_fills_by_printed_volume(market: Market) -> None:
    assert market.order(Side.BUY, OrderType.LIMIT, 50, limit_ticks=9_999) == [ACCEPTED]
    assert market.trade(9_999, 60, "sell") == [], "60 of the 100 before us"
    assert market.trade(9_999, 30, "buy") == [], "a taker that buys at our price trades with nobody who buys"
    assert market.trade(9_999, 60, "sell") == [("filled", 20, 9_999)]
    assert market.trade(9_999, 10, "") == [("filled", 10, 9_999)], "where the venue does not say who took"
    assert market.trade(9_999, 100, "sell") == [("filled", 20, 9_999)]


def test_a_queue_is_no_longer_than_what_the_book_shows(market: Market) -> None:
    market.order(Side.BUY, OrderType.LIMIT, 50, limit_ticks=9_999)
    market.book([(9_999, 30)], [(10_001, 100)])
    market.book([(9_999, 500)], [(10_001, 100)])
    assert market.trade(9_999, 40, "sell") == [("filled", 10, 9_999)], "what came later stands behind us"


def test_a_print_through_a_limit_fills_it_by_its_volume_and_at_its_own_price(market: Market) -> None:
    market.order(Side.BUY, OrderType.LIMIT, 50, limit_ticks=9_998)
    assert market.trade(9_997, 30, "sell") == [("filled", 30, 9_998)]
    assert market.trade(9_998, 30, "sell") == [("filled", 20, 9_998)], "and the queue is gone"


def test_beyond_the_known_book_only_prints_through_a_limit_fill_it(market: Market) -> None:
    market.order(Side.BUY, OrderType.LIMIT, 50, limit_ticks=9_000)
    assert market.trade(9_000, 1_000_000, "sell") == []
    market.book([(9_100, 10), (9_000, 40)], [(9_200, 10)])
    assert market.trade(9_000, 60, "sell") == [("filled", 20, 9_000)], "now its queue is known"


def test_a_level_that_nobody_stands_at_has_no_queue(market: Market) -> None:
    market.order(Side.SELL, OrderType.LIMIT, 5, limit_ticks=10_000, symbol="BTC/USDT")
    market.order(Side.BUY, OrderType.LIMIT, 50, limit_ticks=10_000)
    assert market.trade(10_000, 10, "sell") == [("filled", 10, 10_000)]


def test_orders_of_ours_share_a_print(market: Market) -> None:
    for limit in (9_999, 10_000, 9_999):
        market.order(Side.BUY, OrderType.LIMIT, 50, limit_ticks=limit)
    assert market.trade(9_999, 170, "sell") == [("filled", 50, 10_000), ("filled", 20, 9_999)]
    assert market.trade(9_999, 40, "sell") == [("filled", 30, 9_999), ("filled", 10, 9_999)]


# ── stops ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stop_wakes_by_a_print_and_walks_the_book(market: Market) -> None:
    market.order(Side.BUY, OrderType.MARKET, 100)
    assert market.order(Side.SELL, OrderType.STOP, 100, stop_ticks=9_900) == [ACCEPTED]
    market.book([(9_890, 60), (9_880, 100)], [(9_920, 10)])
    assert market.trade(9_901, 1) == [], "a book is no trade"
    assert market.trade(9_900, 1) == [("triggered", ""), ("filled", 60, 9_890), ("filled", 40, 9_880)]


def test_a_stop_that_has_been_passed_when_it_arrives_wakes_at_once(market: Market) -> None:
    market.order(Side.BUY, OrderType.MARKET, 100)
    market.trade(9_800, 1)
    assert market.order(Side.SELL, OrderType.STOP, 100, stop_ticks=9_900) == [
        ACCEPTED, ("triggered", ""), ("filled", 100, 9_999)
    ]


def test_a_stop_limit_rests_where_the_market_has_passed_it(market: Market) -> None:
    market.order(Side.BUY, OrderType.STOP_LIMIT, 100, stop_ticks=10_010, limit_ticks=10_011)
    market.book([(10_020, 10)], [(10_030, 10)])
    assert market.trade(10_030, 1) == [("triggered", "")]
    assert market.trade(10_011, 5, "sell") == [], "what stands there is not known"
    assert market.trade(10_010, 5, "sell") == [("filled", 5, 10_011)]


def test_a_trailing_stop_follows_prints_and_never_retreats(market: Market) -> None:
    market.order(Side.BUY, OrderType.MARKET, 100)
    market.order(Side.SELL, OrderType.TRAILING_STOP, 100, stop_ticks=9_900, trail_ticks=100)
    for ticks in (10_050, 10_200, 10_150, 10_101):
        assert market.trade(ticks, 1) == []
    assert market.trade(10_100, 1) == [("triggered", ""), ("filled", 100, 9_999)]


# ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cancel_takes_as_long_as_an_order_and_may_come_too_late(market: Market) -> None:
    market.order(Side.BUY, OrderType.LIMIT, 50, limit_ticks=10_000)
    market.send(CANCEL, 1, Side.BUY, OrderType.LIMIT, 50)
    market.now += 5 * MS
    assert market.trade(10_000, 20, "sell") == [("filled", 20, 10_000)]
    assert market.wait() == [("cancelled", "asked for")]
    market.send(CANCEL, 1, Side.BUY, OrderType.LIMIT, 50)
    assert market.wait() == [("change_refused", "the order is not open")]
    assert market.venue.ledger.free("USDT") == market.cash


def test_an_amendment_to_a_new_price_loses_the_place_in_the_queue_and_to_less_keeps_it(market: Market) -> None:
    market.order(Side.BUY, OrderType.LIMIT, 50, limit_ticks=9_999)
    market.trade(9_999, 100, "sell")
    market.send(AMEND, 1, Side.BUY, OrderType.LIMIT, 40, limit_ticks=9_999)
    assert market.wait() == [("amended", "")]
    assert market.trade(9_999, 10, "sell") == [("filled", 10, 9_999)]
    market.send(AMEND, 1, Side.BUY, OrderType.LIMIT, 40, limit_ticks=9_998)
    market.wait()
    assert market.trade(9_998, 210, "sell") == [("filled", 10, 9_998)]
    market.send(AMEND, 1, Side.BUY, OrderType.LIMIT, 60, limit_ticks=10_001)
    assert market.wait() == [("amended", ""), ("filled", 40, 10_001)]


def test_an_amendment_that_the_venue_would_not_take_as_an_order_is_refused(market: Market) -> None:
    market.order(Side.BUY, OrderType.LIMIT, 1000, limit_ticks=9_000)
    market.send(AMEND, 1, Side.BUY, OrderType.LIMIT, 2_000_000, limit_ticks=9_000)
    assert market.wait() == [
        ("change_refused", "insufficient balance: 180000.00000 USDT needed, 100000.00000 free")
    ]
    market.send(AMEND, 1, Side.BUY, OrderType.LIMIT, 900, limit_ticks=9_000)
    assert market.wait() == [("amended", "")]


def test_a_message_counts_once(market: Market) -> None:
    market.order(Side.BUY, OrderType.MARKET, 10)
    market.send(NEW, 1, Side.BUY, OrderType.MARKET, 10)
    assert market.wait() == []


# ── accounts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_venue_s_minimums_hold(market: Market) -> None:
    assert market.order(Side.BUY, OrderType.LIMIT, 4, limit_ticks=10_000) == [
        ("rejected", "0.40000 USDT is below 0.5, the smallest order of BTC/USDT")
    ]


@pytest.fixture
def poor() -> Market:
    market = Market(cash=10)
    market.book([(9_999, 1000)], [(10_001, 1000)])
    return market


def test_what_rests_is_reserved(poor: Market) -> None:
    assert poor.order(Side.BUY, OrderType.LIMIT, 60, limit_ticks=10_000) == [ACCEPTED]
    assert poor.order(Side.BUY, OrderType.LIMIT, 60, limit_ticks=10_000) == [
        ("rejected", "insufficient balance: 6.00000 USDT needed, 4.00000 free")
    ]
    poor.send(CANCEL, 1, Side.BUY, OrderType.LIMIT, 60)
    poor.wait()
    assert poor.order(Side.BUY, OrderType.LIMIT, 60, limit_ticks=10_000) == [ACCEPTED]


def test_a_stop_and_a_target_over_one_position_fit_beside_each_other() -> None:
    market = Market()
    market.book([(9_999, 1000)], [(10_001, 1000)])
    market.order(Side.BUY, OrderType.MARKET, 100)
    assert market.order(Side.SELL, OrderType.STOP, 100, stop_ticks=9_000, reduce_only=True) == [ACCEPTED]
    assert market.order(Side.SELL, OrderType.LIMIT, 100, limit_ticks=10_100, reduce_only=True) == [ACCEPTED]
    market.trade(10_200, 100, "buy")
    assert market.order(Side.SELL, OrderType.LIMIT, 100, limit_ticks=10_100, reduce_only=True) == [
        ("rejected", "reduce-only, and there is no position to reduce")
    ]


def test_a_purchase_on_a_spot_market_pays_its_fee_in_what_it_buys() -> None:
    market = Market(default_fees=VenueFees(Decimal("0.001"), Decimal("0.002"), "get"))
    market.book([(9_999, 1000)], [(10_000, 1000)])
    _, bought = market.full(Side.BUY, OrderType.MARKET, 100)
    assert (bought.fee, bought.fee_currency) == (Decimal("0.0002"), "BTC")
    assert market.venue.ledger.free("BTC") == Decimal("0.0998")
    assert market.order(Side.SELL, OrderType.MARKET, 100) == [
        ("rejected", "insufficient balance: 0.100 BTC needed, 0.09980000 free")
    ]
    _, sold = market.full(Side.SELL, OrderType.MARKET, 99)
    assert (sold.fee, sold.fee_currency) == (Decimal("0.0197980200").quantize(Decimal("1e-8")), "USDT")


def test_a_perpetual_moves_results_fees_and_funding_alone() -> None:
    market = Market(default_fees=VenueFees(Decimal(0), Decimal("0.001"), "get"), leverage=Decimal(2))
    market.book([(9_999, 1000)], [(10_000, 1000)], "BTC/USDT:USDT")
    _, fill = market.full(Side.SELL, OrderType.MARKET, 500, symbol="BTC/USDT:USDT")
    assert (fill.fee, fill.fee_currency) == (Decimal("0.049995"), "USDT")
    assert market.cash == Decimal(100_000) - Decimal("0.049995")
    (paid,) = market.venue.on_funding(FundingDue("BTC/USDT:USDT", 5, 0.0001, 100.5), market.now)
    assert (paid.kind, paid.reason, paid.amount) == (ReportKind.CASH, "funding", Decimal("0.005025")), "shorts get it"
    market.order(Side.BUY, OrderType.MARKET, 600, symbol="BTC/USDT:USDT")
    assert market.venue.ledger.position("BTC/USDT:USDT") == 100
    assert market.cash == Decimal(100_000) - Decimal("0.049995") + Decimal("0.005025") - Decimal("0.005") - Decimal(
        "0.06"
    )
    assert market.order(Side.BUY, OrderType.LIMIT, 3_000_000, limit_ticks=10_000, symbol="BTC/USDT:USDT")[0][0] == (
        "rejected"
    )


def test_fees_that_are_no_fractions_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"taker fee is 0\.1; expected a fraction between"):
        VenueFees(taker=Decimal("0.1"))
    with pytest.raises(SettingsError, match='fee_side is \'base\'; expected "get" or "quote"'):
        VenueFees(fee_side="base")


# ── a second life ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_after_a_restart_accepted_orders_go_on_and_those_on_their_way_never_arrived(market: Market) -> None:
    market.order(Side.BUY, OrderType.MARKET, 100)
    resting = OrderMessage(7, NEW, 0, 7, "c7", "BTC/USDT", 1, "limit", 60, limit_ticks=9_999)
    stop = OrderMessage(8, NEW, 0, 8, "c8", "BTC/USDT", -1, "stop", 100, stop_ticks=9_900, reduce_only=True)
    flying = OrderMessage(9, NEW, 0, 9, "c9", "BTC/USDT", 1, "market", 5)
    known = Known(
        (
            KnownOrder(resting, "partially_filled", 10, frozenset({"p1"})),
            KnownOrder(stop, "accepted", 0, frozenset()),
            KnownOrder(flying, "in_flight", 0, frozenset()),
        ),
        {"BTC/USDT": 100}, {"USDT": Decimal(50)},
    )
    again = Market()
    assert brief(again.venue.restore(known, lambda symbol: None, 5)) == [
        ("rejected", "never reached the venue: the session ended first")
    ]
    again.book([(9_999, 100)], [(10_001, 100)])
    again.now += MS
    (fill,) = again.venue.on_trade(Trade("BTC/USDT", 0, 0, 99.99, 0.12, "sell", "x"), again.now)
    assert (fill.lots, fill.ticks) == (20, 9_999), "at the back of the queue"
    assert fill.trade_id == "p2", "p1 was the life's before"
    assert again.trade(9_900, 1, "sell")[-2:] == [("triggered", ""), ("filled", 100, 9_999)]
    assert again.venue.ledger.position("BTC/USDT") == 21


def test_the_venue_accounts_for_orders_it_is_asked_about(market: Market) -> None:
    message = OrderMessage(1, NEW, 0, 1, "c1", "BTC/USDT", 1, "limit", 60, limit_ticks=10_000)
    market.order(Side.BUY, OrderType.LIMIT, 60, limit_ticks=10_000)
    market.trade(10_000, 20, "sell")
    market.trade(10_000, 20, "sell")
    lost = message._replace(order_id=99)
    known = Known(
        (KnownOrder(message, "in_flight", 20, frozenset({"p1"})), KnownOrder(lost, "unresolved", 0, frozenset())),
        {}, {},
    )
    assert brief(market.venue.account_for(known)) == [
        ACCEPTED, ("filled", 20, 10_000), ("rejected", "never reached the venue")
    ]


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────────────

levels = st.lists(st.integers(1, 60), min_size=0, max_size=4)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("book"), st.integers(995, 1005), levels, levels),
        st.tuples(st.just("trade"), st.integers(992, 1008), st.integers(1, 80), st.sampled_from(["buy", "sell", ""])),
        st.tuples(
            st.just("order"), st.sampled_from(list(Side)),
            st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop"]), st.integers(1, 90),
            st.integers(992, 1008), st.sampled_from(["gtc", "ioc", "fok"]), st.booleans(),
        ),
        st.tuples(st.just("cancel"), st.integers(1, 8)),
        st.tuples(st.just("amend"), st.integers(1, 8), st.integers(1, 90), st.integers(992, 1008)),
    ),
    max_size=40,
)


@given(happenings)
def test_no_fill_is_larger_than_what_was_printed_or_shown_nor_better_than_the_book(script: list[Any]) -> None:
    fees = VenueFees(Decimal("0.001"), Decimal("0.002"), "get")
    market = Market(cash=1_000, default_fees=fees, latency=ConstantLatency(0), allows_short=False)
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    shown: dict[tuple[int, int], int] = {}
    fills: dict[int, list[Report]] = {}
    wanted: dict[int, int] = {}
    sides: dict[int, int] = {}
    base, cash = Decimal(0), Decimal(1_000)
    for step in script:
        market.now += MS
        venue, now, printed = market.venue, market.now, 0
        if step[0] == "book":
            _, mid, down, up = step
            bids = {mid - 1 - place: lots for place, lots in enumerate(down)}
            asks = {mid + 1 + place: lots for place, lots in enumerate(up)}
            levels = [tuple((ticks / 100, lots / 1000) for ticks, lots in side.items()) for side in (bids, asks)]
            reports = venue.on_book(Book("BTC/USDT", now, now, *levels), now)
            shown = {}
        elif step[0] == "trade":
            _, ticks, printed, side = step
            reports = venue.on_trade(Trade("BTC/USDT", now, now, ticks / 100, printed / 1000, side, str(now)), now)
        else:
            if step[0] == "order":
                _, side, kind, lots, ticks, force, reduces = step
                market.number += 1
                limit = ticks if kind in ("limit", "stop_limit") else None
                stop = ticks if kind in ("stop", "stop_limit") else None
                market.send(
                    NEW, market.number, side, OrderType(kind), lots * 10, limit_ticks=limit, stop_ticks=stop,
                    trail_ticks=3 if kind == "trailing_stop" else None, decision_ticks=ticks, time_in_force=force,
                    reduce_only=reduces,
                )
                wanted[market.number], sides[market.number] = lots * 10, int(side)
            elif step[1] <= market.number:
                kind = CANCEL if step[0] == "cancel" else AMEND
                lots = 10 * step[2] if kind == AMEND else 0
                limit = step[3] if kind == AMEND else None
                market.send(kind, step[1], Side.BUY, OrderType.LIMIT, lots, limit_ticks=limit)
            reports = venue.on_time(now)
        made = 0
        for report in reports:
            if report.kind is ReportKind.AMENDED:
                wanted[report.order_id] = report.lots
            if report.kind is not F:
                continue
            assert report.ticks is not None
            fills.setdefault(report.order_id, []).append(report)
            bought = report.fee_currency == "BTC"
            quantity = report.lots * SPOT.quantity_increment
            sign = sides[report.order_id]
            base += sign * quantity - (report.fee if bought else 0)
            cash -= sign * quantity * report.ticks / 100 + (0 if bought else report.fee)
            if report.liquidity == "maker":
                made += report.lots
            else:
                level = (sign, report.ticks)
                shown[level] = shown.get(level, 0) + report.lots
                book = asks if sign > 0 else bids
                assert shown[level] <= book.get(report.ticks, 0), "more than the book shows, or at a price it has not"
                assert min(report.spread_cost, report.slippage_cost, report.impact_cost) >= 0
        assert made <= printed, "more than was printed"
        for number, told in fills.items():
            assert sum(report.lots for report in told) <= wanted[number]
        assert (venue.ledger.balances.get("BTC", 0), market.cash) == (base, cash), "conserved"
        assert base >= 0
        assert cash >= 0

