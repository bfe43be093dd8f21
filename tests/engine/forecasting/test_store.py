"""The store: nothing is computed twice, nothing wrong is ever taken out, and no accident of a process harms it."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Bars, DataError, Forecast
from engine.analysis.report_data import report_from_result
from engine.analysis.summary import summary_text
from engine.forecasting.book import ForecastTerms
from engine.forecasting.store import ForecastStore, as_bytes, from_bytes
from engine.forecasting.testing import FunctionForecaster, RandomPaths, last_change, momentum, spec_of
from engine.forecasts import ForecastKind
from engine.testing import run_bars
from tests.engine.forecasting.market import Follows, side_by_side, walk

ROOT = Path(__file__).parents[3]
HOURLY = spec_of(ForecastKind.RETURN, timeframe="1h", is_deterministic=True)
PATHS = spec_of(ForecastKind.PATHS, timeframe="1h", samples=4)


def run(bars: Bars, forecaster: Any, store: ForecastStore | None, every: str = "bar", **terms: Any) -> list[Forecast]:
    strategy = Follows(every)
    run_bars(
        bars, strategy, forecasters={"model": forecaster}, forecast_terms=ForecastTerms(store=store, **terms)
    )
    return strategy.seen


@pytest.fixture
def store(tmp_path: Path) -> ForecastStore:
    return ForecastStore(tmp_path / "store.db")


# ── what is asked anew, and what is not ─────────────────────────────────────────────────────────────────────────────


def test_a_second_run_asks_the_model_nothing(store: ForecastStore) -> None:
    bars = side_by_side([walk(60, seed=number, symbol=name) for number, name in enumerate("AB")])
    first, second = momentum(HOURLY), momentum(HOURLY)

    seen, again = run(bars, first, store), run(bars, second, store)

    assert (len(first.asked), second.calls) == (112, 0)
    assert [one.values.tobytes() for one in seen] == [one.values.tobytes() for one in again]


@settings(max_examples=25)
@given(row=st.integers(0, 39), field=st.sampled_from(["open", "close", "volume"]))
def test_one_changed_bar_asks_exactly_for_the_windows_that_hold_it(row: int, field: str) -> None:
    bars = walk(40)
    changed = getattr(bars, field).copy()
    changed[row] *= 1.001
    spec = replace(HOURLY, inputs=("close", "volume"))
    with ForecastStore(Path(":memory:")) as store:
        run(bars, momentum(spec), store)
        again = momentum(spec)

        run(replace(bars, **{field: changed}), again, store)

    hours = (bars.close_time - bars.open_time[0]) // (bars.close_time[0] - bars.open_time[0])
    windows = {int(bars.close_time[last]) for last in range(4, 40) if last - 4 <= row <= last}
    assert {time for _, time in again.asked} == (windows if field != "open" else set())
    assert len(hours) == 40


@pytest.mark.parametrize("changes", [
    {"model_hash": "other"}, {"dtype": "bfloat16"}, {"device": "cuda:0"}, {"clock": "Asia/Tokyo"}, {"horizon": 3},
    {"lookback": 6}, {"future_stamps": "weekdays"}, {"calendar": ("hour",)},
])  # fmt: skip
def test_whatever_decides_an_answer_asks_anew(changes: dict[str, Any], store: ForecastStore) -> None:
    run(walk(30), momentum(HOURLY), store)
    other = momentum(replace(HOURLY, **changes))

    run(walk(30), other, store)

    assert other.calls == 1


@pytest.mark.parametrize("changes", [
    {"name": "other"}, {"trained_until": 5}, {"trained_on": ("X",)}, {"artefact": "of these weights"},
])  # fmt: skip
def test_what_decides_no_number_asks_nothing(changes: dict[str, Any], store: ForecastStore) -> None:
    run(walk(30), momentum(HOURLY), store)
    other = momentum(replace(HOURLY, **changes))

    run(walk(30), other, store)

    assert other.calls == 0


def test_another_card_of_the_same_kind_is_the_same_device_class(store: ForecastStore) -> None:
    run(walk(30), momentum(replace(HOURLY, device="cuda:0")), store)
    other = momentum(replace(HOURLY, device="cuda:1"))

    run(walk(30), other, store)

    assert other.calls == 0


def test_a_seed_asks_anew_only_for_what_it_decides(store: ForecastStore) -> None:
    for seed in (1, 2):
        run(walk(30), drawn := RandomPaths(PATHS), store, seed=seed)
        run(walk(30), sure := momentum(HOURLY), store, seed=seed)
        assert (drawn.calls, sure.calls) == (1, int(seed == 1))


def test_a_model_without_a_hash_is_asked_every_time(store: ForecastStore) -> None:
    for _ in range(2):
        run(walk(30), model := momentum(replace(HOURLY, model_hash="")), store)
        assert model.calls == 1


def test_sample_paths_depend_on_seed_and_window_alone_and_not_on_the_batch() -> None:
    bars = side_by_side([walk(30, seed=number, symbol=name) for number, name in enumerate("AB")])
    whole = run(bars, RandomPaths(PATHS), None, seed=7)

    for other in (
        run(bars, RandomPaths(PATHS), None, seed=7, batch=1), run(bars, RandomPaths(PATHS), None, "4h", seed=7),
        run(bars, RandomPaths(PATHS), None, seed=7, is_ahead=False),
    ):
        known = {(one.symbol, one.as_of): one for one in whole}
        for one in other:
            np.testing.assert_array_equal(one.values, known[one.symbol, one.as_of].values)
    elsewise = run(bars, RandomPaths(PATHS), None, seed=8)
    assert not np.array_equal(elsewise[0].values, whole[0].values)


# ── nothing that comes later shows ──────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=15)
@given(end=st.integers(6, 39), seed=st.integers(2, 99), kind=st.sampled_from(["momentum", "paths", "score"]))
def test_a_forecast_is_the_same_to_the_bit_whatever_comes_after_it(end: int, seed: int, kind: str) -> None:
    def model() -> Any:
        if kind == "momentum":
            return momentum(HOURLY)
        return RandomPaths(PATHS) if kind == "paths" else last_change(replace(HOURLY, kind=ForecastKind.SCORE))

    bars, other = walk(40), walk(40, seed=seed)
    noise = replace(bars, **{
        name: np.concatenate([getattr(bars, name)[:end], getattr(other, name)[end:]])
        for name in ("open", "high", "low", "close", "volume")
    })
    known = int(bars.close_time[end - 1])

    whole = [one for one in run(bars, model(), None) if one.as_of <= known]
    for again in (run(bars[:end], model(), None), run(noise, model(), None)):
        for one, same in zip(whole, again, strict=False):
            assert one.values.tobytes() == same.values.tobytes()
    assert len(whole) == end - 4


# ── models that run out of memory ───────────────────────────────────────────────────────────────────────────────────


def test_batches_shrink_until_they_fit_and_stay_so() -> None:
    model = momentum(HOURLY, most=12)

    seen = run(walk(104), model, None, batch=50)

    assert len(seen) == 100
    assert model.batches[:3] == [12, 12, 12]  # 50, 25, 12
    assert len(model.asked) == len(set(model.asked)) == 100
    assert max(model.batches) == 12


def test_a_model_that_asks_for_it_sees_batches_of_one_size_and_answers_for_its_own_alone() -> None:
    keeps = replace(HOURLY, keeps_batches=True)
    filled, plain, small = momentum(keeps), momentum(HOURLY), momentum(keeps, most=12)

    seen, same, shrunk = (run(walk(104), model, None, batch=30) for model in (filled, plain, small))

    assert filled.batches == [30, 30, 30, 30]
    assert plain.batches == [30, 30, 30, 10]
    assert set(small.batches) == {7}  # 30, 15, 7: what is left of 30 is filled up, too
    for one, other, third in zip(seen, same, shrunk, strict=True):
        assert one.values.tobytes() == other.values.tobytes() == third.values.tobytes()


# ── accidents ───────────────────────────────────────────────────────────────────────────────────────────────────────


def values(number: int) -> bytes:
    return as_bytes(np.full(50, number, np.float32))


WRITER = """
import sys
from pathlib import Path
import numpy as np
from engine.forecasting.store import ForecastStore, as_bytes
store = ForecastStore(Path(sys.argv[1]))
first = int(sys.argv[2])
print("ready", flush=True)
for batch in range(int(sys.argv[3])):
    numbers = range(first + 20 * batch, first + 20 * batch + 20)
    store.put("m", [(b"%d" % one, as_bytes(np.full(50, one, np.float32))) for one in numbers])
