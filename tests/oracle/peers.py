"""The peers themselves, run on one scenario: the fills they really make, at zero cost and with ample cash.

A scenario is one entry of `shared/scenarios/*.json`; a fill is `[side, bar_index, price]`, the price as the peer's own
float. Fills come in the order in which the peer makes them, one per executed order, however much it closes and opens.

What the scenarios leave open, and what is done here:
- a bracket enters at the market, or at its `limit` or `stop` if it has one; either child may be missing
- an order that backtesting.py refuses (`stop_loss < entry < take_profit` does not hold) makes no fill there
- a trailing order enters at the market; `run_backtrader` can build its stop in two ways, equal on what is recorded
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import backtrader
import numpy as np
import pandas as pd
from backtesting import Backtest
from backtesting import Strategy as BacktestingStrategy
from backtesting.backtesting import _Broker as BacktestingBroker

Scenario = dict[str, Any]
ScenarioOrder = dict[str, Any]
Fill = list[Any]

AMPLE_CASH = 1e9    # in quote currency: no order of a scenario is refused for want of it
FIRST_DAY = pd.Timestamp("2024-01-01")
EXPRESSIBLE_IN_VECTORBT = {"market", "bracket", "trailing"}


# --- backtesting.py ------------------------------------------------------------------------------------------------


def run_backtesting_py(scenario: Scenario) -> list[Fill]:
    """Return the fills of backtesting.py 0.6.6.

    It shows a strategy no bar before index 1, so an order decided at the close of bar 0 is never placed.
    """
    with quiet():
        backtest = Backtest(_frame(scenario), _BacktestingScript, cash=AMPLE_CASH)
        backtest._broker = functools.partial(_RecordingBroker, **backtest._broker.keywords)
        fills: list[Fill] = []
        with contextlib.suppress(_Finished):
            backtest.run(script=scenario["orders"], last_index=len(scenario["bars"]) - 1, fills=fills)
    return fills


class _BacktestingScript(BacktestingStrategy):
    script: ClassVar[list[ScenarioOrder]] = []    # this and the next two are set by each run
    last_index = 0
    fills: ClassVar[list[Fill]] = []

    def init(self) -> None:
        self._broker.fills = self.fills

    def next(self) -> None:
        index = len(self.data) - 1
        for trade in self.trades:
            _trail(trade, self.script[trade.tag], close=float(self.data.Close[-1]))
        for number, order in enumerate(self.script):
            if order["decided_at_close_of"] == index:
                with contextlib.suppress(ValueError):
                    _place_with_backtesting_py(self, order, number)
        if index == self.last_index:
            raise _Finished    # spares the statistics, which take ten times as long as the run


class _Finished(Exception):
    """The last bar has been seen."""


class _Queue(list):
    """The queue of backtesting.py, telling when a stand-alone order leaves it."""

    on_order_done = staticmethod(lambda: None)

    def remove(self, order: Any) -> None:
        super().remove(order)
        if order.parent_trade is None:
            self.on_order_done()


class _RecordingBroker(BacktestingBroker):
    """The broker of backtesting.py, noting each fill as it happens.

    An order that closes trades and opens another comes as several legs; they are one fill.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.fills: list[Fill] = []    # the script puts its own list here
        self._has_leg = False    # of the stand-alone order now being executed
        self.orders = _Queue()
        self.orders.on_order_done = self._end_order

    def _end_order(self) -> None:
        self._has_leg = False

    def _add_leg(self, is_buy: bool, time_index: int, price: float) -> None:
        if not self._has_leg:
            self.fills.append(["buy" if is_buy else "sell", time_index, float(price)])
        self._has_leg = True

    def _open_trade(self, price, size, sl, tp, time_index, tag):
        self._add_leg(size > 0, time_index, price)
        super()._open_trade(price, size, sl, tp, time_index, tag)

    def _reduce_trade(self, trade, price, size, time_index):
        closes_by_its_own_stop_or_target = trade.size + size == 0
        super()._reduce_trade(trade, price, size, time_index)
        if closes_by_its_own_stop_or_target:
            self._has_leg = False

    def _close_trade(self, trade, price, time_index):
        self._add_leg(trade.size < 0, time_index, price)
        super()._close_trade(trade, price, time_index)


