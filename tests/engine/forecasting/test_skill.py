"""Skill of forecasts that are no returns: chances against the base rate, and rules that could never judge."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import SettingsError
from engine.analysis.forecast_view import forecast_lines, with_split
from engine.bars import Bars
from engine.forecasting.book import ForecastTerms
from engine.forecasting.scores import Score
from engine.forecasting.skill import SkillRule, SkillWatch, skill_of, summary_of
from engine.forecasting.testing import FunctionForecaster, spec_of
from engine.forecasts import ForecastKind, ForecastSpec
from engine.journal.memory import MemoryJournal
from engine.records import AlertRow, ForecastSkillRow
from engine.testing import run_bars
from tests.engine.forecasting.market import Follows, side_by_side, walk

RULE = SkillRule(window=40, least=20, scale=0.25)
CHANCE = spec_of(ForecastKind.PROBABILITY, timeframe="1h", is_deterministic=True, outputs=("up",))
MANY = spec_of(ForecastKind.MULTI, timeframe="1h", is_deterministic=True, outputs=("mood", "up"))
SCORE = spec_of(ForecastKind.SCORE, timeframe="1h", is_deterministic=True)


def rising(count: int = 160) -> Bars:
    """Return bars that rise three times out of four, and nearly always over two of them."""
    bars = walk(count)
    steps = np.where(np.random.default_rng(7).random(count) < 0.75, 0.01, -0.009)
    close = np.round(100 * np.exp(np.cumsum(steps)), 4) + np.arange(count) / 1e6
    open_ = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    return Bars(bars.streams, bars.open_time, bars.close_time, open_, high, low, close, bars.volume)


def knowing(spec: ForecastSpec, bars: Bars, chance: Callable[[bool], float]) -> FunctionForecaster:
    """Return a model whose chance of a rise is made of whether the price will rise."""
    row_of = {np.float32(close).item(): row for row, close in enumerate(bars.close)}

    def says(window: Any) -> Sequence[float]:
        row = row_of[window[-1, 0].item()]
        ahead = min(row + spec.horizon, len(bars) - 1)
        jitter = row % 7 / 1e4  # three equal answers in a row would count as stuck
        said = chance(bool(bars.close[ahead] > bars.close[row])) + jitter
        return [0.5 + jitter, said] if spec.kind is ForecastKind.MULTI else [said]

    return FunctionForecaster(spec, says)


def ran(model: FunctionForecaster, bars: Bars, rule: SkillRule = RULE) -> tuple[dict[str, Any], list[ForecastSkillRow]]:
    journal = MemoryJournal()
    found = run_bars(
        bars, Follows(), forecasters={"model": model}, forecast_terms=ForecastTerms(skill={"model": rule}),
        journal=journal,
    )
    with journal.snapshot() as reader:
        return found.forecasts, reader.rows(ForecastSkillRow, 1)


@pytest.mark.parametrize("spec", [CHANCE, MANY])
@pytest.mark.parametrize(("chance", "is_skilled"), [
    (lambda rises: 0.99 if rises else 0.01, True),
    (lambda rises: 0.1 if rises else 0.9, False),
    (lambda rises: 0.5, False),  # knows less than how often prices rise here
])  # fmt: skip
def test_a_chance_is_judged_against_the_base_rate(
    spec: ForecastSpec, chance: Callable[[bool], float], is_skilled: bool
) -> None:
    bars = rising()

    told, changes = ran(knowing(spec, bars, chance), bars)

    model = told["models"]["model"]
    assert (model["skill"]["skill_base"] > 0) == is_skilled
    assert model["skill"]["skill_walk"] is None
    assert [row.scale for row in changes] == ([] if is_skilled else [0.25])
    assert model["unjudged"] is None


def score(as_of: int, time: int, realised: float, brier: float | None = 0.1) -> Score:
    return Score(1, "model", "A", as_of, time, realised=realised, brier=brier)


def test_the_base_rate_is_of_outcomes_known_when_the_forecast_was_made() -> None:
    watch = SkillWatch(ForecastKind.PROBABILITY, RULE)

    bases = [watch.add(one).base for one in (
        score(1, 3, 0.1),  # nothing was known: one half
        score(2, 4, 0.1),  # still nothing
        score(3, 5, -0.1),  # the first: a rise, (1 + 1) / (1 + 2)
        score(5, 7, 0.1),  # three, two of them rises: 3 / 5
    )]  # fmt: skip

    assert bases == pytest.approx([0.25, 0.25, (2 / 3) ** 2, (3 / 5 - 1) ** 2])
    assert watch.add(score(8, 9, 0.0, None)).base is None  # did not move: neither


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.booleans()), min_size=1, max_size=40))
def test_later_outcomes_change_no_earlier_base(made: list[tuple[int, int, bool]]) -> None:
    scores = [score(at, at + span, 0.1 if rises else -0.1) for at, span, rises in made]
    scores.sort(key=lambda one: one.time)
    watch = SkillWatch(ForecastKind.PROBABILITY, None)

    for one in scores:
        known = [other for other in scores if other.time <= one.as_of]
        rate = (sum((other.realised or 0) > 0 for other in known) + 1) / (len(known) + 2)
        assert watch.add(one).base == pytest.approx((rate - ((one.realised or 0) > 0)) ** 2)


def test_always_saying_one_half_of_what_rises_as_often_as_it_falls_is_no_skill() -> None:
    watch = SkillWatch(ForecastKind.PROBABILITY, None)
    scores = [watch.add(score(at, at + 1, 0.1 if at % 2 else -0.1, 0.25)) for at in range(400)]

    assert skill_of(ForecastKind.PROBABILITY, scores) == pytest.approx(0, abs=0.02)
    assert summary_of(scores)["brier"] == pytest.approx(0.25)


@pytest.mark.parametrize(("spec", "every", "words"), [
    (SCORE, "bar", "scores of 2 symbols are never ranked"),
    (SCORE, "ask", "scores only when the strategy asks are never ranked"),
    (spec_of(ForecastKind.PROBABILITY, timeframe="1h", outputs=("crash",)), "bar",
     "the outputs crash of this probability are never scored, so its skill cannot be judged; expected up among them"),
    (spec_of(ForecastKind.MULTI, timeframe="1h", outputs=("a", "b")), "bar",
     "the outputs a, b of this multi are never scored, so its skill cannot be judged; expected up or return among"),
])  # fmt: skip
def test_a_rule_that_could_never_judge_is_refused(spec: ForecastSpec, every: str, words: str) -> None:
    bars = side_by_side([walk(20, symbol="A"), walk(20, symbol="B")])
    terms = ForecastTerms(skill={"model": RULE})
    model = FunctionForecaster(spec, lambda window: [0.0] * len(spec.outputs or "1"))

    with pytest.raises(SettingsError, match=r"models\.model\.skill: " + words):
        run_bars(bars, Follows(every), forecasters={"model": model}, forecast_terms=terms)


def test_a_rule_that_never_had_enough_to_judge_by_says_so_once() -> None:
    bars, journal = rising(20), MemoryJournal()
    model = knowing(CHANCE, bars, lambda rises: 0.9 if rises else 0.1)

    found = run_bars(
        bars, Follows(), forecasters={"model": model}, forecast_terms=ForecastTerms(skill={"model": RULE}),
        journal=journal,
    )

    scored = found.forecasts["models"]["model"]["skill"]["scored"]
    with journal.snapshot() as reader:
        [alert] = reader.rows(AlertRow, 1)
    assert alert.text == f"model: its skill was never judged, for {scored} forecasts were scored of 20 needed"
    assert any("skill was never judged" in line for line in forecast_lines(with_split(found.forecasts, found.curve)))
