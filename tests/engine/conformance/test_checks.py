"""The checks beside the leak search, each with a strategy that fails it and one that passes."""

import random
from typing import Any

import numpy as np
import pytest

from engine import Bar, Bars, Param, PluginError, Slice, Strategy
from engine.conformance import (
    CheckResult,
    Determinism,
    MemoryGrowth,
    Restoring,
    Subject,
    TimePerBar,
    WarmUp,
    reference_of,
    run_check,
    run_checks,
    subject_of,
)
from engine.conformance.processes import in_copy
from feeds.synthetic import SyntheticFeed, SyntheticMarket


def market(symbols: int = 1, rows: int = 600) -> Bars:
    names = tuple(f"S{place}/USD" for place in range(symbols))
    return next(iter(SyntheticFeed(SyntheticMarket(names, "1h", rows, seed=5)).chunks()))


def checked(check: Any, kind: Any, bars: Bars | None = None) -> CheckResult:
    subject = subject_of(kind, bars or market())
    return run_check(check, subject, reference_of(subject))


# ── determinism ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Unseeded(Strategy):
    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, random.SystemRandom().random())


class Seeded(Strategy):
    def on_start(self) -> None:
        self.dice = random.Random(3)

    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, self.dice.random())


def test_a_run_that_never_repeats_is_named() -> None:
    result = checked(Determinism(), Unseeded)
    assert result.status == "failed"
    assert "decisions" in result.findings[0].what


def test_seeded_chance_repeats() -> None:
    assert checked(Determinism(), Seeded).status == "passed"


def test_processes_that_disagree_are_named() -> None:
    subject = subject_of(Seeded, market(), elsewhere=lambda seed: f"digest {seed}")
    result = Determinism().run(subject, reference_of(subject))
    assert result.status == "failed"
    assert "PYTHONHASHSEED 1 and 2 make other orders" in result.findings[0].what


# ── warm-up ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class HastyEma(Strategy):
    def on_start(self) -> None:
        self.line = self.indicator("EMA", "close", 20)

    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, float(bar.close > self.line[-1]))


class PatientEma(HastyEma):
    warm_up = 120


class Accumulating(HastyEma):
    def on_start(self) -> None:
        self.line = self.indicator("OBV")


def test_an_average_that_is_not_settled_is_named_with_a_warm_up_that_settles_it() -> None:
    result = checked(WarmUp(), HastyEma)
    assert result.status == "failed"
    (finding,) = result.findings
    assert finding.where == "S0/USD 1h EMA(close, 20)"
    suggested = int(finding.what.rpartition("warm_up = ")[2])

    class AsAdvised(HastyEma):
        warm_up = suggested

    assert checked(WarmUp(), AsAdvised).status == "passed"


def test_a_long_warm_up_is_honest() -> None:
    result = checked(WarmUp(), PatientEma)
    assert result.status == "passed"
    assert "after 120 bars" in result.summary


def test_a_line_that_never_forgets_is_named() -> None:
    result = checked(WarmUp(), Accumulating)
    assert "never forgets where the data began" in result.findings[0].what


def test_an_author_may_switch_a_check_off_and_say_why() -> None:
    class Meant(Accumulating):
        check_exemptions = {"warm-up": "the level is only compared with itself"}  # noqa: RUF012

    result = checked(WarmUp(), Meant)
    assert (result.status, result.summary) == (
        "skipped", "switched off by the author: the level is only compared with itself",
    )


# ── save and restore ────────────────────────────────────────────────────────────────────────────────────────────────


class Counting(Strategy):
    every: int = Param(7)

    def on_start(self) -> None:
        self.seen = 0
        self.line = self.indicator("SMA", "close", 5)
        self.set_timer("day", every="1d")

    def on_bar(self, bar: Bar) -> None:
        self.seen += 1
        if self.seen % self.every == 0:
            self.target(bar.symbol, float(self.seen % (2 * self.every) == 0 or bar.close > self.line[-1]))

    def on_timer(self, timer: object) -> None:
        self.cancel_all()