def _place_with_backtesting_py(strategy: BacktestingStrategy, order: ScenarioOrder, number: int) -> None:
    place = strategy.buy if order["side"] == "buy" else strategy.sell
    place(size=order["quantity"], limit=order.get("limit"), stop=order.get("stop"),
          sl=order.get("stop_loss"), tp=order.get("take_profit"), tag=number)


def _trail(trade: Any, order: ScenarioOrder, close: float) -> None:
    if order["type"] != "trailing":
        return
    fraction = order["trail_fraction"]
    if trade.is_long:
        level = close * (1 - fraction)
        if trade.sl is None or level > trade.sl:
            trade.sl = level
    else:
        level = close * (1 + fraction)
        if trade.sl is None or level < trade.sl:
            trade.sl = level


# --- backtrader ----------------------------------------------------------------------------------------------------


def run_backtrader(scenario: Scenario, *, trailing_stop: str = "child") -> list[Fill]:
    """Return the fills of backtrader 1.9.78.123.

    Args:
        trailing_stop: "child" sends the stop with its entry, as a bracket does: its first level comes from the close at
            which the order was decided. "after_entry" sends it once the entry is filled: from the entry bar's close.
    """
    fills: list[Fill] = []
    cerebro = backtrader.Cerebro(stdstats=False)
    cerebro.adddata(_BarFeed(bars=scenario["bars"]))
    cerebro.addstrategy(_BacktraderScript, script=scenario["orders"], trailing_stop=trailing_stop, fills=fills)
    cerebro.broker.setcash(AMPLE_CASH)
    with quiet():
        cerebro.run()
    return fills


class _BacktraderScript(backtrader.Strategy):
    params = (("script", ()), ("trailing_stop", "child"), ("fills", None))

    def __init__(self) -> None:
        self.trailing_entries: dict[int, ScenarioOrder] = {}

    def next(self) -> None:
        for order in self.p.script:
            if order["decided_at_close_of"] == len(self.data) - 1:
                _place_with_backtrader(self, order, self.p.trailing_stop)

    def notify_order(self, order: Any) -> None:
        if order.status != order.Completed:
            return
        self.p.fills.append(["buy" if order.isbuy() else "sell",
                             round(order.executed.dt - _first_number()), float(order.executed.price)])
        if entered := self.trailing_entries.pop(order.ref, None):
            leave = self.sell if order.isbuy() else self.buy
            leave(size=entered["quantity"], exectype=order.StopTrail, trailpercent=entered["trail_fraction"])


class _BarFeed(backtrader.feed.DataBase):
    """The bars of a scenario, one a day."""

    params = (("bars", ()),)

    def start(self) -> None:
        super().start()
        self._remaining: Iterator[tuple[int, list[float]]] = iter(enumerate(self.p.bars))

    def _load(self) -> bool:
        index, bar = next(self._remaining, (None, None))
        if index is None:
            return False
        self.lines.datetime[0] = _first_number() + index
        for line, value in zip((self.lines.open, self.lines.high, self.lines.low, self.lines.close, self.lines.volume),
                               bar, strict=True):
            line[0] = float(value)
        self.lines.openinterest[0] = 0.0
        return True


@functools.cache
def _first_number() -> float:
    return backtrader.date2num(FIRST_DAY.to_pydatetime())


