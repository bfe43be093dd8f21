"""What differs between two runs: inputs, the first row, trades, statistics; in words, as a page, as JSON."""

import json
from dataclasses import replace
from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from engine.analysis.comparison import (
    CHANGED,
    ONLY_A,
    ONLY_B,
    SAME,
    Comparison,
    Run,
    compare,
    first_difference,
    match_trades,
)
from engine.analysis.comparison_text import print_comparison, write_comparison
from engine.analysis.input_differences import input_differences
from engine.analysis.inputs import Recorded, recorded
from engine.analysis.trades import Trade, round_trips
from engine.bars import HOUR
from engine.journal.hashing import order_hash
from engine.journal.lineage import load_run
from engine.journal.memory import MemoryJournal
from engine.journal.testing import START, sample_batch, sample_end, sample_start
from engine.records import DataStreamRow, FillRow, InputRow


def run_of(journal: MemoryJournal, trades: int = 6, **start: Any) -> Run:
    run_id = journal.begin(sample_start(**start))
    journal.write(sample_batch(trades=trades))
    journal.end(sample_end())
    return read(journal, run_id)


def read(journal: MemoryJournal, run_id: int) -> Run:
    record = load_run(journal, run_id)
    with journal.snapshot() as reader:
        return Run(record, recorded(reader, run_id, record.run.start))


def with_rows(run: Run, **rows: Any) -> Run:
    return replace(run, record=replace(run.record, **rows))


@pytest.fixture
def run() -> Run:
    return run_of(MemoryJournal())


def shown(comparison: Comparison, width: int = 160) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False, quiet=False, stderr=True)
    with console.capture() as captured:
        print_comparison(comparison, console)
    return captured.get()


# ── the order hash ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_order_hash_is_that_of_the_rows(run: Run) -> None:
    again = run_of(MemoryJournal())
    assert order_hash(run.record.orders, run.record.fills) == order_hash(again.record.orders, again.record.fills)
    assert len(order_hash((), ())) == 64


@pytest.mark.parametrize(("table", "change"), [
    ("orders", {"limit_price": 1.0}), ("orders", {"quantity": 0.5000000000000001}), ("orders", {"expire_at": START}),
    ("orders", {"time_in_force": "ioc"}), ("orders", {"post_only": True}), ("orders", {"oco_group": 1}),
    ("fills", {"price": 20_001.250000000004}), ("fills", {"fee": 5.0}), ("fills", {"liquidity": "maker"}),
    ("fills", {"time": START}),
])
def test_the_order_hash_hangs_on_every_column(run: Run, table: str, change: dict[str, Any]) -> None:
    rows = {name: getattr(run.record, name) for name in ("orders", "fills")}
    before = order_hash(**rows)
    rows[table] = (rows[table][0]._replace(**change), *rows[table][1:])
    assert order_hash(**rows) != before


# ── the first difference ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_beside_itself_differs_in_nothing(run: Run) -> None:
    same = compare(run, run)
    assert same.is_same
    assert (same.inputs, same.decision, same.action, same.order, same.fill) == ((), None, None, None, None)
    assert same.trade_counts()[SAME] == 3


def test_the_first_decision_that_saw_or_did_something_else_is_found(run: Run) -> None:
    rows = list(run.record.decisions)
    rows[2] = rows[2]._replace(saw=(1.5, nan))
    rows[4] = rows[4]._replace(action="target 0.5", why="less sure")

    made = compare(run, with_rows(run, decisions=tuple(rows)))

    assert made.decision is not None
    assert made.action is not None
    assert (made.decision.place, made.decision.fields) == (2, ("saw",))
    assert (made.action.place, made.action.fields) == (4, ("action",))
    text = shown(made)
    assert "saw fast_line" in text
    assert "not warm yet" in text
    assert "less sure" in text


def test_a_decision_that_the_other_run_did_not_make_is_told_with_what_it_did_next(run: Run) -> None:
    made = compare(run, with_rows(run, decisions=run.record.decisions[:1] + run.record.decisions[2:]))
    assert made.decision is not None
    assert made.decision.a == run.record.decisions[1]
    assert made.decision.b is None
    assert made.decision.later == run.record.decisions[2]
    assert "made no decision at that time; its next is 3, 2024-01-01T03:00Z, target 1.0" in shown(made)


def test_rows_that_one_run_has_more_are_the_first_difference(run: Run) -> None:
    fills = run.record.fills
    found = first_difference(fills, fills[:4])
    assert found is not None
    assert (found.place, found.a, found.b) == (4, fills[4], None)
    assert first_difference(fills, fills) is None


def test_a_fill_that_differs_is_shown_beside_the_other(run: Run) -> None:
    fills = list(run.record.fills)
    fills[3] = fills[3]._replace(price=19_000.0, fee=4.75)
    made = compare(run, with_rows(run, fills=tuple(fills)))
    assert not made.is_same
    assert made.fill is not None
    assert made.fill.fields == ("price", "fee")
    text = shown(made)
    assert "price *" in text
    assert "20004.25" in text
    assert made.trade_counts() == {
        SAME: 2, "changed": 1, ONLY_A: 0, ONLY_B: 0, **dict.fromkeys(CHANGED.values(), 0), "exit price": 1, "costs": 1,
    }


