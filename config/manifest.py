"""The manifest of a run: all that it is a pure function of, for the journal."""

import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any

from config.data import Survey
from config.settings import ROOT, Settings, SyntheticData
from engine.analysis.assumptions import assumption_card
from engine.bars import iso
from engine.costs import FeeSchedule, Latency, Slippage
from engine.instruments import Instrument
from engine.interfaces import Feed
from engine.portfolio import Portfolio
from engine.records import RunStart
from engine.strategy import Strategy

LIBRARIES = ("numpy", "numba", "TA-Lib", "pandas", "pyarrow", "SQLAlchemy")
"""What a result may depend on beside our own code."""


def run_manifest(
    settings: Settings, strategy: Strategy, feed: Feed, seen: Survey, portfolio: Portfolio,
    switches: Mapping[str, Any], fees: FeeSchedule, slippage: Slippage, latency: Latency,
) -> RunStart:
    """Return everything that the run is a pure function of."""
    first, last = seen.first_open, seen.last_close
    gaps = getattr(feed, "gaps", ())
    data = {
        "source": settings.data.source,
        "streams": [{"symbol": stream.symbol, "timeframe": stream.timeframe} for stream in feed.streams],
        "rows": feed.row_count,
        "start": first,
        "end": last,
        "from_ns": first,
        "from": iso(first),
        "to": iso(last),
        "gap_policy": settings.data.gap_policy,
        "missing_bars": sum(gap.missing for gap in gaps),
        "is_synthetic": settings.data.source == "synthetic",
    }
    instruments = {symbol: _rules_of(instrument) for symbol, instrument in portfolio.instruments.items()}
    costs = {"fees": fees.card(), "slippage": slippage.card(), "latency": latency.card()}
    commit, is_dirty = code_version()
    return RunStart(
        kind="backtest",
        strategy=type(strategy).__name__,
        settings=settings.model_dump(mode="json"),
        assumptions=assumption_card(switches, costs, instruments, data),
        data_fingerprint=feed.fingerprint,
        data=data,
        instruments=instruments,
        code_version=commit,
        is_dirty=is_dirty,
        seeds=_seeds(settings),
        libraries=library_versions(),
        started_at=time.time_ns(),
    )


def _rules_of(instrument: Instrument) -> dict[str, str]:
    rules = {field.name: getattr(instrument, field.name) for field in fields(instrument) if field.init}
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in rules.items()}


def _seeds(settings: Settings) -> dict[str, int]:
    seed = settings.run.seed
    chosen = {"run": seed, "fills": settings.fills.seed, "latency": getattr(settings.costs.latency, "seed", None)}
    if isinstance(settings.data, SyntheticData):
        chosen["market"] = settings.data.seed
    return {name: seed if value is None else value for name, value in chosen.items()}


def code_version() -> tuple[str, bool | None]:
    """Return the commit of the checkout and whether anything in it differs from that; ("unknown", None) outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit, bool(_git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return "unknown", None


def _git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a result may depend on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in LIBRARIES}}
