"""One strategy over many bars, through us and through the peers: hold one unit while a column of wishes says so.

The wishes are computed once, outside all engines, so that what differs is what the engines do with them. They are taken
up with market orders at the next open, and every fill costs the same fraction of its notional.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import backtrader
import numpy as np
import pandas as pd
from backtesting import Backtest
from backtesting import Strategy as BacktestingStrategy

from engine.bars import Bar, Bars, FloatArray
from engine.costs import MakerTakerFees
from engine.semantics import profile
from engine.strategy import Strategy
from engine.testing import Terms, run_bars
from tests.oracle.peers import quiet

CASH = 1_000_000
FIELDS = ("open", "high", "low", "close", "volume")
Fill = tuple[int, int, float]


@dataclass(frozen=True)
class LongRun:
    """What an engine made of it: fills as (side ±1, row, price), and equity after every bar, float64 [rows]."""

    fills: list[Fill]
    equity: FloatArray


def cross(close: FloatArray, fast: int = 10, slow: int = 30) -> np.ndarray:
    """Return bool [rows]: whether the fast average lies above the slow one."""
    averages = []
    for length in (fast, slow):
        sums = np.cumsum(close)
        sums[length:] -= np.cumsum(close)[:-length]
        averages.append(np.where(np.arange(len(close)) >= slow - 1, sums / length, np.nan))
    return np.greater(averages[0], averages[1])


# --- us ------------------------------------------------------------------------------------------------------------


class _Wishes(Strategy):
    def __init__(self, wishes: np.ndarray) -> None:
        super().__init__()
        self._upcoming = iter(wishes.tolist())
        self._holds = False

    def on_bar(self, bar: Bar) -> None:
        wish = next(self._upcoming)
        if wish != self._holds:
            (self.buy if wish else self.sell)(bar.symbol, 1)
        self._holds = wish


def run_ours(bars: Bars, wishes: np.ndarray, fee: Decimal, profile_name: str) -> LongRun:
    """Run our engine under a profile."""
    terms = Terms(
        cash=Decimal(CASH), switches=profile(profile_name), fees=MakerTakerFees(fee, fee),
        quantity_increment=Decimal(1))
    result = run_bars(bars, _Wishes(wishes), terms)
    rows = {time: row for row, time in enumerate(bars.close_time.tolist())}
    fills = [(1 if fill.side == "buy" else -1, rows[fill.bar_close_time], fill.price) for fill in result.fills]
    return LongRun(fills, result.curve.equity)


# --- backtesting.py ------------------------------------------------------------------------------------------------


class _BacktestingWishes(BacktestingStrategy):
    wishes: ClassVar[list[bool]] = []

    def init(self) -> None:
        """Nothing to prepare."""

    def next(self) -> None:
        row = len(self.data) - 1
        if self.wishes[row] != self.wishes[row - 1]:
            (self.buy if self.wishes[row] else self.sell)(size=1)


def run_backtesting_py(bars: Bars, wishes: np.ndarray, fee: Decimal) -> LongRun:
    """Run backtesting.py."""
    with quiet():
        backtest = Backtest(_frame(bars), _BacktestingWishes, cash=CASH, commission=float(fee))
        found = backtest.run(wishes=wishes.tolist())
    strategy = found["_strategy"]
    fills = [(1, trade.entry_bar, trade.entry_price) for trade in (*strategy.closed_trades, *strategy.trades)]
    fills += [(-1, trade.exit_bar, trade.exit_price) for trade in strategy.closed_trades]
    return LongRun(sorted(fills, key=lambda fill: fill[1]), found["_equity_curve"]["Equity"].to_numpy())


# --- backtrader ----------------------------------------------------------------------------------------------------


class _BacktraderWishes(backtrader.Strategy):
    params = (("wishes", ()), ("fills", None), ("equity", None))

    def next(self) -> None:
        row = len(self.data) - 1
        self.p.equity.append(self.broker.getvalue())
        if self.p.wishes[row] != (row > 0 and self.p.wishes[row - 1]):
            (self.buy if self.p.wishes[row] else self.sell)(size=1)

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            self.p.fills.append((1 if order.isbuy() else -1, len(self.data) - 1, float(order.executed.price)))


def run_backtrader(bars: Bars, wishes: np.ndarray, fee: Decimal) -> LongRun:
    """Run backtrader."""
    fills: list[Fill] = []
    equity: list[float] = []
    cerebro = backtrader.Cerebro(stdstats=False)
    cerebro.adddata(backtrader.feeds.PandasData(dataname=_frame(bars)))
    cerebro.addstrategy(_BacktraderWishes, wishes=wishes.tolist(), fills=fills, equity=equity)
    cerebro.broker.setcash(CASH)
    cerebro.broker.setcommission(commission=float(fee))
    with quiet():
        cerebro.run()
    return LongRun(fills, np.array(equity))


# --- vectorbt ------------------------------------------------------------------------------------------------------


def run_vectorbt(bars: Bars, wishes: np.ndarray, fee: Decimal) -> LongRun:
    """Run vectorbt, the wishes shifted by one bar and filled at the open."""
    import vectorbt  # deferred: seconds to import, compiles on first use

    frame = _frame(bars)
    held = np.concatenate(([False], wishes[:-1]))
    before = np.concatenate(([False], held[:-1]))
    with quiet():
        portfolio = vectorbt.Portfolio.from_signals(
            frame["Close"], entries=held & ~before, exits=~held & before, size=1.0, price=frame["Open"],
            fees=float(fee), init_cash=CASH, freq="1min")
    records = portfolio.orders.values
    fills = [(1 if side == 0 else -1, int(row), float(price))
             for side, row, price in zip(records["side"], records["idx"], records["price"], strict=True)]
    return LongRun(fills, portfolio.value().to_numpy())


PEERS = {"backtesting_py": run_backtesting_py, "backtrader": run_backtrader, "vectorbt_next_open": run_vectorbt}


def _frame(bars: Bars) -> pd.DataFrame:
    columns = {name.capitalize(): getattr(bars, name) for name in FIELDS}
    return pd.DataFrame(columns, index=pd.to_datetime(bars.open_time))
