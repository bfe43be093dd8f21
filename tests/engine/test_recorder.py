"""What a run leaves in the journal: a row for every step, from decision to fill, each pointing at the one before."""

from decimal import Decimal
from typing import Any

from engine import Bar, Strategy
from engine.records import AccountEventRow, DecisionRow, FillRow, OrderEventRow, OrderRow
from engine.testing import NEW_YEAR_2024, Terms, engine_for, make_bars
from tests.engine.cases import ListJournal, buy, run, scripted, sell

DAY = 86_400_000_000_000
FLAT = 100.0


def journalled(rows: Any, strategy: Strategy, terms: Terms | None = None) -> ListJournal:
    journal = ListJournal()
    engine_for(make_bars(rows), strategy, terms, journal=journal).run()
    return journal


def test_every_step_of_a_market_order_is_written_down() -> None:
    tables = journalled(
        [FLAT, (102, 104, 101, 103)], scripted({0: buy(2, why="cheap")}), Terms(cash=Decimal(1000))
    ).tables()
    first, second = NEW_YEAR_2024 + DAY, NEW_YEAR_2024 + 2 * DAY
    assert tables["account_events"] == [AccountEventRow(1, NEW_YEAR_2024, "deposit", "USD", 1000.0, "opening balance")]
    assert tables["decisions"] == [
        DecisionRow(1, first, "ScriptedStrategy", "TEST", first, 100.0, "buy 2 market", None, "cheap")
    ]
    assert tables["orders"] == [OrderRow(1, 1, first, "TEST", "buy", "market", 2.0)]
    assert tables["order_events"][0] == OrderEventRow(1, 1, first, "accepted", "")
    assert tables["fills"] == [
        FillRow(1, 1, first, second, "TEST", "buy", 102.0, 2.0, "taker", 0.0, "USD", 102.0, 0.0, 0.0, 0.0, 2.0, 796.0)
    ]


def test_a_fill_at_the_open_has_the_open_s_time_and_one_inside_the_bar_its_close_s() -> None:
    journal = journalled([FLAT, (100, 101, 97, 99)], scripted({0: [buy(), buy(limit=98)]}))
    opened, closed = NEW_YEAR_2024 + DAY, NEW_YEAR_2024 + 2 * DAY
    assert [(row[2], row[3]) for row in journal.tables()["fills"]] == [(opened, closed), (closed, closed)]


def test_prices_of_every_order_type_are_written_down() -> None:
    asks = [
        buy(limit=98),
        buy(stop=105),
        buy(stop=105, limit=106),
        sell(trail_amount=5),
        sell(trail_fraction=0.05),
        buy(limit=97, post_only=True),
        sell(limit=120, reduce_only=True, oco_group="x"),
    ]
    rows = [OrderRow(*row) for row in journalled([FLAT], scripted({0: asks})).tables()["orders"]]
    assert [(row.type, row.limit_price, row.stop_price, row.trail) for row in rows] == [
        ("limit", 98.0, None, None),
        ("stop", None, 105.0, None),
        ("stop_limit", 106.0, 105.0, None),
        ("trailing_stop", None, None, 5.0),
        ("trailing_stop", None, None, 0.05),
        ("limit", 97.0, None, None),
        ("limit", 120.0, None, None),
    ]
    assert [(row.post_only, row.reduce_only, row.oco_group) for row in rows[-2:]] == [
        (True, False, None),
        (False, True, 7),
    ]


def test_a_decision_records_what_its_lines_showed() -> None:
    class Sees(Strategy):
        def on_start(self) -> None:
            self.slow = self.indicator("SMA", "close", 3)
            self.fast = self.indicator("SMA", "close", 2)

        def on_bar(self, bar: Bar) -> None:
            self.buy(bar.symbol, 1)

    journal = journalled([10.0, 20.0, 30.0, 40.0], Sees())
    assert [row[7] for row in journal.tables()["decisions"]] == [(20.0, 25.0), (30.0, 35.0)]
    assert journal.started is not None
    assert len(journal.started.lines) == 2


def test_ids_count_up_from_one_in_every_table() -> None:
    rows = [FLAT, (100, 112, 94, 108), FLAT, FLAT]
    tables = journalled(
        rows, scripted({0: buy(stop_loss=95, take_profit=110), 1: [buy(), sell(limit=90)], 2: buy()})
    ).tables()
    for name in ("decisions", "orders", "order_events", "fills", "account_events"):
        assert [row[0] for row in tables[name]] == list(range(1, len(tables[name]) + 1)), name


def test_every_fill_leads_to_its_decision() -> None:
    rows = [FLAT, (100, 112, 94, 108), FLAT, FLAT]
    tables = journalled(rows, scripted({0: buy(stop_loss=95, take_profit=110), 1: [buy(), sell(limit=90)]})).tables()
    decisions = {row[0] for row in tables["decisions"]}
    decision_of = {row[0]: row[1] for row in tables["orders"]}
    assert len(tables["fills"]) == 4
    assert {decision_of[row[1]] for row in tables["fills"]} <= decisions


def test_without_a_journal_the_fills_are_kept_all_the_same() -> None:
    outcome = run([FLAT, 101.0], {0: buy(2)})
    (row,) = outcome.result.fills
    assert isinstance(row, FillRow)
    assert (row.price, row.quantity, row.position_after) == (101.0, 2.0, 2.0)
    assert outcome.result.fill_keys.tolist() == [[0, NEW_YEAR_2024 + 2 * DAY, 1, 10100, 200_000_000, 0]]