# ── trades ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def trades_of(*spans: tuple[int, int], price: float = 100.0) -> list[Trade]:
    """Return long trades of one unit, each held from an hour to another."""
    fills = []
    for number, (entered, left) in enumerate(spans):
        for side, hour, after in (("buy", entered, 1.0), ("sell", left, 0.0)):
            time = START + hour * HOUR
            fills.append(FillRow(
                len(fills) + 1, number, time, time, "BTC/USDT", side, price, 1.0, "taker", 0.1, "USDT", price, 0.0, 0.0,
                0.0, after, 0.0,
            ))
    return list(round_trips(fills).rows())


def test_trades_are_matched_by_entry_then_by_being_held_at_the_same_time() -> None:
    a = trades_of((1, 5), (10, 15), (20, 25), (40, 45))
    b = trades_of((1, 6), (11, 15), (30, 35), (40, 45))
    found = [(one.what, one.a and one.a.id, one.b and one.b.id) for one in match_trades(a, b)]
    assert found == [
        ("exit time", 1, 1), ("entry time", 2, 2), (ONLY_A, 3, None), (ONLY_B, None, 3), (SAME, 4, 4),
    ]


spans = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=12)


def laid_out(steps: list[tuple[int, int]]) -> list[Trade]:
    """Return trades one after the other, each after a pause."""
    made, hour = [], 0
    for pause, held in steps:
        made.append((hour + pause, hour + pause + held))
        hour += pause + held
    return trades_of(*made) if made else []


@given(spans, spans)
def test_every_trade_is_listed_once_and_the_two_sides_mirror_each_other(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    a, b = laid_out(first), laid_out(second)
    found = match_trades(a, b)
    assert sorted(one.a.id for one in found if one.a) == [trade.id for trade in a]
    assert sorted(one.b.id for one in found if one.b) == [trade.id for trade in b]
    swapped = {ONLY_A: ONLY_B, ONLY_B: ONLY_A}
    mirrored = [(swapped.get(one.what, one.what), one.b, one.a) for one in match_trades(b, a)]
    key = repr
    assert sorted(map(tuple, found), key=key) == sorted(mirrored, key=key)
    assert all(one.what == SAME for one in match_trades(a, a))


# ── what they were made of ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_differs_is_named_what_decides_orders_first() -> None:
    journal = MemoryJournal()
    a = run_of(journal)
    settings = {"cash": "10000", "fast": 21, "nested": {"rate": 0.001, "names": ["a", "ü"]}, "new": {"x": 1}}
    b = run_of(
        journal, settings=settings, seeds={"market": 8}, libraries={"numpy": "3.0"}, code_version="def456",
        is_dirty=False,
    )
    assert [str(one) for one in input_differences(a.made_of, b.made_of)] == [
        "settings: fast was 20, is 21",
        "library: numpy was 2.4, is 3.0",
        "seed: market was 7, is 8",
        "settings: new.x is new (1)",
        "commit: checkout was abc123 with uncommitted changes, is def456",
    ]


def test_files_are_named_by_path() -> None:
    def made_of(**digests: str) -> Recorded:
        rows = [InputRow(n, "source", f"engine/{name}.py", value) for n, (name, value) in enumerate(digests.items())]
        return Recorded(sample_start(), tuple(rows))

    found = input_differences(made_of(loop="a" * 64, old="b" * 64), made_of(loop="c" * 64, new="d" * 64))
    assert [str(one) for one in found] == [
        f"code: engine/loop.py differs (was {'a' * 12}, is {'c' * 12})",
        f"code: engine/old.py is gone (was {'b' * 12})",
        f"code: engine/new.py is new ({'d' * 12})",
    ]


def test_data_of_other_streams_are_named() -> None:
    def made_of(fingerprint: str, *symbols: str) -> Recorded:
        rows = [
            DataStreamRow(n, name, "1h", 10, START, START + 10 * HOUR, name, 256, None, None)
            for n, name in enumerate(symbols)
        ]
        return Recorded(sample_start(data_fingerprint=fingerprint), (), tuple(rows))

    found = input_differences(made_of("1", "A/B", "C/B"), made_of("2", "A/B", "D/B"))
    assert [str(one) for one in found] == [
        "data: C/B 1h is gone (was 10 bars, 2024-01-01T00:00Z to 2024-01-01T10:00Z)",
        "data: D/B 1h is new (10 bars, 2024-01-01T00:00Z to 2024-01-01T10:00Z)",
    ]
    found = input_differences(made_of("1", "A/B", "C/B"), made_of("2", "C/B", "A/B"))
    assert "in another order" in str(found[0])


# ── shown ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_says_the_same_and_escapes_what_a_user_named(run: Run, tmp_path) -> None:
    decisions = (run.record.decisions[0]._replace(why="<script>alert(1)</script>"), *run.record.decisions[1:])
    page = write_comparison(compare(run, with_rows(run, decisions=decisions)), tmp_path / "deep" / "c.html")
    text = page.read_text("utf-8")
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "First differing decision" in text


def test_json_takes_what_is_not_a_number(run: Run) -> None:
    made = compare(run, with_rows(run, decisions=run.record.decisions[:3], fills=run.record.fills[:3]))
    told = json.loads(json.dumps(made.as_dict(), allow_nan=False))
    assert told["is_same"] is False
    assert told["first_decision"]["a"]["saw"][1] is None
    assert [one["what"] for one in told["trades"]] == ["exit time, exit price, costs", ONLY_A]


def test_a_run_without_fills_or_end_can_be_compared(run: Run) -> None:
    empty = with_rows(run, decisions=(), orders=(), fills=(), equity=())
    text = shown(compare(run, empty))
    assert "made no decision" in text
    assert "3 only in run 1 (A)" in text
