"""Statistics of a run: how each is computed, and when it has no value. definitions.py says what each means.

Ratios of returns follow vectorbt's returns accessor and, where the two agree, quantstats; tests hold ours equal to
theirs. They are computed here with numpy because importing vectorbt takes 4 s and quantstats 2.4 s. docs/statistics.md
gives the choices. Rates are fractions (0.01 is 1 %), money is in the curve's currency, durations are nanoseconds.

A statistic that cannot be had is None, with the reason in `Statistics.undefined`; nothing here warns or raises over
data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import erf, isfinite, sqrt
from typing import Any, NamedTuple

import numpy as np

from engine.analysis.benchmark import Benchmark
from engine.analysis.definitions import DEFINITIONS
from engine.analysis.trades import NO_TRADES, Trades
from engine.bars import DAY, FloatArray, IntArray, iso
from engine.errors import SettingsError
from engine.records import AccountEventRow, FillRow
from engine.results import EquityCurve

YEAR = 365 * DAY
HOLDING_KINDS = ("funding", "interest", "borrow", "liquidation_fee")
"""Account events that are a cost of holding."""
SHORTEST_FOR_DAILY = 30 * DAY
"""From this span on, returns are daily; below it there would be too few of them."""
TAIL = 0.05
"""The share of periods that value at risk and the tail ratio call the tail."""


class Sampling(NamedTuple):
    """How equity was turned into returns.

    `frequency` is "daily" (UTC) or "bar"; `reason` says why that one.
    """

    frequency: str
    periods_per_year: float
    periods: int
    reason: str


@dataclass(frozen=True)
class Statistics:
    """name → value (None: no value), the reasons for those without one, and the sampling that all of them share."""

    values: dict[str, float | int | None]
    undefined: dict[str, str]
    sampling: Sampling
    benchmark: str = ""
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> float | int | None:
        return self.values[name]

    def get(self, name: str) -> float | int | None:
        """Return a value, None also for statistics that were not computed (those of a run journalled by an older
        version)."""
        return self.values.get(name)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready name → value, and beside them `sampling`, `undefined`, `benchmark` and `notes`."""
        return {
            **self.values,
            "sampling": self.sampling._asdict(),
            "undefined": self.undefined,
            "benchmark": self.benchmark,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Statistics":
        """Return what `as_dict` was made from."""
        values = {name: stored[name] for name in DEFINITIONS if name in stored}
        return cls(
            values, dict(stored.get("undefined", {})), Sampling(**stored["sampling"]), stored.get("benchmark", ""),
            tuple(stored.get("notes", ())),
        )


def statistics(
    curve: EquityCurve,
    *,
    trades: Trades = NO_TRADES,
    fills: Sequence[FillRow] | Sequence[tuple[Any, ...]] = (),
    benchmark: Benchmark | None = None,
    account_events: Sequence[AccountEventRow] | Sequence[tuple[Any, ...]] = (),
    multipliers: Mapping[str, float] | None = None,
    frequency: str = "auto",
    periods_per_year: float | None = None,
) -> Statistics:
    """Return every statistic in DEFINITIONS.

    Args:
        curve: equity at every close. About 60 ms for a million of them.
        trades: of the same run; fills: for cost totals; account_events: funding and borrow.
        benchmark: valued at the instants of the curve.
        frequency: "daily", "bar", or "auto": daily from a span of 30 days, per bar below.
        periods_per_year: overrides what the calendar suggests.
    Raises:
        SettingsError: an unknown frequency.
    """
    book = _Book()
    own_trades, own_fills, notes = _in_currency(curve.currency, trades, fills)
    if trades.orphans:
        notes.append(f"{trades.orphans} fills belong to positions opened before the record and are in no trade.")
    # Overflow and invalid operations come out as infinities and NaN, and those as reasons.
    with np.errstate(all="ignore"):
        sampling, places = sample(curve.time, frequency=frequency, periods_per_year=periods_per_year)
        _curve_statistics(book, curve, sampling, places)
        _benchmark_statistics(book, curve, benchmark, sampling, places)
        _exposure_statistics(book, curve, own_trades)
        _trade_statistics(book, own_trades)
        _cost_statistics(book, curve, own_fills, account_events, multipliers or {})
    return Statistics(book.values, book.undefined, sampling, benchmark.name if benchmark else "", tuple(notes))


def _in_currency(
    currency: str, trades: Trades, fills: Sequence[tuple[Any, ...]]
) -> tuple[Trades, Sequence[tuple[Any, ...]], list[str]]:
    """Return the trades and fills in the currency of the curve, which counts no other; note how many there are."""
    if any(name != currency for name in trades.currencies):
        place = trades.currencies.index(currency) if currency in trades.currencies else -1
        trades = trades.where(trades.currency == place)
    at = FillRow._fields.index("currency")
    others = {fill[at] for fill in fills} - {currency}
    if not others:
        return trades, fills, []
    own = [fill for fill in fills if fill[at] == currency]
    note = f"{len(fills) - len(own):,} fills in {', '.join(sorted(others))} are left out: results are in {currency}."
    return trades, own, [note]


class _Book:
    """Collects values; what is not a finite number becomes None with a reason."""

    def __init__(self) -> None:
        self.values: dict[str, float | int | None] = dict.fromkeys(DEFINITIONS)
        self.undefined: dict[str, str] = {}

    def put(self, name: str, value: float, reason: str = "not a finite number") -> None:
        if isfinite(value):
            self.values[name] = int(value) if DEFINITIONS[name].unit in ("count", "duration") else float(value)
        else:
            self.undefined[name] = reason

    def none(self, reason: str, *names: str) -> None:
        for name in names:
            self.undefined[name] = reason


# ── sampling ────────────────────────────────────────────────────────────────────────────────────────────────────────


def sample(
    time: IntArray, *, frequency: str = "auto", periods_per_year: float | None = None
) -> tuple[Sampling, IntArray]:
    """Return the return frequency and the places of the curve between which returns are taken.

    The first and the last point are always among them, so that returns compound to the total return. A day's point is
    its last close; a close at midnight UTC belongs to the day it ends.

    Daily, because a ratio of 5-minute returns says more about the bar length than about the strategy and cannot be
    compared with anybody's; per bar below 30 days, because there would be too few days.

    Raises:
        SettingsError: an unknown frequency.
    """
    if frequency not in ("auto", "daily", "bar"):
        raise SettingsError(f"frequency is {frequency!r}; expected auto, daily or bar")
    if len(time) < 2:
        return Sampling("bar", periods_per_year or 365.0, 0, "fewer than two closes"), np.arange(len(time))
    day = (time - 1) // DAY
    ends = np.append(np.flatnonzero(day[1:] != day[:-1]), len(time) - 1)
    days = day[ends]
    span = int(time[-1] - time[0])
    is_intraday = len(time) > 1.5 * len(days)
    if frequency == "auto":
        frequency = "daily" if is_intraday and span >= SHORTEST_FOR_DAILY else "bar"
        reason = (
            "the span is 30 days or more" if frequency == "daily"
            else "the span is below 30 days" if is_intraday
            else "bars are a day or longer"
        )
    else:
        reason = "as asked for"
    if frequency == "daily":
        places = ends if ends[0] == 0 else np.insert(ends, 0, 0)
        year = _days_per_year(days)
    else:
        places = np.arange(len(time))
        year = _bars_per_year(time, days, is_intraday)
    return Sampling(frequency, float(periods_per_year or year), len(places) - 1, reason), places


def _days_per_year(days: IntArray) -> float:
    """Infer how many days of a year are traded from the days that were."""
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    if np.mean(weekday >= 5) >= 0.2:  # 2/7 of a 24/7 market's days; fewer where only Sunday evening trades
        return 365.0
    span = int(days[-1] - days[0]) + 1
    if span < 90:  # too short to see holidays: go by the weekdays seen
        seen = len(np.unique(weekday))
        return {5: 252.0, 6: 313.0}.get(seen, 365.0 if seen == 7 or len(days) == span else 252.0)
    observed = len(days) / span * 365.25
    return 252.0 if abs(observed - 252) <= 8 else float(round(observed))


def _bars_per_year(time: IntArray, days: IntArray, is_intraday: bool) -> float:
    step = float(np.median(np.diff(time)))
    if step <= 0:
        return 365.0
    if not is_intraday:
        return _days_per_year(days) if step <= 1.5 * DAY else YEAR / step
    covered = len(time) * step / float(time[-1] - time[0] + step)
    if covered >= 0.9:  # no nights, no weekends
        return YEAR / step
    return float(np.median(np.unique((time - 1) // DAY, return_counts=True)[1])) * _days_per_year(days)


# ── ratios of returns: arrays in, a number or NaN out ───────────────────────────────────────────────────────────────


def total_return(returns: FloatArray) -> float:
    """Return the compounded return."""
    return float(np.prod(1 + returns) - 1)


def annualised_return(returns: FloatArray, periods_per_year: float) -> float:
    """Return (1 + total) ^ (periods per year ÷ periods) - 1. As vectorbt's annualized and quantstats' cagr."""
    if not len(returns):
        return np.nan
    return float(np.float64(1 + total_return(returns)) ** (periods_per_year / len(returns)) - 1)


def deviation(returns: FloatArray) -> float:
    """Return the standard deviation (n - 1); NaN for fewer than two, 0 where values differ by float noise alone."""
    if len(returns) < 2:
        return np.nan
    value = float(np.std(returns, ddof=1))
    return value if value > 1e-12 * float(np.max(np.abs(returns))) else 0.0


def volatility(returns: FloatArray, periods_per_year: float) -> float:
    """Return the annualised standard deviation. As vectorbt's annualized_volatility and quantstats' volatility."""
    return deviation(returns) * sqrt(periods_per_year)


def sharpe(returns: FloatArray, periods_per_year: float) -> float:
    """Return the annualised Sharpe ratio at a risk-free rate of 0. As vectorbt's and quantstats'."""
    return _ratio(float(np.mean(returns)), deviation(returns)) * sqrt(periods_per_year) if len(returns) else np.nan


def downside_risk(returns: FloatArray, periods_per_year: float) -> float:
    """Return the annualised root mean square of negative returns over all periods. As vectorbt's."""
    return float(np.sqrt(np.mean(np.minimum(returns, 0) ** 2))) * sqrt(periods_per_year) if len(returns) else np.nan


def sortino(returns: FloatArray, periods_per_year: float) -> float:
    """Return the annualised Sortino ratio. As vectorbt's and quantstats'."""
    if len(returns) < 2:
        return np.nan
    return _ratio(float(np.mean(returns)) * periods_per_year, downside_risk(returns, periods_per_year))


def omega(returns: FloatArray) -> float:
    """Return gains over losses about 0. As vectorbt's and quantstats'."""
    return _ratio(float(np.maximum(returns, 0).sum()), -float(np.minimum(returns, 0).sum()))


def tail_ratio(returns: FloatArray) -> float:
    """Return |95th percentile| ÷ |5th percentile|. As vectorbt's and quantstats'."""
    if not len(returns):
        return np.nan
    low, high = np.percentile(returns, [100 * TAIL, 100 * (1 - TAIL)])
    return _ratio(abs(float(high)), abs(float(low)))


def value_at_risk(returns: FloatArray) -> float:
    """Return the 5th percentile. As vectorbt's; quantstats assumes a normal law, which returns do not follow."""
    return float(np.percentile(returns, 100 * TAIL)) if len(returns) else np.nan


def conditional_value_at_risk(returns: FloatArray) -> float:
    """Return the mean of the worst 5 %, at least one. As vectorbt's."""
    if not len(returns):
        return np.nan
    last = int((len(returns) - 1) * TAIL)
    return float(np.mean(np.partition(returns, last)[: last + 1]))


def skew(returns: FloatArray) -> float:
    """Return the bias-corrected skewness. As pandas' and so quantstats'."""
    n = len(returns)
    if n < 3 or deviation(returns) == 0:
        return np.nan
    centred = returns - np.mean(returns)
    squares = centred * centred  # ** 3 would take eight times as long
    third, second = float(np.dot(squares, centred)) / n, float(squares.mean())
    return third / second**1.5 * sqrt(n * (n - 1)) / (n - 2)


def kurtosis(returns: FloatArray) -> float:
    """Return the bias-corrected excess kurtosis. As pandas' and so quantstats'."""
    n = len(returns)
    if n < 4 or deviation(returns) == 0:
        return np.nan
    centred = returns - np.mean(returns)
    squares = centred * centred
    plain = float(np.dot(squares, squares)) / n / float(squares.mean()) ** 2
    return (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * plain - 3 * (n - 1))


def probabilistic_sharpe(ratio: float, skewness: float, excess: float, count: int) -> float:
    """Return the chance that the true Sharpe ratio is above 0. As quantstats' probabilistic_sharpe_ratio.

    Args:
        ratio: the Sharpe ratio per period, not annualised; skewness, excess (kurtosis), count: of the same returns.
    Source: Bailey & López de Prado 2012, "The Sharpe ratio efficient frontier", equation 9.
    """
    variance = 1 - skewness * ratio + (excess + 2) / 4 * ratio**2
    if not (isfinite(variance) and variance > 0):
        return np.nan
    return 0.5 * (1 + erf(ratio / sqrt(variance / (count - 1)) / sqrt(2)))


def beta(returns: FloatArray, benchmark: FloatArray) -> float:
    """Return covariance ÷ variance of the benchmark. As vectorbt's and quantstats' greeks."""
    if len(returns) < 2 or not deviation(benchmark) > 0:
        return np.nan
    centred = benchmark - np.mean(benchmark)
    return float(np.mean(centred * returns) / np.mean(centred**2))


def alpha(returns: FloatArray, benchmark: FloatArray, periods_per_year: float) -> float:
    """Return the compounded annual return that beta does not explain. As vectorbt's; quantstats does not compound."""
    if len(returns) < 2:
        return np.nan
    return float((np.mean(returns - beta(returns, benchmark) * benchmark) + 1) ** periods_per_year - 1)


def information_ratio(returns: FloatArray, benchmark: FloatArray) -> float:
    """Return mean ÷ deviation of the active return, per period. As vectorbt's and quantstats'."""
    active = returns - benchmark
    return _ratio(float(np.mean(active)), deviation(active)) if len(active) else np.nan


def capture(returns: FloatArray, benchmark: FloatArray, periods_per_year: float, *, up: bool) -> float:
    """Return the ratio of annual returns over the periods in which the benchmark rose (or fell). As vectorbt's."""
    chosen = benchmark > 0 if up else benchmark < 0
    return _ratio(
        annualised_return(returns[chosen], periods_per_year), annualised_return(benchmark[chosen], periods_per_year)
    )


def drawdowns(equity: FloatArray) -> FloatArray:
    """Return equity ÷ its running peak - 1, ≤ 0, at every point."""
    peak = np.maximum.accumulate(equity)
    peak = np.divide(equity, peak, out=peak)
    return np.subtract(peak, 1, out=peak)


def longest_drawdown(time: IntArray, drawdown: FloatArray) -> int:
    """Return the longest time, in ns, from a peak until equity was back at it or until the end."""
    at_peak = np.flatnonzero(drawdown >= 0)
    if not len(at_peak):
        return 0
    stops = np.append(at_peak, len(time) - 1)
    gaps = np.diff(time[stops])
    is_under = np.diff(stops) > 1  # neighbours are one rise, not a drawdown
    if drawdown[-1] < 0:
        is_under[-1] = True
    return int(gaps[is_under].max()) if is_under.any() else 0


def _ratio(above: float, below: float) -> float:
    return above / below if below else np.nan


# ── groups ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_OF_THE_CURVE = tuple(
    name for name, definition in DEFINITIONS.items()
    if definition.group in ("Return", "Risk", "Benchmark") and name not in ("exposure_time", "average_exposure")
)
_OF_RETURNS = tuple(
    name
    for name in _OF_THE_CURVE
    if name
    not in (
        "start_equity",
        "final_equity",
        "net_profit",
        "total_return",
        "max_drawdown",
        "max_drawdown_duration",
        "average_drawdown",
        "ulcer_index",
        "recovery_factor",
        "benchmark_return",
        "excess_return",
        "benchmark_max_drawdown",
        "benchmark_sharpe",
    )
)


def _fault(curve: EquityCurve) -> str:
    """Say why a curve has no statistics at all; an empty string if it has."""
    equity = curve.equity
    if not len(equity):
        return "there is no equity curve"
    # A NaN or an infinity anywhere makes the sum one; only then is it worth looking for.
    if not isfinite(float(equity.sum())):
        places = np.flatnonzero(~np.isfinite(equity))
        if len(places):
            return f"equity is not a number at {iso(int(curve.time[places[0]]))}"
    if equity[0] <= 0:
        return "the run started without equity"
    return ""


def _curve_statistics(book: _Book, curve: EquityCurve, sampling: Sampling, places: IntArray) -> None:
    equity, time = curve.equity, curve.time
    if fault := _fault(curve):
        book.none(fault, *_OF_THE_CURVE)
        return
    first, last = float(equity[0]), float(equity[-1])
    book.put("start_equity", first)
    book.put("final_equity", last)
    book.put("net_profit", last - first)
    book.put("total_return", last / first - 1)
    drawdown = drawdowns(equity)
    deepest = float(drawdown.min())
    book.put("max_drawdown", deepest)
    book.put("max_drawdown_duration", longest_drawdown(time, drawdown))
    book.put("average_drawdown", float(drawdown.mean()))
    book.put("ulcer_index", sqrt(float(np.dot(drawdown, drawdown)) / len(drawdown)))
    book.put("recovery_factor", _ratio(last / first - 1, -deepest), "there was no drawdown")
    if equity.min() <= 0:
        when = iso(int(time[np.argmax(equity <= 0)]))
        book.none(f"equity fell to zero or below at {when}, from where returns mean nothing", *_OF_RETURNS)
        return
    if len(places) < 3:
        book.none(f"{len(places) - 1} returns; expected at least 2", *_OF_RETURNS)
        return
    returns, year = _returns(equity, places), sampling.periods_per_year
    still = "the returns do not vary"
    annual = annualised_return(returns, year)
    book.put("best_period", float(returns.max()))
    book.put("worst_period", float(returns.min()))
    moved = int(np.count_nonzero(returns))
    book.put("positive_periods", _ratio(float(np.count_nonzero(returns > 0)), moved), "equity never moved")
    book.put("volatility", volatility(returns, year))
    ratio, skewness, excess = sharpe(returns, 1.0), skew(returns), kurtosis(returns)
    likely = probabilistic_sharpe(ratio, skewness, excess, len(returns))
    book.put("sharpe", ratio * sqrt(year), still)
    book.put("probabilistic_sharpe", likely, f"{still}, or there are fewer than 4")
    book.put("sortino", sortino(returns, year), "no return was below 0")
    book.put("omega", omega(returns), "no return was below 0")
    book.put("downside_risk", downside_risk(returns, year))
    book.put("value_at_risk", value_at_risk(returns))
    book.put("conditional_value_at_risk", conditional_value_at_risk(returns))
    book.put("tail_ratio", tail_ratio(returns), "the 5th percentile of returns is 0")
    book.put("skew", skewness, f"{still}, or there are fewer than 3")
    book.put("kurtosis", excess, f"{still}, or there are fewer than 4")
    if time[-1] - time[0] < SHORTEST_FOR_DAILY:
        book.none("a span below 30 days says nothing about a year", "cagr", "calmar")
        return
    book.put("cagr", annual)
    book.put("calmar", _ratio(annual, -deepest), "there was no drawdown")


def _returns(values: FloatArray, places: IntArray) -> FloatArray:
    # Per bar, `places` is everything: taking it would be a copy of a million floats.
    points = values if len(places) == len(values) else values[places]
    return points[1:] / points[:-1] - 1


def _benchmark_statistics(
    book: _Book, curve: EquityCurve, benchmark: Benchmark | None, sampling: Sampling, places: IntArray
) -> None:
    names = tuple(name for name, definition in DEFINITIONS.items() if definition.group == "Benchmark")
    if benchmark is None or len(benchmark.value) != len(curve.equity) or not len(curve.equity):
        book.none("there are no bars to hold as a benchmark", *names)
        return
    if fault := _fault(curve):
        book.none(fault, *names)
        return
    held = benchmark.value
    if not isfinite(float(held.sum())) or held.min() <= 0:
        book.none("the benchmark is not a positive number throughout", *names)
        return
    value = float(held[-1] / held[0] - 1)
    book.put("benchmark_return", value)
    book.put("excess_return", float(curve.equity[-1] / curve.equity[0] - 1) - value)
    book.put("benchmark_max_drawdown", float(drawdowns(held).min()))
    if len(places) < 3:
        book.none(f"{len(places) - 1} returns; expected at least 2", "benchmark_sharpe")
        return
    others, year = _returns(held, places), sampling.periods_per_year
    book.put("benchmark_sharpe", sharpe(others, year), "the benchmark does not vary")
    if curve.equity.min() <= 0:
        return
    returns = _returns(curve.equity, places)
    still = "the benchmark does not vary"
    book.put("beta", beta(returns, others), still)
    spread = deviation(returns) * deviation(others)
    together = float(np.mean((returns - returns.mean()) * (others - others.mean()))) * len(returns) / (len(returns) - 1)
    book.put("correlation", _ratio(together, spread), "the returns or the benchmark do not vary")
    book.put("information_ratio", information_ratio(returns, others), "the returns do not differ from the benchmark's")
    book.put("up_capture", capture(returns, others, year, up=True), "the benchmark never rose")
    book.put("down_capture", capture(returns, others, year, up=False), "the benchmark never fell")
    if curve.time[-1] - curve.time[0] < SHORTEST_FOR_DAILY:
        book.none("a span below 30 days says nothing about a year", "alpha")
    else:
        book.put("alpha", alpha(returns, others, year), still)


def _exposure_statistics(book: _Book, curve: EquityCurve, trades: Trades) -> None:
    if not len(curve.time):
        book.none("there is no equity curve", "exposure_time", "average_exposure")
        return
    if len(trades):
        # Positions that offset each other have no net exposure but are held all the same.
        steps = np.zeros(len(curve.time) + 1, np.int64)
        np.add.at(steps, np.searchsorted(curve.time, trades.entry_bar), 1)
        np.add.at(steps, np.where(trades.is_open, len(curve.time), np.searchsorted(curve.time, trades.exit_bar)), -1)
        held = int(np.count_nonzero(np.cumsum(steps[:-1])))
    else:
        held = int(np.count_nonzero(curve.exposure))
    book.put("exposure_time", held / len(curve.time))
    book.put("average_exposure", float(np.mean(np.abs(curve.exposure))), "exposure is not a number where equity is 0")


def _trade_statistics(book: _Book, trades: Trades) -> None:
    closed = trades.closed
    count = len(closed)
    book.put("trades", count)
    book.put("open_trades", len(trades) - count)
    names = tuple(
        name for name, definition in DEFINITIONS.items()
        if definition.group == "Trades" and name not in ("trades", "open_trades")
    )
    if not count:
        book.none("no trade was finished", *names)
        return
    profit = closed.net_profit
    wins, losses = profit[profit > 0], profit[profit < 0]
    book.put("long_trades", float(np.mean(closed.direction > 0)))
    book.put("win_rate", len(wins) / count)
    returns = closed.return_on_entry
    unpriced = "a trade was entered at a price of 0"
    book.put("average_trade", float(np.mean(returns)), unpriced)
    book.put("median_trade", float(np.median(returns)), unpriced)
    book.put("best_trade", float(np.max(returns)), unpriced)
    book.put("worst_trade", float(np.min(returns)), unpriced)
    book.put("longest_losing_streak", _longest_run(profit[np.argsort(closed.exit_time, kind="stable")] <= 0))
    book.put("average_duration", float(np.mean(closed.exit_time - closed.entry_time)))
    held = closed.bars_held
    book.put("average_bars_held", float(np.mean(held)) if np.all(held >= 0) else np.nan, "the bars are not at hand")
    book.put("expectancy", float(np.mean(profit)))
    book.put("average_win", float(np.mean(wins)) if len(wins) else np.nan, "no trade won")
    book.put("average_loss", float(np.mean(losses)) if len(losses) else np.nan, "no trade lost")
    book.put("profit_factor", _ratio(float(wins.sum()), -float(losses.sum())), "no trade lost")
    both = len(wins) and len(losses)
    book.put(
        "payoff_ratio",
        float(-np.mean(wins) / np.mean(losses)) if both else np.nan,
        "no trade won" if not len(wins) else "no trade lost",
    )
    book.put(
        "sqn",
        _ratio(sqrt(count) * float(np.mean(profit)), deviation(profit)),
        "fewer than two trades, or all made the same",
    )
    book.put("top_trade_share", _ratio(float(profit.max()), float(wins.sum())), "no trade won")


def _longest_run(claims: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], claims, [False])).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _cost_statistics(
    book: _Book,
    curve: EquityCurve,
    fills: Sequence[tuple[Any, ...]],
    account_events: Sequence[tuple[Any, ...]],
    multipliers: Mapping[str, float],
) -> None:
    book.put("fills", len(fills))
    columns = zip(*fills, strict=True) if fills else [()] * len(FillRow._fields)
    column = dict(zip(FillRow._fields, columns, strict=True))

    def values(name: str) -> FloatArray:
        return np.array(column[name], np.float64)

    notional = values("price") * values("quantity")
    if multipliers:
        notional *= np.array([multipliers.get(name, 1.0) for name in column["symbol"]], np.float64)
    traded = float(np.abs(notional).sum())
    held = [AccountEventRow(*event) for event in account_events]
    parts = {
        "fees": float(values("fee").sum()),
        **{name: float(values(name).sum()) for name in ("spread_cost", "slippage_cost", "impact_cost")},
        "holding_cost": -sum(
            event.amount for event in held if event.kind in HOLDING_KINDS and event.currency == curve.currency
        ),
    }
    for name, value in parts.items():
        book.put(name, value)
    costs = sum(parts.values())
    book.put("total_costs", costs)
    book.put("traded_notional", traded)
    net = book.values["net_profit"]
    untraded = "nothing was traded"
    book.put("cost_rate", _ratio(1e4 * costs, traded), untraded)
    if net is None:
        book.none(_fault(curve), "gross_profit", "costs_of_gross", "gross_edge", "turnover")
        return
    gross = net + costs
    book.put("gross_profit", gross)
    book.put("costs_of_gross", costs / gross if gross > 0 else np.nan, "there was no gross profit to take them from")
    book.put("gross_edge", _ratio(1e4 * gross, traded), untraded)
    span, mean = float(curve.time[-1] - curve.time[0]), float(curve.equity.mean())
    book.put(
        "turnover",
        traded / mean / (span / YEAR) if span > 0 and mean > 0 else np.nan,
        "no time passed, or there was no equity",
    )
