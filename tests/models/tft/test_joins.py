"""Columns of other streams: made of the engine's windows they are those that training made of all history."""

from collections.abc import Iterator

import numpy as np
import pytest

from engine import Bars, Stream
from engine.bars import HOUR
from engine.forecasting.history import GrowingHistory, History, known_histories
from engine.forecasting.series import Series
from engine.forecasting.windows import Request, WindowCutter
from engine.forecasts import ForecastKind, ForecastSpec, Joined
from engine.testing import NEW_YEAR_2024, make_bars
from feeds.memory import MemoryFeed
from models.features.fusion import Slow
from models.features.targets import TargetSpec
from models.tft.bar_features import FIELDS
from models.tft.joins import JoinedColumns, JoinedSeries, Joins
from models.training.data.table import DataPlan, Table, build
from tests.engine.forecasting.market import side_by_side, walk, without

LOOKBACK = 8
SLOW = ("momentum(3)", "rsi(5)", "RSI(3)", "z(atr_ratio(4), 12)")
REFERENCE = ("log_return", "volatility(6)")
# Known at odd times, once exactly at a close; a hole in it is longer than a value may be old.
TIMES = NEW_YEAR_2024 + np.concatenate([np.arange(0, 1300, 7) * HOUR + 1, np.arange(1400, 2000, 10) * HOUR])
FEAR = Slow(
    ("fear", "greed"), TIMES.astype(np.int64), np.random.default_rng(4).normal(size=(len(TIMES), 2)), 7 * HOUR, 3.0)


def slower(bars: Bars, hours: int) -> Bars:
    """Return longer bars, of those that are whole."""
    count = len(bars) // hours
    opened, high, low, close, volume = (
        getattr(bars, name)[: hours * count].reshape(count, hours) for name in FIELDS)
    rows = np.column_stack([opened[:, 0], high.max(1), low.min(1), close[:, -1], volume.sum(1)])
    return make_bars(rows.tolist(), symbol=bars.streams[0].symbol, timeframe=f"{hours}h")


def market(*, gap: bool = False) -> Bars:
    fast = [walk(2000, seed=number, symbol=name) for number, name in enumerate("BA")]
    slow = [slower(bars, 4) for bars in fast]
    if gap:
        slow[0] = without(slow[0], [400])
        fast[1] = without(fast[1], [1610, 1611])
    return side_by_side([*fast, *slow])


def plan(*, across: bool = False) -> DataPlan:
    return DataPlan(
        ("log_return",), (TargetSpec("logreturn", 1, {}, (), ""),), LOOKBACK, joined={"4h": SLOW}, reference="A",
        reference_features=REFERENCE, beta=10, across_gaps=across)


def columns_of(of: DataPlan) -> JoinedColumns:
    series = (JoinedSeries(FEAR.names, FEAR.step, FEAR.tolerance),)
    joins = Joins(dict(of.joined), of.reference, of.reference_features, of.beta, series, 0, of.across_gaps)
    assert Joins.of(joins.as_json()).as_json() == joins.as_json()
    return JoinedColumns(joins, joins.names, "1h")


def spec_for(columns: JoinedColumns) -> ForecastSpec:
    return ForecastSpec(
        "m", ForecastKind.RETURN, "1h", LOOKBACK + columns.before, 1, FIELDS, joined=columns.streams,
        series=columns.series, is_deterministic=True)


def fear() -> Series:
    found = Series(FEAR.names)
    found.append(FEAR.available_at, FEAR.values)
    return found


def known(bars: Bars) -> dict[Stream, History]:
    return known_histories(MemoryFeed(bars, gap_policy="mark"), bars.streams)


def compared(bars: Bars, table: Table, columns: JoinedColumns) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """Yield (group, row, training's, the engine's) of every window that training has."""
    spec, histories = spec_for(columns), known(bars)
    names = [table.names.index(name) for name in columns.names]
    for group in table.groups:
        stream = Stream(group.symbol, group.timeframe)
        cutter = WindowCutter(spec, [histories[stream]], 0, histories, [fear()])
        ends = [row for row in table.ends.tolist() if group.rows.start <= row < group.rows.stop]
        requests = [Request(0, row - group.rows.start, int(table.close_time[row])) for row in ends]
        kept = [place for place, one in enumerate(requests) if one.row + 1 >= spec.lookback and cutter.is_ready(one)]
        windows = cutter.windows([requests[place] for place in kept], [0] * len(kept))
        made = columns.of(windows, LOOKBACK)
        for at, place in enumerate(kept):
            row = ends[place]
            expected = table.values[row + 1 - LOOKBACK : row + 1, names]
            yield group.name, row, expected, np.stack([made[name][at] for name in columns.names], axis=1)


