"""Ours against vectorbt's returns accessor, quantstats and vectorbt's positions, on several random series each."""

from typing import Any

import numpy as np
import pytest

from engine.analysis import metrics
from engine.analysis.trades import round_trips
from engine.bars import DAY, FloatArray
from engine.results import EquityCurve

YEAR = 365.0


def series(name: str) -> tuple[FloatArray, FloatArray]:
    """Return (returns, benchmark returns), daily."""
    random = np.random.default_rng(SERIES.index(name))
    benchmark = random.normal(0.0005, 0.02, 400)
    shapes = {
        "quiet": random.normal(0.0002, 0.004, 400),
        "follows": 0.7 * benchmark + random.normal(0, 0.005, 400),
        "fat tails": 0.01 * random.standard_t(3, 400),
        "often flat": np.where(random.random(400) < 0.7, 0.0, random.normal(0, 0.03, 400)),
        "loses": random.normal(-0.004, 0.02, 400),
        "starts with a loss": np.concatenate(([-0.2], random.normal(0.001, 0.01, 399))),
        "forty days": random.normal(0.001, 0.02, 40),
        "one jump": np.concatenate((np.full(99, 1e-4), [0.5], np.full(100, -1e-4))),
    }
    returns = shapes[name]
    return returns, benchmark[: len(returns)]


SERIES = ("quiet", "follows", "fat tails", "often flat", "loses", "starts with a loss", "forty days", "one jump")


@pytest.fixture(scope="module")
def pandas() -> Any:
    return pytest.importorskip("pandas")


@pytest.fixture(params=SERIES)
def returns_and_benchmark(request: pytest.FixtureRequest) -> tuple[FloatArray, FloatArray]:
    return series(request.param)


def test_ratios_equal_vectorbt(pandas: Any, returns_and_benchmark: tuple[FloatArray, FloatArray]) -> None:
    pytest.importorskip("vectorbt")
    returns, benchmark = returns_and_benchmark
    days = pandas.date_range("2024-01-01", periods=len(returns), freq="D")
    theirs = pandas.Series(returns, days).vbt.returns(freq="1D", year_freq="365D")
    other = pandas.Series(benchmark, days)
    ours = {
        "total": metrics.total_return(returns),
        "annualized": metrics.annualised_return(returns, YEAR),
        "annualized_volatility": metrics.volatility(returns, YEAR),
        "sharpe_ratio": metrics.sharpe(returns, YEAR),
        "sortino_ratio": metrics.sortino(returns, YEAR),
        "downside_risk": metrics.downside_risk(returns, YEAR),
        "omega_ratio": metrics.omega(returns),
        "tail_ratio": metrics.tail_ratio(returns),
        "value_at_risk": metrics.value_at_risk(returns),
        "cond_value_at_risk": metrics.conditional_value_at_risk(returns),
    }
    for name, value in ours.items():
        assert value == pytest.approx(getattr(theirs, name)(), rel=1e-9), name
    against = {
        "beta": metrics.beta(returns, benchmark),
        "alpha": metrics.alpha(returns, benchmark, YEAR),
        "information_ratio": metrics.information_ratio(returns, benchmark),
        "up_capture": metrics.capture(returns, benchmark, YEAR, up=True),
        "down_capture": metrics.capture(returns, benchmark, YEAR, up=False),
    }
    for name, value in against.items():
        assert value == pytest.approx(getattr(theirs, name)(benchmark_rets=other), rel=1e-9), name


def test_the_drawdown_of_a_curve_equals_vectorbts(
    pandas: Any, returns_and_benchmark: tuple[FloatArray, FloatArray]
) -> None:
    pytest.importorskip("vectorbt")
    returns, _ = returns_and_benchmark
    # vectorbt's accessor takes the first return's end for the first peak; a leading 0 stands for the start.
    padded = np.concatenate(([0.0], returns))
    theirs = pandas.Series(padded, pandas.date_range("2024-01-01", periods=len(padded), freq="D")).vbt.returns(
        freq="1D", year_freq="365D"
    )
    found = metrics.statistics(curve_of(returns), periods_per_year=YEAR)
    assert found["max_drawdown"] == pytest.approx(theirs.max_drawdown(), rel=1e-9)
    assert found["ulcer_index"] == pytest.approx(theirs.ulcer_index(), rel=1e-9)
    alone = pandas.Series(returns, pandas.date_range("2024-01-01", periods=len(returns), freq="D"))
    growth = alone.vbt.returns(freq="1D", year_freq="365D").annualized()
    assert found["cagr"] == pytest.approx(growth, rel=1e-9)
    assert found["calmar"] == pytest.approx(growth / abs(theirs.max_drawdown()), rel=1e-9)


