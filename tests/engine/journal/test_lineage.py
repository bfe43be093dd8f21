"""`why`: references, words, and the bar that was decided on."""

from dataclasses import replace
from typing import Any

import pytest

from engine.errors import JournalError
from engine.journal.lineage import Reference, load_run, why
from engine.journal.memory import MemoryJournal
from engine.journal.sql import SqlJournal
from engine.journal.sql_reader import SqlReader
from engine.journal.testing import START, bracket_batch, sample_batch, sample_end, sample_start
from engine.records import Batch, DecisionRow, OrderRow, RunStart


def journal_of(batch: Batch, start: RunStart | None = None) -> MemoryJournal:
    journal = MemoryJournal()
    journal.begin(start or sample_start())
    journal.write(batch)
    journal.end(sample_end())
    return journal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", Reference(None, False, 7)),
        ("f12", Reference(None, True, 12)),
        ("3:7", Reference(3, False, 7)),
        ("r3-7", Reference(3, False, 7)),
        (" R3-F12 ", Reference(3, True, 12)),
        ("3:f12", Reference(3, True, 12)),
    ],
)
def test_a_reference_is_read_in_every_form(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected


@pytest.mark.parametrize("text", ["", "r3", "x7", "3/7", "-1", "7.5", "r3-g7"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(JournalError, match="names no order or fill; expected r3-7"):
        Reference.parse(text)


def test_a_number_alone_is_an_order_of_the_newest_run() -> None:
    journal = journal_of(sample_batch(trades=2))
    journal.begin(sample_start())
    journal.write(bracket_batch())

    assert why(journal, "1").order.type == "limit"
    assert why(journal, "1:1").order.type == "market"


def test_the_chain_is_told_in_words() -> None:
    assert str(why(journal_of(bracket_batch(), sample_start(lines=("RSI(14)",))), "f3")).splitlines() == [
        "run 1: SmaCross, backtest, completed",
        "fill 3: sell 0.3 BTC/USDT at 21000 (maker), fee 1.25 USDT, 2024-01-01T06:00Z",
        "  order 3: limit sell 0.3 BTC/USDT limit 21000, gtc, reduce-only, 2024-01-01T01:00Z",
        "    accepted 2024-01-01T03:00Z",
        "    filled 2024-01-01T06:00Z",
        "    made active by order 1: limit buy 0.3 BTC/USDT limit 19990, gtc, post-only",
        "    together with order 2: stop sell 0.3 BTC/USDT stop 19500, gtc, reduce-only",
        "    decision 1 of Rsi: buy 0.3 with bracket; why: oversold",
        "      saw RSI(14) = 29.5",
        "      bar BTC/USDT 1h that closed 2024-01-01T01:00Z at 20000 (data 5f3a)",
    ]


@pytest.mark.parametrize(
    ("streams", "timeframe"),
    [
        ([["BTC/USDT", "1h"], ["ETH/USDT", "5m"]], "1h"),
        ([{"symbol": "BTC/USDT", "timeframe": "5m"}], "5m"),
        ([["BTC/USDT", "1h"], ["BTC/USDT", "5m"]], None),     # which of the two is not said
        (["BTC/USDT 1h"], None),
        ([], None),
    ],
)
def test_the_timeframe_is_told_where_the_run_knows_it(streams: list[Any], timeframe: str | None) -> None:
    journal = journal_of(bracket_batch(), sample_start(data={"streams": streams}))

    assert why(journal, "1").bar.timeframe == timeframe


def test_what_was_seen_is_numbered_where_the_names_do_not_fit() -> None:
    journal = journal_of(sample_batch(), sample_start(lines=("only one",)))

    assert why(journal, "1").saw == (("line 1", 20_001.25), ("line 2", None))


def test_a_decision_that_saw_nothing_says_nothing() -> None:
    batch = sample_batch()
    batch.decisions[0] = (*batch.decisions[0][:7], None, "")

    lineage = why(journal_of(batch), "1")

    assert lineage.saw == ()
    assert "why: not said" in str(lineage)


def test_orders_of_one_decision_are_siblings() -> None:
    batch = Batch(
        decisions=[DecisionRow(number, START, "S", "A", START, 1.0, "", None, "") for number in (1, 2)],
        orders=[OrderRow(number, 1 if number < 4 else 2, START, "A", "buy", "market", 1.0) for number in range(1, 6)],
    )

    assert [order.id for order in why(journal_of(batch), "2").siblings] == [1, 3]


def test_an_order_whose_decision_is_missing_says_so() -> None:
    batch = sample_batch(trades=2)
    del batch.decisions[1]

    with pytest.raises(JournalError, match="run 1 has no decision 2; its decisions are 1 to 1, the nearest is 1"):
        why(journal_of(batch), "2")


def test_a_connection_of_ones_own_is_read_like_a_journal(tmp_path: Any) -> None:
    with SqlJournal(tmp_path / "journal.db") as journal:
        journal.begin(sample_start())
        journal.write(sample_batch())
        journal.end(sample_end())
        with journal._database.connect() as connection:
            assert why(SqlReader(connection), "f1").decision.why == "fast above slow"


def test_a_table_comes_as_arrays() -> None:
    columns = load_run(journal_of(bracket_batch())).columns("orders")

    assert columns["id"].tolist() == [1, 2, 3]
    assert [str(columns[name].dtype) for name in ("id", "quantity", "post_only")] == ["int64", "float64", "bool"]
    assert columns["stop_price"].tolist()[1:2] == [19_500.0]
    assert columns["stop_price"][0] != columns["stop_price"][0]    # NaN: the order has none
    assert columns["symbol"].tolist() == ["BTC/USDT"] * 3
    assert columns["parent_id"].tolist() == [None, 1, 1]


def test_an_empty_table_comes_as_empty_arrays() -> None:
    columns = load_run(journal_of(Batch())).columns("equity")

    assert {name: len(column) for name, column in columns.items()} == dict.fromkeys(
        ("time", "currency", "equity", "cash", "exposure"), 0
    )


def test_a_run_is_described_by_more_than_its_rows() -> None:
    start = replace(sample_start(), kind="paper")

    assert load_run(journal_of(Batch(), start)).run.start.kind == "paper"