class CountingSaved(Counting):
    def save_state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class SavesAnArray(CountingSaved):
    def save_state(self) -> dict[str, Any]:
        return {"seen": np.int64(self.seen)}


class OnSlices(Strategy):
    def on_start(self) -> None:
        self.mean = np.zeros(len(self.symbols))

    def on_slice(self, slice: Slice) -> None:
        self.mean = np.where(self.mean == 0, slice.close, 0.9 * self.mean + 0.1 * slice.close)
        best = int(np.argmax(slice.close / self.mean))
        for place, symbol in enumerate(self.symbols):
            self.target(symbol, 0.9 if place == best else 0.0)

    def save_state(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.mean = np.array(state["mean"])


def test_state_that_is_not_saved_is_named_with_its_line() -> None:
    result = checked(Restoring(), Counting)
    assert result.status == "failed"
    (finding,) = result.findings
    assert "self.seen changes from bar to bar and is not saved" in finding.what
    assert "test_checks.py, line" in finding.where
    assert "self.seen" in finding.where


@pytest.mark.parametrize(("kind", "symbols"), [(CountingSaved, 1), (OnSlices, 4)])
def test_state_that_is_saved_goes_on(kind: type[Strategy], symbols: int) -> None:
    assert checked(Restoring(), kind, market(symbols)).status == "passed"


def test_state_that_is_no_json_is_named() -> None:
    result = checked(Restoring(), SavesAnArray)
    assert "SavesAnArray.save_state returned what is no JSON" in result.findings[0].what


def test_a_strategy_without_state_is_skipped() -> None:
    result = checked(Restoring(), PatientEma)
    assert (result.status, result.summary) == ("skipped", "the strategy keeps no state of its own")


# ── time and memory ─────────────────────────────────────────────────────────────────────────────────────────────────


class Hoarder(Strategy):
    def on_start(self) -> None:
        self.bars: list[Bar] = []

    def on_bar(self, bar: Bar) -> None:
        self.bars.append(bar)


def test_a_list_that_only_grows_is_named_and_does_not_fail() -> None:
    result = checked(MemoryGrowth(), Hoarder)
    assert result.status == "passed"
    assert result.evidence["items_per_instant"].keys() == {"bars"}
    assert "self.bars.append(bar)" in result.notes[0]
    assert not checked(MemoryGrowth(), Seeded).notes


def test_time_is_told_per_call_and_beside_an_empty_strategy() -> None:
    result = checked(TimePerBar(), Seeded)
    assert result.status == "passed"
    evidence = result.evidence
    assert evidence["calls"] == 600
    assert 0 < evidence["p50_seconds"] <= evidence["p99_seconds"]
    assert evidence["empty_seconds_per_bar"] > 0


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_is_ready_for_json_and_says_whether_all_is_well() -> None:
    subject = subject_of(Unseeded, market(rows=80), market="eighty bars")
    report = run_checks(subject, (Determinism(), TimePerBar()))
    assert not report.is_passed
    made = report.as_dict()
    assert (made["strategy"], made["market"], made["passed"]) == ("Unseeded", "eighty bars", False)
    assert [result["status"] for result in made["results"]] == ["failed", "passed"]


def test_a_strategy_that_does_not_run_fails_with_its_own_error() -> None:
    class Broken(Strategy):
        def on_bar(self, bar: Bar) -> None:
            raise ValueError("no luck")

    result = checked(Determinism(), Broken)
    assert result.status == "failed"
    assert "no luck" in result.findings[0].what


def test_too_short_a_market_is_refused() -> None:
    with pytest.raises(PluginError, match="a check needs 60 instants, and the market has 20; give it more bars"):
        subject_of(Seeded, market(rows=20))


def test_a_strategy_that_ends_its_process_is_told_of() -> None:
    import os

    with pytest.raises(PluginError, match=r"the strategy ended its process \(status 3\)"):
        in_copy(lambda: os._exit(3))


def test_a_subject_has_new_books_each_time() -> None:
    subject: Subject = subject_of(Seeded, market(rows=80))
    assert reference_of(subject).digest == reference_of(subject).digest
