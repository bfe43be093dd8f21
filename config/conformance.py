"""`check`: finds a strategy, a market that suits it, and puts it through the conformance kit."""

import ast
import atexit
import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.text import Text

from brokers.simulated import simulated_broker
from config.assembly import check_symbols, make_portfolio
from config.costs import make_fees, make_latency, make_slippage
from config.data import known_increments, make_feed, survey
from config.forecasts import make_forecasters, make_policies
from config.settings import ROOT, Settings, load_settings, settings_from
from config.terminal import table
from engine.analysis.formatting import NOTHING
from engine.bars import Bars, Timeframe, iso
from engine.conformance import ConformanceReport, Subject, observe, run_checks
from engine.conformance.observing import Observation
from engine.conformance.processes import in_copy
from engine.errors import EngineError, PluginError
from engine.forecasting.book import ForecastTerms
from engine.forecasting.store import ForecastStore
from engine.interfaces import Feed
from engine.loop import Parts
from engine.risk import headroom
from engine.strategy import Strategy, overrides
from feeds.chunks import join
from strategies.registry import find

MOST_INSTANTS = 2000
"""A hundred runs and more are made: the rest of a longer market is left out."""

_SEED = 7
_TRIAL = 400
_SYMBOLS = (1, 2, 5, 15)
"""How many symbols a made-up market may have."""

_COLOURS = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


@dataclass(frozen=True)
class Asked:
    """What is to be checked: everything that another process needs to do the same.

    Args:
        strategy: a name, `module:Class`, or a file; folders: where to look for names.
        config: the settings of the run; None for a made-up market that suits the strategy.
    """

    strategy: str
    folders: tuple[str, ...] = ()
    config: str | None = None
    market: Mapping[str, Any] | None = None


def check(
    strategy: str, config: Path | None = None, folders: Sequence[Path] = (),
    told: Callable[[str], None] | None = None,
) -> ConformanceReport:
    """Check a strategy.

    Args:
        strategy: a name, `module:Class`, or a file such as my_strategies/cross.py (with :Class if it holds several).
        config: settings that say on which market, with which costs and parameters; a made-up market if None.
        told: told of each check as it begins.
    Raises:
        PluginError: the strategy cannot be found, or starts on no market.
        SettingsError, DataError: the config does not fit.
    """
    return run_checks(subject_for(asked_for(strategy, config, folders)), told=told)


def asked_for(strategy: str, config: Path | None = None, folders: Sequence[Path] = ()) -> Asked:
    """Return what is to be checked, a file named as a name in its folder."""
    places = [str(folder.resolve()) for folder in folders]
    file, _, kind = strategy.partition(":")
    if file.endswith(".py"):
        path = Path(file).resolve()
        if not path.is_file():
            raise PluginError(f"strategy file {file} does not exist; expected a name, module:Class, or a file")
        places.append(str(path.parent))
        strategy = kind or path.stem
    return Asked(strategy, tuple(dict.fromkeys(places)), str(config.resolve()) if config else None)


def subject_for(asked: Asked) -> Subject:
    """Return the strategy with its market."""
    if asked.config is not None:
        settings = load_settings(Path(asked.config))
        folders = [*map(str, settings.strategy.folders), *asked.folders]
        kind = find(asked.strategy, folders)
        is_same = find(settings.strategy.name, folders) is kind
        parameters = settings.strategy.parameters if is_same else {}
        market = f"{Path(asked.config).name}"
        return _subject(asked, settings, lambda: kind(**parameters), market)
    kind = find(asked.strategy, asked.folders)
    tables = dict(asked.market or _suited(kind))
    settings = settings_from(_with_strategy(tables), folder=ROOT, origin="the made-up market")
    symbols = len(tables["data"]["symbols"])
    frames = " and ".join([tables["data"]["timeframe"], *tables["data"].get("resample", ())])
    market = f"a made-up market, seed {_SEED}, {symbols} symbol{'s' if symbols > 1 else ''}, {frames}"
    return _subject(replace(asked, market=tables), settings, kind, market)


