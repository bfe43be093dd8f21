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
    LooksOn,
    OneUnit,
    OurRun,
    SomeTargets,
    SomeTrades,
    engine_of,
    run_ours,
    trades_of,
    write_batches,
)
from benchmarks.rows import Row, Timed
from engine import Bars, Strategy
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
        trades: the counts whose cost is compared, ascending; trade_bars: over how many bars they are made.
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


QUICK = Size(bars=100_000, backtrader_bars=10_000, instants=200, trades=(1_000, 5_000), trade_bars=20_000, rounds=3, heavy_rounds=1)

Found = tuple[list[Row], list[Timed]]


# ── the reference ───────────────────────────────────────────────────────────────────────────────────────────────────


def reference(size: Size) -> Found:
    """One symbol, averages of 20 and 50 closes, in and out at market: our paths and the peers in turns."""
    from benchmarks import peers  # deferred: takes seconds

    bars = reference_bars(size.bars)
    feed, prepared, frame = MemoryFeed(bars), peers.signals(bars), peers.frame_of(bars)
    few = bars[: size.backtrader_bars]
    ours: dict[str, Any] = {
        "per bar, SQLite journal": partial(run_ours, feed, SmaCross, with_sqlite=True),
        "per bar, no journal": partial(run_ours, feed, SmaCross),
        "per bar, no journal, buying and selling one unit": partial(run_ours, feed, OneUnit, cash=AMPLE),
        "targets, SQLite journal": partial(run_ours, feed, SmaCrossTargets, with_sqlite=True),
        "targets, no journal": partial(run_ours, feed, SmaCrossTargets),
    }
    theirs: dict[str, Any] = {
        f"vectorbt {engine}, {what}": partial(peers.run_vectorbt, bars, engine, given)
        for engine in ("rust", "numba") for what, given in (("signals given", prepared), ("with signals", None))
    }
    heavy: dict[str, Any] = {
        "backtesting.py": partial(peers.run_backtesting_py, frame),
        "backtesting.py, with statistics": partial(peers.run_backtesting_py, frame, with_statistics=True),
        f"backtrader, {len(few):,} bars": partial(peers.run_backtrader, peers.frame_of(few)),
    }
    _warm_up(bars)
    turns: dict[str, Turn[Any]] = take_turns({**ours, **theirs, **heavy}, size.rounds, dict.fromkeys(heavy, size.heavy_rounds))
    same = _checks(bars, few, feed, turns, size)
    rate = {name: _bars_of(turn, name, size) / turn.cpu for name, turn in turns.items()}
    timed = [
        Timed(name, _bars_of(turn, name, size), turn.cpu, turn.wall, turn.peak, _fills_of(turn.outcome)) for name, turn in turns.items()
    ]
    return _reference_rows(rate, same, size), timed


def _warm_up(bars: Bars) -> None:
    """Run everything that compiles once, over a few bars: what a machine does once is not what is measured."""
    from benchmarks import peers

    few = bars[:20_000]
    feed = MemoryFeed(few)
    for strategy in (SmaCross, SmaCrossTargets):
        run_ours(feed, strategy, with_sqlite=True)
    for engine in ("rust", "numba"):
        peers.run_vectorbt(few, engine, None)


@dataclass(frozen=True)
class _Same:
    """Which fills came out equal to which."""

    ours: bool
    backtesting: bool
    vectorbt: bool
    backtrader: bool


def _checks(bars: Bars, few: Bars, feed: MemoryFeed, turns: dict[str, Turn[Any]], size: Size) -> _Same:
    """Compare our paths with each other, and with every peer at one unit: bar, side and price of every fill, and the end."""
    from benchmarks import peers

    stepped = {
        "step": run_ours(feed, SmaCross, mode="step")[0],
        "one by one": run_ours(feed, SmaCross, compile_from=NEVER)[0],
        "jump": run_ours(feed, SmaCrossTargets, compile_from=NEVER)[0],
        "step targets": run_ours(feed, SmaCrossTargets, mode="step")[0],
    }
    paths = [turn.outcome for name, turn in turns.items() if isinstance(turn.outcome, OurRun) and "one unit" not in name]
    hashes = {run.fills_hash for run in [*paths, *stepped.values()]}
    journalled = [turn.outcome.rows for name, turn in turns.items() if "SQLite" in name]
    one = turns["per bar, no journal, buying and selling one unit"].outcome
    some = run_ours(MemoryFeed(few), OneUnit, cash=AMPLE)[0]
    backtrader = turns[f"backtrader, {len(few):,} bars"].outcome
    counted = all(len(turn.outcome.trades) == paths[0].fills for name, turn in turns.items() if name.startswith("vectorbt"))
    vectorbt = [
        peers.run_vectorbt(bars, engine, None, size=1.0, cash=float(AMPLE))[0] for engine in ("rust", "numba")
    ]
    return _Same(
        ours=len(hashes) == 1 and min(journalled) > 4 * paths[0].fills,
        backtesting=_agree(one, bars, turns["backtesting.py"].outcome),
        vectorbt=counted and all(_agree(one, bars, run) for run in vectorbt),
        backtrader=_agree(some, few, backtrader),
    )


