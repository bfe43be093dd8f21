"""Policies in a run: what they have seen is stamped, what they are asked is counted, and nonsense is not traded on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine import PluginError, Strategy
from engine.analysis.forecast_view import forecast_lines, with_split
from engine.bars import HOUR, Bar, FloatArray
from engine.forecasts import ForecastKind
from engine.journal.memory import MemoryJournal
from engine.loop import Engine
from engine.policies import Memory, PolicySpec, PolicyStep
from engine.records import AlertRow, DecisionRow
from engine.results import RunResult
from engine.testing import NEW_YEAR_2024, Terms, parts_for
from feeds.memory import MemoryFeed
from strategies.position_head import PositionHeadStrategy
from tests.engine.forecasting.market import OneInstantAtATime
from tests.strategies.forecast_runs import Says, hour_of, hourly, kind_of

FLAT = [100.0] * 8
SPEC = kind_of(ForecastKind.MULTI, outputs=("return", "mood"), trained_on=("BTC/USD",))
FIFTH = NEW_YEAR_2024 + 5 * HOUR


class Wishes:
    """Wishes for what `wish(bar)` returns, and remembers what `memory(bar)` does; notes what it was given."""

    def __init__(
        self, wish: Callable[[int], float] = lambda bar: 0.5, memory: Callable[[int], Any] = lambda bar: bar,
        trained_until: int | None = 0,
    ) -> None:
        self.spec = PolicySpec("of the file", ("mood",), trained_until=trained_until, model_hash="h")
        self.given: list[Memory | None] = []
        self._wish, self._memory = wish, memory

    def step(
        self, features: Any, memories: Sequence[Memory | None], held: FloatArray, time: int, interval: int,
        symbols: Sequence[str],
    ) -> PolicyStep:
        self.given += memories
        bar = hour_of(time)
        count = len(symbols)
        return PolicyStep(
            np.full(count, self._wish(bar)), ({"last": [self._memory(bar)], "of": "h"},) * count, (bar == 4,) * count
        )


def result_of(
    policy: Any, *, symbols: Sequence[str] = ("BTC/USD",), trained_until: int | None = 0, live: bool = False,
    journal: MemoryJournal | None = None, strategy: Strategy | None = None,
) -> RunResult:
    model = Says(replace(SPEC, trained_until=trained_until), lambda symbol, bar: [0.0, bar / 10])
    bars = [hourly(FLAT, symbol) for symbol in symbols]
    feed = OneInstantAtATime(bars[0]) if live else MemoryFeed(bars)
    parts = parts_for(feed, strategy or PositionHeadStrategy(model="price"), Terms(), journal=journal)
    forecasters = {"price": model} if strategy is None else {}
    return Engine(replace(parts, forecasters=forecasters, policies={"head": policy})).run()


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(("until", "contaminated", "clean_from", "words"), [
    (None, True, None, "head: nothing says until when it was trained"),
    (FIFTH, True, FIFTH, "head: trained on data to 2024-01-01T05:00Z, which overlaps until 2024-01-01T05:00Z"),
    (0, False, 0, ""),
])  # fmt: skip
def test_what_a_policy_may_have_seen_is_stamped(
    until: int | None, contaminated: bool, clean_from: int | None, words: str, live: bool
) -> None:
    told = result_of(Wishes(trained_until=until), live=live).forecasts

    assert (told["contaminated"], told["clean_from"]) == (contaminated, clean_from)
    assert [reason[: len(words)] for reason in told["reasons"]] == ([words] if words else [])


def test_figures_are_split_where_neither_model_nor_policy_had_seen_it() -> None:
    found = result_of(Wishes(trained_until=FIFTH), trained_until=NEW_YEAR_2024 + 2 * HOUR)

    split = with_split(found.forecasts, found.curve)

    assert len(found.forecasts["reasons"]) == 2
    assert split["before"]["to"] <= FIFTH <= split["after"]["to"]
    assert split["after"]["from"] == NEW_YEAR_2024 + 4 * HOUR  # the last close before


class DecidesAlone(Strategy):
    """Asks a policy of the bars themselves, without a forecaster."""

    def on_start(self) -> None:
        self.head = self.policy("head")

    def on_bar(self, bar: Bar) -> None:
        self.head.step(np.zeros((1, 1), np.float32), [None], np.zeros(1), bar.close_time, HOUR, [bar.symbol])


def test_a_policy_without_a_forecaster_is_stamped_too() -> None:
    told = result_of(Wishes(trained_until=FIFTH), strategy=DecidesAlone()).forecasts

    assert (told["contaminated"], told["clean_from"], told["models"]) == (True, FIFTH, {})
    assert told["policies"]["head"]["steps"] == 8


def test_a_policy_that_nobody_asks_for_says_nothing() -> None:
    class Idle(Strategy):
        def on_bar(self, bar: Bar) -> None:
            pass

    assert result_of(Wishes(trained_until=None), strategy=Idle()).forecasts == {}


def test_a_run_with_a_policy_alone_says_how_to_get_a_model() -> None:
    class Asks(Strategy):
        def on_start(self) -> None:
            self.forecasts("krnn")

    with pytest.raises(PluginError, match=r"asks for the model 'krnn'; this run has none; add \[models.krnn\]"):
        result_of(Wishes(), strategy=Asks())


def test_what_it_was_asked_is_counted_and_told() -> None:
    found = result_of(Wishes(), symbols=("A/USD", "B/USD"))

    told = found.forecasts["policies"]["head"]
    assert (told["calls"], told["steps"], told["restarted"], told["flagged"]) == (7, 14, 2, {})
    assert told["model_seconds"] > 0
    lines = forecast_lines(with_split(found.forecasts, found.curve))
    assert "head: 14 steps in 7 calls, memory begun anew 2 times" in lines


@pytest.mark.parametrize(("wish", "memory"), [
    (lambda bar: np.nan if bar in (3, 4, 6) else 0.5 + bar / 100, lambda bar: bar),
    (lambda bar: 0.5 + bar / 100, lambda bar: np.nan if bar in (3, 4, 6) else bar),
    (lambda bar: np.inf if bar in (3, 4, 6) else 0.5 + bar / 100, lambda bar: bar),
])  # fmt: skip
def test_an_answer_that_is_no_number_is_flagged_not_traded_on_and_not_remembered(
    wish: Callable[[int], float], memory: Callable[[int], float]
) -> None:
    journal, policy = MemoryJournal(), Wishes(wish, memory)

    found = result_of(policy, journal=journal)

    with journal.snapshot() as reader:
        alerts, decisions = reader.rows(AlertRow, 1), reader.rows(DecisionRow, 1)
    assert [hour_of(row.bar_close_time) for row in decisions] == [1, 2, 5, 7]
    assert [None if one is None else one["last"] for one in policy.given] == [None, [1], [2], [2], [2], [5], [5]]
    assert found.forecasts["policies"]["head"]["flagged"] == {"nan": 3}
    words = "head answers nan for BTC/USD: what is held is kept, and what it remembered"
    assert [(hour_of(row.time), row.level, row.source, row.text) for row in alerts] == [
        (bar, "warning", "policy", words) for bar in (3, 6)
    ]
    assert any("3 nan (not traded on)" in line for line in forecast_lines(with_split(found.forecasts, found.curve)))


def test_one_symbol_s_nonsense_is_not_another_s() -> None:
    class Half(Wishes):
        def step(self, *asked: Any) -> PolicyStep:
            step = super().step(*asked)
            return step._replace(faults=("nan", ""))

    journal = MemoryJournal()
    result_of(Half(), symbols=("A/USD", "B/USD"), journal=journal)

    with journal.snapshot() as reader:
        assert {row.symbol for row in reader.rows(DecisionRow, 1)} == {"B/USD"}


def test_answers_of_another_count_are_refused() -> None:
    class Short(Wishes):
        def step(self, *asked: Any) -> PolicyStep:
            return super().step(*asked)._replace(shares=np.zeros(2))

    with pytest.raises(PluginError, match=r"answered with shares of shape \[2\], 1 memories.*expected 1 of"):
        result_of(Short())
