"""The portfolio from the journal's rows, exact to the last unit."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import JournalError
from engine.journal.lineage import load_run
from engine.journal.memory import MemoryJournal
from engine.journal.rebuild import Books, instruments_of, rebuild, snapped
from engine.journal.testing import START, sample_batch, sample_end, sample_start
from engine.records import AccountEventRow, Batch, FillRow

INSTRUMENTS = {
    "BTC/USDT": {"quote": "USDT", "price_increment": "0.1", "quantity_increment": "0.001"},
    "XBT": {"quote": "USD", "price_increment": "0.5", "quantity_increment": "1", "multiplier": "0.0001"},
}


def fill(number: int, symbol: str, side: str, price: float, quantity: float, fee: float = 0.0) -> FillRow:
    currency = INSTRUMENTS[symbol]["quote"] if symbol in INSTRUMENTS else "USDT"
    return FillRow(number, 1, START, START, symbol, side, price, quantity, "taker", fee, currency, price, 0, 0, 0, 0, 0)


def books_of(batch: Batch) -> Books:
    journal = MemoryJournal()
    journal.begin(sample_start(instruments=INSTRUMENTS))
    journal.write(batch)
    journal.end(sample_end())
    return rebuild(load_run(journal))


def test_three_dimes_are_thirty_cents() -> None:
    fills: list[tuple[Any, ...]] = [fill(number, "BTC/USDT", "buy", 0.1, 1.0) for number in (1, 2, 3)]

    assert books_of(Batch(fills=fills)) == Books({"USDT": Decimal("-0.3")}, {"BTC/USDT": Decimal(3)})


def test_currencies_are_kept_apart() -> None:
    batch = Batch(
        account_events=[
            AccountEventRow(1, START, "deposit", "USDT", 1000.0),
            AccountEventRow(2, START, "deposit", "USD", 50.0),
            AccountEventRow(3, START, "conversion", "USDT", -10.1),
            AccountEventRow(4, START, "conversion", "USD", 10.1),
        ],
        fills=[fill(1, "BTC/USDT", "buy", 20_000.1, 0.002, fee=0.02000001)],
    )

    assert books_of(batch).cash == {"USDT": Decimal("949.87979999"), "USD": Decimal("60.1")}


def test_a_contract_is_worth_price_times_multiplier() -> None:
    assert books_of(Batch(fills=[fill(1, "XBT", "sell", 20_000.5, 3.0)])) == Books(
        {"USD": Decimal("6.00015")}, {"XBT": Decimal(-3)}
    )


def test_a_rebate_adds_cash() -> None:
    books = books_of(Batch(fills=[fill(1, "BTC/USDT", "buy", 100.0, 1.0, fee=-0.01)]))

    assert books.cash == {"USDT": Decimal("-99.99")}


def test_a_fill_of_an_unknown_instrument_is_refused() -> None:
    with pytest.raises(JournalError, match="run 1: fill 1 is of DOGE, and the run describes BTC/USDT, XBT; "):
        books_of(Batch(fills=[fill(1, "DOGE", "buy", 1.0, 1.0)]))


def test_an_instrument_is_described_in_words() -> None:
    journal = MemoryJournal()
    journal.begin(sample_start())
    journal.write(sample_batch())

    instrument = instruments_of(load_run(journal).run)["BTC/USDT"]

    assert (instrument.quote, instrument.base, instrument.min_notional) == ("USDT", "BTC", Decimal(5))


@given(
    count=st.integers(-(2**53), 2**53),
    increment=st.sampled_from([Decimal("0.01"), Decimal("1e-8"), Decimal("0.5"), Decimal("0.00025"), Decimal(3)]),
)
def test_the_float_that_names_a_count_of_increments_is_read_as_that_count(count: int, increment: Decimal) -> None:
    if abs(count) < 2**50:      # a float64 tells this many neighbours apart with room to spare
        assert snapped(float(count * increment), increment) == count * increment