def test_ratios_equal_quantstats(pandas: Any, returns_and_benchmark: tuple[FloatArray, FloatArray]) -> None:
    stats = pytest.importorskip("quantstats").stats
    returns, benchmark = returns_and_benchmark
    days = pandas.date_range("2024-01-01", periods=len(returns), freq="D")
    theirs, other = pandas.Series(returns, days), pandas.Series(benchmark, days)
    found = metrics.statistics(curve_of(returns), periods_per_year=YEAR)
    pairs = {
        "comp": (found["total_return"], stats.comp(theirs)),
        "cagr": (found["cagr"], stats.cagr(theirs, periods=365)),
        "volatility": (found["volatility"], stats.volatility(theirs, periods=365)),
        "sharpe": (found["sharpe"], stats.sharpe(theirs, periods=365)),
        "sortino": (found["sortino"], stats.sortino(theirs, periods=365)),
        "omega": (found["omega"], stats.omega(theirs, periods=365)),
        "max_drawdown": (found["max_drawdown"], stats.max_drawdown(theirs)),
        "calmar": (found["calmar"], stats.calmar(theirs, periods=365)),
        "skew": (found["skew"], stats.skew(theirs)),
        "kurtosis": (found["kurtosis"], stats.kurtosis(theirs)),
        "tail_ratio": (found["tail_ratio"], stats.tail_ratio(theirs)),
        "probabilistic_sharpe_ratio": (found["probabilistic_sharpe"], stats.probabilistic_sharpe_ratio(theirs)),
        "best": (found["best_period"], stats.best(theirs)),
        "worst": (found["worst_period"], stats.worst(theirs)),
        "win_rate": (found["positive_periods"], stats.win_rate(theirs)),
        "beta": (metrics.beta(returns, benchmark), stats.greeks(theirs, other, periods=365)["beta"]),
        "information_ratio": (metrics.information_ratio(returns, benchmark), stats.information_ratio(theirs, other)),
    }
    for name, (ours, expected) in pairs.items():
        assert ours == pytest.approx(expected, rel=1e-7), name


def test_trades_equal_vectorbts_positions(pandas: Any, make_bars: Any, make_book: Any) -> None:
    vectorbt = pytest.importorskip("vectorbt")
    random = np.random.default_rng(5)
    bars = make_bars(100 * np.exp(np.cumsum(random.normal(0, 0.01, 300))))
    book, sizes = make_book(bars, cash=1e6), np.zeros(300)
    for bar in range(1, 300):
        # From here and there to here and there, through zero too; every fifth time flat.
        sizes[bar] = -book.held.get("BTC/USDT", 0.0) if bar % 5 == 0 else float(random.integers(-3, 4))
        if sizes[bar]:
            book.trade(bar, sizes[bar], fee=abs(sizes[bar]) * float(bars.open[bar]) * 0.001)
    portfolio = vectorbt.Portfolio.from_orders(
        pandas.Series(bars.close), size=sizes, price=bars.open, fees=0.001, init_cash=1e6, freq="1h",
    )
    theirs = portfolio.positions.records
    ours = round_trips(book.fills, bars=bars)
    assert len(ours) == len(theirs) > 50
    np.testing.assert_allclose(ours.net_profit, theirs["pnl"], atol=1e-6)
    np.testing.assert_allclose(ours.return_on_entry, theirs["return"], atol=1e-9)
    np.testing.assert_allclose(ours.entry_price, theirs["entry_price"])
    np.testing.assert_allclose(ours.fees, theirs["entry_fees"] + theirs["exit_fees"])
    assert (ours.direction == np.where(theirs["direction"] == 0, 1, -1)).all()
    found = metrics.statistics(book.curve(), trades=ours, fills=book.fills)
    closed = portfolio.positions.closed
    assert found["sqn"] == pytest.approx(closed.sqn())
    assert found["win_rate"] == pytest.approx(closed.win_rate())
    assert found["profit_factor"] == pytest.approx(closed.profit_factor())
    assert found["expectancy"] == pytest.approx(closed.expectancy())
    assert found["total_return"] == pytest.approx(portfolio.total_return())


def curve_of(returns: FloatArray) -> EquityCurve:
    equity = 1000 * np.concatenate(([1.0], np.cumprod(1 + returns)))
    time = 19_723 * DAY + DAY * np.arange(1, len(equity) + 1, dtype=np.int64)
    return EquityCurve("USD", time, equity, equity, np.zeros(len(equity)))
