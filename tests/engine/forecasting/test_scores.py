"""Scores against independent formulas, and what skill does to positions."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine import Bars, Forecast, PluginError, SettingsError, Strategy
from engine.bars import HOUR
from engine.forecasting.book import ForecastTerms
from engine.forecasting.contamination import stamp
from engine.forecasting.scores import (
    Score,
    cone_crps,
    crps_of_normal,
    crps_of_samples,
    pinball,
    rank_correlation,
    score,
)
from engine.forecasting.skill import SkillRule, skill_of, summary_of
from engine.forecasting.testing import FunctionForecaster, RandomPaths, last_change, momentum, spec_of
from engine.forecasts import Float32Array, ForecastKind, Forecasts, ForecastSpec, Windows
from engine.journal.memory import MemoryJournal
from engine.records import DecisionRow, ForecastRow, ForecastScoreRow, ForecastSkillRow
from engine.testing import NEW_YEAR_2024, run_bars
from tests.engine.forecasting.market import Follows, FollowsPanel, hours, side_by_side, walk, without

HOURLY = spec_of(ForecastKind.RETURN, timeframe="1h", is_deterministic=True)
numbers = st.floats(-0.5, 0.5).map(lambda value: round(value, 6))


def forecast_of(spec: ForecastSpec, values: Any, last_close: float = 100.0) -> Forecast:
    return Forecast(1, spec, "X", 0, 0, 2 * HOUR, last_close, np.asarray(values, np.float32))


# ── the formulas ────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(numbers, min_size=1, max_size=30), numbers)
def test_crps_of_samples_is_its_double_sum(samples: list[float], realised: float) -> None:
    x = np.array(samples)
    expected = np.abs(x - realised).mean() - np.abs(x[:, None] - x).mean() / 2

    assert crps_of_samples(x, realised) == pytest.approx(expected, abs=1e-12)


@given(st.floats(0.001, 1), numbers)
def test_crps_of_a_normal_is_the_integral_of_its_definition(deviation: float, realised: float) -> None:
    x = np.linspace(-8 * deviation - 1, 8 * deviation + 1, 20_001)
    gap = (stats.norm.cdf(x, scale=deviation) - (x >= realised)) ** 2

    assert crps_of_normal(deviation, realised) == pytest.approx(np.trapezoid(gap, x), abs=2e-4)


@given(st.lists(st.integers(-5, 5), min_size=3, max_size=20), st.integers(0, 10_000))
def test_rank_correlation_is_spearmans_with_ties(first: list[int], seed: int) -> None:
    second = np.random.default_rng(seed).integers(-4, 4, len(first))
    found = rank_correlation(np.array(first, float), second.astype(float))
    if len(set(first)) == 1 or len(set(second.tolist())) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


@given(st.lists(numbers, min_size=2, max_size=9, unique=True), numbers)
def test_pinball_is_smallest_at_the_truth(values: list[float], realised: float) -> None:
    levels = np.arange(1, len(values) + 1) / (len(values) + 1)

    assert pinball(np.sort(values), levels, realised) >= pinball(np.full(len(values), realised), levels, realised) == 0


def test_a_cone_is_as_wide_as_the_windows_volatility_says() -> None:
    past = 100 * np.exp(np.cumsum([0.0, 0.02, -0.01, 0.03, -0.02]))

    assert cone_crps(past, 4, 0.05) == pytest.approx(crps_of_normal(np.std([0.02, -0.01, 0.03, -0.02]) * 2, 0.05))
    assert cone_crps(np.full(5, 100.0), 4, 0.05) == 0.05


def test_scores_of_each_kind() -> None:
    past = np.array([100.0, 101, 99, 100])
    quantiles = spec_of(ForecastKind.QUANTILES, levels=(0.1, 0.5, 0.9))
    found = score(forecast_of(quantiles, [[-9, 0, 9], [-0.02, 0.01, 0.04]]), 0.025, 7, past)
    assert found.pinball == pytest.approx((0.1 * 0.045 + 0.5 * 0.015 + 0.1 * 0.015) / 3, abs=1e-7)
    assert (found.crps, found.covered, found.nominal) == (2 * found.pinball, 1.0, pytest.approx(0.8))
    assert found.pit == pytest.approx(0.7, abs=1e-6)
    beyond = [score(forecast_of(quantiles, [[-9, 0, 9], [-0.02, 0.01, 0.04]]), came, 7, past).pit for came in (-1, 1)]
    assert beyond == pytest.approx([0.05, 0.95])  # all that is known is that it lies beyond the outermost levels
    assert (found.point, found.error) == (pytest.approx(0.01), pytest.approx(0.015))

    paths = spec_of(ForecastKind.PATHS, samples=4)
    closes = 100 * np.exp([-0.02, 0.0, 0.02, 0.06])
    found = score(forecast_of(paths, np.repeat(np.repeat(closes, 2), 6).reshape(4, 2, 6)), 0.01, 7, past)
    assert (found.point, found.direction, found.pit, found.covered) == (pytest.approx(0.015), 1.0, 0.5, 1.0)

    chance = spec_of(ForecastKind.PROBABILITY, outputs=("up",))
    found = score(forecast_of(chance, [0.8]), -0.01, 7, past)
    assert (found.brier, found.direction, found.error) == (pytest.approx(0.64), 0.0, None)

    ranking = score(forecast_of(spec_of(ForecastKind.SCORE), [3.0]), -0.01, 7, past)
    assert (ranking.realised, ranking.error, ranking.crps) == (-0.01, None, None)


def test_of_named_outputs_those_that_are_a_return_and_a_chance_are_scored() -> None:
    past, came = np.array([100.0, 101, 99, 100]), 0.025
    outputs = ("fall", "logreturn_q90", "logreturn", "logreturn_q10", "logreturn_q50", "trend", "logreturn_quick")
    spec = spec_of(ForecastKind.MULTI, outputs=outputs, return_output="logreturn", up_output="trend")
    found = score(forecast_of(spec, [9, 0.04, 0.01, -0.02, 0.01, 0.7, 9]), came, 7, past)

    plain = spec_of(ForecastKind.QUANTILES, levels=(0.1, 0.5, 0.9))
    alone = score(forecast_of(plain, [[0, 0, 0], [-0.02, 0.01, 0.04]]), came, 7, past)
    assert tuple(spec.return_quantiles) == pytest.approx((0.1, 0.5, 0.9))
    assert found.brier == pytest.approx(0.09)
    assert replace(found, brier=None) == alone

    point = spec_of(ForecastKind.MULTI, outputs=("return", "up"))
    found = score(forecast_of(point, [-0.01, 0.7]), came, 7, past)
    assert (found.point, found.direction, found.crps) == (pytest.approx(-0.01), 0.0, pytest.approx(0.035))
    assert found.brier == pytest.approx(0.09)

    nothing = spec_of(ForecastKind.MULTI, outputs=("fall",))
    found = score(forecast_of(nothing, [0.1]), came, 7, past)
    assert (found.point, found.brier, found.crps, found.cone) == (None, None, None, None)


def test_the_direction_of_what_does_not_move_is_not_scored() -> None:
    spec = spec_of(ForecastKind.RETURN)

    assert score(forecast_of(spec, [0, 0.0]), 0.01, 7, np.ones(5)).direction is None
    assert score(forecast_of(spec, [0, 0.01]), 0.0, 7, np.ones(5)).direction is None


# ── the ledger ──────────────────────────────────────────────────────────────────────────────────────────────────────


def journal_of(bars: Bars, strategy: Strategy, forecaster: Any, **terms: Any) -> MemoryJournal:
    journal = MemoryJournal()
    run_bars(
        bars, strategy, journal=journal, forecasters={"model": forecaster}, forecast_terms=ForecastTerms(**terms)
    )
    return journal


def rows(journal: MemoryJournal, kind: Any) -> list[Any]:
    with journal.snapshot() as reader:
        return reader.rows(kind, 1)


def test_a_forecast_is_scored_when_its_horizon_has_closed() -> None:
    bars = walk(20)

    scored = rows(journal_of(bars, Follows("3h"), momentum(HOURLY)), ForecastScoreRow)

    assert [(hours(one.as_of), hours(one.time)) for one in scored] == [(6, 8), (9, 11), (12, 14), (15, 17), (18, 20)]
    for one in scored:
        row = int(hours(one.as_of)) - 1
        assert one.realised == pytest.approx(np.log(bars.close[row + 2] / bars.close[row]))


def test_a_horizon_counts_bars_where_some_are_missing() -> None:
    scored = rows(journal_of(without(walk(20), [7, 8]), Follows("6h"), momentum(HOURLY)), ForecastScoreRow)

    # From 6 the second bar after is that of 10: those of 8 and 9 are missing.
    assert [(hours(one.as_of), hours(one.time)) for one in scored] == [(6, 10), (12, 14), (18, 20)]


def test_a_panel_is_ranked_against_what_came_of_it() -> None:
    parts = [walk(30, seed=number, symbol=name) for number, name in enumerate("ABCD")]
    spec = replace(HOURLY, kind=ForecastKind.SCORE)

    scored = rows(journal_of(side_by_side(parts), FollowsPanel("6h"), last_change(spec)), ForecastScoreRow)

    panels = [one for one in scored if one.rank_ic is not None]
    assert [(hours(one.as_of), one.members) for one in panels] == [(6, 4), (12, 4), (18, 4), (24, 4)]
    changes = [np.log(part.close[11] / part.close[10]) for part in parts]
    later = [np.log(part.close[13] / part.close[11]) for part in parts]
    assert panels[1].rank_ic == pytest.approx(stats.spearmanr(changes, later).statistic)


# ── models that answer nonsense ─────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_a_number_is_recorded_and_not_delivered() -> None:
    def sometimes(window: Float32Array) -> Sequence[float]:
        return [0.0, float("nan") if window[-1, 0] > 100 else 0.01 + float(window[-1, 0]) / 1e6]

    bars = walk(60, seed=5)
    strategy = Follows()
    journal = journal_of(bars, strategy, FunctionForecaster(HOURLY, sometimes))

    flagged = [one for one in rows(journal, ForecastRow) if "nan" in one.flags]
    assert len(flagged) == int((bars.close[4:] > 100).sum()) > 0
    assert len(strategy.seen) == 56 - len(flagged)
    assert json.loads(flagged[0].says) == {"finite": 0.5}
    assert not {one.forecast_id for one in rows(journal, ForecastScoreRow)} & {one.id for one in flagged}


def test_a_model_that_says_the_same_of_everything_is_not_listened_to() -> None:
    strategy = Follows()
    journal = journal_of(walk(20), strategy, FunctionForecaster(HOURLY, lambda _: [0.01, 0.02]))

    assert len(strategy.seen) == 2  # the third in a row gives it away
    assert [one.flags for one in rows(journal, ForecastRow)] == ["", "", *["constant"] * 14]


def test_flat_paths_and_scores_without_differences_are_constant() -> None:
    flat = spec_of(ForecastKind.PATHS, timeframe="1h", samples=2)
    strategy = Follows()
    journal_of(walk(20), strategy, FunctionForecaster(flat, lambda window: np.full((2, 2, 6), window[-1, 0])))
    assert strategy.seen == []

    three = side_by_side([walk(20, seed=number, symbol=name) for number, name in enumerate("ABC")])
    panel = FollowsPanel()
    count = iter(range(999))
    alike = FunctionForecaster(replace(HOURLY, kind=ForecastKind.SCORE), lambda _: [next(count) // 3])
    journal_of(three, panel, alike)
    assert panel.panels == []


@pytest.mark.parametrize(("kind", "outputs"), [
    (ForecastKind.PROBABILITY, ("up", "crash")), (ForecastKind.MULTI, ("up", "return")),
])  # fmt: skip
def test_a_chance_outside_of_0_to_1_is_recorded_and_not_delivered(kind: ForecastKind, outputs: tuple[str, ...]) -> None:
    count = iter(range(999))
    chances = FunctionForecaster(
        replace(HOURLY, kind=kind, outputs=outputs), lambda _: [0.5 + 0.25 * (next(count) % 4), 0.01]
    )
    strategy = Follows()
    found = rows(journal_of(walk(20), strategy, chances), ForecastRow)

    assert len(found) == 16
    assert [one.flags for one in found] == [
        "impossible" if json.loads(one.says)["up"] > 1 else "" for one in found]
    assert 0 < len(strategy.seen) == sum(not one.flags for one in found) < 16


def test_quantiles_that_cross_are_flagged_sorted_and_delivered() -> None:
    spec = replace(HOURLY, kind=ForecastKind.QUANTILES, levels=(0.1, 0.5, 0.9))
    count = iter(range(999))
    crossing = FunctionForecaster(
        spec, lambda _: [[0, 0, 0], [-0.01, 0.001 * next(count), 0.005]])
    strategy = Follows()
    found = rows(journal_of(walk(20), strategy, crossing), ForecastRow)

    assert [one.flags for one in found] == [*[""] * 6, *["crossed"] * 10]
    assert [one.values[1].tolist() for one in strategy.seen] == [
        np.sort(np.float32([-0.01, 0.001 * step, 0.005])).tolist() for step in range(16)
    ]
    assert crossing.calls


@pytest.mark.parametrize(("kind", "changes", "answer"), [
    (ForecastKind.QUANTILES, {"levels": (0.1, 0.5, 0.9)}, [[-0.01, 0, 0.01], [0.03, 0.04, 0.02]]),
    (ForecastKind.MULTI, {"outputs": ("return_q90", "mood", "return_q10")}, [-0.03, 5, 0.03]),
])  # fmt: skip
def test_a_lowest_quantile_above_the_highest_is_recorded_and_not_delivered(
    kind: ForecastKind, changes: dict[str, Any], answer: Any
) -> None:
    spec, strategy = replace(HOURLY, kind=kind, **changes), Follows()
    number = iter(range(999))
    model = FunctionForecaster(spec, lambda _: np.asarray(answer) + next(number) / 1e4)

    found = rows(journal_of(walk(20), strategy, model), ForecastRow)

    assert {one.flags for one in found} == {"crossed,impossible"}
    assert strategy.seen == []


def test_what_is_rounded_away_is_sorted_without_a_flag_and_other_outputs_keep_their_place() -> None:
    spec = replace(HOURLY, kind=ForecastKind.MULTI, outputs=("return_q90", "mood", "return_q10", "return_q50"))
    number, strategy = iter(range(999)), Follows()
    model = FunctionForecaster(spec, lambda _: [0.02, -7 + next(number), 0.01, np.float32(0.01) - np.float32(5e-9)])

    found = rows(journal_of(walk(20), strategy, model), ForecastRow)

    assert {one.flags for one in found} == {""}
    first = strategy.seen[0].values
    assert first[1] == -7
    assert first[2] < first[3] < first[0]
    assert np.diff(strategy.seen[0].end_quantiles).min() >= 0


class FromOneBuffer:
    """Answers out of the same memory every time."""

    def __init__(self, inner: FunctionForecaster) -> None:
        self.spec = inner.spec
        self._inner = inner
        self._buffer = np.zeros((64, *self.spec.shape), np.float32)

    def forecast(self, windows: Windows) -> Forecasts:
        self._buffer[: len(windows)] = self._inner.forecast(windows).values
        return Forecasts(self._buffer[: len(windows)])


def test_a_model_may_answer_out_of_one_buffer() -> None:
    fresh, buffered = (
        rows(journal_of(walk(60), Follows(), model, batch=4), ForecastRow)
        for model in (momentum(HOURLY), FromOneBuffer(momentum(HOURLY)))
    )

    assert [one.says for one in buffered] == [one.says for one in fresh]


@pytest.mark.parametrize(("values", "message"), [
    (lambda shape: np.full(shape, "x"), "answered with values of type <U1; expected numbers"),
    (lambda shape: np.full(shape, None), "answered with values of type object; expected numbers"),
    (lambda shape: np.full(shape, 1j), "answered with values of type complex128; expected numbers"),
])  # fmt: skip
def test_answers_that_are_no_numbers_are_refused(values: Any, message: str) -> None:
    class Odd:
        spec = HOURLY

        def forecast(self, windows: Windows) -> Forecasts:
            return Forecasts(values((len(windows), *HOURLY.shape)))

    with pytest.raises(PluginError, match=message):
        journal_of(walk(20), Follows(), Odd())


def _leaves(_: Any) -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize(("function", "message"), [
    (lambda _: [1.0, 2.0, 3.0], "cannot reshape"),
    (_leaves, r"forecaster model failed on 16 windows.*SystemExit: 3"),
    (lambda _: 1 / 0, r"forecaster model failed on 16 windows, the first of TEST at 2024-01-01T05:00Z: ZeroDivision"),
])  # fmt: skip
def test_a_model_that_fails_stops_the_run_and_is_named(function: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        journal_of(walk(20), Follows(), FunctionForecaster(HOURLY, function))


def test_an_answer_of_another_shape_is_refused() -> None:
    class Short(FunctionForecaster):
        def forecast(self, windows: Any) -> Any:
            return replace(super().forecast(windows), values=np.zeros((len(windows), 1), np.float32))

    with pytest.raises(PluginError, match=r"answered with shape \[16, 1\]; expected \[16, 2\]: one return of shape"):
        journal_of(walk(20), Follows(), Short(HOURLY, lambda _: [0, 0]))


# ── skill ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def oracle(bars: Bars, sign: float) -> FunctionForecaster:
    """Return a model that knows what comes, or says the opposite of it."""
    row_of = {np.float32(close).item(): row for row, close in enumerate(bars.close)}

    def knows(window: Float32Array) -> Sequence[float]:
        row = row_of[window[-1, 0].item()]
        ahead = min(row + 2, len(bars) - 1)
        return [0.0, sign * float(np.log(bars.close[ahead] / bars.close[row])) + 1e-9]

    return FunctionForecaster(HOURLY, knows)


def unlike(count: int = 120) -> Bars:
    bars = walk(count)
    return replace(bars, close=bars.close + np.arange(count) / 1000)  # no close comes twice


def test_targets_shrink_while_a_model_shows_no_skill_and_the_record_says_why() -> None:
    rule = SkillRule(window=20, least=10, floor=0.0, scale=0.25)
    journal = journal_of(unlike(), Follows(), oracle(unlike(), -1.0), skill={"model": rule})

    [changed] = rows(journal, ForecastSkillRow)
    assert (hours(changed.time), changed.scored, changed.scale) == (16, 10, 0.25)
    assert changed.skill == pytest.approx(-3.0, abs=1e-3)  # errors twice as large as the moves
    assert "is below 0: targets × 0.25" in changed.reason
    decided = rows(journal, DecisionRow)
    before = {one.action for one in decided if one.time < changed.time}
    after = {one.action for one in decided if one.time >= changed.time and one.action != "target 0"}
    assert (before - {"target 0"}, after) == ({"target 0.5"}, {"target 0.125"})
    assert decided[-1].why.endswith("shows no skill") or decided[-1].action == "target 0"


def test_a_position_that_is_only_repeated_shrinks_too() -> None:
    class Holds(Follows):
        def on_forecast(self, forecast: Forecast) -> None:
            self.target(forecast.symbol, 0.8, why="always")

    rule = SkillRule(window=20, least=10, scale=0.0)
    decided = rows(journal_of(unlike(), Holds(), oracle(unlike(), -1.0), skill={"model": rule}), DecisionRow)

    assert [one.action for one in decided] == ["target 0.8", "target 0"]


def test_a_model_with_skill_is_left_alone() -> None:
    journal = journal_of(unlike(), strategy := Follows(), oracle(unlike(), 1.0), skill={"model": SkillRule(20, 10)})

    assert rows(journal, ForecastSkillRow) == []
    assert strategy.its.skill.skill == pytest.approx(1.0, abs=1e-6)
    assert strategy.its.skill.scale == 1.0


def test_summaries_say_what_each_measure_came_to() -> None:
    spec = spec_of(ForecastKind.PATHS, timeframe="1h", samples=60, lookback=40)
    journal = journal_of(walk(400), Follows(), RandomPaths(spec))
    scored = rows(journal, ForecastScoreRow)
    summary = summary_of([Score(*row[1:]) for row in scored])
    assert summary["scored"] == len(scored) == 359
    assert summary["coverage"] == pytest.approx(0.8, abs=0.1)  # a walk's cone is about right about a walk
    assert summary["pit"] == pytest.approx(0.5, abs=0.1)
    assert abs(summary["skill_cone"]) < 0.1
    assert summary["rank_ic"] is None


@pytest.mark.parametrize(("terms", "message"), [
    ({"least": 0}, "least is 0 and window 200; expected 1 ≤ least ≤ window"),
    ({"scale": 1.5}, "scale is 1.5; expected a factor between 0 and 1"),
])  # fmt: skip
def test_a_rule_that_cannot_be_is_refused(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SkillRule(**terms)


def test_no_scores_no_skill() -> None:
    assert skill_of(ForecastKind.RETURN, []) is None
    assert summary_of([])["scored"] == 0


# ── contamination ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("changes", "is_contaminated", "words"), [
    ({"trained_until": None}, True, "fake: nothing says until when it was trained"),
    ({"trained_until": 50, "trained_on": ("X",)}, True, "which overlaps until .*, on X"),
    ({"trained_until": 500}, True, "overlaps the whole run, on symbols that nothing names"),
    ({"trained_until": 50, "trained_on": ("Y",)}, True, "on other symbols"),
    ({"trained_until": 10}, False, None),
])  # fmt: skip
def test_what_a_model_may_have_seen_is_stamped(
    changes: dict[str, Any], is_contaminated: bool, words: str | None
) -> None:
    spec = spec_of(ForecastKind.RETURN, **changes)

    found = stamp([spec], 10, 100, ["X"])

    assert found.is_contaminated is is_contaminated
    assert found.clean_from == spec.trained_until
    if words is not None:
        assert re.search(words, found.reasons[0])


def test_every_forecast_of_the_time_of_training_carries_the_flag() -> None:
    until = NEW_YEAR_2024 + 10 * HOUR
    strategy = Follows()
    journal_of(walk(20), strategy, momentum(replace(HOURLY, trained_until=until)))

    assert [hours(one.as_of) for one in strategy.seen if "contaminated" in one.flags] == [5, 6, 7, 8, 9]
