"""Targets dealt with in bulk leave the same journal, row by row, as orders dealt with one by one."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Bar, Bars, Instrument, Strategy, StrategyError
from engine.bars import FORWARD_FILLED
from engine.costs import FixedSlippage, MakerTakerFees, NoSlippage
from engine.exchange import SimulatedExchange
from engine.loop import Engine, Parts
from engine.portfolio import Portfolio
from engine.records import Batch, RunEnd, RunStart
from engine.results import RunResult
from engine.risk import headroom
from engine.semantics import Switches
from engine.testing import BarsFeed, make_bars


class ListJournal:
    """Keeps every row, and how the run ended."""

    def __init__(self) -> None:
        self.rows = Batch()
        self.ended: RunEnd | None = None

    def begin(self, start: RunStart) -> int:
        return 1

    def write(self, batch: Batch) -> None:
        for table in vars(self.rows):
            getattr(self.rows, table).extend(getattr(batch, table))

    def end(self, end: RunEnd) -> None:
        self.ended = end


class Wishes(Strategy):
    """Sets targets from a list, one an entry a bar, None for no wish; may look at its position at some bars."""

    def __init__(self, wishes: list[float | None], looks_at: int | None = None, fails_at: int | None = None) -> None:
        super().__init__()
        self.wishes, self.looks_at, self.fails_at = wishes, looks_at, fails_at
        self.row = 0
        self.seen: list[Decimal] = []

    def on_start(self) -> None:
        self.line = self.indicator("SMA", "close", 2)

    def on_bar(self, bar: Bar) -> None:
        row, self.row = self.row, self.row + 1
        wish = self.wishes[row % len(self.wishes)]
        if wish is not None:
            self.target(bar.symbol, wish, why=f"row {row}")
        if row == self.looks_at:
            self.seen.append(self.position(bar.symbol))
        if row == self.fails_at:
            raise ValueError("planted")


class Columns(Strategy):
    """The same wishes as a column."""

    def __init__(self, wishes: list[float | None]) -> None:
        super().__init__()
        self.wishes = wishes

    def targets(self, bars: Bars) -> Any:
        return np.array(
            [np.nan if (w := self.wishes[row % len(self.wishes)]) is None else w for row in range(len(bars))]
        )


def random_bars(seed: int, count: int, volume: float) -> Bars:
    generator = np.random.default_rng(seed)
    close = np.maximum(1.0, np.round(100 + np.cumsum(generator.normal(0, 1.5, count)), 2))
    open_ = np.maximum(1.0, np.round(close + generator.normal(0, 0.5, count), 2))
    volumes = np.round(generator.exponential(volume, count), 3)
    rows = np.column_stack([open_, np.maximum(open_, close) + 1, np.minimum(open_, close) - 0.5, close, volumes])
    return make_bars(rows.tolist())


def run(
    bars: Bars,
    strategy: Strategy,
    *,
    mode: str = "auto",
    compile_from: int = 1,
    cash: Decimal = Decimal(10_000),
    fee: str = "0.0005",
    slippage: Any = None,
    switches: Switches | None = None,
    allow_short: bool = True,
    chunk: int | None = None,
) -> tuple[RunResult, ListJournal, Portfolio]:
    portfolio = Portfolio({"USD": cash}, [Instrument("TEST")], allow_short=allow_short)
    fees, slips = MakerTakerFees(Decimal(0), Decimal(fee)), slippage or NoSlippage()
    journal = ListJournal()
    broker = SimulatedExchange(portfolio, switches or Switches(), fees=fees, slippage=slips)
    parts = Parts(
        BarsFeed(bars, chunk=chunk),
        strategy,
        broker,
        portfolio,
        journal=journal,
        headroom=headroom(fees, slips, "TEST"),
        mode=mode,
        compile_from=compile_from,
    )
    return Engine(parts).run(), journal, portfolio


def books(portfolio: Portfolio) -> tuple[Any, ...]:
    position, account = portfolio.positions["TEST"], portfolio.accounts["USD"]
    return account.cash_units, account.locked_units, position.lots, position.cost_units, position.realised_units


wish_lists = st.lists(st.sampled_from([None, 0.0, 0.3, 0.5, 1.0, -0.4, -1.0]), min_size=1, max_size=40)
terms = st.fixed_dictionaries(
    {
        "fee": st.sampled_from(["0", "0.0005", "0.001"]),
        "slippage": st.sampled_from([None, FixedSlippage(2.0, 1.5)]),
        "switches": st.sampled_from([Switches(), Switches(volume_cap=None), Switches(volume_cap=0.9)]),
        "allow_short": st.booleans(),
        "chunk": st.sampled_from([None, 5]),
    }
)


@settings(max_examples=60, deadline=None)
@given(wishes=wish_lists, seed=st.integers(0, 999), volume=st.sampled_from([30.0, 5000.0]), terms=terms)
def test_bulk_and_one_by_one_leave_equal_journals_and_books(
    wishes: list[float | None], seed: int, volume: float, terms: dict[str, Any]
) -> None:
    bars = random_bars(seed, 60, volume)
    bulk, bulk_journal, bulk_portfolio = run(bars, Wishes(wishes), **terms)
    single, journal, portfolio = run(bars, Wishes(wishes), mode="step", **terms)
    assert vars(bulk_journal.rows) == vars(journal.rows)
    assert books(bulk_portfolio) == books(portfolio)
    assert (bulk.fills_hash, bulk.final_equity) == (single.fills_hash, single.final_equity)


@settings(max_examples=60, deadline=None)
@given(wishes=wish_lists, seed=st.integers(0, 999), volume=st.sampled_from([30.0, 5000.0]), terms=terms)
def test_columns_of_targets_step_jump_and_compile_to_equal_journals(
    wishes: list[float | None], seed: int, volume: float, terms: dict[str, Any]
) -> None:
    bars = random_bars(seed, 60, volume)
    outcomes = [
        run(bars, Columns(wishes), mode=mode, compile_from=compile_from, **terms)
        for mode, compile_from in (("step", 1), ("jump", 10**9), ("jump", 1))
    ]
    first = vars(outcomes[0][1].rows)
    for _, journal, portfolio in outcomes[1:]:
        for table in ("decisions", "orders", "order_events", "fills", "account_events"):
            assert getattr(journal.rows, table) == first[table], table
        assert books(portfolio) == books(outcomes[0][2])


@pytest.mark.parametrize("looks_at", [0, 7, 20, 58])
def test_looking_at_the_position_settles_first_and_changes_nothing(looks_at: int) -> None:
    bars = random_bars(3, 60, 40.0)
    wishes = [1.0, None, None, -0.5, None, 0.0, 0.7]
    looking, one_by_one = Wishes(wishes, looks_at), Wishes(wishes, looks_at)
    _bulk, bulk_journal, bulk_portfolio = run(bars, looking, chunk=17)
    _single, journal, portfolio = run(bars, one_by_one, mode="step", chunk=17)
    assert looking.seen == one_by_one.seen
    assert vars(bulk_journal.rows) == vars(journal.rows)
    assert books(bulk_portfolio) == books(portfolio)


class LooksAtTheEnd(Wishes):
    """Looks at its position when the run is over, with an order left open by the volume cap."""

    def on_stop(self) -> None:
        self.seen.append(self.position("TEST"))


def test_looking_after_the_last_bar_deals_with_nothing_twice() -> None:
    bars = random_bars(0, 60, 30.0)
    looking, one_by_one = LooksAtTheEnd([0.0, 0.3]), LooksAtTheEnd([0.0, 0.3])
    _, bulk_journal, _ = run(bars, looking)
    _, journal, _ = run(bars, one_by_one, mode="step")
    assert looking.seen == one_by_one.seen
    assert vars(bulk_journal.rows) == vars(journal.rows)


def test_what_a_failing_strategy_asked_for_before_is_journalled() -> None:
    bars = random_bars(3, 60, 4000.0)
    outcomes = []
    for mode in ("auto", "step"):
        portfolio = Portfolio({"USD": Decimal(10_000)}, [Instrument("TEST")])
        journal = ListJournal()
        parts = Parts(
            BarsFeed(bars),
            Wishes([1.0, 0.0], fails_at=30),
            SimulatedExchange(portfolio),
            portfolio,
            journal=journal,
            mode=mode,
            compile_from=1,
        )
        with pytest.raises(
            StrategyError,
            match=r"Wishes.on_bar failed at the bar TEST 1d that closed .*planted.*test_settlement.py, line",
        ):
            Engine(parts).run()
        assert journal.ended is not None
        assert journal.ended.status == "failed"
        outcomes.append(journal.rows)
    assert len(outcomes[0].fills) == 30
    for table in ("decisions", "orders", "order_events", "fills"):
        assert getattr(outcomes[0], table) == getattr(outcomes[1], table)


def test_sums_too_large_for_the_compiled_run_go_the_long_way() -> None:
    """1e12 dollars at increments of 1e-8 are more units than a float holds exactly."""
    bars = random_bars(5, 60, 1e12)
    wishes = [1.0, 0.4, None, 0.0]
    cash = Decimal(10) ** 12
    _bulk, bulk_journal, bulk_portfolio = run(bars, Wishes(wishes), cash=cash)
    _single, journal, portfolio = run(bars, Wishes(wishes), cash=cash, mode="step")
    assert bulk_journal.rows.fills
    assert vars(bulk_journal.rows) == vars(journal.rows)
    assert books(bulk_portfolio) == books(portfolio)


def test_quantities_of_many_increments_are_shared_out_exactly() -> None:
    """1e15 lots: cost × closing does not fit into 64 bits."""
    bars = random_bars(5, 60, 1e9)
    wishes = [1.0, 0.4, -0.7, 0.31, None, -0.2]
    fine = Instrument("TEST", quantity_increment=Decimal("1e-11"), price_increment=Decimal("0.01"))
    outcomes = []
    for mode in ("auto", "step"):
        portfolio = Portfolio({"USD": Decimal(300)}, [fine])
        journal = ListJournal()
        broker = SimulatedExchange(portfolio, Switches(volume_cap=None))
        Engine(
            Parts(BarsFeed(bars), Wishes(wishes), broker, portfolio, journal=journal, mode=mode, compile_from=1)
        ).run()
        outcomes.append((books(portfolio), vars(journal.rows)))
    assert outcomes[0] == outcomes[1]


def test_made_up_bars_are_not_traded_in_bulk_either() -> None:
    bars = random_bars(5, 20, 1000.0)
    flags = np.zeros(20, np.uint8)
    flags[3:6] = FORWARD_FILLED
    flagged = Bars(
        bars.streams,
        bars.open_time,
        bars.close_time,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        None,
        flags,
    )
    _, bulk_journal, _ = run(flagged, Wishes([None, None, 1.0]))
    _, journal, _ = run(flagged, Wishes([None, None, 1.0]), mode="step")
    assert vars(bulk_journal.rows) == vars(journal.rows)
    assert not {int(t) for t in flagged.close_time[3:6]} & {row[3] for row in journal.rows.fills}
