"""The manifest of a run: all that it is a pure function of, for the journal."""

import functools
import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from decimal import Decimal
from typing import Any

from config.data import Survey
from config.settings import ROOT, Settings, SyntheticData
from config.sources import engine_sources, settings_files, strategy_sources
from engine.analysis.assumptions import assumption_card
from engine.bars import Stream, iso
from engine.costs import FeeSchedule, Latency, Slippage
from engine.instruments import Instrument
from engine.interfaces import Feed
from engine.journal.data_checks import MOST_ROW_CHECKS, ChecksBuilder, block_bars_for
from engine.portfolio import Portfolio
from engine.records import Batch, DataStreamRow, InputRow, RunStart
from engine.strategy import Strategy
from feeds.chunks import split
from feeds.fingerprints import digests_of

LIBRARIES = ("numpy", "numba", "TA-Lib", "pandas", "pyarrow", "SQLAlchemy")
"""What a result may depend on beside our own code."""


def run_manifest(
    settings: Settings, strategy: Strategy, feed: Feed, seen: Survey, portfolio: Portfolio,
    switches: Mapping[str, Any], fees: FeeSchedule, slippage: Slippage, latency: Latency,
    risk: Mapping[str, Any] | None = None, holding: Mapping[str, Any] | None = None,
    missing_funding: Sequence[str] = (),
) -> RunStart:
    """Return everything that the run is a pure function of.

    Args:
        risk: the risk gate's card.
        holding: of an account that is more than cash: its margin, funding, borrow and trading rules.
        missing_funding: payments that the history of funding lacks, in words.
    """
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
    if settings.data.prices is not None:
        data["prices"] = settings.data.prices
    instruments = {symbol: rules_of(instrument) for symbol, instrument in portfolio.instruments.items()}
    costs = {"fees": fees.card(), "slippage": slippage.card(), "latency": latency.card(), **(holding or {})}
    if settings.costs.calibrated_as:
        costs["calibrated"] = settings.costs.calibrated_as
    if missing_funding:
        data["missing_funding"] = list(missing_funding)
    commit, is_dirty = code_version()
    return RunStart(
        kind="backtest",
        strategy=type(strategy).__name__,
        settings=settings.model_dump(mode="json"),
        assumptions=assumption_card(
            switches, costs, instruments, data, risk=risk, filters_as_of=_filters_as_of(settings),
            account={"kind": settings.account.kind, "allow_short": settings.account.allow_short},
        ),
        data_fingerprint=feed.fingerprint,
        data=data,
        instruments=instruments,
        code_version=commit,
        is_dirty=is_dirty,
        seeds=seeds_of(settings),
        libraries=library_versions(),
        started_at=time.time_ns(),
    )


def run_inputs(
    settings: Settings, strategy: Strategy, feed: Feed, *, known: Callable[[str], DataStreamRow | None],
    rerun: Mapping[str, str] | None = None, models: Mapping[str, str] | None = None,
) -> Batch:
    """Return the rows that say what else the run is made of: source files, files that settings name, platform, the data
    stream by stream.

    Args:
        known: the stream of a digest whose checks the journal has already, None if it has not: those are not taken
            again, which is all the time that this costs (10 ms a million bars).
        rerun: what the run says of the one that it reruns. models: the hash of each model, by name.
    """
    inputs = [
        *(("source", name, digest) for name, digest in engine_sources().items()),
        *(("strategy", name, digest) for name, digest in strategy_sources(type(strategy)).items()),
        *(("file", name, digest) for name, digest in settings_files(settings).items()),
        *(("model", name, digest) for name, digest in (models or {}).items()),
        *(("platform", name, value) for name, value in platform_facts().items()),
        *(("rerun", name, value) for name, value in (rerun or {}).items()),
    ]
    return Batch(
        inputs=[InputRow(number, *row) for number, row in enumerate(inputs, 1)],
        data_streams=list(data_rows(feed, known)) if feed.row_count is not None else [],
    )


def data_rows(feed: Feed, known: Callable[[str], DataStreamRow | None]) -> list[DataStreamRow]:
    """Return what finds a difference in the data later, stream by stream."""
    digests = digests_of(feed)
    found = {stream: known(digests[stream]) for stream in feed.streams}
    missing = [stream for stream, row in found.items() if row is None]
    made = _checks_taken(feed, missing, digests) if missing else {}
    rows = []
    for number, stream in enumerate(feed.streams, 1):
        row = found[stream]
        # What an earlier run has is pointed at by its digest.
        row = made[stream] if row is None else row._replace(blocks=None, row_checks=None)
        rows.append(row._replace(id=number, symbol=stream.symbol, timeframe=stream.timeframe))
    return rows


def _checks_taken(
    feed: Feed, streams: list[Stream], digests: Mapping[Stream, str]
) -> dict[Stream, DataStreamRow]:
    """Read the feed once, for the checks of some of its streams."""
    total = feed.row_count or 0
    size = block_bars_for(total // len(feed.streams))
    builders = {stream: ChecksBuilder(size, with_rows=total <= MOST_ROW_CHECKS) for stream in streams}
    spans: dict[Stream, tuple[int, int]] = {}
    for chunk in feed.chunks():
        for place, rows in split(chunk):
            stream = chunk.streams[place]
            if stream in builders:
                builders[stream].update(rows)
                first = spans[stream][0] if stream in spans else int(rows.open_time[0])
                spans[stream] = (first, int(rows.close_time[-1]))
    made = {}
    for stream, builder in builders.items():
        checks = builder.checks()
        made[stream] = DataStreamRow(
            0, *stream, checks.bars, *spans.get(stream, (0, 0)), digests[stream], checks.block_bars,
            checks.blocks_as_bytes(), checks.row_checks_as_bytes(),
        )
    return made


def platform_facts() -> dict[str, str]:
    """Return what of the machine may show in the last digits of a result."""
    return {"machine": platform.machine(), "system": platform.system()}


def rules_of(instrument: Instrument) -> dict[str, str]:
    """Return an instrument's increments and minimums as text, for the manifest and the assumption card."""
    rules = {field.name: getattr(instrument, field.name) for field in fields(instrument) if field.init}
    if not instrument.is_contract:
        del rules["kind"]  # said of contracts alone: the hash of a spot run's card stays what it was
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in rules.items()}


def _filters_as_of(settings: Settings) -> int | None:
    """Return when the rules of instruments were read from their venues, the latest of them; None if nothing says."""
    read = [described.as_of for described in settings.instruments.values() if described.as_of is not None]
    return round(max(read).timestamp()) * 1_000_000_000 if read else None


def seeds_of(settings: Settings) -> dict[str, int]:
    """Return every seed of a run by what it decides."""
    seed = settings.run.seed
    chosen = {"run": seed, "fills": settings.fills.seed, "latency": getattr(settings.costs.latency, "seed", None)}
    if isinstance(settings.data, SyntheticData):
        chosen["market"] = settings.data.seed
    return {name: seed if value is None else value for name, value in chosen.items()}


@functools.cache
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
