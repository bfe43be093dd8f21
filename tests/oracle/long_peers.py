"""A plan in backtesting.py, backtrader and vectorbt themselves.

Each returns its fills as (row, side ±1, price, quantity) in the order in which they happened, those of one row, side
and price put together, and its equity at the close of every row.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import backtrader
import numpy as np
import pandas as pd
from backtesting import Backtest
from backtesting import Strategy as BacktestingStrategy
from backtesting.backtesting import _Broker as BacktestingBroker

from engine.bars import FloatArray
from tests.oracle.long_plans import CASH, FINER_PRICES, MARKET_ONLY, PLANS, TRAILING, WARM_UP, Ask, Series, Withdraw
from tests.oracle.peers import quiet

FIELDS = ("open", "high", "low", "close", "volume")
Fill = tuple[int, int, float, int]


@dataclass(frozen=True)
class LongRun:
    """What an engine made of a plan. `equity` is NaN at rows before the engine shows any (`first_bars_unseen`).

    `until` is the row from which on the engine could not be told what the plan asks; None where it always could.
    """

    fills: list[Fill]
    equity: FloatArray
    until: int | None = None


class NotExpressible(Exception):
    """The engine has no words for what a plan asks."""


def joined(fills: Iterable[Fill]) -> list[Fill]:
    """Put together what was executed in one row, on one side and at one price (`legs`)."""
    found: list[Fill] = []
    for row, side, price, quantity in fills:
        if found and found[-1][:3] == (row, side, price):
            found[-1] = (row, side, price, found[-1][3] + quantity)
        else:
            found.append((row, side, price, quantity))
    return found


# --- backtesting.py ------------------------------------------------------------------------------------------------


class _Finished(Exception):
    """The last bar has been seen."""


class _LegBroker(BacktestingBroker):
    """The broker of backtesting.py, noting each leg that it opens or closes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.legs: list[Fill] = []

    def _open_trade(self, price, size, sl, tp, time_index, tag):
        self.legs.append((time_index, 1 if size > 0 else -1, float(price), abs(int(size))))
        super()._open_trade(price, size, sl, tp, time_index, tag)

    def _close_trade(self, trade, price, time_index):
        self.legs.append((time_index, -1 if trade.size > 0 else 1, float(price), abs(int(trade.size))))
        super()._close_trade(trade, price, time_index)


class _BacktestingPlanned(BacktestingStrategy):
    plan: ClassVar[Any] = None    # this and the next two are set by each run
    series: ClassVar[Any] = None
    found: ClassVar[dict[str, Any]] = {}

    def init(self) -> None:
        self._placed: dict[Any, int] = {}

    def next(self) -> None:
        row = len(self.data) - 1
        for trade in self.trades:
            _trail(trade, float(self.data.Close[-1]))
        for order in [order for order, last in self._placed.items() if last == row]:
            if order in self.orders:
                order.cancel()
            del self._placed[order]
        if row >= WARM_UP:
            waiting = sum(1 for order in self.orders if not order.is_contingent)
            for step in self.plan[0](self.series, row, int(self.position.size), float(self.equity), waiting):
                self._do(row, step)
        if row == len(self.series.bars) - 1:
            self.found |= {"legs": self._broker.legs, "equity": self._broker._equity}
            raise _Finished    # spares the statistics, which take ten times as long as the run

    def _do(self, row: int, step: Any) -> None:
        if isinstance(step, Withdraw):
            for order in self.orders:
                order.cancel()
            return
        place = self.buy if step.quantity > 0 else self.sell
        order = place(size=abs(step.quantity), limit=step.limit, stop=step.stop, sl=step.stop_loss,
                      tp=step.take_profit, tag=step.trail)
        if step.lifetime is not None:
            self._placed[order] = row + step.lifetime


def _trail(trade: Any, close: float) -> None:
    if trade.tag is None:
        return
    if trade.is_long:
        level = close * (1 - trade.tag)
        if trade.sl is None or level > trade.sl:
            trade.sl = level
    else:
        level = close * (1 + trade.tag)
        if trade.sl is None or level < trade.sl:
            trade.sl = level