"""


def writer(path: Path, first: int, batches: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(batches)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def numbers_in(store: ForecastStore, candidates: range) -> list[int]:
    found = store.get([b"%d" % number for number in candidates])
    assert all(content == values(int(key)) for key, content in found.items())
    return sorted(int(key) for key in found)


@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.08])
def test_a_process_killed_while_it_writes_leaves_whole_batches(after: float, tmp_path: Path) -> None:
    process = writer(tmp_path / "store.db", 0, 100_000)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after)
    process.kill()
    process.wait()
    process.stdout.close()

    with ForecastStore(tmp_path / "store.db") as store:
        found = numbers_in(store, range(20_000))
        assert store.verify() == []
        assert len(found) % 20 == 0
        assert found == list(range(len(found)))
        store.put("m", [(b"new", values(1))])
        assert store.get([b"new"]) == {b"new": values(1)}


def test_two_processes_share_a_store(tmp_path: Path) -> None:
    both = [writer(tmp_path / "store.db", first, 30) for first in (0, 300)]  # they write half of it both
    assert [process.wait(60) for process in both] == [0, 0]
    for process in both:
        assert process.stdout is not None
        process.stdout.close()

    with ForecastStore(tmp_path / "store.db") as store:
        assert numbers_in(store, range(1000)) == list(range(900))
        assert store.verify() == []


def test_a_damaged_answer_is_dropped_and_computed_again(store: ForecastStore) -> None:
    bars = walk(20)
    run(bars, momentum(HOURLY), store)
    with sqlite3.connect(store.path) as other:
        other.execute("UPDATE answers SET content = zeroblob(length(content)) WHERE rowid = 3")
    other.close()
    [fault] = store.verify()
    assert "is damaged; it will be computed again" in fault

    run(bars, again := momentum(HOURLY), store)

    assert len(again.asked) == 1
    assert store.verify() == []


def test_an_answer_of_another_shape_counts_as_none() -> None:
    assert from_bytes(values(1), (50,)) is not None
    assert from_bytes(values(1), (49,)) is None


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be taken for something" * 40)

    with pytest.raises(DataError, match=r"notes.txt: cannot open it: .*move it away, name another"):
        ForecastStore(path)
    assert path.read_text().startswith("not a database")


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store.db") as other:
        other.execute("PRAGMA user_version = 9")
    other.close()

    with pytest.raises(DataError, match="has format 9; this version reads 1"):
        ForecastStore(tmp_path / "store.db")


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    with ForecastStore(tmp_path / "store.db", limit=200_000) as store:
        for number in range(64 * 11):
            store.put("m", [(b"%d" % number, values(number))])
            if number == 300:
                with sqlite3.connect(store.path) as other:  # what was written by now is an hour older
                    other.execute("UPDATE answers SET used = used - 4000")
                other.close()
                store.get([b"7"])  # and this one is used again

        assert store.size <= 200_000 + 64 * 300
        kept = numbers_in(store, range(64 * 11))
    assert 7 in kept
    assert 8 not in kept
    assert kept[-1] == 64 * 11 - 1


def test_models_are_listed_and_dropped(store: ForecastStore) -> None:
    store.put("aaa1", [(b"%d" % number, values(number)) for number in range(3)])
    store.put("bbb2", [(b"x", values(9))])

    assert {(one.model, one.answers, one.bytes) for one in store.models()} == {("aaa1", 3, 600), ("bbb2", 1, 200)}
    assert store.drop(model="aaa") == 3
    assert [one.model for one in store.models()] == ["bbb2"]
    assert store.drop(limit=0) == 1


def test_a_function_is_asked_once_for_each_window(store: ForecastStore) -> None:
    """A model may be asked for several runs at once; its answers are the same ones."""
    model = FunctionForecaster(HOURLY, lambda window: [0.0, float(window[-1, 0])])
    run(walk(30), model, store, "2h")
    run(walk(40), model, store, "bar")

    assert len(model.asked) == len(set(model.asked)) == 36


class Failing(ForecastStore):
    """A store whose file is damaged from some batch on."""

    def __init__(self, path: Path, after: int, doing: str) -> None:
        super().__init__(path)
        self._left, self._doing = after, doing

    def _check(self, doing: str) -> None:
        if doing == self._doing:
            self._left -= 1
            if self._left < 0:
                raise DataError(f"forecast store {self.path}: cannot {doing} it: disk is full")

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        self._check("read")
        return super().get(keys)

    def put(self, model: str, answers: Iterable[tuple[bytes, bytes]]) -> None:
        self._check("write")
        super().put(model, answers)


@pytest.mark.parametrize("doing", ["read", "write"])
def test_a_store_that_fails_in_the_midst_of_a_run_is_given_up_and_told(tmp_path: Path, doing: str) -> None:
    bars, whole, failing = walk(60), Follows(), Follows()
    run_bars(bars, whole, forecasters={"model": momentum(HOURLY)})
    with Failing(tmp_path / "f.db", 2, doing) as store:
        model = momentum(HOURLY)
        terms = ForecastTerms(store=store, batch=8)
        result = run_bars(bars, failing, forecasters={"model": model}, forecast_terms=terms)

    assert [one.values.tolist() for one in failing.seen] == [one.values.tolist() for one in whole.seen]
    assert f"cannot {doing} it: disk is full" in result.forecasts["models"]["model"]["unstored"]
    assert f"given up in the midst of the run: forecast store {tmp_path / 'f.db'}" in summary_text(
        report_from_result(result, bars=bars))


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    with ForecastStore(tmp_path / "f.db") as store:
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DataError, match="cannot write it: database or disk is full"):
            store.put("model", [(bytes([number]) * 32, bytes(4096)) for number in range(50)])
        assert store.models() == []
