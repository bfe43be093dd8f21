"""The author's surface: what a strategy asks for, and how what it asks is understood."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from engine import Bar, Bars, OrderRequest, OrderType, PluginError, Side, Strategy, Stream, TimeInForce
from engine.bars import HOUR, FloatArray
from engine.errors import OrderError
from engine.lines import Line
from engine.strategy import exposures_from, overrides

BTC, ETH = Stream("BTC", "1h"), Stream("ETH", "1h")


class FakeContext:
    """Answers from fixed numbers and writes down what it is asked for."""

    largest_exposure = 1.0

    now = HOUR

    def __init__(self, *streams: Stream) -> None:
        self.streams = streams
        self.symbols = tuple(dict.fromkeys(stream.symbol for stream in streams))
        self.asked: list[Any] = []
        self.positions: dict[str, Decimal] = {}
        self.working: list[Any] = []

    def line(
        self, function: Any, inputs: tuple[str, ...], arguments: tuple[Any, ...], options: Mapping[str, Any],
        stream: Stream, output: int | str,
    ) -> Line:
        self.asked.append((function, inputs, arguments, dict(options), stream, output))
        return Line("line")

    def history(self, stream: Stream, field: str, count: int) -> FloatArray:
        return np.arange(float(count))

    def price(self, symbol: str) -> float:
        return 100.0

    def position(self, symbol: str) -> Decimal:
        return self.positions.get(symbol, Decimal(0))

    def average_price(self, symbol: str) -> Decimal | None:
        return None

    def cash(self, currency: str | None) -> Decimal:
        return Decimal(5_000)

    def equity(self, currency: str | None) -> Decimal:
        return Decimal(10_000)

    def quantity_for_exposure(self, symbol: str, exposure: float) -> float:
        return exposure * 100.0

    def open_orders(self, symbol: str | None) -> list[Any]:
        return list(self.working)

    def target(self, symbol: str, exposure: float, why: str) -> None:
        self.asked.append((symbol, exposure, why))

    def request(self, request: OrderRequest) -> Any:
        self.asked.append(request)
        return request

    def cancel(self, order: Any, why: str) -> None:
        self.working.remove(order)
        self.asked.append(("cancel", order, why))

    def amend(self, order: Any, quantity: Any, limit: Any, stop: Any, why: str) -> None:
        self.asked.append(("amend", order, quantity, limit, stop, why))

    def set_timer(self, name: str, at: int | None, every: str | None) -> None:
        self.asked.append((name, at, every))


@pytest.fixture
def context() -> FakeContext:
    return FakeContext(BTC)


@pytest.fixture
def strategy(context: FakeContext) -> Strategy:
    return given(Strategy(), context)


def given(strategy: Strategy, context: FakeContext) -> Strategy:
    strategy._context = context
    return strategy


# ── targets ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeated_target_asks_for_nothing(strategy: Strategy, context: FakeContext) -> None:
    strategy.target("BTC", 0.5, why="up")
    strategy.target("BTC", 0.5, why="still up")
    strategy.target("BTC", 0.0)
    assert context.asked == [("BTC", 0.5, "up"), ("BTC", 0.0, "")]


def test_rebalancing_repeats_a_target(strategy: Strategy, context: FakeContext) -> None:
    strategy.target("BTC", 0.5)
    strategy.target("BTC", 0.5, rebalance=True)
    assert len(context.asked) == 2


@pytest.mark.parametrize("exposure", [1.01, -1.01, float("nan"), float("inf")])
def test_a_target_beyond_all_of_the_equity_is_refused(strategy: Strategy, exposure: float) -> None:
    with pytest.raises(OrderError, match=rf"target for BTC is {exposure}; expected a fraction of equity"):
        strategy.target("BTC", exposure)


# ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("prices", "kind"),
    [
        ({}, OrderType.MARKET),
        ({"limit": 99.0}, OrderType.LIMIT),
        ({"stop": 101.0}, OrderType.STOP),
        ({"limit": 102.0, "stop": 101.0}, OrderType.STOP_LIMIT),
        ({"trail_fraction": 0.02}, OrderType.TRAILING_STOP),
        ({"trail_amount": 2.0}, OrderType.TRAILING_STOP),
        ({"stop_loss": 95.0, "take_profit": 110.0}, OrderType.MARKET),
    ],
)
def test_the_prices_given_decide_the_order_type(
    strategy: Strategy, context: FakeContext, prices: dict[str, float], kind: OrderType
) -> None:
    strategy.buy("BTC", 1, **prices)
    strategy.sell("BTC", 1, **prices)
    assert [(request.side, request.type) for request in context.asked] == [(Side.BUY, kind), (Side.SELL, kind)]
    for name, price in prices.items():
        assert [getattr(request, name) for request in context.asked] == [price, price]


def test_every_option_of_buy_and_sell_reaches_the_request(strategy: Strategy, context: FakeContext) -> None:
    options: dict[str, Any] = {
        "limit": 99, "stop": 98, "stop_loss": 90, "take_profit": 120, "trail_stop_fraction": 0.1,
        "time_in_force": TimeInForce.GTD, "expire_at": 5, "post_only": True, "reduce_only": True, "oco_group": "exits",
        "why": "because",
    }
    strategy.buy("BTC", Decimal("1.5"), **options)
    strategy.sell("BTC", Decimal("1.5"), **options)
    for side, request in zip((Side.BUY, Side.SELL), context.asked, strict=True):
        assert request == OrderRequest("BTC", side, Decimal("1.5"), OrderType.STOP_LIMIT, **options)


@pytest.mark.parametrize(("held", "side"), [("2.5", Side.SELL), ("-2.5", Side.BUY)])
def test_closing_trades_the_position_away_and_never_beyond(
    strategy: Strategy, context: FakeContext, held: str, side: Side
) -> None:
    context.positions["BTC"] = Decimal(held)
    strategy.close("BTC", why="enough")
    (request,) = context.asked
    assert (request.side, request.quantity, request.reduce_only, request.why) == (side, Decimal("2.5"), True, "enough")


def test_closing_without_a_position_asks_for_nothing(strategy: Strategy, context: FakeContext) -> None:
    assert strategy.close("BTC") is None
    assert context.asked == []


def test_a_target_counts_anew_after_a_close(strategy: Strategy, context: FakeContext) -> None:
    strategy.target("BTC", 0.5)
    context.positions["BTC"] = Decimal(1)
    strategy.close("BTC")
    strategy.target("BTC", 0.5)
    assert context.asked[-1] == ("BTC", 0.5, "")


def test_cancelling_all_withdraws_every_open_order(strategy: Strategy, context: FakeContext) -> None:
    context.working = ["one", "two"]
    strategy.cancel_all(why="weekend")
    assert context.asked == [("cancel", "one", "weekend"), ("cancel", "two", "weekend")]


# ── sizing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sizes_come_from_cash_from_equity_and_from_risk(strategy: Strategy) -> None:
    assert strategy.quantity_for_exposure("BTC", 0.5) == 50.0
    assert strategy.quantity_for_cash("BTC", 0.5) == 25.0  # half of 5 000 at 100
    assert strategy.quantity_for_risk("BTC", 0.01, 95.0) == 20.0  # 100 at risk, 5 a unit
    assert strategy.quantity_for_risk("BTC", 0.01, 105.0) == 20.0  # a short position's stop lies above


def test_a_stop_at_the_price_itself_has_no_size(strategy: Strategy) -> None:
    with pytest.raises(OrderError, match=r"stop for BTC is 100\.0, the last close itself"):
        strategy.quantity_for_risk("BTC", 0.01, 100.0)


# ── streams and indicators ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("streams", "symbol", "timeframe", "meant"),
    [
        ((BTC,), None, None, BTC),
        ((BTC, ETH), "ETH", None, ETH),
        ((BTC, Stream("BTC", "4h")), None, "4h", Stream("BTC", "4h")),
        ((BTC, Stream("BTC", "4h")), "BTC", None, BTC),  # the feed's first timeframe is the one that counts
        ((BTC, ETH, Stream("ETH", "4h")), "ETH", "4h", Stream("ETH", "4h")),
    ],
)
def test_a_stream_may_be_named_as_far_as_needed(
    streams: tuple[Stream, ...], symbol: str | None, timeframe: str | None, meant: Stream
) -> None:
    assert given(Strategy(), FakeContext(*streams)).stream(symbol, timeframe) == meant


@pytest.mark.parametrize(
    ("symbol", "timeframe", "message"),
    [
        (None, None, r"several streams fit 'any'; name symbol= and timeframe= out of BTC 1h, ETH 1h"),
        ("SOL", None, r"no stream fits 'SOL'"),
        ("BTC", "4h", r"no stream fits 'BTC 4h'"),
    ],
)
def test_an_unclear_stream_is_refused(symbol: str | None, timeframe: str | None, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        given(Strategy(), FakeContext(BTC, ETH)).stream(symbol, timeframe)


def test_an_indicator_takes_fields_first_then_its_parameters(strategy: Strategy, context: FakeContext) -> None:
    strategy.indicator("BBANDS", "high", 20, 2.5, matype="EMA", output="lowerband")
    assert context.asked == [("BBANDS", ("high",), (20, 2.5), {"matype": "EMA"}, BTC, "lowerband")]


def test_the_only_symbol_of_a_run_has_a_short_name() -> None:
    assert given(Strategy(), FakeContext(BTC)).symbol == "BTC"
    with pytest.raises(PluginError, match="several streams fit"):
        given(Strategy(), FakeContext(BTC, ETH)).symbol  # noqa: B018


# ── vectorised targets ──────────────────────────────────────────────────────────────────────────────────────────


def bars(rows: int) -> Bars:
    times = np.arange(rows) * HOUR
    prices = np.full(rows, 100.0)
    return Bars((BTC,), times, times + HOUR, prices, prices, prices, prices, prices)


class Given(Strategy):
    """Answers with what it was made with."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def targets(self, bars: Bars) -> Any:
        return self.answer


def test_targets_are_exposures_or_nan() -> None:
    np.testing.assert_array_equal(exposures_from(Given([np.nan, 1, -1]), bars(3)), [np.nan, 1.0, -1.0])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([0.0, 1.0], r"Given\.targets returned shape \(2,\); expected one value a row, \(3,\)"),
        (0.0, r"returned shape \(\)"),
        ([0.0, 1.5, 0.0], r"Given\.targets is 1\.5 at row 1; expected a fraction of equity between -1 and 1"),
        ([0.0, np.inf, 0.0], r"is inf at row 1"),
    ],
)
def test_targets_of_a_wrong_shape_or_size_are_refused(answer: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        exposures_from(Given(answer), bars(3))


def test_only_overridden_handlers_count() -> None:
    class Watching(Strategy):
        def on_bar(self, bar: Bar) -> None: ...

    class Inheriting(Watching): ...

    assert overrides(Inheriting(), "on_bar")
    assert not overrides(Inheriting(), "on_slice")
