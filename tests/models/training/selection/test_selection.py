"""Features that tell are found, those that do not are left; nothing of the judging part is looked at before."""

from dataclasses import replace

import numpy as np
import pytest

from engine.bars import HOUR
from engine.errors import DataError, SettingsError
from models.features.targets import TargetSpec
from models.training.data.splits import Part, Split
from models.training.data.table import DataPlan, build
from models.training.selection.core import CorePlan, aggregate
from models.training.selection.evidence import Evidence, Question, evidence, score
from models.training.selection.genetic import Breeding
from models.training.selection.pipeline import (
    SelectionPlan,
    as_allow_list,
    inner_folds,
    mean_scores,
    questions,
    select,
)
from models.training.selection.trees import TreePlan
from tests.models.training.markets import bars_of, walk

TREES = TreePlan(rounds=40, rate=0.1, leaves=7, least_rows=30)
TELLS = ("log_return", "volume_ratio(5)")
NOISE = ("close_place", "upper_wick", "lower_wick", "kurtosis(30)", "up_share(5)", "pivot_distance")
DATA = DataPlan(
    (*NOISE[:3], *TELLS, *NOISE[3:]), (TargetSpec("logreturn", 1), TargetSpec("binarytrend", 1)), lookback=4,
)  # fmt: skip
PLAN = SelectionPlan(TREES, CorePlan(keep=4), folds=2, judging_folds=2, repeats=2, rounds=3, share=0.25)


def _bars(rows: int = 700):
    """The next return follows volume and turns against the last return; the rest is noise."""
    rng = np.random.default_rng(0)
    series = []
    for place in range(2):
        bars = walk(rows, place)
        much = rng.normal(size=rows)
        step = rng.normal(0, 0.004, rows)
        for t in range(1, rows):
            step[t] += 0.003 * much[t - 1] - 0.5 * step[t - 1]
        close = 100 * np.exp(np.cumsum(step))
        spread = np.exp(np.abs(rng.normal(0, 0.003, (rows, 2))))
        bars[:, 0] = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0, 0.001, rows))
        bars[:, 3] = close
        bars[:, 1], bars[:, 2] = bars[:, [0, 3]].max(1) * spread[:, 0], bars[:, [0, 3]].min(1) / spread[:, 1]
        bars[:, 4] = np.exp(3 + much)
        series.append((f"S{place}", "1h", np.arange(rows, dtype=np.int64) * HOUR, bars))
    return bars_of(series)


SPLIT = Split.at(450 * HOUR, 600 * HOUR)


@pytest.fixture(scope="module")
def chosen():
    return select(build(_bars(), DATA), SPLIT, PLAN)


def test_what_tells_comes_first(chosen):
    assert set(chosen.chosen[:2]) == set(TELLS)
    assert {one.name for one in chosen.ranked[:2]} == set(TELLS)
    for one in chosen.evidence:
        order = np.argsort(-one.lost)
        assert {DATA.features[place] for place in order[:2]} == set(TELLS)
        low, _ = one.interval
        assert (low[order[:2]] > 0).all()


def test_the_choice_is_worth_as_much_as_everything_on_what_it_has_not_seen(chosen):
    means = mean_scores(chosen.judged)
    assert (means["chosen"] > 0.4).all()
    assert (means["chosen"] > means["every"] - 0.1).all()
    assert [(one.target, len(one.chosen)) for one in chosen.judged] == [("logreturn", 2), ("binarytrend", 2)]


def test_nothing_after_training_changes_the_choice(chosen):
    bars = _bars()
    later = bars.close_time > SPLIT.train.end
    rng = np.random.default_rng(7)
    factor = np.where(later, np.exp(rng.normal(0, 0.05, len(bars))), 1.0)
    other = replace(
        bars, open=bars.open * factor, close=bars.close * factor, high=bars.high * factor * np.where(later, 1.2, 1),
        low=bars.low * factor / np.where(later, 1.2, 1), volume=np.where(later, 1.0, bars.volume),
    )  # fmt: skip
    again = select(build(other, DATA), SPLIT, PLAN)
    assert again.chosen == chosen.chosen
    assert again.steps == chosen.steps
    assert [one.score for one in again.ranked] == [one.score for one in chosen.ranked]
    assert again.judged != chosen.judged


def test_breeding_looks_at_training_alone_too(chosen):
    plan = replace(PLAN, breeding=Breeding(population=4, generations=2))
    bars = _bars()
    later = bars.close_time > SPLIT.train.end
    other = replace(bars, volume=np.where(later, 1.0, bars.volume))
    one, again = (select(build(some, DATA), SPLIT, plan) for some in (bars, other))
    assert (one.chosen, one.steps) == (again.chosen, again.steps)
    assert set(TELLS) <= set(one.chosen)
    assert one.steps[-1][1] >= chosen.steps[0][1]


