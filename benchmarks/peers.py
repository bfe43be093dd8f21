"""The same work as other engines do it: the reference rule, market orders, next open, 5 basis points.

Each is given what it likes best (a frame, or arrays), made before the clock starts. Every rule below is written in the
leanest way its engine allows. Two of them hold one unit, because they know no fractions of one or no increments.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import backtesting
import backtrader
import numpy as np
import pandas as pd
import talib

from benchmarks.measuring import Stopwatch
from benchmarks.ours import AMPLE, CASH, FEE
from engine.bars import MINUTE, Bars

Trades = list[tuple[int, str, float]]
"""(row of the bar, side, price) of every fill."""


@dataclass(frozen=True)
class PeerRun:
    """What is kept of a run."""

    trades: Trades
    final_equity: float


def frame_of(bars: Bars) -> pd.DataFrame:
    """Return the bars as the frame that backtesting.py and backtrader read."""
    columns = {"Open": bars.open, "High": bars.high, "Low": bars.low, "Close": bars.close, "Volume": bars.volume}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(bars.open_time.astype("datetime64[ns]")))


# ── backtesting.py ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Finished(Exception):
    """The last bar has been seen."""


class _BacktestingCross(backtesting.Strategy):
    last_row = -1
    """Where to stop, which leaves out the statistics; -1 to go on to the end and take them."""

    def init(self) -> None:
        self.fast = self.I(talib.SMA, self.data.Close, 20)
        self.slow = self.I(talib.SMA, self.data.Close, 50)
        self.holds = False
        type(self).made = self

    def next(self) -> None:
        if self.fast[-1] > self.slow[-1]:
            if not self.holds:
                self.holds = True
                self.buy(size=1)
        elif self.holds:
            self.holds = False
            self.sell(size=1)
        if len(self.data) - 1 == self.last_row:
            raise _Finished


def run_backtesting_py(frame: pd.DataFrame, *, with_statistics: bool = False) -> tuple[PeerRun, float, float]:
    """Run backtesting.py, with or without the statistics that its `run` always takes at the end."""
    with _quiet():
        backtest = backtesting.Backtest(frame, _BacktestingCross, cash=float(AMPLE), commission=float(FEE))
        with Stopwatch() as watch, contextlib.suppress(_Finished):
            backtest.run(last_row=-1 if with_statistics else len(frame) - 1)
    broker = _BacktestingCross.made._broker
    trades: Trades = []
    for trade in [*broker.closed_trades, *broker.trades]:
        trades.append((int(trade.entry_bar), "buy", float(trade.entry_price)))
        if trade.exit_bar is not None:
            trades.append((int(trade.exit_bar), "sell", float(trade.exit_price)))
    return PeerRun(sorted(trades), float(broker.equity)), watch.cpu, watch.wall


# ── vectorbt ────────────────────────────────────────────────────────────────────────────────────────────────────────


def signals(bars: Bars) -> tuple[Any, Any]:
    """Return the entries and exits of the reference rule, bool [rows], moved one bar on, at whose open they fill."""
    above = talib.SMA(bars.close, 20) > talib.SMA(bars.close, 50)
    before = np.zeros_like(above)
    before[1:] = above[:-1]
    return _next_bar(above & ~before), _next_bar(~above & before)


def _next_bar(signal: Any) -> Any:
    moved = np.zeros_like(signal)
    moved[1:] = signal[:-1]
    return moved


def run_vectorbt(
    bars: Bars, engine: str, prepared: tuple[Any, Any] | None, *, size: float = np.inf, cash: float = float(CASH)
) -> tuple[PeerRun, float, float]:
    """Run vectorbt's from_signals on arrays.

    Args:
        engine: "numba" or "rust".
        prepared: the signals, made before the clock starts; None makes them while it runs, as our own path has to.
        size: units bought at each entry; infinity for all the cash there is.
    """
    import vectorbt  # deferred: takes seconds

    with _quiet():
        with Stopwatch() as watch:
            entries, exits = signals(bars) if prepared is None else prepared
            terms = {"size": size, "fees": float(FEE), "init_cash": cash, "freq": "1min", "engine": engine}
            portfolio = vectorbt.Portfolio.from_signals(bars.close, entries, exits, price=bars.open, **terms)
            records = portfolio.orders.values
        sides = ["buy" if side == 0 else "sell" for side in records["side"].tolist()]
        trades = list(zip(records["idx"].tolist(), sides, records["price"].tolist(), strict=True))
        return PeerRun(trades, float(portfolio.final_value())), watch.cpu, watch.wall


# ── backtrader ──────────────────────────────────────────────────────────────────────────────────────────────────────


class _BacktraderCross(backtrader.Strategy):
    def __init__(self) -> None:
        self.fast = backtrader.indicators.SMA(self.data.close, period=20)
        self.slow = backtrader.indicators.SMA(self.data.close, period=50)
        self.holds = False
        self.executed: list[tuple[float, str, float]] = []

    def next(self) -> None:
        if self.fast[0] > self.slow[0]:
            if not self.holds:
                self.holds = True
                self.buy(size=1)
        elif self.holds:
            self.holds = False
            self.sell(size=1)

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            self.executed.append((order.executed.dt, "buy" if order.isbuy() else "sell", order.executed.price))


def run_backtrader(frame: pd.DataFrame) -> tuple[PeerRun, float, float]:
    """Run backtrader. Its time has reading the frame in it, which it does inside `run`."""
    cerebro = backtrader.Cerebro(stdstats=False)
    cerebro.adddata(backtrader.feeds.PandasData(dataname=frame))
    cerebro.addstrategy(_BacktraderCross)
    cerebro.broker.setcash(float(AMPLE))
    cerebro.broker.setcommission(commission=float(FEE))
    with _quiet(), Stopwatch() as watch:
        (strategy,) = cerebro.run()
    first = backtrader.date2num(frame.index[0].to_pydatetime())
    bars_a_day = 86_400_000_000_000 // MINUTE
    trades = [(round((number - first) * bars_a_day), side, float(price)) for number, side, price in strategy.executed]
    return PeerRun(trades, float(cerebro.broker.getvalue())), watch.cpu, watch.wall


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and warnings of the peers off the terminal."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
