"""Every planted leak is found, with its statement and its first instant; honest strategies pass."""

from pathlib import Path

import numpy as np
import pytest

from engine import Bar, Bars, FloatArray, Param, Strategy
from engine.conformance import LeakSearch, SharedState, Subject, reference_of, subject_of
from engine.conformance.results import CheckResult
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from tests.engine.conformance import planted
from tests.engine.conformance.planted import PLANTED, ROWS, marked_line

QUICK = LeakSearch(spread=30, around=6)


def market(symbols: int = 1, rows: int = ROWS) -> Bars:
    names = tuple(f"S{place}/USD" for place in range(symbols))
    return next(iter(SyntheticFeed(SyntheticMarket(names, "1h", rows, seed=5)).chunks()))


def searched(subject: Subject, search: LeakSearch = QUICK) -> CheckResult:
    return search.run(subject, reference_of(subject))


@pytest.fixture(scope="module")
def covariates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "values.csv"
    values = np.random.default_rng(1).normal(size=ROWS)
    rows = [f"{time},{value}" for time, value in zip(market().close_time.tolist(), values, strict=True)]
    path.write_text("\n".join(["time,value", *rows]))
    planted.CovariateOfAFile.file = path
    return path


@pytest.mark.parametrize("kind", PLANTED, ids=lambda kind: kind.__name__)
def test_a_planted_leak_is_found_with_its_line_and_first_instant(
    kind: type[planted.Planted], covariates: Path
) -> None:
    symbols = 3 if kind is planted.BaseOfASlice else 1
    subject = subject_of(kind, market(symbols))
    result = searched(subject)
    assert result.status == "failed", result
    (finding,) = result.findings
    assert f"planted.py, line {marked_line(kind)}: " in finding.where, finding
    assert finding.instant is not None
    assert abs(int(np.searchsorted(subject.times, finding.instant)) - kind.first) <= 12
    assert result.evidence["with_future"] != result.evidence["without"]


def test_the_first_instant_is_exact_where_each_bar_uses_the_next() -> None:
    subject = subject_of(planted.CentredAverage, market())
    result = searched(subject)
    assert result.findings[0].instant == subject.times[2]
    assert "indicator S0/USD 1h centred(close, 5)" in result.findings[0].what


def test_what_one_run_hands_to_the_next_is_found() -> None:
    subject = subject_of(planted.SharedCache, market())
    result = SharedState().run(subject, reference_of(subject))
    assert result.status == "failed"
    assert f"line {marked_line(planted.SharedCache)}: self.highest.append" in result.findings[0].where
    assert "SharedCache.highest" in result.findings[0].what


# ── honest, and not easy to tell ────────────────────────────────────────────────────────────────────────────────────


class Dice(Strategy):
    """Throws dice of its own, seeded."""

    seed: int = Param(4)

    def on_start(self) -> None:
        self.dice = np.random.default_rng(self.seed)

    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, float(self.dice.integers(0, 3)) / 2)


class HonestCovariate(Strategy):
    """Reads the array that belongs to the bar it is told of, and a list of weights of its own."""

    covariate = np.random.default_rng(3).normal(size=ROWS + 5)

    def on_start(self) -> None:
        self.place = -1
        self.kept = np.zeros(ROWS + 5)  # a buffer, filled as bars close

    def on_bar(self, bar: Bar) -> None:
        self.place += 1
        self.kept[self.place] = self.covariate[self.place]
        self.target(bar.symbol, float(self.kept[: self.place + 1].mean() > 0))


class HonestFile(planted.CovariateOfAFile):
    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, float(self.values.get(bar.close_time, 0.0) > 0))


class Calendar(Strategy):
    """Knows the days of the month ahead, by right."""

    known_in_advance = ("days",)
    days = np.random.default_rng(8).normal(size=ROWS + 5)

    def on_start(self) -> None:
        self.place = -1

    def on_bar(self, bar: Bar) -> None:
        self.place += 1
        self.target(bar.symbol, float(self.days[self.place + 1] > 0))


def recursive(close: FloatArray, weight: float) -> FloatArray:
    line, level = np.empty(len(close)), float(close[0])
    for row, value in enumerate(close):
        level += weight * (value - level)
        line[row] = level
    return line


class Recursive(Strategy):
    def on_start(self) -> None:
        self.line = self.indicator(recursive, "close", 0.1)
        self.set_timer("night", every="1d")

    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, float(bar.close > self.line[-1]))

    def on_timer(self, timer: object) -> None:
        self.cancel_all()


@pytest.mark.parametrize("kind", [Dice, HonestCovariate, HonestFile, Calendar, Recursive], ids=lambda k: k.__name__)
def test_honest_strategies_pass(kind: type[Strategy], covariates: Path) -> None:
    result = searched(subject_of(kind, market(rows=160)), LeakSearch(spread=8, around=2))
    assert result.status == "passed", result.findings
    assert result.evidence["decisions"] > 5


def test_a_calendar_that_is_not_declared_is_a_leak(covariates: Path) -> None:
    class Undeclared(Calendar):
        known_in_advance = ()

    assert searched(subject_of(Undeclared, market())).status == "failed"


@pytest.mark.slow
def test_the_usual_search_tries_a_hundred_instants() -> None:
    subject = subject_of(Dice, market(rows=150))
    result = LeakSearch(around=2).run(subject, reference_of(subject))
    assert result.status == "passed"
    assert result.evidence["instants"] >= 100
    assert result.evidence["runs"] == 3 * result.evidence["instants"]