def _agree(ours: OurRun, bars: Bars, peer: Any) -> bool:
    """Return whether bar, side and price of every fill are the same, and the final equity to one part in 10^9."""
    is_near = abs(peer.final_equity - ours.final_equity) <= 1e-9 * abs(ours.final_equity)
    return bool(peer.trades == trades_of(ours, bars) and is_near)


def _bars_of(turn: Turn[Any], name: str, size: Size) -> int:
    return size.backtrader_bars if name.startswith("backtrader") else size.bars


def _fills_of(outcome: Any) -> int:
    return outcome.fills if isinstance(outcome, OurRun) else len(outcome.trades)


def _reference_rows(rate: dict[str, float], same: _Same, size: Size) -> list[Row]:
    journalled, bare = rate["per bar, SQLite journal"], rate["per bar, no journal"]
    targets, targets_bare = rate["targets, SQLite journal"], rate["targets, no journal"]
    one = rate["per bar, no journal, buying and selling one unit"]
    backtesting, full = rate["backtesting.py"], rate["backtesting.py, with statistics"]
    hashes = "hash of our fills: stepping = jumping = compiled = in bulk, journal on = off; rows read back"
    to_the_unit = "bar, side and price of every fill at one unit, final equity to 1e-9"

    def row(work: str, ours: float, peer: float | None, target: str | None, least: float, equal: bool, check: str) -> Row:
        """Make a row whose target is a rate where there is no peer, else a ratio."""
        ratio = None if peer is None else ours / peer
        is_met = None if target is None else (ours if ratio is None else ratio) >= least
        return Row(work, ours, peer, ratio, target, equal, "bars/s", is_met, check)

    rows = [
        row("per-bar strategy, journal on", journalled, None, "≥ 1.2 M bars/s", 1.2e6, same.ours, hashes),
        row("per-bar strategy, journal on ÷ backtesting.py without its statistics", journalled, backtesting, "≥ 6", 6, same.backtesting, to_the_unit),
        row("per-bar strategy, journal on ÷ backtesting.py whole", journalled, full, None, 0, same.backtesting, to_the_unit),
        row("per-bar strategy, journal off", bare, None, None, 0, same.ours, hashes),
        row("per-bar strategy, one unit, journal off ÷ backtesting.py without its statistics", one, backtesting, None, 0, same.backtesting, to_the_unit),
        row("per-bar strategy, one unit, journal off ÷ backtrader", one, rate[f"backtrader, {size.backtrader_bars:,} bars"], None, 0, same.backtrader, to_the_unit),
        row("target-driven strategy, journal on", targets, None, "≥ 5 M bars/s", 5e6, same.ours, hashes),
    ]
    for engine in ("rust", "numba"):
        for what in ("signals given", "with signals"):
            peer = rate[f"vectorbt {engine}, {what}"]
            target = "≥ 1" if (engine, what) == ("rust", "signals given") else None
            work = f"target-driven strategy, its averages included, journal off ÷ vectorbt {engine}, {what}"
            rows.append(row(work, targets_bare, peer, target, 1, same.ours and same.vectorbt, f"count; {to_the_unit}"))
    return rows


# ── trades, journal, panel ──────────────────────────────────────────────────────────────────────────────────────────


_FIRST = 2
"""Trades of the run that the others are compared with: what the first one costs is paid once a run."""


