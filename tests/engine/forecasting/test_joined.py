"""Windows of several streams: cut by what had closed, the same ahead and live, and nothing later ever shows."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Bar, Bars, Stream
from engine.bars import HOUR
from engine.errors import DataError, PluginError
from engine.forecasting.book import ForecastTerms
from engine.forecasting.series import Series
from engine.forecasting.store import ForecastStore
from engine.forecasting.testing import spec_of
from engine.forecasting.windows import identity_of
from engine.forecasts import Forecast, ForecastKind, Forecasts, ForecastSpec, Joined, JoinedBars, Windows
from engine.journal.lineage import load_run
from engine.journal.memory import MemoryJournal
from engine.journal.sql import SqlJournal
from engine.live.coding import decoded, encoded
from engine.live.core import LiveCore
from engine.live.inputs import BarsClosed, Input, SeriesTold
from engine.live.session import Recording, Session, Timings
from engine.live.streams import LiveStreams
from engine.testing import NEW_YEAR_2024, Terms, make_bars, parts_for, run_bars
from tests.engine.forecasting.market import Follows, hours, side_by_side, walk
from tests.engine.live.market import run_start

LOOKBACK, MEMORY = 6, 3
SPEC = spec_of(
    ForecastKind.RETURN, timeframe="1h", lookback=LOOKBACK, horizon=1, inputs=("open", "close"), is_deterministic=True,
    joined=(Joined("4h", memory=MEMORY), Joined("1h", "A", memory=2)),
)


class Sees:
    """Answers with a number that everything it was shown decides, and remembers it all."""

    def __init__(self, spec: ForecastSpec = SPEC) -> None:
        self.spec = spec
        self.shown: dict[tuple[str, int], tuple[np.ndarray, tuple[JoinedBars, ...], np.ndarray]] = {}

    def forecast(self, windows: Windows) -> Forecasts:
        assert windows.close_time is not None
        made = np.empty((len(windows), 1), np.float32)
        for place, (symbol, as_of) in enumerate(zip(windows.symbols, windows.as_of.tolist(), strict=True)):
            beside, closed = windows.joined[place], windows.close_time[place]
            self.shown[symbol, as_of] = (windows.values[place].copy(), beside, closed)
            total = float(windows.values[place].sum()) + sum(
                float((bars.values[:, -1] * np.arange(1, 1 + len(bars.values))).sum()) for bars in beside)
            made[place] = np.sin(total)
        return Forecasts(made)


def slower(bars: Bars) -> Bars:
    """Return bars of four hours, of those that are whole."""
    count = len(bars) // 4
    cut = [getattr(bars, name)[: 4 * count].reshape(count, 4) for name in ("open", "high", "low", "close", "volume")]
    opened, high, low, close, volume = cut
    rows = np.column_stack([opened[:, 0], high.max(1), low.min(1), close[:, -1], volume.sum(1)])
    return make_bars(rows.tolist(), symbol=bars.streams[0].symbol, timeframe="4h")


def market(count: int = 60) -> Bars:
    fast = [walk(count, seed=number, symbol=name) for number, name in enumerate("BA")]
    return side_by_side([*fast, *map(slower, fast)])


ALL = market()


def seen(bars: Bars, model: Sees, *, symbols: Sequence[str] | None = None, **terms: object) -> list[Forecast]:
    strategy = Follows(symbols=symbols)
    run_bars(bars, strategy, forecasters={"model": model}, forecast_terms=ForecastTerms(**terms))  # type: ignore[arg-type]
    return strategy.seen


def test_a_window_has_the_bars_that_had_closed_by_its_own_and_enough_before_them() -> None:
    model = Sees()
    found = seen(ALL, model)

    # Three bars of four hours have closed at 12; six bars end with the one that closes at 17.
    assert [hours(one.as_of) for one in found if one.symbol == "A"] == list(range(17, 61))
    own, (slow, reference), closed = model.shown["B", NEW_YEAR_2024 + 21 * HOUR]
    assert own.shape == (LOOKBACK, 2)
    assert [hours(time) for time in closed] == [16, 17, 18, 19, 20, 21]
    assert [hours(time) for time in slow.close_time] == [8, 12, 16, 20]
    assert [hours(time) for time in reference.close_time] == [15, 16, 17, 18, 19, 20, 21]
    of_reference, of_slow = ALL.of(Stream("A", "1h")), ALL.of(Stream("B", "4h"))
    assert reference.values[:, 1].tolist() == of_reference.close[14:21].astype(np.float32).tolist()
    assert slow.values[:, 1].tolist() == of_slow.close[1:5].astype(np.float32).tolist()
    assert all(one.flags == frozenset() for one in found)


def test_a_bar_that_closes_together_with_the_slower_one_sees_it() -> None:
    model = Sees()
    seen(ALL, model)
    for hour, newest in ((23, 20), (24, 24), (25, 24)):
        _, (slow, _), _ = model.shown["A", NEW_YEAR_2024 + hour * HOUR]
        assert hours(slow.close_time[-1]) == newest


def instants(bars: Bars) -> list[BarsClosed]:
    found: dict[int, list[Bar]] = {}
    for bar in bars.rows():
        found.setdefault(bar.close_time, []).append(bar)
    return [BarsClosed(time, time, tuple(some)) for time, some in sorted(found.items())]


def session_of(journal: object, model: Sees, *, store: ForecastStore | None = None) -> tuple[Session, Follows]:
    recording, timings, strategy = Recording(journal), Timings(), Follows()  # type: ignore[arg-type]
    parts = parts_for(LiveStreams(ALL.streams), strategy, Terms(cash=Decimal(10_000)), journal=recording)
    parts = replace(parts, forecasters={"model": model}, forecast_terms=ForecastTerms(timed=timings, store=store))
    return Session(LiveCore(parts, late_after=HOUR), recording, timings=timings, now=lambda: NEW_YEAR_2024), strategy


def test_live_it_is_shown_the_same_and_the_session_comes_about_again(tmp_path: Path) -> None:
    ahead, live = Sees(), Sees()
    expected = seen(ALL, ahead)
    inputs = instants(ALL)
    with SqlJournal(tmp_path / "j.db", durable=True) as journal:
        session, strategy = session_of(journal, live)
        session.begin(run_start())
        session.take(inputs[:30])
    found = strategy.seen
    with SqlJournal(tmp_path / "j.db", durable=True) as journal:
        session, strategy = session_of(journal, live)
        session.resume(1, journal)
        assert len(strategy.seen) == len(found)
        session.take(inputs[30:])
        session.end()
        with journal.snapshot() as reader:
            assert session_of(MemoryJournal(), Sees())[0].run_again(1, reader).rows > 100
        record = load_run(journal, 1)
    assert [(one.symbol, one.as_of, one.values.tolist()) for one in strategy.seen] == [
        (one.symbol, one.as_of, one.values.tolist()) for one in expected]
    assert [row.as_of for row in record.forecasts] == [one.as_of for one in expected]
    assert live.shown.keys() == ahead.shown.keys()
    for key, (own, beside, closed) in ahead.shown.items():
        other_own, other_beside, other_closed = live.shown[key]
        assert (own == other_own).all()
        assert (closed == other_closed).all()
        for one, other in zip(beside, other_beside, strict=True):
            assert (one.values == other.values).all()
            assert (one.close_time == other.close_time).all()


def test_a_slower_bar_that_comes_late_is_seen_from_the_next_window_on_and_flagged_until_then() -> None:
    model = Sees()
    session, strategy = session_of(MemoryJournal(), model)
    session.begin(run_start())
    late = NEW_YEAR_2024 + 24 * HOUR
    for given_ in instants(ALL)[:26]:
        if given_.time == late:
            fast = tuple(bar for bar in given_.bars if bar.timeframe == "1h")
            slow = tuple(bar for bar in given_.bars if bar.timeframe == "4h")
            session.take([given_._replace(bars=fast), given_._replace(bars=slow)])
        else:
            session.take([given_])
    newest = {time: hours(model.shown["A", time][1][0].close_time[-1]) for time in (late, late + HOUR)}
    assert newest == {late: 20, late + HOUR: 24}
    flags = {one.as_of: one.flags for one in strategy.seen if one.symbol == "A"}
    assert flags[late] == {"gap"}
    assert flags[late + HOUR] == frozenset()
    assert [one.as_of for one in strategy.seen].count(late) == 2, "one a symbol, none for the bar that came late"


def changed(bars: Bars, rows: Sequence[int], factor: float) -> Bars:
    columns = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close", "volume")}
    for column in columns.values():
        column[rows] *= factor
    return replace(bars, **columns)


@settings(max_examples=12, deadline=None)
@given(hour=st.integers(17, 58), factor=st.sampled_from([0.5, 1.5, float("nan")]))
def test_what_closes_after_an_instant_changes_nothing_up_to_it(hour: int, factor: float) -> None:
    time = NEW_YEAR_2024 + hour * HOUR
    after = np.flatnonzero(ALL.close_time > time)
    poisoned, cut = changed(ALL, after.tolist(), factor), ALL[: int(after[0])]
    expected = [(one.symbol, one.as_of, float(one.values[0])) for one in seen(ALL, Sees()) if one.as_of <= time]
    assert expected
    for bars in (poisoned, cut) if factor == factor else (cut,):
        found = [(one.symbol, one.as_of, float(one.values[0])) for one in seen(bars, Sees()) if one.as_of <= time]
        assert found == expected


@pytest.mark.parametrize(("stream", "row"), [(Stream("B", "4h"), 6), (Stream("A", "1h"), 25), (Stream("A", "4h"), 2)])
def test_one_bar_changed_computes_anew_the_windows_that_have_it_and_no_other(
    tmp_path: Path, stream: Stream, row: int
) -> None:
    store = ForecastStore(tmp_path / "f.db")
    first = Sees()
    seen(ALL, first, store=store)
    again = Sees()
    seen(ALL, again, store=store)
    assert not again.shown, "a second run asks nothing"

    place = ALL.streams.index(stream)
    where = np.flatnonzero(ALL.stream == place)[row]
    time = int(ALL.close_time[where])
    seen(changed(ALL, [int(where)], 1.01), again, store=store)
    own = {
        key for key, (_, _, closed) in first.shown.items()
        if stream == Stream(key[0], "1h") and time in closed
    }
    beside = {
        key for key, (_, (slow, reference), _) in first.shown.items()
        if (stream == Stream(key[0], "4h") and time in slow.close_time)
        or (stream == Stream("A", "1h") and time in reference.close_time)
    }
    assert set(again.shown) == own | beside
    assert 0 < len(again.shown) < len(first.shown)
    store.close()


def test_a_stream_that_is_missing_is_named_with_the_way_to_have_it() -> None:
    fast = side_by_side([walk(40, seed=number, symbol=name) for number, name in enumerate("BA")])
    words = (
        r"model model joins bars of B of 4h to those of B of 1h, and the feed has none; add it with data\.resample = "
        r'\["4h"\], in a session to data\.timeframe'
    )
    with pytest.raises(PluginError, match=words):
        seen(fast, Sees())
    alone = side_by_side([walk(40, symbol="B"), slower(walk(40, symbol="B"))])
    with pytest.raises(PluginError, match=r"joins bars of A of 1h .*; add 'A' to data\.symbols"):
        seen(alone, Sees())
    with pytest.raises(PluginError, match="memory of joined bars is 0; expected 1 or more"):
        seen(ALL, Sees(replace(SPEC, joined=(Joined("4h", memory=0),))))


WITH_SERIES = replace(SPEC, joined=(), series=(("fear",), ("greed",)))
KNOWN_AT = NEW_YEAR_2024 + np.array([6, 10, 20, 21, 40]) * HOUR


class SeesRows(Sees):
    """Answers with a number that the rows of series decide."""

    def forecast(self, windows: Windows) -> Forecasts:
        assert windows.close_time is not None
        for place, key in enumerate(zip(windows.symbols, windows.as_of.tolist(), strict=True)):
            rows = windows.series[place]
            self.shown[key] = (windows.values[place], rows, windows.close_time[place])  # type: ignore[assignment]
        values = [sum(float(rows.values[:, 0].sum()) for rows in some) for some in windows.series]
        return Forecasts(np.sin(np.array(values, np.float32))[:, None])


def feelings(values: Sequence[float] = (1, 2, 3, 4, 5)) -> Series:
    found = Series(("greed", "other", "fear"))
    found.append(KNOWN_AT, np.outer(values, [10, 0, 1]))
    return found


def test_a_window_has_the_rows_of_a_series_from_the_one_known_at_its_first_bar_on() -> None:
    model = SeesRows(WITH_SERIES)
    found = seen(ALL, model, series=[feelings()])
    assert min(hours(one.as_of) for one in found) == 11, "its first bar closed when the first row was known"
    for hour, own in ((11, [1, 2]), (20, [2, 3]), (21, [2, 3, 4]), (25, [3, 4]), (39, [4])):
        _, (fear, greed), _ = model.shown["A", NEW_YEAR_2024 + hour * HOUR]
        assert fear.values[:, 0].tolist() == own  # type: ignore[attr-defined]
        assert greed.values[:, 0].tolist() == [10 * one for one in own]  # type: ignore[attr-defined]


def test_a_row_that_is_known_later_changes_nothing_before_and_only_windows_that_have_it(tmp_path: Path) -> None:
    store = ForecastStore(tmp_path / "f.db")
    first, again = SeesRows(WITH_SERIES), SeesRows(WITH_SERIES)
    expected = seen(ALL, first, series=[feelings()], store=store)
    found = seen(ALL, again, series=[feelings((1, 2, 3, 9, 5))], store=store)
    has_it = {key for key, (_, rows, _) in first.shown.items() if KNOWN_AT[3] in rows[0].available_at}  # type: ignore[attr-defined]
    assert set(again.shown) == has_it
    assert [one.values for one in found if one.as_of < KNOWN_AT[3]] == [
        one.values for one in expected if one.as_of < KNOWN_AT[3]]
    store.close()


def test_live_a_series_is_told_and_the_session_comes_about_again(tmp_path: Path) -> None:
    expected = seen(ALL, SeesRows(WITH_SERIES), series=[feelings()])
    inputs: list[Input] = []
    series = feelings()
    for one in instants(ALL):
        new = [row for row, time in enumerate(KNOWN_AT.tolist()) if one.time - HOUR < time <= one.time]
        for row in new:
            rows = series.between(int(KNOWN_AT[row]), int(KNOWN_AT[row])).values
            inputs.append(SeriesTold(one.time, series.columns, (int(KNOWN_AT[row]),), (tuple(rows[-1].tolist()),)))
        inputs.append(one)
    with SqlJournal(tmp_path / "j.db", durable=True) as journal:
        session, _ = session_of(journal, SeesRows(WITH_SERIES))
        session.begin(run_start())
        session.take(inputs[:27])
    with SqlJournal(tmp_path / "j.db", durable=True) as journal:
        session, strategy = session_of(journal, SeesRows(WITH_SERIES))
        session.resume(1, journal)
        session.take(inputs[27:])
        session.end()
        with journal.snapshot() as reader:
            assert session_of(MemoryJournal(), SeesRows(WITH_SERIES))[0].run_again(1, reader).rows > 100
    assert [(one.symbol, one.as_of, one.values.tolist()) for one in strategy.seen] == [
        (one.symbol, one.as_of, one.values.tolist()) for one in expected]


def test_rows_come_back_from_the_journal_as_they_were() -> None:
    told = SeriesTold(5, ("fear", "greed"), (3, 4), ((1.5, float("nan")), (0.1, 2.0)))
    assert repr(decoded(*encoded(told))) == repr(told)


def test_a_series_that_is_missing_or_out_of_order_is_refused() -> None:
    with pytest.raises(PluginError, match=r"model model joins the series fear; this run has none: name its file in"):
        seen(ALL, SeesRows(WITH_SERIES))
    with pytest.raises(PluginError, match="joins the series fear; this run has hope: name its file"):
        seen(ALL, SeesRows(WITH_SERIES), series=[Series(("hope",))])
    with pytest.raises(DataError, match="the series greed, other, fear: times at which rows became known are not in"):
        feelings().append([1], [[1, 2, 3]])
    with pytest.raises(DataError, match=r"the series hope: rows of shape \[1, 2\] at 1 times"):
        Series(("hope",)).append([1], [[1, 2]])


def test_nothing_is_due_where_joined_bars_never_suffice() -> None:
    assert seen(ALL, Sees(replace(SPEC, joined=(Joined("4h", memory=99),)))) == []


def test_a_model_that_joins_nothing_keeps_its_keys() -> None:
    assert b"joined" not in identity_of(replace(SPEC, joined=()))
    assert identity_of(SPEC) != identity_of(replace(SPEC, joined=SPEC.joined[:1]))
