"""The pieces of work, each returning its rows. A speed stands beside the check that the same fills came out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.market import panel_bars, reference_bars
from benchmarks.measuring import Stopwatch, Turn, take_turns
from benchmarks.ours import (
    AMPLE,
    Catcher,
    Comparing,
    LooksOn,
    OneUnit,
    OnlyBars,
    OurRun,
    SomeTargets,
    SomeTrades,
    Unchanging,
    WithLines,
    engine_of,
    run_ours,
    trades_of,
    write_batches,
)
from benchmarks.rows import Found, Layer, Row, Timed
from engine import Bars, Strategy
from engine.interfaces import Journal
from feeds.memory import MemoryFeed
from strategies.sma_cross import SmaCross
from strategies.sma_cross_targets import SmaCrossTargets
from strategies.top_k_dropout import TopKDropout

NEVER = 1 << 60
"""More rows than there are: nothing is compiled, nothing dealt with in bulk."""


@dataclass(frozen=True)
class Size:
    """How large the work is.

    Args:
        bars: of the reference; backtrader_bars: of those, for the slowest peer; symbols, instants: of the panel.
        trades: the counts whose cost is compared, even, ascending; trade_bars: over how many bars they are made.
        stream_bars: streamed from the catalog; rounds: turns of each contender, heavy_rounds: of the slow ones.
    """

    bars: int = 1_000_000
    backtrader_bars: int = 100_000
    symbols: int = 500
    instants: int = 2_000
    trades: tuple[int, ...] = (1_000, 5_000, 20_000, 50_000)
    trade_bars: int = 100_000
    stream_bars: int = 10_000_000
    rounds: int = 7
    heavy_rounds: int = 2


QUICK = Size(
    bars=100_000,
    backtrader_bars=10_000,
    instants=200,
    trades=(1_000, 5_000),
    trade_bars=20_000,
    stream_bars=1_000_000,
    rounds=3,
    heavy_rounds=1,
)

Work = Callable[[Size], Found]


# ── the reference ───────────────────────────────────────────────────────────────────────────────────────────────────

_JOURNALLED, _BARE = "per bar, SQLite journal", "per bar, no journal"
_ONE_UNIT = "per bar, no journal, buying and selling one unit"
_TARGETS_JOURNALLED, _TARGETS = "targets, SQLite journal", "targets, no journal"
_BACKTESTING, _BACKTESTING_WHOLE = "backtesting.py, without its statistics", "backtesting.py, whole"
_BACKTRADER = "backtrader"


def reference(size: Size) -> Found:
    """One symbol, averages of 20 and 50 closes, in and out at market: our paths and the peers in turns."""
    from benchmarks import peers  # deferred: takes seconds

    bars = reference_bars(size.bars)
    few = bars[: size.backtrader_bars]
    feed, prepared, frame = MemoryFeed(bars), peers.signals(bars), peers.frame_of(bars)
    ours: dict[str, Any] = {
        _JOURNALLED: partial(run_ours, feed, SmaCross, with_sqlite=True),
        _BARE: partial(run_ours, feed, SmaCross),
        _ONE_UNIT: partial(run_ours, feed, OneUnit, cash=AMPLE),
        _TARGETS_JOURNALLED: partial(run_ours, feed, SmaCrossTargets, with_sqlite=True),
        _TARGETS: partial(run_ours, feed, SmaCrossTargets),
    }
    theirs: dict[str, Any] = {
        f"vectorbt {engine}, {what}": partial(peers.run_vectorbt, bars, engine, given)
        for engine in ("rust", "numba")
        for what, given in (("signals given", prepared), ("with signals", None))
    }
    heavy: dict[str, Any] = {
        _BACKTESTING: partial(peers.run_backtesting_py, frame),
        _BACKTESTING_WHOLE: partial(peers.run_backtesting_py, frame, with_statistics=True),
        _BACKTRADER: partial(peers.run_backtrader, peers.frame_of(few)),
    }
    _warm_up(bars)
    fewer = dict.fromkeys(heavy, size.heavy_rounds)
    turns: dict[str, Turn[Any]] = take_turns({**ours, **theirs, **heavy}, size.rounds, fewer)
    seen = {name: len(few if name == _BACKTRADER else bars) for name in turns}
    timed = [
        Timed(name, seen[name], turn.cpu, turn.wall, turn.peak, _fills_of(turn.outcome)) for name, turn in turns.items()
    ]
    rate = {name: seen[name] / turn.cpu for name, turn in turns.items()}
    return Found(_reference_rows(rate, _checks(bars, few, feed, turns)), timed)


def _warm_up(bars: Bars) -> None:
    """Run everything that compiles once, over a few bars: what a machine does once is not what is measured."""
    from benchmarks import peers

    few = bars[:20_000]
    feed = MemoryFeed(few)
    for strategy in (SmaCross, SmaCrossTargets):
        run_ours(feed, strategy, with_sqlite=True)
    for engine in ("rust", "numba"):
        peers.run_vectorbt(few, engine, None)


def _fills_of(outcome: Any) -> int:
    return outcome.fills if isinstance(outcome, OurRun) else len(outcome.trades)


@dataclass(frozen=True)
class _Same:
    """Whose fills came out equal to ours."""

    ours: bool
    backtesting: bool
    vectorbt: bool
    backtrader: bool


def _checks(bars: Bars, few: Bars, feed: MemoryFeed, turns: dict[str, Turn[Any]]) -> _Same:
    """Compare our paths with each other, and with every peer at one unit."""
    from benchmarks import peers

    found = {name: turn.outcome for name, turn in turns.items()}
    runs = [found[name] for name in (_JOURNALLED, _BARE, _TARGETS_JOURNALLED, _TARGETS)]
    runs += [
        run_ours(feed, SmaCross, mode="step")[0],
        run_ours(feed, SmaCross, compile_from=NEVER)[0],
        run_ours(feed, SmaCrossTargets, mode="step")[0],
        run_ours(feed, SmaCrossTargets, compile_from=NEVER)[0],
    ]
    count = runs[0].fills
    is_written = all(found[name].rows > 4 * count for name in (_JOURNALLED, _TARGETS_JOURNALLED))
    one_unit = [peers.run_vectorbt(bars, engine, None, size=1.0, cash=float(AMPLE))[0] for engine in ("rust", "numba")]
    all_in = [outcome for name, outcome in found.items() if name.startswith("vectorbt")]
    return _Same(
        ours=len({run.fills_hash for run in runs}) == 1 and is_written,
        backtesting=_agree(found[_ONE_UNIT], bars, found[_BACKTESTING])
        and len(found[_BACKTESTING_WHOLE].trades) == count,
        vectorbt=all(len(run.trades) == count for run in all_in)
        and all(_agree(found[_ONE_UNIT], bars, run) for run in one_unit),
        backtrader=_agree(run_ours(MemoryFeed(few), OneUnit, cash=AMPLE)[0], few, found[_BACKTRADER]),
    )


def _agree(ours: OurRun, bars: Bars, peer: Any) -> bool:
    """Return whether bar, side and price of every fill are the same, and the final equity to one part in 10^9."""
    is_near = abs(peer.final_equity - ours.final_equity) <= 1e-9 * abs(ours.final_equity)
    return bool(ours.fills and peer.trades == trades_of(ours, bars) and is_near)


_BY_HASH = "hash of our fills: stepping = jumping = compiled = in bulk, journal on = off; journal's rows counted"
_BY_UNIT = "bar, side and price of every fill at one unit, and the final equity to 1e-9"


def _reference_rows(rate: dict[str, float], same: _Same) -> list[Row]:
    no_statistics = "÷ backtesting.py without its statistics"
    rows = [
        _rate("per-bar strategy, journal on", rate[_JOURNALLED], 1.2e6, "≥ 1.2 M bars/s", same.ours),
        _ratio(f"per-bar, journal on {no_statistics}", rate, _JOURNALLED, _BACKTESTING, 6.0, same.backtesting),
        _ratio("per-bar, journal on ÷ backtesting.py", rate, _JOURNALLED, _BACKTESTING_WHOLE, None, same.backtesting),
        _rate("per-bar strategy, journal off", rate[_BARE], None, None, same.ours),
        _ratio(
            f"per-bar, one unit, journal off {no_statistics}", rate, _ONE_UNIT, _BACKTESTING, None, same.backtesting
        ),
        _ratio("per-bar, one unit, journal off ÷ backtrader", rate, _ONE_UNIT, _BACKTRADER, None, same.backtrader),
        _rate("target-driven strategy, journal on", rate[_TARGETS_JOURNALLED], 5e6, "≥ 5 M bars/s", same.ours),
    ]
    for engine in ("rust", "numba"):
        for what, words in (("signals given", "its signals given"), ("with signals", "its signals computed")):
            least = 1.0 if (engine, what) == ("rust", "signals given") else None
            work = f"target-driven, signals computed, journal off ÷ vectorbt {engine}, {words}"
            rows.append(_ratio(work, rate, _TARGETS, f"vectorbt {engine}, {what}", least, same.ours and same.vectorbt))
    return rows


def _rate(work: str, ours: float, least: float | None, target: str | None, equal: bool) -> Row:
    return Row(work, ours, None, None, target, equal, "bars/s", None if least is None else ours >= least, _BY_HASH)


def _ratio(work: str, rate: dict[str, float], ours: str, peer: str, least: float | None, equal: bool) -> Row:
    ratio = rate[ours] / rate[peer]
    target, is_met = (None, None) if least is None else (f"ratio ≥ {least:g}", ratio >= least)
    return Row(work, rate[ours], rate[peer], ratio, target, equal, "bars/s", is_met, _BY_UNIT)


# ── trades, journal, panel ──────────────────────────────────────────────────────────────────────────────────────────

_FIRST = 2
"""Trades of the run that the others are compared with: what the first one costs is paid once a run."""

_RESOLUTION = 5e-4
"""Seconds. A cost that comes to less in all is not told from noise, and not compared."""


def trades(size: Size) -> Found:
    """What one more trade costs as their number grows: the same bars, with more or fewer trades at consecutive bars."""
    feed = MemoryFeed(reference_bars(size.trade_bars))
    one_by_one = _cost_of_trades(feed, size, SomeTrades, "orders dealt with one by one", size.rounds)
    in_bulk = _cost_of_trades(feed, size, SomeTargets, "targets dealt with in bulk", 5 * size.rounds)
    return Found([one_by_one, in_bulk])


def _cost_of_trades(feed: MemoryFeed, size: Size, kind: type[Strategy], words: str, rounds: int) -> Row:
    counts = (_FIRST, *size.trades)
    contenders: dict[str, Any] = {str(n): partial(run_ours, feed, partial(kind, trades=n)) for n in counts}
    take_turns(contenders, 1)
    turns: dict[str, Turn[OurRun]] = take_turns(contenders, rounds)
    extra = {n: turns[str(n)].cpu - turns[str(_FIRST)].cpu for n in size.trades}
    cost = {n: 1e6 * extra[n] / (n - _FIRST) for n in size.trades}
    last = size.trades[-1]
    first = next((n for n in size.trades if extra[n] >= _RESOLUTION), last)
    ratio = cost[last] / cost[first]
    check = "as many fills as trades; µs a trade: " + ", ".join(f"{n:,}: {cost[n]:.2f}" for n in size.trades)
    equal = all(turns[str(n)].outcome.fills == n for n in size.trades)
    work = f"cost of a trade, {last:,} ÷ {first:,} trades, {words}"
    return Row(work, cost[last], cost[first], ratio, "ratio 0.8 … 1.2", equal, "µs", 0.8 <= ratio <= 1.2, check)


def journal(size: Size) -> Found:
    """The rows of the reference run, as the loop hands them over, into a new SQLite file."""
    caught = Catcher()
    engine_of(MemoryFeed(reference_bars(size.bars)), SmaCross(), journal=caught).run()
    count = sum(map(len, caught.batches))
    (turn,) = take_turns({"journal": partial(write_batches, caught)}, size.rounds).values()
    rate, equal = count / turn.cpu, turn.outcome == count
    check = f"{count:,} rows read back, every fill with its decision"
    return Found(
        [Row("journal into SQLite", rate, None, None, "≥ 200,000 rows/s", equal, "rows/s", rate >= 2e5, check)]
    )


def panel(size: Size) -> Found:
    """Many symbols at once through on_slice: a strategy that looks on, and one that ranks and trades."""
    bars = panel_bars(size.symbols, size.instants)
    feed, cut = MemoryFeed(bars), MemoryFeed(bars, chunk_rows=7 * size.symbols)
    strategies: dict[str, type[Strategy]] = {"looking on": LooksOn, "TopKDropout": TopKDropout}
    contenders: dict[str, Any] = {name: partial(run_ours, feed, kind) for name, kind in strategies.items()}
    take_turns(contenders, 1)
    turns: dict[str, Turn[OurRun]] = take_turns(contenders, size.rounds)
    rows, timed = [], []
    for name, kind in strategies.items():
        turn = turns[name]
        rate, count = len(bars) / turn.cpu, turn.outcome.fills
        equal = run_ours(cut, kind)[0].fills_hash == turn.outcome.fills_hash
        work = f"{size.symbols} symbols × {size.instants:,} bars through on_slice, {name}"
        check = f"hash of {count:,} fills: whole = in chunks of seven instants"
        target, unit = "≥ 2 M symbol-bars/s", "symbol-bars/s"
        rows.append(Row(work, rate, None, None, target, equal, unit, rate >= 2e6, check))
        timed.append(Timed(f"panel, {name}", len(bars), turn.cpu, turn.wall, turn.peak, count))
    return Found(rows, timed)


# ── where the time goes ─────────────────────────────────────────────────────────────────────────────────────────────


def layers(size: Size) -> Found:
    """The reference run built up piece by piece: what each piece costs a bar."""
    feed = MemoryFeed(reference_bars(size.bars))
    contenders: dict[str, Any] = {
        "makes the bars and hands them to an empty on_bar": partial(run_ours, feed, OnlyBars),
        "has two declared lines grow along": partial(run_ours, feed, WithLines),
        "looks at them": partial(run_ours, feed, Comparing),
        "sets a target that does not change": partial(run_ours, feed, Unchanging),
        "trades (the reference, no journal)": partial(run_ours, feed, SmaCross),
        "makes journal rows, and drops them": partial(_run_into, feed, Catcher),
        "writes them to SQLite (the reference)": partial(run_ours, feed, SmaCross, with_sqlite=True),
    }
    take_turns(contenders, 1)
    turns: dict[str, Turn[OurRun]] = take_turns(contenders, size.rounds)
    costs = [1e6 * turn.cpu / size.bars for turn in turns.values()]
    more = [cost - before for cost, before in zip(costs, [0.0, *costs], strict=False)]
    return Found(layers=[Layer(*layer) for layer in zip(turns, costs, more, strict=True)])


def _run_into(feed: MemoryFeed, journal: Callable[[], Journal]) -> tuple[OurRun, float, float]:
    return run_ours(feed, SmaCross, journal=journal())


# ── more than memory should hold ────────────────────────────────────────────────────────────────────────────────────


def stream(size: Size) -> Found:
    """A long run streamed from a Parquet catalog, in a process of its own so that its peak memory is its own."""
    from benchmarks.streaming import in_own_process

    with Stopwatch() as watch:
        streamed, in_memory = in_own_process(size.stream_bars)
    rate, peak = streamed["bars"] / streamed["cpu"], streamed["peak"]
    equal = streamed["hash"] == in_memory["hash"] and streamed["bars"] == size.stream_bars and streamed["fills"] > 0
    check = f"hash of {streamed['fills']:,} fills: streamed = target-driven in memory; {watch.wall:.0f} s for all of it"
    timed = [
        Timed(f"{name}, whole process", done["bars"], done["cpu"], done["wall"], done["peak"], done["fills"])
        for name, done in (("streamed per bar", streamed), ("the same, target-driven in memory", in_memory))
    ]
    work = f"{size.stream_bars:,} bars streamed from the catalog, per-bar strategy"
    rows = [
        Row(f"{work}, peak memory", peak, None, None, "< 1,500 MB", equal, "MB", peak < 1500, check),
        Row(f"{work}, speed", rate, None, None, None, equal, "bars/s", None, check),
    ]
    return Found(rows, timed)


WORKS: dict[str, Work] = {
    "reference": reference,
    "trades": trades,
    "journal": journal,
    "panel": panel,
    "layers": layers,
    "stream": stream,
}
SLOW: Sequence[str] = ("stream",)
"""Left out of a quick run."""