def test_every_fold_is_judged_on_what_comes_after_it_purged():
    table = build(_bars(), DATA)
    inner = [one.part(SPLIT.train) for one in questions(table, 10_000)]
    for fold in inner_folds(inner, 3, 2 * HOUR):
        for one in inner:
            train, test = one.part(fold.train), one.part(fold.test)
            assert train.label_times.max() <= test.times.min() - 2 * HOUR
            assert test.label_times.max() <= SPLIT.train.end


@pytest.mark.parametrize("backend", ["lightgbm", "sklearn"])
def test_both_kinds_of_trees_find_it(backend):
    pytest.importorskip(backend)
    of = questions(build(_bars(), DATA), 10_000)[1].part(SPLIT.train)
    folds = inner_folds([of], 2, HOUR)
    found = evidence(of, folds, replace(TREES, backend=backend), block=20, repeats=2, best=2, seed=0)
    assert {DATA.features[place] for place in np.argsort(-found.lost)[:2]} == set(TELLS)
    assert (found.tree is None) == (backend == "sklearn")
    assert found.base > 0.4


def test_rows_are_thinned_by_instants():
    table = build(_bars(), DATA)
    whole, thin = questions(table, 10_000)[0], questions(table, 300)[0]
    assert 200 < len(thin) <= 300
    _, counts = np.unique(thin.times, return_counts=True)
    assert (counts == 2).all()
    assert len(whole) > 1000


def _said(target: str, period: str, lost: list[float], tree: list[float]) -> Evidence:
    return Evidence(target, period, 0.5, np.array(tree), np.array(lost), np.zeros(3), np.array([1.0, 0.5, 0.0]), 1)


def test_ranks_are_averaged_over_periods_and_weighed_over_targets_by_name():
    found = [
        _said("z", "1h", [3, 2, 1], [0.6, 0.3, 0.1]), _said("z", "4h", [1, 2, 3], [0.1, 0.3, 0.6]),
        _said("a", "1h", [1, 3, 2], [0.1, 0.6, 0.3]),
    ]  # fmt: skip
    plain = aggregate(found, ("x", "y", "w"), CorePlan())
    assert [one.name for one in plain] == ["y", "w", "x"]
    assert plain[0].score == pytest.approx((0.5 + 1.0) / 2)
    assert plain[0].by_target == {"z": 0.5, "a": 1.0}
    weighed = aggregate(found, ("x", "y", "w"), CorePlan(weights={"a": 3.0}))
    assert {one.name: one.score for one in weighed}["y"] == pytest.approx((0.5 + 3 * 1.0) / 4)
    assert [one.name for one in aggregate(found, ("x", "y", "w"), CorePlan(appearance=0.5))] == ["y", "x"]
    gated = aggregate(found, ("x", "y", "w"), CorePlan(bonus=0.4), {"x": 0.6, "y": 0.1, "w": 0.2})
    assert gated[0].name == "y"
    assert {one.name: one.gating for one in gated} == pytest.approx({"y": 0.0, "w": 0.2, "x": 1.0})
    with pytest.raises(SettingsError, match=r"select.weights: there is no target 'zz'; did you mean 'z'"):
        aggregate(found, ("x", "y", "w"), CorePlan(weights={"zz": 1.0}))


def test_scores_of_numbers_and_events_are_on_one_scale():
    came = np.array([0.0, 1, 0, 1, 1, 0])
    assert score(came, came, is_event=True) == 1
    assert score(-came, came, is_event=True) == -1
    assert score(3 * came - 1, came, is_event=False) == pytest.approx(1)
    assert score(np.ones(6), came, is_event=False) == score(np.ones(6), came, is_event=True) == 0


def test_too_few_rows_are_told():
    few = Question(
        "a", "1h", False, np.zeros((20, 2)), np.zeros(20), np.arange(20), np.arange(20) + 1, np.zeros(20, int)
    )
    with pytest.raises(DataError, match="a at 1h: 20 rows with the target known are too few"):
        evidence(few, inner_folds([few], 2, 0), TREES, block=5, repeats=1, best=1, seed=0)
    with pytest.raises(DataError, match="no row is left to choose features by"):
        inner_folds([few.part(Part(100, 200))], 2, 0)


def test_the_list_is_one_that_training_reads(chosen, tmp_path):
    from config.training_data import read_allow_list

    path = tmp_path / "kept.txt"
    path.write_text(as_allow_list(chosen))
    assert read_allow_list(path) == chosen.chosen
    assert set(build(_bars(200), replace(DATA, allow=read_allow_list(path))).names) == set(chosen.chosen)
