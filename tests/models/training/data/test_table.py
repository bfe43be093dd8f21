"""The table of features and targets: nothing crosses a symbol or a gap, nothing comes from the future, nothing is lost
without a word."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.bars import HOUR, Bars
from engine.errors import DataError, SettingsError
from models.features.features import feature
from models.features.fusion import Slow
from models.features.targets import TARGETS, TargetSpec
from models.training.data.table import DataPlan, build
from models.training.data.vocabulary import UNKNOWN, Vocabularies, vocabulary, with_dropout
from models.training.recipe import Draws
from tests.models.training.markets import bars_of, market, walk

PLAN = DataPlan(
    ("log_return", "rsi(14)", "z(volatility(10), 20)"), (TargetSpec("logreturn", 2), TargetSpec("binarytrend", 2)),
    lookback=16,
)  # fmt: skip
FUSED = replace(
    PLAN, joined={"4h": ("momentum(5)", "rsi(7)")}, reference="BTC/USDT", reference_features=("log_return",), beta=20,
)  # fmt: skip
MACRO = (Slow(("fear",), np.arange(0, 800, 24) * HOUR, np.arange(34.0)[:, None], 24 * HOUR),)


def _changed(bars: Bars, after: int, seed: int = 5) -> Bars:
    """Return bars that are others from a time on."""
    rng = np.random.default_rng(seed)
    later = bars.close_time > after
    factor = np.where(later, np.exp(rng.normal(0, 0.05, len(bars))), 1.0)
    columns = {name: getattr(bars, name) * factor for name in ("open", "close")}
    columns["high"] = np.maximum(np.maximum(columns["open"], columns["close"]), bars.high * factor)
    columns["low"] = np.minimum(np.minimum(columns["open"], columns["close"]), bars.low * factor)
    return replace(bars, volume=np.where(later, bars.volume * 3, bars.volume), **columns)


def test_a_window_is_what_its_bars_say():
    bars = market()
    table = build(bars, PLAN)
    windows = table.windows()
    place = len(windows) - 1
    one = windows.gather(torch.tensor([place]))
    row = int(windows.rows[place])
    of = table.groups[int(windows.groups[place])]
    own = bars.of(next(s for s in bars.streams if s.symbol == of.symbol))
    columns = {
        name: getattr(own, name).astype(np.float32).astype(float) for name in ("open", "high", "low", "close", "volume")
    }
    at = row - of.rows.start
    for column, text in enumerate(PLAN.features):
        expected = feature(text).values(columns)[at - 15 : at + 1]
        np.testing.assert_allclose(one["values"][0, :, column].numpy(), expected, rtol=1e-5, atol=1e-6)
    assert one["target"][0, 0] == pytest.approx(np.log(own.close[at + 2] / own.close[at]), rel=1e-4)
    assert windows.times[place] == own.close_time[at]
    assert windows.label_times[place] == own.close_time[at + 2]
    hours = (own.open_time[at - 15 : at + 2] // HOUR) % 24
    np.testing.assert_allclose(one["known"][0, :, 0].numpy(), np.sin(2 * np.pi * hours / 24), atol=1e-6)


@pytest.mark.parametrize("cut", [300, 411])
@pytest.mark.parametrize("change", ["poisoned", "deleted"])
def test_no_feature_or_join_knows_of_later_bars(cut, change):
    bars = market(slow=4)
    table = build(bars, FUSED, MACRO)
    after = cut * HOUR
    if change == "poisoned":
        macro = tuple(
            replace(one, values=np.where((one.available_at > after)[:, None], 1e6, one.values)) for one in MACRO
        )
        other = build(_changed(bars, after), FUSED, macro)
        seen = table.close_time <= after
        np.testing.assert_allclose(other.values[seen], table.values[seen], rtol=1e-5, atol=1e-7)
        assert not np.allclose(other.values[~seen][:20], table.values[~seen][:20], equal_nan=True)
    else:
        kept = bars.close_time <= after
        names = ("open_time", "close_time", "open", "high", "low", "close", "volume", "stream")
        other = build(replace(bars, **{name: getattr(bars, name)[kept] for name in names}), FUSED, MACRO)
        np.testing.assert_allclose(other.values, table.values[table.close_time <= after], rtol=1e-5, atol=1e-7)


def test_targets_change_with_later_bars():
    bars = market()
    plan = replace(PLAN, targets=tuple(TargetSpec(kind, 3) for kind in sorted(TARGETS)))
    table = build(bars, plan)
    changed = np.zeros(len(plan.targets), bool)
    for cut in range(200, 560, 3):
        other = build(_changed(bars, cut * HOUR, seed=cut), plan) if cut < 240 else None
        if other is None:
            break
        rows = np.flatnonzero((table.close_time > (cut - 3) * HOUR) & (table.close_time <= cut * HOUR))
        changed |= ~np.isclose(other.targets[rows], table.targets[rows], rtol=1e-4, equal_nan=True).all(axis=0)
        before = table.label_time <= cut * HOUR
        np.testing.assert_allclose(other.targets[before & (table.label_time > 0)],
                                   table.targets[before & (table.label_time > 0)], rtol=1e-4, atol=1e-6)  # fmt: skip
    assert changed.all(), [one.name for one, found in zip(plan.targets, changed, strict=True) if not found]


def test_a_symbol_and_a_gap_begin_anew():
    gapped = market(gap=300)
    table = build(gapped, PLAN)
    warm = max(feature(text).warm_up for text in PLAN.features)
    for start in (0, 600, 600 + 300):
        assert np.isnan(table.values[start : start + warm]).any(axis=1).all()
        assert np.isfinite(table.values[start + warm])[:].all()
    alone = build(gapped.of(gapped.streams[1]), PLAN)
    np.testing.assert_array_equal(table.values[600:], alone.values)
    np.testing.assert_array_equal(table.targets[600:], alone.targets)
    # Neither a window nor a target reaches over the hole.
    for end in table.ends:
        assert (np.diff(table.close_time[end - 15 : end + 3]) == HOUR).all()


def test_markets_that_close_overnight_go_on_after_it():
    across = replace(PLAN, across_gaps=True)
    assert len(build(market(gap=300), across).ends) > len(build(market(gap=300), PLAN).ends)


def test_slower_bars_are_joined_when_they_close_with_their_age():
    bars = market(slow=4)
    table = build(bars, FUSED, MACRO)
    assert table.names[3:] == (
        "4h_momentum(5)", "4h_rsi(7)", "4h_age", "reference_log_return", "beta(20)", "fear",
    )  # fmt: skip
    slow = bars.of(bars.streams[1])
    momentum = feature("momentum(5)").values({"close": slow.close})
    of = table.groups[0].rows
    for row in (100, 101, 102, 103):
        closed = int(np.searchsorted(slow.close_time, table.close_time[of][row], side="right")) - 1
        assert table.values[of][row, 3] == pytest.approx(momentum[closed], rel=1e-4)
        assert table.values[of][row, 5] == ((table.close_time[of][row] - slow.close_time[closed]) / (4 * HOUR))
    first, second = (table.values[group.rows] for group in table.groups)
    np.testing.assert_array_equal(first[:, -1], second[:, -1])
    np.testing.assert_array_equal(first[:, 6], second[:, 6])
    assert table.values[of][200, 7] == pytest.approx(1.0, rel=1e-5)  # the reference's own beta


def test_several_periods_are_groups_of_their_own():
    table = build(market(slow=4), replace(PLAN, timeframes=("1h", "4h")))
    assert [group.name for group in table.groups] == [
        "BTC/USDT 1h", "ETH/USDT 1h", "BTC/USDT 4h", "ETH/USDT 4h",
    ]  # fmt: skip
    windows = table.windows()
    assert set(windows.groups) == {0, 1, 2, 3}
    assert (windows.label_times - windows.times)[windows.groups == 2].tolist()[0] == 8 * HOUR


@pytest.mark.parametrize("gap", [0, 300, 580])
def test_every_row_ends_a_window_or_is_in_the_audit(gap):
    table = build(market(gap=gap), PLAN)
    audit = table.audit()
    for name, rows in audit.rows.items():
        assert rows == audit.windows[name] + sum(one.rows for one in audit.dropped if one.group == name)
    assert sum(audit.windows.values()) == len(table.windows())
    assert "warm-up" in str(audit)


def test_a_group_that_is_too_short_is_told_or_refused():
    short = bars_of([("A", "1h", np.arange(400) * HOUR, walk(400, 0)), ("B", "1h", np.arange(40) * HOUR, walk(40, 1))])
    table = build(short, PLAN)
    assert table.audit().empty_groups == ("B 1h",)
    assert len(table.windows())
    with pytest.raises(DataError, match=r"no window can be cut from B 1h \(40 rows\); a window takes 48 rows"):
        table.audit().check("error")
    with pytest.raises(DataError, match="give more bars, a shorter lookback"):
        build(short.of(short.streams[1]), PLAN).windows()


def test_a_feature_that_is_not_a_number_is_named():
    macro = Slow(("vix",), np.arange(0, 800) * HOUR, np.where(np.arange(800.0) == 200, np.inf, 1.0)[:, None], HOUR)
    audit = build(market(), PLAN, (macro,)).audit()
    assert [(one.rows, one.detail) for one in audit.dropped if one.reason == "not finite"] == [(1, "vix"), (1, "vix")]


def test_an_allow_list_keeps_columns_by_name():
    plan = replace(FUSED, allow=("4h_age", "log_return"))
    assert build(market(slow=4), plan).names == ("log_return", "4h_age")
    with pytest.raises(SettingsError, match="names 'log_retrun', which is no feature here; did you mean 'log_return'"):
        build(market(slow=4), replace(plan, allow=("log_retrun",)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joined": {"8h": ("rsi",)}}, "there are no bars of 8h; there are bars of 1h, 4h"),
        ({"reference": "BTC/USD"}, "the reference is 'BTC/USD'; did you mean 'BTC/USDT'"),
        ({"features": (), "joined": {}}, "there are no features"),
        ({"lookback": 0}, "lookback is 0"),
        ({"steps": 3}, "3 steps ahead are known, but targets look 2 bars ahead"),
        ({"reference": "", "beta": 5}, "beta is over 5 bars, but there is no reference"),
        ({"targets": ()}, "there is no target"),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    with pytest.raises(SettingsError, match=message):
        build(market(slow=4), replace(FUSED, **change))


def test_a_bar_that_is_none_is_refused():
    bars = market()
    bars.close[50] = -1
    with pytest.raises(DataError, match=r"USDT 1h: bar 25 is .*prices above 0"):
        build(bars, PLAN)


def test_vocabularies_are_of_training_alone():
    table = build(market(("A", "B", "C")), PLAN)
    windows = table.windows()
    train = windows.select(windows.groups != 2)
    of = Vocabularies.fit(train, table.groups)
    assert of.symbol == {UNKNOWN: 0, "A": 1, "B": 2}
    assert of.codes(table.groups)[0].tolist() == [1, 2, 0]
    told = of.unknown(windows, table.groups)
    assert len(told) == 1
    assert told[0].startswith("symbol C is not in training")


def test_symbol_dropout_trains_the_unknown_code():
    codes, draws = torch.full((10_000,), 3), Draws(1, 10_000, torch.arange(10_000))
    dropped = with_dropout(codes, 0.05, draws)
    assert 0.04 < float((dropped == 0).float().mean()) < 0.06
    assert torch.equal(with_dropout(codes, 0.0, draws), codes)
    assert vocabulary(["x", "y", "x"]) == {UNKNOWN: 0, "x": 1, "y": 2}
