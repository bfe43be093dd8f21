"""Laws of the venue's own matching engine: priority, conservation, and that it needs no book where nobody looks."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.venue.accounts import account
from tests.venue.binance import RULES
from tests.venue.exchange import Exchange, Listing
from tests.venue.instruments import Instrument, usual_instrument
from tests.venue.orders import Reason, Rejected, Request, Status
from tests.venue.sources import steady, synthetic
from tests.venue.tape import Habits, TapeBar, key_of, prints_of
from tests.venue.trading import Rules

BTC = "BTC/USDT"
RICH = {"USDT": 10_000_000, "BTC": 100}


def exchange(data=None, *, rules=RULES, symbols=(BTC,), seed=1, history=100, habits=Habits()):  # noqa: B008
    """An exchange with two rich accounts, one and two."""
    data = data or steady()
    listings = []
    for symbol in symbols:
        instrument = usual_instrument("binance", symbol)
        listings.append(Listing(instrument, data.columns[symbol].in_increments(instrument), history))
    accounts = [account(name, key=name, balances=RICH) for name in ("one", "two")]
    start = int(data.columns[symbols[0]].open_time[history])
    return Exchange(listings, accounts, start=start, duration=data.duration, seed=seed, rules=rules, habits=habits)


def place(venue, side, quantity, price=None, *, who="one", **fields):
    return venue.trading.place(venue.trading.accounts[who], Request(
        BTC, side, "market" if price is None else "limit", Decimal(str(quantity)),
        None if price is None else Decimal(str(price)), **fields))


def test_the_better_price_goes_first_and_then_the_earlier_order():
    venue = exchange()
    late, early, best = (place(venue, "buy", 1, price, who="two") for price in (39_999.9, 39_999.9, 39_999.95))
    late, early = early, late

    place(venue, "sell", 1.5, 39_999.5)

    assert (best.filled, early.filled, late.filled) == (100_000, 50_000, 0)
    assert [fill.price for fill in best.fills + early.fills] == [3_999_995, 3_999_990]


def test_makers_who_were_there_before_are_filled_before_us():
    venue = exchange()
    price, lots = venue.markets[BTC].levels()[0][0]
    ours = place(venue, "buy", 1, price / 100)

    place(venue, "sell", lots / 100_000, who="two")
    assert ours.filled == 0

    place(venue, "sell", 0.25, who="two")
    assert ours.filled == 25_000


def test_an_order_that_is_made_smaller_keeps_its_place_and_one_made_larger_goes_to_the_end():
    venue = exchange()
    first, second = (place(venue, "buy", 1, 39_999.9) for _ in range(2))
    one = venue.trading.accounts["one"]

    venue.trading.amend(one, first, quantity=Decimal("0.5"))
    place(venue, "sell", 0.5, 39_999.9, who="two")
    assert (first.status, second.filled) == (Status.FILLED, 0)

    third = place(venue, "buy", 1, 39_999.9)
    venue.trading.amend(one, second, quantity=Decimal(2))
    place(venue, "sell", 1, 39_999.9, who="two")
    assert (third.status, second.filled) == (Status.FILLED, 0)


def test_the_market_trading_through_an_order_fills_it_whole_and_never_at_a_worse_price():
    data = synthetic([BTC], rows=400, seed=7)
    venue = exchange(data)
    last = venue.markets[BTC].last_price
    order = place(venue, "buy", 2, (last - 2000) / 100)

    venue.play(venue.now + 60_000 * 290)

    low = float(data.columns[BTC].low[100:390].min())
    assert low < (last - 2000) / 100 - 5
    assert order.status is Status.FILLED
    assert all(fill.price == last - 2000 and fill.is_maker for fill in order.fills)


def test_the_same_account_never_trades_with_itself():
    venue = exchange()
    resting = place(venue, "buy", 1, 39_999.9)
    place(venue, "sell", 1, 39_999.9)
    assert resting.status is Status.EXPIRED
    assert resting.filled == 0


def test_a_fill_or_kill_order_takes_all_or_nothing():
    venue = exchange()
    price, lots = venue.markets[BTC].levels()[1][0]
    nothing = place(venue, "buy", (lots + 1) / 100_000, price / 100, time_in_force="FOK")
    everything = place(venue, "buy", lots / 100_000, price / 100, time_in_force="FOK")
    assert (nothing.status, nothing.filled) == (Status.EXPIRED, 0)
    assert (everything.status, everything.filled) == (Status.FILLED, lots)


def test_an_order_for_money_spends_no_more_than_it():
    venue = exchange()
    order = venue.trading.place(venue.trading.accounts["one"], Request(
        BTC, "buy", "market", quote_quantity=Decimal(1000)))
    spent = order.instrument.value(order.value)
    assert order.status is Status.FILLED
    assert 999 < spent <= 1000


def test_a_stop_limit_rests_once_its_price_has_traded():
    venue = exchange()
    with pytest.raises(Rejected) as caught:
        place(venue, "sell", 1, 39_000, stop_price=Decimal(40_001))
    assert caught.value.reason is Reason.WOULD_TRIGGER
    order = place(venue, "buy", 1, 40_010, stop_price=Decimal(40_005))
    assert order.status is Status.UNTRIGGERED
    assert venue.trading.accounts["one"].balance("USDT").locked == 40_010
    place(venue, "buy", 20, 40_010, who="two")
    assert order.is_triggered


def test_cancelling_and_expiring_give_back_what_was_locked():
    venue = exchange()
    order = place(venue, "buy", 1, 30_000)
    one = venue.trading.accounts["one"]
    assert one.balance("USDT").locked == 30_000
    venue.trading.cancel(one, order)
    assert one.balance("USDT") == (10_000_000, 0)
    with pytest.raises(Rejected) as caught:
        venue.trading.cancel(one, order)
    assert caught.value.reason is Reason.UNKNOWN_ORDER


ACTIONS = st.lists(st.one_of(
    st.tuples(st.just("place"), st.sampled_from(["one", "two"]), st.sampled_from(["buy", "sell"]),
              st.integers(1, 300), st.one_of(st.none(), st.integers(-30, 30)),
              st.sampled_from(["GTC", "IOC", "FOK", "POST"])),
    st.tuples(st.just("stop"), st.sampled_from(["one", "two"]), st.sampled_from(["buy", "sell"]),
              st.integers(1, 300), st.integers(1, 20)),
    st.tuples(st.just("amend"), st.integers(0, 20), st.integers(1, 400), st.integers(-20, 20)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("play"), st.integers(1, 90_000)),
), max_size=40)


def act(venue, action):
    """Do one thing that a client may try, refused or not."""
    last = venue.markets[BTC].last_price
    trading, kind = venue.trading, action[0]
    if kind == "play":
        venue.play(venue.now + action[1])
        return
    try:
        if kind == "place":
            _, who, side, hundredths, away, time_in_force = action
            place(venue, side, hundredths / 100, None if away is None else (last + 40 * away) / 100, who=who,
                  time_in_force="GTC" if away is None else time_in_force)
        elif kind == "stop":
            _, who, side, hundredths, away = action
            place(venue, side, hundredths / 100, who=who,
                  stop_price=Decimal(last + 40 * (away if side == "buy" else -away)) / 100)
        else:
            order = list(trading.orders.values())[action[1] % len(trading.orders)] if trading.orders else None
            owner = trading.accounts[order.account if order else "one"]
            if kind == "cancel":
                trading.cancel(owner, order)
            else:
                price = None if order is None or order.price is None else Decimal(order.price + action[3]) / 100
                trading.amend(owner, order, quantity=Decimal(action[2]) / 100, price=price)
    except Rejected:
        return


def check(venue):
    """What must hold after anything."""
    trading, book = venue.trading, venue.markets[BTC].book
    assert trading.ledger.total_of("BTC") == 200
    assert trading.ledger.total_of("USDT") == 20_000_000
    for owner in trading.accounts.values():
        open_orders = trading.open_orders(owner)
        assert open_orders == [order for order in trading.orders_of(owner) if order.status.is_open]
        for asset in ("BTC", "USDT"):
            balance = owner.balance(asset)
            assert balance.free >= 0
            assert balance.locked == sum(order.locked for order in open_orders if order.lock_asset == asset)
    for order in trading.orders.values():
        assert order.filled == sum(fill.quantity for fill in order.fills) <= order.quantity
        assert order.value == sum(fill.quantity * fill.price for fill in order.fills)
        assert (order.status is Status.FILLED) == (order.filled == order.quantity)
        for fill in order.fills:
            assert order.price is None or (fill.price <= order.price if order.side == "buy"
                                           else fill.price >= order.price) or order.amendments
        resting = order.id in venue.markets[BTC].clients
        assert resting == (order.status in (Status.NEW, Status.PARTIALLY_FILLED))
    if book is not None:
        bid, ask = book.bids.best(), book.asks.best()
        assert bid is None or ask is None or bid < ask


@settings(max_examples=60)
@given(ACTIONS, st.integers(0, 3))
def test_nothing_is_lost_or_made_and_the_book_never_crosses(actions, seed):
    venue = exchange(synthetic([BTC], rows=160, seed=seed), seed=seed)
    for action in actions:
        act(venue, action)
        check(venue)


@settings(max_examples=25)
@given(ACTIONS)
def test_the_same_actions_lead_to_the_same_venue(actions):
    def outcome():
        venue = exchange(synthetic([BTC], rows=160, seed=1))
        for action in actions:
            act(venue, action)
        market = venue.markets[BTC]
        return (list(market.trades), market.levels(), market.revision, market.candles.take(60_000, limit=1000),
                [(order.id, order.status, order.filled, order.value, tuple(order.fills))
                 for order in venue.trading.orders.values()], dict(venue.trading.ledger.fees))

    assert outcome() == outcome()


@settings(max_examples=15)
@given(st.integers(0, 100), st.integers(1, 3_000_000))
def test_a_market_with_an_order_far_away_looks_like_one_without(seed, until):
    """The book that is worked out when somebody looks is the book that there would have been."""
    data = synthetic([BTC], rows=160, seed=seed)
    untouched, touched = exchange(data, seed=seed), exchange(data, seed=seed)
    place(touched, "buy", 0.001, 9_000)
    for venue in (untouched, touched):
        venue.play(venue.now + until)

    assert untouched.markets[BTC].book is None
    assert touched.markets[BTC].book is not None
    assert list(untouched.markets[BTC].trades) == list(touched.markets[BTC].trades)
    bids, asks = touched.markets[BTC].levels()
    assert ([level for level in bids if level[0] != 900_000], asks) == untouched.markets[BTC].levels()


@settings(max_examples=100)
@given(st.integers(2, 5000), st.integers(0, 400), st.integers(0, 400), st.integers(0, 800), st.integers(0, 800),
       st.integers(0, 100_000), st.integers(0, 50), st.integers(3, 30))
def test_the_prints_of_a_bar_make_the_bar(low, a, b, c, d, volume, number, count):
    high = low + max(a, b, min(c, a + b), min(d, a + b))
    opened, closed = low + min(c, high - low), low + min(d, high - low)
    bar = TapeBar(number * 60_000, opened, high, low, closed, volume)
    prints = prints_of(bar, 60_000, key_of(number, "x"), Habits(prints_per_bar=count))
    if not prints:
        assert volume == 0
        assert low == high
        return
    prices = [print_.price for print_ in prints]
    assert (prices[0], max(prices), min(prices), prices[-1]) == (opened, high, low, closed)
    path = [opened, *((low, high) if closed >= opened else (high, low)), closed]
    corners = 1 + sum(one != other for one, other in pairwise(path))
    assert sum(print_.quantity for print_ in prints) == max(volume, corners)
    assert all(print_.quantity > 0 for print_ in prints)
    times = [print_.time for print_ in prints]
    assert times == sorted(times)
    assert bar.open_time < times[0]
    assert times[-1] < bar.open_time + 60_000


def test_rules_that_differ_between_venues():
    strict = exchange(rules=Rules(ids_stay_taken=True, refuses_post_only=False))
    place(strict, "buy", 1, client_id="a")
    with pytest.raises(Rejected) as caught:
        place(strict, "buy", 1, client_id="a")
    assert caught.value.reason is Reason.DUPLICATE
    assert place(strict, "buy", 1, 41_000, time_in_force="POST").status is Status.CANCELLED

    loose = exchange()
    place(loose, "buy", 1, client_id="a")
    place(loose, "buy", 1, client_id="a")
    with pytest.raises(Rejected) as caught:
        place(loose, "buy", 1, 41_000, time_in_force="POST")
    assert caught.value.reason is Reason.WOULD_TAKE


def test_no_more_orders_than_the_venue_allows_and_every_refusal_leaves_no_trace():
    venue = exchange(rules=Rules(max_open_orders=3))
    for _ in range(3):
        place(venue, "buy", 0.1, 30_000)
    before = venue.trading.accounts["one"].balance("USDT")
    for request, reason in (
        (("buy", 0.1, 30_000), Reason.TOO_MANY), (("buy", 0.1, 30_000.001), Reason.TOO_MANY),
    ):
        with pytest.raises(Rejected) as caught:
            place(venue, *request)
        assert caught.value.reason is reason
    assert venue.trading.accounts["one"].balance("USDT") == before
    assert len(venue.trading.orders) == 3


def test_changed_filters_hold_for_the_next_order():
    venue = exchange()
    assert isinstance(venue.change_instrument(BTC, price_increment="0.5"), Instrument)
    with pytest.raises(Rejected) as caught:
        place(venue, "buy", 1, "39999.75")
    assert caught.value.reason is Reason.PRICE