def trades(size: Size) -> Found:
    """What one more trade costs as their number grows: the same bars, more or fewer trades, all of them at consecutive bars."""
    feed = MemoryFeed(reference_bars(size.trade_bars))
    rows = []
    for kind, words, rounds in (
        (SomeTrades, "orders dealt with one by one", size.rounds), (SomeTargets, "targets dealt with in bulk", 5 * size.rounds),
    ):
        counts = (_FIRST, *size.trades)
        contenders: dict[str, Any] = {str(count): partial(run_ours, feed, partial(kind, trades=count)) for count in counts}
        take_turns(contenders, 1)
        turns: dict[str, Turn[OurRun]] = take_turns(contenders, rounds)
        begun = turns[str(_FIRST)].cpu
        cost = {count: 1e6 * (turns[str(count)].cpu - begun) / (count - _FIRST) for count in size.trades}
        first, last = size.trades[0], size.trades[-1]
        ratio = cost[last] / cost[first]
        rows.append(Row(
            f"cost of a trade, {last:,} ÷ {first:,} trades, {words}", cost[last], cost[first], ratio, "0.8 … 1.2",
            all(turns[str(count)].outcome.fills == count for count in size.trades), "µs a trade", 0.8 <= ratio <= 1.2,
            f"as many fills as trades; µs by count, beyond the first {_FIRST}: " + ", ".join(f"{count:,}: {cost[count]:.2f}" for count in size.trades),
        ))
    return rows, []


def journal(size: Size) -> Found:
    """The rows of the reference run, as the loop hands them over, into a new SQLite file."""
    caught = Catcher()
    engine_of(MemoryFeed(reference_bars(size.bars)), SmaCross(), journal=caught).run()
    count = sum(map(len, caught.batches))
    (turn,) = take_turns({"journal": partial(write_batches, caught)}, size.rounds).values()
    rate = count / turn.cpu
    check = f"{count:,} rows read back, every fill with its decision"
    return [Row("journal into SQLite", rate, None, None, "≥ 200,000 rows/s", turn.outcome == count, "rows/s", rate >= 2e5, check)], []


def panel(size: Size) -> Found:
    """Many symbols at once through on_slice: a strategy that looks on, and one that ranks and trades."""
    bars = panel_bars(size.symbols, size.instants)
    feed, cut = MemoryFeed(bars), MemoryFeed(bars, chunk_rows=7 * size.symbols)
    strategies: tuple[type[Strategy], ...] = (LooksOn, TopKDropout)
    contenders: dict[str, Any] = {kind.__name__: partial(run_ours, feed, kind) for kind in strategies}
    take_turns(contenders, 1)
    turns: dict[str, Turn[OurRun]] = take_turns(contenders, size.rounds)
    rows, timed = [], []
    for kind in strategies:
        turn = turns[kind.__name__]
        rate = len(bars) / turn.cpu
        pieces = run_ours(cut, kind)[0]
        rows.append(Row(
            f"{size.symbols} symbols × {size.instants:,} bars through on_slice, {kind.__name__}", rate, None, None,
            "≥ 2 M symbol-bars/s", pieces.fills_hash == turn.outcome.fills_hash, "symbol-bars/s", rate >= 2e6,
            f"hash of {turn.outcome.fills:,} fills: whole = in chunks of seven instants",
        ))
        timed.append(Timed(f"panel, {kind.__name__}", len(bars), turn.cpu, turn.wall, turn.peak, turn.outcome.fills))
    return rows, timed


# ── more than memory should hold ────────────────────────────────────────────────────────────────────────────────────


def stream(size: Size) -> Found:
    """A long run streamed from a Parquet catalog, in a process of its own so that its peak memory is its own."""
    from benchmarks.streaming import in_own_process

    with Stopwatch() as watch:
        streamed, in_memory = in_own_process(size.stream_bars)
    rate = streamed["bars"] / streamed["cpu"]
    equal = streamed["hash"] == in_memory["hash"] and streamed["bars"] == size.stream_bars and streamed["fills"] > 0
    check = f"hash of {streamed['fills']:,} fills: streamed = target-driven in memory"
    peak = streamed["peak"]
    timed = [
        Timed(f"{name}, whole process", done["bars"], done["cpu"], done["wall"], done["peak"], done["fills"])
        for name, done in (("streamed per bar", streamed), ("target-driven in memory", in_memory))
    ]
    word = f"{size.stream_bars:,} bars from the Parquet catalog, per-bar strategy"
    return [
        Row(f"{word}, peak memory", peak, None, None, "< 1,500 MB", equal, "MB", peak < 1500, check),
        Row(f"{word}, speed", rate, None, None, None, equal, "bars/s", None, f"{check}; all of it took {watch.wall:.0f} s"),
    ], timed


WORKS: dict[str, Callable[[Size], Found]] = {
    "reference": reference, "trades": trades, "journal": journal, "panel": panel, "stream": stream,
}
SLOW: Sequence[str] = ("stream",)
"""Left out of a quick run."""