def run_backtesting_py(series: Series, name: str, fee: Decimal) -> LongRun:
    """Run backtesting.py."""
    found: dict[str, Any] = {}
    with quiet():
        backtest = Backtest(_frame(series), _BacktestingPlanned, cash=CASH, commission=float(fee))
        backtest._broker = functools.partial(_LegBroker, **backtest._broker.keywords)
        with contextlib.suppress(_Finished):
            backtest.run(plan=(PLANS[name],), series=series, found=found)
    return LongRun(joined(found["legs"]), np.asarray(found["equity"], np.float64))


# --- backtrader ----------------------------------------------------------------------------------------------------


class _BacktraderPlanned(backtrader.Strategy):
    params = (("plan", None), ("series", None), ("fills", None), ("equity", None), ("times", ()))

    def __init__(self) -> None:
        self._waiting: dict[int, Any] = {}
        self._protecting: dict[int, Any] = {}

    def next(self) -> None:
        row = len(self.data) - 1
        equity = self.broker.getvalue()
        self.p.equity.append(equity)
        if row < WARM_UP:
            return
        # `expiry_told_late`: an order whose last bar is over waits no more, whatever it says of itself.
        now = self.data.datetime[0]
        waiting = sum(1 for order in self._waiting.values() if order.valid is None or order.valid > now)
        for step in self.p.plan(self.p.series, row, int(self.position.size), equity, waiting):
            if isinstance(step, Withdraw):
                for order in (*self._waiting.values(), *self._protecting.values()):
                    self.cancel(order)
            else:
                self._place(row, step)

    def _place(self, row: int, ask: Ask) -> None:
        enter, leave = (self.buy, self.sell) if ask.quantity > 0 else (self.sell, self.buy)
        size, kind = abs(ask.quantity), backtrader.Order
        if ask.trail is not None:
            parent = enter(size=size, transmit=False)
            child = leave(size=size, exectype=kind.StopTrail, trailpercent=ask.trail, parent=parent)
            self._keep(parent, child)
        elif ask.stop_loss is not None:
            parent = enter(size=size, transmit=False)
            stop = leave(size=size, exectype=kind.Stop, price=ask.stop_loss, parent=parent, transmit=False)
            self._keep(parent, stop, leave(size=size, exectype=kind.Limit, price=ask.take_profit, parent=parent))
        elif ask.limit is not None:
            valid = None
            if ask.lifetime is not None:
                valid = self.p.times[min(row + ask.lifetime, len(self.p.times) - 1)]
            self._keep(enter(size=size, exectype=kind.Limit, price=ask.limit, valid=valid))
        elif ask.stop is not None:
            self._keep(enter(size=size, exectype=kind.Stop, price=ask.stop))
        else:
            self._keep(enter(size=size))

    def _keep(self, order: Any, *children: Any) -> None:
        self._waiting[order.ref] = order
        self._protecting.update((child.ref, child) for child in children)

    def notify_order(self, order: Any) -> None:
        if not order.alive():
            self._waiting.pop(order.ref, None)
            self._protecting.pop(order.ref, None)
        if order.status == order.Completed:
            self.p.fills.append((len(self.data) - 1, 1 if order.isbuy() else -1, float(order.executed.price),
                                 abs(int(order.executed.size))))


def run_backtrader(series: Series, name: str, fee: Decimal) -> LongRun:
    """Run backtrader. Brackets are sent as its own `buy_bracket` sends them; a limit order lives through `valid`."""
    fills: list[Fill] = []
    equity: list[float] = []
    frame = _frame(series)
    cerebro = backtrader.Cerebro(stdstats=False)
    cerebro.adddata(backtrader.feeds.PandasData(dataname=frame))
    times = [backtrader.date2num(time.to_pydatetime()) for time in frame.index]
    cerebro.addstrategy(_BacktraderPlanned, plan=PLANS[name], series=series, fills=fills, equity=equity, times=times)
    cerebro.broker.setcash(CASH)
    cerebro.broker.setcommission(commission=float(fee))
    with quiet():
        cerebro.run()
    return LongRun(joined(fills), np.array(equity))


# --- vectorbt ------------------------------------------------------------------------------------------------------