def _subject(asked: Asked, settings: Settings, make: Callable[[], Strategy], market: str) -> Subject:
    feed = make_feed(settings)
    check_symbols(settings, feed)
    seen = survey(feed, known=known_increments(settings, feed))
    bars = _first(feed, MOST_INSTANTS)
    fees, slippage = make_fees(settings.costs), make_slippage(settings.costs)
    switches = settings.fills.switches(settings.run.seed)
    forecasters, policies = make_forecasters(settings, feed.streams[0].timeframe), make_policies(settings)
    if forecasters and "torch" in sys.modules:
        from models.devices import use_one_thread

        use_one_thread()  # runs happen in forks, which cannot use the threads of their parent
    # One store for all runs, opened in each: a model is asked once for what they share.
    kept = Path(tempfile.mkdtemp(prefix="barcast-check-")) if forecasters else None
    if kept is not None:
        atexit.register(shutil.rmtree, kept, ignore_errors=True)

    def terms() -> ForecastTerms:
        store = ForecastStore(kept / "forecasts.db") if kept is not None else None
        return ForecastTerms(settings.run.seed, store, is_ahead=False)  # no thread: see above

    def parts(probe: Feed, strategy: Strategy) -> Parts:
        portfolio = make_portfolio(settings, probe, seen.price_increments)
        return Parts(
            probe, strategy, simulated_broker(portfolio, switches, fees=fees, slippage=slippage), portfolio,
            latency=make_latency(settings.costs, settings.run.seed),
            headroom=min(headroom(fees, slippage, symbol) for symbol in portfolio.instruments),
            checks_brackets=switches.checks_brackets, forecasters=forecasters, forecast_terms=terms(),
            policies=policies,
        )

    instants = len(np.unique(bars.close_time))
    cut = f" (the first of {feed.row_count:,} bars)" if feed.row_count and feed.row_count > len(bars) else ""
    words = f"{market}: {instants:,} instants, {len(bars):,} bars{cut}"
    return Subject(make, bars, parts, words, lambda seed: _digest_elsewhere(asked, seed))


def _first(feed: Feed, instants: int) -> Bars:
    """Return the bars of the first so many instants."""
    chunks: list[Bars] = []
    seen: set[int] = set()
    for chunk in feed.chunks():
        chunks.append(chunk)
        seen.update(np.unique(chunk.close_time).tolist())
        if len(seen) >= instants:
            break
    if not chunks:
        raise PluginError("the market has no bars; give a config with some")
    bars = join(chunks)
    last = sorted(seen)[min(len(seen), instants) - 1]
    return bars[: int(np.searchsorted(bars.close_time, last, side="right"))]


# ── a market that suits ─────────────────────────────────────────────────────────────────────────────────────────────


