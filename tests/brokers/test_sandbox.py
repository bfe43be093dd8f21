"""Real orders through an unmodified ccxt client on the loopback venue: lost, wrong and late answers included."""

from decimal import Decimal

import pytest

from engine import OrderStatus, OrderType, Side
from engine.errors import SettingsError, VenueUnavailable
from engine.live.reports import ReportKind
from tests.brokers.sandboxes import Trading, trading
from tests.venue.server import VenueServer
from tests.venue.sources import synthetic

S = OrderStatus


def truth_equals_books(venue: VenueServer, session: Trading) -> None:
    """Hold the books equal to the venue's, to the last unit."""
    truth = venue.truth
    known = session.broker.known()
    base = known.positions["BTC/USDT"] * Decimal("0.00001") + known.dust.get("BTC/USDT", Decimal(0))
    assert truth.balance("USDT").total == known.cash["USDT"] + known.outside["USDT"]
    assert truth.balance("BTC").total == base + known.outside["BTC"]


def test_a_market_order_fills_and_books_are_the_venue_s() -> None:
    with trading() as (venue, session):
        order = session.order()
        session.until(lambda: order.status is S.FILLED)
        assert session.kinds[-2:] == ["accepted", "filled"]
        assert session.portfolio.positions["BTC/USDT"].lots == 999, "its fee was taken out of what was bought"
        assert session.broker.known().outside == {"USDT": Decimal(40_000), "BTC": Decimal(1)}
        truth_equals_books(venue, session)
        sale = session.order(side=Side.SELL, lots=999)
        session.until(lambda: sale.status is S.FILLED)
        truth_equals_books(venue, session)
        assert session.reconcile() == []
        assert venue.unknown_requests == []


def test_a_resting_order_fills_in_parts_and_is_cancelled() -> None:
    with trading(data=synthetic(["BTC/USDT"], rows=300)) as (venue, session):
        bid = venue.truth.levels("BTC/USDT")[0][0][0]
        order = session.order(OrderType.LIMIT, lots=20_000, limit_ticks=bid)
        session.until(lambda: order.filled_lots > 0, step=lambda: venue.clock.advance(1_000))
        session.events += session.broker.cancel(order, 1, "enough")
        session.send()
        session.until(lambda: not order.is_open)
        truth_equals_books(venue, session)
        (there,) = venue.truth.by_client_id("bcsandboxx00000001")
        assert there.filled == order.filled_lots


@pytest.mark.parametrize("kind", ["lost_reply", "timeout_after", "html", "empty", "truncated"])
def test_an_answer_that_is_lost_or_makes_no_sense_is_asked_about_and_nothing_is_sent_twice(kind: str) -> None:
    with trading(timeout=1.5) as (venue, session):
        venue.faults.add(kind, on="create_order")
        order = session.order()
        session.until(lambda: order.status is S.FILLED or order.status is S.REJECTED)
        assert "unresolved" in session.kinds
        there = venue.truth.by_client_id("bcsandboxx00000001")
        assert len(there) == (order.status is S.FILLED), "one, or none and it is known"
        truth_equals_books(venue, session)


@pytest.mark.parametrize("kind", ["drop_before", "timeout_before"])
def test_an_order_that_never_arrived_is_rejected_once_it_cannot_arrive_any_more(kind: str) -> None:
    with trading(timeout=1.5) as (venue, session):
        venue.faults.add(kind, on="create_order")
        order = session.order()
        session.until(lambda: order.status is S.REJECTED)
        assert session.kinds[-2:] == ["unresolved", "rejected"]
        assert session.told[-1].reason == "never reached the venue"
        assert venue.truth.orders() == []


def test_a_refusal_is_certain_and_is_not_asked_about() -> None:
    with trading() as (venue, session):
        order = session.order(lots=10_000_000)
        session.until(lambda: order.status is S.REJECTED)
        assert session.kinds[-1:] == ["rejected"]
        assert "insufficient balance" in session.told[-1].reason
        small = session.order(OrderType.LIMIT, lots=1, limit_ticks=3_900_000)
        session.until(lambda: small.status is S.REJECTED)
        assert "NOTIONAL" in session.told[-1].reason
        assert venue.truth.orders() == []


def test_a_busy_venue_s_answer_could_be_anything_and_is_asked_about() -> None:
    with trading() as (venue, session):
        venue.faults.add("overloaded", on="create_order")
        order = session.order()
        session.until(lambda: not order.is_open)
        assert session.kinds[-2:] == ["unresolved", "rejected"]


def test_increments_that_the_venue_has_changed_are_noticed_before_anything_is_sent() -> None:
    with trading() as (venue, session):
        session.link._client.markets["BTC/USDT"]["precision"]["amount"] = 0.01
        order = session.order(lots=1_001)
        session.until(lambda: order.status is S.REJECTED)
        assert session.told[-1].reason == "not sent: quantity 0.01001 is 0.01 in the venue's increments now"
        assert venue.truth.orders() == []