@pytest.mark.parametrize(("gap", "across"), [(False, False), (True, True)])
def test_every_window_of_training_has_the_same_columns_in_the_engine(gap: bool, across: bool) -> None:
    bars, of = market(gap=gap), plan(across=across)
    table, columns = build(bars, of, [FEAR]), columns_of(of)
    assert columns.names == table.names[1:]
    assert columns.streams[0].memory > 16
    count = 0
    for name, row, expected, found in compared(bars, table, columns):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=f"{name} {row}")
        count += 1
    assert count > 500


def test_behind_a_gap_of_the_slower_bars_nothing_is_known_until_they_are_warm_again() -> None:
    bars, of = market(gap=True), plan()
    table, columns = build(bars, of, [FEAR]), columns_of(of)
    same = 0
    for name, row, expected, found in compared(bars, table, columns):
        if name == "B 1h" and not np.isnan(found).any():  # of A itself hours are missing, too
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=f"{name} {row}")
            same += 1
    assert same > 100
    histories = known(bars)
    spec = spec_for(columns)
    cutter = WindowCutter(spec, [histories[Stream("B", "1h")]], 0, histories, [fear()])
    row = 4 * 402
    window = cutter.windows([Request(0, row, int(histories[Stream("B", "1h")].close_times(row, row + 1)[0]))], [0])
    made = columns.of(window, LOOKBACK)["4h_rsi(5)"]
    assert np.isnan(made[0, -1])
    assert np.isnan(table.values[row, table.names.index("4h_rsi(5)")])


def test_histories_that_grow_give_the_columns_of_histories_known_ahead() -> None:
    bars, of = market(), plan()
    columns = columns_of(of)
    spec, ahead = spec_for(columns), known(bars)
    growing: dict[Stream, History] = {
        stream: GrowingHistory(stream, 16 + 3 * spec.lookback + max(one.memory for one in spec.joined))
        for stream in bars.streams}
    own = Stream("B", "1h")
    told = Series(FEAR.names)
    live = WindowCutter(spec, [growing[own]], 0, growing, [told])
    known_ahead = WindowCutter(spec, [ahead[own]], 0, ahead, [fear()])
    count = 0
    for place in range(len(bars)):
        stream = bars.streams[int(bars.stream[place])]
        history = growing[stream]
        assert isinstance(history, GrowingHistory)
        history.append(bars, place)
        new = (FEAR.available_at > (told.ends() if len(told) else 0)) & (FEAR.available_at <= bars.close_time[place])
        told.append(FEAR.available_at[new], FEAR.values[new])
        is_last = place + 1 == len(bars) or bars.close_time[place + 1] != bars.close_time[place]
        row = growing[own].closed(2**62) - 1
        if not is_last or row + 1 < spec.lookback or row % 7:
            continue
        request = Request(0, row, int(bars.close_time[place]))
        assert live.is_ready(request) == known_ahead.is_ready(request)
        if live.is_ready(request):
            count += 1
            assert live.cut(request) == known_ahead.cut(request)
            one, other = (columns.of(each.windows([request], [0]), LOOKBACK) for each in (live, known_ahead))
            for name in columns.names:
                np.testing.assert_array_equal(one[name], other[name])
    assert count > 30


def test_columns_that_a_network_does_not_have_ask_for_no_stream() -> None:
    joins = Joins({"4h": SLOW, "1d": ("rsi(14)",)}, "A", REFERENCE, 10)
    assert JoinedColumns(joins, ("4h_age",), "1h").streams == (Joined("4h", "", 1),)
    only_beta = JoinedColumns(joins, ("beta(10)",), "1h")
    assert (only_beta.streams, only_beta.before) == ((Joined("1h", "A", 2),), 10)
    assert JoinedColumns(joins, ("log_return",), "1h").streams == ()