def _suited(kind: type[Strategy]) -> dict[str, Any]:
    """Return settings of a made-up market on which the strategy starts and decides."""
    frames = _timeframes(kind)
    fitting: list[tuple[int, int, dict[str, Any]]] = []
    faults: list[str] = []
    probe = kind()
    counts = (1,) if overrides(probe, "targets") else _SYMBOLS
    for count in counts:
        tables = _tables(frames, count, _TRIAL)
        settings = settings_from(_with_strategy(tables), folder=ROOT, origin="the made-up market")
        subject = _subject(Asked(kind.__name__), settings, kind, "a trial")
        trace = in_copy(lambda subject=subject: observe(subject, Observation()))  # type: ignore[misc]
        if trace.fault is not None:
            faults.append(f"{count} symbols: {trace.fault.text}")
            continue
        fitting.append((len(trace.decisions), count, tables))
        if trace.decisions and not overrides(probe, "on_slice"):
            break
    if not fitting:
        raise PluginError(
            f"{kind.__name__} starts on no made-up market ({'; '.join(faults)}); give a config whose market suits it"
        )
    decisions, count, _ = max(fitting, key=lambda one: (one[0] > 0, one[0], -one[1]))
    del decisions
    return _tables(frames, count, MOST_INSTANTS if count <= 2 else MOST_INSTANTS // 4)


def _tables(frames: Sequence[str], count: int, bars: int) -> dict[str, Any]:
    data: dict[str, Any] = {
        "source": "synthetic", "symbols": [f"SYN{place}/USDT" for place in range(1, count + 1)],
        "timeframe": frames[0], "bars": bars, "seed": _SEED, "volatility": 0.8, "correlation": 0.6,
    }
    if len(frames) > 1:
        data["resample"] = list(frames[1:])
    return {"data": data, "account": {"cash": {"USDT": 1_000_000}, "allow_short": True}, "journal": {"enabled": False}}


def _with_strategy(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {**tables, "strategy": {"name": "checked"}}


def _timeframes(kind: type[Strategy]) -> list[str]:
    """Return the timeframes that the strategy's file names, shortest first; an hour where it names none."""
    try:
        tree = ast.parse(inspect.getsource(inspect.getmodule(kind) or kind))
    except (OSError, TypeError, SyntaxError):
        return ["1h"]
    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "timeframe":
            named |= _texts(node.value)
        elif isinstance(node, ast.Compare) and any(
            isinstance(one, ast.Attribute) and one.attr == "timeframe" for one in (node.left, *node.comparators)
        ):
            named |= {text for one in (node.left, *node.comparators) for text in _texts(one)}
    frames = []
    for text in named:
        try:
            frames.append(Timeframe.parse(text))
        except EngineError:
            continue
    base = min(frames, default=Timeframe.parse("1h"))
    longer = sorted(frame for frame in frames if frame > base and frame.duration % base.duration == 0)
    return [base.name, *(frame.name for frame in longer)]


def _texts(node: ast.AST) -> set[str]:
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


# ── in another process ──────────────────────────────────────────────────────────────────────────────────────────────


def _digest_elsewhere(asked: Asked, seed: int) -> str:
    """Return the digest of a run in a new process with that PYTHONHASHSEED."""
    paths = os.pathsep.join(dict.fromkeys([str(ROOT), *(path or str(Path.cwd()) for path in sys.path)]))
    told = json.dumps({
        "strategy": asked.strategy, "folders": asked.folders, "config": asked.config, "market": asked.market,
    })
    done = subprocess.run(
        [sys.executable, "-m", "config.conformance"], input=told, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": paths},
    )
    if done.returncode:
        raise PluginError(f"{asked.strategy} does not run in a new process: {done.stderr.strip()[-600:]}")
    return done.stdout.split()[-1]


def digest_of(told: str) -> str:
    """Return the digest of a run; `told` is an `Asked` as JSON."""
    given = json.loads(told)
    asked = Asked(given["strategy"], tuple(given["folders"]), given["config"], given["market"])
    return in_copy(lambda: observe(subject_for(asked)).digest)


# ── on the screen ───────────────────────────────────────────────────────────────────────────────────────────────────


def shown(report: ConformanceReport) -> Group:
    """Return the report for the terminal: a table, then what is wrong and what is worth knowing."""
    made = table(("check", "", "what came out"), [])
    for result in report.results:
        made.add_row(result.check, Text(result.status, style=_COLOURS[result.status]), Text(result.summary))
    parts: list[Any] = [Text(f"{report.strategy} on {report.market}\n", style="bold"), made]
    for result in report.results:
        for finding in result.findings:
            when = iso(finding.instant) if finding.instant is not None else NOTHING
            parts.append(Text(f"\n{result.check}: {finding.where or 'the whole strategy'} ({when})", style="bold red"))
            parts.append(Text(f"  {finding.what}"))
        parts += [Text(f"\n{result.check}, note: {note}", style="yellow") for note in result.notes]
    verdict = "passed" if report.is_passed else "failed"
    parts.append(Text(f"\n{report.strategy} {verdict}", style=_COLOURS[verdict]))
    return Group(*parts)


if __name__ == "__main__":
    sys.stdout.write(f"{digest_of(sys.stdin.read())}\n")