def test_a_cancel_whose_answer_is_lost_is_looked_into() -> None:
    with trading() as (venue, session):
        order = session.order(OrderType.LIMIT, limit_ticks=3_000_000)
        session.until(lambda: order.status is S.ACCEPTED)
        venue.faults.add("lost_reply", on="cancel_order")
        session.broker.cancel(order, 1, "no more")
        session.send()
        session.until(lambda: not order.is_open)
        assert order.status is S.CANCELLED
        assert venue.truth.open_orders() == []


def test_an_amendment_replaces_the_order_and_its_fills_add_up() -> None:
    with trading(data=synthetic(["BTC/USDT"], rows=300)) as (venue, session):
        bid = venue.truth.levels("BTC/USDT")[0][0][0]
        order = session.order(OrderType.LIMIT, lots=100_000, limit_ticks=bid)
        session.until(lambda: order.filled_lots > 0, step=lambda: venue.clock.advance(1_000))
        session.broker.amend(order, 1, lots=110_000, limit_ticks=bid - 10, stop_ticks=None)
        session.send()
        session.until(lambda: "amended" in session.kinds)
        assert (order.lots, order.limit_ticks) == (110_000, bid - 10)
        session.until(lambda: order.status is S.FILLED, step=lambda: venue.clock.advance(5_000))
        truth_equals_books(venue, session)


def test_a_fill_that_no_stream_tells_of_is_found_by_looking() -> None:
    with trading() as (venue, session):
        order = session.order(OrderType.LIMIT, lots=1_000, limit_ticks=3_999_000)
        session.until(lambda: order.status is S.ACCEPTED)
        venue.faults.add("ws_stall", on="watch_*", times=None)
        venue.faults.add("server_error", on="fetch_order", times=2)
        session.broker.amend(order, 1, lots=1_000, limit_ticks=4_100_000, stop_ticks=None)
        session.send()
        session.until(lambda: order.status is S.FILLED)
        truth_equals_books(venue, session)


def test_another_life_of_the_session_asks_about_what_the_first_has_sent() -> None:
    with trading() as (venue, first):
        filled, resting = first.order(), first.order(OrderType.LIMIT, limit_ticks=3_000_000)
        first.until(lambda: len(venue.truth.orders()) == 2 and resting.status is S.ACCEPTED)
        # What it heard last was never recorded: its books are those of a session that died just after sending.
        second = Trading(venue, is_new=False)
        for report in first.told[:2]:
            second.broker.apply(report)
        mine = [
            second.recorded(OrderType.MARKET), second.recorded(OrderType.LIMIT, limit_ticks=3_000_000),
            second.recorded(OrderType.LIMIT, limit_ticks=2_900_000),
        ]
        second.link.start()
        found = second.reconcile()
        assert mine[0].status is S.FILLED
        assert mine[1].status is S.ACCEPTED
        assert mine[2].status is S.REJECTED
        assert [report.reason for report in found if report.kind is ReportKind.REJECTED] == ["never reached the venue"]
        assert filled.lots == mine[0].lots
        truth_equals_books(venue, second)
        assert second.reconcile() == []
        assert len(venue.truth.orders()) == 2, "nothing was sent twice"
        second.link.close()


def test_what_nothing_explains_is_a_difference() -> None:
    with trading() as (venue, session):
        order = session.order()
        session.until(lambda: order.status is S.FILLED)
        stranger = Trading(venue, is_new=False)
        stranger.number = 70
        stranger.link.start()
        other = stranger.order(side=Side.SELL, lots=500)
        stranger.until(lambda: other.status is S.FILLED)
        stranger.link.close()
        found = list(session.link.reconcile(session.broker.known()))
        assert [(report.kind, report.symbol, report.lots, report.currency) for report in found] == [
            (ReportKind.DIFFERENCE, "BTC/USDT", -500, ""), (ReportKind.DIFFERENCE, "", 0, "USDT")
        ]


def test_a_venue_that_does_not_answer_is_unavailable_and_the_words_hold_no_keys() -> None:
    with trading() as (venue, session):
        venue.faults.add("server_error", on="fetch_balance", times=None)
        with pytest.raises(VenueUnavailable) as caught:
            session.link.reconcile(session.broker.known())
        assert "binance does not answer" in str(caught.value)
        assert "signature=***" in str(caught.value)
        assert caught.value.__cause__ is None


def test_keys_that_may_withdraw_are_refused() -> None:
    with trading() as (venue, session):
        venue.faults.add(
            "status", on="fetch_permissions", status=200, body='{"enableWithdrawals": true, "enableReading": true}'
        )
        with pytest.raises(SettingsError, match="these keys of binance may withdraw money"):
            session.link.start()
