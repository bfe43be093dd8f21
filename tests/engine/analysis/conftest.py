"""Small runs made by hand: bars, fills that obey their own books, and the curve that follows from both."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
import pytest

from engine.analysis.assumptions import assumption_card
from engine.bars import DAY, Bars, FloatArray, IntArray, Stream, Timeframe
from engine.costs import ConstantLatency, FixedSlippage, MakerTakerFees
from engine.records import DecisionRow, FillRow, OrderRow
from engine.results import EquityCurve, RunResult
from engine.semantics import Switches

START = 19_723 * DAY  # 2024-01-01, a Monday


def bars_of(
    closes: Sequence[float] | FloatArray, symbol: str = "BTC/USDT", timeframe: str = "1h", wick: float = 0.0
) -> Bars:
    """Return bars that open at the close before them and reach `wick` of the price further than both."""
    close = np.asarray(closes, np.float64)
    opening = np.concatenate((close[:1], close[:-1]))
    high, low = np.maximum(opening, close) * (1 + wick), np.minimum(opening, close) * (1 - wick)
    length = Timeframe.parse(timeframe).duration
    times: IntArray = START + np.arange(len(close), dtype=np.int64) * length
    return Bars(
        (Stream(symbol, timeframe),), times, times + length, opening, high, low, close, np.full(len(close), 10.0)
    )


class Book:
    """Fills at the opens of bars, with their costs, and the equity that they lead to."""

    def __init__(self, *bars: Bars, cash: float = 10_000.0) -> None:
        self.bars = {rows.streams[0].symbol: rows for rows in bars}
        self.start_cash = self.cash = cash
        self.held: dict[str, float] = {}
        self.fills: list[FillRow] = []
        self.orders: list[OrderRow] = []
        self.decisions: list[DecisionRow] = []

    def trade(
        self, bar: int, quantity: float, *, symbol: str = "BTC/USDT", price: float | None = None, fee: float = 0.0,
        cost: float = 0.0, why: str = "because", inside: bool = False,
    ) -> FillRow:
        """Fill at the open of a bar (or inside it), `cost` of quote currency per unit worse than the reference
        price."""
        rows, side = self.bars[symbol], 1 if quantity > 0 else -1
        reference = float(rows.open[bar]) if price is None else price
        paid, size = reference + side * cost, abs(quantity)
        number = len(self.fills) + 1
        self.held[symbol] = round(self.held.get(symbol, 0.0) + quantity, 8)
        self.cash -= quantity * paid + fee
        decided = int(rows.open_time[bar])
        word = "buy" if side > 0 else "sell"
        self.decisions.append(DecisionRow(number, decided, "s", symbol, decided, reference, word, (1.5, 2.0), why))
        self.orders.append(OrderRow(number, number, decided, symbol, word, "market", size))
        time, known = int(rows.open_time[bar]), int(rows.close_time[bar])
        fill = FillRow(
            number, number, known if inside else time, known, symbol, word, paid, size, "taker", fee, "USDT", reference,
            0.25 * cost * size, 0.5 * cost * size, 0.25 * cost * size, self.held[symbol], self.cash,
        )
        self.fills.append(fill)
        return fill

    def curve(self) -> EquityCurve:
        """Return equity at every close; all symbols share their times."""
        time = next(iter(self.bars.values())).close_time
        value, cash = np.zeros(len(time)), np.full(len(time), self.start_cash)
        for symbol, rows in self.bars.items():
            held = np.zeros(len(time))
            for fill in self.fills:
                if fill.symbol == symbol:
                    held[np.searchsorted(time, fill.bar_close_time) :] = fill.position_after
            value += held * rows.close
        for fill in self.fills:
            cash[np.searchsorted(time, fill.bar_close_time) :] = fill.cash_after
        equity = cash + value
        return EquityCurve(
            "USDT", time, equity, cash, np.divide(value, equity, out=np.zeros_like(value), where=equity != 0)
        )

    def result(self, strategy: str = "sma_cross") -> RunResult:
        """Return what a run of these fills would have left behind."""
        curve = self.curve()
        costs = {
            "fees": MakerTakerFees(Decimal("0.001"), Decimal("0.001")).card(), "slippage": FixedSlippage(1.0).card(),
            "latency": ConstantLatency().card(),
        }
        keys = np.zeros((len(self.fills), 6), np.int64)
        card = assumption_card(Switches().card(), costs, {"BTC/USDT": {"price_increment": "0.01"}}, {"start": START})
        return RunResult(
            3,
            strategy,
            tuple(self.bars),
            len(curve.time),
            0.5,
            self.fills,
            keys,
            curve,
            Decimal(str(curve.equity[-1])),
            len(self.orders),
            0,
            card,
            "f" * 64,
        )


@pytest.fixture
def make_bars() -> Callable[..., Bars]:
    return bars_of


@pytest.fixture
def make_book() -> Callable[..., Book]:
    return Book


@pytest.fixture
def wandering() -> Bars:
    """Hourly bars of a random walk, 60 days."""
    steps = np.random.default_rng(7).normal(0, 0.01, 24 * 60)
    return bars_of(100 * np.exp(np.cumsum(steps)), wick=0.002)


@pytest.fixture
def swinging(wandering: Bars) -> Book:
    """Sixty round trips on it, long and short in turn, with fees and costs, and a position left open."""
    book = Book(wandering)
    for number in range(60):
        size = 5.0 if number % 2 else -5.0
        book.trade(20 + 23 * number, size, fee=0.4, cost=0.05, why=f"trip {number} <b>&</b>")
        book.trade(30 + 23 * number, -size, fee=0.4, cost=0.05, why="enough")
    book.trade(1430, 2.0, fee=0.1)
    return book