def run_vectorbt(series: Series, name: str, fee: Decimal) -> LongRun:
    """Run vectorbt, orders and signals shifted by one bar and filled at the open.

    It waits for nothing, so a plan of market orders is followed beforehand by a ledger of a few lines, and vectorbt is
    given the quantities. Brackets and trailing stops are its own, as fractions of the entry's price.

    Raises:
        NotExpressible: it has no resting orders, and no several entries with a bracket each.
    """
    import vectorbt  # deferred: seconds to import, compiles on first use

    frame, until = _frame(series), None
    with quiet():
        if name in MARKET_ONLY:
            portfolio = vectorbt.Portfolio.from_orders(
                frame["Close"], size=_quantities(series, name, float(fee)), price=frame["Open"], fees=float(fee),
                init_cash=CASH, freq="1min")
        elif name in FINER_PRICES:
            entries, stops, until = _signals(series, name)
            portfolio = vectorbt.Portfolio.from_signals(
                frame["Close"], entries=entries > 0, exits=False, short_entries=entries < 0, short_exits=False,
                size=float(series.unit), price=frame["Open"], open=frame["Open"], high=frame["High"],
                low=frame["Low"], stop_entry_price="price", upon_opposite_entry="ignore", fees=float(fee),
                init_cash=CASH, freq="1min", **stops)
        else:
            # `no_waiting_orders`
            raise NotExpressible("vectorbt knows no resting orders, nor several entries that are protected apart")
        records, equity = portfolio.orders.values, portfolio.value().to_numpy()
    fills = [(int(row), 1 if side == 0 else -1, float(price), round(size)) for row, side, price, size in zip(
        records["idx"], records["side"], records["price"], records["size"], strict=True)]
    return LongRun(joined(fills), equity, until)


def _quantities(series: Series, name: str, fee: float) -> FloatArray:
    """Follow a plan of market orders with a ledger of three lines; return the signed quantity filled at each row."""
    opens, closes = series.bars.open.tolist(), series.bars.close.tolist()
    asked, held, cash = 0, 0, float(CASH)
    sizes = np.full(len(opens), np.nan)
    for row in range(WARM_UP, len(opens)):
        if asked:
            held, cash = held + asked, cash - asked * opens[row] - abs(asked) * opens[row] * fee
            sizes[row] = asked
        steps = PLANS[name](series, row, held, cash + held * closes[row], 0)
        asked = sum(step.quantity for step in steps if isinstance(step, Ask))
    return sizes


def _signals(series: Series, name: str) -> tuple[np.ndarray, dict[str, Any], int | None]:
    """Return what to enter at each row's open (±1, 0), the stops as vectorbt wants them, and the row up to which
    it can.

    It has no word for a child that the open of its entry has passed already.
    """
    rows = len(series.bars)
    entries = np.zeros(rows, np.int64)
    stop_loss, take_profit = np.full(rows, np.nan), np.full(rows, np.nan)
    trail = None
    for row in range(WARM_UP, rows - 1):
        for step in PLANS[name](series, row, 0, float(CASH), 0):
            assert isinstance(step, Ask)
            sign = entries[row + 1] = 1 if step.quantity > 0 else -1
            opened = float(series.bars.open[row + 1])
            trail = step.trail
            if step.stop_loss is not None and step.take_profit is not None:
                stop_loss[row + 1] = sign * (1 - step.stop_loss / opened)
                take_profit[row + 1] = sign * (step.take_profit / opened - 1)
    if name in TRAILING:
        return entries, {"sl_stop": trail, "sl_trail": True}, None
    # `child_beyond_entry`
    passed = np.flatnonzero((stop_loss < 0) | (take_profit < 0))
    stop_loss[passed] = take_profit[passed] = np.nan
    return entries, {"sl_stop": stop_loss, "tp_stop": take_profit}, int(passed[0]) if len(passed) else None


PEERS = {"backtesting_py": run_backtesting_py, "backtrader": run_backtrader, "vectorbt_next_open": run_vectorbt}


def _frame(series: Series) -> pd.DataFrame:
    columns = {name.capitalize(): getattr(series.bars, name) for name in FIELDS}
    return pd.DataFrame(columns, index=pd.to_datetime(series.bars.open_time))