def _place_with_backtrader(strategy: backtrader.Strategy, order: ScenarioOrder, trailing_stop: str) -> None:
    is_buy = order["side"] == "buy"
    enter, leave = (strategy.buy, strategy.sell) if is_buy else (strategy.sell, strategy.buy)
    size, limit, stop = order["quantity"], order.get("limit"), order.get("stop")
    if stop is not None and limit is not None:
        entry = {"exectype": backtrader.Order.StopLimit, "price": stop, "plimit": limit}
    elif stop is not None:
        entry = {"exectype": backtrader.Order.Stop, "price": stop}
    elif limit is not None:
        entry = {"exectype": backtrader.Order.Limit, "price": limit}
    else:
        entry = {"exectype": backtrader.Order.Market}

    if order["type"] == "bracket":
        stop_loss, take_profit = order.get("stop_loss"), order.get("take_profit")
        place = strategy.buy_bracket if is_buy else strategy.sell_bracket
        place(size=size, **entry, stopprice=stop_loss, limitprice=take_profit,
              stopexec=None if stop_loss is None else backtrader.Order.Stop,
              limitexec=None if take_profit is None else backtrader.Order.Limit)
    elif order["type"] == "trailing" and trailing_stop == "child":
        parent = enter(size=size, **entry, transmit=False)
        leave(size=size, exectype=backtrader.Order.StopTrail, trailpercent=order["trail_fraction"], parent=parent)
    elif order["type"] == "trailing":
        strategy.trailing_entries[enter(size=size, **entry).ref] = order
    else:
        enter(size=size, **entry)


# --- vectorbt ------------------------------------------------------------------------------------------------------


def run_vectorbt_next_open(scenario: Scenario) -> list[Fill] | None:
    """Return the fills of vectorbt 1.2.0 with signals shifted by one bar and filled at the open.

    None where it cannot say: it knows no waiting orders, and this knows one order a scenario. Stops are fractions of
    the entry price, as vectorbt wants them, so a touch to the increment may be missed.
    """
    orders = scenario["orders"]
    if len(orders) != 1 or orders[0]["type"] not in EXPRESSIBLE_IN_VECTORBT or {"limit", "stop"} & orders[0].keys():
        return None
    import vectorbt  # deferred: seconds to import, compiles on first use

    order, frame = orders[0], _frame(scenario)
    entry_index = order["decided_at_close_of"] + 1
    if entry_index >= len(frame):
        return []
    is_buy = order["side"] == "buy"
    entry_price = float(frame["Open"].iloc[entry_index])
    sign = 1 if is_buy else -1
    stops: dict[str, Any] = {}
    if "stop_loss" in order:
        stops["sl_stop"] = sign * (1 - order["stop_loss"] / entry_price)
    if "take_profit" in order:
        stops["tp_stop"] = sign * (order["take_profit"] / entry_price - 1)
    if order["type"] == "trailing":
        stops |= {"sl_stop": order["trail_fraction"], "sl_trail": True}
    if min(stops.values(), default=0.0) < 0:
        return None    # the open lies beyond a child: vectorbt has no word for that

    signal = np.arange(len(frame)) == entry_index
    with quiet():
        portfolio = vectorbt.Portfolio.from_signals(
            frame["Close"], entries=signal, direction="longonly" if is_buy else "shortonly",
            size=float(order["quantity"]), price=frame["Open"], open=frame["Open"], high=frame["High"],
            low=frame["Low"], stop_entry_price="price", init_cash=AMPLE_CASH, freq="1D", **stops)
    records = portfolio.orders.values
    return [["buy" if side == 0 else "sell", int(index), float(price)]
            for side, index, price in zip(records["side"], records["idx"], records["price"], strict=True)]


# --- shared --------------------------------------------------------------------------------------------------------


def _frame(scenario: Scenario) -> pd.DataFrame:
    return pd.DataFrame(np.array(scenario["bars"], dtype=np.float64),
                        columns=["Open", "High", "Low", "Close", "Volume"],
                        index=pd.date_range(FIRST_DAY, periods=len(scenario["bars"]), freq="D"))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars and the peers' warnings off the test report."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
